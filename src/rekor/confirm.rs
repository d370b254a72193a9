//! One entry confirmed by its log: one answer of the first version of Rekor, a head and its tiles of the second.

use std::collections::BTreeMap;

use futures::StreamExt as _;

use super::client::{Asked, host};
use super::{RekorClient, RekorError};
use crate::verify::{Confirmation, LogApi, OnlineError, Question, TILE_BYTES, Tile};

/// Bytes of an answer that holds an entry.
pub(super) const ENTRY_BYTES: usize = 1 << 20;
/// Bytes of a head with its signatures.
pub(super) const HEAD_BYTES: usize = 16 << 10;
/// Tiles of one entry that are fetched at a time.
const TILES_AT_ONCE: usize = 4;

impl RekorClient {
    /// Asks the log of an entry whether it holds it.
    ///
    /// # Errors
    /// Whatever leaves the question open.
    pub async fn confirm(&self, question: &Question) -> Result<Confirmation, RekorError> {
        let unconfirmed = |source: OnlineError| unconfirmed(question.address(), source);
        let path = question.path();
        let asked = |cap, what| Asked { address: question.address(), path: &path, body: None, cap, what };
        match question.api() {
            LogApi::Entries => {
                let answer = self.ask(&asked(ENTRY_BYTES, "entry")).await?;
                question.confirm(&answer).map_err(unconfirmed)
            }
            LogApi::Tiles => {
                let answer = self.ask(&asked(HEAD_BYTES, "head")).await?;
                let head = question.head(&answer).map_err(unconfirmed)?;
                let fetched = self.tiles(question.address(), head.tiles()).await?;
                head.confirm(&fetched).map_err(unconfirmed)
            }
        }
    }

    /// Some tiles of a log's tree.
    pub(super) async fn tiles(&self, address: &str, tiles: Vec<Tile>) -> Result<BTreeMap<Tile, Vec<u8>>, RekorError> {
        let mut work = Vec::with_capacity(tiles.len());
        for tile in tiles {
            work.push(async move { Ok((tile, self.tile(address, tile).await?)) });
        }
        let mut work = futures::stream::iter(work).buffered(TILES_AT_ONCE);
        let mut fetched = BTreeMap::new();
        while let Some(result) = work.next().await {
            let (tile, bytes) = result?;
            fetched.insert(tile, bytes);
        }
        Ok(fetched)
    }

    /// One tile, or the full one in its place: a log may drop a partial tile when it is full.
    async fn tile(&self, address: &str, tile: Tile) -> Result<Vec<u8>, RekorError> {
        let path = |tile: Tile| format!("api/v2/{}", tile.path());
        let asked = |path| self.ask_tile(address, path);
        match asked(path(tile)).await {
            Err(RekorError::NotFound { .. }) if tile.is_partial() => asked(path(tile.filled())).await,
            result => result,
        }
    }

    async fn ask_tile(&self, address: &str, path: String) -> Result<Vec<u8>, RekorError> {
        self.ask(&Asked { address, path: &path, body: None, cap: TILE_BYTES, what: "tile" }).await
    }
}

/// An answer that confirms nothing, with the address that gave it.
pub(super) fn unconfirmed(address: &str, source: OnlineError) -> RekorError {
    RekorError::Unconfirmed { host: host(address), source }
}
