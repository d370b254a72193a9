//! Asks transparency logs: whether they hold an entry, which entries they have of a hash, what their heads are and how these are connected,
//! and which entries they took in.
//!
//! It carries bytes. What to ask, and what an answer is worth, is `verify`'s; a failure here leaves a question open and answers none. Logs
//! are contacted at the addresses that trust roots give, and nowhere else: whoever writes the trust root says where they are, so that they
//! may be at private addresses, and use plain HTTP if that is what stands there. No redirect is followed, no proxy used, nothing is kept
//! between two questions.

mod client;
mod confirm;
mod entries;
mod error;
mod heads;
mod search;

pub use client::{RekorClient, RekorOptions};
pub use entries::Range;
pub use error::RekorError;
