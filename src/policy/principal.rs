//! Who is one and the same signer, for thresholds that want several.
//!
//! A key is known by its fingerprint, the holder of a certificate by issuer and name, whatever the trust root. A workflow is one signer
//! at every ref, an address in every case, and all names on one certificate are one signer's. In doubt two are one: a threshold must not
//! be met by somebody who comes twice.

use std::collections::BTreeSet;

use crate::trust::KeyFingerprint;
use crate::verify::{AnchorId, Evidence, Signer, Subject};

/// A name under which a signer is known.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Principal {
    Key(KeyFingerprint),
    Named {
        /// Absent where an own authority vouches.
        issuer: Option<String>,
        name: String,
    },
}

/// The signers behind some evidence, each by a number.
#[derive(Debug, Default)]
pub(super) struct Principals {
    /// Disjoint sets of names, a signer each.
    signers: Vec<BTreeSet<Principal>>,
}

impl Principals {
    /// The signers of all this evidence. It must be evidence that counts: what does not must not make two signers one.
    pub(super) fn of<'a>(evidence: impl Iterator<Item = &'a Evidence>) -> Self {
        let mut signers: Vec<BTreeSet<Principal>> = Vec::new();
        for one in evidence {
            let mut names = names(one);
            // Sets that have no name in common stay apart: those that are kept have none in common with those that are joined.
            signers.retain(|signer| {
                let apart = signer.is_disjoint(&names);
                if !apart {
                    names.extend(signer.iter().cloned());
                }
                apart
            });
            signers.push(names);
        }
        Self { signers }
    }

    /// The numbers of the signers of some of this evidence.
    pub(super) fn numbers<'a>(&self, evidence: impl Iterator<Item = &'a Evidence>) -> BTreeSet<usize> {
        evidence
            .filter_map(|one| {
                let names = names(one);
                self.signers.iter().position(|signer| !signer.is_disjoint(&names))
            })
            .collect()
    }
}

/// The names of the signer of one piece of evidence.
fn names(evidence: &Evidence) -> BTreeSet<Principal> {
    match evidence.signer() {
        Signer::Key { sha256 } => BTreeSet::from([Principal::Key(sha256.clone())]),
        Signer::Certificate { issuer, subjects, .. } => {
            let own = matches!(evidence.under(), AnchorId::Certificates { .. });
            // An own authority vouches by itself, whatever issuer it may write down: the name is the same with and without.
            let mut issuers = vec![issuer.clone()];
            if own && issuer.is_some() {
                issuers.push(None);
            }
            let named = |subject: &Subject| {
                let name = name(subject);
                issuers.iter().map(move |issuer| Principal::Named { issuer: issuer.clone(), name: name.clone() })
            };
            subjects.iter().flat_map(|subject| named(subject).collect::<Vec<_>>()).collect()
        }
    }
}

/// A name as far as it tells signers apart.
fn name(subject: &Subject) -> String {
    match subject {
        Subject::Email(address) => address.to_lowercase(),
        Subject::OtherName(name) => name.clone(),
        Subject::Uri(uri) => workflow(uri).to_owned(),
    }
}

/// A URI without the ref behind the `@` in its path. The first one, because a branch may have an `@` in its name, and a workflow
/// must not become two signers by its branches. One that stands before the path belongs to a user or host.
fn workflow(uri: &str) -> &str {
    let path = uri.find("://").and_then(|scheme| {
        let host = scheme + "://".len();
        uri.get(host..)?.find('/').map(|slash| host + slash)
    });
    let at = path.and_then(|path| uri.get(path..)?.find('@').map(|at| path + at));
    at.and_then(|at| uri.get(..at)).unwrap_or(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_is_one_signer_at_every_ref() {
        let release = "https://github.com/acme/app/.github/workflows/release.yml";
        for reference in ["@refs/heads/main", "@refs/tags/v1", "@refs/heads/a@refs/tags/v1", "@", ""] {
            assert_eq!(workflow(&format!("{release}{reference}")), release);
        }
        for whole in ["spiffe://acme/release", "ssh://git@acme.example/app", "https://user@acme", "mailto:a@b", "@", ""]
        {
            assert_eq!(workflow(whole), whole);
        }
    }

    #[test]
    fn addresses_are_compared_in_lower_case_and_nothing_else_is() {
        assert_eq!(name(&Subject::Email("Alice@Example.COM".into())), "alice@example.com");
        assert_eq!(name(&Subject::OtherName("Alice!acme".into())), "Alice!acme");
        assert_eq!(name(&Subject::Uri("https://x/A".into())), "https://x/A");
    }
}
