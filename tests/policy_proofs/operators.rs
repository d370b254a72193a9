//! GHSA-9vcr-p3rj-q5q6: a threshold of logs or timestamp authorities is met by different operators, and by nothing else.

use serde_json::json;

use super::virtual_sigstore::{
    Algorithm, Log, RekorV2, TimestampAuthority, TimestampOptions, TrustedRoot, VirtualSigstore,
};
use super::{alone, anybody, bundle, code, one, roots, sign, verdict};

/// The root with the operator of each log and of each timestamp authority in place of its own.
fn operated(root: TrustedRoot, logs: &[&str], authorities: &[&str]) -> TrustedRoot {
    root.with(|root| {
        for (log, operator) in root.logs.iter_mut().zip(logs) {
            (*operator).clone_into(&mut log.operator);
        }
        for (authority, operator) in root.timestamp_authorities.iter_mut().zip(authorities) {
            (*operator).clone_into(&mut authority.operator);
        }
    })
}

#[test]
fn ghsa_9vcr_p3rj_q5q6_entries_of_one_operator_are_one() {
    let mut sigstore = VirtualSigstore::doubled();
    sigstore.logs_v2.push(RekorV2::new(Algorithm::Ed25519, "log2026-1.rekor.example", "rekor.example"));
    let [v1, other_v1] = [0, 1].map(|place| Log::V1(&sigstore.logs_v1[place]));
    let [v2, other_v2, newer_v2] = [0, 1, 2].map(|place| Log::V2(&sigstore.logs_v2[place]));
    let two = alone(&anybody("a", "own", &json!({"logs": 2})));
    let proved = alone(&anybody("a", "own", &json!({"logs": 2, "inclusionProof": true})));
    let table: [(&str, &[Log<'_>], &str); 6] = [
        ("one log", &[v1], "LogMissing"),
        // Refused before anything is counted.
        ("two entries of one log", &[v1, v1], "MalformedEvidence"),
        ("two generations of one operator", &[v1, v2], "LogMissing"),
        ("two shards of one operator", &[v2, newer_v2], "LogMissing"),
        ("two operators", &[v1, other_v1], ""),
        ("two operators of newer logs", &[v2, other_v2], ""),
    ];
    for (name, logs, expected) in table {
        let candidate = [bundle(&sign(&sigstore).logged_in(logs).timestamped().parts())];
        let roots = roots(&[("own", sigstore.root())]);
        assert_eq!(code(&verdict(&two, &roots, &candidate, one())), expected, "{name}");
        assert_eq!(code(&verdict(&proved, &roots, &candidate, one())), expected, "{name}");
    }

    // Whoever does not say who operates a log may be anybody: two such logs are one, and one adds nothing to another operator's.
    let candidate = [bundle(&sign(&sigstore).logged_in(&[v1, other_v1]).parts())];
    for (operators, expected) in [
        (["", ""], "LogMissing"),
        (["", "b.example"], "LogMissing"),
        (["a.example", "a.example"], "LogMissing"),
        (["a.example", "b.example"], ""),
    ] {
        let roots = roots(&[("own", operated(sigstore.root(), &operators, &[]))]);
        assert_eq!(code(&verdict(&two, &roots, &candidate, one())), expected, "{operators:?}");
    }
}

#[test]
fn ghsa_9vcr_p3rj_q5q6_timestamps_of_one_operator_are_one() {
    let mut sigstore = VirtualSigstore::doubled();
    sigstore.timestamp_authorities.push(TimestampAuthority::new(TimestampOptions {
        uri: "https://timestamp.example/second".to_owned(),
        ..TimestampOptions::default()
    }));
    let [first, other, second] = [0, 1, 2].map(|place| &sigstore.timestamp_authorities[place]);
    let two = alone(&anybody("a", "own", &json!({"timestamps": 2})));
    let table = [
        ("one", vec![first], "TimestampMissing"),
        ("two tokens of one authority", vec![first, first], "TimestampMissing"),
        ("two authorities of one operator", vec![first, second], "TimestampMissing"),
        ("two operators", vec![first, other], ""),
    ];
    for (name, authorities, expected) in table {
        // The log dates the entry as well, which is no timestamp.
        let candidate = [bundle(&sign(&sigstore).timestamped_by(&authorities).parts())];
        let roots = roots(&[("own", sigstore.root())]);
        assert_eq!(code(&verdict(&two, &roots, &candidate, one())), expected, "{name}");
    }
    let candidate = [bundle(&sign(&sigstore).timestamped_by(&[first, other]).parts())];
    for operators in [["", ""], ["a.example", ""], ["a.example", "a.example"]] {
        let roots = roots(&[("own", operated(sigstore.root(), &[], &operators))]);
        assert_eq!(code(&verdict(&two, &roots, &candidate, one())), "TimestampMissing", "{operators:?}");
    }
}

/// The proofs stand on one signature: what two signatures prove apart, neither proves.
#[test]
fn proofs_are_not_collected_over_several_signatures() {
    let sigstore = VirtualSigstore::doubled();
    let roots = roots(&[("own", sigstore.root())]);
    let [v1, other] = [0, 1].map(|place| Log::V1(&sigstore.logs_v1[place]));
    let candidates = [v1, other].map(|log| bundle(&sign(&sigstore).logged_in(&[log]).parts()));
    let two = alone(&anybody("a", "own", &json!({"logs": 2})));
    assert_eq!(code(&verdict(&two, &roots, &candidates, one())), "LogMissing");
}
