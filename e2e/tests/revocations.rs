//! What is struck out, while policies that pass it run: on two replicas, by evidence that both have cached.
//!
//! The replicas are the main instance of countersign and the one that knows the private Sigstore instances. A revocation that must do
//! nothing strikes a marker too, an image for that alone: once the marker is denied, what is still admitted is admitted by the revocation
//! as it stands, and not because it was not seen yet.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use countersign_e2e::cosign::Format;
use countersign_e2e::facts::{Facts, certificate, key_id, public_key};
use countersign_e2e::manifest::{pod, signed_by};
use countersign_e2e::process::eventually;
use countersign_e2e::registry::PushedImage;
use countersign_e2e::resource::{OwnKind, Resource};
use countersign_e2e::sigstore::{Account, Identity, Instance, Services, Sigstore};
use countersign_e2e::stack::{Policy, Sandbox};
use serde_json::{Value, json};

use crate::private_sigstore::{by, push, push_signed, sign};
use crate::proofs::with;
use crate::{Case, Run, say};

pub(crate) const CASES: &[Case] = &[
    ("each kind strikes what it names, on every replica, and nothing beside it", Run::Admission(kinds)),
    ("a distrusted service counts as long as another dates it before", Run::Admission(services)),
    ("a signer is struck out by the time of the signature", Run::Admission(times)),
    (
        "a revoked image is denied by tag, in an index, without a policy, and under one that audits",
        Run::Admission(artifacts),
    ),
    ("what a revoked index holds is revoked with it", Run::Admission(descendants)),
    ("valid entries act beside malformed ones", Run::Admission(malformed)),
];

/// A hang guard of ten times what is promised.
const LIMIT: Duration = Duration::from_secs(10);
const REASON: &str = "e2e: it was stolen";
const PAST: &str = "2020-01-01T00:00:00Z";
const FUTURE: &str = "2100-01-01T00:00:00Z";
const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Two namespaces, of two replicas, with one policy; images that it admits, and the marker that nothing governs.
struct Scene<'s> {
    sigstore: &'s Sigstore,
    /// What the images are signed with: where services are distrusted, an instance that no other case uses.
    services: Services,
    _own: Option<Instance>,
    main: &'s Sandbox<'s>,
    private: Sandbox<'s>,
    /// Somebody whom no other case knows.
    alice: Identity,
    image: PushedImage,
    marker: PushedImage,
    root: Resource<'s>,
}

impl<'s> Scene<'s> {
    fn set(main: &'s Sandbox<'s>) -> Result<Self> {
        Self::set_with(main, false)
    }

    /// With an instance of Sigstore of its own.
    fn set_apart(main: &'s Sandbox<'s>) -> Result<Self> {
        Self::set_with(main, true)
    }

    fn set_with(main: &'s Sandbox<'s>, apart: bool) -> Result<Self> {
        let (sigstore, private) = main.with_sigstore()?;
        let own = apart.then(|| main.stack().start_sigstore(sigstore, main.name())).transpose()?;
        let services = own.as_ref().unwrap_or(&sigstore.private).services().clone();
        let alice = sigstore.issuer.identity(Account::Person(&format!("alice@{}.test", main.name())))?;
        let registry = &main.stack().with_referrers;
        let image = push_signed(main, registry, &services, &alice)?;
        let marker = registry.push_minimal(&format!("{}-marker/app", main.name()), main.name())?;
        let trusted_root = services.read_trusted_root()?.to_string();
        let spec = json!({"trustedRoot": trusted_root});
        let root = Resource::create(&main.stack().cluster, OwnKind::TrustRoot, main.name(), &spec)?;
        Ok(Self { sigstore, services, _own: own, main, private, alice, image, marker, root })
    }

    fn sandboxes(&self) -> [&Sandbox<'s>; 2] {
        [self.main, &self.private]
    }

    /// Alice, under the scene's root.
    fn by_alice(&self) -> Value {
        by(self.root.name(), &self.alice)
    }

    /// Governs all images of the case on both replicas, all but the marker.
    fn govern(&self, authorities: &Value) -> Result<Policy<'s>> {
        let policy = self.main.policy(&[self.main.pattern(&self.main.stack().with_referrers)], authorities);
        self.apply(&policy)
    }

    fn apply(&self, policy: &Value) -> Result<Policy<'s>> {
        let namespaces = self.sandboxes().map(Sandbox::name);
        let policy = self.main.apply_policy(&with(policy, "/spec/match", "namespaces", &json!(namespaces))?, true)?;
        self.private.eventually_denied(&self.private.canary(), &[policy.name()])?;
        Ok(policy)
    }

    /// Both replicas admit it.
    fn admits(&self, image: &PushedImage) -> Result<()> {
        self.sandboxes().into_iter().try_for_each(|sandbox| {
            let answer = sandbox.try_pod(&pod("app", &image.reference()))?;
            ensure!(answer.is_admitted(), "{answer:?}");
            Ok(())
        })
    }

    fn eventually_admits(&self, image: &PushedImage) -> Result<()> {
        let object = pod("app", &image.reference());
        self.sandboxes().into_iter().try_for_each(|sandbox| sandbox.eventually_admitted(&object))
    }

    fn revocation(&self, name: &str, spec: &Value) -> Result<(String, Value)> {
        Ok((format!("{}-{name}", self.main.name()), with(spec, "", "reason", &json!(REASON))?))
    }

    /// Creates a revocation while the image is tried all the time on both replicas, which have just admitted it. How long after the
    /// creation each denied it for the first time.
    fn strikes(&self, name: &str, spec: &Value, object: &Value) -> Result<(Resource<'s>, Vec<Duration>)> {
        let (name, spec) = self.revocation(name, spec)?;
        for sandbox in self.sandboxes() {
            let answer = sandbox.try_pod(object)?;
            ensure!(answer.is_admitted(), "before {name}: {answer:?}");
        }
        thread::scope(|scope| {
            let created = Instant::now();
            let resource = Resource::create(&self.main.stack().cluster, OwnKind::Revocation, &name, &spec)?;
            let replicas = self.sandboxes().map(|sandbox| {
                let name = &name;
                scope.spawn(move || first_denial(sandbox, object, created, &[name, REASON]))
            });
            let times =
                replicas.into_iter().map(|replica| replica.join().map_err(|_| anyhow!("a replica panicked"))?);
            Ok((resource, times.collect::<Result<_>>().with_context(|| format!("{name}: {spec}"))?))
        })
    }

    /// Creates a revocation that strikes the marker and returns once it does, on both replicas.
    fn marks(&self, name: &str, spec: &Value) -> Result<Resource<'s>> {
        let mut artifacts = spec.get("artifacts").and_then(Value::as_array).cloned().unwrap_or_default();
        artifacts.push(json!({"digest": self.marker.digest}));
        let spec = with(spec, "", "artifacts", &json!(artifacts))?;
        Ok(self.strikes(name, &spec, &pod("marker", &self.marker.reference()))?.0)
    }

    /// Strikes the image, and lifts it again.
    fn strikes_and_spares(&self, name: &str, image: &PushedImage, spec: &Value, neighbour: &Value) -> Result<Duration> {
        let spared = self.marks(&format!("{name}-beside"), neighbour).with_context(|| name.to_owned())?;
        self.admits(image).with_context(|| format!("{name}: {neighbour}"))?;
        spared.delete();
        let (revocation, times) = self.strikes(name, spec, &pod("app", &image.reference()))?;
        revocation.delete();
        self.eventually_admits(image).with_context(|| format!("{name} was lifted"))?;
        self.eventually_admits(&self.marker)?;
        times.into_iter().max().context("no replica")
    }
}

/// How long after `since` the first denial came that says so. After it, nothing is admitted any more.
fn first_denial(sandbox: &Sandbox<'_>, object: &Value, since: Instant, parts: &[&str]) -> Result<Duration> {
    let took = loop {
        let answer = sandbox.try_pod(object)?;
        if answer.is_denied(parts) {
            break since.elapsed();
        }
        ensure!(answer.is_admitted(), "{answer:?}");
        ensure!(since.elapsed() < LIMIT, "still admitted");
    };
    for _ in 0..3 {
        let answer = sandbox.try_pod(object)?;
        ensure!(answer.is_denied(parts), "{answer:?}");
    }
    Ok(took)
}

fn told(times: &[(&str, Duration)]) {
    for (name, time) in times {
        say(&format!(
            "{name}: denied {:.0} ms after its creation, by the slower of two replicas",
            time.as_secs_f64() * 1e3
        ));
    }
}

fn kinds(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set_apart(sandbox)?;
    let (stack, registry) = (sandbox.stack(), &sandbox.stack().with_referrers);
    let folder = stack.new_folder()?;
    let [used, unused] = ["used", "unused"].map(|name| stack.cosign.generate_key_pair(&folder, name));
    let (used, unused) = (used?, unused?);
    let by_key = push(sandbox, registry, "by-key")?;
    stack.cosign.sign(&used, &by_key, Format::Bundle)?;
    let key = signed_by(&[("2026", &used.public_pem)]);
    let key = with(&key, "/0", "name", &json!("key"))?;
    let authorities = [scene.by_alice(), key].map(|list| list.pointer("/0").cloned());
    let policy = sandbox.policy(&[sandbox.pattern(registry)], &json!(authorities));
    let require = json!({"anyOf": [{"authority": "release"}, {"authority": "key"}]});
    let _policy = scene.apply(&with(&policy, "/spec", "require", &require)?)?;
    scene.eventually_admits(&scene.image)?;
    scene.eventually_admits(&by_key)?;

    let facts = Facts::read(registry, &sandbox.path("app"), &scene.image)?;
    let root = scene.services.read_trusted_root()?;
    let strange = scene.sigstore.stranger.services().read_trusted_root()?;
    let (alice, log, index) = (&scene.alice, facts.log()?, facts.log_index()?);
    let other = "0".repeat(64);
    let identity = |issuer: &str, subject: Value| json!({"identities": [{"issuer": issuer, "subject": subject}]});
    let authority = |root: &Value| certificate(root, "/certificateAuthorities/0/certChain/certificates/0/rawBytes");
    let stamps = |root: &Value| certificate(root, "/timestampAuthorities/0/certChain/certificates/0/rawBytes");
    let issuer = "CN=fulcio-intermediate,O=private-sigstore";
    let keyless = [
        (
            "artifact",
            json!({"artifacts": [{"digest": scene.image.digest}]}),
            json!({"artifacts": [{"digest": by_key.digest}]}),
        ),
        (
            "identity",
            identity(&alice.issuer, json!({"exact": alice.subject.to_uppercase()})),
            identity(&scene.sigstore.issuer.other_url(), json!({"exact": alice.subject})),
        ),
        (
            "identity-by-glob",
            json!({"identities": [{"subject": {"glob": format!("*@{}.TEST", sandbox.name().to_uppercase())}}]}),
            json!({"identities": [{"subject": {"glob": format!("mallory@{}.*", sandbox.name())}}]}),
        ),
        (
            "certificate",
            json!({"certificates": [{"sha256": facts.certificate()?}]}),
            json!({"certificates": [{"sha256": other}]}),
        ),
        (
            "certificate-by-serial",
            json!({"certificates": [{"serial": facts.serial()?, "issuer": issuer}]}),
            json!({"certificates": [{"serial": facts.serial()?, "issuer": "CN=another"}]}),
        ),
        (
            "log-entry",
            json!({"logEntries": [{"log": log, "index": index}]}),
            json!({"logEntries": [{"log": log, "index": index + 100_000}, {"log": other, "index": index}]}),
        ),
        (
            "log-entry-by-uuid",
            json!({"logEntries": [{"log": log, "uuid": facts.leaf_hash()?}]}),
            json!({"logEntries": [{"log": log, "uuid": other}]}),
        ),
        (
            "log",
            json!({"services": [{"log": log}]}),
            json!({"services": [{"log": key_id(&strange, "/tlogs/0/logId/keyId")?}, {"ctLog": log}]}),
        ),
        (
            "certificate-authority",
            json!({"services": [{"ca": authority(&root)?}]}),
            json!({"services": [{"ca": authority(&strange)?}, {"timestampAuthority": authority(&root)?}]}),
        ),
        (
            "timestamp-authority",
            json!({"services": [{"timestampAuthority": stamps(&root)?}]}),
            json!({"services": [{"timestampAuthority": stamps(&strange)?}, {"timestampAuthority": authority(&root)?}]}),
        ),
        (
            "certificate-log",
            json!({"services": [{"ctLog": key_id(&root, "/ctlogs/0/logId/keyId")?}]}),
            json!({"services": [{"ctLog": key_id(&strange, "/ctlogs/0/logId/keyId")?}]}),
        ),
    ];
    let mut times = Vec::new();
    for (name, spec, neighbour) in &keyless {
        times.push((*name, scene.strikes_and_spares(name, &scene.image, spec, neighbour)?));
    }
    let key = |pem: &str| -> Result<Value> { Ok(json!({"keys": [{"sha256": public_key(pem)?}]})) };
    let (used, unused) = (key(&used.public_pem)?, key(&unused.public_pem)?);
    times.push(("key", scene.strikes_and_spares("key", &by_key, &used, &unused)?));
    told(&times);

    // A suggestion does nothing until somebody makes it act.
    let spec = json!({"artifacts": [{"digest": scene.image.digest}], "suspended": true, "reason": REASON});
    let name = format!("{}-suggested", sandbox.name());
    let suggestion = Resource::create(&stack.cluster, OwnKind::Revocation, &name, &spec)?;
    let marked = scene.marks("after-the-suggestion", &json!({}))?;
    scene.admits(&scene.image)?;
    marked.delete();
    suggestion.patch(&json!({"suspended": false}))?;
    let object = pod("app", &scene.image.reference());
    scene.sandboxes().into_iter().try_for_each(|sandbox| sandbox.eventually_denied(&object, &[&name, REASON]))
}

/// The log's entry is dated by the timestamp authority alone.
fn services(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set_apart(sandbox)?;
    let _policy = scene.govern(&scene.by_alice())?;
    scene.eventually_admits(&scene.image)?;
    let root = scene.services.read_trusted_root()?;
    let log = key_id(&root, "/tlogs/0/logId/keyId")?;
    let ct_log = key_id(&root, "/ctlogs/0/logId/keyId")?;
    let authority = certificate(&root, "/certificateAuthorities/0/certChain/certificates/1/rawBytes")?;
    let stamps = certificate(&root, "/timestampAuthorities/0/certChain/certificates/0/rawBytes")?;
    let services = |services: Value| json!({"services": services});
    for (name, kind, id) in [("log", "log", &log), ("ct-log", "ctLog", &ct_log), ("authority", "ca", &authority)] {
        let after = |time: &str| services(json!([{kind: id, "after": time}]));
        scene.strikes_and_spares(name, &scene.image, &after(PAST), &after(FUTURE))?;
        // Undated: whoever dated it is not believed either.
        let undated = services(json!([{kind: id, "after": FUTURE}, {"timestampAuthority": stamps, "after": FUTURE}]));
        scene.strikes_and_spares(&format!("undated-{name}"), &scene.image, &undated, &after(FUTURE))?;
    }
    Ok(())
}

fn times(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let stack = sandbox.stack();
    let _policy = scene.govern(&scene.by_alice())?;
    scene.eventually_admits(&scene.image)?;
    let alice = &scene.alice;
    let signed = |window: Value| {
        let identity = json!({"issuer": alice.issuer, "subject": {"exact": alice.subject}});
        match (identity, window) {
            (Value::Object(mut identity), Value::Object(window)) => {
                identity.extend(window);
                json!({"identities": [identity]})
            }
            _ => Value::Null,
        }
    };
    let inside = [
        ("after", json!({"signedAfter": PAST}), json!({"signedAfter": FUTURE})),
        ("before", json!({"signedBefore": FUTURE}), json!({"signedBefore": PAST})),
        (
            "within",
            json!({"signedAfter": PAST, "signedBefore": FUTURE}),
            json!({"signedAfter": "2099-01-01T00:00:00Z", "signedBefore": FUTURE}),
        ),
    ];
    for (name, window, beside) in inside {
        scene.strikes_and_spares(name, &scene.image, &signed(window), &signed(beside))?;
    }

    // Stolen now: what was signed before stays, what is signed from now on is struck out.
    thread::sleep(Duration::from_secs(2));
    let now = utc(0)?;
    thread::sleep(Duration::from_secs(2));
    let later = push(sandbox, &stack.with_referrers, "later")?;
    sign(sandbox, &scene.services, alice, &later)?;
    scene.eventually_admits(&later)?;
    let stolen = signed(json!({"signedAfter": now}));
    let (revocation, _) = scene.strikes("stolen", &stolen, &pod("later", &later.reference()))?;
    scene.admits(&scene.image)?;
    revocation.delete();
    scene.eventually_admits(&later)
}

/// Now and some seconds, as the objects want it.
fn utc(seconds: i64) -> Result<String> {
    let outcome = countersign_e2e::process::run(
        std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &format!("{seconds} seconds")]),
        &[],
    )?;
    Ok(outcome.success()?.stdout.trim().to_owned())
}

/// An index of these images, each for a platform of its own.
fn push_index(sandbox: &Sandbox<'_>, path: &str, tag: Option<&str>, images: &[&PushedImage]) -> Result<PushedImage> {
    let registry = &sandbox.stack().with_referrers;
    let mut manifests = Vec::new();
    for (image, architecture) in images.iter().zip(["amd64", "arm64"]) {
        let (media_type, bytes) = registry.manifest(path, &image.digest)?;
        manifests.push(json!({
            "mediaType": media_type, "digest": image.digest, "size": bytes.len(),
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    let index = json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests}).to_string();
    registry.push_manifest(path, tag, IMAGE_INDEX, index.as_bytes())
}

fn artifacts(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let registry = &sandbox.stack().with_referrers;
    let policy = scene.govern(&scene.by_alice())?;
    let path = sandbox.path("app");
    let sibling = push(sandbox, registry, "sibling")?;
    let spared = push(sandbox, registry, "spared")?;
    registry.copy_tag(&path, &scene.image.digest, "v1")?;
    registry.copy_tag(&path, &sibling.digest, "v2")?;
    let (bad, good) = ("with", "without");
    let index = push_index(sandbox, &path, Some(bad), &[&sibling, &scene.image])?;
    let spared_index = push_index(sandbox, &path, Some(good), &[&sibling, &spared])?;
    scene.eventually_admits(&scene.image)?;
    // Namespaces without any policy, on both replicas, and one in which a policy audits only.
    let free = sandbox.labelled("free", &json!({}))?;
    let audited = sandbox.labelled("audited", &json!({}))?;
    let audit = audited.policy(&[sandbox.pattern(registry)], &scene.by_alice());
    audited.accepts_command(&["apply"], Some(&with(&audit, "/spec", "action", &json!("Audit"))?))?;
    let reference = |what: &str| format!("{}/{path}{what}", registry.host());
    let struck = [
        ("by digest", reference(&format!("@{}", scene.image.digest))),
        ("by tag", reference(":v1")),
        ("in an index by digest", reference(&format!("@{}", index.digest))),
        ("in an index by tag", reference(&format!(":{bad}"))),
    ];
    let kept = [
        ("by digest", reference(&format!("@{}", sibling.digest))),
        ("by tag", reference(":v2")),
        ("in an index by digest", reference(&format!("@{}", spared_index.digest))),
        ("in an index by tag", reference(&format!(":{good}"))),
    ];
    for (how, image) in struck.iter().chain(&kept) {
        for place in [&free, &audited] {
            place.eventually_admitted(&pod("app", image)).with_context(|| format!("{how} in {}", place.name()))?;
        }
    }
    let revoked = json!({"artifacts": [{"digest": scene.image.digest}]});
    let (revocation, _) = scene.strikes("stolen", &revoked, &pod("app", &scene.image.reference()))?;
    for place in [&free, &audited] {
        for (how, image) in &struck {
            let parts = [revocation.name(), REASON, scene.image.digest.as_str()];
            place
                .eventually_denied(&pod("app", image), &parts)
                .with_context(|| format!("{how} in {}", place.name()))?;
        }
        for (how, image) in &kept {
            let answer = place.try_pod(&pod("app", image))?;
            ensure!(answer.is_admitted(), "{how} in {}: {answer:?}", place.name());
        }
    }
    // Templates are judged like Pods.
    let deployment = countersign_e2e::manifest::Kind::Deployment.object("app", &reference(":v1"));
    free.rejects(&deployment, &[revocation.name(), REASON])?;
    // The image elsewhere is the same image.
    let copy = registry.push_minimal(&sandbox.path("copy"), &sandbox.path(&scene.alice.subject))?;
    ensure!(copy.digest == scene.image.digest, "another image");
    free.rejects(&pod("copy", &copy.reference()), &[revocation.name(), REASON])?;
    policy.delete();
    revocation.delete();
    for (how, image) in &struck {
        free.eventually_admitted(&pod("app", image)).with_context(|| format!("{how} after it was lifted"))?;
    }
    Ok(())
}

fn descendants(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let registry = &sandbox.stack().with_referrers;
    let path = sandbox.path("app");
    let children = [push(sandbox, registry, "one")?, push(sandbox, registry, "two")?];
    let other = push(sandbox, registry, "three")?;
    let index = push_index(sandbox, &path, Some("v1"), &children.each_ref())?;
    for image in children.iter().chain([&other, &index]) {
        scene.eventually_admits(image)?;
    }
    let revoked = json!({"artifacts": [{"digest": index.digest}]});
    let (revocation, times) = scene.strikes("index", &revoked, &pod("app", &index.reference()))?;
    told(&[("an index", times.into_iter().max().unwrap_or_default())]);
    // What it holds is looked up where the index was seen, and told in the status.
    let digests = children.each_ref().map(|child| json!(child.digest));
    eventually("what the index holds", LIMIT, || {
        let object = revocation.get()?;
        let listed = object.pointer("/status/descendants").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(digests.iter().all(|digest| listed.contains(digest)).then_some(()))
    })?;
    for child in &children {
        for sandbox in scene.sandboxes() {
            sandbox.eventually_denied(&pod("app", &child.reference()), &[revocation.name(), REASON])?;
        }
    }
    scene.admits(&other)?;
    revocation.delete();
    children.iter().try_for_each(|child| scene.eventually_admits(child))
}

fn malformed(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let _policy = scene.govern(&scene.by_alice())?;
    scene.eventually_admits(&scene.image)?;
    let spec = json!({
        "artifacts": [{"digest": "sha256:beef"}, {"digest": scene.image.digest}, {"digest": "latest"}],
        "keys": [{"sha256": "xyz"}],
        "reason": REASON,
    });
    let name = format!("{}-half", sandbox.name());
    let cluster = &sandbox.stack().cluster;
    let revocation = Resource::create(cluster, OwnKind::Revocation, &name, &spec)?;
    let object = pod("app", &scene.image.reference());
    for sandbox in scene.sandboxes() {
        sandbox.eventually_denied(&object, &[&name, REASON])?;
    }
    for entry in ["artifacts[0]", "artifacts[2]", "keys[0]"] {
        revocation.eventually("Ready", "False", &[entry])?;
    }
    revocation.delete();
    scene.eventually_admits(&scene.image)
}
