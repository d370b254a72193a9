//! `countersign verify IMAGE`: one image against policies, or against an identity or key in cosign's words.
//!
//! Namespaces play no part: every policy that names the image is asked. A tag is judged at the digest that it has now.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::input::{JudgingFlags, PolicySet};
use super::output::{self, Format};
use super::{Error, Exit, input, now};
use crate::decision::Decision;
use crate::image::ImageReference;
use crate::judge::{Judge, Request};
use crate::policy::{ClusterRules, Policy, Scope, Unmatched};
use crate::registry::Limits;
use crate::settings::TrustRootFlag;
use crate::trust::{PUBLIC_GOOD, PublicKey};
use crate::workload::ContainerImage;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The image: host/path@sha256:digest, or with a tag.
    image: String,
    /// A policy file, or a folder of them. May be repeated.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["SignerFlags", "attestation_type"])]
    policy: Vec<PathBuf>,
    #[command(flatten)]
    signer: SignerFlags,
    /// Ask for an attestation of this type instead of a signature: one of cosign's names, or a predicate type URI.
    #[arg(long = "type", value_name = "TYPE")]
    attestation_type: Option<String>,
    /// The trust root for the identity (public-good, staging, github, or NAME=FILE); with --policy, roots by name.
    #[arg(long, value_name = "NAME[=FILE]")]
    trust_root: Vec<TrustRootFlag>,
    #[command(flatten)]
    judging: JudgingFlags,
}

/// Who must have signed, where no policy says it.
#[derive(Args, Debug)]
#[group(id = "SignerFlags", multiple = true)]
struct SignerFlags {
    /// The certificate's subject, exactly.
    #[arg(long, value_name = "SUBJECT", conflicts_with = "certificate_identity_regexp")]
    certificate_identity: Option<String>,
    /// The certificate's subject, as a regular expression anchored at both ends.
    #[arg(long, value_name = "REGEXP")]
    certificate_identity_regexp: Option<String>,
    /// The certificate's OpenID Connect issuer, exactly.
    #[arg(long, value_name = "URL", conflicts_with = "certificate_oidc_issuer_regexp")]
    certificate_oidc_issuer: Option<String>,
    /// The certificate's OpenID Connect issuer, as a regular expression anchored at both ends.
    #[arg(long, value_name = "REGEXP")]
    certificate_oidc_issuer_regexp: Option<String>,
    /// A public key, PEM. Its signatures need neither log nor certificate.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate_identity", "certificate_identity_regexp",
        "certificate_oidc_issuer", "certificate_oidc_issuer_regexp", "trust_root"])]
    key: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Error> {
    let Arguments { image, policy, signer, attestation_type, trust_root, judging } = arguments;
    let reference = ImageReference::parse(&image).map_err(|error| Error::Usage(format!("{image:?}: {error}")))?;
    let roots = input::trust_roots(&trust_root, output::warn)?;
    let policies = if policy.is_empty() {
        let root = trust_root.last().map_or(PUBLIC_GOOD, |flag| flag.name.as_str());
        let policy = ad_hoc_policy(&signer, attestation_type.as_deref(), root, &reference)?;
        PolicySet { policies: vec![Arc::new(policy)], rules: None }
    } else {
        input::policies(&policy)?
    };
    let judge = Judge::new(judging.sources()?, Limits::default());
    // An image that no policy selects is no success.
    let rules = policies.rules.map(ClusterRules::demanding_a_match);
    let snapshot =
        PolicySet { rules, ..policies }.snapshot(roots, Unmatched::Deny).with_revocations(judging.revocations()?);
    let request = Request { images: vec![ContainerImage::named("image", &image)], scope: Scope::Anywhere, runs: false };
    let verdicts = judge.judge(&request, &snapshot, now(), Instant::now() + judging.timeout).await;
    let decision = Decision::new(verdicts, snapshot.unmatched());
    match judging.output {
        Format::Text => output::print_text(&decision.text())?,
        Format::Json => output::print_json(&decision.trace())?,
    }
    Ok(Exit::from(decision.outcome()))
}

/// The policy that cosign's flags amount to: parsed like any other, so that there is one parser and one evaluation.
fn ad_hoc_policy(
    signer: &SignerFlags,
    attestation_type: Option<&str>,
    root: &str,
    reference: &ImageReference,
) -> Result<Policy, Error> {
    let mut authority = json!({"name": "flags"});
    let string_match = |exact: &Option<String>, regexp: &Option<String>| match (exact, regexp) {
        (Some(exact), None) => Some(json!({"exact": exact})),
        (None, Some(regexp)) => Some(json!({"regex": regexp})),
        _ => None,
    };
    let subject = string_match(&signer.certificate_identity, &signer.certificate_identity_regexp);
    let issuer = string_match(&signer.certificate_oidc_issuer, &signer.certificate_oidc_issuer_regexp);
    let fields = match (&signer.key, subject, issuer) {
        (Some(key), None, None) => {
            let pem = input::read(key)?;
            PublicKey::parse_pem(&pem).map_err(|error| input::unreadable(key, &error))?;
            ("keys", json!([{"name": "given", "pem": pem}]))
        }
        (None, Some(subject), Some(issuer)) => {
            ("keyless", json!({"trustRoot": root, "identities": [{"subject": subject, "issuer": issuer}]}))
        }
        _ => {
            return Err(Error::Usage(
                "who must have signed? give --policy, or --key, or --certificate-identity with --certificate-oidc-issuer"
                    .to_owned(),
            ));
        }
    };
    insert(&mut authority, fields.0, fields.1);
    if let Some(name) = attestation_type {
        insert(&mut authority, "attestation", json!({"predicateType": predicate_type(name)?}));
    }
    let policy = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1",
        "kind": "ClusterSignaturePolicy",
        "metadata": {"name": "command-line"},
        "spec": {"images": [reference.repository().to_string()], "authorities": [authority]},
    });
    Policy::parse(&policy).map_err(|error| Error::Usage(error.to_string()))
}

fn insert(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(field.to_owned(), value);
    }
}

/// cosign's names for predicate types, or a URI as it is.
fn predicate_type(name: &str) -> Result<String, Error> {
    let known = match name {
        "slsaprovenance" | "slsaprovenance02" => "https://slsa.dev/provenance/v0.2",
        "slsaprovenance1" => "https://slsa.dev/provenance/v1",
        "spdx" | "spdxjson" => "https://spdx.dev/Document",
        "cyclonedx" => "https://cyclonedx.org/bom",
        "link" => "https://in-toto.io/Link/v1",
        "vuln" => "https://cosign.sigstore.dev/attestation/vuln/v1",
        "openvex" => "https://openvex.dev/ns",
        "custom" => "https://cosign.sigstore.dev/attestation/v1",
        uri if uri.contains("://") => uri,
        _ => {
            return Err(Error::Usage(format!(
                "--type {name}: not a URI, nor one of slsaprovenance, slsaprovenance02, slsaprovenance1, spdx, spdxjson, \
                 cyclonedx, link, vuln, openvex, custom"
            )));
        }
    };
    Ok(known.to_owned())
}
