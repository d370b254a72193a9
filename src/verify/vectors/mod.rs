//! Every published case of `tests/data/index.tsv` gets the verdict that is indexed.
//!
//! What is refused is refused for the reason that its name promises; what differs from the index is listed with why. One file a group:
//! `bundles` (by bytes and by digest alike), `images` (cosign's layers, layouts, registries), `parts` (what candidates are made of).

#![expect(clippy::unwrap_in_result, reason = "a broken fixture fails the test")]

mod bundles;
mod images;
mod parts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::fixtures::bytes;
use super::*;

/// Cases whose verdict is not the indexed one, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("certificatetransparency/ca-cert.pem", "a certificate for readers: it carries no timestamp"),
    ("certificatetransparency/cert-ct-poisoned.pem", "a precertificate for readers: it carries no timestamp"),
    ("certificatetransparency/cert.pem", "a certificate for readers: it carries no timestamp"),
    (
        "rekor-response/valid/jar-entry-v2.json",
        "made for readers: a body of another kind under the proof of a real entry",
    ),
    (
        "timestamp-response/valid/sigstore_tsa_response_with_embedded_certs.tsr",
        "for readers: it is older than the time from which the embedded root believes its authority",
    ),
];

/// Why each case that must be refused is refused.
const REASONS: &[(&str, &str)] = &[
    ("checkpoints/error_header_body_separator.txt", "MalformedCheckpoint"),
    ("checkpoints/error_header_count.txt", "MalformedCheckpoint"),
    ("checkpoints/error_no_signatures.txt", "MalformedCheckpoint"),
    ("checkpoints/error_signature_format_invalid.txt", "MalformedCheckpoint"),
    ("cosign-legacy/ci-key-modified-manifest.json", "OtherArtifact"),
    ("cosign-legacy/ci-key-rekor-wrong-rekor-key.json", "LogEntryInvalid"),
    ("cosign-legacy/ci-other-attachment.json", "MalformedEvidence"),
    ("cosign-legacy/connaisseur-keyless-moved.json", "OtherArtifact"),
    ("cosign-legacy/connaisseur-keyless-other-identity.json", "IdentityMismatch"),
    ("cosign-legacy/connaisseur-keyless-other-issuer.json", "IssuerMismatch"),
    ("cosign-legacy/connaisseur-three-signers-rekor-required.json", "LogMissing"),
    ("cosign-legacy/slsa-container-v1.10.0-other-ref.json", "IdentityMismatch"),
    ("cosign-legacy/slsa-container-v1.4.0-other-ref.json", "IdentityMismatch"),
    ("cosign-legacy/slsa-container-v1.6.0-other-ref.json", "IdentityMismatch"),
    ("cosign-legacy/slsa-container-v1.8.0-other-ref.json", "IdentityMismatch"),
    ("cosign-legacy/slsa-container-v2.0.0-other-ref.json", "IdentityMismatch"),
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

/// A row of the index.
struct Case {
    name: String,
    expected: String,
}

impl Case {
    /// The file or folder of the case.
    fn path(&self) -> PathBuf {
        Path::new("tests/data").join(&self.name)
    }

    /// The verdict that is indexed; cases that say themselves what they expect are accepted when they get it.
    fn accept(&self) -> bool {
        match self.expected.as_str() {
            "accept" => true,
            "reject" => false,
            other if other.starts_with("field ") || other.starts_with("see ") => true,
            other => panic!("{other} is no verdict of {}", self.name),
        }
    }
}

/// What a case got: nothing where it is accepted, or the code of its refusal and why.
type Outcome = Result<(), (&'static str, String)>;

fn refused(error: &VerifyError) -> (&'static str, String) {
    (error.code(), error.to_string())
}

/// Judges a case in every way in which it can be judged.
fn judge(case: &Case) -> Vec<(&'static str, Outcome)> {
    let (group, _) = case.name.split_once('/').unwrap();
    match group {
        "bundles" | "bundles-extra" | "sigstore-conformance" => bundles::judge(case),
        "cosign-legacy" => vec![("layers", images::legacy(case))],
        "oci-layouts" => vec![("layout", images::layout(case))],
        "registry-tree" => vec![("registry", images::tree(case))],
        "checkpoints" => vec![("text", parts::checkpoint(case))],
        "merkle" => vec![("proofs", parts::merkle(case))],
        "timestamp-response" => vec![("token", parts::timestamp(case))],
        "certificatetransparency" => vec![("certificate", parts::certificate_transparency(case))],
        "rekor-response" => vec![("entry", parts::rekor(case))],
        "wycheproof" => vec![("signatures", parts::wycheproof(case))],
        other => panic!("no judge for {other}"),
    }
}

#[test]
fn every_published_case_gets_its_verdict() {
    let index = String::from_utf8(bytes("tests/data/index.tsv")).unwrap();
    let rows = index.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let cases: Vec<Case> =
        rows.map(|fields| Case { name: fields[0].to_owned(), expected: fields[3].to_owned() }).collect();
    let exceptions: BTreeMap<_, _> = EXCEPTIONS.iter().copied().collect();
    let mut reasons: BTreeMap<_, _> = REASONS.iter().copied().collect();
    let (mut wrong, mut unjudged) = (Vec::new(), BTreeSet::new());
    for case in &cases {
        let accept = case.accept() != exceptions.contains_key(case.name.as_str());
        let outcomes = judge(case);
        if outcomes.is_empty() {
            unjudged.insert(case.name.as_str());
        }
        let reason = reasons.remove(case.name.as_str());
        for (how, outcome) in outcomes {
            let right = match &outcome {
                Ok(()) => accept,
                Err((code, _)) => !accept && (case.accept() || reason == Some(*code)),
            };
            if !right {
                wrong.push(format!("{} by {how}: {outcome:?}", case.name));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(unjudged, bundles::WITHOUT_ARTIFACT.iter().copied().collect());
    reasons.retain(|name, _| !unjudged.contains(name));
    assert!(reasons.is_empty(), "reasons for cases that are not there: {reasons:?}");
    assert_eq!(cases.len(), 127, "the whole index was read");
}
