//! `countersign serve`: the webhook in a cluster.
//!
//! Wires watches, controllers, registry, judge and server together, and ends with them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::client::AuthError;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::monitor::{self, MonitorFlags};
use super::{Error, Exit, input, now, surroundings};
use crate::admission::NamespaceLookup;
use crate::cluster::{Cluster, ConfigMapArchive, ConfigMapLedger, Controllers, Indexes, LedgerFeedArchive};
use crate::configuration::References;
use crate::decision::escaped;
use crate::feeds::{FeedStore, FeedStoreOptions};
use crate::image::Digest;
use crate::judge::{Judge, NewerRoots, Sightings};
use crate::monitor::Monitor;
use crate::policy::{Snapshot, Unmatched};
use crate::registry::{LEAST_MEMORY_BYTES, Limits, MemoryBudget, REQUEST_BYTES, RegistryClient};
use crate::revocation::Revocations;
use crate::server::{self, Bounds, ServerSettings, Snapshots, Sockets};
use crate::settings::{RegistryFlags, TrustRootFlag, UnmatchedFlag, lifetime, seconds};
use crate::store::{Store, StoreSettings};
use crate::telemetry::{self, LogFilter, LogFormat, Metrics, RefreshFigures, RootFigures};
use crate::trust_store::{TrustStore, TrustStoreOptions};

/// The least that `--memory-budget` may be: below it, one review could not be sure of its share.
const LEAST_MEMORY_MIB: i64 = (LEAST_MEMORY_BYTES >> 20).cast_signed();

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Where the API server calls the webhook, over TLS.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where probes and metrics are served, over plain HTTP.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    probe_listen: SocketAddr,
    /// The webhook's certificate chain, PEM; read again when it changes.
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// The webhook's private key, PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// Certificate authorities of which whoever calls the webhook must have a client certificate, PEM; read again when it changes.
    /// Absent: callers are not asked for one.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// How to reach the API server. Absent: as any client in a pod or on a workstation does.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The namespace in which the replicas keep what they share: a Lease, and `ConfigMap`s. Absent: that of the pod or the kubeconfig.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// The name of this replica among the others, as it stands in the Lease. Absent: one made up at random.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pod_name: Option<String>,
    /// Take TUF repositories of this machine over plain HTTP. For tests.
    #[arg(long)]
    insecure_loopback_mirrors: bool,
    /// A trust root for policies by name, from a file. May be repeated.
    #[arg(long, value_name = "NAME=FILE")]
    trust_root: Vec<TrustRootFlag>,
    /// What happens to images that no enforcing policy governs, while there is no `CountersignConfig`.
    #[arg(long, value_enum, default_value = "Deny")]
    unmatched: UnmatchedFlag,
    /// Seconds for a review whose caller names no timeout.
    #[arg(long, value_name = "SECONDS", default_value = "9", value_parser = seconds)]
    timeout: Duration,
    /// Reviews that are judged at once. As many more may wait; others are sent away with 429.
    #[arg(long, value_name = "NUMBER", default_value = "128", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// MiB that reviews may hold of what they read from registries, all together; past it they wait, until their time is up.
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = clap::value_parser!(u32).range(LEAST_MEMORY_MIB..=1 << 20))]
    memory_budget: u32,
    /// Seconds for which requests are still taken after the signal to end.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    drain_delay: Duration,
    /// Bytes of memory for what was fetched and verified before. 0 remembers nothing.
    #[arg(long, value_name = "BYTES", default_value_t = StoreSettings::DEFAULT_BYTES)]
    cache_bytes: u64,
    /// Seconds for which a tag is taken to name what it named. A Pod may be pinned to an image that the tag left so long ago. 0 asks
    /// every time.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = lifetime)]
    resolution_ttl: Duration,
    /// Seconds for which a listing of signatures is taken to be complete. Empty ones are for 2 at most, and none is used again after
    /// an image was found wanting. 0 asks every time.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = lifetime)]
    listing_ttl: Duration,
    /// How logs are written.
    #[arg(long, value_enum, default_value = "json")]
    log_format: LogFormat,
    /// Which logs are written: a level, or a filter such as `info,countersign=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: LogFilter,
    #[command(flatten)]
    monitor: MonitorFlags,
    #[command(flatten)]
    registry: RegistryFlags,
}

/// What the server asks for.
struct Surroundings {
    cluster: Arc<Cluster>,
    controllers: Controllers,
    monitor: Option<Monitor>,
}

impl NamespaceLookup for Surroundings {
    async fn labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.cluster.namespace_labels(name).await
    }

    fn revocations(&self) -> Option<Revocations> {
        self.cluster.last_published().map(|snapshot| snapshot.revocations().clone())
    }
}

impl References for Surroundings {
    fn has_trust_root(&self, name: &str) -> Option<bool> {
        Some(self.cluster.last_published()?.roots().names().any(|known| known == name))
    }

    fn delegates_to(&self, namespace: &str) -> Option<bool> {
        let snapshot = self.cluster.last_published()?;
        Some(snapshot.rules().delegates_to(&snapshot.namespace(namespace).labels))
    }
}

impl Snapshots for Surroundings {
    fn snapshot(&self) -> Result<Arc<Snapshot>, String> {
        self.cluster.snapshot().map_err(|error| error.to_string())
    }

    fn ready(&self) -> Result<(), String> {
        self.cluster.ready().map_err(|error| error.to_string())
    }

    fn policy_counts(&self) -> (usize, usize) {
        self.cluster.last_published().map_or((0, 0), |snapshot| snapshot.policy_counts())
    }

    fn observe(&self, metrics: &Metrics) {
        metrics.leads(self.controllers.leadership().holds());
        if let Some(monitor) = &self.monitor {
            metrics.monitored(&monitor.readings());
        }
        let store = self.cluster.store();
        let sums = store.refreshes();
        metrics.refreshed(RefreshFigures { succeeded: sums.succeeded, refused: sums.refused, failed: sums.failed });
        let figures = store.readings(now()).into_iter().map(|reading| RootFigures {
            root: reading.name,
            usable: reading.usable,
            age_seconds: reading.age_seconds,
            expires_in_seconds: reading.expires_in_seconds,
        });
        metrics.trust_roots(figures);
    }
}

/// Looks into indexes where images were seen.
struct SeenIndexes {
    sightings: Sightings,
    registry: Arc<RegistryClient>,
}

impl Indexes for SeenIndexes {
    fn below<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Option<Vec<Digest>>, String>> {
        async { self.sightings.below(digest, &*self.registry).await.map_err(|error| error.to_string()) }.boxed()
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Error> {
    let Arguments {
        listen,
        probe_listen,
        tls_cert,
        tls_key,
        client_ca,
        kubeconfig,
        namespace,
        pod_name,
        insecure_loopback_mirrors,
        trust_root,
        unmatched,
        timeout,
        concurrency,
        memory_budget,
        drain_delay,
        cache_bytes,
        resolution_ttl,
        listing_ttl,
        log_format,
        log,
        monitor,
        registry,
    } = arguments;
    telemetry::start_logging(log_format, &log);
    let roots = input::trust_roots(&trust_root, |unusable| tracing::warn!("{}", escaped(unusable)))?;
    let memory = MemoryBudget::new(u64::from(memory_budget) << 20, REQUEST_BYTES);
    let store = Store::new(StoreSettings {
        bytes: cache_bytes,
        resolution_lifetime: resolution_ttl,
        listing_lifetime: listing_ttl,
    });
    let source = store.over(input::client(&registry, false)?);
    let client = client(kubeconfig).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let identity = pod_name.unwrap_or_else(|| format!("countersign-{:016x}", RandomState::new().hash_one(0_u8)));
    let registry = Arc::new(input::client(&registry, false)?);
    let options = TrustStoreOptions {
        plain_loopback: insecure_loopback_mirrors,
        registry: Some(Arc::clone(&registry)),
        ..TrustStoreOptions::new(roots, Arc::new(now))
    };
    let trust_store = TrustStore::new(options, Arc::new(ConfigMapArchive::new(client.clone(), &namespace)));
    let sightings = Sightings::default();
    let newer: Arc<dyn NewerRoots> = Arc::<TrustStore>::clone(&trust_store);
    let mut judge = Judge::new(source, Limits::default())
        .with_memory(memory)
        .with_store(store)
        .with_newer_roots(newer)
        .with_sightings(sightings.clone());
    let indexes = SeenIndexes { sightings, registry };
    let kept = LedgerFeedArchive::new(ConfigMapLedger::new(client.clone(), &namespace));
    let feeds = FeedStore::new(FeedStoreOptions::new(Arc::new(now)), trust_store, Arc::new(kept));
    let cluster = Cluster::new(client.clone(), &namespace, feeds, Unmatched::from(unmatched));
    let controllers = Controllers::new(client.clone(), &namespace, &identity, now);
    let monitor = monitor.monitor(client, &cluster, &controllers);
    if let Some(monitor) = &monitor {
        judge = judge.with_witness(Arc::new(monitor.observer()));
    }
    let seen = Arc::new(Surroundings { cluster: Arc::clone(&cluster), controllers, monitor });
    let bind = |address: SocketAddr| TcpListener::bind(address).map_err(|error| surroundings("listening", &error));
    let (webhook, probes) = (bind(listen)?, bind(probe_listen)?);
    tracing::info!(%listen, %probe_listen, namespace, identity, version = env!("CARGO_PKG_VERSION"), "serving");
    let settings = ServerSettings {
        tls_certificate: tls_cert,
        tls_key,
        client_authorities: client_ca,
        timeout,
        concurrency: usize::from(concurrency),
        drain_delay,
        bounds: Bounds::default(),
    };
    let sockets = Sockets { webhook, probes };
    let serve = server::serve(settings, sockets, judge, Arc::clone(&seen), now, server::terminated());
    let served = tokio::select! {
        served = serve => served.map_err(|error| surroundings("serving", &error)),
        // The watches never end by themselves; if they do, an instance that sees nothing must not stay.
        () = Arc::clone(&cluster).watch() => Err(surroundings("watching", &"the watches ended")),
        () = seen.controllers.run(&cluster, &indexes) => Err(surroundings("controlling", &"the controllers ended")),
        () = monitor::watch(seen.monitor.as_ref(), &cluster, &seen.controllers, now) => {
            Err(surroundings("watching logs", &"the monitor ended"))
        }
    };
    seen.controllers.release().await;
    served.map(|()| Exit::Allowed)
}

pub(super) async fn client(kubeconfig: Option<PathBuf>) -> Result<Client, Error> {
    const DOING: &str = "configuring the Kubernetes client";
    let names_proxy;
    let mut config = if let Some(path) = kubeconfig {
        let unreadable = |error| input::unreadable(&path, &kubeconfig_reason(&error));
        let kubeconfig = Kubeconfig::read_from(&path).map_err(unreadable)?;
        names_proxy = self::names_proxy(&kubeconfig);
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| surroundings(DOING, &kubeconfig_reason(&error)))?
    } else {
        names_proxy = Kubeconfig::read().is_ok_and(|kubeconfig| self::names_proxy(&kubeconfig));
        Config::infer().await.map_err(|error| {
            let kubeconfig = error.source().and_then(|source| source.downcast_ref::<KubeconfigError>());
            match kubeconfig {
                Some(broken @ KubeconfigError::Parse(_)) => surroundings(DOING, &kubeconfig_reason(broken)),
                _ => surroundings(DOING, &error),
            }
        })?
    };
    // kube takes `HTTPS_PROXY` for the API server whatever `NO_PROXY` says, and has no proxy built in: it would not start. The API server
    // is asked directly, as in a pod; one that a kubeconfig itself names is an error, and not passed over.
    if !names_proxy {
        config.proxy_url = None;
    }
    Client::try_from(config).map_err(|error| surroundings(DOING, &kube_reason(&error)))
}

/// Why the API server was not asked, or what it answered; without the command, the arguments and the output of a plugin that fetches
/// credentials, where tokens may stand.
pub(super) fn kube_reason(error: &kube::Error) -> String {
    let mut cause = error.source();
    while let Some(found) = cause.filter(|cause| !cause.is::<AuthError>()) {
        cause = found.source();
    }
    match cause.and_then(|cause| cause.downcast_ref::<AuthError>()) {
        Some(AuthError::AuthExecRun { out, .. }) => {
            format!("the credential plugin of the kubeconfig failed with {}; run it by itself to see why", out.status)
        }
        Some(AuthError::AuthExecParse(error)) => {
            format!("what the credential plugin of the kubeconfig wrote does not parse: {}", super::yaml::reason(error))
        }
        Some(AuthError::AuthExec(_)) => {
            "the credential provider of the kubeconfig failed, or is not supported".to_owned()
        }
        _ => error.to_string(),
    }
}

fn names_proxy(kubeconfig: &Kubeconfig) -> bool {
    kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref()).any(|cluster| cluster.proxy_url.is_some())
}

/// Why a kubeconfig cannot be used, without its lines: what stands beside the mistake may be a token.
fn kubeconfig_reason(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => format!("the kubeconfig does not parse: {}", super::yaml::reason(error)),
        other => other.to_string(),
    }
}
