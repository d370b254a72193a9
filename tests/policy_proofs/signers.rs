//! Thresholds of signers: who counts as one, what `atLeast` means, and that neither order nor bad attestations decide.

use std::collections::BTreeSet;

use countersign::evidence::Discovered;
use serde_json::{Value, json};

use super::virtual_sigstore::text::pem;
use super::virtual_sigstore::{
    Algorithm, AuthorityOptions, CertificateAuthority, Identity, Key, San, Subject, VirtualSigstore,
};
use super::{ISSUER, MANIFEST, alone, anybody, bundle, by, code, noon, one, roots, sign, spec, verdict, with};

fn named(name: &str) -> Value {
    json!({"authority": name})
}

/// An authority for these keys.
fn keys(name: &str, keys: &[&Key]) -> Value {
    let keys: Vec<Value> =
        keys.iter().enumerate().map(|(number, key)| json!({"name": number.to_string(), "pem": key.pem()})).collect();
    json!({"name": name, "keys": keys})
}

/// An authority for one name, whoever vouches for it.
fn person(name: &str, root: &str, subject: &Value) -> Value {
    json!({"name": name, "keyless": {"trustRoot": root, "identities": [{"issuer": {"regex": ".*"}, "subject": subject}]}})
}

fn key_signature(sigstore: &VirtualSigstore, key: &Key) -> Discovered {
    bundle(&sign(sigstore).key(key).without_certificate().without_log().parts())
}

#[test]
fn two_of_three_keys_are_two_keys() {
    let sigstore = VirtualSigstore::new();
    let none = roots(&[]);
    let [a, b, c] = [(); 3].map(|()| Key::generate(Algorithm::P256));
    let signed = |by: &[&Key]| by.iter().map(|key| key_signature(&sigstore, key)).collect::<Vec<_>>();
    let authorities = [keys("a", &[&a]), keys("b", &[&b]), keys("c", &[&c])];
    let apart = spec(&authorities, &json!({"atLeast": 2, "of": [named("a"), named("b"), named("c")]}));
    // The same, with the keys in one authority that is named as often as it has to sign.
    let together = spec(&[keys("team", &[&a, &b, &c])], &json!({"atLeast": 2, "of": [named("team"), named("team")]}));
    let table: [(&[&Key], bool); 8] = [
        (&[], false),
        (&[&a], false),
        (&[&a, &a], false),
        (&[&b, &b, &b], false),
        (&[&a, &b], true),
        (&[&c, &a], true),
        (&[&a, &a, &c], true),
        (&[&a, &b, &c], true),
    ];
    for (position, (by, expected)) in table.into_iter().enumerate() {
        for spec in [&apart, &together] {
            assert_eq!(verdict(spec, &none, &signed(by), one()).passes(), expected, "{position}");
        }
    }
    assert_eq!(code(&verdict(&together, &none, &signed(&[&a, &a]), one())), "SignersNotDistinct");
    // `allOf` does not ask who signed.
    let all = spec(&[keys("x", &[&a, &b]), keys("y", &[&a, &c])], &json!({"allOf": [named("x"), named("y")]}));
    assert!(verdict(&all, &none, &signed(&[&a]), one()).passes());
    let two = with(&all, "/require", json!({"atLeast": 2, "of": [named("x"), named("y")]}));
    assert_eq!(code(&verdict(&two, &none, &signed(&[&a]), one())), "SignersNotDistinct");
    assert!(verdict(&two, &none, &signed(&[&a, &b]), one()).passes());
}

#[test]
fn ghsa_9vcr_p3rj_q5q6_a_signer_who_comes_twice_is_one() {
    let (sigstore, second) = (VirtualSigstore::new(), VirtualSigstore::new());
    let authority = CertificateAuthority::new(AuthorityOptions::default());
    let roots = roots(&[("own", sigstore.root()), ("second", second.root())]);
    let any = json!({"regex": "(?s).*"});
    // Exact names, because a name with several `@` matches nothing else.
    let two_of = |first: &Value, second: &Value| {
        let both = [person("a", "own", first), person("b", "own", second)];
        spec(&both, &json!({"atLeast": 2, "of": [named("a"), named("b")]}))
    };
    let exact = |text: &str| json!({"exact": text});
    let workflow = |reference: &str| Identity::workflow("acme/app", "release.yml", reference);
    let uri = |reference: &str| format!("https://github.com/acme/app/.github/workflows/release.yml@{reference}");
    let several =
        |names: &[&str]| Identity::named(names.iter().map(|name| San::Email((*name).to_owned())).collect(), ISSUER);
    let other = Identity::email("alice@acme.example", "https://other.example");
    let (main, branch) = ("refs/heads/main", "refs/heads/x@refs/heads/y");
    let table: Vec<(&str, Value, Vec<Identity>, &str)> = vec![
        ("one person", two_of(&any, &any), vec![by("a@x"), by("a@x")], "SignersNotDistinct"),
        ("two people", two_of(&any, &any), vec![by("a@x"), by("b@x")], ""),
        ("an address in two cases", two_of(&any, &any), vec![by("a@x"), by("A@X")], "SignersNotDistinct"),
        ("one address, two issuers", two_of(&any, &any), vec![by("alice@acme.example"), other], ""),
        (
            "one workflow at two refs",
            two_of(&any, &any),
            vec![workflow(main), workflow("refs/tags/v1")],
            "SignersNotDistinct",
        ),
        (
            "one workflow at a branch with an @",
            two_of(&exact(&uri(main)), &exact(&uri(branch))),
            vec![workflow(main), workflow(branch)],
            "SignersNotDistinct",
        ),
        (
            "two workflows",
            two_of(&any, &any),
            vec![workflow(main), Identity::workflow("acme/app", "other.yml", main)],
            "",
        ),
        (
            "two names on one certificate",
            two_of(&exact("a@x"), &exact("b@x")),
            vec![several(&["a@x", "b@x"])],
            "SignersNotDistinct",
        ),
        (
            "names that a third certificate shows to be one person's",
            two_of(&any, &any),
            vec![by("a@x"), several(&["a@x", "b@x"]), by("b@x")],
            "SignersNotDistinct",
        ),
        (
            "names that hang together by a chain of certificates",
            two_of(&exact("a@x"), &exact("c@x")),
            vec![several(&["a@x", "b@x"]), several(&["b@x", "c@x"]), by("a@x"), by("c@x")],
            "SignersNotDistinct",
        ),
    ];
    for (name, spec, identities, expected) in table {
        let candidates: Vec<Discovered> =
            identities.iter().map(|identity| bundle(&sign(&sigstore).by(identity).parts())).collect();
        assert_eq!(code(&verdict(&spec, &roots, &candidates, one())), expected, "{name}");
    }

    // Whatever the trust root, and with an own authority for people whom it knows by the same name.
    let across = spec(
        &[person("a", "own", &any), person("b", "second", &any)],
        &json!({"atLeast": 2, "of": [named("a"), named("b")]}),
    );
    let chain = authority.chain();
    let certificates = json!({"name": "b", "certificates": {"roots": pem("CERTIFICATE", &chain[1]),
        "intermediates": pem("CERTIFICATE", &chain[0]), "trustRoot": "own", "identities": [{"subject": any}]}});
    let own = spec(&[person("a", "own", &any), certificates], &across["require"]);
    for (address, expected) in [("a@x", "SignersNotDistinct"), ("b@x", "")] {
        let first = bundle(&sign(&sigstore).by(&by("a@x")).parts());
        let other = bundle(&sign(&second).by(&by(address)).parts());
        assert_eq!(code(&verdict(&across, &roots, &[first.clone(), other], one())), expected, "{address}");
        let other = sign(&sigstore).by(&by(address)).issued_by(&authority).without_sct().timestamped().parts();
        assert_eq!(code(&verdict(&own, &roots, &[first, bundle(&other)], one())), expected, "{address}");
    }
    // What an own authority writes down as an issuer makes no second signer.
    let twice = spec(&[own["authorities"][1].clone()], &json!({"atLeast": 2, "of": [named("b"), named("b")]}));
    let certified = |identity: Identity| {
        bundle(&sign(&sigstore).by(&identity).issued_by(&authority).without_sct().timestamped().parts())
    };
    let silent = certified(by("a@x").without_claim(1).without_claim(8));
    for (other, expected) in [(by("a@x"), "SignersNotDistinct"), (by("b@x"), "")] {
        let candidates = [silent.clone(), certified(other)];
        assert_eq!(code(&verdict(&twice, &roots, &candidates, one())), expected);
    }
}

#[test]
fn an_item_of_a_threshold_is_filled_by_one_signer() {
    let sigstore = VirtualSigstore::new();
    let none = roots(&[]);
    let [a, b, c] = [(); 3].map(|()| Key::generate(Algorithm::P256));
    let (signed, attested) = ("signed", "attested");
    let attestation = |key: &Key| {
        let statement = Subject::attestation(MANIFEST, "https://acme.example/tested", json!({}));
        bundle(&sigstore.sign(statement).at(noon()).key(key).without_certificate().without_log().parts())
    };
    let mut tested = keys(attested, &[&a, &b, &c]);
    tested["attestation"] = json!({"predicateType": "https://acme.example/tested"});
    let authorities = [keys(signed, &[&a, &b, &c]), tested];
    let both = json!({"allOf": [named(signed), named(attested)]});
    let either = json!({"anyOf": [named(signed), named(attested)]});
    let two = |item: &Value| spec(&authorities, &json!({"atLeast": 2, "of": [item, item]}));
    let (sa, sb, ta, tb) =
        (key_signature(&sigstore, &a), key_signature(&sigstore, &b), attestation(&a), attestation(&b));
    let table = [
        (&both, vec![&sa, &ta, &sb, &tb], ""),
        (&both, vec![&sa, &tb], "SignersNotDistinct"),
        (&both, vec![&sa, &ta, &sb], "SignersNotDistinct"),
        (&either, vec![&sa, &tb], ""),
        (&either, vec![&sa, &ta], "SignersNotDistinct"),
    ];
    for (item, candidates, expected) in table {
        let candidates: Vec<Discovered> = candidates.into_iter().cloned().collect();
        assert_eq!(code(&verdict(&two(item), &none, &candidates, one())), expected, "{item}");
    }
}

/// All ways to keep some of a list.
fn subsets(length: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1_usize << length).map(move |bits| (0..length).filter(|place| bits >> place & 1 == 1).collect())
}

/// Whether as many items as are wanted can go to different signers, by trying every choice.
fn by_force(items: &[BTreeSet<usize>], used: &mut BTreeSet<usize>, wanted: usize) -> bool {
    if wanted == 0 {
        return true;
    }
    let Some((first, rest)) = items.split_first() else { return false };
    for signer in first {
        if used.insert(*signer) {
            let found = by_force(rest, used, wanted - 1);
            used.remove(signer);
            if found {
                return true;
            }
        }
    }
    by_force(rest, used, wanted)
}

/// Small cases against every choice, with authorities and evidence turned about.
#[test]
fn thresholds_are_exact_and_no_order_decides() {
    let sigstore = VirtualSigstore::new();
    let none = roots(&[]);
    let signers = [(); 3].map(|()| Key::generate(Algorithm::P256));
    let signatures: Vec<Discovered> = signers.iter().map(|key| key_signature(&sigstore, key)).collect();
    let lists: Vec<Vec<usize>> = subsets(3).filter(|list| !list.is_empty()).collect();
    let authority = |name: &str, list: &[usize]| keys(name, &list.iter().map(|one| &signers[*one]).collect::<Vec<_>>());
    let mut compared = 0;
    let pairs =
        lists.iter().enumerate().flat_map(|(place, first)| lists.iter().skip(place).map(move |one| (first, one)));
    for (first, second) in pairs {
        let third = vec![0, 1];
        let mut authorities = vec![authority("a", first), authority("b", second), authority("c", &third)];
        let of = [named("a"), named("b"), named("c")];
        for wanted in 1..=3 {
            let require = |of: &[Value]| json!({"atLeast": wanted, "of": of});
            let sets = |present: &[usize]| {
                let present: BTreeSet<usize> = present.iter().copied().collect();
                [first, second, &third].map(|list| list.iter().copied().filter(|one| present.contains(one)).collect())
            };
            let reachable = by_force(&sets(&[0, 1, 2]), &mut BTreeSet::new(), wanted);
            // What no signature could ever satisfy does not parse.
            assert_eq!(super::try_policy(&spec(&authorities, &require(&of))).is_ok(), reachable);
            if !reachable {
                continue;
            }
            for present in subsets(3) {
                let expected = by_force(&sets(&present), &mut BTreeSet::new(), wanted);
                let mut candidates: Vec<Discovered> = present.iter().map(|one| signatures[*one].clone()).collect();
                let mut of = of.to_vec();
                for _ in 0..2 {
                    let found = verdict(&spec(&authorities, &require(&of)), &none, &candidates, one()).passes();
                    assert_eq!(found, expected, "{first:?} {second:?} {wanted} {present:?}");
                    compared += 1;
                    candidates.reverse();
                    authorities.rotate_left(1);
                    of.rotate_left(2);
                }
            }
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn kyverno_kc_adding_a_bad_attestation_denies_no_good_one_and_allows_nothing() {
    let sigstore = VirtualSigstore::new();
    let stranger = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let attest = |sigstore: &VirtualSigstore, manifest: &[u8], kind: &str, identity: &Identity| {
        let subject = Subject::attestation(manifest, kind, json!({}));
        sigstore.sign(subject).at(noon()).by(identity).timestamped().parts()
    };
    let kind = "https://acme.example/tested";
    let (alice, mallory) = (by("alice@acme.example"), by("mallory@evil.example"));
    let good = bundle(&attest(&sigstore, MANIFEST, kind, &alice));
    let broken = attest(&sigstore, MANIFEST, kind, &alice).with(|parts| parts.content.signature_mut()[8] ^= 1);
    let bad = [
        bundle(&attest(&sigstore, MANIFEST, kind, &mallory)),
        bundle(&attest(&sigstore, MANIFEST, "https://acme.example/other", &alice)),
        bundle(&attest(&sigstore, b"another image", kind, &alice)),
        bundle(&attest(&stranger, MANIFEST, kind, &alice)),
        bundle(&broken),
        bundle(&sigstore.sign(Subject::attestation(MANIFEST, kind, json!({}))).by(&alice).without_log().parts()),
        super::found("application/vnd.dev.sigstore.bundle.v0.3+json", b"{".to_vec(), std::collections::BTreeMap::new()),
    ];
    let mut authority = person("a", "own", &json!({"exact": "alice@acme.example"}));
    authority["attestation"] = json!({"predicateType": kind});
    authority["evidence"] = json!({"timestamps": 1, "inclusionProof": true});
    let one_of = alone(&authority);
    let two_of = spec(&[authority], &json!({"atLeast": 2, "of": [named("a"), named("a")]}));
    for (number, bad) in bad.iter().enumerate() {
        let alone = [bad.clone()];
        assert!(!verdict(&one_of, &roots, &alone, one()).passes(), "{number}");
        for both in [[good.clone(), bad.clone()], [bad.clone(), good.clone()]] {
            assert!(verdict(&one_of, &roots, &both, one()).passes(), "{number}");
            assert!(!verdict(&two_of, &roots, &both, one()).passes(), "{number}");
        }
    }
    assert!(!verdict(&one_of, &roots, &bad, one()).passes());
    let all = [&bad[..], &[good], &bad[..]].concat();
    assert!(verdict(&one_of, &roots, &all, one()).passes());
}

/// Two names that only a worthless certificate ties together stay two.
#[test]
fn what_does_not_count_makes_no_two_signers_one() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let both = [San::Email("a@x".into()), San::Email("b@x".into())];
    let tie = Identity::named(both.to_vec(), ISSUER);
    let two = spec(&[anybody("a", "own", &json!({}))], &json!({"atLeast": 2, "of": [named("a"), named("a")]}));
    let people = ["a@x", "b@x"].map(|address| bundle(&sign(&sigstore).by(&by(address)).parts()));
    let worthless = bundle(&sign(&sigstore).by(&tie).without_sct().parts());
    let worth = bundle(&sign(&sigstore).by(&tie).parts());
    assert!(verdict(&two, &roots, &[&people[..], &[worthless]].concat(), one()).passes());
    assert!(!verdict(&two, &roots, &[&people[..], &[worth]].concat(), one()).passes());
}

/// A certificate that names nobody was not asked who it is. It matches no subject, however wide the pattern.
#[test]
fn kyverno_kc_a_certificate_without_a_name_satisfies_no_policy() {
    let sigstore = VirtualSigstore::new();
    let roots = roots(&[("own", sigstore.root())]);
    let signed = |identity: &Identity| {
        bundle(&sigstore.sign(Subject::cosign_sign(MANIFEST)).at(noon()).by(identity).timestamped().parts())
    };
    let everybody = alone(&person("a", "own", &json!({"regex": ".*"})));
    let named = [signed(&by("alice@acme.example"))];
    assert!(verdict(&everybody, &roots, &named, one()).passes());
    for names in [vec![], vec![San::Dns("acme.example".to_owned())]] {
        let nobody = [signed(&Identity::named(names, ISSUER))];
        assert!(!verdict(&everybody, &roots, &nobody, one()).passes());
    }
}
