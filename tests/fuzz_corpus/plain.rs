//! Doors to what stands in no signature: references, manifests, reviews, policies, trust roots, keys.

use std::time::Duration;

use countersign::admission::{NoLookup, answer};
use countersign::image::{Digest, ImagePattern, ImageReference, Repository};
use countersign::judge::Judge;
use countersign::policy::{InvalidPolicy, Policy, Snapshot, Unmatched};
use countersign::registry::{
    CredentialStore, Descriptor, ImageSource, Limits, ManifestSelector, RawManifest, RegistryError, children, discover,
    index_entries,
};
use countersign::trust::{CertificateRoots, PublicKey, TrustMaterial, TrustRoots};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::virtual_sigstore::{Algorithm, AuthorityOptions, CertificateAuthority, Key, VirtualSigstore, oci, text};
use super::{Target, read};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn target(name: &'static str, json: bool, seeds: Vec<Vec<u8>>, run: impl Fn(&[u8]) -> String + 'static) -> Target {
    Target { name, json, seeds, run: Box::new(run) }
}

fn text_seeds(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

fn references() -> Target {
    let digest = format!("registry.example:5000/team/app:v1@{}", Digest::of(b"x"));
    let seeds = text_seeds(&["nginx", "ghcr.io/acme/app:1.2", "localhost:5000/a_b/c--d", "[::1]:5000/x/y", &digest]);
    target("reference", false, seeds, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
        match ImageReference::parse(text) {
            Ok(reference) => {
                // One spelling for one image: what is printed is read as the same.
                let again = ImageReference::parse(&reference.to_string()).unwrap();
                assert_eq!((again.to_string(), again.repository()), (reference.to_string(), reference.repository()));
                "accepted".to_owned()
            }
            Err(error) => error.to_string(),
        }
    })
}

fn patterns() -> Target {
    let seeds = text_seeds(&["**", "ghcr.io/acme/**", "*.example/team/*/app", "docker.io/library/nginx"]);
    let image = ImageReference::parse(&format!("ghcr.io/acme/team/app@{}", Digest::of(b"x"))).unwrap();
    target("pattern", false, seeds, move |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
        match ImagePattern::parse(text) {
            Ok(pattern) => {
                let found = pattern.matches(image.repository(), image.digest());
                // A pattern reads its own text as itself.
                let again = ImagePattern::parse(&pattern.to_string()).unwrap();
                assert_eq!(again.matches(image.repository(), image.digest()), found);
                format!("{found}")
            }
            Err(error) => error.to_string(),
        }
    })
}

/// Serves one input as everything that is asked for.
struct Serves(Vec<u8>);

impl ImageSource for Serves {
    async fn manifest(
        &self,
        _: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        assert!(cap > 0);
        // A digest proves itself elsewhere; here every manifest is what it is asked for.
        let selector = if matches!(selector, ManifestSelector::Tag(_)) { selector } else { ManifestSelector::Tag("x") };
        RawManifest::verified(selector, self.0.clone(), Some(MANIFEST)).map(Some)
    }

    async fn blob(&self, _: &Repository, _: &Digest, _: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(Some(self.0.clone()))
    }

    async fn referrers(&self, _: &Repository, _: &Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        index_entries(&self.0, 1_000).map(Some)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn manifests() -> Target {
    let sigstore = VirtualSigstore::new();
    let subject = |image: &oci::Image| super::virtual_sigstore::Subject::simple_signing(&image.manifest);
    let plain = oci::Image::new("app");
    let parts = sigstore.sign(subject(&plain)).parts();
    let signed = plain.clone().tagged(&parts).referred(&parts, super::virtual_sigstore::Version::V03);
    let mut seeds: Vec<Vec<u8>> = signed.manifests().into_iter().map(|(_, manifest)| manifest).collect();
    seeds.push(signed.referrers_index());
    let image = ImageReference::parse(&format!("registry.example/app@{}", plain.digest())).unwrap();
    let image = image.resolve(plain.manifest, MANIFEST.to_owned()).unwrap();
    let runtime = runtime();
    target("manifest", true, seeds, move |input| {
        let source = Serves(input.to_vec());
        let found = runtime.block_on(discover(&source, &image, &Limits::default()));
        let parent = ImageReference::parse(&format!("registry.example/app@{}", Digest::of(input))).unwrap();
        let parent = parent.resolve(input.to_vec(), INDEX.to_owned()).unwrap();
        let below = runtime.block_on(children(&source, &parent));
        let found = match found {
            Ok(found) => {
                assert!(found.candidates.len() <= Limits::default().candidates);
                found.problems.into_iter().map(|problem| problem.error.to_string()).collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        };
        format!("{found} | {:?}", below.map(|below| below.len()).map_err(|error| error.to_string()))
    })
}

/// A registry that has nothing.
struct Empty;

impl ImageSource for Empty {
    async fn manifest(
        &self,
        _: &Repository,
        _: ManifestSelector<'_>,
        _: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        Ok(None)
    }

    async fn blob(&self, _: &Repository, _: &Digest, _: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(None)
    }

    async fn referrers(&self, _: &Repository, _: &Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        Ok(None)
    }
}

/// Nothing is signed and nothing is unmatched: only an update that brings in no image is allowed.
fn reviews() -> Target {
    let names = [
        "connaisseur--02_pod",
        "connaisseur--03_replicaset",
        "connaisseur--04_cronjob",
        "connaisseur--10_update",
        "connaisseur--20_pod_ephemeralcontainer",
        "connaisseur--29_deleted_deployment_update_for_delete",
        "verify-image-signatures--deployment_creation_signed",
    ];
    let seeds = names.iter().map(|name| read(&format!("tests/data/admission-reviews/{name}.json"))).collect();
    let snapshot = Snapshot::new(TrustRoots::default(), Unmatched::Deny);
    let judge = Judge::new(Empty, Limits::default());
    let runtime = runtime();
    target("admission-review", true, seeds, move |input| {
        let deadline = Duration::from_secs(5);
        let answered = runtime.block_on(async {
            answer(
                &judge,
                &snapshot,
                &NoLookup,
                input,
                "2024-06-01T12:00:00Z".parse().unwrap(),
                Instant::now() + deadline,
            )
            .await
        });
        let answer = serde_json::to_value(&answered.response).unwrap();
        if answer["response"]["allowed"] != false {
            let review: Value = serde_json::from_slice(input).unwrap();
            assert_eq!(review["request"]["operation"], "UPDATE", "allowed: {answer}");
        }
        answer["response"]["status"]["message"].as_str().unwrap_or("allowed").to_owned()
    })
}

fn policies() -> Vec<Target> {
    let key = Key::generate(Algorithm::P256).pem();
    let keyed = json!({
        "apiVersion": "policy.countersign.dev/v1alpha1", "kind": "ClusterSignaturePolicy", "metadata": {"name": "p"},
        "spec": {"images": ["ghcr.io/acme/**"], "exclude": ["ghcr.io/acme/x"], "action": "Warn", "tags": "Require",
            "match": {"namespaces": ["a-*"], "excludeNamespaces": ["b"],
                "namespaceSelector": {"matchLabels": {"a": "b"},
                    "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}},
            "authorities": [
                {"name": "a", "keys": [{"name": "k", "pem": key}]},
                {"name": "b", "keyless": {"trustRoot": "public-good", "identities": [
                    {"issuer": {"exact": "https://i.example"}, "subject": {"glob": "https://github.com/acme/*/x@refs/tags/*"}},
                    {"issuer": {"regex": "https://.*"}, "subject": {"regex": "[a-z]+@example\\.com"}}]}}],
            "require": {"anyOf": [{"authority": "a"}, {"authority": "b"}]}},
    });
    let run = |object: &Value| match Policy::parse(object) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => {
            let reason = error.to_string();
            drop(InvalidPolicy::salvage(object, error));
            reason
        }
    };
    let yaml = ["slsa-provenance", "cosign-key", "keyless-staging"];
    let yaml = yaml.iter().filter_map(|case| {
        let path = format!("policies/examples/{case}/policy.yaml");
        super::exists(&path).then(|| read(&path))
    });
    vec![
        target("policy", true, vec![keyed.to_string().into_bytes()], move |input| {
            serde_json::from_slice::<Value>(input).map_or_else(|error| error.to_string(), |object| run(&object))
        }),
        target("policy-yaml", false, yaml.collect(), move |input| {
            let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
            match serde_saphyr::from_multiple::<Value>(text) {
                Ok(documents) => documents.iter().map(run).collect::<Vec<_>>().join("; "),
                Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
            }
        }),
    ]
}

fn material() -> Vec<Target> {
    let root = VirtualSigstore::doubled().root().json().into_bytes();
    let keys = [Algorithm::P256, Algorithm::P384, Algorithm::Ed25519, Algorithm::Rsa2048];
    let keys = keys.map(|algorithm| Key::generate(algorithm).pem().into_bytes()).to_vec();
    let authority = CertificateAuthority::new(AuthorityOptions::default());
    let chain: String = authority.chain().iter().map(|der| text::pem("CERTIFICATE", der)).collect();
    let logins = json!({"auths": {"registry.example/team": {"auth": text::base64(b"user:password")}}});
    let said = |result: Result<(), String>| result.err().unwrap_or_else(|| "accepted".to_owned());
    let text = |input: &[u8]| String::from_utf8_lossy(input).into_owned();
    vec![
        target("trusted-root", true, vec![root], move |input| {
            said(TrustMaterial::parse("own", &text(input)).map(|_| ()).map_err(|error| error.to_string()))
        }),
        target("public-key", false, keys, move |input| {
            said(PublicKey::parse_pem(&text(input)).map(|_| ()).map_err(|error| error.to_string()))
        }),
        target("certificate-roots", false, vec![chain.into_bytes()], move |input| {
            let text = text(input);
            said(CertificateRoots::parse_pem(&text, &text).map(|_| ()).map_err(|error| error.to_string()))
        }),
        target("credentials", true, vec![logins.to_string().into_bytes()], move |input| {
            said(CredentialStore::parse(input).map(|_| ()).map_err(|error| error.to_string()))
        }),
    ]
}

/// All of them.
pub(crate) fn targets() -> Vec<Target> {
    let mut targets = vec![references(), patterns(), manifests(), reviews()];
    targets.extend(policies());
    targets.extend(material());
    targets
}
