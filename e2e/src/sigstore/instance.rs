//! One Sigstore instance: Fulcio, its certificate transparency log, Rekor (version 2) and a timestamp authority, each a process.
//!
//! The log writes its tiles to a folder and serves none of them; a file server does, as a content delivery network does for the public one.
//! All on 127.0.0.1. Only Fulcio's metrics are served on every interface, on a free port: it has no setting for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::authorities;
use super::issuer::Issuer;
use crate::cosign::Cosign;
use crate::files::FileServer;
use crate::http::client;
use crate::process::{Process, start_on_free_ports};
use crate::tools::Tools;

/// All are ready within a second.
const START_LIMIT: Duration = Duration::from_secs(30);
/// When all services came to be, as far as the trusted root knows: before anything that they sign.
const SINCE: &str = "2020-01-01T00:00:00Z";
/// Rekor's name in its checkpoints, by which the trusted root must know it. The same for every instance.
const LOG_ORIGIN: &str = "127.0.0.1";
/// Where a log's tiles are, below its address.
pub(super) const TILES: &str = "api/v2";

/// A running instance, ended when dropped.
#[derive(Debug)]
pub struct Instance {
    _fulcio: Process,
    _ct_log: Process,
    _log: Process,
    _timestamps: Process,
    /// The log's head and tiles, at the address that the trusted root gives it.
    pub tiles: FileServer,
    log_folder: PathBuf,
    addresses: Addresses,
    folder: PathBuf,
    services: Services,
}

#[derive(Debug)]
struct Addresses {
    fulcio: String,
    ct_log: String,
    /// Where entries are written.
    log: String,
    /// Where they are read.
    tiles: String,
    timestamps: String,
}

/// What signers need to know of an instance, in files.
#[derive(Clone, Debug)]
pub struct Services {
    /// The signing configuration with all services.
    pub signing_config: PathBuf,
    /// The signing configuration with the timestamp authority alone.
    pub timestamps_only: PathBuf,
    /// The trusted root.
    pub trusted_root: PathBuf,
    /// The certificate authority's URL.
    pub fulcio_url: String,
    /// The timestamp authority's URL.
    pub timestamp_url: String,
}

impl Services {
    /// The trusted root as JSON.
    pub fn read_trusted_root(&self) -> Result<Value> {
        let file = &self.trusted_root;
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot parse {}", file.display()))
    }
}

impl Instance {
    /// Starts an instance with new keys, which takes the issuer's tokens.
    pub fn start(
        tools: &Tools,
        cosign: &Cosign,
        issuer: &Issuer,
        name: &str,
        folder: &Path,
        logs: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        authorities::write(folder)?;
        let configuration = folder.join("fulcio.json");
        fs::write(&configuration, issuer.fulcio_configuration().to_string())?;
        let path = |file: &str| folder.join(file);

        let (ct_log, [ct_port]) = service(tools, name, "tesseract", logs, "/ct/v1/get-roots", |command, [port]| {
            command.arg(format!("--http_endpoint=127.0.0.1:{port}")).args([
                "--origin=127.0.0.1",
                "--ext_key_usages=CodeSigning",
                "--checkpoint_interval=100ms",
                "--batch_max_age=50ms",
            ]);
            flag(command, "--private_key", &path("ct-log.key"));
            flag(command, "--roots_pem_file", &path("fulcio-root.pem"));
            flag(command, "--storage_dir", &path(&format!("ct-log-{port}")));
        })?;
        let (log, log_port) = start_log(tools, name, folder, logs)?;
        let (timestamps, [timestamp_port]) =
            service(tools, name, "timestamp-server", logs, "/ping", |command, [port]| {
                command.arg(format!("--port={port}"));
                flag(command, "--key", &path("timestamps.key"));
                flag(command, "--certificate-chain", &path("timestamps-chain.pem"));
            })?;
        let (fulcio, [fulcio_port, ..]) =
            service(tools, name, "fulcio", logs, "/healthz", |command, [port, grpc, metrics]| {
                command.args([
                    "serve",
                    "--host=127.0.0.1",
                    "--grpc-host=127.0.0.1",
                    "--ca=fileca",
                    "--fileca-watch=false",
                ]);
                command.args([
                    format!("--port={port}"),
                    format!("--grpc-port={grpc}"),
                    format!("--metrics-port={metrics}"),
                    // A name without a file, which no other Fulcio of the machine has.
                    format!("--legacy-unix-domain-socket=@countersign-e2e-fulcio-{port}"),
                    format!("--ct-log-url=http://127.0.0.1:{ct_port}"),
                    // It must be set; the key is not encrypted.
                    "--fileca-key-passwd=none".to_owned(),
                ]);
                flag(command, "--fileca-cert", &path("fulcio-chain.pem"));
                flag(command, "--fileca-key", &path("fulcio.key"));
                flag(command, "--ct-log-public-key-path", &path("ct-log.pub"));
                flag(command, "--config-path", &configuration);
            })?;

        let log_folder = path(&format!("log-{log_port}"));
        let tiles = FileServer::start(&log_folder, TILES)?;
        let address = |port: u16| format!("http://127.0.0.1:{port}");
        let addresses = Addresses {
            fulcio: address(fulcio_port),
            ct_log: address(ct_port),
            log: address(log_port),
            tiles: tiles.url().to_owned(),
            timestamps: format!("{}/api/v1/timestamp", address(timestamp_port)),
        };
        let services = Services {
            signing_config: path("signing-config.json"),
            timestamps_only: path("signing-config-timestamps.json"),
            trusted_root: path("trusted-root.json"),
            fulcio_url: addresses.fulcio.clone(),
            timestamp_url: addresses.timestamps.clone(),
        };
        let instance = Self {
            _fulcio: fulcio,
            _ct_log: ct_log,
            _log: log,
            _timestamps: timestamps,
            tiles,
            log_folder,
            addresses,
            folder: folder.to_owned(),
            services,
        };
        let Services { signing_config, timestamps_only, trusted_root, .. } = &instance.services;
        write_signing_config(cosign, issuer, Some(&instance), &[&instance], &[&instance], signing_config)?;
        write_signing_config(cosign, issuer, None, &[], &[&instance], timestamps_only)?;
        write_trusted_root(cosign, [Some(&instance); 4], trusted_root)?;
        Ok(instance)
    }

    /// What signers need.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Another history of the instance's log: a second server with the log's own key and name, which begins anew.
    pub fn fork_log(&self, tools: &Tools, name: &str, logs: &Path) -> Result<ForkedLog> {
        let (log, port) = start_log(tools, &format!("{name}-fork"), &self.folder, logs)?;
        let file = &self.services.signing_config;
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let signing_config = self.folder.join(format!("signing-config-fork-{port}.json"));
        fs::write(&signing_config, text.replace(&self.addresses.log, &format!("http://127.0.0.1:{port}")))?;
        Ok(ForkedLog { _log: log, services: Services { signing_config, ..self.services.clone() } })
    }

    /// Where the log keeps its head and tiles.
    pub(super) fn log_folder(&self) -> &Path {
        &self.log_folder
    }
}

/// A log that signs a history of its own by another log's key, ended when dropped.
#[derive(Debug)]
pub struct ForkedLog {
    _log: Process,
    services: Services,
}

impl ForkedLog {
    /// What signers need to log in this history.
    pub fn services(&self) -> &Services {
        &self.services
    }
}

/// Starts a log with the instance's key, and nothing in it.
fn start_log(tools: &Tools, name: &str, folder: &Path, logs: &Path) -> Result<(Process, u16)> {
    let (log, [port, ..]) =
        service(tools, name, "rekor-server", logs, "/healthz", |command, [http, grpc, metrics]| {
            command.args(["serve", "--http-address=127.0.0.1", "--grpc-address=127.0.0.1"]).args([
                format!("--http-port={http}"),
                format!("--grpc-port={grpc}"),
                format!("--http-metrics-port={metrics}"),
                format!("--hostname={LOG_ORIGIN}"),
                "--checkpoint-interval=200ms".to_owned(),
                "--batch-max-age=50ms".to_owned(),
            ]);
            flag(command, "--signer-filepath", &folder.join("log.key"));
            flag(command, "--storage-dir", &folder.join(format!("log-{http}")));
        })?;
    Ok((log, port))
}

/// Writes a signing configuration: whose certificate authority, if any, and whose logs and timestamp authorities, all of which are used.
pub(super) fn write_signing_config(
    cosign: &Cosign,
    issuer: &Issuer,
    authority: Option<&Instance>,
    logs: &[&Instance],
    timestamps: &[&Instance],
    file: &Path,
) -> Result<()> {
    let logs: Vec<&str> = logs.iter().map(|log| log.addresses.log.as_str()).collect();
    write_signing_config_at(cosign, issuer, authority, &logs, timestamps, file)
}

/// The same, with logs by their addresses.
fn write_signing_config_at(
    cosign: &Cosign,
    issuer: &Issuer,
    authority: Option<&Instance>,
    logs: &[&str],
    timestamps: &[&Instance],
    file: &Path,
) -> Result<()> {
    // Of several services of one operator, cosign uses one.
    let service = |kind: &str, url: &str, version: u8, operator: usize| {
        format!("--{kind}=url={url},api-version={version},start-time={SINCE},operator=e2e-{operator}")
    };
    let mut arguments = Vec::new();
    if let Some(authority) = authority {
        arguments.push(service("fulcio", &authority.addresses.fulcio, 1, 0));
        arguments.push(service("oidc-provider", &issuer.login_url(), 1, 0));
    }
    for (position, log) in logs.iter().enumerate() {
        arguments.push(service("rekor", log, 2, position));
    }
    if !logs.is_empty() {
        arguments.push("--rekor-config=ALL".to_owned());
    }
    for (position, timestamps) in timestamps.iter().enumerate() {
        arguments.push(service("tsa", &timestamps.addresses.timestamps, 1, position));
    }
    arguments.push("--tsa-config=ALL".to_owned());
    cosign.write(&["signing-config", "create"], &arguments, file)
}

/// Writes a trusted root of four members, of which some may be nobody's: whose certificate authority, certificate transparency log, log,
/// and timestamp authority.
pub(super) fn write_trusted_root(cosign: &Cosign, members: [Option<&Instance>; 4], file: &Path) -> Result<()> {
    let [authority, ct_log, log, timestamps] = members;
    let material = |instance: &Instance, name: &str| instance.folder.join(name).display().to_string();
    let chain = |service: &str, url: &str, chain: String| format!("--{service}=url={url},certificate-chain={chain}");
    let key =
        |service: &str, url: &str, key: String| format!("--{service}=url={url},public-key={key},start-time={SINCE}");
    let arguments: Vec<String> = [
        authority.map(|it| chain("fulcio", &it.addresses.fulcio, material(it, "fulcio-chain.pem"))),
        ct_log.map(|it| key("ctfe", &it.addresses.ct_log, material(it, "ct-log.pub"))),
        log.map(|it| format!("{},origin={LOG_ORIGIN}", key("rekor", &it.addresses.tiles, material(it, "log.pub")))),
        timestamps.map(|it| chain("tsa", &it.addresses.timestamps, material(it, "timestamps-chain.pem"))),
    ]
    .into_iter()
    .flatten()
    .collect();
    cosign.write(&["trusted-root", "create"], &arguments, file)
}

/// Starts a service and waits until it answers at `ready` of its first port.
fn service<const N: usize>(
    tools: &Tools,
    instance: &str,
    program: &str,
    logs: &Path,
    ready: &str,
    arguments: impl Fn(&mut Command, [u16; N]),
) -> Result<(Process, [u16; N])> {
    start_on_free_ports(
        &format!("sigstore-{instance}-{program}"),
        logs,
        START_LIMIT,
        |ports| {
            let mut command = Command::new(tools.path(program));
            // They speak to each other on loopback, whatever proxy the machine has.
            command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
            arguments(&mut command, ports);
            Ok(command)
        },
        |ports| {
            let port = ports.first().context("a service without a port")?;
            client().get(format!("http://127.0.0.1:{port}{ready}")).call().map(drop).context("it does not answer")
        },
    )
}

/// `--flag=path` as one argument, which Go's and Cobra's flags both read.
fn flag(command: &mut Command, name: &str, path: &Path) {
    let mut argument = std::ffi::OsString::from(name);
    argument.push("=");
    argument.push(path);
    command.arg(argument);
}
