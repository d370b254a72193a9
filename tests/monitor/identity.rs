//! Entries: whose names are told of, whose are not, and that none is passed over.

use std::time::Duration;

use countersign::api::SignatureRevocationSpec;
use countersign::monitor::{IdentityOptions, Monitor, MonitorOptions};
use countersign::policy::StringMatcher;

use super::virtual_sigstore::{AuthorityOptions, CertificateAuthority, Identity, Log, Subject};
use super::{ALICE, Api, BOTH, ISSUER, MANIFEST, Tree, World, minute, revoked};

fn options() -> MonitorOptions {
    let identities =
        IdentityOptions { announced_within: Duration::from_mins(30), suggest: true, ..IdentityOptions::default() };
    MonitorOptions { identities: Some(identities), ..MonitorOptions::default() }
}

/// A monitor that has looked at the log once.
async fn watching(world: &World, options: MonitorOptions) -> Monitor {
    let monitor = world.monitor(options);
    monitor.round(&world.view(), minute(0)).await;
    monitor
}

#[tokio::test]
async fn an_entry_that_nobody_announced_is_told_once_and_one_whose_image_is_known_is_not() {
    for api in BOTH {
        let world = World::new(api).await;
        // Before the monitor looks, nothing is news.
        world.sign();
        let monitor = watching(&world, options()).await;
        let known = world.sign();
        let stolen = world.sign();
        world.sign_in(&world.tree, "bob@example.com");
        world.tree.grow(20);
        monitor.round(&world.view(), minute(1)).await;
        assert_eq!(world.codes(), Vec::<&str>::new(), "{api:?}: there is time yet");
        // The image is seen after its entry was read, as is usual.
        monitor.observer().observe(&known);
        monitor.round(&world.view(), minute(29)).await;
        assert_eq!(world.codes(), Vec::<&str>::new(), "{api:?}");
        for at in [31, 32, 90] {
            monitor.round(&world.view(), minute(at)).await;
            assert_eq!(world.codes(), ["EntryUnannounced"], "{api:?} {at}");
        }
        let rows = monitor.unannounced();
        assert_eq!(rows.len(), 1, "{api:?}");
        assert_eq!(rows[0].leaf, stolen.logs()[0].uuid.hex(), "{api:?}");
        assert!(rows[0].signer.contains(ALICE) && rows[0].policy == "alice", "{rows:?}");
        let written = world.suggested.written.lock().unwrap();
        let [(name, spec)] = written.as_slice() else { panic!("{written:?}") };
        assert!(name.starts_with("suggested-entry-"), "{name}");
        assert_eq!(spec.suspended, Some(true));
        assert_eq!(spec.log_entries[0].uuid.as_deref(), Some(rows[0].leaf.as_str()));
        // As the cluster reads it: nothing, until somebody lets it act; then that entry, and no other.
        assert!(revoked(name, spec).judge(&stolen).is_ok());
        let acting = SignatureRevocationSpec { suspended: None, ..spec.clone() };
        let acting = revoked(name, &acting);
        assert!(acting.judge(&stolen).is_err() && acting.judge(&known).is_ok());
        assert_eq!(monitor.readings().entries_unannounced, 1);
        assert_eq!(monitor.readings().entries_behind, 0);
    }
}

#[tokio::test]
async fn reading_goes_on_where_it_stopped() {
    for api in BOTH {
        let world = World::new(api).await;
        let identities =
            IdentityOptions { entries_per_round: 10, announced_within: Duration::ZERO, ..IdentityOptions::default() };
        let options = MonitorOptions { identities: Some(identities), ..MonitorOptions::default() };
        let first = watching(&world, options.clone()).await;
        let begun = world.tree.size();
        // While nobody looks, and while the log does not answer.
        let mut wanted = Vec::new();
        for _ in 0..3 {
            wanted.push(world.sign().logs()[0].uuid.hex().to_owned());
            world.tree.grow(if api == Api::V1 { 20 } else { 300 });
        }
        world.served.lock().unwrap().broken = Some("entries");
        first.round(&world.view(), minute(1)).await;
        assert_eq!(first.readings().entries_behind, world.tree.size() - begun, "{api:?}");
        world.served.lock().unwrap().broken = None;
        drop(first);
        let mut read = 0;
        for round in 2..200 {
            // Another monitor each time.
            let monitor = world.monitor(options.clone());
            monitor.round(&world.view(), minute(round)).await;
            let readings = monitor.readings();
            assert!(readings.entries_read <= 10 + 255, "{api:?}: a round is bounded, {readings:?}");
            read += readings.entries_read;
            if readings.entries_behind == 0 {
                break;
            }
        }
        world.monitor(options.clone()).round(&world.view(), minute(300)).await;
        assert_eq!(read, world.tree.size() - begun, "{api:?}: each entry once");
        assert_eq!(world.codes(), ["EntryUnannounced"; 3], "{api:?}");
        let restarted = world.monitor(options);
        restarted.round(&world.view(), minute(301)).await;
        let mut found: Vec<String> = restarted.unannounced().into_iter().map(|row| row.leaf).collect();
        found.reverse();
        assert_eq!(found, wanted, "{api:?}");
        assert_eq!(world.codes(), ["EntryUnannounced"; 3], "{api:?}");
    }
}

/// Everybody can log an entry with a certificate that somebody made up.
#[tokio::test]
async fn only_a_certificate_of_the_root_s_authorities_is_somebody_s_name() {
    for api in BOTH {
        let world = World::new(api).await;
        let identities = IdentityOptions { announced_within: Duration::ZERO, ..IdentityOptions::default() };
        let options = MonitorOptions { identities: Some(identities), ..MonitorOptions::default() };
        let monitor = watching(&world, options).await;
        let stranger = CertificateAuthority::new(AuthorityOptions::default());
        let log = match &world.tree {
            Tree::V1(log) => Log::V1(log),
            Tree::V2(log) => Log::V2(log),
        };
        let signing = world.sigstore.sign(Subject::cosign_sign(MANIFEST)).by(&Identity::email(ALICE, ISSUER));
        signing.issued_by(&stranger).logged_in(&[log]).timestamped().parts();
        for at in [1, 2] {
            monitor.round(&world.view(), minute(at)).await;
        }
        assert_eq!(world.codes(), Vec::<&str>::new(), "{api:?}");
        world.sign();
        for at in [3, 4] {
            monitor.round(&world.view(), minute(at)).await;
        }
        assert_eq!(world.codes(), ["EntryUnannounced"], "{api:?}");
        assert!(world.suggested.written.lock().unwrap().is_empty(), "nothing is suggested unless wanted");
    }
}

#[tokio::test]
async fn what_is_expected_and_what_no_policy_trusts_is_not_told() {
    let world = World::new(Api::V2).await;
    let with = |expected: &str| {
        let expected = vec![StringMatcher::Exact(expected.to_owned())];
        let identities = IdentityOptions { announced_within: Duration::ZERO, expected, ..IdentityOptions::default() };
        MonitorOptions { identities: Some(identities), ..MonitorOptions::default() }
    };
    let monitor = watching(&world, with(ALICE)).await;
    world.sign();
    for at in [1, 2] {
        monitor.round(&world.view(), minute(at)).await;
    }
    assert_eq!(world.codes(), Vec::<&str>::new());
    assert_eq!(monitor.readings().entries_read, 1);
    // The twin: another is expected.
    let monitor = world.monitor(with("carol@example.com"));
    let mut nobody = world.view();
    nobody.policies.clear();
    world.sign();
    for at in [3, 4] {
        monitor.round(&nobody, minute(at)).await;
    }
    assert_eq!(world.codes(), Vec::<&str>::new());
    world.sign();
    for at in [5, 6] {
        monitor.round(&world.view(), minute(at)).await;
    }
    assert_eq!(world.codes(), ["EntryUnannounced"]);
}

/// What a log contradicts itself about is not read.
#[tokio::test]
async fn entries_are_read_under_a_head_that_is_consistent_and_off_by_default() {
    let world = World::new(Api::V2).await;
    let identities = IdentityOptions { announced_within: Duration::ZERO, ..IdentityOptions::default() };
    let options = MonitorOptions { identities: Some(identities), ..MonitorOptions::default() };
    let monitor = watching(&world, options).await;
    let plain = world.monitor(MonitorOptions::default());
    plain.round(&world.view(), minute(1)).await;
    let fork = world.tree.forked_at(world.tree.size() - 1);
    fork.grow(3);
    world.sign_in(&fork, ALICE);
    world.serve(&fork);
    for at in [1, 2, 3] {
        monitor.round(&world.view(), minute(at)).await;
        plain.round(&world.view(), minute(at)).await;
    }
    assert_eq!(world.codes(), ["LogForked"]);
    assert_eq!((monitor.readings().entries_read, plain.readings().entries_read), (0, 0));
    assert!(!world.log.asked().iter().any(|asked| asked.contains("tile/entries")), "{:?}", world.log.asked());
}
