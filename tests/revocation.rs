//! What is revoked is denied: every kind of entry flips a verdict that was a pass, and its neighbour does not.
//!
//! `signatures`: evidence of a virtual Sigstore instance, judged by one policy. `images`: artifacts, over a registry in this process, with
//! the caches and the answers of the webhook.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

#[path = "revocation/images.rs"]
mod images;
#[path = "revocation/signatures.rs"]
mod signatures;
#[path = "support/signer.rs"]
mod signer;
#[path = "support/registry.rs"]
mod support;
#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

use std::sync::Arc;

use countersign::revocation::{Revocation, Revocations};
use serde_json::{Value, json};

/// A `SignatureRevocation` with these entries.
fn object(entries: &Value) -> Value {
    let mut spec = entries.clone();
    spec["reason"] = json!("stolen in the night");
    json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
        "metadata": {"name": "incident-7"}, "spec": spec,
    })
}

/// The set of one revocation, every entry of which is valid.
fn revoking(entries: &Value) -> Revocations {
    let revocation = Revocation::parse(&object(entries)).unwrap();
    assert!(revocation.invalid().is_empty(), "{:?}", revocation.invalid());
    Revocations::new(vec![Arc::new(revocation)])
}
