//! Policies that have the log asked (`evidence.online`), over tiles that Rekor itself wrote: what confirms, and that nothing else does.
//!
//! Each log that is down or lies has a trust root of its own, which differs from the honest one only in where the log is. Without `online`
//! such a root is as good as the honest one.

use anyhow::{Result, ensure};
use countersign_e2e::cosign::{Format, Signer, Unlogged};
use countersign_e2e::manifest::{pod, signed_by};
use countersign_e2e::sigstore::{Account, LOG_DOWN, LYING, PRIVATE, STRANGER};
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::private_sigstore::{ALICE, admitted_only_under, admitted_under, by, denied_under, push, push_signed, sign};
use crate::proofs::{proving, with};
use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("an entry that the log confirms counts, from both registries", Run::Admission(confirmed)),
    ("a log that is down leaves it open", Run::Admission(down)),
    ("a log that answers anything else leaves it open", Run::Admission(lying)),
    ("an entry of a fork, signed by the log's own key, is not confirmed", Run::Admission(forked)),
];

fn online(authorities: &Value) -> Result<Value> {
    proving(authorities, &json!({"online": true}))
}

fn confirmed(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let (stack, services) = (sandbox.stack(), sigstore.private.services());
    let identity = sigstore.issuer.identity(ALICE)?;
    let mallory = sigstore.issuer.identity(Account::Person("mallory@acme.test"))?;
    let mut images = Vec::new();
    for registry in stack.registries() {
        images.push(push_signed(&sandbox, registry, services, &identity)?);
    }
    let asked = sigstore.private.tiles.asked().len();
    admitted_only_under(
        &sandbox,
        &images,
        &online(&by(PRIVATE, &identity))?,
        &[
            (online(&by(PRIVATE, &mallory))?, &["[IdentityMismatch]"]),
            (online(&by(STRANGER, &identity))?, &["[TimestampInvalid]"]),
            (proving(&by(PRIVATE, &identity), &json!({"online": true, "logs": 2}))?, &["[LogMissing]"]),
        ],
    )?;
    let asked = sigstore.private.tiles.asked().split_off(asked);
    let count = |prefix: &str| asked.iter().filter(|path| path.starts_with(prefix)).count();
    ensure!(count("checkpoint") >= images.len() && count("tile/0/") >= images.len(), "the log was asked for {asked:?}");

    // So does a key's, and what is in no log has nothing to confirm.
    let key = with(&signed_by(&[("2026", &stack.key.public_pem)]), "/0", "trustRoot", &json!(PRIVATE))?;
    let logged = push(&sandbox, &stack.with_referrers, "by-key")?;
    stack.cosign.sign_with(services, &services.signing_config, Signer::Key(&stack.key), &logged)?;
    admitted_under(&sandbox, &[logged], &[online(&key)?])?;
    let unlogged = push(&sandbox, &stack.with_referrers, "unlogged")?;
    let stamp = Unlogged { timestamp_url: Some(&services.timestamp_url), ..Unlogged::default() };
    stack.cosign.sign_unlogged(&stamp, Signer::Key(&stack.key), &unlogged, Format::Bundle)?;
    denied_under(&sandbox, &[unlogged], &[(online(&key)?, &["[LogMissing]"])])
}

fn down(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let image = push_signed(&sandbox, &sandbox.stack().with_referrers, sigstore.private.services(), &identity)?;
    let usual = by(LOG_DOWN, &identity);
    let parts: &[&str] = &["could not be judged", "[LogUnavailable]"];
    admitted_only_under(&sandbox, &[image], &usual, &[(online(&usual)?, parts)])
}

fn lying(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let registry = &sandbox.stack().with_referrers;
    // At least two entries, so that there is something beside each that must be right.
    push_signed(&sandbox, &sandbox.stack().without_referrers, sigstore.private.services(), &identity)?;
    let image = push_signed(&sandbox, registry, sigstore.private.services(), &identity)?;
    let images = [image];
    admitted_under(&sandbox, &images, &[online(&by(PRIVATE, &identity))?])?;
    for (root, code) in LYING {
        denied_under(&sandbox, &images, &[(online(&by(root, &identity))?, &["could not be judged", code])])?;
    }
    // Nothing else is wrong with these roots.
    let authorities: Vec<_> = LYING
        .iter()
        .map(|(root, _)| with(&by(root, &identity), "/0", "name", &json!(root)).map(|list| list.pointer("/0").cloned()))
        .collect::<Result<_>>()?;
    let all: Vec<_> = LYING.iter().map(|(root, _)| json!({"authority": root})).collect();
    let policy = sandbox.policy(&[sandbox.pattern(registry)], &json!(authorities));
    let _policy = sandbox.apply_policy(&with(&policy, "/spec", "require", &json!({"allOf": all}))?, true)?;
    images.iter().try_for_each(|image| sandbox.accepts(&pod("offline", &image.reference())).map(drop))
}

/// Nothing but the log itself can tell.
fn forked(sandbox: &Sandbox<'_>) -> Result<()> {
    let (sigstore, sandbox) = sandbox.with_sigstore()?;
    let identity = sigstore.issuer.identity(ALICE)?;
    let registry = &sandbox.stack().with_referrers;
    // Two entries, so that the log is longer than its fork, which has one.
    push_signed(&sandbox, &sandbox.stack().without_referrers, sigstore.private.services(), &identity)?;
    let honest = push_signed(&sandbox, registry, sigstore.private.services(), &identity)?;
    let fork = sandbox.stack().fork_private_log()?;
    let image = push(&sandbox, registry, "forked")?;
    sign(&sandbox, fork.services(), &identity, &image)?;
    let usual = by(PRIVATE, &identity);
    admitted_under(&sandbox, &[honest], &[online(&usual)?])?;
    let parts: &[&str] = &["could not be judged", "[LogInclusionUnproved]"];
    admitted_only_under(&sandbox, &[image], &usual, &[(online(&usual)?, parts)])
}
