//! Who may sign, as a delegated role's Fulcio identities say it (TAP 18): delivered by TUF, and taken away by it.

use super::*;
use crate::tuf_repository::{Delegation, FAR, Role};

const APP: &str = "registry.example/app";

fn fulcio(person: &str, issuer: &str) -> Value {
    // The client wants a `public` in every key.
    let value = json!({"identity": person, "issuer": issuer, "public": ""});
    json!({"keytype": "sigstore-oidc", "scheme": "Fulcio", "keyval": value})
}

/// A repository that delegates a role to these keys, beside one that is none of Fulcio's.
fn delegate(bench: &Bench, keys: &[Value]) {
    let further_keys = keys.iter().enumerate().map(|(number, key)| (format!("f{number}"), key.clone())).collect();
    let delegation = Delegation {
        name: "release".to_owned(),
        role: Role::new(1, 1),
        further_keys,
        paths: vec!["release/*".to_owned()],
        version: 1,
        expires: FAR.to_owned(),
        targets: BTreeMap::new(),
    };
    bench.served.edit(|repository| {
        repository.delegations = vec![delegation];
        repository.publish();
    });
}

fn policy() -> Value {
    let identity = json!({"tufRole": {"trustRoot": "own", "role": "release"}});
    object(
        "ClusterSignaturePolicy",
        "p",
        &json!({"images": ["**"], "authorities": [
        {"name": "a", "keyless": {"trustRoot": "own", "identities": [identity]}}]}),
    )
}

/// Waits until an image is judged so.
async fn until(bench: &Bench, image: &Image, expected: Answer, said: &str) {
    let rules = ClusterRules::without_object(Unmatched::Deny);
    let mut changed = bench.feeds.changed();
    let work = async {
        loop {
            let (answer, text) = bench.judge(image, APP, &[policy()], &rules).await;
            if answer == expected && text.contains(said) {
                return;
            }
            changed.changed().await.unwrap();
        }
    };
    let ended = tokio::time::timeout(HANG, work).await;
    assert!(ended.is_ok(), "hangs: {expected:?} {said}: {:?}", bench.judge(image, APP, &[policy()], &rules).await);
}

fn declare(bench: &Bench) {
    let policy = Policy::parse(&policy()).unwrap();
    let wanted: BTreeSet<RoleName> = policy.tuf_roles().cloned().collect();
    assert_eq!(wanted.len(), 1);
    bench.feeds.declare_roles(&wanted);
}

#[tokio::test]
async fn a_change_of_the_role_flips_the_verdict() {
    let mut bench = Bench::start(&json!([])).await;
    let (alice, bob) = (bench.image("app", ALICE), bench.image("app", BOB));
    // Nobody asked for the role yet, then it is not delegated.
    until(&bench, &alice, Answer::Undecided, "[TufRoleUnavailable]").await;
    declare(&bench);
    until(&bench, &alice, Answer::Undecided, "release").await;
    delegate(&bench, &[fulcio(ALICE, ISSUER)]);
    until(&bench, &alice, Answer::Allow, "satisfied").await;
    until(&bench, &bob, Answer::Deny, "[IdentityMismatch]").await;
    delegate(&bench, &[fulcio(BOB, ISSUER)]);
    until(&bench, &alice, Answer::Deny, "[IdentityMismatch]").await;
    until(&bench, &bob, Answer::Allow, "satisfied").await;
    delegate(&bench, &[fulcio(BOB, ISSUER), fulcio(ALICE, ISSUER)]);
    until(&bench, &alice, Answer::Allow, "satisfied").await;
    // The halves of two identities are none.
    delegate(&bench, &[fulcio(ALICE, "https://other.example.com"), fulcio(BOB, ISSUER)]);
    until(&bench, &alice, Answer::Deny, "[IssuerMismatch]").await;
    // A role without Fulcio identities leaves it open who may sign.
    delegate(&bench, &[]);
    until(&bench, &bob, Answer::Undecided, "no Fulcio identity").await;
    delegate(&bench, &[fulcio(ALICE, ISSUER)]);
    until(&bench, &alice, Answer::Allow, "satisfied").await;
    // A restart without the repository knows nobody.
    bench.served.behave(Manner::Status(503));
    bench.restart();
    declare(&bench);
    bench.trust.settled().await;
    until(&bench, &alice, Answer::Undecided, "[TufRoleUnavailable]").await;
}

#[tokio::test]
async fn what_was_verified_counts_until_it_expires() {
    let bench = Bench::start(&json!([])).await;
    bench.served.edit(|repository| repository.expire(&later(1)));
    delegate(&bench, &[fulcio(ALICE, ISSUER)]);
    declare(&bench);
    let alice = bench.image("app", ALICE);
    until(&bench, &alice, Answer::Allow, "satisfied").await;
    bench.served.behave(Manner::Status(503));
    bench.set_clock(later(1));
    until(&bench, &alice, Answer::Allow, "satisfied").await;
    bench.set_clock(later(1) + jiff::SignedDuration::from_secs(1));
    until(&bench, &alice, Answer::Undecided, "could not be judged").await;
}

#[tokio::test]
async fn a_root_that_is_withdrawn_or_pinned_anew_says_no_more_who_signs() {
    let bench = Bench::start(&json!([])).await;
    let role = RoleName { trust_root: "own".to_owned(), role: "release".to_owned() };
    let found = || bench.feeds.roles().find(&role, noon()).map(<[_]>::to_vec).map_err(|reason| reason.to_string());
    // Waits until something holds of who signs, as that is published after several looks.
    let until = async |what: &str, looks: usize, holds: &dyn Fn() -> bool| {
        let mut changed = bench.feeds.changed();
        let work = async {
            for _ in 0..looks {
                changed.changed().await.unwrap();
            }
            while !holds() {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(HANG, work).await.unwrap_or_else(|_| panic!("hangs: {what}: {:?}", found()));
    };
    delegate(&bench, &[fulcio(ALICE, ISSUER)]);
    declare(&bench);
    until("known", 0, &|| found().is_ok()).await;
    bench.trust.withdraw("own");
    bench.feeds.declare_roots(BTreeMap::new());
    assert!(found().is_err(), "at once");
    until("withdrawn", 3, &|| found().is_err_and(|reason| reason.contains("own"))).await;
    bench.declare_root();
    until("known again", 0, &|| found().is_ok()).await;
    // A mirror that is down takes nothing away, nor does another word about the same pinned root.
    bench.served.behave(Manner::Status(503));
    bench.trust.withdraw("own");
    bench.declare_root();
    until("down", 3, &|| found().is_ok()).await;
    // Another pinned root is another repository, whoever is asked.
    bench.served.edit(|repository| *repository = Repository::new(TRUSTED_ROOT, b"{}"));
    bench.declare_root();
    assert!(found().is_err(), "at once");
    until("pinned anew", 3, &|| found().is_err()).await;
}

#[tokio::test]
async fn a_role_that_nobody_has_looked_up_yet_is_waited_for() {
    let mut bench = Bench::start(&json!([])).await;
    delegate(&bench, &[fulcio(ALICE, ISSUER)]);
    let role = RoleName { trust_root: "own".to_owned(), role: "release".to_owned() };
    for (manner, is_known) in [(Manner::Honest, true), (Manner::Status(503), false)] {
        bench.served.behave(manner);
        bench.restart();
        declare(&bench);
        tokio::time::timeout(HANG, bench.feeds.settled()).await.expect("hangs");
        let found = bench.feeds.roles().find(&role, noon()).map(<[_]>::len);
        assert_eq!(found.is_ok(), is_known, "{found:?}");
        assert_ne!(found, Err(RoleUnavailable::Unknown));
    }
}
