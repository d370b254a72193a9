//! What a policy asks of a signature besides its signer: logs, timestamps, age, claims, times; keys that a trust root dates; and
//! different signers.
//!
//! As in `private_sigstore`, what one policy admits, its neighbours refuse: the same image, one thing in the policy changed.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use countersign_e2e::cosign::{Format, KeyPair, Signer, Unlogged};
use countersign_e2e::manifest::{attested, pod, signed_by};
use countersign_e2e::sigstore::{Account, MIXED, PAIR, PAIR_OF_ONE, PRIVATE, STRANGER, Services, WITHOUT_CT_LOG};
use countersign_e2e::stack::{Policy, Sandbox};
use serde_json::{Value, json};

use crate::private_sigstore::{
    ALICE, PROVENANCE, RELEASE, admitted_only_under, admitted_under, by, carries, denied_under, predicate, push,
    push_signed, sign,
};
use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("a .sig and a .att by a person, with a timestamp and in no log", Run::Admission(legacy_without_log)),
    ("logs, proofs of inclusion and timestamps are counted", Run::Admission(counted)),
    ("two logs and two timestamps are two if two operate them", Run::Admission(operators)),
    ("a signature counts as long as it is young enough", Run::Admission(age)),
    ("a trust root without a log of certificates", Run::Admission(without_ct_log)),
    ("all claims about a workflow must hold", Run::Admission(claims)),
    ("an identity's signature counts within its time", Run::Admission(signing_time)),
    ("a key that a trust root dates needs log and time", Run::Admission(dated_key)),
    ("a key counts within its time", Run::Admission(key_window)),
    ("two signers are two people", Run::Admission(distinct_signers)),
];

const BOB: Account<'static> = Account::Person("bob@acme.test");
const PAST: &str = "2020-01-01T00:00:00Z";
const FUTURE: &str = "2100-01-01T00:00:00Z";

/// The same authorities with one field set in the object at `pointer`.
pub(crate) fn with(authorities: &Value, pointer: &str, field: &str, value: &Value) -> Result<Value> {
    let mut authorities = authorities.clone();
    let object = authorities.pointer_mut(pointer).and_then(Value::as_object_mut);
    object.with_context(|| format!("no object {pointer}"))?.insert(field.to_owned(), value.clone());
    Ok(authorities)
}

/// The same authorities with other demands.
pub(crate) fn proving(authorities: &Value, evidence: &Value) -> Result<Value> {
    with(authorities, "/0", "evidence", evidence)
}

fn stamped() -> Value {
    json!({"logs": 0, "timestamps": 1})
}

/// The services of an instance without its log.
fn unlogged(services: &Services) -> Unlogged<'_> {
    Unlogged { fulcio_url: Some(&services.fulcio_url), timestamp_url: Some(&services.timestamp_url) }
}

fn legacy_without_log(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (cosign, registry) = (&sandbox.stack().cosign, &sandbox.stack().without_referrers);
    let (identity, bob) = (sigstore.issuer.identity(ALICE)?, sigstore.issuer.identity(BOB)?);
    let (services, signer) = (unlogged(sigstore.private.services()), Signer::Identity(&identity));
    let predicate = predicate(&sandbox)?;
    let statement = ("slsaprovenance1", predicate.as_path());

    let signature = push(&sandbox, registry, "signed")?;
    cosign.sign_unlogged(&services, signer, &signature, Format::Legacy)?;
    carries(&sandbox, registry, &signature, "sig", &["certificate", "rfc3161timestamp"])?;
    let attestation = push(&sandbox, registry, "attested")?;
    cosign.attest_unlogged(&services, signer, &attestation, Format::Legacy, statement)?;
    carries(&sandbox, registry, &attestation, "att", &["certificate", "rfc3161timestamp"])?;

    let usual = by(PRIVATE, &identity);
    let accepted = proving(&usual, &stamped())?;
    admitted_only_under(
        &sandbox,
        &[signature],
        &accepted,
        &[
            (usual.clone(), &["[LogMissing]"]),
            (proving(&by(PRIVATE, &bob), &stamped())?, &["[IdentityMismatch]"]),
            (proving(&by(STRANGER, &identity), &stamped())?, &["[TimestampInvalid]"]),
            (attested(accepted.clone(), PROVENANCE), &["[PredicateTypeMismatch]"]),
        ],
    )?;
    admitted_only_under(
        &sandbox,
        &[attestation],
        &attested(accepted.clone(), PROVENANCE),
        &[(attested(usual, PROVENANCE), &["[LogMissing]"]), (accepted.clone(), &["[AttestationOnly]"])],
    )?;

    // A certificate without any time is worth nothing, however little a policy asks for.
    let undated = push(&sandbox, registry, "undated")?;
    let services = Unlogged { timestamp_url: None, ..services };
    cosign.sign_unlogged(&services, signer, &undated, Format::Legacy)?;
    carries(&sandbox, registry, &undated, "sig", &["certificate"])?;
    let nothing = proving(&by(PRIVATE, &identity), &json!({"logs": 0, "timestamps": 0}))?;
    denied_under(&sandbox, &[undated], &[(accepted, &["no time is verified"]), (nothing, &["no time is verified"])])
}

/// All that an instance has, each asked for once and once too often: there is one operator of each.
fn counted(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let asking = |evidence: Value| proving(&by(PRIVATE, &identity), &evidence);
    let accepted = [
        asking(json!({"inclusionProof": true}))?,
        asking(json!({"logs": 1, "timestamps": 1}))?,
        asking(json!({"logs": 1, "timestamps": 1, "inclusionProof": true, "certificateTransparency": true}))?,
    ];
    admitted_under(&sandbox, std::slice::from_ref(&image), &accepted)?;
    let refused: [(Value, &[&str]); 3] = [
        (asking(json!({"logs": 2}))?, &["[LogMissing]", "log entries of 1 operators, 2 are wanted"]),
        (asking(json!({"logs": 2, "inclusionProof": true}))?, &["[LogMissing]"]),
        (asking(json!({"timestamps": 2}))?, &["[TimestampMissing]", "timestamps of 1 operators, 2 are wanted"]),
    ];
    denied_under(&sandbox, &[image], &refused)
}

/// The same proofs under roots that differ in who operates what.
fn operators(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let registry = &sandbox.stack().with_referrers;
    let image = push_signed(&sandbox, registry, &sigstore.pair, &identity)?;
    let asking = |root: &str, evidence: &Value| proving(&by(root, &identity), evidence);
    let (logs, timestamps) = (json!({"logs": 2, "inclusionProof": true}), json!({"timestamps": 2}));
    let mut accepted = vec![
        asking(PAIR, &logs)?,
        asking(PAIR, &timestamps)?,
        asking(PAIR, &json!({"logs": 2, "timestamps": 2}))?,
        by(PRIVATE, &identity),
    ];
    let (no_log, no_timestamp): (&[&str], &[&str]) = (&["[LogMissing]"], &["[TimestampMissing]"]);
    let mut refused = vec![
        (asking(PAIR, &json!({"logs": 3}))?, no_log),
        (asking(PAIR, &json!({"timestamps": 3}))?, no_timestamp),
        // The stranger's services are not known to it.
        (asking(PRIVATE, &logs)?, no_log),
        (asking(PRIVATE, &timestamps)?, no_timestamp),
    ];
    for (root, _) in PAIR_OF_ONE {
        accepted.push(asking(root, &json!({"logs": 1, "timestamps": 1}))?);
        refused.push((asking(root, &logs)?, no_log));
        refused.push((asking(root, &timestamps)?, no_timestamp));
    }
    admitted_under(&sandbox, std::slice::from_ref(&image), &accepted)?;
    denied_under(&sandbox, &[image], &refused)?;
    // Of one instance, the same root has only one operator's.
    let one = push(&sandbox, registry, "one")?;
    sign(&sandbox, sigstore.private.services(), &identity, &one)?;
    denied_under(&sandbox, &[one], &[(asking(PAIR, &logs)?, no_log), (asking(PAIR, &timestamps)?, no_timestamp)])
}

fn age(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let younger = |than: &str| proving(&by(PRIVATE, &identity), &json!({"maxAge": than}));
    // Older than the second that the neighbour allows, whatever fraction of a second the timestamp leaves out.
    sleep(Duration::from_secs(2));
    admitted_only_under(&sandbox, &[image], &younger("1h")?, &[(younger("1s")?, &["[SignatureTooOld]"])])
}

/// Whether certificates must be logged is the policy's to say, and never taken from what the trust root happens to hold.
fn without_ct_log(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let waived = |root: &str| proving(&by(root, &identity), &json!({"certificateTransparency": false}));
    let missing: &[&str] = &["[CertificateTransparencyMissing]"];
    admitted_only_under(
        &sandbox,
        std::slice::from_ref(&image),
        &waived(WITHOUT_CT_LOG)?,
        &[
            (by(WITHOUT_CT_LOG, &identity), missing),
            (proving(&by(WITHOUT_CT_LOG, &identity), &json!({"certificateTransparency": true}))?, missing),
        ],
    )?;
    // Nothing else is waived with it.
    let refused: Result<Vec<_>> = MIXED
        .iter()
        .filter(|(_, code)| !missing.contains(code))
        .map(|(root, code)| Ok((waived(root)?, std::slice::from_ref(code))))
        .collect();
    denied_under(&sandbox, &[image], &refused?)
}

fn claims(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(RELEASE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let claiming =
        |claims: &[Value]| with(&by(PRIVATE, &identity), "/0/keyless/identities/0", "claims", &json!(claims));
    let exact = |name: &str, value: &str| json!({"name": name, "exact": value});
    let true_claims = [
        exact("runnerEnvironment", "self-hosted"),
        exact("sourceRepositoryURI", "https://github.com/acme/app"),
        exact("sourceRepositoryRef", "refs/heads/main"),
        exact("sourceRepositoryID", "1001"),
        exact("sourceRepositoryOwnerIdentifier", "2002"),
        exact("sourceRepositoryVisibilityAtSigning", "private"),
        exact("githubWorkflowTrigger", "push"),
        exact("issuer", &identity.issuer),
        json!({"name": "buildSignerURI", "glob": "https://github.com/acme/*/.github/workflows/release.yml@refs/heads/*"}),
        json!({"name": "runInvocationURI", "regex": "https://github\\.com/acme/app/actions/runs/[0-9]+/attempts/1"}),
        json!({"name": "sourceRepositoryDigest", "regex": "[0-9a-f]{40}"}),
    ];
    let or = |claim: Value| claiming(&[&true_claims[..], &[claim]].concat());
    let instead = |position: usize, claim: Value| {
        let mut claims = true_claims.clone();
        *claims.get_mut(position).context("no such claim")? = claim;
        claiming(&claims)
    };
    let refused: [(Value, &[&str]); 5] = [
        (
            instead(0, exact("runnerEnvironment", "github-hosted"))?,
            &["[ClaimMismatch]", "runnerEnvironment", "github-hosted", "self-hosted"],
        ),
        (instead(3, exact("sourceRepositoryID", "100"))?, &["[ClaimMismatch]", "1001"]),
        (
            instead(1, json!({"name": "sourceRepositoryURI", "glob": "https://github.com/acme/app-*"}))?,
            &["[ClaimMismatch]", "sourceRepositoryURI"],
        ),
        // Claims that the certificate does not make.
        (or(json!({"name": "deploymentEnvironment", "regex": ".*"}))?, &["[ClaimMismatch]", "deploymentEnvironment"]),
        (or(json!({"name": "otherName", "glob": "**"}))?, &["[ClaimMismatch]", "otherName"]),
    ];
    admitted_only_under(&sandbox, &[image], &claiming(&true_claims)?, &refused)
}

fn signing_time(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let within = |window: Value| with(&by(PRIVATE, &identity), "/0/keyless/identities/0", "signed", &window);
    let accepted = [
        within(json!({"notBefore": PAST}))?,
        within(json!({"notAfter": FUTURE}))?,
        within(json!({"notBefore": PAST, "notAfter": FUTURE}))?,
    ];
    admitted_under(&sandbox, std::slice::from_ref(&image), &accepted)?;
    let outside: &[&str] = &["[SignedOutsideWindow]"];
    let refused = [(within(json!({"notBefore": FUTURE}))?, outside), (within(json!({"notAfter": PAST}))?, outside)];
    denied_under(&sandbox, &[image], &refused)
}

/// The stack's key, dated by the private root.
fn dated(key: &KeyPair, root: &str) -> Result<Value> {
    with(&signed_by(&[("2026", &key.public_pem)]), "/0", "trustRoot", &json!(root))
}

fn dated_key(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (stack, services) = (sandbox.stack(), sigstore.private.services());
    let key = &stack.key;
    let (mut logged, mut dated_only, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for registry in stack.registries() {
        for (images, name, config) in
            [(&mut logged, "logged", &services.signing_config), (&mut dated_only, "dated", &services.timestamps_only)]
        {
            let image = push(&sandbox, registry, name)?;
            stack.cosign.sign_with(services, config, Signer::Key(key), &image).context(name)?;
            images.push(image);
        }
        for (name, format) in [("bare", Format::Bundle), ("bare-legacy", Format::Legacy)] {
            let image = push(&sandbox, registry, name)?;
            stack.cosign.sign(key, &image, format)?;
            bare.push(image);
        }
    }
    let legacy = push(&sandbox, &stack.with_referrers, "dated-legacy")?;
    let stamp = Unlogged { timestamp_url: Some(&services.timestamp_url), ..Unlogged::default() };
    stack.cosign.sign_unlogged(&stamp, Signer::Key(key), &legacy, Format::Legacy)?;
    dated_only.push(legacy);

    let usual = dated(key, PRIVATE)?;
    let accepted = proving(&usual, &stamped())?;
    admitted_only_under(
        &sandbox,
        &logged,
        &usual,
        &[
            (dated(key, STRANGER)?, &["[TimestampInvalid]"]),
            (dated(&stack.other_key, PRIVATE)?, &["[SignatureInvalid]"]),
            (proving(&usual, &json!({"logs": 2}))?, &["[LogMissing]"]),
            (proving(&usual, &json!({"timestamps": 2}))?, &["[TimestampMissing]"]),
        ],
    )?;
    let strange = proving(&dated(key, STRANGER)?, &stamped())?;
    admitted_only_under(
        &sandbox,
        &dated_only,
        &accepted,
        &[(usual.clone(), &["[LogMissing]"]), (strange, &["[TimestampInvalid]"])],
    )?;
    let nothing = proving(&usual, &json!({"logs": 0, "timestamps": 0}))?;
    admitted_only_under(
        &sandbox,
        &bare,
        &signed_by(&[("2026", &key.public_pem)]),
        &[(usual, &["[LogMissing]"]), (accepted, &["[TimestampMissing]"]), (nothing, &["[TimestampMissing]"])],
    )
}

fn key_window(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (stack, services) = (sandbox.stack(), sigstore.private.services());
    let image = push(&sandbox, &stack.with_referrers, "signed")?;
    stack.cosign.sign_with(services, &services.signing_config, Signer::Key(&stack.key), &image)?;
    let usual = dated(&stack.key, PRIVATE)?;
    let until = |field: &str, time: &str| with(&usual, "/0/keys/0", field, &json!(time));
    let accepted = [until("notAfter", FUTURE)?, until("notBefore", PAST)?];
    admitted_under(&sandbox, std::slice::from_ref(&image), &accepted)?;
    let outside: &[&str] = &["[SignedOutsideWindow]"];
    denied_under(&sandbox, &[image], &[(until("notAfter", PAST)?, outside), (until("notBefore", FUTURE)?, outside)])
}

fn distinct_signers(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (alice, bob) = (sigstore.issuer.identity(ALICE)?, sigstore.issuer.identity(BOB)?);
    let (services, registry) = (sigstore.private.services(), &sandbox.stack().with_referrers);
    let (both, twice) = (push(&sandbox, registry, "both")?, push(&sandbox, registry, "twice")?);
    for (image, identity) in [(&both, &alice), (&both, &bob), (&twice, &alice), (&twice, &alice)] {
        sign(&sandbox, services, identity, image)?;
    }
    let keyless = |name: &str, subject: Value| {
        json!({"name": name, "keyless": {"trustRoot": PRIVATE, "identities": [
            {"issuer": {"exact": alice.issuer}, "subject": subject},
        ]}})
    };
    let authorities =
        json!([keyless("alice", json!({"exact": alice.subject})), keyless("team", json!({"glob": "*@acme.test"}))]);
    let require = |require: Value| -> Result<Policy<'_>> {
        sandbox.eventually_admitted(&sandbox.canary())?;
        let mut policy = sandbox.policy(&[sandbox.pattern(registry)], &authorities);
        let spec = policy.pointer_mut("/spec").and_then(Value::as_object_mut).context("a policy without a spec")?;
        spec.insert("require".to_owned(), require);
        sandbox.apply_policy(&policy, true)
    };
    let items = json!([{"authority": "alice"}, {"authority": "team"}]);

    let policy = require(json!({"atLeast": 2, "of": items}))?;
    sandbox.accepts(&pod("both", &both.reference()))?;
    sandbox.rejects(&pod("twice", &twice.reference()), &[policy.name(), &twice.digest, "[SignersNotDistinct]"])?;
    policy.delete();

    // With `allOf` she may stand for both.
    let policy = require(json!({"allOf": items}))?;
    sandbox.accepts(&pod("twice", &twice.reference()))?;
    policy.delete();

    let policy = require(json!({"allOf": [
        {"authority": "alice"}, {"atLeast": 2, "of": [{"authority": "team"}, {"authority": "team"}]},
    ]}))?;
    sandbox.accepts(&pod("both-of-the-team", &both.reference()))?;
    sandbox.rejects(&pod("twice-of-the-team", &twice.reference()), &[policy.name(), "[SignersNotDistinct]"])?;
    Ok(())
}
