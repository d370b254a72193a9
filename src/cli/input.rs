//! What subcommands read: files, policies, trust roots, layouts, credentials.
//!
//! Bounded, and strict: a document in a policy file that is no policy is an error, because a misspelt kind must not mean "no
//! policy".

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::output::{self, Format};
use super::{Error, yaml};
use crate::policy::{ClusterRules, FeedState, Feeds, Policy, PolicyError, Snapshot, Unmatched, json};
use crate::registry::{
    CredentialStore, OciLayout, RealmGrant, RegistryClient, RegistryError, RegistryOptions, Sources,
};
use crate::revocation::{Revocation, Revocations};
use crate::settings::{RegistryFlags, TrustRootFlag, seconds};
use crate::trust::{TrustMaterial, TrustRoots};

/// Bytes of one input file.
const FILE_LIMIT: u64 = 16 << 20;
/// Documents of one input file.
const DOCUMENT_LIMIT: usize = 10_000;

/// The flags that say where images come from.
#[derive(Args, Debug)]
pub(super) struct ImageFlags {
    /// An OCI image layout that answers for images in the place of registries, which are not asked. May be repeated. A transparency
    /// log is still asked for policies that want it (`evidence.online`).
    #[arg(long, value_name = "DIR", conflicts_with_all = ["registry_auth_file", "plain_http_registry", "private_registry",
        "registry_ca", "registry_realm"])]
    layout: Vec<PathBuf>,
    #[command(flatten)]
    registry: RegistryFlags,
}

/// The flags of every subcommand that judges by itself.
#[derive(Args, Debug)]
pub(super) struct JudgingFlags {
    #[command(flatten)]
    images: ImageFlags,
    /// A file of SignatureRevocations, or a folder of them: what they strike out is denied. May be repeated.
    #[arg(long, value_name = "PATH")]
    revocations: Vec<PathBuf>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Format,
    /// Seconds that each object has; what is not judged by then is undecided.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(super) timeout: Duration,
}

impl JudgingFlags {
    /// Where images come from.
    pub(super) fn sources(&self) -> Result<Sources, Error> {
        self.images.sources()
    }

    /// What is struck out.
    pub(super) fn revocations(&self) -> Result<Revocations, Error> {
        revocations(&self.revocations)
    }
}

impl ImageFlags {
    /// Where images come from: the layouts if any are given, and no registry; else registries, with the user's own logins.
    pub(super) fn sources(&self) -> Result<Sources, Error> {
        let open = |path: &PathBuf| OciLayout::open(path).map_err(|error| Error::Usage(error.to_string()));
        let layouts = self.layout.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let registry = if layouts.is_empty() { Some(client(&self.registry, true)?) } else { None };
        Ok(Sources { layouts, registry })
    }
}

pub(super) fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    let path = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    Error::Input { path, reason: reason.to_string() }
}

/// Whether standard input was read: it ends once, and whoever asks for it again would get nothing.
static STANDARD_INPUT_READ: AtomicBool = AtomicBool::new(false);

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let limit = FILE_LIMIT + 1;
    let read = if path == Path::new("-") {
        if STANDARD_INPUT_READ.swap(true, Ordering::Relaxed) {
            return Err(Error::Usage("standard input (-) can be read once, and is asked for twice".to_owned()));
        }
        std::io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    let read = read.map_err(|error| unreadable(path, &error))?;
    if read as u64 > FILE_LIMIT {
        return Err(unreadable(path, &format!("it is larger than {FILE_LIMIT} bytes")));
    }
    Ok(text)
}

/// The documents of a YAML or JSON file; empty ones are left out, lists are unfolded.
pub(super) fn documents(path: &Path) -> Result<Vec<Value>, Error> {
    let text = read(path)?;
    let documents: Vec<Value> = if text.trim_start().starts_with('{') {
        // JSON by its own reader, whose numbers and messages are JSON's.
        json::documents(&text).map_err(|error| unreadable(path, &error))?
    } else {
        yaml::documents(&text).map_err(|error| unreadable(path, &error))?
    };
    let mut unfolded = Vec::new();
    for document in documents {
        unfold(path, document, &mut unfolded)?;
    }
    if unfolded.len() > DOCUMENT_LIMIT {
        return Err(unreadable(path, &format!("it holds more than {DOCUMENT_LIMIT} objects")));
    }
    if unfolded.is_empty() {
        return Err(unreadable(path, &"it holds no document"));
    }
    Ok(unfolded)
}

/// Takes a list apart, as kubectl does with whatever has `items`; an object that is no list and has them all the same is refused,
/// since kubectl would send the items and not the object.
fn unfold(path: &Path, document: Value, unfolded: &mut Vec<Value>) -> Result<(), Error> {
    match document {
        Value::Null => Ok(()),
        Value::Object(mut object) => {
            let is_list = object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
            match (is_list, object.remove("items")) {
                (true, Some(Value::Array(items))) if items.iter().all(|item| item.get("items").is_none()) => {
                    unfolded.extend(items);
                    Ok(())
                }
                (true, _) => Err(unreadable(path, &"a list without items, or with lists among them")),
                (false, None) => {
                    unfolded.push(Value::Object(object));
                    Ok(())
                }
                (false, Some(_)) => Err(unreadable(path, &"an object that is no list but has items")),
            }
        }
        other => {
            unfolded.push(other);
            Ok(())
        }
    }
}

/// What a snapshot takes of policy files.
#[derive(Debug, Default)]
pub(super) struct PolicySet {
    /// Policies of the cluster and of namespaces.
    pub(super) policies: Vec<Arc<Policy>>,
    /// The cluster's own rules, if they are among the files.
    pub(super) rules: Option<ClusterRules>,
}

impl PolicySet {
    /// A snapshot by these policies, and by these rules where there are some.
    pub(super) fn snapshot(self, roots: TrustRoots, unmatched: Unmatched) -> Snapshot {
        let snapshot = Snapshot::new(roots, unmatched).with_policies(self.policies, Vec::new());
        let Some(rules) = self.rules else { return snapshot };
        let mut feeds = Feeds::default();
        for rule in rules.feeds() {
            // What it may speak of is not judged, rather than judged otherwise than in the cluster.
            let problem = Some("feeds are delivered in a cluster only".to_owned());
            feeds.insert(rule.name(), FeedState { problem, ..FeedState::default() });
        }
        snapshot.with_rules(rules).with_feeds(feeds)
    }
}

/// The policies in files, and in the YAML and JSON files of folders; with the `CountersignConfig` if there is one.
pub(super) fn policies(paths: &[PathBuf]) -> Result<PolicySet, Error> {
    let mut set = PolicySet::default();
    for path in files(paths)? {
        for (position, document) in documents(&path)?.iter().enumerate() {
            let invalid = |error: PolicyError| unreadable(&path, &format!("document {}: {error}", position + 1));
            if ClusterRules::is_config(document) {
                if set.rules.replace(ClusterRules::parse(document).map_err(invalid)?).is_some() {
                    return Err(Error::Usage("there is one CountersignConfig, and two are given".to_owned()));
                }
            } else {
                set.policies.push(Arc::new(Policy::parse(document).map_err(invalid)?));
            }
        }
    }
    let mut names: Vec<_> = set.policies.iter().map(|policy| policy.name()).collect();
    names.sort();
    if let Some(name) = names.windows(2).find_map(|pair| (pair.first() == pair.last()).then(|| pair.first())).flatten()
    {
        return Err(Error::Usage(format!(
            "two policies are named {name}; in a cluster the second would replace the first"
        )));
    }
    Ok(set)
}

/// The revocations in files and folders. An entry that would do nothing in a cluster is a mistake here, and so is an object without any.
fn revocations(paths: &[PathBuf]) -> Result<Revocations, Error> {
    let mut revocations = Vec::new();
    for path in files(paths)? {
        for (position, document) in documents(&path)?.iter().enumerate() {
            let told =
                |error: &dyn std::fmt::Display| unreadable(&path, &format!("document {}: {error}", position + 1));
            let revocation = Revocation::parse(document).map_err(|error| told(&error))?;
            if let Some(invalid) = revocation.invalid().first() {
                return Err(told(invalid));
            }
            if revocation.is_empty() {
                return Err(told(&"it strikes out nothing: no list of spec has an entry"));
            }
            if revocation.is_suspended() {
                let name = revocation.name();
                output::warn(&format!("{}: SignatureRevocation {name} is suspended: it does not act", path.display()));
            }
            revocations.push(Arc::new(revocation));
        }
    }
    Ok(Revocations::new(revocations))
}

fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let is_policy_file = |path: &Path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            path.is_file() && extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
        };
        let entries = std::fs::read_dir(path).map_err(|error| unreadable(path, &error))?;
        let entries: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut found = entries.map_err(|error| unreadable(path, &error))?;
        if let Some(other) = found.iter().find(|path| !is_policy_file(path)) {
            return Err(unreadable(other, &"a folder of policies holds .yaml, .yml and .json files and nothing else"));
        }
        if found.is_empty() {
            return Err(unreadable(path, &"no .yaml, .yml or .json file in it"));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// The embedded roots, and those of the flags in their place or beside them. `tell` hears what of the latter cannot be used.
pub(super) fn trust_roots(flags: &[TrustRootFlag], tell: impl Fn(&str)) -> Result<TrustRoots, Error> {
    let mut roots = TrustRoots::embedded().map_err(|error| Error::Usage(error.to_string()))?;
    for TrustRootFlag { name, file } in flags {
        let material = match file {
            Some(file) => TrustMaterial::parse(name, &read(file)?).map_err(|error| unreadable(file, &error))?,
            None => TrustMaterial::embedded(name).map_err(|error| Error::Usage(error.to_string()))?,
        };
        for part in material.unusable() {
            tell(&format!("trust root {name}: not used: {part}"));
        }
        roots.insert(material);
    }
    Ok(roots)
}

/// A registry client. `own_logins`: also with the user's own logins, where podman and docker keep them.
pub(super) fn client(flags: &RegistryFlags, own_logins: bool) -> Result<RegistryClient, Error> {
    let RegistryFlags { registry_auth_file, plain_http_registry, private_registry, registry_ca, registry_realm } =
        flags;
    // Not by clap, which would take the variable for a flag that does not go with `--layout`.
    let named = || std::env::var_os("REGISTRY_AUTH_FILE").filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = || own_logins.then(own_login_file).flatten();
    let credentials = match registry_auth_file.clone().or_else(named).or_else(own) {
        Some(file) => credentials(&file)?,
        None => CredentialStore::default(),
    };
    let authorities: Result<Vec<Vec<u8>>, Error> =
        registry_ca.iter().map(|path| read(path).map(String::into_bytes)).collect();
    let options = RegistryOptions {
        credentials,
        plain_http: plain_http_registry.clone(),
        private: private_registry.clone(),
        realms: registry_realm
            .iter()
            .map(|flag| RealmGrant { registry: flag.registry.clone(), realm: flag.realm.clone() })
            .collect(),
        extra_ca_pem: authorities?,
        ..RegistryOptions::default()
    };
    RegistryClient::new(options).map_err(|error: RegistryError| match registry_ca.as_slice() {
        [] => Error::Usage(error.to_string()),
        files => {
            let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
            Error::Usage(format!("{error} (--registry-ca {})", files.join(", ")))
        }
    })
}

fn credentials(path: &Path) -> Result<CredentialStore, Error> {
    CredentialStore::parse(read(path)?.as_bytes()).map_err(|error| unreadable(path, &error))
}

/// `DOCKER_CONFIG`, or `~/.docker`, if there is a file.
fn own_login_file() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".docker")))?;
    Some(folder.join("config.json")).filter(|path| path.is_file())
}
