//! What an image is called and what it is: references, digests, resolved manifests, and the patterns of policies.
//!
//! Text becomes a type here or is refused: a reference that this module accepts names the repository that the kubelet
//! and its runtime would pull from, under a canonical spelling, so that two spellings of one image cannot meet two
//! different policies. Nothing here asks a registry, follows a mirror, or knows that two hosts serve the same content.
//!
//! The grammar is that of [distribution/reference](https://github.com/distribution/reference), which the kubelet,
//! containerd and CRI-O share; each deliberate difference is a refusal, and is listed in [`ImageReference::parse`].
//!
//! ```
//! use countersign::image::{ImagePattern, ImageReference};
//!
//! let reference = ImageReference::parse("ghcr.io/acme/app:1.2")?;
//! let pattern = ImagePattern::parse("ghcr.io/acme/**")?;
//! assert!(pattern.matches(reference.repository(), reference.digest()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod digest;
mod hash;
mod pattern;
mod reference;
mod resolved;

pub use digest::Digest;
pub use hash::{Hash, from_hexadecimal, hexadecimal};
pub use pattern::{ImagePattern, PatternError};
pub use reference::{ImageReference, ReferenceError, Repository, is_host};
pub use resolved::{DigestMismatch, ResolvedImage};
