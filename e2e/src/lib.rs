//! A real stack on loopback, without containers, and the words to test countersign on it.
//!
//! ```text
//! tools        the programs that e2e/tools/build.sh made, and the countersign binary, by environment
//! process      child processes that end with us whatever happens; free ports; waiting
//! http         plain HTTP to loopback
//! files        a web server for a folder, as a content delivery network, and what it may get wrong
//! certificate  throw-away CAs, serving and client certificates
//! kubectl      kubectl as a child process: `accepts`, `rejects`
//! cluster      etcd and kube-apiserver
//! api          the API server without kubectl, for what is asked many times or must be timed
//! registry     registries, and a client that pushes to them
//! layout       an OCI image layout folder, pushed to a registry as it is
//! cosign       key pairs, signatures and attestations by cosign itself
//! sigstore     private Sigstore instances, their issuer and their trusted roots
//! facts        what a signature carries that a revocation can name
//! tuf          TUF repositories made by python-tuf, and a mirror that can be told to misbehave
//! python       signatures by sigstore-python, which shares no code with cosign
//! countersign  `countersign serve` as its own process, and its webhook registration
//! resource     trust roots and revocations as objects, and what the controller says about them
//! manifest     Pods, workloads and policies as JSON
//! load         Pods that are tried all the time while something else changes
//! stack        all of it together, and a namespace with its policies for each case
//! ```
//!
//! It knows countersign only by its command line, its custom resources and its answers; it shares no code with it.

#![expect(
    clippy::disallowed_methods,
    reason = "the rules for the controller's modules do not bind its tests, which read files"
)]

pub mod api;
pub mod certificate;
pub mod cluster;
pub mod cosign;
pub mod countersign;
pub mod facts;
pub mod files;
mod http;
pub mod kubectl;
pub mod layout;
pub mod load;
pub mod manifest;
pub mod process;
pub mod python;
pub mod registry;
pub mod resource;
pub mod sigstore;
pub mod stack;
pub mod tools;
pub mod tuf;
