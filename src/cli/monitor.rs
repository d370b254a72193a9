//! `countersign serve`'s monitor of logs: its flags, and its surroundings in a cluster.
//!
//! Documents are kept by the ledger, findings become Events on the trust roots that name the log, and suggestions become
//! `SignatureRevocation` objects, which are created and never changed.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::api::{SignatureRevocation, SignatureRevocationSpec, StringMatch};
use crate::cluster::{
    Cluster, ConfigMapLedger, Controllers, Ledger as _, LedgerError, LogReport, Notices as _, Truth, Urgency, Version,
};
use crate::judge::Witness;
use crate::monitor::{
    Document, DocumentError, Documents, Finding, Findings, IdentityOptions, Monitor, MonitorOptions, Observer, Outlets,
    Standing, State, Suggestions, View,
};
use crate::policy::StringMatcher;
use crate::rekor::{RekorClient, RekorOptions};
use crate::settings::seconds;
use crate::verify::{Evidence, TreeId};

/// Time to write one suggestion.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at how logs stand.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag, and on its own")]
pub(super) struct MonitorFlags {
    /// Watch the transparency logs of the trust roots that policies name: whether each shows everybody one history.
    #[arg(long = "monitor-logs")]
    logs: bool,
    /// Read also what these logs take in, and tell of entries under identities that policies trust, of no image that was seen.
    #[arg(long = "monitor-identities", requires = "logs")]
    identities: bool,
    /// Seconds between two times that a log is asked.
    #[arg(long = "monitor-interval", value_name = "SECONDS", default_value = "300", value_parser = seconds, requires = "logs")]
    interval: Duration,
    /// Seconds within which the image of an entry must be seen.
    #[arg(long = "monitor-announced-within", value_name = "SECONDS", default_value = "3600", value_parser = seconds, requires = "identities")]
    announced_within: Duration,
    /// Signers whose entries are expected, as a glob like those of policies. May be repeated.
    #[arg(long = "monitor-expected", value_name = "GLOB", value_parser = glob, requires = "identities")]
    expected: Vec<StringMatcher>,
    /// Distrust a log that signed two histories at once. Absent: the revocation is only suggested.
    #[arg(long = "monitor-distrust-forked", requires = "logs")]
    distrust_forked: bool,
    /// Suggest to revoke each entry that is told of.
    #[arg(long = "monitor-suggest-entries", requires = "identities")]
    suggest_entries: bool,
}

fn glob(text: &str) -> Result<StringMatcher, String> {
    let spec = StringMatch { glob: Some(text.to_owned()), ..StringMatch::default() };
    StringMatcher::parse(&spec).map_err(|error| error.to_string())
}

impl MonitorFlags {
    /// The monitor that is asked for, if one is.
    pub(super) fn monitor(self, client: Client, cluster: &Arc<Cluster>, controllers: &Controllers) -> Option<Monitor> {
        let options = self.options()?;
        let outlets = Outlets {
            documents: Arc::new(Kept(controllers.ledger().clone())),
            findings: Arc::new(Told { cluster: Arc::clone(cluster), events: Arc::clone(controllers.notices()) }),
            suggestions: Arc::new(Written(Api::all(client))),
        };
        Some(Monitor::new(options, RekorClient::new(RekorOptions::default()), outlets))
    }

    fn options(self) -> Option<MonitorOptions> {
        let identities = self.identities.then(|| IdentityOptions {
            announced_within: self.announced_within,
            expected: self.expected,
            suggest: self.suggest_entries,
            ..IdentityOptions::default()
        });
        self.logs.then(|| MonitorOptions {
            interval: self.interval,
            distrust_forked: self.distrust_forked,
            identities,
            ..MonitorOptions::default()
        })
    }
}

/// Watches until the process ends; it never ends by itself. Without a monitor nothing is watched.
pub(super) async fn watch(
    monitor: Option<&Monitor>,
    cluster: &Cluster,
    controllers: &Controllers,
    now: fn() -> jiff::Timestamp,
) {
    let Some(monitor) = monitor else { return std::future::pending().await };
    let view = || {
        let snapshot = cluster.snapshot().ok()?;
        Some(View::of(&snapshot, controllers.leadership().holds()))
    };
    let report = async {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            cluster.report_logs(monitor.standings().into_iter().map(log_report).collect());
        }
    };
    tokio::select! {
        () = monitor.run(view, now) => {}
        () = report => {}
    }
}

fn log_report((tree, standing): (TreeId, Standing)) -> LogReport {
    let Standing { address, size, state, .. } = standing;
    let of = |what: String| format!("the log {address} ({:?}) {what}", tree.origin);
    let (truth, reason, message) = match state {
        State::Consistent => (Truth::True, "Consistent", of(format!("shows one history, of {size} entries"))),
        State::Unknown { reason } => (Truth::Unknown, "Unknown", of(format!("could not be compared: {reason}"))),
        State::RolledBack => (Truth::False, "LogRolledBack", of(format!("shows fewer entries than the {size} it had"))),
        State::Forked => (Truth::False, "LogForked", of("signed two histories".to_owned())),
    };
    LogReport { key_id: tree.key_id, truth, reason, message }
}

impl Witness for Observer {
    fn saw(&self, evidence: &Evidence) {
        self.observe(evidence);
    }
}

/// Documents in the ledger.
struct Kept(ConfigMapLedger);

impl Documents for Kept {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Document>, DocumentError>> {
        async move {
            let found = self.0.load(name).await.map_err(|error| document_error(&error))?;
            Ok(found.map(|found| Document { content: found.content, version: found.version.as_str().to_owned() }))
        }
        .boxed()
    }

    fn save<'a>(
        &'a self,
        name: &'a str,
        content: &'a Value,
        over: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, DocumentError>> {
        async move {
            let over = over.map(Version::named);
            let saved = self.0.save(name, content, over.as_ref()).await.map_err(|error| document_error(&error))?;
            Ok(saved.as_str().to_owned())
        }
        .boxed()
    }
}

fn document_error(error: &LedgerError) -> DocumentError {
    match error {
        LedgerError::Conflict { .. } => DocumentError::Conflict,
        other => DocumentError::Unavailable { reason: other.to_string() },
    }
}

/// Findings as Events on trust roots.
struct Told {
    cluster: Arc<Cluster>,
    events: Arc<crate::cluster::EventWriter>,
}

impl Findings for Told {
    fn tell(&self, finding: &Finding) -> bool {
        let mut taken = true;
        for root in finding.roots() {
            let about = self.cluster.trust_root(root);
            taken &= self.events.note(about, Urgency::Warning, finding.code(), finding.message());
        }
        taken
    }
}

/// Suggestions as objects.
struct Written(Api<SignatureRevocation>);

impl Suggestions for Written {
    fn suggest<'a>(&'a self, name: &'a str, spec: &'a SignatureRevocationSpec) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let labels = [("app.kubernetes.io/managed-by".to_owned(), "countersign".to_owned())];
            let metadata =
                ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() };
            let object = SignatureRevocation { metadata, spec: spec.clone(), status: None };
            let parameters = PostParams::default();
            match tokio::time::timeout(LIMIT, self.0.create(&parameters, &object)).await {
                Ok(Ok(_)) => Ok(()),
                // What a person made of an earlier one stays.
                Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_late) => Err("the API server did not answer in time".to_owned()),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: MonitorFlags,
    }

    fn parse(line: &[&str]) -> Result<Option<MonitorOptions>, clap::Error> {
        Line::try_parse_from([&["x"], line].concat()).map(|line| line.flags.options())
    }

    #[test]
    fn nothing_is_watched_unless_it_is_asked_for() {
        assert!(parse(&[]).unwrap().is_none());
        let logs = parse(&["--monitor-logs"]).unwrap().unwrap();
        assert!(logs.identities.is_none() && !logs.distrust_forked);
        assert_eq!(logs.interval, Duration::from_mins(5));
        let all = ["--monitor-logs", "--monitor-identities", "--monitor-expected", "https://github.com/acme/*"];
        let all = parse(&[&all[..], &["--monitor-interval", "60", "--monitor-distrust-forked"]].concat()).unwrap();
        let all = all.unwrap();
        assert!(all.distrust_forked && all.interval == Duration::from_mins(1));
        let identities = all.identities.unwrap();
        assert!(identities.expected[0].matches("https://github.com/acme/app") && !identities.suggest);
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for line in [
            &["--monitor-identities"][..],
            &["--monitor-distrust-forked"],
            &["--monitor-interval", "60"],
            &["--monitor-logs", "--monitor-suggest-entries"],
            &["--monitor-logs", "--monitor-expected", "x"],
            &["--monitor-logs", "--monitor-interval", "0"],
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn how_a_log_stands_is_a_condition() {
        let tree = TreeId { key_id: "ab".to_owned(), origin: "log.example - 1".to_owned() };
        let report = |state| {
            let standing = Standing { address: "https://log.example".to_owned(), roots: Vec::new(), size: 7, state };
            let LogReport { truth, reason, .. } = log_report((tree.clone(), standing));
            (truth, reason)
        };
        assert_eq!(report(State::Consistent), (Truth::True, "Consistent"));
        assert_eq!(report(State::Unknown { reason: "late".to_owned() }), (Truth::Unknown, "Unknown"));
        assert_eq!(report(State::RolledBack), (Truth::False, "LogRolledBack"));
        assert_eq!(report(State::Forked), (Truth::False, "LogForked"));
    }
}
