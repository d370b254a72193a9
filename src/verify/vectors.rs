//! Every published bundle of `tests/data/index.tsv` gets the verdict that is indexed, by bytes and by digest alike.
//!
//! What is refused is refused for the reason that its name promises; what differs from the index is listed with why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::fixtures::{BUNDLE, bytes, candidate, image};
use super::*;
use crate::trust::{PUBLIC_GOOD, PublicKey, TrustMaterial};

/// Who signed where a case of the conformance suite does not say.
const SUITE: (&str, &str) = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main",
    "https://token.actions.githubusercontent.com",
);

/// Cases whose verdict is not the indexed one, and why.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Cases that cannot be judged by a sha256 alone: a statement that names the artifact by sha512 only, and a signature over its sha512.
const ONLY_BY_BYTES: &[&str] =
    &["bundles-extra/gh-cli--sigstore-js-2.1.0-v0.1", "bundles-extra/sigstore-java--alg-ECDSA_P521_SHA_512"];

/// Cases of which neither the artifact nor its sha256 is at hand.
const WITHOUT_ARTIFACT: &[&str] = &[
    "bundles-extra/gh-cli--invalid-signature_fail",
    "bundles-extra/sigstore-go--npm-publish-key",
    "bundles-extra/sigstore-go--sigstore.js-2.0.0",
    "bundles-extra/slsa-verifier--npm-provenance-npm-test-ossf",
    "bundles-extra/slsa-verifier--npm-provenance-npm-test-ossf-invalidsigprov_fail",
];

/// Why each case that must be refused is refused.
const REASONS: &[(&str, &str)] = &[
    ("bundles-extra/sigstore-python--tsa-duplicate_fail", "MalformedEvidence"),
    ("bundles-extra/sigstore-python--tsa-many_timestamp_fail", "MalformedEvidence"),
    ("bundles/gh-cli--github-instance-missing-cert_fail", "MalformedEvidence"),
    ("bundles/sigstore-java--bundle.v3_1.no.inclusion_fail", "MalformedEvidence"),
    ("bundles/sigstore-java--dsse.bad-signature_fail", "SignatureInvalid"),
    ("bundles/sigstore-java--dsse.rekor-v2.bad-entry-type_fail", "MalformedEvidence"),
    ("bundles/sigstore-java--mismatched-set_fail", "LogEntryInvalid"),
    ("bundles/sigstore-java--rekor-v2-outdated-tsa_fail", "TimestampInvalid"),
    ("bundles/sigstore-python--cve_2022_36056_fail", "LogEntryInvalid"),
    ("bundles/sigstore-python--no_checkpoint_fail", "MalformedEvidence"),
    ("bundles/sigstore-python--no_log_entry_fail", "LogMissing"),
    ("bundles/slsa-verifier--invalid-dsse-sig_fail", "MalformedEvidence"),
    ("bundles/slsa-verifier--mismatch-tlog_fail", "CertificateInvalid"),
    ("sigstore-conformance/bundle-empty-certificate-chain_fail", "MalformedEvidence"),
    ("sigstore-conformance/bundle-from-wrong-instance_fail", "LogEntryInvalid"),
    ("sigstore-conformance/bundle-malformed-json_fail", "MalformedEvidence"),
    ("sigstore-conformance/bundle-with-root-cert_fail", "MalformedEvidence"),
    ("sigstore-conformance/checkpoint-wrong-roothash_fail", "MalformedEvidence"),
    ("sigstore-conformance/dsse-invalid-sig_fail", "SignatureInvalid"),
    ("sigstore-conformance/dsse-mismatch-envelope_fail", "LogEntryInvalid"),
    ("sigstore-conformance/inclusion-proof-corrupted-hash_fail", "LogEntryInvalid"),
    ("sigstore-conformance/integrated-time-in-future_fail", "CertificateInvalid"),
    ("sigstore-conformance/intoto-log-entry-mismatch_fail", "LogEntryInvalid"),
    ("sigstore-conformance/intoto-set-outside-signing-cert-validity_fail", "CertificateInvalid"),
    ("sigstore-conformance/invalid-inclusion-proof_fail", "MalformedEvidence"),
    ("sigstore-conformance/managed-key-no-key_fail", "NoCertificate"),
    ("sigstore-conformance/rekor2-checkpoint-missing-origin_fail", "MalformedEvidence"),
    ("sigstore-conformance/rekor2-checkpoint-no-matching-signature_fail", "LogEntryInvalid"),
    ("sigstore-conformance/rekor2-dsse-invalid-sig_fail", "SignatureInvalid"),
    ("sigstore-conformance/rekor2-dsse-mismatch-envelope_fail", "LogEntryInvalid"),
    ("sigstore-conformance/rekor2-no-inclusion-proof_fail", "MalformedEvidence"),
    ("sigstore-conformance/rekor2-no-timestamp_fail", "TimestampMissing"),
    ("sigstore-conformance/rekor2-timestamp-outside-trust-root-tsa-validity_fail", "TimestampInvalid"),
    ("sigstore-conformance/rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail", "TimestampInvalid"),
    ("sigstore-conformance/rekor2-timestamp-with-incorrect-time_fail", "MalformedEvidence"),
    ("sigstore-conformance/signature-mismatch_fail", "SignatureInvalid"),
    ("sigstore-conformance/wrong-hashedrekord-artifact_fail", "LogEntryInvalid"),
    ("sigstore-conformance/wrong-hashedrekord-cert-and-sig_fail", "LogEntryInvalid"),
    ("sigstore-conformance/wrong-material_fail", "OtherArtifact"),
];

struct Case {
    name: String,
    accept: bool,
    folder: PathBuf,
}

impl Case {
    fn read(&self, file: &str) -> Option<Vec<u8>> {
        self.folder.join(file).is_file().then(|| bytes(self.folder.join(file)))
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
        let bundle = candidate(BUNDLE, bytes(self.folder.join("bundle.sigstore.json")), BTreeMap::new());
        match self.key() {
            Some(key) => verify_with_key(&bundle, artifact, &key),
            None => verify_with_root(&bundle, artifact, &self.root()),
        }
    }
}

fn cases() -> Vec<Case> {
    let index = String::from_utf8(bytes("tests/data/index.tsv")).unwrap();
    let case = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let folder = Path::new("tests/data").join(fields[0]);
        let accept = match fields[3] {
            "accept" => true,
            "reject" => false,
            other => panic!("{other} is no verdict: {line}"),
        };
        Case { name: fields[0].to_owned(), accept, folder }
    };
    index.lines().skip(1).map(case).collect()
}

#[test]
fn every_published_bundle_gets_its_verdict() {
    let exceptions: BTreeMap<_, _> = EXCEPTIONS.iter().copied().collect();
    let reasons: BTreeMap<_, _> = REASONS.iter().copied().collect();
    let (mut wrong, mut judged, mut unjudged) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for case in cases() {
        let artifact = case.artifact().map(image);
        let mut results = Vec::new();
        if let Some(artifact) = &artifact {
            results.push(("bytes", case.verify(artifact)));
        }
        let digest = case.text("digest").map(|digest| Digest::parse(&digest).unwrap());
        let digest = artifact.as_ref().map(|artifact| artifact.digest().clone()).or(digest);
        if let Some(digest) = digest.filter(|_| !ONLY_BY_BYTES.contains(&case.name.as_str())) {
            results.push(("digest", case.verify(&digest)));
        }
        if results.is_empty() {
            unjudged.insert(case.name.clone());
        }
        let accept = case.accept != exceptions.contains_key(case.name.as_str());
        for (how, result) in results {
            judged.insert(case.name.clone());
            let right = match &result {
                Ok(evidence) => accept && case.is_signed_by(evidence),
                Err(error) if case.accept => !accept && !error.to_string().is_empty(),
                Err(error) => !accept && reasons.get(case.name.as_str()) == Some(&error.code()),
            };
            if !right {
                wrong.push(format!("{} by {how}: {result:?}", case.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(unjudged, WITHOUT_ARTIFACT.iter().map(|name| (*name).to_owned()).collect());
    assert!(judged.len() >= 70, "only {} cases were judged", judged.len());
}
