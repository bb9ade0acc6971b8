//! One virtual node: its registration, its lease, its pods and its kubelet API, as one thing to start and to stop.
//!
//! The pods come first: only when both lists have arrived does the agent say that the node is Ready, so that the
//! restart of the operator does not make a Ready node flap. A part that ends without being told to is started again.

pub mod spec;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::spec::{AgentSpec, AgentStatus};
use crate::azure::client::ArmClient;
use crate::kube::client::Clients;
use crate::kube::events::Events;
use crate::kubelet;
use crate::node::keeper::{NodeKeeper, NodeWanted, Registration};
use crate::node::status::Endpoint;
use crate::pods::{self, Dependencies, Report, Settings};
use crate::provider::{Aci, KubeReferences, RegistryImages, Scope};
use crate::registry::Registry;
use crate::translate::Service;

/// A node is told Ready when its pods are synced; an operator that cannot sync says so only after this long, so
/// that the Ready condition of a predecessor stands while we start.
const SYNC_GRACE: Duration = Duration::from_secs(5);
/// A part that died is started again after this long.
const RESTART: Duration = Duration::from_secs(1);
/// Longest time that [`AgentHandle::stop`] takes.
const STOP: Duration = Duration::from_secs(8);

/// What every agent of the process shares.
#[derive(Clone)]
pub struct Shared {
    /// Clients of the API server.
    pub clients: Clients,
    /// Address at which the API server reaches this process.
    pub node_ip: IpAddr,
    /// `nodeInfo.kubeletVersion`.
    pub kubelet_version: String,
    /// Instance that events name as their reporter.
    pub instance: String,
    /// Host and port at which containers reach the API server, when that is not its service's cluster IP.
    pub api_server: Option<(String, u16)>,
    /// What images say about themselves.
    pub registry: Arc<Registry>,
    /// Metrics of the pods' loops.
    pub pods: Arc<dyn pods::Observer>,
    /// What the kubelet APIs share.
    pub kubelet: kubelet::Shared,
}

/// A running agent. Dropping it cancels its tasks without waiting for them.
#[derive(Debug)]
pub struct AgentHandle {
    spec: watch::Sender<AgentSpec>,
    status: watch::Receiver<AgentStatus>,
    cancel: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl AgentHandle {
    /// The agent's status, as it changes.
    pub fn status(&self) -> watch::Receiver<AgentStatus> {
        self.status.clone()
    }

    /// Gives the agent another spec for the same node. Groups that exist stay as they are.
    pub fn update(&self, spec: AgentSpec) {
        self.spec.send_if_modified(|now| {
            let changed = *now != spec;
            if changed {
                *now = spec;
            }
            changed
        });
    }

    /// Ends the agent: no new work, what is in flight may end, statuses are flushed. Groups and the Node stay.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        if let Some(task) = self.task.take() {
            let abort = task.abort_handle();
            if tokio::time::timeout(STOP, task).await.is_err() {
                tracing::warn!("an agent did not end in time; it was aborted");
                abort.abort();
            }
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Starts the agent of `spec`. `node` acts as that node; `arm` reaches its subscription.
pub fn start(
    spec: AgentSpec,
    shared: Shared,
    node: kube::Client,
    arm: Arc<ArmClient>,
) -> AgentHandle {
    let cancel = CancellationToken::new();
    let (spec_sender, specs) = watch::channel(spec);
    let (status_sender, status) = watch::channel(AgentStatus::default());
    let task = tokio::spawn(run(specs, status_sender, shared, node, arm, cancel.clone()));
    AgentHandle {
        spec: spec_sender,
        status,
        cancel,
        task: Some(task),
    }
}

async fn run(
    mut specs: watch::Receiver<AgentSpec>,
    status: watch::Sender<AgentStatus>,
    shared: Shared,
    node: kube::Client,
    arm: Arc<ArmClient>,
    cancel: CancellationToken,
) {
    let spec = specs.borrow_and_update().clone();
    let name = spec.node.name.clone();
    let node_ip = shared.node_ip.to_string();
    let provider = Arc::new(provider(&spec, &shared, &node, arm));
    let (events, events_task) = Events::spawn(node.clone(), shared.instance.clone());
    let (settings, settings_rx) = watch::channel(settings_of(&spec));
    let (report_tx, mut report) = watch::channel(Report::default());
    let (registration_tx, mut registration) = watch::channel(Registration::default());

    let dependencies = Dependencies {
        node: node.clone(),
        manager: shared.clients.manager(),
        provider: provider.clone(),
        doubts: provider.doubts(),
        events: events.clone(),
        observer: shared.pods.clone(),
    };
    let parts = CancellationToken::new();
    let mut pods = pods_part(
        (name.clone(), node_ip.clone()),
        dependencies,
        settings_rx,
        report_tx,
        parts.clone(),
    );
    let (port_tx, mut port) = watch::channel(None);
    let dependencies = kubelet::Dependencies {
        node: name.clone(),
        ip: shared.node_ip,
        client: node.clone(),
        containers: provider.clone(),
        events,
        shared: shared.kubelet.clone(),
    };
    let mut api = kubelet_part(dependencies, port_tx, parts.clone());

    let stopped = first_lists(&name, &cancel, &mut report, &mut pods, &mut api).await;
    if !stopped {
        let endpoint = Endpoint {
            ip: node_ip,
            kubelet_port: *port.borrow_and_update(),
        };
        let (wanted, wanted_rx) = watch::channel(wanted(&spec, &report.borrow(), endpoint));
        let keeper = NodeKeeper {
            manager: shared.clients.manager(),
            node,
            kubelet_version: shared.kubelet_version.clone(),
        };
        let mut keeper = keeper_part(keeper, wanted_rx, registration_tx, parts.clone());
        loop {
            publish(
                &status,
                &report.borrow_and_update(),
                &registration.borrow_and_update(),
            );
            tokio::select! {
                () = cancel.cancelled() => break,
                Ok(()) = specs.changed() => {
                    let spec = specs.borrow_and_update().clone();
                    provider.set_defaults(spec.groups.clone());
                    settings.send_replace(settings_of(&spec));
                    wanted.send_modify(|wanted| wanted.spec = spec.node);
                }
                Ok(()) = report.changed() => {
                    let (ready, reason, message) = readiness(&report.borrow());
                    wanted.send_if_modified(|wanted| {
                        let changed = wanted.ready != ready || wanted.message != message;
                        wanted.ready = ready;
                        wanted.reason = reason.to_string();
                        wanted.message = message;
                        changed
                    });
                }
                Ok(()) = registration.changed() => {}
                Ok(()) = port.changed() => {
                    let port = *port.borrow_and_update();
                    wanted.send_modify(|wanted| wanted.endpoint.kubelet_port = port);
                }
                ended = pods.ended() => pods.restart(&name, ended).await,
                ended = api.ended() => api.restart(&name, ended).await,
                ended = keeper.ended() => keeper.restart(&name, ended).await,
            }
        }
        parts.cancel();
        keeper.finish().await;
    }
    parts.cancel();
    pods.finish().await;
    api.finish().await;
    // With the last of their recorders its task ends.
    drop((pods, api));
    if tokio::time::timeout(Duration::from_secs(1), events_task)
        .await
        .is_err()
    {
        tracing::debug!(
            node = name,
            "events were still waiting when the agent stopped"
        );
    }
}

/// Waits until there is something to say about Ready, which is when the keeper is started. True when the agent is to
/// stop instead.
async fn first_lists<P: Fn() -> JoinHandle<()>, A: Fn() -> JoinHandle<()>>(
    name: &str,
    cancel: &CancellationToken,
    report: &mut watch::Receiver<Report>,
    pods: &mut Part<P>,
    api: &mut Part<A>,
) -> bool {
    let grace = tokio::time::sleep(SYNC_GRACE);
    tokio::pin!(grace);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return true,
            () = &mut grace => return false,
            _ = report.changed() => if report.borrow_and_update().synced { return false },
            ended = pods.ended() => pods.restart(name, ended).await,
            ended = api.ended() => api.restart(name, ended).await,
        }
    }
}

/// A task that runs until the agent stops, and is started again when it ends by itself.
struct Part<F> {
    name: &'static str,
    begin: F,
    task: JoinHandle<()>,
}

impl<F: Fn() -> JoinHandle<()>> Part<F> {
    fn new(name: &'static str, begin: F) -> Self {
        let task = begin();
        Self { name, begin, task }
    }

    async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }

    async fn restart(&mut self, node: &str, ended: Result<(), JoinError>) {
        match ended {
            Ok(()) => tracing::error!(
                node,
                part = self.name,
                "a part of the agent ended; it is started again"
            ),
            Err(error) => {
                tracing::error!(node, part = self.name, %error, "a part of the agent died; it is started again");
            }
        }
        tokio::time::sleep(RESTART).await;
        self.task = (self.begin)();
    }

    /// Waits for the end of a part that has been told to end.
    async fn finish(&mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!(part = self.name, %error, "a part of the agent died while it stopped");
        }
    }
}

impl<F> Drop for Part<F> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn provider(spec: &AgentSpec, shared: &Shared, node: &kube::Client, arm: Arc<ArmClient>) -> Aci {
    let api_server = shared.api_server.as_ref();
    let api_server = api_server.map(|(host, port)| Arc::new(Service::kubernetes(host, *port)));
    let references = Arc::new(KubeReferences::new(node.clone(), api_server));
    let images = Arc::new(RegistryImages::new(shared.registry.clone()));
    let scope = scope(spec, &shared.node_ip.to_string());
    Aci::new(arm, references, images, scope, spec.groups.clone())
}

fn pods_part(
    (name, host_ip): (String, String),
    dependencies: Dependencies,
    settings: watch::Receiver<Settings>,
    report: watch::Sender<Report>,
    cancel: CancellationToken,
) -> Part<impl Fn() -> JoinHandle<()>> {
    Part::new("pods", move || {
        let (name, host_ip, cancel) = (name.clone(), host_ip.clone(), cancel.clone());
        let (dependencies, settings, report) =
            (dependencies.clone(), settings.clone(), report.clone());
        tokio::spawn(async move {
            pods::run(&name, Some(host_ip), dependencies, settings, report, cancel).await;
        })
    })
}

fn kubelet_part(
    dependencies: kubelet::Dependencies,
    port: watch::Sender<Option<u16>>,
    cancel: CancellationToken,
) -> Part<impl Fn() -> JoinHandle<()>> {
    Part::new("kubelet API", move || {
        let (dependencies, port, cancel) = (dependencies.clone(), port.clone(), cancel.clone());
        tokio::spawn(kubelet::run(dependencies, port, cancel))
    })
}

fn keeper_part(
    keeper: NodeKeeper,
    wanted: watch::Receiver<NodeWanted>,
    registration: watch::Sender<Registration>,
    cancel: CancellationToken,
) -> Part<impl Fn() -> JoinHandle<()>> {
    Part::new("node", move || {
        let (wanted, registration, cancel) = (wanted.clone(), registration.clone(), cancel.clone());
        tokio::spawn(keeper.clone().run(wanted, registration, cancel))
    })
}

fn scope(spec: &AgentSpec, node_ip: &str) -> Scope {
    Scope {
        resource_group: spec.resource_group.clone(),
        cluster_uid: spec.cluster_uid.clone(),
        connector_uid: spec.connector_uid.clone(),
        node: spec.node.name.clone(),
        node_ip: node_ip.to_string(),
    }
}

fn settings_of(spec: &AgentSpec) -> Settings {
    Settings {
        suspended: spec.suspended,
        delete_orphans: spec.delete_orphans,
    }
}

fn wanted(spec: &AgentSpec, report: &Report, endpoint: Endpoint) -> NodeWanted {
    let (ready, reason, message) = readiness(report);
    NodeWanted {
        spec: spec.node.clone(),
        ready,
        reason: reason.to_string(),
        message,
        endpoint,
    }
}

/// What the Ready condition of the node says.
fn readiness(report: &Report) -> (bool, &'static str, String) {
    match (report.synced, &report.problem) {
        (true, _) => (
            true,
            "VirtualNodeReady",
            "pods run on Azure Container Instances".to_string(),
        ),
        (false, Some(problem)) => (
            false,
            "NotSynced",
            format!("waiting for a first list: {problem}"),
        ),
        (false, None) => (
            false,
            "Starting",
            "waiting for the first lists of pods and container groups".to_string(),
        ),
    }
}

fn publish(status: &watch::Sender<AgentStatus>, report: &Report, registration: &Registration) {
    let now = AgentStatus {
        registered: registration.registered,
        ready: registration.registered && registration.ready && report.synced,
        synced: report.synced,
        contested: registration.contested,
        problem: registration
            .problem
            .clone()
            .or_else(|| report.problem.clone()),
        pods: report.pods,
        container_groups: report.groups,
        orphans: report.orphans,
    };
    status.send_if_modified(|before| {
        let changed = *before != now;
        if changed {
            *before = now;
        }
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_once_its_lists_arrived_whatever_azure_says_later() {
        let mut report = Report::default();
        assert!(!readiness(&report).0);
        report.problem = Some("ARM is unreachable".into());
        assert!(readiness(&report).2.contains("ARM is unreachable"));
        report.synced = true;
        assert!(readiness(&report).0);
    }
}
