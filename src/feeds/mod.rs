//! Feeds: revocations, policies and signers that a TUF repository delivers, fresh or refused.
//!
//! One task for each feed and for each delegated role whose signers a policy asks for; they share nothing, so that one which fails delays no
//! other. What is published is a set that a request takes as it is. `trust_store` says that a target or a role is what its repository
//! wants it to be, `policy::Feed` what of a feed may be in force, `policy` what staleness does to a verdict: no meaning is given here.

mod kept;
mod roles;
mod status;
mod store;
mod task;

pub use kept::{FeedArchive, Kept, MemoryFeedArchive};
pub use status::{FeedFailure, FeedStatus};
pub use store::{FeedStore, FeedStoreOptions};

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

/// The duration, up to a quarter less, so that replicas do not come together.
fn jittered(duration: Duration) -> Duration {
    let spread = u32::try_from(RandomState::new().hash_one(0_u8) % 251).unwrap_or_default();
    duration * (750 + spread) / 1_000
}
