//! Ranges of a log's entries, for whoever watches it: one answer of the first version of Rekor, one tile of the second.

use super::client::Asked;
use super::confirm::unconfirmed;
use super::{RekorClient, RekorError};
use crate::verify::{BUNDLE_BYTES, Bundle, Listing, LogApi, Newest, OnlineError, SeenEntry, TreeHead, WatchedLog};

/// Bytes of an answer that lists entries.
const LISTING_BYTES: usize = 8 << 20;

/// Entries that were read, in their order and without gaps.
#[derive(Debug, Default)]
pub struct Range {
    /// The entries.
    pub entries: Vec<SeenEntry>,
    /// The heads that proved them, where these are others than the one they were asked under.
    pub heads: Vec<TreeHead>,
}

impl RekorClient {
    /// Reads entries of the tree that a log adds to, from an index in that tree on: as many as one answer holds, at most 256. Empty: there
    /// are none yet.
    ///
    /// # Errors
    /// No answer, or one that the head does not prove.
    pub async fn entries(&self, log: &WatchedLog, newest: &Newest, from: u64) -> Result<Range, RekorError> {
        let address = log.address();
        let unconfirmed = |source: OnlineError| unconfirmed(address, source);
        match newest.head.api() {
            LogApi::Entries => {
                let listing = Listing::from(log, &newest.head, newest.offset, from, u64::MAX);
                let Some(listing) = listing else { return Ok(Range::default()) };
                let (path, body) = (Listing::PATH, Some(listing.query()));
                let answer = self.ask(&Asked { address, path, body, cap: LISTING_BYTES, what: "entries" }).await?;
                let (entries, heads) = listing.read(&answer).map_err(unconfirmed)?;
                Ok(Range { entries, heads })
            }
            LogApi::Tiles => {
                let Some(bundle) = Bundle::with(from, &newest.head) else { return Ok(Range::default()) };
                let (path, full) = bundle.paths();
                let asked = |path: String| async move {
                    let path = format!("api/v2/{path}");
                    self.ask(&Asked { address, path: &path, body: None, cap: BUNDLE_BYTES, what: "entries" }).await
                };
                let answer = match (asked(path).await, full) {
                    (Err(RekorError::NotFound { .. }), Some(full)) => asked(full).await?,
                    (result, _) => result?,
                };
                let tiles = self.tiles(address, bundle.tiles()).await?;
                let mut entries = bundle.read(&answer, tiles).map_err(unconfirmed)?;
                entries.retain(|entry| entry.index() >= from);
                Ok(Range { entries, heads: Vec::new() })
            }
        }
    }
}
