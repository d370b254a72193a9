//! Bundles of several clients and of the conformance suite, by the artifact's bytes and by its digest.

use std::collections::BTreeMap;

use super::super::fixtures::{BUNDLE, bytes, candidate, image};
use super::super::*;
use super::{Case, Outcome, refused};
use crate::trust::{PUBLIC_GOOD, PublicKey, TrustMaterial};

/// Who signed where a case of the conformance suite does not say.
const SUITE: (&str, &str) = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main",
    "https://token.actions.githubusercontent.com",
);

/// Cases that cannot be judged by a sha256 alone: a statement that names the artifact by sha512 only, and a signature over its sha512.
const ONLY_BY_BYTES: &[&str] =
    &["bundles-extra/gh-cli--sigstore-js-2.1.0-v0.1", "bundles-extra/sigstore-java--alg-ECDSA_P521_SHA_512"];

/// Cases of which neither the artifact nor its sha256 is at hand.
pub(super) const WITHOUT_ARTIFACT: &[&str] = &[
    "bundles-extra/gh-cli--invalid-signature_fail",
    "bundles-extra/sigstore-go--npm-publish-key",
    "bundles-extra/sigstore-go--sigstore.js-2.0.0",
    "bundles-extra/slsa-verifier--npm-provenance-npm-test-ossf",
    "bundles-extra/slsa-verifier--npm-provenance-npm-test-ossf-invalidsigprov_fail",
];

impl Case {
    fn read(&self, file: &str) -> Option<Vec<u8>> {
        self.path().join(file).is_file().then(|| bytes(self.path().join(file)))
    }

    fn text(&self, file: &str) -> Option<String> {
        self.read(file).map(|bytes| String::from_utf8(bytes).unwrap().trim().to_owned())
    }

    fn artifact(&self) -> Option<Vec<u8>> {
        let suite = self.name.starts_with("sigstore-conformance/");
        self.read("artifact").or_else(|| suite.then(|| bytes("tests/data/sigstore-conformance/a.txt")))
    }

    fn root(&self) -> TrustMaterial {
        match self.text("trusted_root.json") {
            Some(json) => TrustMaterial::parse("own", &json).unwrap(),
            None => TrustMaterial::embedded(PUBLIC_GOOD).unwrap(),
        }
    }

    fn key(&self) -> Option<PublicKey> {
        self.text("key.pub").map(|pem| PublicKey::parse_pem(&pem).unwrap())
    }

    /// Whether the signer is the one that the case names.
    fn is_signed_by(&self, evidence: &Evidence) -> bool {
        let Signer::Certificate { issuer, subjects, .. } = evidence.signer() else {
            return self.text("key.pub").is_some();
        };
        let suite = self.name.starts_with("sigstore-conformance/");
        let wanted = |file: &str, default: &str| self.text(file).or_else(|| suite.then(|| default.to_owned()));
        let wanted_subject = wanted("identity", SUITE.0).unwrap_or_default();
        // One instance gives no issuer.
        subjects.iter().any(|subject| subject.as_str() == wanted_subject)
            && (issuer.is_none() || *issuer == wanted("issuer", SUITE.1))
    }

    fn verify<'a>(&self, artifact: impl Into<Artifact<'a>>) -> Result<Evidence, VerifyError> {
        let bundle = candidate(BUNDLE, bytes(self.path().join("bundle.sigstore.json")), BTreeMap::new());
        match self.key() {
            Some(key) => verify_with_key(&bundle, artifact, &key),
            None => verify_with_root(&bundle, artifact, &self.root()),
        }
    }

    /// Whether it is signed by the one that the case names, with what the suite wants of every bundle.
    fn outcome(&self, result: Result<Evidence, VerifyError>) -> Outcome {
        let evidence = result.map_err(|error| refused(&error))?;
        if !self.is_signed_by(&evidence) {
            return Err(("IdentityMismatch", evidence.signer().to_string()));
        }
        match evidence.no_certificate_transparency() {
            Some(reason) if self.root().has_certificate_transparency() => {
                Err(("CertificateTransparencyMissing", reason.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn judge(case: &Case) -> Vec<(&'static str, Outcome)> {
    let artifact = case.artifact().map(image);
    let mut outcomes = Vec::new();
    if let Some(artifact) = &artifact {
        outcomes.push(("bytes", case.outcome(case.verify(artifact))));
    }
    let digest = case.text("digest").map(|digest| Digest::parse(&digest).unwrap());
    let digest = artifact.as_ref().map(|artifact| artifact.digest().clone()).or(digest);
    if let Some(digest) = digest.filter(|_| !ONLY_BY_BYTES.contains(&case.name.as_str())) {
        outcomes.push(("digest", case.outcome(case.verify(&digest))));
    }
    outcomes
}
