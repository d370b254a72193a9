//! What logs say of themselves: their newest heads, and whether two heads are of one history.

use super::client::{Asked, host};
use super::confirm::{HEAD_BYTES, unconfirmed};
use super::{RekorClient, RekorError};
use crate::verify::{LogApi, Newest, OnlineError, Proved, Span, WatchedLog};

/// Bytes of what a log of the first version says of itself, with the heads of its earlier trees.
const INFO_BYTES: usize = 128 << 10;
/// Bytes of a proof.
const PROOF_BYTES: usize = 64 << 10;

impl RekorClient {
    /// What a log says of itself now, by the first interface that answers.
    ///
    /// # Errors
    /// No answer, or one whose head the log did not sign. Where the log has no such interface, the reason is that of the last one asked.
    pub async fn newest(&self, log: &WatchedLog) -> Result<Newest, RekorError> {
        let mut missing = None;
        for api in log.apis() {
            let cap = if *api == LogApi::Entries { INFO_BYTES } else { HEAD_BYTES };
            let path = WatchedLog::newest_path(*api);
            let asked = Asked { address: log.address(), path, body: None, cap, what: "head" };
            match self.ask(&asked).await {
                Ok(answer) => {
                    return log.newest(*api, &answer).map_err(|error| unconfirmed(log.address(), error));
                }
                // Whoever has only the other interface may say so in another way than that it is not there.
                Err(
                    error
                    @ (RekorError::NotFound { .. } | RekorError::UnexpectedStatus { status: 400 | 405 | 501, .. }),
                ) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(missing.unwrap_or_else(|| RekorError::NotFound { host: host(log.address()), what: "head" }))
    }

    /// Asks a log for the proof that one of its heads goes on from another.
    ///
    /// # Errors
    /// No answer, or one that is no proof: it is unknown then.
    pub async fn consistency(&self, log: &WatchedLog, span: &Span) -> Result<Proved, RekorError> {
        if span.is_trivial() {
            return Ok(Proved::Consistent);
        }
        let address = log.address();
        let unconfirmed = |source: OnlineError| unconfirmed(address, source);
        match span.api() {
            LogApi::Entries => {
                let path = span.path();
                let asked = Asked { address, path: &path, body: None, cap: PROOF_BYTES, what: "consistency proof" };
                span.by_answer(&self.ask(&asked).await?).map_err(unconfirmed)
            }
            LogApi::Tiles => {
                let tiles = self.tiles(address, span.tiles()).await?;
                span.by_tiles(&tiles).map_err(unconfirmed)
            }
        }
    }
}
