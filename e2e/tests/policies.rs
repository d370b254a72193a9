//! Policies that come, change, go, and cannot be parsed; images that no policy selects.

use std::sync::PoisonError;

use anyhow::{Context, Result, ensure};
use countersign_e2e::cosign::Format;
use countersign_e2e::manifest::{pod, signed_by};
use countersign_e2e::stack::Sandbox;
use serde_json::{Value, json};

use crate::{Case, RULES, Run};

pub(crate) const CASES: &[Case] = &[
    ("a stored policy with an unknown field denies what it selects until it is deleted", Run::Admission(unknown_field)),
    ("a policy that its schema forbids is not stored", Run::Admission(forbidden_by_schema)),
    ("the schema knows proofs, windows and thresholds, and forbids those that mean nothing", Run::Admission(demands)),
    ("a changed policy takes effect", Run::Admission(changed)),
    ("a policy binds only its namespaces and its images", Run::Admission(selection)),
    ("a policy may select namespaces by label, also one that has just been made", Run::Admission(labels)),
    ("a policy that warns admits with a warning", Run::Admission(warning)),
    ("an image that no policy selects is denied under --unmatched Deny", Run::Admission(unmatched)),
];

fn unknown_field(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("signed"))?;
    stack.cosign.sign(&stack.key, &image, Format::Bundle)?;
    let object = pod("app", &image.reference());
    let images = [sandbox.pattern(&stack.with_referrers)];
    let mut policy = sandbox.policy(&images, &signed_by(&[("2026", &stack.key.public_pem)]));
    spec(&mut policy)?.insert("requier".to_owned(), json!({"allOf": [{"authority": "release"}]}));

    let policy = sandbox.apply_policy(&policy, false)?;
    sandbox.rejects(&object, &["[PolicyInvalid]", policy.name(), "requier"])?;
    // What it does not select is none of its business.
    let elsewhere = stack.without_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("elsewhere"))?;
    sandbox.accepts(&pod("elsewhere", &elsewhere.reference()))?;
    policy.delete();
    sandbox.eventually_admitted(&object)?;
    sandbox.accepts(&object)?;
    Ok(())
}

fn forbidden_by_schema(sandbox: &Sandbox<'_>) -> Result<()> {
    let key = sandbox.stack().key.public_pem.as_str();
    let authorities = json!([
        {"name": "release", "keys": [{"name": "2026", "pem": key}]},
        {"name": "qa", "keys": [{"name": "2026", "pem": key}]},
    ]);
    let policy = sandbox.policy(&["127.0.0.1/**".to_owned()], &authorities);
    let outcome = sandbox.run(&["apply", "--dry-run=server"], Some(&policy))?;
    ensure!(!outcome.status.success() && outcome.stderr.contains("need `require`"), outcome.unexpected());
    Ok(())
}

fn demands(sandbox: &Sandbox<'_>) -> Result<()> {
    let key = sandbox.stack().key.public_pem.as_str();
    let identity = |extra: Value| {
        let mut identity =
            json!({"issuer": {"exact": "https://accounts.example"}, "subject": {"glob": "*@acme.example"}});
        if let (Value::Object(identity), Value::Object(extra)) = (&mut identity, extra) {
            identity.extend(extra);
        }
        json!({"name": "team", "keyless": {"trustRoot": "public-good", "identities": [identity]}})
    };
    let windowed =
        json!({"signed": {"notBefore": "2026-01-01T00:00:00Z"}, "claims": [{"name": "issuer", "regex": ".*"}]});
    let mut team = identity(windowed);
    let keys = json!({"name": "key", "trustRoot": "public-good",
        "keys": [{"name": "2026", "pem": key, "notAfter": "2027-01-01T00:00:00Z", "uri": "awskms:///alias/release"}]});
    let apply = |authorities: &Value, require: &Value| {
        let mut policy = sandbox.policy(&["127.0.0.1/**".to_owned()], authorities);
        spec(&mut policy)?.insert("require".to_owned(), require.clone());
        sandbox.run(&["apply", "--dry-run=server"], Some(&policy))
    };
    let two = json!({"atLeast": 2, "of": [{"authority": "team"}, {"authority": "key"}]});
    if let Value::Object(team) = &mut team {
        team.insert(
            "evidence".to_owned(),
            json!({"logs": 1, "timestamps": 1, "inclusionProof": true, "maxAge": "90d"}),
        );
    }
    let outcome = apply(&json!([team, keys]), &two)?;
    ensure!(outcome.status.success(), outcome.unexpected());
    let with = |field: &str, value: Value| {
        let mut authority = team.clone();
        if let Value::Object(authority) = &mut authority {
            authority.insert(field.to_owned(), value);
        }
        json!([authority, keys])
    };
    let both = json!([team, keys]);
    let refused = [
        (apply(&with("trustRoot", json!("public-good")), &two)?, "beside `keys` only"),
        (apply(&with("evidence", json!({"logs": 9})), &two)?, "evidence.logs"),
        (apply(&with("evidence", json!({"maxAge": "1w"})), &two)?, "evidence.maxAge"),
        (apply(&json!([identity(json!({"signed": {}})), keys]), &two)?, "at least one of `notBefore` and `notAfter`"),
        (apply(&json!([identity(json!({"claims": [{"name": "issuer"}]})), keys]), &two)?, "exactly one of `exact`"),
        (apply(&json!([identity(json!({"signed": {"notAfter": "tomorrow"}})), keys]), &two)?, "notAfter"),
        (apply(&both, &json!({"atLeast": 3, "of": two.get("of")}))?, "more than the items"),
        (apply(&both, &json!({"atLeast": 0, "of": two.get("of")}))?, "atLeast"),
        (apply(&both, &json!({"atLeast": 1}))?, "`atLeast` with `of`"),
    ];
    for (outcome, reason) in refused {
        ensure!(!outcome.status.success() && outcome.stderr.contains(reason), outcome.unexpected());
    }
    Ok(())
}

fn changed(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("signed"))?;
    stack.cosign.sign(&stack.key, &image, Format::Bundle)?;
    let object = pod("app", &image.reference());
    let policy = sandbox.govern(&signed_by(&[("old", &stack.other_key.public_pem)]))?;
    sandbox.rejects(&object, &[policy.name(), "old"])?;
    let _policy = sandbox.govern(&signed_by(&[("new", &stack.key.public_pem)]))?;
    sandbox.eventually_admitted(&object)?;
    let _policy = sandbox.govern(&signed_by(&[("newer", &stack.other_key.public_pem)]))?;
    sandbox.eventually_denied(&object, &[policy.name(), "newer"])?;
    Ok(())
}

fn selection(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let image = stack.with_referrers.push_minimal(&sandbox.path("governed/app"), &sandbox.path("a"))?;
    let other_path = stack.with_referrers.push_minimal(&sandbox.path("other/app"), &sandbox.path("b"))?;
    let other_host = stack.without_referrers.push_minimal(&sandbox.path("governed/app"), &sandbox.path("c"))?;
    let images = [format!("{}/{}", stack.with_referrers.host(), sandbox.path("governed/*"))];
    let policy = sandbox.govern_images(&images, &signed_by(&[("2026", &stack.key.public_pem)]))?;
    sandbox.rejects(&pod("governed", &image.reference()), &[policy.name()])?;
    sandbox.accepts(&pod("other-path", &other_path.reference()))?;
    sandbox.accepts(&pod("other-host", &other_host.reference()))?;
    let elsewhere = Sandbox::new(stack, "policies-another-namespace")?;
    elsewhere.accepts(&pod("governed", &image.reference()))?;
    Ok(())
}

fn labels(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("any"))?;
    let object = pod("app", &image.reference());
    let team = json!({"team": sandbox.path("team").replace('/', ".")});
    let mut policy =
        sandbox.policy(&[sandbox.pattern(&stack.with_referrers)], &signed_by(&[("k", &stack.key.public_pem)]));
    spec(&mut policy)?.insert("match".to_owned(), json!({"namespaceSelector": {"matchLabels": team}}));
    let governed = sandbox.labelled("governed", &team)?;
    let policy = governed.apply_policy(&policy, true)?;
    governed.rejects(&object, &[policy.name(), "[NoSignature]"])?;
    sandbox.accepts(&object)?;
    // A Pod that follows its namespace at once is judged by its labels, and not refused because they are not known yet.
    for turn in 0..5 {
        sandbox.labelled(&format!("new-{turn}"), &team)?.rejects(&object, &[policy.name(), "[NoSignature]"])?;
        sandbox.labelled(&format!("other-{turn}"), &json!({}))?.accepts(&object)?;
    }
    Ok(())
}

fn warning(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let image = stack.with_referrers.push_minimal(&sandbox.path("app"), &sandbox.path("unsigned"))?;
    let object = pod("app", &image.reference());
    let images = [sandbox.pattern(&stack.with_referrers)];
    let mut policy = sandbox.policy(&images, &signed_by(&[("2026", &stack.key.public_pem)]));
    let enforced = sandbox.apply_policy(&policy, true)?;
    sandbox.rejects(&object, &[enforced.name()])?;
    spec(&mut policy)?.insert("action".to_owned(), json!("Warn"));
    sandbox.accepts_command(&["apply"], Some(&policy))?;
    sandbox.eventually_admitted(&object)?;
    let admitted = sandbox.accepts(&object)?;
    let warned = admitted.stderr.contains("Warning: ") && admitted.stderr.contains(enforced.name());
    ensure!(warned, "no warning in the policy's name: {}", admitted.unexpected());
    Ok(())
}

fn unmatched(sandbox: &Sandbox<'_>) -> Result<()> {
    let _rules = RULES.lock().unwrap_or_else(PoisonError::into_inner);
    let stack = sandbox.stack();
    let _strict = stack.start_instance("strict", "Deny", &[])?;
    let strict = sandbox.with_instance("strict")?;
    let image = stack.with_referrers.push_minimal(&strict.path("app"), &strict.path("signed"))?;
    stack.cosign.sign(&stack.key, &image, Format::Bundle)?;
    let object = pod("app", &image.reference());
    sandbox.accepts(&object)?; // the main instance allows what nothing selects
    strict.eventually_denied(&object, &["[Unmatched]", &image.repository])?;
    let _policy = strict.govern(&signed_by(&[("2026", &stack.key.public_pem)]))?;
    strict.eventually_admitted(&object)?;
    strict.accepts(&object)?;
    let foreign = stack.without_referrers.push_minimal("foreign/app", &strict.path("foreign"))?;
    strict.rejects(&pod("foreign", &foreign.reference()), &["[Unmatched]", &foreign.repository])?;
    Ok(())
}

fn spec(policy: &mut Value) -> Result<&mut serde_json::Map<String, Value>> {
    policy.pointer_mut("/spec").and_then(Value::as_object_mut).context("a policy without a spec")
}
