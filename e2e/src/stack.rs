//! The cluster, the registries, cosign and countersign together; and for each case a namespace and policies that disturb no other.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Answer;
use crate::cluster::{Cluster, Rule};
use crate::cosign::{Cosign, KeyPair};
use crate::countersign::{Countersign, INSTANCE_LABEL, Options, POLICIES, install_crds};
use crate::kubectl::{Kubectl, denied};
use crate::layout::Layout;
use crate::manifest;
use crate::process::{Outcome, eventually};
use crate::python::SigstorePython;
use crate::registry::{Access, PushedImage, Registry};
use crate::sigstore::{ForkedLog, Instance, Sigstore};
use crate::tools::{Tools, countersign_binary, repository_root};

/// Until a policy that was written takes effect; a watch delivers it in milliseconds.
const EFFECT_LIMIT: Duration = Duration::from_secs(15);
/// The Kubernetes user as which countersign runs.
const USER: &str = "countersign";
/// The namespace in which instances keep what they share, unless a case gives them another.
const NAMESPACE: &str = "countersign-system";
/// The instance that every namespace but those of other instances has.
const MAIN: &str = "countersign";

/// The instance of countersign that knows the trust roots of the private Sigstore instances.
const PRIVATE: &str = "private";

/// All that runs. One for all cases; ended in the order of the fields.
#[derive(Debug)]
pub struct Stack {
    countersign: OnceLock<Result<Countersign, String>>,
    private: OnceLock<Result<Private, String>>,
    tools: Tools,
    /// A registry with the referrers API.
    pub with_referrers: Registry,
    /// A registry without the referrers API.
    pub without_referrers: Registry,
    /// A registry that asks for basic authentication.
    pub basic: Registry,
    /// A registry that asks for a bearer token.
    pub token: Registry,
    /// The API server.
    pub cluster: Cluster,
    /// cosign.
    pub cosign: Cosign,
    /// sigstore-python.
    pub python: SigstorePython,
    /// The key by which tests sign.
    pub key: KeyPair,
    /// A key by which nothing is signed, unless a test says so.
    pub other_key: KeyPair,
    canary: PushedImage,
    logs: PathBuf,
    folder: TempDir,
}

/// The private Sigstore instances, and the instance of countersign that trusts them. Ended in the order of the fields.
#[derive(Debug)]
struct Private {
    _countersign: Countersign,
    sigstore: Sigstore,
}

impl Stack {
    /// Starts everything but countersign and the Sigstore instances, which the first case that needs them starts.
    pub fn start() -> Result<Self> {
        let tools = Tools::from_environment()?;
        let folder = tempfile::Builder::new().prefix("countersign-e2e-").tempdir().context("no temporary folder")?;
        let (logs, home) = (folder.path().join("logs"), folder.path().join("home"));
        fs::create_dir_all(&logs)?;
        fs::create_dir_all(&home)?;
        let registry = |name, referrers, access| Registry::start(&tools, &logs, name, referrers, access);
        let with_referrers = registry("registry-with-referrers", true, Access::Anonymous)?;
        let without_referrers = registry("registry-without-referrers", false, Access::Anonymous)?;
        let basic = registry("registry-basic-auth", true, Access::Basic)?;
        let token = registry("registry-token-auth", true, Access::Token)?;
        let cluster = Cluster::start(&tools, &folder.path().join("cluster"), &logs, &home)?;
        let cosign = Cosign::new(tools.path("cosign"), &home);
        let python = SigstorePython::new(tools.path("sigstore-python"), &home);
        let key = cosign.generate_key_pair(folder.path(), "release")?;
        let other_key = cosign.generate_key_pair(folder.path(), "other")?;
        let canary = with_referrers.push_minimal("canary", "canary")?;
        Ok(Self {
            countersign: OnceLock::new(),
            private: OnceLock::new(),
            tools,
            with_referrers,
            without_referrers,
            basic,
            token,
            cluster,
            cosign,
            python,
            key,
            other_key,
            canary,
            logs,
            folder,
        })
    }

    /// The registries that need no credentials: with and without the referrers API.
    pub fn registries(&self) -> [&Registry; 2] {
        [&self.with_referrers, &self.without_referrers]
    }

    /// The layout with the real image and its provenance.
    pub fn real_layout() -> Result<Layout> {
        Layout::open(&repository_root().join("policies/examples/slsa-provenance/image"))
    }

    /// A fresh folder.
    pub fn new_folder(&self) -> Result<PathBuf> {
        Ok(tempfile::tempdir_in(&self.folder)?.keep())
    }

    /// The main instance, started and registered by the first who asks, with `--unmatched Allow`.
    pub fn countersign(&self) -> Result<&Countersign> {
        let started = self.countersign.get_or_init(|| self.start_main().map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow!("countersign did not start: {error}"))
    }

    /// The log of the main instance, if it runs.
    pub fn countersign_log(&self) -> Option<String> {
        Some(self.countersign.get()?.as_ref().ok()?.log_tail())
    }

    /// Starts another instance that is asked about the namespaces of [`Sandbox::with_instance`].
    pub fn start_instance(&self, name: &str, unmatched: &'static str, arguments: &[&str]) -> Result<Countersign> {
        self.register(name, self.start_unregistered(name, unmatched, NAMESPACE, arguments, false)?)
    }

    /// The same with `--unmatched Allow` and nothing in reach that is not on this machine.
    pub fn start_offline_instance(&self, name: &str) -> Result<Countersign> {
        self.register(name, self.start_unregistered(name, "Allow", NAMESPACE, &[], true)?)
    }

    fn register(&self, name: &str, instance: Countersign) -> Result<Countersign> {
        instance.register(self.cluster.kubectl(), &json!({"matchLabels": {INSTANCE_LABEL: name}}))?;
        Ok(instance)
    }

    /// Starts another instance that nobody asks, and that keeps what it shares in a namespace of [`Self::create_own_namespace`].
    pub fn start_within(&self, namespace: &str, name: &str, arguments: &[&str]) -> Result<Countersign> {
        self.start_unregistered(name, "Allow", namespace, arguments, false)
    }

    /// A namespace in which instances may keep what they share.
    pub fn create_own_namespace(&self, namespace: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        self.cluster.kubectl().accepts(&["create"], Some(&object))?;
        let rules: &[Rule<'_>] = &[
            ("coordination.k8s.io", &["leases"], &["get", "create", "update"]),
            ("", &["configmaps"], &["get", "create", "update"]),
        ];
        self.cluster.grant_within(namespace, USER, rules)
    }

    /// Lets instances write suggested revocations, as the README says for `--monitor-logs`.
    pub fn let_suggest(&self) -> Result<()> {
        let user = json!({"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"});
        let name = json!({"name": "countersign-suggests"});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": name,
                "rules": [{
                    "apiGroups": ["policy.countersign.dev"], "resources": ["signaturerevocations"], "verbs": ["create"],
                }],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": name,
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "countersign-suggests",
                },
                "subjects": [user],
            },
        ]});
        self.cluster.kubectl().accepts(&["apply"], Some(&objects)).map(drop)
    }

    /// Another history of the private instance's log, signed with its key.
    pub fn fork_private_log(&self) -> Result<ForkedLog> {
        self.private()?.sigstore.private.fork_log(&self.tools, PRIVATE, &self.logs)
    }

    fn private(&self) -> Result<&Private> {
        let start = || -> Result<Private> {
            let sigstore =
                Sigstore::start(&self.tools, &self.cosign, &self.folder.path().join("sigstore"), &self.logs)?;
            let arguments = sigstore.trust_root_arguments();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Ok(Private { _countersign: self.start_instance(PRIVATE, "Allow", &arguments)?, sigstore })
        };
        let started = self.private.get_or_init(|| start().map_err(|error| format!("{error:#}")));
        started.as_ref().map_err(|error| anyhow!("the private Sigstore instances did not start: {error}"))
    }

    /// Starts another Sigstore instance, which takes the same issuer's tokens, for a case that harms it.
    pub fn start_sigstore(&self, sigstore: &Sigstore, name: &str) -> Result<Instance> {
        let folder = self.new_folder()?;
        Instance::start(&self.tools, &self.cosign, &sigstore.issuer, name, &folder, &self.logs)
    }

    /// The programs.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Keeps the folder with the logs, for somebody to look at.
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.logs.clone()
    }

    fn start_main(&self) -> Result<Countersign> {
        let kubectl = self.cluster.kubectl();
        install_crds(&countersign_binary()?, kubectl)?;
        // What the README asks for, and nothing else.
        let kinds = [
            "clustersignaturepolicies",
            "signaturepolicies",
            "signaturetrustroots",
            "signaturerevocations",
            "countersignconfigs",
        ];
        let status = kinds.map(|kind| format!("{kind}/status"));
        self.cluster.grant(
            USER,
            &[
                ("policy.countersign.dev", &kinds, &["get", "list", "watch"]),
                ("policy.countersign.dev", &status.each_ref().map(String::as_str), &["patch"]),
                ("", &["namespaces"], &["get", "list", "watch"]),
                ("events.k8s.io", &["events"], &["create", "patch"]),
            ],
        )?;
        self.create_own_namespace(NAMESPACE)?;
        let main = self.start_unregistered(MAIN, "Allow", NAMESPACE, &[], false)?;
        let others = json!({"matchExpressions": [{"key": INSTANCE_LABEL, "operator": "DoesNotExist"}]});
        main.register(kubectl, &others)?;
        Ok(main)
    }

    fn start_unregistered(
        &self,
        name: &str,
        unmatched: &'static str,
        namespace: &str,
        arguments: &[&str],
        offline: bool,
    ) -> Result<Countersign> {
        let all = [&self.with_referrers, &self.without_referrers, &self.basic, &self.token];
        let options = Options {
            name: name.to_owned(),
            unmatched,
            plain_http_registries: all.map(|registry| registry.host().to_owned()).into(),
            namespace: namespace.to_owned(),
            arguments: arguments.iter().map(Into::into).collect(),
            offline,
        };
        let kubeconfig = self.cluster.kubeconfig_for(USER)?;
        Countersign::start(&countersign_binary()?, &options, &kubeconfig, self.folder.path(), &self.logs)
    }
}

/// A namespace that one case has for itself.
#[derive(Debug)]
pub struct Sandbox<'s> {
    stack: &'s Stack,
    namespace: String,
}

impl<'s> Sandbox<'s> {
    /// A namespace that the main instance judges.
    pub fn new(stack: &'s Stack, namespace: &str) -> Result<Self> {
        stack.countersign()?;
        Self::create(stack, namespace, &json!({}))
    }

    /// The private Sigstore instances, and another namespace, which an instance of countersign judges that trusts them. The first who
    /// asks starts both.
    pub fn with_sigstore(&self) -> Result<(&'s Sigstore, Self)> {
        let private = self.stack.private()?;
        Ok((&private.sigstore, self.with_instance(PRIVATE)?))
    }

    /// Another namespace, that only this instance of [`Stack::start_instance`] judges.
    pub fn with_instance(&self, instance: &str) -> Result<Self> {
        let namespace = format!("{}-{instance}", self.namespace);
        Self::create(self.stack, &namespace, &json!({INSTANCE_LABEL: instance}))
    }

    /// Another namespace that the main instance judges, with these labels.
    pub fn labelled(&self, suffix: &str, labels: &Value) -> Result<Self> {
        Self::create(self.stack, &format!("{}-{suffix}", self.namespace), labels)
    }

    fn create(stack: &'s Stack, namespace: &str, labels: &Value) -> Result<Self> {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        stack.cluster.kubectl().accepts(&["create"], Some(&object))?;
        Ok(Self { stack, namespace: namespace.to_owned() })
    }

    /// The whole stack.
    pub fn stack(&self) -> &'s Stack {
        self.stack
    }

    /// The namespace's name, which cluster-wide objects of this case may have too.
    pub fn name(&self) -> &str {
        &self.namespace
    }

    /// What would become of a Pod, asked without kubectl.
    pub fn try_pod(&self, pod: &Value) -> Result<Answer> {
        self.stack.cluster.api().try_pod(&self.namespace, pod)
    }

    /// A path in a registry that no other case uses.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// The pattern for all paths of this case in a registry.
    pub fn pattern(&self, registry: &Registry) -> String {
        format!("{}/{}/**", registry.host(), self.namespace)
    }

    /// Governs all images of this case, in both anonymous registries, by these authorities; returns when the policy is in force.
    pub fn govern(&self, authorities: &Value) -> Result<Policy<'s>> {
        self.govern_images(&self.stack.registries().map(|registry| self.pattern(registry)), authorities)
    }

    /// Governs these images by these authorities; returns when the policy is in force.
    pub fn govern_images(&self, images: &[String], authorities: &Value) -> Result<Policy<'s>> {
        let policy = self.policy(images, authorities);
        self.apply_policy(&policy, true)
    }

    /// The policy that [`Self::govern_images`] would apply. It covers the canary too.
    pub fn policy(&self, images: &[String], authorities: &Value) -> Value {
        let mut images = images.to_vec();
        images.push(self.stack.canary.repository.clone());
        manifest::policy(&self.namespace, &self.namespace, &images, authorities)
    }

    /// Writes a policy, past the API server's validation of fields if so wished, and waits until it is in force: until the canary, an
    /// unsigned image that the policy covers, is denied in its name. So no admission can be mistaken for a pass.
    pub fn apply_policy(&self, policy: &Value, validate: bool) -> Result<Policy<'s>> {
        let name = policy.pointer("/metadata/name").and_then(Value::as_str).context("a policy without a name")?;
        let applied = Policy { kubectl: self.kubectl(), name: name.to_owned() };
        let validate = if validate { "--validate=strict" } else { "--validate=false" };
        self.kubectl().accepts(&["apply", validate], Some(policy))?;
        self.eventually_denied(&self.canary(), &[name])?;
        Ok(applied)
    }

    /// A Pod with the canary image.
    pub fn canary(&self) -> Value {
        manifest::pod("canary", &self.stack.canary.reference())
    }

    /// The API server must admit the object when it is created.
    pub fn accepts(&self, object: &Value) -> Result<Outcome> {
        self.kubectl().accepts(&["create", "--namespace", &self.namespace], Some(object))
    }

    /// Our webhook must deny the object when it is created, with a message that holds all `parts`.
    pub fn rejects(&self, object: &Value, parts: &[&str]) -> Result<Outcome> {
        self.kubectl().rejects(&["create", "--namespace", &self.namespace], Some(object), parts)
    }

    /// Runs kubectl in the namespace, whatever comes of it.
    pub fn run(&self, arguments: &[&str], object: Option<&Value>) -> Result<Outcome> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--namespace", &self.namespace]);
        self.kubectl().run_on(&arguments, object)
    }

    /// Runs kubectl in the namespace, which must succeed.
    pub fn accepts_command(&self, arguments: &[&str], object: Option<&Value>) -> Result<Outcome> {
        self.run(arguments, object)?.success()
    }

    /// Runs kubectl in the namespace, which our webhook must deny with a message that holds all `parts`.
    pub fn rejects_command(&self, arguments: &[&str], object: Option<&Value>, parts: &[&str]) -> Result<Outcome> {
        let outcome = self.run(arguments, object)?;
        denied(&outcome, parts)?;
        Ok(outcome)
    }

    /// Waits until the API server reaches the instance that judges here, which has just come back at another address.
    pub fn eventually_reached(&self) -> Result<()> {
        let canary = self.canary();
        eventually("the API server does not reach countersign", EFFECT_LIMIT, || {
            Ok((!matches!(self.try_pod(&canary)?, Answer::Refused(_))).then_some(()))
        })
    }

    /// Waits until our webhook would deny the Pod with a message that holds all `parts`.
    pub fn eventually_denied(&self, pod: &Value, parts: &[&str]) -> Result<()> {
        self.eventually(pod, |answer| answer.is_denied(parts)).with_context(|| format!("not denied with {parts:?}"))
    }

    /// Waits until the Pod would be admitted.
    pub fn eventually_admitted(&self, pod: &Value) -> Result<()> {
        self.eventually(pod, Answer::is_admitted).context("not admitted")
    }

    fn eventually(&self, pod: &Value, wanted: impl Fn(&Answer) -> bool) -> Result<()> {
        let mut last = None;
        let result = eventually("the verdict does not change", EFFECT_LIMIT, || {
            let answer = self.try_pod(pod)?;
            // Anything but an admission or a denial of ours is no verdict, and waiting would hide it.
            ensure!(!matches!(answer, Answer::Refused(_)), "{answer:?}");
            Ok(wanted(last.insert(answer)).then_some(()))
        });
        result.with_context(|| format!("{last:?}"))
    }

    fn kubectl(&self) -> &'s Kubectl {
        self.stack.cluster.kubectl()
    }
}

/// A policy in force, deleted when dropped.
#[derive(Debug)]
pub struct Policy<'s> {
    kubectl: &'s Kubectl,
    name: String,
}

impl Policy<'_> {
    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Deletes the policy. Dropping does the same.
    pub fn delete(self) {
        drop(self);
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        // The cluster ends with the tests; a policy that stays binds only the namespace of its own case.
        let _ = self.kubectl.run(&["delete", POLICIES, &self.name, "--ignore-not-found", "--wait=false"], "");
    }
}
