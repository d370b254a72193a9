//! Repositories that mean harm, or are broken: bytes without end, sizes that nobody has, clocks that are wrong.

use super::*;

#[tokio::test]
async fn bytes_without_end_are_cut_off() {
    for file in ["timestamp.json", "2.root.json", "2.snapshot.json", "2.targets.json"] {
        let (served, bench, old) = accepted().await;
        let new = fresh_root();
        served.edit(|repository| repository.deliver(TARGET, new.as_bytes()));
        served.behave(Manner::Endless(file.to_owned()));
        let status = bench.refresh().await;
        assert_eq!(code(&status), "TufFileTooLarge", "{file}");
        assert_eq!(bench.trusted(), Some(old), "{file}");
        served.behave(Manner::Honest);
        assert_eq!(code(&bench.refresh().await), "ok", "{file}");
        assert_eq!(bench.trusted(), Some(digest(&new)), "{file}");
    }
}

#[tokio::test]
async fn a_target_of_five_gigabytes_is_never_begun() {
    let (served, bench, old) = accepted().await;
    let new = fresh_root();
    served.edit(|repository| {
        let announced = json!({"length": 5_u64 << 30, "hashes": {"sha256": "ab".repeat(32)}});
        repository.announced.insert(TARGET.to_owned(), announced);
        repository.deliver(TARGET, new.as_bytes());
    });
    let target = format!("targets/{}.{TARGET}", "ab".repeat(32));
    served.behave(Manner::Endless(target.clone()));
    assert_eq!(code(&bench.refresh().await), "TufTargetTooLarge");
    assert_eq!((bench.trusted(), served.asked(&target)), (Some(old), 0));
    // The same bytes under a modest length are cut off where they pass it.
    served.edit(|repository| {
        let announced = json!({"length": 1_000, "hashes": {"sha256": "ab".repeat(32)}});
        repository.announced.insert(TARGET.to_owned(), announced);
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "TufFileTooLarge");
    served.edit(|repository| {
        repository.announced.clear();
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "ok");
    assert_eq!(bench.trusted(), Some(digest(&new)));
}

#[tokio::test]
async fn what_was_tampered_with_is_refused() {
    type Tamper = fn(&mut Repository);
    let cases: [(&str, &str, Tamper); 5] = [
        ("a target", "TufHashMismatch", |repository| {
            let name = repository.files.keys().rfind(|name| name.starts_with("targets/")).unwrap().clone();
            repository.files.iter_mut().filter(|(file, _)| **file == name || file.starts_with("targets/")).for_each(
                |(_, bytes)| {
                    let last = bytes.len() - 2;
                    bytes[last] ^= 1;
                },
            );
        }),
        ("a list of targets", "TufThresholdNotMet", |repository| {
            let bytes = repository.files.get_mut("2.targets.json").unwrap();
            *bytes = String::from_utf8(bytes.clone()).unwrap().replace("2090", "2091").into_bytes();
        }),
        ("no JSON", "TufMetadataMalformed", |repository| {
            repository.files.insert("timestamp.json".to_owned(), b"<html>".to_vec());
        }),
        ("a missing target", "TufFileMissing", |repository| {
            repository.files.retain(|name, _| !name.starts_with("targets/"));
        }),
        ("names that stand twice", "TufMetadataAmbiguous", |repository| {
            let bytes = repository.files.get_mut("timestamp.json").unwrap();
            let text = String::from_utf8(bytes.clone()).unwrap();
            *bytes = text.replacen("\"signed\":{", "\"signed\":{},\"signed\":{", 1).into_bytes();
        }),
    ];
    for (what, expected, tamper) in cases {
        let (served, bench, old) = accepted().await;
        let new = fresh_root();
        let good = served.edit(|repository| {
            repository.deliver(TARGET, new.as_bytes());
            let good = repository.clone();
            tamper(repository);
            good
        });
        let status = bench.refresh().await;
        assert_eq!(code(&status), expected, "{what}");
        assert_eq!((bench.trusted(), status.versions.map(|versions| versions.targets)), (Some(old), Some(1)), "{what}");
        served.edit(|repository| *repository = good);
        assert_eq!(code(&bench.refresh().await), "ok", "{what}");
        assert_eq!(bench.trusted(), Some(digest(&new)), "{what}");
    }
}

/// All signatures hold, and what is signed is no trusted root.
#[tokio::test]
async fn a_target_that_is_no_trusted_root_is_refused() {
    let (served, bench, old) = accepted().await;
    for bad in ["", "{}", "\u{fffd}", r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#] {
        served.edit(|repository| repository.deliver(TARGET, bad.as_bytes()));
        assert_eq!(code(&bench.refresh().await), "TufTrustedRootInvalid", "{bad}");
        assert_eq!(bench.trusted(), Some(old.clone()), "{bad}");
    }
    served.edit(|repository| {
        repository.contents.clear();
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "TufTargetMissing");
    let new = fresh_root();
    served.edit(|repository| repository.deliver(TARGET, new.as_bytes()));
    assert_eq!(code(&bench.refresh().await), "ok");
    assert_eq!(bench.trusted(), Some(digest(&new)));
}

#[tokio::test]
async fn a_clock_that_is_far_off_opens_nothing() {
    let (served, bench, old) = accepted().await;
    served.edit(|repository| repository.expire(&later(24)));
    served.edit(Repository::publish);
    assert_eq!(code(&bench.refresh().await), "ok");
    bench.set_clock("2200-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(code(&bench.refresh().await), "TufMetadataExpired");
    assert_eq!(bench.trusted(), Some(old), "nothing is forgotten");
    assert!(bench.usable("2200-01-01T00:00:00Z".parse().unwrap()).is_err(), "and nothing counts");
    // A clock that was set back makes nothing valid again: the repository as of long ago is what it was, and no older one is accepted.
    bench.set_clock("1999-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(code(&bench.refresh().await), "ok");
    served.edit(|repository| {
        repository.expire(&(noon() - jiff::SignedDuration::from_hours(1)));
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "TufMetadataExpired", "it had expired when the last one was accepted");
}

/// More new roots than one refresh follows: what was verified is kept, so that the next one goes on from there.
#[tokio::test]
async fn a_long_chain_of_roots_is_followed_in_several_refreshes() {
    let (served, bench, old) = accepted().await;
    served.edit(|repository| {
        for _ in 0..300 {
            repository.rotate(|_| {});
        }
        repository.publish();
    });
    assert_eq!(code(&bench.refresh().await), "TufRootsTooMany");
    assert_eq!(bench.trusted(), Some(old));
    let status = bench.refresh().await;
    assert_eq!((code(&status), status.versions.map(|versions| versions.root)), ("ok", Some(301)));
}

/// Some stores answer 403 for what is not there. A proxy that does so may hide a rotation, and it is said.
#[tokio::test]
async fn a_forbidden_root_is_taken_for_a_missing_one_and_noted() {
    let (served, bench, old) = accepted().await;
    assert_eq!(bench.refresh().await.notes, Vec::<&str>::new());
    served.behave(Manner::Refuses(".root.json".to_owned(), 403));
    let status = bench.refresh().await;
    assert_eq!((code(&status), status.notes.len()), ("ok", 1));
    served.behave(Manner::Refuses(".root.json".to_owned(), 500));
    assert_eq!(code(&bench.refresh().await), "TufMirrorStatus");
    assert_eq!(bench.trusted(), Some(old));
}
