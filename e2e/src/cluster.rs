//! A cluster as far as admission goes: etcd and kube-apiserver with RBAC, nothing that acts on objects.
//!
//! There is no controller manager, so nobody makes service accounts: the admission plugin that would ask for them is off. Objects stay
//! as they were admitted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::api::Api;
use crate::certificate::Authority;
use crate::http::client;
use crate::kubectl::Kubectl;
use crate::process::{Process, start_on_free_ports};
use crate::tools::Tools;

/// Both take a few seconds at most.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Resources of an API group, and what may be done to them.
pub type Rule<'r> = (&'r str, &'r [&'r str], &'r [&'r str]);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they end.
    api: Api,
    _apiserver: Process,
    _etcd: Process,
    authority: Authority,
    folder: PathBuf,
    port: u16,
    kubectl: Kubectl,
}

impl Cluster {
    /// Starts a cluster with its state in `folder`.
    pub fn start(tools: &Tools, folder: &Path, logs: &Path, home: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let path = |name: &str| folder.join(name);
        let authority = Authority::new("e2e-cluster")?;
        let serving = authority.serving()?;
        let service_accounts = KeyPair::generate()?;
        for (name, content) in [
            ("ca.crt", authority.certificate()),
            ("apiserver.crt", &serving.certificate),
            ("apiserver.key", &serving.key),
            ("service-accounts.key", &service_accounts.serialize_pem()),
            ("service-accounts.pub", &service_accounts.public_key_pem()),
        ] {
            fs::write(path(name), content).with_context(|| format!("cannot write {name}"))?;
        }

        let (etcd, [etcd_port, _]) = start_on_free_ports(
            "etcd",
            logs,
            START_LIMIT,
            |[client, peer]| {
                let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
                let mut command = Command::new(tools.path("etcd"));
                command.arg("--data-dir").arg(path(&format!("etcd-{}", client.replace([':', '/'], "-"))));
                command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
                command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
                command.args([
                    "--initial-cluster",
                    &format!("default={peer}"),
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                ]);
                Ok(command)
            },
            |[port, _]| {
                client().get(format!("http://127.0.0.1:{port}/health")).call().map(drop).context("etcd's health")
            },
        )?;

        let kubeconfig = path("admin.kubeconfig");
        let kubectl = Kubectl::new(tools.path("kubectl"), &kubeconfig, home);
        let (apiserver, [port]) = start_on_free_ports(
            "kube-apiserver",
            logs,
            START_LIMIT,
            |[port]| {
                write_kubeconfig(&authority, folder, port, "admin", Some("system:masters"))?;
                let mut command = Command::new(tools.path("kube-apiserver"));
                command.args([
                    &format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
                    &format!("--secure-port={port}"),
                    "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1",
                    "--endpoint-reconciler-type=none",
                    "--service-cluster-ip-range=10.0.0.0/24",
                    "--authorization-mode=RBAC",
                    "--disable-admission-plugins=ServiceAccount",
                    "--service-account-issuer=https://kubernetes.default.svc",
                ]);
                for (flag, name) in [
                    ("--client-ca-file", "ca.crt"),
                    ("--tls-cert-file", "apiserver.crt"),
                    ("--tls-private-key-file", "apiserver.key"),
                    ("--service-account-signing-key-file", "service-accounts.key"),
                    ("--service-account-key-file", "service-accounts.pub"),
                    ("--cert-dir", "apiserver-certificates"),
                ] {
                    command.arg(flag).arg(path(name));
                }
                Ok(command)
            },
            |_| kubectl.accepts(&["get", "--raw", "/readyz"], None).map(drop),
        )?;
        let api = Api::start(&kubectl, logs)?;
        Ok(Self { api, _apiserver: apiserver, _etcd: etcd, authority, folder: folder.to_owned(), port, kubectl })
    }

    /// The API server without kubectl, with the same rights.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// kubectl as a member of `system:masters`.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// A kubeconfig for a user who may do only what RBAC grants.
    pub fn kubeconfig_for(&self, user: &str) -> Result<PathBuf> {
        write_kubeconfig(&self.authority, &self.folder, self.port, user, None)
    }

    /// Lets `user` do this, cluster-wide: resources of an API group, and verbs.
    pub fn grant(&self, user: &str, rules: &[Rule<'_>]) -> Result<()> {
        self.grant_by("ClusterRole", &json!({"name": user}), user, rules)
    }

    /// Lets `user` do this in one namespace.
    pub fn grant_within(&self, namespace: &str, user: &str, rules: &[Rule<'_>]) -> Result<()> {
        self.grant_by("Role", &json!({"name": user, "namespace": namespace}), user, rules)
    }

    fn grant_by(&self, kind: &str, metadata: &Value, user: &str, rules: &[Rule<'_>]) -> Result<()> {
        let rules: Vec<_> = rules
            .iter()
            .map(|(group, resources, verbs)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))
            .collect();
        ensure!(!rules.is_empty(), "nothing is granted to {user}");
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
                "metadata": metadata, "rules": rules,
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
                "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": user},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            },
        ]});
        self.kubectl.accepts(&["apply"], Some(&objects)).map(drop)
    }
}

fn write_kubeconfig(
    authority: &Authority,
    folder: &Path,
    port: u16,
    user: &str,
    group: Option<&str>,
) -> Result<PathBuf> {
    let client = authority.client(user, group)?;
    let (certificate, key) = (folder.join(format!("{user}.crt")), folder.join(format!("{user}.key")));
    fs::write(&certificate, &client.certificate)?;
    fs::write(&key, &client.key)?;
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": folder.join("ca.crt"),
        }}],
        "users": [{"name": user, "user": {"client-certificate": certificate, "client-key": key}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
    });
    let path = folder.join(format!("{user}.kubeconfig"));
    fs::write(&path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
