//! `countersign revoke`: a SignatureRevocation for images, signers, keys or services, on standard output or straight into the cluster.
//!
//! Tags are resolved once, here: the object names digests, and with an index what it holds, so that it strikes out the same images for
//! ever and on a cluster that never saw the index. What is printed has been parsed by the parser that the webhook uses.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::{Error, Exit, input, output, serve, surroundings};
use crate::api;
use crate::decision::plain;
use crate::image::{Digest, ImageReference};
use crate::registry::{ImageSource, RegistryError, children, resolve};
use crate::revocation::Revocation;
use crate::settings::seconds;
use crate::trust::PublicKey;

/// Bytes of an object's name.
const NAME_LIMIT: usize = 253;
/// Characters of the reason and of the reference, as in the schema.
const TEXT_LIMIT: usize = 1_024;

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args([
    "image", "identity", "identity_glob", "key", "certificate", "log_entry", "log", "ca", "timestamp_authority", "ct_log",
])))]
// What a flag bounds must be there: without it the object would strike out more than was asked for.
#[command(group(ArgGroup::new("signers").multiple(true).args(["identity", "identity_glob"])))]
#[command(group(ArgGroup::new("services").multiple(true).args(["log", "ca", "timestamp_authority", "ct_log"])))]
pub(super) struct Arguments {
    /// Images: host/path@sha256:digest, or with a tag, which is resolved now. Of an index, all that it holds is named too.
    image: Vec<String>,
    /// Why, for whoever reads the denial.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Where to read more, such as the address of an advisory.
    #[arg(long, value_name = "URL")]
    reference: Option<String>,
    /// The object's name. Absent: one that is made of what it strikes out.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A signer by the subject of certificates, in any case of letters. May be repeated.
    #[arg(long, value_name = "SUBJECT")]
    identity: Vec<String>,
    /// Signers by a glob over subjects, where * stands for any characters. May be repeated.
    #[arg(long, value_name = "GLOB")]
    identity_glob: Vec<String>,
    /// The OpenID Connect issuer of these signers. Absent: any.
    #[arg(long, value_name = "URL", requires = "signers")]
    issuer: Option<String>,
    /// The first moment at which what these signers signed is struck out (RFC 3339). Absent: no first one. Bounds nothing else.
    #[arg(long, value_name = "TIME", requires = "signers")]
    signed_after: Option<String>,
    /// The last such moment. Absent: no last one.
    #[arg(long, value_name = "TIME", requires = "signers")]
    signed_before: Option<String>,
    /// A signer by key: a PEM file, or the SHA-256 of the key. May be repeated.
    #[arg(long, value_name = "FILE|SHA256")]
    key: Vec<String>,
    /// A certificate by its SHA-256. May be repeated.
    #[arg(long, value_name = "SHA256")]
    certificate: Vec<String>,
    /// A log's entry: the log's key id, a slash, and the entry's index or identifier. May be repeated.
    #[arg(long, value_name = "LOG/INDEX|LOG/UUID")]
    log_entry: Vec<String>,
    /// A log that is distrusted, by key id. May be repeated.
    #[arg(long, value_name = "KEY_ID")]
    log: Vec<String>,
    /// A certificate authority that is distrusted, by the SHA-256 of a certificate of its chain. May be repeated.
    #[arg(long, value_name = "SHA256")]
    ca: Vec<String>,
    /// A timestamp authority that is distrusted, by the SHA-256 of a certificate of its chain. May be repeated.
    #[arg(long, value_name = "SHA256")]
    timestamp_authority: Vec<String>,
    /// A log of certificates that is distrusted, by key id. May be repeated.
    #[arg(long, value_name = "KEY_ID")]
    ct_log: Vec<String>,
    /// From when on the services are distrusted (RFC 3339). Absent: they were never to be trusted.
    #[arg(long, value_name = "TIME", requires = "services")]
    after: Option<String>,
    /// Only a suggestion, which does not act until `suspended` is taken away.
    #[arg(long)]
    suspended: bool,
    /// Create the object in the cluster, instead of printing it.
    #[arg(long)]
    apply: bool,
    /// How to reach the API server with --apply. Absent: as any client in a pod or on a workstation does.
    #[arg(long, value_name = "FILE", requires = "apply")]
    kubeconfig: Option<PathBuf>,
    /// Seconds that images may take to be resolved.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    timeout: Duration,
    #[command(flatten)]
    images: input::ImageFlags,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Error> {
    let mut artifacts = Vec::new();
    let mut notes = Vec::new();
    if !arguments.image.is_empty() {
        let source = arguments.images.sources()?;
        for image in &arguments.image {
            let reference =
                ImageReference::parse(image).map_err(|error| Error::Usage(format!("{image:?}: {error}")))?;
            let work = expand(&source, &reference);
            let found = match tokio::time::timeout(arguments.timeout, work).await {
                Ok(found) => found,
                Err(_) => Err("out of time".to_owned()),
            };
            match found {
                Ok(digests) => {
                    if let Some(first) = digests.first() {
                        notes.push(format!("# {} is {first}, and holds {} more", plain(image), digests.len() - 1));
                    }
                    artifacts.extend(digests);
                }
                // A digest is what it is, also where its registry is down or has deleted it.
                Err(reason) if reference.digest().is_some() => {
                    output::complain(&format!(
                        "countersign: what {} holds is not known: {}",
                        plain(image),
                        plain(&reason)
                    ));
                    artifacts.extend(reference.digest().cloned());
                }
                Err(reason) => {
                    output::complain(&format!("countersign: {}: {}", plain(image), plain(&reason)));
                    return Ok(Exit::Undecided);
                }
            }
        }
    }
    artifacts.sort_unstable();
    artifacts.dedup();
    let object = object(&arguments, &artifacts)?;
    if arguments.apply {
        apply(object, arguments.kubeconfig).await?;
    } else {
        let text = serde_saphyr::to_string(&object).map_err(|error| surroundings("writing the object", &error))?;
        notes.push(text.trim_end().to_owned());
        output::print(&format!("{}\n", notes.join("\n")))?;
    }
    Ok(Exit::Allowed)
}

/// The digest of an image, and those of what it holds.
async fn expand(source: &impl ImageSource, reference: &ImageReference) -> Result<Vec<Digest>, String> {
    let told = |error: RegistryError| error.to_string();
    let image = resolve(source, reference).await.map_err(told)?;
    let below = children(source, &image).await.map_err(told)?;
    let below = below.iter().map(|child| child.image.digest().clone());
    Ok(std::iter::once(image.digest().clone()).chain(below).collect())
}

/// The object, which parses.
fn object(arguments: &Arguments, artifacts: &[Digest]) -> Result<Value, Error> {
    let mut spec = json!({"reason": arguments.reason});
    let artifacts: Vec<Value> = artifacts.iter().map(|digest| json!({"digest": digest})).collect();
    put(&mut spec, "artifacts", artifacts);
    put(&mut spec, "identities", identities(arguments));
    put(&mut spec, "keys", arguments.key.iter().map(|key| fingerprint(key)).collect::<Result<_, _>>()?);
    put(&mut spec, "certificates", arguments.certificate.iter().map(|sha256| json!({"sha256": sha256})).collect());
    put(&mut spec, "logEntries", arguments.log_entry.iter().map(|entry| log_entry(entry)).collect::<Result<_, _>>()?);
    put(&mut spec, "services", services(arguments));
    set(&mut spec, "reference", arguments.reference.as_deref());
    if arguments.suspended
        && let Value::Object(fields) = &mut spec
    {
        fields.insert("suspended".to_owned(), Value::Bool(true));
    }
    let name = arguments.name.clone().unwrap_or_else(|| {
        let digest = Digest::of(spec.to_string().as_bytes());
        format!("revoked-{}", digest.hex().get(..12).unwrap_or_default())
    });
    check_bounds(arguments, &name)?;
    let object = json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION), "kind": "SignatureRevocation",
        "metadata": {"name": name}, "spec": spec,
    });
    let revocation = Revocation::parse(&object).map_err(|error| Error::Usage(error.to_string()))?;
    match revocation.invalid().first() {
        Some(invalid) => Err(Error::Usage(invalid.to_string())),
        None => Ok(object),
    }
}

/// What the parser leaves to the API server, which would refuse the object after it was printed.
fn check_bounds(arguments: &Arguments, name: &str) -> Result<(), Error> {
    if !is_object_name(name) {
        return Err(Error::Usage(format!(
            "--name {name:?}: an object's name has up to {NAME_LIMIT} lower case letters, digits, dots and hyphens, and each part \
             between dots begins and ends with a letter or digit"
        )));
    }
    for (flag, text) in [("--reason", Some(&arguments.reason)), ("--reference", arguments.reference.as_ref())] {
        let length = text.map_or(1, |text| text.chars().count());
        if !(1..=TEXT_LIMIT).contains(&length) {
            return Err(Error::Usage(format!("{flag}: 1 to {TEXT_LIMIT} characters are wanted, not {length}")));
        }
    }
    Ok(())
}

/// Whether it is a subdomain of RFC 1123, as names of objects are.
fn is_object_name(name: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        part.bytes().all(|byte| within(byte) || byte == b'-')
            && part.bytes().next().is_some_and(within)
            && part.bytes().next_back().is_some_and(within)
    };
    name.len() <= NAME_LIMIT && name.split('.').all(part)
}

fn identities(arguments: &Arguments) -> Vec<Value> {
    let exact = arguments.identity.iter().map(|subject| json!({"exact": subject}));
    let globs = arguments.identity_glob.iter().map(|subject| json!({"glob": subject}));
    let identity = |subject: Value| {
        let mut identity = json!({"subject": subject});
        set(&mut identity, "issuer", arguments.issuer.as_deref());
        set(&mut identity, "signedAfter", arguments.signed_after.as_deref());
        set(&mut identity, "signedBefore", arguments.signed_before.as_deref());
        identity
    };
    exact.chain(globs).map(identity).collect()
}

fn services(arguments: &Arguments) -> Vec<Value> {
    let named: [(&str, &[String]); 4] = [
        ("log", &arguments.log),
        ("ca", &arguments.ca),
        ("timestampAuthority", &arguments.timestamp_authority),
        ("ctLog", &arguments.ct_log),
    ];
    let service = |kind: &str, name: &String| {
        let mut service = json!({});
        set(&mut service, kind, Some(name));
        set(&mut service, "after", arguments.after.as_deref());
        service
    };
    named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| service(kind, name))).collect()
}

/// A key by its fingerprint: that of a PEM file, or the one that is given.
fn fingerprint(key: &str) -> Result<Value, Error> {
    let digits = key.strip_prefix("sha256:").unwrap_or(key);
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(json!({"sha256": key}));
    }
    let path = PathBuf::from(key);
    let key = PublicKey::parse_pem(&input::read(&path)?).map_err(|error| input::unreadable(&path, &error))?;
    Ok(json!({"sha256": key.fingerprint().digest()}))
}

fn log_entry(text: &str) -> Result<Value, Error> {
    let (log, entry) = text
        .split_once('/')
        .ok_or_else(|| Error::Usage(format!("--log-entry {text:?}: write LOG/INDEX or LOG/UUID")))?;
    Ok(match entry.parse::<i64>() {
        Ok(index) => json!({"log": log, "index": index}),
        Err(_) => json!({"log": log, "uuid": entry}),
    })
}

/// Adds a list, if it has entries.
fn put(spec: &mut Value, field: &str, entries: Vec<Value>) {
    if let (false, Value::Object(fields)) = (entries.is_empty(), spec) {
        fields.insert(field.to_owned(), Value::Array(entries));
    }
}

/// Adds a text, if there is one.
fn set(object: &mut Value, field: &str, text: Option<&str>) {
    if let (Some(text), Value::Object(fields)) = (text, object) {
        fields.insert(field.to_owned(), text.into());
    }
}

/// Creates the object, and says so.
async fn apply(object: Value, kubeconfig: Option<PathBuf>) -> Result<(), Error> {
    const DOING: &str = "creating the SignatureRevocation";
    let object: api::SignatureRevocation =
        serde_json::from_value(object).map_err(|error| surroundings(DOING, &error))?;
    let revocations: Api<api::SignatureRevocation> = Api::all(serve::client(kubeconfig).await?);
    let options = PostParams { field_manager: Some("countersign-cli".to_owned()), ..PostParams::default() };
    let created = revocations.create(&options, &object).await;
    let created = created.map_err(|error| surroundings(DOING, &serve::kube_reason(&error)))?;
    let name = created.metadata.name.unwrap_or_default();
    output::print(&format!("signaturerevocation.{}/{name} created\n", api::GROUP))
}
