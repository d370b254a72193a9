//! The entry of a signature that carries none: every log of its root that can be searched, every entry that it finds.

use std::sync::Arc;

use futures::StreamExt as _;

use super::client::{Asked, host};
use super::confirm::{ENTRY_BYTES, unconfirmed};
use super::{RekorClient, RekorError};
use crate::verify::{Evidence, Found, OnlineError, Search};

/// Bytes of what a search finds.
const RESULT_BYTES: usize = 64 << 10;
/// Entries of one search that are fetched at a time.
const ENTRIES_AT_ONCE: usize = 4;

impl RekorClient {
    /// Looks for the entry of a signature and gives what it proves.
    ///
    /// # Errors
    /// Why none was found; where several logs were asked, the first reason that is not "it does not have it".
    pub async fn search(&self, search: &Arc<Search>) -> Result<Evidence, RekorError> {
        let mut failure: Option<RekorError> = None;
        for (number, address) in search.logs() {
            match self.search_log(search, number, address).await {
                Ok(evidence) => return Ok(evidence),
                Err(error) => {
                    if failure.as_ref().is_none_or(|failure| failure.is_absence() && !error.is_absence()) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or(RekorError::NotSearchable))
    }

    async fn search_log(&self, search: &Arc<Search>, number: usize, address: &str) -> Result<Evidence, RekorError> {
        let body = Some(search.query());
        let asked = Asked { address, path: Search::PATH, body, cap: RESULT_BYTES, what: "entry by hash" };
        let answer = self.ask(&asked).await?;
        let found = search.found(number, &answer).map_err(|source| unconfirmed(address, source))?;
        let tried = found.len();
        let mut work = Vec::with_capacity(tried);
        for one in found {
            work.push(self.attempt(Arc::clone(search), one));
        }
        let mut work = futures::stream::iter(work).buffered(ENTRIES_AT_ONCE);
        let mut failure = None;
        while let Some(result) = work.next().await {
            match result {
                Ok(Ok(evidence)) => return Ok(evidence),
                // An entry of somebody else is no failure: everybody may log one of this hash.
                Ok(Err(_)) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| RekorError::NoneFits { host: host(address), found: tried }))
    }

    /// Fetches one entry and tries it, off the async threads.
    async fn attempt(&self, search: Arc<Search>, found: Found) -> Result<Result<Evidence, OnlineError>, RekorError> {
        let path = found.path();
        let asked = Asked { address: found.address(), path: &path, body: None, cap: ENTRY_BYTES, what: "entry" };
        let answer = self.ask(&asked).await?;
        let work = move || search.attempt(&found, &answer);
        let failed = |error: tokio::task::JoinError| RekorError::Verification { reason: error.to_string() };
        tokio::task::spawn_blocking(work).await.map_err(failed)
    }
}
