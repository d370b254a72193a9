//! A container registry as its own process, and a client that pushes to it.
//!
//! The client speaks plain HTTP to loopback and trusts what it is told: it prepares tests and is no model for a real one.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::http::client;
use crate::process::{Process, Readiness};
use crate::tools::Tools;

const START_LIMIT: Duration = Duration::from_secs(20);
const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The user of the registries that ask for one.
pub const USER: &str = "e2e";
/// The password of [`USER`].
pub const PASSWORD: &str = "not-a-secret";

/// What a registry asks of its clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Nothing.
    Anonymous,
    /// HTTP basic authentication.
    Basic,
    /// A bearer token, which its token service hands out for basic authentication.
    Token,
}

/// A running registry; what it holds ends with it.
#[derive(Debug)]
pub struct Registry {
    _process: Process,
    name: &'static str,
    host: String,
    access: Access,
}

/// An image that was pushed, by digest.
#[derive(Clone, Debug)]
pub struct PushedImage {
    /// `host:port/path`
    pub repository: String,
    /// `sha256:...`
    pub digest: String,
}

impl PushedImage {
    /// `host:port/path@sha256:...`
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

impl Registry {
    /// Starts a registry, with or without the referrers API.
    pub fn start(tools: &Tools, logs: &Path, name: &'static str, referrers: bool, access: Access) -> Result<Self> {
        let mut command = Command::new(tools.path("registry"));
        command.args(["--listen=127.0.0.1:0", "--verbose", &format!("--referrers={referrers}")]);
        match access {
            Access::Anonymous => {}
            Access::Basic => drop(command.arg(format!("--basic-auth={USER}:{PASSWORD}"))),
            Access::Token => drop(command.arg(format!("--token-auth={USER}:{PASSWORD}"))),
        }
        let mut process = Process::start(name, &command, logs)?;
        let mut host = None;
        let log = logs.join(format!("{name}.log"));
        let readiness = process.wait_until(START_LIMIT, || {
            let log = std::fs::read_to_string(&log)?;
            host = log.lines().find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
            host.as_ref().map(drop).context("it does not say where it listens")
        })?;
        if let Readiness::Ended(error) = readiness {
            return Err(error);
        }
        Ok(Self { _process: process, name, host: host.context("no address")?, access })
    }

    /// The name for messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Pushes a small image that nobody else has: `seed` makes its digest.
    pub fn push_minimal(&self, path: &str, seed: &str) -> Result<PushedImage> {
        let layer = json!({"seed": seed}).to_string();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [sha256(layer.as_bytes())]},
        })
        .to_string();
        let descriptor = |media_type: &str, bytes: &str| json!({"mediaType": media_type, "digest": sha256(bytes.as_bytes()), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string();
        self.push_blob(path, config.as_bytes())?;
        self.push_blob(path, layer.as_bytes())?;
        self.push_manifest(path, None, IMAGE_MANIFEST, manifest.as_bytes())
    }

    /// Pushes a blob: POST opens an upload, PUT ends it.
    pub fn push_blob(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let authorization = self.authorization()?;
        let request = client()
            .post(format!("http://{}/v2/{path}/blobs/uploads/", self.host))
            .header("Authorization", &authorization);
        let response =
            request.send_empty().with_context(|| format!("cannot open an upload to {}/{path}", self.host))?;
        let location = response.headers().get("Location").context("no Location for an upload")?.to_str()?;
        let location =
            if location.starts_with('/') { format!("http://{}{location}", self.host) } else { location.to_owned() };
        let separator = if location.contains('?') { '&' } else { '?' };
        client()
            .put(format!("{location}{separator}digest={}", sha256(bytes)))
            .header("Authorization", &authorization)
            .header("Content-Type", "application/octet-stream")
            .send(bytes)
            .with_context(|| format!("cannot push a blob to {}/{path}", self.host))?;
        Ok(())
    }

    /// Pushes a manifest, by tag or by digest.
    pub fn push_manifest(&self, path: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> Result<PushedImage> {
        let digest = sha256(bytes);
        let reference = tag.unwrap_or(&digest);
        client()
            .put(format!("http://{}/v2/{path}/manifests/{reference}", self.host))
            .header("Authorization", &self.authorization()?)
            .header("Content-Type", media_type)
            .send(bytes)
            .with_context(|| format!("cannot push the manifest {reference} to {}/{path}", self.host))?;
        Ok(PushedImage { repository: format!("{}/{path}", self.host), digest })
    }

    /// Gives what `reference` names (a tag or a digest) the tag `tag` too.
    pub fn copy_tag(&self, path: &str, reference: &str, tag: &str) -> Result<PushedImage> {
        let (media_type, bytes) = self.manifest(path, reference)?;
        self.push_manifest(path, Some(tag), &media_type, &bytes)
    }

    /// The media type and the bytes of a manifest, by tag or by digest.
    pub fn manifest(&self, path: &str, reference: &str) -> Result<(String, Vec<u8>)> {
        let mut response = client()
            .get(format!("http://{}/v2/{path}/manifests/{reference}", self.host))
            .header("Authorization", &self.authorization()?)
            .call()
            .with_context(|| format!("cannot fetch the manifest {reference} of {}/{path}", self.host))?;
        let media_type =
            response.headers().get("Content-Type").context("a manifest without a media type")?.to_str()?.to_owned();
        Ok((media_type, response.body_mut().read_to_vec()?))
    }

    /// Attaches a Sigstore bundle to an image as its referrer; without the referrers API, by the fallback tag too.
    ///
    /// Specification: <https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md>
    pub fn attach_bundle(&self, path: &str, image: &PushedImage, bundle: &[u8]) -> Result<()> {
        let (media_type, manifest) = self.manifest(path, &image.digest)?;
        let empty = "{}";
        self.push_blob(path, empty.as_bytes())?;
        self.push_blob(path, bundle)?;
        let referrer = json!({
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": BUNDLE,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": sha256(empty.as_bytes()), "size": empty.len(),
            },
            "layers": [{"mediaType": BUNDLE, "digest": sha256(bundle), "size": bundle.len()}],
            "subject": {"mediaType": media_type, "digest": image.digest, "size": manifest.len()},
        })
        .to_string();
        let pushed = self.push_manifest(path, None, IMAGE_MANIFEST, referrer.as_bytes())?;
        if self.status(&format!("{path}/referrers/{}", image.digest), true)? == 200 {
            return Ok(());
        }
        let index = json!({
            "schemaVersion": 2, "mediaType": IMAGE_INDEX,
            "manifests": [{
                "mediaType": IMAGE_MANIFEST, "artifactType": BUNDLE, "digest": pushed.digest, "size": referrer.len(),
            }],
        });
        let tag = image.digest.replace(':', "-");
        self.push_manifest(path, Some(&tag), IMAGE_INDEX, index.to_string().as_bytes()).map(drop)
    }

    /// What a GET of `/v2/PATH` answers.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let request = client().get(format!("http://{}/v2/{path}", self.host));
        let request = request.header("Authorization", &self.authorization()?);
        let mut response = request.call().with_context(|| format!("cannot fetch {path} of {}", self.host))?;
        Ok(response.body_mut().read_to_vec()?)
    }

    /// The status of a GET of `/v2/PATH`, with or without our credentials.
    pub fn status(&self, path: &str, with_credentials: bool) -> Result<u16> {
        let mut request =
            client().get(format!("http://{}/v2/{path}", self.host)).config().http_status_as_error(false).build();
        if with_credentials {
            request = request.header("Authorization", &self.authorization()?);
        }
        Ok(request.call()?.status().as_u16())
    }

    /// A credentials file as podman and docker write it.
    pub fn auth_file(&self) -> Value {
        json!({"auths": {&self.host: {"auth": BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))}}})
    }

    fn authorization(&self) -> Result<String> {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
        match self.access {
            Access::Anonymous | Access::Basic => Ok(basic),
            Access::Token => {
                let mut response =
                    client().get(format!("http://{}/token", self.host)).header("Authorization", &basic).call()?;
                let answer: Value = serde_json::from_str(&response.body_mut().read_to_string()?)?;
                let token = answer.get("token").and_then(Value::as_str).context("the token service gives no token")?;
                Ok(format!("Bearer {token}"))
            }
        }
    }
}

/// The digest of these bytes, `sha256:...`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(digest(&SHA256, bytes).as_ref()))
}

/// These bytes in hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hexadecimal part of a sha256 digest.
pub fn hex(digest: &str) -> Result<&str> {
    let hex = digest.strip_prefix("sha256:").with_context(|| format!("{digest} is no sha256 digest"))?;
    ensure!(hex.len() == 64, "{digest} is no sha256 digest");
    Ok(hex)
}
