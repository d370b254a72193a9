//! One refresh of one root: from what was accepted before and a mirror to trust material, all or nothing.
//!
//! Two things are kept apart. The *floor* is whatever was ever verified: it grows with a refresh that fails half-way too, since a root or
//! timestamp that was seen is never to be unseen. The *accepted* set is that of the last refresh that came to its end; trust material
//! comes from it alone. They differ only after a failure, and only then are both kept.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::archive::Files;
use super::client::{TufClient, Versions, version};
use super::{Mirror, RefreshError};
use crate::trust::TrustMaterial;

/// Prefix of the accepted set, where it is not the floor.
pub(crate) const ACCEPTED: &str = "accepted/";
/// The file that says when the accepted set was refreshed.
pub(crate) const REFRESHED: &str = "refreshed-at";
/// The file with the latest time that was ever told, where that is another.
pub(crate) const LATEST: &str = "latest-time";

/// What is known of a root's repository.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Holdings {
    floor: Files,
    /// None: the floor is it, if anything was accepted.
    accepted: Option<Files>,
    /// When the accepted set was refreshed, by a clock that nothing has contradicted yet: ages are counted from here. None: nothing was
    /// ever accepted.
    refreshed: Option<Timestamp>,
    /// What the clock said when something was accepted, where it was set back since: what had expired by then stays expired.
    latest: Option<Timestamp>,
}

/// What a repository delivered.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    pub(super) material: TrustMaterial,
    pub(super) versions: Versions,
    /// When the first piece of metadata expires.
    pub(super) expires: Timestamp,
    /// When it was refreshed last.
    pub(super) refreshed: Timestamp,
}

/// What a root's keys are read from.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) root: &'a [u8],
    pub(super) target: &'a str,
    pub(super) operators: &'a BTreeMap<String, String>,
}

/// How a refresh ended.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) holdings: Holdings,
    pub(super) notes: Vec<&'static str>,
    pub(super) result: Result<Delivered, RefreshError>,
}

impl Holdings {
    /// Reads what an archive gave back.
    pub(super) fn read(files: Files) -> Self {
        let mut holdings = Self::default();
        for (name, bytes) in files {
            // That there was a time counts more than which: without it, everything is as old as can be.
            let time = |bytes: &[u8]| {
                let text = std::str::from_utf8(bytes).unwrap_or_default();
                Some(text.parse().unwrap_or(Timestamp::UNIX_EPOCH))
            };
            if name == REFRESHED {
                holdings.refreshed = time(&bytes);
            } else if name == LATEST {
                holdings.latest = time(&bytes);
            } else if let Some(name) = name.strip_prefix(ACCEPTED) {
                holdings.accepted.get_or_insert_default().insert(name.to_owned(), bytes);
            } else {
                holdings.floor.insert(name, bytes);
            }
        }
        holdings
    }

    /// The files for an archive.
    pub(super) fn write(&self) -> Files {
        let mut files = self.floor.clone();
        for (name, bytes) in self.accepted.iter().flatten() {
            files.insert(format!("{ACCEPTED}{name}"), bytes.clone());
        }
        for (name, time) in [(REFRESHED, self.refreshed), (LATEST, self.latest)] {
            if let Some(time) = time {
                files.insert(name.to_owned(), time.to_string().into_bytes());
            }
        }
        files
    }

    /// When the accepted set was refreshed; none: nothing was ever accepted.
    pub(super) fn refreshed(&self) -> Option<Timestamp> {
        self.refreshed
    }

    /// The time to hold expiry dates against: a clock that was set back makes nothing valid again that had expired before.
    pub(super) fn time(&self, now: Timestamp) -> Timestamp {
        [self.refreshed, self.latest].into_iter().flatten().fold(now, Timestamp::max)
    }

    /// Takes note of the time. What was accepted while the clock ran ahead was accepted now at the latest, or its age would begin in the
    /// future and last longer than it may. Whether that was so.
    pub(super) fn correct(&mut self, now: Timestamp) -> bool {
        let ran_ahead = self.refreshed.is_some_and(|refreshed| refreshed > now);
        if ran_ahead {
            self.latest = Some(self.time(now));
            self.refreshed = Some(now);
        }
        ran_ahead
    }

    /// What was verified so far, whatever became of it.
    pub(super) fn floor(&self) -> &Files {
        &self.floor
    }

    /// Takes in what was verified beside what was accepted.
    pub(super) fn rise(&mut self, floor: Files) {
        if self.floor != floor {
            let before = std::mem::replace(&mut self.floor, floor);
            if self.refreshed.is_some() && self.accepted.is_none() {
                self.accepted = Some(before);
            }
        }
    }

    fn accept(&mut self, files: Files, now: Timestamp) {
        let latest = Some(self.time(now)).filter(|latest| *latest > now);
        *self = Self { floor: files, accepted: None, refreshed: Some(now), latest };
    }
}

/// Verifies what an archive gave back, from the pinned root, whatever has expired since. The holdings have only what verifies.
///
/// # Errors
/// Something was accepted once, and does not verify any more.
pub(super) async fn recall(wanted: &Wanted<'_>, read: Holdings) -> (Holdings, Result<Option<Delivered>, RefreshError>) {
    let mut holdings = Holdings { floor: Files::new(), ..read.clone() };
    let (floor, newest) = verified(wanted, read.floor, None).await;
    holdings.floor = floor;
    let Some(refreshed) = read.refreshed else { return (holdings, Ok(None)) };
    let dated = |delivered: Delivered| Some(Delivered { refreshed, ..delivered });
    match (newest, read.accepted) {
        (Ok(delivered), None) => (holdings, Ok(dated(delivered))),
        (Err(error), None) => (holdings, Err(unverified(&error))),
        (_, Some(accepted)) => {
            // It was accepted under the root of its time, which may have changed its keys since.
            let root = accepted.get("root.json").and_then(|bytes| version(bytes));
            let (_, result) = verified(wanted, accepted, root).await;
            (holdings, result.map(dated).map_err(|error| unverified(&error)))
        }
    }
}

fn unverified(error: &RefreshError) -> RefreshError {
    RefreshError::ArchiveUnverified { reason: error.to_string() }
}

async fn verified(
    wanted: &Wanted<'_>,
    files: Files,
    last_root: Option<u64>,
) -> (Files, Result<Delivered, RefreshError>) {
    // Nothing has expired at the beginning of time.
    let now = Timestamp::MIN;
    match TufClient::open(wanted.root, Files::new(), Mirror::kept(files, last_root)) {
        Ok(mut client) => {
            let result = deliver(&mut client, wanted, now).await;
            (client.files(), result)
        }
        Err(error) => (Files::new(), Err(error)),
    }
}

/// Refreshes. What was accepted stays what it was unless everything went well; what was verified on the way is never lost.
pub(super) async fn refresh(
    wanted: &Wanted<'_>,
    mirror: Mirror,
    mut holdings: Holdings,
    now: Timestamp,
    limit: Duration,
) -> Attempt {
    let mut client = match TufClient::open(wanted.root, holdings.floor.clone(), mirror) {
        Ok(client) => client,
        Err(error) => return Attempt { holdings, notes: Vec::new(), result: Err(error) },
    };
    let watched = client.watch();
    let work = tokio::time::timeout(limit, deliver(&mut client, wanted, holdings.time(now))).await;
    let result = work.unwrap_or(Err(RefreshError::Timeout { limit }));
    let result = result.map(|delivered| Delivered { refreshed: now, ..delivered });
    match &result {
        Ok(_) => holdings.accept(watched.files(), now),
        Err(_) => holdings.rise(watched.files()),
    }
    Attempt { holdings, notes: watched.notes(), result }
}

async fn deliver(client: &mut TufClient, wanted: &Wanted<'_>, now: Timestamp) -> Result<Delivered, RefreshError> {
    client.refresh(now).await?;
    let target = client.target(wanted.target, now).await?;
    let invalid = |reason: String| RefreshError::TrustedRoot { reason };
    let json = std::str::from_utf8(&target.bytes).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
    let material = TrustMaterial::parse_with_operators(wanted.name, json, wanted.operators)
        .map_err(|error| invalid(error.to_string()))?;
    Ok(Delivered { material, versions: client.versions(), expires: target.expires, refreshed: now })
}
