//! Heads: what is one history, what is a fork, what is only old, and what cannot be told.

use countersign::monitor::{Documents as _, Finding, MonitorOptions, State};

use super::{ALICE, Api, BOTH, World, minute, revoked};

fn options() -> MonitorOptions {
    MonitorOptions::default()
}

fn is_unknown(state: &State) -> bool {
    matches!(state, State::Unknown { .. })
}

#[tokio::test]
async fn a_log_that_grows_is_consistent_and_an_older_head_is_no_alarm() {
    for api in BOTH {
        let world = World::new(api).await;
        let monitor = world.monitor(options());
        let old = world.sign();
        world.tree.grow(300);
        monitor.round(&world.view(), minute(0)).await;
        assert_eq!(world.state(&monitor), State::Consistent, "{api:?}");
        for grown in [1, 7, 256, 3] {
            world.tree.grow(grown);
            let new = world.sign();
            monitor.observer().observe(&new);
            monitor.round(&world.view(), minute(10)).await;
            assert_eq!(world.state(&monitor), State::Consistent, "{api:?} {grown}");
            assert_eq!(world.standing(&monitor).size, world.tree.size());
        }
        // Evidence from long ago, to a monitor that knows the log and to one that begins with it.
        monitor.observer().observe(&old);
        monitor.compare(&world.view(), minute(11)).await;
        assert_eq!(world.state(&monitor), State::Consistent, "{api:?}");
        let restarted = world.monitor(options());
        restarted.observer().observe(&old);
        restarted.round(&world.view(), minute(12)).await;
        assert_eq!(world.state(&restarted), State::Consistent, "{api:?}");
        assert_eq!(restarted.readings().consistent, 1);
        assert_eq!(world.standing(&restarted).size, world.tree.size());
        assert_eq!(world.codes(), Vec::<&str>::new(), "{api:?}");
    }
}

/// How a fork with the log's own key comes to be seen.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// In evidence whose head is smaller than the log's.
    Smaller,
    /// In evidence whose head is of the log's size.
    Same,
    /// In evidence whose head is larger than the log's.
    Larger,
    /// In what the log itself shows, to those who knew the other history.
    Shown,
}

#[tokio::test]
async fn a_fork_with_the_log_s_own_key_is_told_once_and_survives_a_restart() {
    for api in BOTH {
        for seen in [Seen::Smaller, Seen::Same, Seen::Larger, Seen::Shown] {
            let world = World::new(api).await;
            let monitor = world.monitor(options());
            world.tree.grow(20);
            let common = world.tree.size();
            let fork = world.tree.forked_at(common);
            world.tree.grow(10);
            monitor.round(&world.view(), minute(0)).await;
            assert_eq!(world.codes(), Vec::<&str>::new(), "{api:?} {seen:?}");
            // One signature adds one leaf, and in the first version one more behind it.
            let own = if api == Api::V1 { 2 } else { 1 };
            fork.grow(match seen {
                Seen::Smaller => 1,
                Seen::Same => 10 - own,
                Seen::Larger | Seen::Shown => 30,
            });
            let forged = world.evidence(&world.sign_in(&fork, ALICE));
            match seen {
                Seen::Shown => world.serve(&fork),
                Seen::Smaller | Seen::Same | Seen::Larger => monitor.observer().observe(&forged),
            }
            monitor.round(&world.view(), minute(1)).await;
            if matches!(seen, Seen::Larger) {
                // The log cannot prove anything of a tree that it does not have, until it has grown past it.
                assert!(is_unknown(&world.state(&monitor)), "{api:?} {:?}", world.state(&monitor));
                assert_eq!(world.codes(), Vec::<&str>::new(), "{api:?}");
                world.tree.grow(50);
                monitor.round(&world.view(), minute(2)).await;
            }
            assert_eq!(world.codes(), ["LogForked"], "{api:?} {seen:?}");
            assert_eq!(world.state(&monitor), State::Forked);
            assert_eq!(monitor.readings().forked, 1);
            // Whatever contradicts it further, by whoever it is found again, nobody is told twice.
            let restarted = world.monitor(options());
            for monitor in [&monitor, &restarted, &restarted] {
                let another = world.evidence(&world.sign_in(&fork, ALICE));
                monitor.observer().observe(&forged);
                monitor.observer().observe(&another);
                monitor.round(&world.view(), minute(30)).await;
                assert_eq!(world.state(monitor), State::Forked, "{api:?} {seen:?}");
            }
            assert_eq!(world.codes(), ["LogForked"], "{api:?} {seen:?}");
        }
    }
}

#[tokio::test]
async fn a_fork_suggests_distrust_which_acts_only_if_so_configured() {
    for acts in [false, true] {
        let world = World::new(Api::V2).await;
        let options = MonitorOptions { distrust_forked: acts, ..options() };
        let monitor = world.monitor(options);
        monitor.round(&world.view(), minute(0)).await;
        let fork = world.tree.forked_at(world.tree.size() - 1);
        fork.grow(1);
        world.tree.grow(9);
        monitor.observer().observe(&world.evidence(&world.sign_in(&fork, ALICE)));
        // Who may write it is not there at first: it is tried again, and nobody is told again.
        *world.suggested.fails.lock().unwrap() = true;
        monitor.round(&world.view(), minute(1)).await;
        assert_eq!(world.codes(), ["LogForked"]);
        assert!(world.suggested.written.lock().unwrap().is_empty());
        *world.suggested.fails.lock().unwrap() = false;
        for _ in 0..2 {
            monitor.round(&world.view(), minute(2)).await;
        }
        assert_eq!(world.codes(), ["LogForked"]);
        let written = world.suggested.written.lock().unwrap();
        let [(name, spec)] = written.as_slice() else { panic!("{written:?}") };
        let key = world.tree.key_id();
        assert_eq!(*name, format!("suggested-log-{}", &key[..16]));
        assert_eq!(spec.suspended, Some(!acts));
        assert_eq!(spec.services.len(), 1);
        assert_eq!(spec.services[0].log.as_deref(), Some(key.as_str()));
        assert!((1..=1_024).contains(&spec.reason.len()), "{}", spec.reason);
        // As the cluster reads it: what only that log vouched for is without a log, if it acts.
        let evidence = world.sign();
        let judged = revoked(name, spec).judge(&evidence).map(|evidence| evidence.logs().len());
        assert_eq!(judged.unwrap_or_default(), usize::from(!acts));
        let told = world.told.0.lock().unwrap();
        let Finding::Forked { known, found, roots, .. } = &told[0] else { panic!("{told:?}") };
        assert!(known.contains("\u{2014} ") && found.contains("\u{2014} ") && known != found);
        assert_eq!(roots, &["own"]);
    }
}

#[tokio::test]
async fn a_fork_that_could_not_be_told_or_acted_upon_is_so_after_a_restart() {
    for (suggestion_fails, tell_fails) in [(true, false), (false, true)] {
        let world = World::new(Api::V2).await;
        let options = || MonitorOptions { distrust_forked: true, ..options() };
        let monitor = world.monitor(options());
        monitor.round(&world.view(), minute(0)).await;
        let fork = world.tree.forked_at(world.tree.size() - 1);
        fork.grow(1);
        world.tree.grow(9);
        monitor.observer().observe(&world.evidence(&world.sign_in(&fork, ALICE)));
        *world.suggested.fails.lock().unwrap() = suggestion_fails;
        *world.told.1.lock().unwrap() = tell_fails;
        monitor.round(&world.view(), minute(1)).await;
        assert_eq!(world.codes().len(), usize::from(!tell_fails));
        assert_eq!(world.suggested.written.lock().unwrap().len(), usize::from(!suggestion_fails));
        *world.suggested.fails.lock().unwrap() = false;
        *world.told.1.lock().unwrap() = false;
        let restarted = world.monitor(options());
        restarted.round(&world.view(), minute(2)).await;
        assert_eq!(world.codes().last(), Some(&"LogForked"));
        let written = world.suggested.written.lock().unwrap().clone();
        assert!(written.iter().any(|(_, spec)| spec.suspended == Some(false)), "{written:?}");
        // Now it is told, for good.
        let (told, written) = (world.codes().len(), written.len());
        world.monitor(options()).round(&world.view(), minute(3)).await;
        assert_eq!((world.codes().len(), world.suggested.written.lock().unwrap().len()), (told, written));
    }
}

#[tokio::test]
async fn a_smaller_head_from_the_log_itself_is_a_rollback_unless_it_may_lag() {
    for api in BOTH {
        let world = World::new(api).await;
        let monitor = world.monitor(options());
        world.tree.grow(20);
        monitor.round(&world.view(), minute(0)).await;
        let whole = world.tree.size();
        world.serve(&world.tree.forked_at(whole - 5));
        monitor.round(&world.view(), minute(5)).await;
        assert!(is_unknown(&world.state(&monitor)), "{api:?}: what is served may lag");
        assert_eq!(world.codes(), Vec::<&str>::new());
        for restarted in [&monitor, &world.monitor(options())] {
            restarted.round(&world.view(), minute(15)).await;
            assert_eq!(world.state(restarted), State::RolledBack, "{api:?}");
            assert_eq!(world.standing(restarted).size, whole, "what was remembered is not forgotten");
        }
        assert_eq!(world.codes(), ["LogRolledBack"], "{api:?}");
        assert!(world.suggested.written.lock().unwrap().is_empty());
        // It shows all again, and more.
        world.serve(&world.tree);
        world.tree.grow(1);
        monitor.round(&world.view(), minute(20)).await;
        assert_eq!(world.state(&monitor), State::Consistent, "{api:?}");
        assert_eq!(world.codes(), ["LogRolledBack"], "{api:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_unknown_and_is_compared_later() {
    for api in BOTH {
        let world = World::new(api).await;
        let monitor = world.monitor(options());
        world.tree.grow(20);
        let fork = world.tree.forked_at(world.tree.size() - 6);
        fork.grow(1);
        let forged = world.evidence(&world.sign_in(&fork, ALICE));
        monitor.round(&world.view(), minute(0)).await;
        world.tree.grow(2);
        for status in [500, 404, 302] {
            world.answers_with(Some(status));
            monitor.observer().observe(&forged);
            monitor.round(&world.view(), minute(1)).await;
            assert!(is_unknown(&world.state(&monitor)), "{api:?} {status}: {:?}", world.state(&monitor));
        }
        world.answers_with(None);
        // The head is there, and the proof is not.
        world.served.lock().unwrap().broken = Some(if api == Api::V1 { "log/proof" } else { "tile/" });
        monitor.round(&world.view(), minute(2)).await;
        assert!(is_unknown(&world.state(&monitor)), "{api:?}: {:?}", world.state(&monitor));
        assert_eq!(world.codes(), Vec::<&str>::new(), "{api:?}");
        world.served.lock().unwrap().broken = None;
        monitor.round(&world.view(), minute(3)).await;
        assert_eq!(world.codes(), ["LogForked"], "{api:?}: what waited was not lost");
    }
}

#[tokio::test]
async fn a_log_that_fails_is_asked_once_in_a_round_and_left_alone_until_the_next() {
    let world = World::new(Api::V1).await;
    let monitor = world.monitor(options());
    monitor.round(&world.view(), minute(0)).await;
    world.served.lock().unwrap().broken = Some("log/proof");
    let mut heads = Vec::new();
    for _ in 0..3 {
        world.tree.grow(3);
        heads.push(world.sign());
    }
    for evidence in &heads {
        monitor.observer().observe(evidence);
    }
    let proofs = || world.log.asked().iter().filter(|asked| asked.contains("log/proof")).count();
    let before = proofs();
    monitor.compare(&world.view(), minute(1)).await;
    assert_eq!(proofs() - before, 1);
    assert!(is_unknown(&world.state(&monitor)));
    let asked = world.log.asked().len();
    for _ in 0..70 {
        monitor.compare(&world.view(), minute(2)).await;
    }
    assert_eq!(world.log.asked().len(), asked, "it rests");
    world.served.lock().unwrap().broken = None;
    monitor.round(&world.view(), minute(6)).await;
    assert_eq!(world.state(&monitor), State::Consistent);
    assert_eq!(monitor.readings().heads_dropped, 0);
    let asked = world.log.asked().len();
    for evidence in &heads {
        monitor.observer().observe(evidence);
    }
    monitor.compare(&world.view(), minute(7)).await;
    assert_eq!(world.log.asked().len(), asked, "what waited was compared");
}

/// The replica that does not lead compares what it sees, asks nobody unless it has to, and leaves the telling to the one that does.
#[tokio::test]
async fn replicas_share_what_they_know_and_one_of_them_tells() {
    let world = World::new(Api::V1).await;
    let (leader, other) = (world.monitor(options()), world.monitor(options()));
    let mut follower = world.view();
    follower.leads = false;
    other.round(&follower, minute(0)).await;
    assert_eq!(world.log.asked(), Vec::<String>::new());
    leader.round(&world.view(), minute(0)).await;
    let fork = world.tree.forked_at(world.tree.size() - 1);
    world.tree.grow(9);
    other.observer().observe(&world.evidence(&world.sign_in(&fork, ALICE)));
    other.compare(&follower, minute(1)).await;
    assert_eq!(world.state(&other), State::Forked);
    assert_eq!(world.codes(), Vec::<&str>::new());
    leader.round(&world.view(), minute(2)).await;
    assert_eq!(world.codes(), ["LogForked"]);
    assert_eq!(world.state(&leader), State::Forked);
    leader.round(&world.view(), minute(3)).await;
    assert_eq!(world.codes(), ["LogForked"]);
}

#[tokio::test]
async fn documents_that_others_save_or_nobody_can_read_lose_nothing() {
    let world = World::new(Api::V2).await;
    let monitor = world.monitor(options());
    monitor.round(&world.view(), minute(0)).await;
    let fork = world.tree.forked_at(world.tree.size() - 1);
    fork.grow(1);
    world.tree.grow(9);
    monitor.observer().observe(&world.evidence(&world.sign_in(&fork, ALICE)));
    *world.documents.down.lock().unwrap() = true;
    monitor.round(&world.view(), minute(1)).await;
    assert!(is_unknown(&world.state(&monitor)));
    *world.documents.down.lock().unwrap() = false;
    *world.documents.conflicts.lock().unwrap() = 3;
    monitor.round(&world.view(), minute(2)).await;
    assert_eq!(world.codes(), ["LogForked"]);
}

/// Who can write the document can make the monitor forget, and cannot make it accuse a log.
#[tokio::test]
async fn a_document_that_somebody_made_up_accuses_nobody() {
    let world = World::new(Api::V2).await;
    let monitor = world.monitor(options());
    monitor.round(&world.view(), minute(0)).await;
    let document = world.documents.inner.load("log-heads").await.unwrap().unwrap();
    let text = document.content.to_string();
    let size = format!("\\n{}\\n", world.tree.size());
    assert!(text.contains(&size), "{text}");
    let made_up = text.replace(&size, "\\n999\\n");
    let made_up = serde_json::from_str(&made_up).unwrap();
    world.documents.inner.save("log-heads", &made_up, Some(&document.version)).await.unwrap();
    world.tree.grow(3);
    monitor.round(&world.view(), minute(60)).await;
    assert_eq!(world.state(&monitor), State::Consistent);
    assert_eq!(world.standing(&monitor).size, world.tree.size());
    assert_eq!(world.codes(), Vec::<&str>::new());
    // Of another shape, it is left alone, and nothing is known.
    let document = world.documents.inner.load("log-heads").await.unwrap().unwrap();
    let strange = serde_json::json!({"version": 2, "trees": []});
    world.documents.inner.save("log-heads", &strange, Some(&document.version)).await.unwrap();
    monitor.round(&world.view(), minute(70)).await;
    assert!(is_unknown(&world.state(&monitor)));
    assert_eq!(world.documents.inner.load("log-heads").await.unwrap().unwrap().content, strange);
}
