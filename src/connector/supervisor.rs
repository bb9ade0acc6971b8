//! Owns the agents of all connectors: starts, updates and stops them, and notices when one changes or ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::plan::Seen;
use crate::agent::{AgentSpec, AgentStatus};
use crate::api::Os;
use crate::azure::ArmClient;
use crate::kube::identity::NodeIdentityError;

/// Longest time an agent may take to start; its own calls have shorter time-outs.
const START_TIMEOUT: Duration = Duration::from_secs(45);
/// Longest time an agent may take to end its tasks and write its last statuses; then it is aborted.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// A connector hears of its agents' changes at once, and then at most so often: a burst of pods is one status write.
const COALESCE: Duration = Duration::from_secs(1);

/// Why an agent did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// RBAC does not let the operator act as the node; the text has the rule to add.
    #[error("{0}")]
    Identity(String),
    /// Anything else: it is tried again.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for StartError {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<NodeIdentityError> for StartError {
    fn from(error: NodeIdentityError) -> Self {
        match error {
            NodeIdentityError::Kube(error) => Self::Failed(error.to_string()),
            refused => Self::Identity(refused.to_string()),
        }
    }
}

/// Makes agents. The product's one is [`crate::agent`]; tests bring their own.
#[async_trait]
pub trait AgentFactory: Send + Sync {
    /// Starts the agent of one virtual node. Returns when its tasks run, not when the Node is Ready.
    async fn start(
        &self,
        spec: AgentSpec,
        arm: Arc<ArmClient>,
    ) -> Result<Box<dyn RunningAgent>, StartError>;
}

/// A running agent. Dropping it cancels its tasks.
#[async_trait]
pub trait RunningAgent: Send {
    /// Its status, as it changes. The sender goes when the agent has ended by itself.
    fn status(&self) -> watch::Receiver<AgentStatus>;
    /// Tells it its new spec. Node name and operating system never change.
    fn update(&self, spec: AgentSpec);
    /// Ends its tasks and writes what statuses are left. Node and container groups stay.
    async fn stop(self: Box<Self>);
}

/// UID of the connector and operating system.
pub type Key = (String, Os);

struct Running {
    agent: Box<dyn RunningAgent>,
    spec: AgentSpec,
    arm: u64,
    status: watch::Receiver<AgentStatus>,
    _forwarder: AbortOnDropHandle<()>,
}

/// A running agent, as a reconcile sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// For the plan.
    pub seen: Seen,
    /// Its last status.
    pub status: AgentStatus,
}

/// The agents. Calls for one connector never overlap (the controller sees to that); calls for several do.
pub struct Supervisor {
    factory: Arc<dyn AgentFactory>,
    running: Mutex<BTreeMap<Key, Running>>,
    /// Names of connectors whose agents changed.
    changed: mpsc::Sender<String>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("agents", &self.running.lock().len())
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// An empty one. `changed` gets the name of a connector whenever one of its agents has news.
    pub fn new(factory: Arc<dyn AgentFactory>, changed: mpsc::Sender<String>) -> Self {
        Self {
            factory,
            running: Mutex::new(BTreeMap::new()),
            changed,
        }
    }

    /// The agents of one connector.
    pub fn views(&self, uid: &str) -> BTreeMap<Os, View> {
        let running = self.running.lock();
        let ours = running.iter().filter(|((owner, _), _)| owner == uid);
        ours.map(|((_, os), agent)| (*os, agent.view())).collect()
    }

    /// UIDs of all connectors with agents.
    pub fn connectors(&self) -> Vec<String> {
        let mut uids: Vec<String> = self
            .running
            .lock()
            .keys()
            .map(|(uid, _)| uid.clone())
            .collect();
        uids.dedup();
        uids
    }

    /// Starts an agent.
    ///
    /// # Errors
    /// What the factory says, or that it took too long.
    pub async fn start(
        &self,
        spec: AgentSpec,
        arm: Arc<ArmClient>,
        arm_number: u64,
    ) -> Result<(), StartError> {
        let key = (spec.connector_uid.clone(), spec.node.os);
        let name = spec.connector.clone();
        let started = timeout(START_TIMEOUT, self.factory.start(spec.clone(), arm)).await;
        let agent = started
            .map_err(|_| StartError::Failed("the agent did not start in time".to_owned()))??;
        let status = agent.status();
        let forwarder = AbortOnDropHandle::new(tokio::spawn(forward(
            status.clone(),
            name,
            self.changed.clone(),
        )));
        tracing::info!(node = %spec.node.name, "started the agent");
        let running = Running {
            agent,
            spec,
            arm: arm_number,
            status,
            _forwarder: forwarder,
        };
        self.running.lock().insert(key, running);
        Ok(())
    }

    /// Tells an agent its new spec; nothing when it does not run.
    pub fn update(&self, spec: AgentSpec) {
        let key = (spec.connector_uid.clone(), spec.node.os);
        if let Some(running) = self.running.lock().get_mut(&key) {
            running.agent.update(spec.clone());
            running.spec = spec;
        }
    }

    /// Stops an agent. Its Node and its container groups stay.
    pub async fn stop(&self, key: &Key) {
        let found = self.running.lock().remove(key);
        if let Some(running) = found {
            end(running).await;
        }
    }

    /// Stops the agents of connectors that are gone.
    pub async fn stop_connector(&self, uid: &str) {
        join_all(
            [Os::Linux, Os::Windows]
                .map(|os| async move { self.stop(&(uid.to_owned(), os)).await }),
        )
        .await;
    }

    /// Name and UID of each connector with agents.
    pub fn names(&self) -> BTreeSet<(String, String)> {
        let running = self.running.lock();
        let names = running
            .iter()
            .map(|((uid, _), agent)| (agent.spec.connector.clone(), uid.clone()));
        names.collect()
    }

    /// Cancels the agents of a connector without waiting for them.
    pub fn abandon(&self, uid: &str) {
        let mut running = self.running.lock();
        running.retain(|(owner, _), agent| {
            let stays = owner != uid;
            if !stays {
                tracing::warn!(node = %agent.spec.node.name, "cancelled the agent: the connector is not held");
            }
            stays
        });
    }

    /// Stops all agents together, within the time one may take.
    pub async fn stop_all(&self) {
        let all = std::mem::take(&mut *self.running.lock());
        join_all(all.into_values().map(end)).await;
    }
}

impl Running {
    fn view(&self) -> View {
        // `has_changed` fails when the agent has dropped its sender.
        let alive = self.status.has_changed().is_ok();
        let seen = Seen {
            spec: self.spec.clone(),
            arm: self.arm,
            alive,
        };
        View {
            seen,
            status: self.status.borrow().clone(),
        }
    }
}

async fn end(running: Running) {
    let Running { agent, spec, .. } = running;
    match timeout(STOP_TIMEOUT, agent.stop()).await {
        Ok(()) => tracing::info!(node = %spec.node.name, "stopped the agent"),
        Err(_) => {
            tracing::warn!(node = %spec.node.name, "the agent did not stop in time and was aborted");
        }
    }
}

/// Passes on that something changed. Ends with the agent, whose end is news, too.
async fn forward(
    mut status: watch::Receiver<AgentStatus>,
    name: String,
    changed: mpsc::Sender<String>,
) {
    loop {
        let ended = status.changed().await.is_err();
        if changed.send(name.clone()).await.is_err() || ended {
            return;
        }
        tokio::time::sleep(COALESCE).await;
    }
}

#[cfg(test)]
mod tests;
