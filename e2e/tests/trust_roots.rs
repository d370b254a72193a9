//! Trust roots that come through TUF, from a mirror on loopback that is rotated, down, or lies.
//!
//! Two replicas judge: the main instance of countersign, and the one that knows the private Sigstore instances. Images are signed by one
//! person in two logs, so that it is the trust root alone that says which of them counts.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use countersign_e2e::api::Answer;
use countersign_e2e::load::Load;
use countersign_e2e::manifest::pod;
use countersign_e2e::process::eventually;
use countersign_e2e::registry::PushedImage;
use countersign_e2e::resource::{OwnKind, Resource};
use countersign_e2e::sigstore::{Identity, Sigstore};
use countersign_e2e::stack::{Policy, Sandbox};
use countersign_e2e::tuf::{Mirror, Serving, TufRepository};
use serde_json::{Value, json};

use crate::own_repository::OwnRepository;
use crate::private_sigstore::{ALICE, by, push, sign};
use crate::proofs::with;
use crate::{Case, Run, say};

pub(crate) const CASES: &[Case] = &[
    ("a log's key is replaced while Pods are admitted", Run::Admission(rotated)),
    ("the same with the repository of another writer", Run::Admission(rotated_by_own_writer)),
    ("what a mirror delivered last counts until it is too old", Run::Admission(mirror_down)),
    ("a repository that breaks a rule is refused, and what it said before counts", Run::Admission(refused)),
    ("a key that was withdrawn stays so after a restart with the mirror down", Run::Admission(restarted)),
];

/// How one image was signed.
const OLD: usize = 0;
const NEW: usize = 1;
const STRANGE: usize = 2;
const UNSIGNED: usize = 3;

/// Images by one signer in the old log and in the new one, one by a stranger, one that nobody signed; and the trusted roots.
struct Scene<'s> {
    sigstore: &'s Sigstore,
    /// Judged by the main instance.
    main: &'s Sandbox<'s>,
    /// Judged by the other one.
    private: Sandbox<'s>,
    alice: Identity,
    images: Vec<PushedImage>,
}

impl<'s> Scene<'s> {
    fn set(main: &'s Sandbox<'s>) -> Result<Self> {
        let (sigstore, private) = main.with_sigstore()?;
        let alice = sigstore.issuer.identity(ALICE)?;
        let registry = &main.stack().with_referrers;
        let mut images = Vec::new();
        for (name, services) in [
            ("old", Some(sigstore.private.services())),
            ("new", Some(&sigstore.moved)),
            ("strange", Some(sigstore.stranger.services())),
            ("unsigned", None),
        ] {
            let image = push(main, registry, name)?;
            if let Some(services) = services {
                sign(main, services, &alice, &image).context(name)?;
            }
            images.push(image);
        }
        Ok(Self { sigstore, main, private, alice, images })
    }

    fn sandboxes(&self) -> [&Sandbox<'s>; 2] {
        [self.main, &self.private]
    }

    fn pods(&self) -> Vec<Value> {
        self.images.iter().map(|image| pod("app", &image.reference())).collect()
    }

    /// The trusted root with the old log.
    fn old_log(&self) -> Result<Value> {
        self.sigstore.private.services().read_trusted_root()
    }

    /// The trusted root with the new log.
    fn new_log(&self) -> Result<Value> {
        self.sigstore.moved.read_trusted_root()
    }

    /// The trusted root with both logs.
    fn both_logs(&self) -> Result<Value> {
        let (old, new) = (self.old_log()?, self.new_log()?);
        let logs = [&old, &new].map(|root| root.pointer("/tlogs/0").cloned());
        with(&old, "", "tlogs", &json!(logs))
    }

    fn repository(&self, trusted_root: &Value) -> Result<TufRepository> {
        TufRepository::create(self.main.stack().tools(), &self.main.stack().new_folder()?, trusted_root)
    }

    /// Declares a trust root of this name, with further fields.
    fn declare(&self, name: &str, mirror: &Mirror, further: &Value) -> Result<Resource<'s>> {
        let mut spec = mirror.spec()?;
        if let (Some(spec), Some(further)) = (spec.as_object_mut(), further.as_object()) {
            spec.extend(further.clone());
        }
        Resource::create(&self.main.stack().cluster, OwnKind::TrustRoot, name, &spec)
    }

    /// Governs the images by a policy that takes Alice's signature under this root, in both namespaces.
    fn govern(&self, root: &str) -> Result<Policy<'s>> {
        let policy = self.main.policy(&[self.main.pattern(&self.main.stack().with_referrers)], &by(root, &self.alice));
        let namespaces = self.sandboxes().map(Sandbox::name);
        let policy = self.main.apply_policy(&with(&policy, "/spec/match", "namespaces", &json!(namespaces))?, true)?;
        self.private.eventually_denied(&self.private.canary(), &[policy.name()])?;
        Ok(policy)
    }

    fn answers(&self, image: usize) -> Result<Vec<Answer>> {
        let image = self.images.get(image).context("no such image")?;
        let pod = pod("app", &image.reference());
        self.sandboxes().into_iter().map(|sandbox| sandbox.try_pod(&pod)).collect()
    }

    /// Both replicas admit these images and deny those.
    fn admits(&self, admitted: &[usize], not: &[usize]) -> Result<()> {
        for image in admitted {
            for answer in self.answers(*image)? {
                ensure!(answer.is_admitted(), "image {image}: {answer:?}");
            }
        }
        for image in not {
            for answer in self.answers(*image)? {
                ensure!(is_denied(&answer), "image {image}: {answer:?}");
            }
        }
        Ok(())
    }

    /// Waits until both replicas admit these images and deny those.
    fn eventually_admits(&self, admitted: &[usize], not: &[usize]) -> Result<()> {
        let mut last = None;
        let waited = eventually("the verdicts", Duration::from_secs(20), || {
            last = self.admits(admitted, not).err();
            Ok(last.is_none().then_some(()))
        });
        waited.with_context(|| format!("{last:?}"))
    }
}

fn is_admitted(answer: &Answer) -> bool {
    answer.is_admitted()
}

/// By an answer to what the policy asks, and not because that could not be had.
fn is_denied(answer: &Answer) -> bool {
    answer.is_denied(&[]) && !is_open(answer)
}

fn is_open(answer: &Answer) -> bool {
    answer.is_denied(&["could not be judged"])
}

/// Has the root refreshed now: its object changes, which changes nothing else.
fn refresh(root: &Resource<'_>) -> Result<()> {
    let age = root.get()?.pointer("/spec/maxAge").and_then(Value::as_str).map(str::to_owned);
    let other = if age.as_deref() == Some("240h") { "10d" } else { "240h" };
    root.patch(&json!({"maxAge": other})).map(drop)
}

/// Waits until the status tells this version of a role's metadata.
fn eventually_version(root: &Resource<'_>, role: &str, version: i64) -> Result<()> {
    eventually(&format!("{role} {version} of {}", root.name()), Duration::from_secs(40), || {
        let object = root.get()?;
        Ok((object.pointer(&format!("/status/versions/{role}")).and_then(Value::as_i64) == Some(version)).then_some(()))
    })
}

/// By python-tuf. Nobody tells countersign of the new log but the signatures that name it.
fn rotated(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let repository = scene.repository(&scene.old_log()?)?;
    let everything = ["rotate=root", "rotate=targets", "rotate=snapshot", "rotate=timestamp"];
    let publish = |trusted_root: &Value| repository.replace_trusted_root(trusted_root, &everything);
    replaced(&scene, repository.mirror(), publish, false)
}

/// By the writer of our own tests. countersign is told when to look.
fn rotated_by_own_writer(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let mut repository = OwnRepository::create(&sandbox.stack().new_folder()?, &scene.old_log()?)?;
    let mirror = Mirror::start(&repository.public())?;
    replaced(&scene, &mirror, |trusted_root| repository.rotate(trusted_root), true)
}

/// Replaces the log's key in three steps, in each of which every role gets new keys too, while Pods are tried all the time.
fn replaced(
    scene: &Scene<'_>,
    mirror: &Mirror,
    mut publish: impl FnMut(&Value) -> Result<()>,
    told: bool,
) -> Result<()> {
    let root = scene.declare(scene.main.name(), mirror, &json!({"maxAge": "10d"}))?;
    root.eventually("Ready", "True", &[])?;
    let _policy = scene.govern(root.name())?;
    scene.eventually_admits(&[OLD], &[NEW, STRANGE, UNSIGNED])?;
    let (sandboxes, pods) = (scene.sandboxes(), scene.pods());
    Load::run(&sandboxes, &pods, |load| {
        load.until(NEW, Instant::now(), is_denied)?;
        publish(&scene.both_logs()?)?;
        let published = Instant::now();
        if told {
            refresh(&root)?;
        }
        let counted = load.until(NEW, published, is_admitted)?;
        load.until(OLD, Instant::now(), is_admitted)?;
        publish(&scene.new_log()?)?;
        let published = Instant::now();
        refresh(&root)?;
        let withdrawn = load.until(OLD, published, is_denied)?;
        // Once more, with nothing else that is new.
        publish(&scene.new_log()?)?;
        refresh(&root)?;
        eventually_version(&root, "timestamp", 4)?;
        sleep(Duration::from_millis(500));
        say(&format!(
            "{} Pods judged; the new key counted after {counted:.1?}, the old one no more after {withdrawn:.1?}",
            load.count()
        ));
        load.went(OLD, &[&is_admitted, &is_denied])?;
        load.went(NEW, &[&is_denied, &is_admitted])?;
        load.went(STRANGE, &[&is_denied])?;
        load.went(UNSIGNED, &[&is_denied])
    })
}

/// A minute is the least that `maxAge` may be.
fn mirror_down(sandbox: &Sandbox<'_>) -> Result<()> {
    const AGE: Duration = Duration::from_mins(1);
    let scene = Scene::set(sandbox)?;
    let repository = scene.repository(&scene.old_log()?)?;
    let declare = |name: &str, further: Value| {
        scene.declare(&format!("{}-{name}", sandbox.name()), repository.mirror(), &further)
    };
    let started = Instant::now();
    let strict = declare("strict", json!({"maxAge": "1m"}))?;
    let lenient = declare("lenient", json!({"maxAge": "1m", "onStale": "Warn"}))?;
    let patient = declare("patient", json!({"maxAge": "1h"}))?;
    for root in [&strict, &lenient, &patient] {
        root.eventually("Ready", "True", &[])?;
    }
    // Each root has its namespace.
    let image = scene.images.get(OLD).context("no image")?;
    let object = pod("app", &image.reference());
    let images = [sandbox.pattern(&sandbox.stack().with_referrers)];
    let mut places = Vec::new();
    for (root, name) in [(&strict, "strict"), (&lenient, "lenient"), (&patient, "patient")] {
        let place = sandbox.labelled(name, &json!({}))?;
        let policy = place.govern_images(&images, &by(root.name(), &scene.alice))?;
        place.eventually_admitted(&object)?;
        places.push((place, policy));
    }
    let answers = || places.iter().map(|(place, _)| place.try_pod(&object)).collect::<Result<Vec<_>>>();
    repository.mirror().set_down(true);
    let first = loop {
        let answers = answers()?;
        if answers.first().is_some_and(|answer| !answer.is_admitted()) {
            break started.elapsed();
        }
        ensure!(answers.iter().all(is_admitted), "{answers:?}");
        ensure!(started.elapsed() < AGE * 2, "a root that is too old still counts");
        sleep(Duration::from_millis(100));
    };
    ensure!(first >= AGE, "denied after {first:?} already");
    sleep(Duration::from_secs(1)); // The roots were not refreshed in the same moment.
    let answers = answers()?;
    let [old, warned, fresh] = &answers[..] else { anyhow::bail!("{answers:?}") };
    ensure!(is_open(old) && old.is_denied(&[strict.name(), "[TrustRootStale]"]), "{old:?}");
    let warns = |answer: &Answer| match answer {
        Answer::Admitted(warnings) => warnings.iter().any(|warning| warning.contains("[TrustRootStale]")),
        _ => false,
    };
    ensure!(warns(warned) && is_admitted(fresh) && !warns(fresh), "{warned:?} {fresh:?}");
    strict.eventually("Refreshed", "False", &["TufMirrorUnreachable"])?;
    strict.eventually("Ready", "False", &["TrustRootStale"])?;
    patient.says("Ready", "True", &[])?;

    repository.mirror().set_down(false);
    for root in [&strict, &lenient, &patient] {
        refresh(root)?;
    }
    for (place, _) in &places {
        place.eventually_admitted(&object)?;
    }
    strict.eventually("Ready", "True", &[]).map(drop)
}

fn refused(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let repository = scene.repository(&scene.old_log()?)?;
    let first = repository.mirror().keep()?;
    let root = scene.declare(sandbox.name(), repository.mirror(), &json!({"maxAge": "10d"}))?;
    root.eventually("Ready", "True", &[])?;
    let _policy = scene.govern(root.name())?;
    scene.eventually_admits(&[OLD], &[NEW, STRANGE])?;
    repository.replace_trusted_root(&scene.new_log()?, &["rotate=root"])?;
    refresh(&root)?;
    scene.eventually_admits(&[NEW], &[OLD, STRANGE])?;
    eventually_version(&root, "timestamp", 2)?;
    let accepted = root.eventually("Refreshed", "True", &[])?;

    // What the repository does before the mirror misbehaves, how it does, and the rule that breaks: each another than the one before,
    // so that what is said of one is not taken for what is said of the next.
    let mischief: [(&[&str], Serving, &str); 8] = [
        (&[], first, "TufRollback"),
        (&[], Serving::Tampered("timestamp.json"), "TufThresholdNotMet"),
        (&[], Serving::Bloated("timestamp.json"), "TufFileTooLarge"),
        (&[], Serving::Tampered("snapshot.json"), "TufHashMismatch"),
        (&["rotate=root"], Serving::Tampered(".root.json"), "TufThresholdNotMet"),
        (&[], Serving::Tampered("targets.json"), "TufHashMismatch"),
        (&["expire=timestamp=-1"], Serving::Newest, "TufMetadataExpired"),
        (&[], Serving::Tampered("trusted_root.json"), "TufHashMismatch"),
    ];
    for (steps, serving, rule) in mischief {
        // With the old log too, so that whoever believed it would be seen to.
        repository.replace_trusted_root(&scene.both_logs()?, steps)?;
        repository.mirror().serve(serving.clone());
        refresh(&root)?;
        let status = root.eventually("Refreshed", "False", &[rule]).with_context(|| format!("{serving:?}"))?;
        ensure!(status.pointer("/digest") == accepted.pointer("/digest"), "{serving:?}: {status}");
        root.says("Ready", "True", &[])?;
        scene.admits(&[NEW], &[OLD, STRANGE]).with_context(|| format!("{serving:?}"))?;
    }
    // The same repository, once it is honest again.
    repository.change(&["renew=timestamp"])?;
    repository.mirror().serve(Serving::Newest);
    refresh(&root)?;
    root.eventually("Refreshed", "True", &[])?;
    scene.eventually_admits(&[OLD, NEW], &[STRANGE])
}

fn restarted(sandbox: &Sandbox<'_>) -> Result<()> {
    let scene = Scene::set(sandbox)?;
    let stack = sandbox.stack();
    let repository = scene.repository(&scene.old_log()?)?;
    let root = scene.declare(sandbox.name(), repository.mirror(), &json!({"maxAge": "10d"}))?;
    root.eventually("Ready", "True", &[])?;
    let instance = stack.start_instance("restarted", "Allow", &[])?;
    let place = sandbox.with_instance("restarted")?;
    let images = [sandbox.pattern(&stack.with_referrers)];
    let pods = scene.pods();
    let (old, new) = (pods.get(OLD).context("no image")?, pods.get(NEW).context("no image")?);
    let policy = place.govern_images(&images, &by(root.name(), &scene.alice))?;
    place.eventually_admitted(old)?;
    repository.replace_trusted_root(&scene.new_log()?, &["rotate=root"])?;
    refresh(&root)?;
    place.eventually_denied(old, &[policy.name(), "[LogEntryInvalid]"])?;
    // Kept before it is told.
    eventually_version(&root, "timestamp", 2)?;
    root.eventually("Kept", "True", &[])?;

    repository.mirror().set_down(true);
    instance.stop();
    let _instance = stack.start_instance("restarted", "Allow", &[])?;
    place.eventually_reached()?;
    let fresh = scene.declare(&format!("{}-fresh", sandbox.name()), repository.mirror(), &json!({}))?;
    fresh.eventually("Ready", "False", &["TrustRootUnavailable"])?;
    place.eventually_admitted(new)?;
    let denied = place.try_pod(old)?;
    ensure!(denied.is_denied(&[policy.name(), "[LogEntryInvalid]"]), "{denied:?}");
    policy.delete();
    // Another root of the same repository, of which nothing was ever delivered.
    let policy = place.govern_images(&images, &by(fresh.name(), &scene.alice))?;
    place.rejects(new, &[policy.name(), "could not be judged", "[TrustRootUnavailable]"])?;
    repository.mirror().set_down(false);
    refresh(&fresh)?;
    place.eventually_admitted(new)
}
