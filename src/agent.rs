//! One virtual node: its registration, its lease, its pods and its kubelet API, as one thing to start and to stop.
//!
//! The pods come first: only when both lists have arrived does the agent say that the node is Ready, so that the
//! restart of the operator does not make a Ready node flap. A part that ends without being told to is started again.

mod part;
mod parts;
mod run;
pub mod spec;
mod state;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::parts::VirtualNode;
pub use self::spec::{AgentSpec, AgentStatus};
use crate::azure::client::ArmClient;
use crate::kube::client::Clients;
use crate::kube::events::Events;
use crate::kube::identity::KeptIdentity;
use crate::kube::namespaces::Namespaces;
use crate::kubelet;
use crate::pods;
use crate::registry::Registry;
use crate::watched::set_if_changed;

/// Events that wait when the agent stops get this long.
const FLUSH: Duration = Duration::from_secs(1);

/// Sees what happens to the parts of agents, for metrics.
pub trait Observer: Send + Sync {
    /// A part ended without being told to, and will be started again.
    fn part_restarted(&self, part: &'static str);
}

impl Observer for () {
    fn part_restarted(&self, _: &'static str) {}
}

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
    /// The labels of all namespaces.
    pub namespaces: watch::Receiver<Namespaces>,
    /// What images say about themselves.
    pub registry: Arc<Registry>,
    /// Metrics of the agents.
    pub observer: Arc<dyn Observer>,
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
        set_if_changed(&self.spec, spec);
    }

    /// Ends the agent: no new work, what is in flight may end, statuses are flushed. Groups and the Node stay. The
    /// caller says how long that may take: an agent whose stop is given up is aborted.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = AbortOnDropHandle::new(task).await
        {
            tracing::error!(%error, "an agent died while it stopped");
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Starts the agent of `spec`. `node` is that node's identity; `arm` reaches its subscription.
pub fn start(
    spec: AgentSpec,
    shared: Shared,
    node: KeptIdentity,
    arm: Arc<ArmClient>,
) -> AgentHandle {
    let cancel = CancellationToken::new();
    let (spec_sender, specs) = watch::channel(spec);
    let (status_sender, status) = watch::channel(AgentStatus::default());
    let task = tokio::spawn(agent(
        specs,
        status_sender,
        shared,
        node,
        arm,
        cancel.clone(),
    ));
    AgentHandle {
        spec: spec_sender,
        status,
        cancel,
        task: Some(task),
    }
}

async fn agent(
    specs: watch::Receiver<AgentSpec>,
    status: watch::Sender<AgentStatus>,
    shared: Shared,
    node: KeptIdentity,
    arm: Arc<ArmClient>,
    cancel: CancellationToken,
) {
    // First, so that it goes last: after the pods' loop, which measures until it ends.
    let _alive = kubelet::Alive::new(specs.borrow().node.name.clone(), &shared.kubelet);
    let (events, flushed) = Events::spawn(node.client(), shared.instance.clone());
    let parts = VirtualNode::new(&specs.borrow(), shared, &node, arm, events);
    run::run(specs, status, Arc::new(parts), cancel).await;
    // The last recorder went with the parts, and with it the task of the events ends.
    if tokio::time::timeout(FLUSH, flushed).await.is_err() {
        tracing::debug!("events were still waiting when an agent stopped");
    }
}
