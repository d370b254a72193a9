//! countersign: a Kubernetes admission controller that demands the countersign.
//!
//! A pod is admitted only if each of its images carries signatures that satisfy the cluster's policies. The library exists for the
//! binary and its tests; nothing is promised to other callers. The modules, in reading order; each pure one imports only what
//! stands above it, and `tests/architecture.rs` holds the column on the right (ARCHITECTURE.md says why):
//!
//! ```text
//!   PURE: no async, no I/O, no clock, no logging
//! api            custom resource types, data only
//! image          references, digests, patterns                               uses: -
//! workload       admitted object -> images with their field paths            uses: image
//! evidence       untrusted bytes and their formats                           uses: image
//! trust          trusted roots and keys                                      uses: api image
//! verify         Discovered + TrustMaterial -> Evidence                      uses: image evidence trust
//! revocation     what is struck out                                          uses: api image verify
//! policy         parse, select, evaluate -> Verdict                          uses: pure modules above
//! decision       Verdicts -> Decision -> AdmissionResponse                   uses: pure modules above
//! settings       flags -> typed settings                                     uses: pure half
//!   EFFECTS: async, thin
//! registry       where images and signatures come from                       uses: pure half
//! store          content, resolutions, listings and evidence, remembered      uses: pure half, registry
//! rekor          asks transparency logs                                      uses: pure half, registry
//! judge          orders resolve, revoke, discover, verify, evaluate          uses: pure half, registry, store, rekor
//! trust_store    what TUF repositories deliver, verified, kept and fresh     uses: pure half, registry, judge
//! feeds          revocations, policies and signers that TUF delivers         uses: pure half, trust_store
//! admission      AdmissionReview -> AdmissionReview                          uses: pure half, registry, judge
//! configuration  admission of our own custom resources                       uses: pure half, admission
//! cluster        watches, one published snapshot, lease, status, events      uses: pure half, trust_store, feeds
//! monitor        whether logs are consistent, who stands in their entries    uses: pure half, rekor
//! telemetry      logs and metrics                                            uses: decision store monitor
//! server         HTTPS, probes, metrics port                                 uses: pure half, registry, judge, admission, configuration, telemetry
//! cli            subcommands; does the wiring                                uses: all
//! ```

pub mod api;
pub mod image;
pub mod workload;

pub mod evidence;
pub mod trust;
pub mod verify;

pub mod revocation;

pub mod policy;

pub mod decision;

pub mod settings;

pub mod registry;

pub mod store;

pub mod rekor;

pub mod judge;

pub mod trust_store;

pub mod feeds;

pub mod admission;

pub mod configuration;

pub mod cluster;

pub mod monitor;

pub mod telemetry;

pub mod server;

pub mod cli;
