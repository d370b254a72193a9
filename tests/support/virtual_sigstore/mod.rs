//! A whole Sigstore instance in memory, which signs at a given time and can make each part wrong on purpose.
//!
//! [`VirtualSigstore`] holds services with keys of their own: certificate authorities (`fulcio`), certificate transparency logs
//! (`ct`), transparency logs (`rekor_v1`, `rekor_v2`) and timestamp authorities (`tsa`). [`VirtualSigstore::sign`] makes a
//! signature, [`Parts`] turn it into a bundle or a layer, [`VirtualSigstore::root`] says what to trust.
//!
//! It verifies nothing and shares no code with what does. Nothing here is a mock of a verifier's view: documents are written in
//! the formats that the public instances publish. `tests/virtual_sigstore.rs` holds it against a verifier that is not ours.
//!
//! ```text
//! let sigstore = VirtualSigstore::new();
//! let root = sigstore.root().without_ct_logs().json();
//! let parts = sigstore.sign(Subject::manifest(b"{}")).by(&identity).at(time).parts();
//! let bundle = parts.bundle(Version::V03);
//! let forged = parts.with(|parts| parts.entry().set = None).layer();
//! ```

#![allow(dead_code, unused_imports, reason = "each test crate uses another part")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "an instance that cannot be set up fails its test"
)]

pub(crate) mod certificate;
pub(crate) mod checkpoint;
pub(crate) mod cms;
pub(crate) mod content;
pub(crate) mod ct;
pub(crate) mod der;
pub(crate) mod entry;
pub(crate) mod fulcio;
pub(crate) mod hostile;
pub(crate) mod key;
pub(crate) mod merkle;
pub(crate) mod oci;
pub(crate) mod parts;
pub(crate) mod rekor_v1;
pub(crate) mod rekor_v1_api;
pub(crate) mod rekor_v2;
pub(crate) mod signing;
pub(crate) mod text;
pub(crate) mod tiles;
pub(crate) mod trusted_root;
pub(crate) mod tsa;

use jiff::Timestamp;

pub(crate) use content::Subject;
pub(crate) use entry::Kind;
pub(crate) use fulcio::{AuthorityOptions, CertificateAuthority, Identity, San};
pub(crate) use key::{Algorithm, Hash, Key, Scheme};
pub(crate) use parts::{Layer, Parts, Version};
pub(crate) use rekor_v1::RekorV1;
pub(crate) use rekor_v2::RekorV2;
pub(crate) use signing::{Log, Signing};
pub(crate) use trusted_root::TrustedRoot;
pub(crate) use tsa::{TimestampAuthority, TimestampOptions};

/// A window in a trust root. No start is the beginning of 1970, because the format demands one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Window {
    pub(crate) start: Option<Timestamp>,
    pub(crate) end: Option<Timestamp>,
}

impl Window {
    pub(crate) fn from(start: Timestamp) -> Self {
        Self { start: Some(start), end: None }
    }

    pub(crate) fn until(end: Timestamp) -> Self {
        Self { start: None, end: Some(end) }
    }

    pub(crate) fn between(start: Timestamp, end: Timestamp) -> Self {
        Self { start: Some(start), end: Some(end) }
    }
}

/// The services of an instance. Any list can be added to, emptied or replaced; whoever signs takes the first of each unless told.
#[derive(Debug)]
pub(crate) struct VirtualSigstore {
    pub(crate) authorities: Vec<CertificateAuthority>,
    pub(crate) ct_logs: Vec<ct::CtLog>,
    pub(crate) logs_v1: Vec<RekorV1>,
    pub(crate) logs_v2: Vec<RekorV2>,
    pub(crate) timestamp_authorities: Vec<TimestampAuthority>,
}

impl VirtualSigstore {
    /// One service of each kind, with the algorithms of the public instance.
    pub(crate) fn new() -> Self {
        Self {
            authorities: vec![CertificateAuthority::new(AuthorityOptions::default())],
            ct_logs: vec![ct::CtLog::new(Algorithm::P256, "https://ctfe.example/2024", "ct.example")],
            logs_v1: vec![RekorV1::new(Algorithm::P256, "rekor.example", "rekor.example")],
            logs_v2: vec![RekorV2::new(Algorithm::Ed25519, "log2025-1.rekor.example", "rekor.example")],
            timestamp_authorities: vec![TimestampAuthority::new(TimestampOptions::default())],
        }
    }

    /// Two services of each kind, of two operators.
    pub(crate) fn doubled() -> Self {
        let mut sigstore = Self::new();
        sigstore.authorities.push(CertificateAuthority::new(AuthorityOptions {
            organization: "fulcio.other.example".to_owned(),
            uri: "https://fulcio.other.example".to_owned(),
            ..AuthorityOptions::default()
        }));
        sigstore.ct_logs.push(ct::CtLog::new(Algorithm::P256, "https://ctfe.other.example/2024", "ct.other.example"));
        sigstore.logs_v1.push(RekorV1::new(Algorithm::P256, "rekor.other.example", "rekor.other.example"));
        sigstore.logs_v2.push(RekorV2::new(Algorithm::P256, "log2025-1.rekor.other.example", "rekor.other.example"));
        sigstore.timestamp_authorities.push(TimestampAuthority::new(TimestampOptions {
            organization: "timestamp.other.example".to_owned(),
            uri: "https://timestamp.other.example/api/v1/timestamp".to_owned(),
            ..TimestampOptions::default()
        }));
        sigstore
    }

    /// The trust root with everything that the instance has.
    pub(crate) fn root(&self) -> TrustedRoot {
        TrustedRoot::of(self)
    }

    /// Begins a signature.
    pub(crate) fn sign(&self, subject: Subject) -> Signing<'_> {
        Signing::new(self, subject)
    }
}
