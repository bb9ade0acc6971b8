//! The command line of `vkc`, and how its parts are put together.

mod agents;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::agents::Agents;
use crate::admin::scrapes::Access;
use crate::admin::{self, Readiness};
use crate::azure::throttle::Limiters;
use crate::connector::{self, trust::AllowedAuthorities};
use crate::install::args::{InstallArgs, RemoveArgs};
use crate::kube::client::Clients;
use crate::kube::namespaces;
use crate::kubelet::{self, client_ca};
use crate::metrics::Metrics;
use crate::net::Networks;
use crate::ownership::api::ApiLeases;
use crate::registry::Registries;
use crate::settings::{ServingCert, Settings};
use crate::translate::support::{PolicyForm, policy};
use crate::{install, ownership, process, shutdown, telemetry};

/// The work is waiting for others; more threads than this would only cost memory on a large machine.
const THREADS: usize = 4;
const BLOCKING_THREADS: usize = 16;
/// Longest time between the first signal and the end.
const STOP: Duration = Duration::from_secs(10);

/// Kubernetes pods on Azure Container Instances.
#[derive(Debug, Parser)]
#[command(name = "vkc", version, about, long_about = None)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator until SIGTERM or SIGINT.
    Run(Box<Settings>),
    /// Make a connector as `az aks install-connector` did, and wait until its nodes are ready.
    InstallConnector(Box<InstallArgs>),
    /// Bring the operator or a connector up to date.
    UpgradeConnector(Box<InstallArgs>),
    /// Remove a connector, or its node of one operating system.
    RemoveConnector(Box<RemoveArgs>),
    /// Print the CRD as YAML.
    Crd,
    /// Print the admission policy that warns of what Azure Container Instances cannot do as YAML.
    PodPolicy {
        /// As a template of the chart
        #[arg(long, hide = true)]
        template: bool,
    },
}

/// Runs the command of the command line.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Crd => {
            print!(
                "{}",
                crate::api::crd_yaml().context("the CRD cannot be printed")?
            );
            Ok(())
        }
        Command::PodPolicy { template } => {
            let form = if template {
                PolicyForm::Chart
            } else {
                PolicyForm::Config
            };
            print!("{}", policy(form));
            Ok(())
        }
        Command::InstallConnector(args) => at_a_terminal(install::install(*args)),
        Command::UpgradeConnector(args) => at_a_terminal(install::upgrade(*args)),
        Command::RemoveConnector(args) => at_a_terminal(install::remove(*args)),
        Command::Run(settings) => {
            telemetry::start(settings.log_format, &settings.log)
                .map_err(|error| anyhow::anyhow!("{error}"))?;
            if let Err(error) = process::no_core_dumps() {
                tracing::warn!(%error, "the system may write the memory of this process to a core file");
            }
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads())
                .max_blocking_threads(BLOCKING_THREADS)
                .enable_all()
                .thread_name("vkc")
                .build()
                .context("cannot start the runtime")?
                .block_on(operate(*settings))
        }
    }
}

/// Runs a command of a person, which ends by itself or by Ctrl-C.
fn at_a_terminal(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(command)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(THREADS, |cores| cores.get().min(THREADS))
}

async fn operate(settings: Settings) -> anyhow::Result<()> {
    // First of all: a signal that comes while the process starts ends it as well as a later one.
    let signals = shutdown::Signals::new().context("cannot handle signals")?;
    let cancel = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let readiness = Arc::new(Readiness::default());
    readiness.set("controller", false);
    let (cas_sender, client_cas) = client_ca::channel();
    let admin_cancel = CancellationToken::new();
    let clients = Clients::new(kube_config(&settings).await?, metrics.clone())?;
    let access = Access::new(client_cas.clone(), clients.operator());
    let admin = serve_admin(&settings, &readiness, &metrics, access, &admin_cancel).await?;

    let signals = tokio::spawn(signals.cancel(cancel.clone()));
    let result = tokio::select! {
        result = control(&settings, clients, metrics, readiness, (cas_sender, client_cas), cancel.clone()) => result,
        _ = signals => Err(anyhow::anyhow!("ended by a second signal")),
        () = overdue(&cancel) => Err(anyhow::anyhow!("the operator did not stop within {} s", STOP.as_secs())),
    };
    admin_cancel.cancel();
    if tokio::time::timeout(Duration::from_secs(1), admin.wait())
        .await
        .is_err()
    {
        tracing::debug!("the admin server was cut off");
    }
    result
}

/// Serves the probes, and the metrics to those who may read them.
async fn serve_admin(
    settings: &Settings,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
    access: Access,
    cancel: &CancellationToken,
) -> anyhow::Result<TaskTracker> {
    let servers = TaskTracker::new();
    let probes = admin::probes(readiness.clone());
    let scrapes = admin::metrics(metrics.clone());
    if let Some(address) = settings.probes() {
        let (listener, address) = admin::bind(address).await?;
        tracing::info!(%address, "serving /livez and /readyz");
        servers.spawn(admin::serve(listener, probes.clone(), cancel.clone()));
    }
    let (listener, address) = admin::bind(settings.metrics_addr).await?;
    if settings.has_plain_metrics() {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving /livez, /readyz and /metrics without TLS");
        servers.spawn(admin::serve(
            listener,
            probes.merge(scrapes),
            cancel.clone(),
        ));
    } else {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving /metrics");
        let (cancel, ip) = (cancel.clone(), settings.node_ip());
        servers.spawn(async move {
            let served = admin::scrapes::serve(listener, ("vkc", ip), scrapes, access, cancel);
            if let Err(error) = served.await {
                tracing::error!(%error, "the metrics are not served");
            }
        });
    }
    servers.close();
    Ok(servers)
}

async fn overdue(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(STOP).await;
}

async fn control(
    settings: &Settings,
    clients: Clients,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    (cas_sender, client_cas): (client_ca::Sender, client_ca::ClientCas),
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let timing = ownership::Timing::default();
    let leases = ApiLeases::new(
        clients.operator_no_retry(),
        &settings.namespace,
        timing.call,
    );
    let (ownership, keeper) =
        ownership::keeper::start(Arc::new(leases), me(settings), timing, metrics.clone());
    let (namespaces_sender, namespaces) = namespaces::channel();
    let agents = Arc::new(Agents {
        clients: clients.clone(),
        ownership: ownership.clone(),
        namespace: settings.namespace.clone(),
        allow_unscoped_nodes: settings.allow_unscoped_nodes,
        node_ip: settings.node_ip(),
        instance: settings.instance.clone(),
        kubernetes_service: settings.kubernetes_service_host.clone(),
        metrics: metrics.clone(),
        namespaces,
        registries: Registries::new(
            Networks::new(settings.allowed_registry_network.iter().copied()),
            metrics.clone(),
        ),
        kubelet: kubelet::Shared {
            ports: settings.kubelet_port_range.first..=settings.kubelet_port_range.last,
            serving: serving(settings),
            client_cas,
            texts: kubelet::Texts::default(),
            observer: metrics.clone(),
        },
    });
    let client_ca = match &settings.client_ca_file {
        Some(path) => client_ca::Source::File(path.clone()),
        None => client_ca::Source::Cluster,
    };
    let client_ca = client_ca::follow(client_ca, clients.operator(), cas_sender);
    let namespaces = namespaces::follow(clients.operator(), namespaces_sender);
    let context = connector::Context {
        clients,
        namespace: settings.namespace.clone(),
        instance: settings.instance.clone(),
        environment: connector::identity::Environment::read(|name| std::env::var(name).ok())
            .with_allowed(AllowedAuthorities::new(settings.allowed_authority.clone())),
        cluster_dns: settings.cluster_dns(),
        ownership,
        agents,
        limiters: Limiters::new(),
        pace: connector::PreflightIntervals::default(),
        arrival: connector::ARRIVAL,
        arm_observer: metrics.clone(),
        observer: metrics,
        ready: Arc::new(move || readiness.set("controller", true)),
    };
    let stopping = cancel.clone();
    let keeper = async move {
        let _ = keeper.await;
        // When the process ends it is done first.
        if stopping.is_cancelled() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connector::run(context, cancel) => ended.context("the controller ended"),
        () = keeper => Err(anyhow::anyhow!("the Leases are not kept any more")),
        () = client_ca => Err(anyhow::anyhow!("the client CA is not followed any more")),
        () = namespaces => Err(anyhow::anyhow!("the namespaces are not followed any more")),
    }
}

/// Who this process is among the replicas: a container that starts again in the same pod is somebody else, too.
fn me(settings: &Settings) -> ownership::Me {
    let plain = |c: char| {
        if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.' {
            c
        } else {
            '-'
        }
    };
    let name: String = settings
        .instance
        .to_ascii_lowercase()
        .chars()
        .map(plain)
        .take(200)
        .collect();
    let name = name.trim_matches(['-', '.']);
    // Each of these hashers is seeded from the system's randomness.
    let word = RandomState::new().hash_one(std::process::id());
    ownership::Me {
        identity: format!("{name}-{:08x}", word >> 32)
            .trim_start_matches('-')
            .to_owned(),
        pod_uid: settings.pod_uid.clone(),
    }
}

fn serving(settings: &Settings) -> kubelet::Serving {
    match settings.kubelet_serving_cert {
        ServingCert::SelfSigned => kubelet::Serving::SelfSigned,
        ServingCert::Csr => kubelet::Serving::Csr,
        ServingCert::Files => {
            kubelet::Serving::Files(settings.kubelet_cert_dir.clone().unwrap_or_default())
        }
    }
}

async fn kube_config(settings: &Settings) -> anyhow::Result<Config> {
    let Some(path) = &settings.kubeconfig else {
        return Config::infer()
            .await
            .context("no cluster: set --kubeconfig, or run inside one");
    };
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("cannot use {}", path.display()))
}
