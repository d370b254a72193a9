//! Logs of Rekor's first version: an entry by its index.

use std::sync::Arc;
use std::time::Duration;

use countersign::decision::Answer;
use serde_json::{Value, json};

use super::log::{Asked, Bound, Reply, reply};
use super::virtual_sigstore::oci::Image;
use super::virtual_sigstore::text::{base64, hex};
use super::virtual_sigstore::{Algorithm, Key, Parts, RekorV1, Version, VirtualSigstore};
use super::{Answers, Judging, alice, honest, judged, noon, subject};

/// A change of the honest answer's one entry.
type Edit = fn(&VirtualSigstore, u64, &mut Value);

fn index_of(asked: &Asked) -> u64 {
    asked.target.rsplit('=').next().unwrap().parse().unwrap()
}

/// What the honest log answers about an entry, changed.
fn edited(sigstore: &VirtualSigstore, asked: &Asked, edit: Edit) -> Reply {
    let log = &sigstore.logs_v1[0];
    let index = index_of(asked) - log.offset;
    let mut answer = log.entry_at(index).unwrap();
    edit(sigstore, index, answer.as_object_mut().unwrap().values_mut().next().unwrap());
    reply(200, answer.to_string())
}

fn put(entry: &mut Value, proof: &super::virtual_sigstore::entry::Proof) {
    entry["verification"]["inclusionProof"] = json!({
        "checkpoint": proof.checkpoint,
        "hashes": proof.hashes.iter().map(|hash| hex(hash)).collect::<Vec<_>>(),
        "logIndex": proof.log_index,
        "rootHash": hex(&proof.root),
        "treeSize": proof.tree_size,
    });
}

/// A log with the same key and another tree.
fn twin(log: &RekorV1) -> RekorV1 {
    let mut twin = RekorV1::new(Algorithm::P256, "rekor.example", "rekor.example");
    twin.key = log.key.clone();
    twin
}

async fn setting() -> (Bound, Arc<VirtualSigstore>, Parts) {
    let bound = Bound::new().await;
    let sigstore = Arc::new(super::instance(&bound));
    let parts = sigstore.sign(subject()).by(&alice()).parts();
    (bound, sigstore, parts)
}

#[tokio::test]
async fn an_entry_that_its_log_holds_is_confirmed_in_the_tree_as_it_is_now() {
    let (bound, sigstore, parts) = setting().await;
    for _ in 0..9 {
        sigstore.sign(subject()).parts();
    }
    let (came, log) = judged(&sigstore, bound, &parts, honest).await;
    assert_eq!(came.answer, Answer::Allow, "{}", came.text);
    assert_eq!(log.asked(), [format!("GET /api/v1/log/entries?logIndex={}", parts.entries[0].log_index)]);
}

#[tokio::test]
async fn what_the_log_does_not_prove_is_left_open() {
    let table: [(&str, &str, Edit); 12] = [
        ("another index", "LogEntryDiffers", |_, _, entry| entry["logIndex"] = 1.into()),
        ("a head that another key signed", "LogInclusionUnproved", |sigstore, index, entry| {
            let log = &sigstore.logs_v1[0];
            let mut head = log.checkpoint(index + 2);
            head.signers[0].key = Key::generate(Algorithm::P256);
            let mut proof = log.proof(index, index + 2);
            proof.checkpoint = Some(head.text());
            put(entry, &proof);
        }),
        ("a head of another log's key under its own hint", "LogInclusionUnproved", |sigstore, index, entry| {
            let log = &sigstore.logs_v1[0];
            let other = RekorV1::new(Algorithm::P256, "rekor.example", "rekor.example");
            let mut head = log.checkpoint(index + 2);
            head.signers = vec![other.signer()];
            let mut proof = log.proof(index, index + 2);
            proof.checkpoint = Some(head.text());
            put(entry, &proof);
        }),
        ("a smaller tree", "LogRolledBack", |sigstore, index, entry| {
            put(entry, &sigstore.logs_v1[0].proof(index, index + 1));
        }),
        ("another leaf's proof", "LogInclusionUnproved", |sigstore, index, entry| {
            put(entry, &sigstore.logs_v1[0].proof(index - 1, index + 2));
        }),
        ("another tree's id", "LogForked", |sigstore, index, entry| {
            let log = &sigstore.logs_v1[0];
            let mut head = log.checkpoint(index + 2);
            head.origin.push('0');
            let mut proof = log.proof(index, index + 2);
            proof.checkpoint = Some(head.text());
            put(entry, &proof);
        }),
        ("a flipped hash", "LogInclusionUnproved", |_, _, entry| {
            let hash = &mut entry["verification"]["inclusionProof"]["hashes"][0];
            *hash = "00".repeat(32).into();
        }),
        ("no proof", "LogInclusionUnproved", |_, _, entry| {
            entry["verification"].as_object_mut().unwrap().remove("inclusionProof");
        }),
        ("no checkpoint", "LogAnswerMalformed", |_, _, entry| {
            entry["verification"]["inclusionProof"]["checkpoint"] = Value::Null;
        }),
        ("another promise", "LogInclusionUnproved", |_, _, entry| {
            entry["verification"]["signedEntryTimestamp"] = base64(b"another").into();
        }),
        ("another time", "LogInclusionUnproved", |_, _, entry| {
            entry["integratedTime"] = (noon().as_second() + 1).into();
        }),
        ("another log", "LogInclusionUnproved", |_, _, entry| entry["logID"] = "00".repeat(32).into()),
    ];
    for (what, code, edit) in table {
        let (bound, sigstore, parts) = setting().await;
        let (came, _log) = judged(&sigstore, bound, &parts, move |sigstore, asked| edited(sigstore, asked, edit)).await;
        assert!(came.is_open(code), "{what}: {}", came.text);
    }
    let (bound, sigstore, parts) = setting().await;
    let (came, _log) = judged(&sigstore, bound, &parts, |sigstore, asked| edited(sigstore, asked, |_, _, _| ())).await;
    assert_eq!(came.answer, Answer::Allow, "unchanged: {}", came.text);
}

#[tokio::test]
async fn what_is_not_the_entry_is_left_open() {
    let table: [(&str, &str, Answers); 10] = [
        ("nothing", "LogEntryNotFound", |_, _| reply(404, "{}")),
        ("a later entry", "LogEntryDiffers", |sigstore, asked| {
            let log = &sigstore.logs_v1[0];
            reply(200, log.entry_at(index_of(asked) - log.offset + 2).unwrap().to_string())
        }),
        // A body of a known kind in its place, with all that a log signs of it.
        ("another body under its index", "LogEntryDiffers", |sigstore, asked| {
            let log = &sigstore.logs_v1[0];
            let other = twin(log);
            sigstore.sign(subject()).by(&alice()).logged_in(&[super::virtual_sigstore::Log::V1(&other)]).parts();
            let wrong = other.entry_at(5).unwrap();
            assert_eq!(wrong.as_object().unwrap().values().next().unwrap()["logIndex"], index_of(asked));
            reply(200, wrong.to_string())
        }),
        ("the id of another", "LogAnswerMalformed", |sigstore, asked| {
            let log = &sigstore.logs_v1[0];
            let answer = log.entry_at(index_of(asked) - log.offset).unwrap();
            let entry = answer.as_object().unwrap().values().next().unwrap();
            reply(200, json!({"00".repeat(32): entry}).to_string())
        }),
        ("two entries", "LogAnswerMalformed", |sigstore, asked| {
            let log = &sigstore.logs_v1[0];
            let mut answer = log.entry_at(index_of(asked) - log.offset).unwrap();
            let entry = answer.as_object().unwrap().values().next().unwrap().clone();
            answer["00".repeat(32)] = entry;
            reply(200, answer.to_string())
        }),
        ("no JSON", "LogAnswerMalformed", |_, _| reply(200, "<html>")),
        ("too much", "LogAnswerTooLarge", |_, _| reply(200, vec![b' '; 2 << 20])),
        ("too much, without a length", "LogAnswerTooLarge", |_, _| {
            let chunk = || Ok::<_, std::io::Error>(axum::body::Bytes::from_static(&[b' '; 4096]));
            reply(200, axum::body::Body::from_stream(futures::stream::repeat_with(chunk)))
        }),
        ("an error", "LogUnexpectedStatus", |_, _| reply(500, "SECRET")),
        ("a refusal", "LogUnexpectedStatus", |_, _| reply(403, "SECRET")),
    ];
    for (what, code, answer) in table {
        let (bound, sigstore, parts) = setting().await;
        sigstore.sign(subject()).parts();
        let (came, log) = judged(&sigstore, bound, &parts, answer).await;
        assert!(came.is_open(code), "{what}: {}", came.text);
        assert!(!came.text.contains("SECRET"), "{what}: {}", came.text);
        assert_eq!(log.asked().len(), 1, "{what}");
    }
}

/// A log that signed one tree for the evidence and shows another of the same size.
#[tokio::test]
async fn a_fork_is_left_open() {
    let (bound, sigstore, parts) = setting().await;
    let body: Value = serde_json::from_slice(&parts.entries[0].body).unwrap();
    let (came, _log) = judged(&sigstore, bound, &parts, move |sigstore, _| {
        let log = &sigstore.logs_v1[0];
        let fork = twin(log);
        let entry = fork.log(&body, noon());
        reply(200, fork.entry_at(entry.log_index - fork.offset).unwrap().to_string())
    })
    .await;
    assert!(came.is_open("LogForked"), "{}", came.text);
}

#[tokio::test]
async fn a_log_that_is_not_to_be_had_is_asked_twice() {
    for status in [429, 502, 503, 504] {
        let (bound, sigstore, parts) = setting().await;
        let (came, log) = judged(&sigstore, bound, &parts, move |_, _| reply(status, "")).await;
        assert!(came.is_open("LogUnexpectedStatus"), "{status}: {}", came.text);
        assert_eq!(log.asked().len(), 2, "{status}");
        let (bound, sigstore, parts) = setting().await;
        let (came, log) = judged(&sigstore, bound, &parts, move |sigstore, asked| {
            if asked.number == 0 { reply(status, "") } else { honest(sigstore, asked) }
        })
        .await;
        assert_eq!(came.answer, Answer::Allow, "{status} once: {}", came.text);
        assert_eq!(log.asked().len(), 2, "{status} once");
    }
    // Nobody listens.
    let (bound, sigstore, parts) = setting().await;
    drop(bound);
    let came = Judging::under(&sigstore).judge(&Image::new("app").referred(&parts, Version::V03)).await;
    assert!(came.is_open("LogUnavailable"), "{}", came.text);
}

#[tokio::test]
async fn a_log_that_stalls_is_given_up() {
    let (bound, sigstore, parts) = setting().await;
    let _log = bound.serve(|_| Reply::Never);
    let judging = Judging { question_timeout: Duration::from_millis(200), ..Judging::under(&sigstore) };
    let came = judging.judge(&Image::new("app").referred(&parts, Version::V03)).await;
    assert!(came.is_open("LogUnavailable"), "{}", came.text);
}

/// The evidence and the log's answers name no place to go to; the trust root alone does.
#[tokio::test]
async fn no_redirect_is_followed() {
    let (bound, sigstore, parts) = setting().await;
    let elsewhere = Bound::new().await;
    let url = elsewhere.url();
    let elsewhere = elsewhere.serve({
        let sigstore = Arc::clone(&sigstore);
        move |asked| honest(&sigstore, asked)
    });
    for status in [301, 302, 307, 308] {
        let (again, _, _) = setting().await;
        let sigstore = Arc::new({
            let mut own = super::instance(&again);
            own.logs_v1[0].key = sigstore.logs_v1[0].key.clone();
            own
        });
        let parts = sigstore.sign(subject()).by(&alice()).parts();
        let url = url.clone();
        let (came, log) = judged(&sigstore, again, &parts, move |_, asked| {
            let Reply::Now(mut response) = reply(status, "") else { unreachable!() };
            response.headers_mut().insert("location", format!("{url}{}", asked.target).parse().unwrap());
            Reply::Now(response)
        })
        .await;
        assert!(came.is_open("LogUnexpectedStatus"), "{status}: {}", came.text);
        assert_eq!(log.asked().len(), 1);
    }
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
    drop((bound, parts));
}

#[tokio::test]
async fn an_address_that_is_none_is_left_open() {
    for address in ["", "rekor.example", "file:///etc/passwd", "https://user:SECRET@127.0.0.1"] {
        let (_bound, sigstore, parts) = setting().await;
        let root = sigstore.root().with(|root| root.logs[0].base_url = address.to_owned());
        let judging = Judging { root, ..Judging::under(&sigstore) };
        let came = judging.judge(&Image::new("app").referred(&parts, Version::V03)).await;
        assert!(came.is_open("LogAddressInvalid"), "{address}: {}", came.text);
        assert!(!came.text.contains("SECRET"), "{}", came.text);
    }
}
