//! A TUF repository of the command line: where it is, what it is verified from, and what is done with it.

use std::path::{Component, Path};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::super::output::{self, Format};
use super::super::{Error, Exit, input, surroundings};
use super::{SourceFlags, show};
use crate::registry::RegistryClient;
use crate::trust::{MirrorAddress, PinnedRoot, RootSource, RootSpec, TrustMaterial, TufSpec};
use crate::trust_store::{
    Files, FolderMirror, HttpOptions, Mirror, RefreshError, TufClient, VerifiedTarget, write_whole,
};

/// The target with the trusted root, where nobody says which.
const TARGET: &str = "trusted_root.json";

/// A repository.
pub(super) struct Repository {
    name: String,
    root: Arc<[u8]>,
    mirror: MirrorAddress,
    target: String,
    ca_pem: Option<Vec<u8>>,
    registry: Option<RegistryClient>,
}

/// What it delivered.
struct Delivered {
    client: TufClient,
    target: VerifiedTarget,
    material: TrustMaterial,
}

impl Repository {
    pub(super) fn read(flags: &SourceFlags) -> Result<Self, Error> {
        let usage = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
        let (name, root, own, target, ca) = match (&flags.name, &flags.file, &flags.tuf_root) {
            (Some(name), None, None) => of_spec(&RootSpec::embedded(name).map_err(|error| usage(&error))?)?,
            (None, Some(file), None) => {
                let documents = input::documents(file)?;
                let [object] = documents.as_slice() else {
                    return Err(input::unreadable(file, &"one SignatureTrustRoot is wanted"));
                };
                of_spec(&RootSpec::parse(object).map_err(|error| input::unreadable(file, &error))?)?
            }
            (None, None, Some(root)) => {
                let target = flags.target.clone().unwrap_or_else(|| TARGET.to_owned());
                ("given".to_owned(), input::read(root)?.into_bytes().into(), None, target, None)
            }
            _ => return Err(Error::Usage("which repository? give NAME, --file, or --tuf-root".to_owned())),
        };
        let mirror = match (&flags.mirror, own) {
            (Some(address), _) => {
                let usage = |reason| Error::Usage(format!("--mirror {}: {reason}", without_secrets(address)));
                MirrorAddress::parse(address).map_err(usage)?
            }
            (None, Some(own)) => own,
            (None, None) => return Err(Error::Usage("where is the repository? give --mirror".to_owned())),
        };
        let ca_pem = match &flags.mirror_ca {
            Some(file) => Some(input::read(file)?.into_bytes()),
            None => ca.map(String::into_bytes),
        };
        let is_artifact = matches!(mirror, MirrorAddress::Artifact(_));
        let registry = if is_artifact { Some(input::client(&flags.registry, true)?) } else { None };
        Ok(Self { name, root, mirror, target, ca_pem, registry })
    }

    /// Verifies, and says what was delivered.
    pub(super) async fn verify(&self, now: Timestamp, format: Format) -> Result<Exit, Error> {
        match self.deliver(Files::new(), now).await {
            Ok(delivered) => delivered.report(format).map(|()| Exit::Allowed),
            Err(error) => Ok(refused(&error)),
        }
    }

    /// Prints the trusted root.
    pub(super) async fn export(&self, now: Timestamp) -> Result<Exit, Error> {
        match self.deliver(Files::new(), now).await {
            Ok(Delivered { target, .. }) => {
                // It parsed, so that it is text.
                output::print(&String::from_utf8_lossy(&target.bytes)).map(|()| Exit::Allowed)
            }
            Err(error) => Ok(refused(&error)),
        }
    }

    /// Refreshes a folder.
    pub(super) async fn update(&self, folder: &Path, now: Timestamp, format: Format) -> Result<Exit, Error> {
        let kept = match self.kept(folder).await {
            Ok(kept) => kept,
            Err(error) => {
                let reason = format!("what it holds does not verify from the pinned root: {error}");
                return Err(input::unreadable(folder, &reason));
            }
        };
        match self.deliver(kept, now).await {
            Ok(delivered) => {
                // Roots that do not follow from the pinned one are no floor of the client's, and are not passed over either.
                let offered = delivered.client.versions().root;
                let trusted = newest_root(folder).map_err(|error| input::unreadable(folder, &error))?;
                if offered < trusted {
                    return Ok(refused(&RefreshError::Rollback { role: "root".to_owned(), trusted, offered }));
                }
                write(folder, &self.root, &delivered.client.mirrored())
                    .map_err(|error| input::unreadable(folder, &error))?;
                delivered.report(format).map(|()| Exit::Allowed)
            }
            Err(error) => Ok(refused(&error)),
        }
    }

    /// What a folder has that verifies, whatever has expired since: the floor. Without a timestamp, that is its roots; without a folder,
    /// nothing.
    async fn kept(&self, folder: &Path) -> Result<Files, RefreshError> {
        if !folder.exists() {
            return Ok(Files::new());
        }
        let mut client = TufClient::open(&self.root, Files::new(), FolderMirror::new(folder).into())?;
        match client.refresh(Timestamp::MIN).await {
            Err(RefreshError::Missing { file }) if file == "timestamp.json" => Ok(client.files()),
            refreshed => refreshed.map(|()| client.files()),
        }
    }

    async fn deliver(&self, kept: Files, now: Timestamp) -> Result<Delivered, RefreshError> {
        let options = HttpOptions { ca_pem: self.ca_pem.clone(), plain_loopback: true };
        let mirror = Mirror::open(&self.mirror, &options, self.registry.as_ref()).await?;
        let mut client = TufClient::open(&self.root, kept, mirror)?;
        client.refresh(now).await?;
        let target = client.target(&self.target, now).await?;
        let invalid = |reason: String| RefreshError::TrustedRoot { reason };
        let json = std::str::from_utf8(&target.bytes).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
        let material = TrustMaterial::parse(&self.name, json).map_err(|error| invalid(error.to_string()))?;
        Ok(Delivered { client, target, material })
    }
}

impl Delivered {
    fn report(&self, format: Format) -> Result<(), Error> {
        let (versions, expires) = (self.client.versions(), self.client.expires());
        let described = self.material.describe();
        match format {
            Format::Json => output::print_json(&json!({
                "schemaVersion": 1, "versions": versions, "expires": expires, "notes": self.client.notes(),
                "root": described,
            })),
            Format::Text => {
                let mut text = format!(
                    "root {}, timestamp {}, snapshot {}, targets {}; the first of them expires at {expires}\n",
                    versions.root, versions.timestamp, versions.snapshot, versions.targets
                );
                for note in self.client.notes() {
                    text.extend(["note: ", note, "\n"]);
                }
                show::write_root(&mut text, &described).map_err(|error| surroundings("writing the result", &error))?;
                output::print(&text)
            }
        }
    }
}

type Parts = (String, Arc<[u8]>, Option<MirrorAddress>, String, Option<String>);

fn of_spec(spec: &RootSpec) -> Result<Parts, Error> {
    match spec.source() {
        RootSource::Tuf(TufSpec { mirror, root: PinnedRoot::Bytes(root), target, .. }) => {
            let ca = spec.ca().map(str::to_owned);
            Ok((spec.name().to_owned(), Arc::clone(root), Some(mirror.clone()), target.clone(), ca))
        }
        RootSource::Tuf(TufSpec { root: PinnedRoot::ConfigMap { name, key }, .. }) => Err(Error::Usage(format!(
            "its TUF root is in the ConfigMap {name}, at {key}; give that file with --tuf-root, and --mirror"
        ))),
        RootSource::Fixed(_) => Err(Error::Usage("this trust root has its keys itself, without TUF".to_owned())),
    }
}

/// Says why nothing was delivered: a broken rule is a finding, a mirror that cannot be asked leaves the question open.
fn refused(error: &RefreshError) -> Exit {
    output::complain(&format!("countersign: {error} [{}]", error.code()));
    if error.is_broken_rule() { Exit::Denied } else { Exit::Undecided }
}

/// Writes a mirror, the timestamp last: until then the folder is what it was.
fn write(folder: &Path, pinned: &[u8], files: &Files) -> std::io::Result<()> {
    let put = |name: &str, bytes: &[u8]| {
        let out = || std::io::Error::other(format!("{name:?} leads out of the folder"));
        let mut path = folder.to_owned();
        for part in Path::new(name).components() {
            // What is above the file is a folder of this folder, or is not there yet: a link may lead anywhere.
            if path != folder && path.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
                return Err(out());
            }
            let Component::Normal(part) = part else { return Err(out()) };
            path.push(part);
        }
        write_whole(&path, bytes)
    };
    put("pinned_root.json", pinned)?;
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "timestamp.json") {
        put(name, bytes)?;
    }
    files.get("timestamp.json").map_or(Ok(()), |bytes| put("timestamp.json", bytes))
}

/// The version of the newest root that a folder has a file of. Zero: none.
fn newest_root(folder: &Path) -> std::io::Result<u64> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut newest = 0;
    for entry in entries {
        let name = entry?.file_name();
        let version = name.to_str().and_then(|name| name.strip_suffix(".root.json")?.parse().ok());
        newest = newest.max(version.unwrap_or(0));
    }
    Ok(newest)
}

/// An address that was refused, without what may be a password or a token in it: messages end in logs.
fn without_secrets(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or((None, address), |(scheme, rest)| (Some(scheme), rest));
    // A password may hold any character, so that what is before the last `@` goes first.
    let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(before, rest)| (Some(before), rest));
    let shown = rest.split(['?', '#']).next().unwrap_or_default();
    let mut text = scheme.map(|scheme| format!("{scheme}://")).unwrap_or_default();
    text.extend([credentials.map_or("", |_| "...@"), shown, if shown.len() < rest.len() { "..." } else { "" }]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (address, shown) in [
            ("ftp://host/path", "ftp://host/path"),
            ("https://user:s3cr3t@host/path", "https://...@host/path"),
            ("https://user:s3/c@r3?t@host/path", "https://...@host/path"),
            ("https://host/path?token=s3cr3t", "https://host/path..."),
            ("https://host/path#s3cr3t", "https://host/path..."),
            ("user:s3cr3t@host", "...@host"),
        ] {
            assert_eq!(without_secrets(address), shown);
        }
    }
}
