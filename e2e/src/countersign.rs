//! `countersign serve` as its own process, and what makes the API server ask it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::certificate::Authority;
use crate::http::client;
use crate::kubectl::Kubectl;
use crate::process::{Process, run, start_on_free_ports};

/// The name of our webhook, by which denials of ours are told from others.
pub const WEBHOOK_NAME: &str = "validate.countersign.dev";
/// The name of the webhook for our own kinds.
pub const CONFIGURATION_WEBHOOK_NAME: &str = "configuration.countersign.dev";
/// The label of the objects of our own kinds about which that webhook is asked.
pub const JUDGED_LABEL: &str = "e2e.countersign.dev/judged";
/// The custom resource of the policies, as `kubectl` takes it.
pub const POLICIES: &str = "clustersignaturepolicies.policy.countersign.dev";
/// The label by which a second instance is asked only about some namespaces.
pub const INSTANCE_LABEL: &str = "e2e.countersign.dev/instance";

/// It is ready within a second or two.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How to start an instance.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the instance, for its log and its webhook configuration.
    pub name: String,
    /// The value of `--unmatched`.
    pub unmatched: &'static str,
    /// Registries that are spoken to over plain HTTP.
    pub plain_http_registries: Vec<String>,
    /// Where it keeps its Lease and what outlives it.
    pub namespace: String,
    /// Further arguments.
    pub arguments: Vec<OsString>,
    /// Whether the world beyond this machine is out of reach: every proxy is one that does not answer.
    pub offline: bool,
}

/// A running instance. When it is stopped, its webhook stays registered.
#[derive(Debug)]
pub struct Countersign {
    process: Process,
    name: String,
    authority: Authority,
    port: u16,
    probe_port: u16,
    ready_after: Duration,
}

impl Countersign {
    /// Starts an instance and waits until it is ready. `folder` takes its certificate.
    pub fn start(binary: &Path, options: &Options, kubeconfig: &Path, folder: &Path, logs: &Path) -> Result<Self> {
        let name = &options.name;
        let authority = Authority::new(&format!("{name}-serving"))?;
        let serving = authority.serving()?;
        let path = |extension: &str| -> PathBuf { folder.join(format!("{name}.{extension}")) };
        fs::write(path("crt"), &serving.certificate)?;
        fs::write(path("key"), &serving.key)?;
        let start = Instant::now();
        let (process, [port, probe_port]) = start_on_free_ports(
            name,
            logs,
            START_LIMIT,
            |[port, probe_port]| {
                let mut command = Command::new(binary);
                command.args(["serve", "--unmatched", options.unmatched, "--timeout", "8", "--drain-delay", "1"]);
                command.args([
                    "--listen",
                    &format!("127.0.0.1:{port}"),
                    "--probe-listen",
                    &format!("127.0.0.1:{probe_port}"),
                ]);
                command
                    .arg("--tls-cert")
                    .arg(path("crt"))
                    .arg("--tls-key")
                    .arg(path("key"))
                    .arg("--kubeconfig")
                    .arg(kubeconfig);
                command.args(["--namespace", &options.namespace, "--pod-name", name]);
                for registry in &options.plain_http_registries {
                    command.args(["--plain-http-registry", registry]);
                }
                command.args(&options.arguments);
                // The registries are on loopback, whatever proxy the machine has.
                command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
                // Nor does it have any credentials but those of its arguments.
                command.env_remove("REGISTRY_AUTH_FILE").env_remove("DOCKER_CONFIG");
                if options.offline {
                    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
                        command.env(proxy, "http://127.0.0.1:9");
                    }
                }
                Ok(command)
            },
            |[_, probe_port]| get(probe_port, "/readyz").map(drop),
        )?;
        let ready_after = start.elapsed();
        Ok(Self { process, name: name.clone(), authority, port, probe_port, ready_after })
    }

    /// How long it took from its start until it was ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Has the API server ask this instance about every pod-bearing object in the namespaces that the selector takes.
    pub fn register(&self, kubectl: &Kubectl, namespace_selector: &Value) -> Result<()> {
        let resources = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": resources});
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": self.name},
            "webhooks": [{
                "name": WEBHOOK_NAME,
                "clientConfig": {
                    "url": format!("https://127.0.0.1:{}/validate", self.port),
                    "caBundle": BASE64_STANDARD.encode(self.authority.certificate()),
                },
                "rules": [
                    resources("", &["pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers"]),
                    resources("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
                    resources("batch", &["cronjobs", "jobs"]),
                ],
                "namespaceSelector": namespace_selector,
                "matchPolicy": "Equivalent", "failurePolicy": "Fail", "timeoutSeconds": 10,
                "sideEffects": "None", "admissionReviewVersions": ["v1"],
            }],
        });
        kubectl.accepts(&["apply"], Some(&configuration)).map(drop)
    }

    /// Has the API server ask this instance about the objects of our own kinds that carry [`JUDGED_LABEL`].
    pub fn register_configuration(&self, kubectl: &Kubectl) -> Result<()> {
        let rule = json!({
            "apiGroups": ["policy.countersign.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
            "resources": ["clustersignaturepolicies", "signaturepolicies", "signaturetrustroots", "signaturerevocations",
                "countersignconfigs"],
        });
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": format!("{}-configuration", self.name)},
            "webhooks": [{
                "name": CONFIGURATION_WEBHOOK_NAME,
                "clientConfig": {
                    "url": format!("https://127.0.0.1:{}/configuration", self.port),
                    "caBundle": BASE64_STANDARD.encode(self.authority.certificate()),
                },
                "rules": [rule],
                "objectSelector": {"matchLabels": {JUDGED_LABEL: "true"}},
                "matchPolicy": "Equivalent", "failurePolicy": "Fail", "timeoutSeconds": 10,
                "sideEffects": "None", "admissionReviewVersions": ["v1"],
            }],
        });
        kubectl.accepts(&["apply"], Some(&configuration)).map(drop)
    }

    /// The name by which it stands in the Lease.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The body of a GET from the probe port, which must succeed.
    pub fn probe(&self, path: &str) -> Result<String> {
        get(self.probe_port, path)
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail(30)
    }

    /// Ends it.
    pub fn stop(self) {
        self.process.stop();
    }

    /// Ends it without a word, as the end of its machine would.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }
}

/// Installs the custom resources from `countersign crd`.
pub fn install_crds(binary: &Path, kubectl: &Kubectl) -> Result<()> {
    let crds = run(Command::new(binary).arg("crd"), &[])?.success()?.stdout;
    kubectl.run(&["apply", "--server-side", "-f", "-"], &crds)?.success()?;
    kubectl.accepts(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"], None).map(drop)
}

fn get(port: u16, path: &str) -> Result<String> {
    let mut response =
        client().get(format!("http://127.0.0.1:{port}{path}")).call().with_context(|| format!("GET {path}"))?;
    Ok(response.body_mut().read_to_string()?)
}
