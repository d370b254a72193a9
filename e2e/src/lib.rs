//! A real stack on loopback, without containers, and the words to test countersign on it.
//!
//! ```text
//! tools        the programs that e2e/tools/build.sh made, and the countersign binary, by environment
//! process      child processes that end with us whatever happens; free ports; waiting
//! http         plain HTTP to loopback
//! certificate  throw-away CAs, serving and client certificates
//! kubectl      kubectl as a child process: `accepts`, `rejects`
//! cluster      etcd and kube-apiserver
//! registry     registries, and a client that pushes to them
//! layout       an OCI image layout folder, pushed to a registry as it is
//! cosign       key pairs, signatures and attestations by cosign itself
//! sigstore     private Sigstore instances, their issuer and their trusted roots
//! python       signatures by sigstore-python, which shares no code with cosign
//! countersign  `countersign serve` as its own process, and its webhook registration
//! manifest     Pods, workloads and policies as JSON
//! stack        all of it together, and a namespace with its policies for each case
//! ```
//!
//! It knows countersign only by its command line, its custom resources and its answers; it shares no code with it.

#![expect(
    clippy::disallowed_methods,
    reason = "the rules for the controller's modules do not bind its tests, which read files"
)]

pub mod certificate;
pub mod cluster;
pub mod cosign;
pub mod countersign;
mod http;
pub mod kubectl;
pub mod layout;
pub mod manifest;
pub mod process;
pub mod python;
pub mod registry;
pub mod sigstore;
pub mod stack;
pub mod tools;
pub mod tuf;
