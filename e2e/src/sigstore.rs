//! Private Sigstore instances: two complete ones with the same names and different keys, and the trusted roots that policies name.
//!
//! ```text
//! issuer       OpenID Connect: people, workflows, users and workloads, and their identity tokens
//! authorities  certificate and timestamp authorities, and the keys of the logs
//! instance     Fulcio, its certificate transparency log, Rekor and the timestamp authority as processes
//! tiles        what a log may answer instead of its head and tiles
//! ```
//!
//! Nothing here verifies anything. What a trusted root says is written by cosign, all but who operates a service.

mod authorities;
mod instance;
mod issuer;
mod tiles;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cosign::Cosign;
use crate::files::FileServer;
use crate::tools::Tools;

pub use instance::{ForkedLog, Instance, Services};
pub use issuer::{Account, Identity, Issuer};
pub use tiles::LYING;

/// The trust root of the instance by which tests sign.
pub const PRIVATE: &str = "private";
/// The trust root of the instance that has the same names and is a stranger to [`PRIVATE`].
pub const STRANGER: &str = "stranger";
/// The trust root of whoever signs with certificates of [`STRANGER`], logs and timestamps of [`PRIVATE`].
pub const BORROWER: &str = "borrower";

/// The trust root that is [`PRIVATE`] without its certificate transparency log.
pub const WITHOUT_CT_LOG: &str = "private-without-ct-log";

/// The trust root that is [`PRIVATE`] with the log of [`STRANGER`].
const STRANGE_LOG: &str = "private-strange-log";

/// Trust roots in which one service of [`PRIVATE`] is the stranger's, and the code with which each refuses what [`PRIVATE`] accepts: in the
/// order of the members of `instance::write_trusted_root`.
pub const MIXED: [(&str, &str); 4] = [
    ("private-strange-authority", "[CertificateInvalid]"),
    ("private-strange-ct-log", "[CertificateTransparencyMissing]"),
    (STRANGE_LOG, "[LogEntryInvalid]"),
    ("private-strange-timestamps", "[TimestampInvalid]"),
];

/// The trust root that is [`PRIVATE`], whose log is at an address at which nobody answers.
pub const LOG_DOWN: &str = "private-log-down";

/// The trust root with certificates of [`PRIVATE`], and with logs and timestamp authorities of both instances, under an operator each.
pub const PAIR: &str = "pair";

/// Trust roots like [`PAIR`], in which those of [`PRIVATE`] and those of [`STRANGER`] may have the same operator: by what they state.
pub const PAIR_OF_ONE: [(&str, [Option<&str>; 2]); 4] = [
    ("pair-of-one-operator", [Some("acme"), Some("acme")]),
    ("pair-of-acme-and-somebody", [Some("acme"), None]),
    ("pair-of-somebody-and-acme", [None, Some("acme")]),
    ("pair-of-somebody", [None, None]),
];

/// Both instances and the issuer that both believe; ended when dropped.
#[derive(Debug)]
pub struct Sigstore {
    /// Whose identity tokens both instances take.
    pub issuer: Issuer,
    /// The instance by which tests sign.
    pub private: Instance,
    /// The stranger.
    pub stranger: Instance,
    /// Certificates of the stranger, log and timestamps of the private instance: the closest that another instance can come.
    pub borrower: Services,
    /// Certificates of the private instance, logs and timestamps of both.
    pub pair: Services,
    /// The private instance with the stranger's log, as after its own was replaced.
    pub moved: Services,
    _liars: Vec<FileServer>,
    roots: Vec<(&'static str, PathBuf)>,
}

impl Sigstore {
    /// Starts everything, with its state in `folder`.
    pub fn start(tools: &Tools, cosign: &Cosign, folder: &Path, logs: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let issuer = Issuer::start()?;
        let start = |name: &str| Instance::start(tools, cosign, &issuer, name, &folder.join(name), logs);
        let (private, stranger) = (start(PRIVATE)?, start(STRANGER)?);
        let path = |name: &str| folder.join(format!("{name}.json"));
        let borrower = Services {
            signing_config: path("borrower-signing-config"),
            trusted_root: path(BORROWER),
            fulcio_url: stranger.services().fulcio_url.clone(),
            ..private.services().clone()
        };
        let config = &borrower.signing_config;
        instance::write_signing_config(cosign, &issuer, Some(&stranger), &[&private], &[&private], config)?;
        let members = [&stranger, &stranger, &private, &private].map(Some);
        instance::write_trusted_root(cosign, members, &borrower.trusted_root)?;
        let member = Some(&private);
        instance::write_trusted_root(cosign, [member, None, member, member], &path(WITHOUT_CT_LOG))?;
        let mut roots = vec![
            (PRIVATE, private.services().trusted_root.clone()),
            (STRANGER, stranger.services().trusted_root.clone()),
            (BORROWER, borrower.trusted_root.clone()),
            (WITHOUT_CT_LOG, path(WITHOUT_CT_LOG)),
        ];
        for (position, (name, _)) in MIXED.into_iter().enumerate() {
            let mut members = [Some(&private); 4];
            if let Some(member) = members.get_mut(position) {
                *member = Some(&stranger);
            }
            instance::write_trusted_root(cosign, members, &path(name))?;
            roots.push((name, path(name)));
        }
        let pair = Services {
            signing_config: path("pair-signing-config"),
            trusted_root: path(PAIR),
            ..private.services().clone()
        };
        let both = [&private, &stranger];
        instance::write_signing_config(cosign, &issuer, Some(&private), &both, &both, &pair.signing_config)?;
        let moved = Services {
            signing_config: path("moved-signing-config"),
            trusted_root: path(STRANGE_LOG),
            ..private.services().clone()
        };
        let config = &moved.signing_config;
        instance::write_signing_config(cosign, &issuer, Some(&private), &[&stranger], &[&private], config)?;
        for (name, operators) in [(PAIR, [Some("acme"), Some("other")])].into_iter().chain(PAIR_OF_ONE) {
            write_operated(both, operators, &path(name))?;
            roots.push((name, path(name)));
        }
        let mut liars = Vec::new();
        for (name, _, edit) in tiles::liars(&private)? {
            let liar = FileServer::start_editing(private.log_folder(), instance::TILES, edit)?;
            write_logged_at(&private, liar.url(), &path(name))?;
            roots.push((name, path(name)));
            liars.push(liar);
        }
        let down = FileServer::start(private.log_folder(), instance::TILES)?;
        down.stop();
        write_logged_at(&private, down.url(), &path(LOG_DOWN))?;
        roots.push((LOG_DOWN, path(LOG_DOWN)));
        Ok(Self { issuer, private, stranger, borrower, pair, moved, _liars: liars, roots })
    }

    /// The arguments by which countersign gets all trust roots.
    pub fn trust_root_arguments(&self) -> Vec<String> {
        let argument =
            |(name, file): &(&str, PathBuf)| ["--trust-root".to_owned(), format!("{name}={}", file.display())];
        self.roots.iter().flat_map(argument).collect()
    }
}

/// Writes the trusted root of an instance with another address for its log.
fn write_logged_at(instance: &Instance, address: &str, file: &Path) -> Result<()> {
    let mut root = instance.services().read_trusted_root()?;
    *root.pointer_mut("/tlogs/0/baseUrl").context("no address of a log")? = json!(address);
    fs::write(file, root.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

/// Writes the trusted root of the first of two instances with the logs and timestamp authorities of both, and who operates those of each.
fn write_operated(pair: [&Instance; 2], operators: [Option<&str>; 2], file: &Path) -> Result<()> {
    let [first, second] = pair.map(|instance| instance.services().read_trusted_root());
    let all = [first?, second?];
    let mut root = all.first().and_then(Value::as_object).context("no trusted root")?.clone();
    for list in ["tlogs", "timestampAuthorities"] {
        let mut services = Vec::new();
        for (root, operator) in all.iter().zip(operators) {
            for service in root.get(list).and_then(Value::as_array).with_context(|| format!("no {list}"))? {
                let mut service = service.clone();
                if let (Some(service), Some(operator)) = (service.as_object_mut(), operator) {
                    service.insert("operator".to_owned(), json!(operator));
                }
                services.push(service);
            }
        }
        root.insert(list.to_owned(), Value::Array(services));
    }
    fs::write(file, Value::Object(root).to_string()).with_context(|| format!("cannot write {}", file.display()))
}
