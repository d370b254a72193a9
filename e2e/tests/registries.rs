//! The registries: what the tests take for granted about them, and what countersign makes of those that refuse or do not answer.

use std::fs;

use anyhow::{Context, Result, ensure};
use countersign_e2e::cosign::Format;
use countersign_e2e::manifest::{pod, signed_by};
use countersign_e2e::process::free_ports;
use countersign_e2e::registry::Registry;
use countersign_e2e::stack::{Sandbox, Stack};

use crate::{Case, Run};

pub(crate) const CASES: &[Case] = &[
    ("one has the referrers API and one has not", Run::Stack(referrers_api)),
    ("two refuse anonymous clients", Run::Stack(authentication)),
    ("cosign itself verifies what it signed, in both formats, on both registries", Run::Stack(cosign_verifies)),
    ("the real layout arrives byte for byte, on both registries", Run::Stack(real_layout)),
    ("a registry that refuses anonymous clients leaves the image undecided and denied", Run::Admission(anonymous)),
    ("with credentials the image is judged", Run::Admission(credentials)),
    ("a registry that does not answer leaves the image undecided and denied", Run::Admission(unreachable)),
    ("a registry on loopback that nobody allowed is not contacted", Run::Admission(private_address)),
];

fn referrers_api(stack: &Stack) -> Result<()> {
    for (registry, expected) in [(&stack.with_referrers, 200), (&stack.without_referrers, 404)] {
        let image = registry.push_minimal("stack/referrers", "referrers")?;
        let status = registry.status(&format!("stack/referrers/referrers/{}", image.digest), false)?;
        ensure!(status == expected, "{}: {status}, expected {expected}", registry.name());
    }
    Ok(())
}

fn authentication(stack: &Stack) -> Result<()> {
    for registry in [&stack.basic, &stack.token] {
        let image = registry.push_minimal("stack/auth", "auth")?;
        let path = format!("stack/auth/manifests/{}", image.digest);
        let (anonymous, known) = (registry.status(&path, false)?, registry.status(&path, true)?);
        ensure!((anonymous, known) == (401, 200), "{}: {anonymous}, {known}", registry.name());
    }
    Ok(())
}

fn cosign_verifies(stack: &Stack) -> Result<()> {
    for registry in stack.registries() {
        for format in [Format::Bundle, Format::Legacy] {
            let context = || format!("{format:?} on {}", registry.name());
            let image = registry.push_minimal("stack/cosign", &format!("{format:?}"))?;
            stack.cosign.sign(&stack.key, &image, format).with_context(context)?;
            stack.cosign.verify(&stack.key, &image)?.success().with_context(context)?;
            let other = stack.cosign.verify(&stack.other_key, &image)?;
            ensure!(!other.status.success(), other.unexpected().context(context()));
            // The bundle is a referrer or, without the API, under the fallback tag; the legacy form is a tag in any case.
            let tag = image.digest.replace(':', "-");
            let (fallback, sig) = (tag_exists(registry, &tag)?, tag_exists(registry, &format!("{tag}.sig"))?);
            let without_api = registry.name() == stack.without_referrers.name();
            let expected = (format == Format::Bundle && without_api, format == Format::Legacy);
            ensure!((fallback, sig) == expected, "{}: fallback tag {fallback}, .sig tag {sig}", context());
        }
    }
    Ok(())
}

fn tag_exists(registry: &Registry, tag: &str) -> Result<bool> {
    Ok(registry.status(&format!("stack/cosign/manifests/{tag}"), false)? == 200)
}

fn real_layout(stack: &Stack) -> Result<()> {
    let layout = Stack::real_layout()?;
    for registry in stack.registries() {
        let image = layout.push_image(registry, "stack/real", Some("v13.0.30"))?;
        ensure!(image.digest == layout.digest()?, "{}: pushed as {}", registry.name(), image.digest);
        layout.push_attestations(registry, "stack/real")?;
        let attestations = format!("stack/real/manifests/{}.att", image.digest.replace(':', "-"));
        let status = registry.status(&attestations, false)?;
        ensure!(status == 200, "{}: {attestations}: {status}", registry.name());
    }
    Ok(())
}

fn anonymous(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    let registries = [&stack.basic, &stack.token];
    let images = registries.map(|registry| sandbox.pattern(registry));
    let policy = sandbox.govern_images(&images, &signed_by(&[("2026", &stack.key.public_pem)]))?;
    for registry in registries {
        let image = registry.push_minimal(&sandbox.path("app"), &sandbox.path("private"))?;
        let parts = [policy.name(), &image.repository, "[RegistryUnauthorized]"];
        sandbox.rejects(&pod(registry.name(), &image.reference()), &parts).context(registry.name())?;
    }
    Ok(())
}

/// The credentials are those of a file as podman and docker write it.
fn credentials(sandbox: &Sandbox<'_>) -> Result<()> {
    let stack = sandbox.stack();
    for (instance, registry) in [("basic", &stack.basic), ("token", &stack.token)] {
        let folder = stack.new_folder()?;
        let file = folder.join("config.json");
        fs::write(&file, registry.auth_file().to_string())?;
        let file = file.to_str().context("a temporary folder that is no text")?;
        let _instance = stack.start_instance(instance, "Allow", &["--registry-auth-file", file])?;
        let known = sandbox.with_instance(instance)?;
        let image = registry.push_minimal(&known.path("app"), &known.path("private"))?;
        let policy = known.govern_images(&[known.pattern(registry)], &signed_by(&[("2026", &stack.key.public_pem)]))?;
        known.rejects(&pod("unsigned", &image.reference()), &[policy.name(), &image.digest]).context(instance)?;
        let signed = registry.push_minimal(&known.path("app"), &known.path("signed"))?;
        stack.cosign.with_credentials(&folder).sign(&stack.key, &signed, Format::Bundle)?;
        known.accepts(&pod("signed", &signed.reference())).context(instance)?;
    }
    Ok(())
}

fn unreachable(sandbox: &Sandbox<'_>) -> Result<()> {
    let host = closed_port()?;
    let _instance = sandbox.stack().start_instance("unreachable", "Allow", &["--plain-http-registry", &host])?;
    denied_undecided(&sandbox.with_instance("unreachable")?, &host, "[RegistryUnavailable]")
}

fn private_address(sandbox: &Sandbox<'_>) -> Result<()> {
    denied_undecided(sandbox, &closed_port()?, "[RegistryAddressBlocked]")
}

/// Where no registry is.
fn closed_port() -> Result<String> {
    let [port] = free_ports()?;
    Ok(format!("127.0.0.1:{port}"))
}

fn denied_undecided(sandbox: &Sandbox<'_>, host: &str, code: &str) -> Result<()> {
    let policy =
        sandbox.govern_images(&[format!("{host}/**")], &signed_by(&[("2026", &sandbox.stack().key.public_pem)]))?;
    let image = format!("{host}/app@sha256:{}", "0".repeat(64));
    sandbox.rejects(&pod("app", &image), &[policy.name(), &image, code, "could not be judged"])?;
    Ok(())
}
