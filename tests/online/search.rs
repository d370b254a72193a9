//! Signatures that carry no entry, which their log is searched for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::decision::Answer;
use countersign::registry::MemoryBudget;
use serde_json::{Value, json};

use super::log::{Asked, Bound, FakeLog, Reply, reply};
use super::virtual_sigstore::oci::Image;
use super::virtual_sigstore::{Identity, Log, Parts, Subject, VirtualSigstore};
use super::{Answers, Came, ISSUER, Judging, alice, honest};

/// A change of an entry.
type Edit = fn(&mut Value);

fn signature(sigstore: &VirtualSigstore, identity: &Identity) -> Parts {
    sigstore.sign(Subject::simple_signing(&Image::new("app").manifest)).by(identity).parts()
}

fn without_entry(parts: &Parts) -> Parts {
    parts.with(|parts| parts.entries.clear())
}

async fn setting() -> (Bound, Arc<VirtualSigstore>, Parts) {
    let bound = Bound::new().await;
    let sigstore = Arc::new(super::instance(&bound));
    let parts = signature(&sigstore, &alice());
    (bound, sigstore, parts)
}

/// Judges the image `app` with these signatures, all without their entries.
async fn judged(
    sigstore: &Arc<VirtualSigstore>,
    bound: Bound,
    signatures: &[&Parts],
    answer: impl Fn(&VirtualSigstore, &Asked) -> Reply + Clone + Send + Sync + 'static,
) -> (Came, FakeLog) {
    let log = bound.serve({
        let sigstore = Arc::clone(sigstore);
        move |asked| answer(&sigstore, asked)
    });
    let image = signatures.iter().fold(Image::new("app"), |image, parts| image.tagged(&without_entry(parts)));
    (Judging::under(sigstore).judge(&image).await, log)
}

/// The ids that the honest log finds, changed.
fn found(sigstore: &VirtualSigstore, asked: &Asked, edit: impl Fn(&mut Vec<Value>)) -> Reply {
    if asked.method != "POST" {
        return honest(sigstore, asked);
    }
    let mut ids = sigstore.logs_v1[0].post(&asked.target, &asked.body).unwrap();
    edit(ids.as_array_mut().unwrap());
    reply(200, ids.to_string())
}

#[tokio::test]
async fn the_entry_of_a_signature_is_found_and_dates_it() {
    let (bound, sigstore, parts) = setting().await;
    let (came, log) = judged(&sigstore, bound, &[&parts], honest).await;
    assert_eq!(came.answer, Answer::Allow, "{}", came.text);
    assert_eq!(log.asked().len(), 2, "{:?}", log.asked());
    assert_eq!(log.asked()[0], "POST /api/v1/index/retrieve");
    let satisfied = &came.trace["images"][0]["verdicts"][0]["authorities"][0]["satisfiedBy"][0];
    assert_eq!(satisfied["logs"][0]["online"], true, "{satisfied}");
    assert_eq!(satisfied["times"][0]["source"], "log", "{satisfied}");
    // Its own identity is still asked for.
    let (bound, sigstore, _) = setting().await;
    let bob = signature(&sigstore, &Identity::email("bob@example.com", ISSUER));
    let (came, _log) = judged(&sigstore, bound, &[&bob], honest).await;
    assert_eq!(came.answer, Answer::Deny, "{}", came.text);
    assert!(came.text.contains("[IdentityMismatch]"), "{}", came.text);
}

#[tokio::test]
async fn the_log_is_searched_for_those_who_want_it_alone() {
    let (bound, sigstore, parts) = setting().await;
    let image = Image::new("app").tagged(&without_entry(&parts));
    let log = bound.serve({
        let sigstore = Arc::clone(&sigstore);
        move |asked| honest(&sigstore, asked)
    });
    let came = Judging { online: &[false], ..Judging::under(&sigstore) }.judge(&image).await;
    assert_eq!(came.answer, Answer::Deny, "{}", came.text);
    assert!(came.text.contains("[LogMissing]"), "{}", came.text);
    assert_eq!(log.asked(), Vec::<String>::new());
    let came = Judging { online: &[false, true], ..Judging::under(&sigstore) }.judge(&image).await;
    assert_eq!(came.answer, Answer::Deny, "{}", came.text);
    assert_eq!(came.passes.iter().filter(|passes| **passes).count(), 1, "{}", came.text);
}

/// Signatures stay until their log has answered, which may take long: they are in the memory that all requests share.
#[tokio::test]
async fn what_is_searched_for_is_counted_until_the_log_answers() {
    const LARGE: usize = 60 << 10;
    let (bound, sigstore, _) = setting().await;
    let Subject::Message(payload) = Subject::simple_signing(&Image::new("app").manifest) else { panic!("a message") };
    let mut payload: Value = serde_json::from_slice(&payload).unwrap();
    payload["optional"] = json!({"note": "x".repeat(LARGE)});
    let parts = sigstore.sign(Subject::Message(payload.to_string().into_bytes())).by(&alice()).parts();
    let memory = MemoryBudget::default();
    let most = Arc::new(AtomicU64::new(0));
    let log = bound.serve({
        let (sigstore, memory, most) = (Arc::clone(&sigstore), memory.clone(), Arc::clone(&most));
        move |asked| {
            most.fetch_max(memory.used_bytes(), Ordering::SeqCst);
            honest(&sigstore, asked)
        }
    });
    let image = Image::new("app").tagged(&without_entry(&parts));
    let came = Judging { memory: memory.clone(), ..Judging::under(&sigstore) }.judge(&image).await;
    assert_eq!(came.answer, Answer::Allow, "{}", came.text);
    assert_eq!(log.asked()[0], "POST /api/v1/index/retrieve");
    let most = most.load(Ordering::SeqCst);
    assert!(most >= LARGE as u64, "{most} bytes were counted while the log was asked");
    assert_eq!(memory.used_bytes(), 0);
}

#[tokio::test]
async fn entries_of_others_under_the_same_hash_change_nothing() {
    let (bound, sigstore, parts) = setting().await;
    for _ in 0..5 {
        signature(&sigstore, &alice());
    }
    let image = Image::new("app").tagged(&without_entry(&parts));
    let reversed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let _log = bound.serve({
        let (sigstore, reversed) = (Arc::clone(&sigstore), Arc::clone(&reversed));
        move |asked| {
            found(&sigstore, asked, |ids| {
                if reversed.load(Ordering::SeqCst) {
                    ids.reverse();
                }
            })
        }
    });
    for order in [false, true] {
        reversed.store(order, Ordering::SeqCst);
        let came = Judging::under(&sigstore).judge(&image).await;
        assert_eq!(came.answer, Answer::Allow, "{}", came.text);
    }
}

#[tokio::test]
async fn a_search_without_a_fitting_entry_is_left_open() {
    let table: [(&str, &str, Answers); 12] = [
        ("nothing", "LogEntryNotFound", |_, _| reply(200, "[]")),
        ("null", "LogEntryNotFound", |_, _| reply(200, "null")),
        ("no search", "LogEntryNotFound", |_, _| reply(404, "")),
        ("another's entry alone", "LogEntryNotFound", |sigstore, asked| {
            let own = sigstore.logs_v1[0].uuid(5).unwrap();
            found(sigstore, asked, |ids| ids.retain(|id| *id != own))
        }),
        ("too many", "LogEntriesTooMany", |sigstore, asked| {
            found(sigstore, asked, |ids| ids.extend((0..32).map(|number| json!(format!("{number:064x}")))))
        }),
        ("no ids", "LogAnswerMalformed", |_, _| reply(200, r#"["../../v1/log"]"#)),
        ("no JSON", "LogAnswerMalformed", |_, _| reply(200, "<html>")),
        ("too much", "LogAnswerTooLarge", |_, _| reply(200, vec![b' '; 65 << 10])),
        ("an error", "LogUnexpectedStatus", |_, _| reply(500, "")),
        ("the entry under another's id", "LogEntryNotFound", |sigstore, asked| {
            if asked.method == "POST" {
                return reply(200, json!(["00".repeat(32)]).to_string());
            }
            reply(200, sigstore.logs_v1[0].entry_at(5).unwrap().to_string())
        }),
        ("ids of nothing", "LogEntryNotFound", |sigstore, asked| {
            if asked.method == "POST" { honest(sigstore, asked) } else { reply(404, "") }
        }),
        ("entries that cannot be had", "LogUnexpectedStatus", |sigstore, asked| {
            if asked.method == "POST" { honest(sigstore, asked) } else { reply(500, "") }
        }),
    ];
    for (what, code, answer) in table {
        let (bound, sigstore, parts) = setting().await;
        signature(&sigstore, &alice());
        let (came, _log) = judged(&sigstore, bound, &[&parts], answer).await;
        assert!(came.is_open(code), "{what}: {}", came.text);
    }
}

/// The entry is the right one, and something that makes it count is not there.
#[tokio::test]
async fn an_entry_that_is_not_proved_is_left_open() {
    let table: [(&str, Edit); 5] = [
        ("no proof", |entry| drop(entry["verification"].as_object_mut().unwrap().remove("inclusionProof"))),
        ("no promise", |entry| drop(entry["verification"].as_object_mut().unwrap().remove("signedEntryTimestamp"))),
        ("another promise", |entry| entry["verification"]["signedEntryTimestamp"] = "AAAA".into()),
        ("another log", |entry| entry["logID"] = "00".repeat(32).into()),
        ("another time", |entry| entry["integratedTime"] = 1.into()),
    ];
    for (what, edit) in table {
        let (bound, sigstore, parts) = setting().await;
        let (came, _log) = judged(&sigstore, bound, &[&parts], move |sigstore, asked| {
            if asked.method == "POST" {
                return honest(sigstore, asked);
            }
            let mut answer = sigstore.logs_v1[0].get(&asked.target).unwrap();
            edit(answer.as_object_mut().unwrap().values_mut().next().unwrap());
            reply(200, answer.to_string())
        })
        .await;
        assert!(came.is_open("LogEntryNotFound"), "{what}: {}", came.text);
    }
}

#[tokio::test]
async fn many_signatures_without_entries_are_left_open() {
    let (bound, sigstore, parts) = setting().await;
    let others: Vec<Parts> = (0..8).map(|_| signature(&sigstore, &alice())).collect();
    let all: Vec<&Parts> = others.iter().chain([&parts]).collect();
    let (came, log) = judged(&sigstore, bound, &all, honest).await;
    assert!(came.is_open("LogEntriesTooMany"), "{}", came.text);
    assert_eq!(log.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_root_whose_logs_cannot_be_searched_leaves_it_open() {
    let (bound, sigstore, _) = setting().await;
    let log = Log::V2(&sigstore.logs_v2[0]);
    let parts =
        sigstore.sign(Subject::simple_signing(&Image::new("app").manifest)).by(&alice()).logged_in(&[log]).parts();
    let image = Image::new("app").tagged(&without_entry(&parts));
    let log = bound.serve({
        let sigstore = Arc::clone(&sigstore);
        move |asked| honest(&sigstore, asked)
    });
    let root = sigstore.root().with(|root| drop(root.logs.remove(0)));
    let came = Judging { root, ..Judging::under(&sigstore) }.judge(&image).await;
    assert!(came.is_open("LogNotSearchable"), "{}", came.text);
    assert_eq!(log.asked(), Vec::<String>::new());
}
