//! Owns the agents of all connectors: starts, updates and stops them, and notices when one changes or ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::plan::RunningAgentSnapshot;
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
    ImpersonationForbidden(String),
    /// The API server does not limit what the node may do, and no flag accepts that.
    #[error("{0}")]
    IdentityUnscoped(String),
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
            unscoped @ NodeIdentityError::Unscoped { .. } => {
                Self::IdentityUnscoped(unscoped.to_string())
            }
            refused => Self::ImpersonationForbidden(refused.to_string()),
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
    since: Instant,
    status: watch::Receiver<AgentStatus>,
    _forwarder: AbortOnDropHandle<()>,
}

/// A running agent, as a reconcile sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub seen: RunningAgentSnapshot,
    pub status: AgentStatus,
    /// How long it has been running.
    pub age: Duration,
}

/// The agents of one connector at one moment. A reconcile takes it once, so that all its steps see the same.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub running: BTreeMap<Os, View>,
    /// Those that are being started.
    pub starting: BTreeSet<Os>,
    /// What came of the starts that have ended since the last snapshot.
    pub started: BTreeMap<Os, Result<(), StartError>>,
}

impl Snapshot {
    /// The operating systems with an agent, or with one that is being started.
    pub fn known(&self) -> BTreeSet<Os> {
        self.running.keys().chain(&self.starting).copied().collect()
    }
}

/// A start under way.
struct Starting {
    /// Counts the starts: one that was given up has another number than the one in its place.
    number: u64,
    /// Name of the connector.
    connector: String,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    running: BTreeMap<Key, Running>,
    starting: BTreeMap<Key, Starting>,
    started: BTreeMap<Key, Result<(), StartError>>,
    starts: u64,
    /// The end was ordered: nothing is started any more.
    closed: bool,
}

/// The agents. Calls for one connector never overlap (the controller sees to that); calls for several do.
pub struct Supervisor {
    factory: Arc<dyn AgentFactory>,
    state: Mutex<State>,
    /// Names of connectors whose agents changed.
    changed: mpsc::Sender<String>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("agents", &self.state.lock().running.len())
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// An empty one. `changed` gets the name of a connector whenever one of its agents has news.
    pub fn new(factory: Arc<dyn AgentFactory>, changed: mpsc::Sender<String>) -> Self {
        Self {
            factory,
            state: Mutex::default(),
            changed,
        }
    }

    /// The agents of one connector. What came of their starts is told once.
    pub fn snapshot(&self, uid: &str) -> Snapshot {
        let mut state = self.state.lock();
        let ours = |(owner, os): &Key| (owner == uid).then_some(*os);
        let ended: Vec<Key> = state
            .started
            .keys()
            .filter(|key| ours(key).is_some())
            .cloned()
            .collect();
        Snapshot {
            running: state
                .running
                .iter()
                .filter_map(|(key, agent)| Some((ours(key)?, agent.view())))
                .collect(),
            starting: state.starting.keys().filter_map(ours).collect(),
            started: ended
                .into_iter()
                .filter_map(|key| Some((key.1, state.started.remove(&key)?)))
                .collect(),
        }
    }

    /// The agents of one connector that run.
    pub fn views(&self, uid: &str) -> BTreeMap<Os, View> {
        let state = self.state.lock();
        let ours = state.running.iter().filter(|((owner, _), _)| owner == uid);
        ours.map(|((_, os), agent)| (*os, agent.view())).collect()
    }

    /// UIDs of all connectors with agents.
    pub fn connectors(&self) -> Vec<String> {
        let state = self.state.lock();
        let all = state.running.keys().chain(state.starting.keys());
        let uids: BTreeSet<String> = all.map(|(uid, _)| uid.clone()).collect();
        uids.into_iter().collect()
    }

    /// Begins to start an agent, after the end of the one that runs in its place if there is one. Returns at once: the
    /// name of the connector is sent when it has started or failed, and [`Supervisor::snapshot`] says which. Nothing
    /// happens while one is being started already.
    pub fn begin(self: &Arc<Self>, spec: AgentSpec, arm: Arc<ArmClient>, arm_number: u64) {
        let key = (spec.connector_uid.clone(), spec.node.os);
        let connector = spec.connector.clone();
        let name = connector.clone();
        let mut state = self.state.lock();
        if state.closed || state.starting.contains_key(&key) {
            return;
        }
        state.starts += 1;
        let number = state.starts;
        let before = state.running.remove(&key);
        let this = Arc::clone(self);
        let place = key.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                end(before).await;
            }
            let maker = Arc::clone(&this);
            let made = tokio::spawn(async move { maker.make(spec, arm, arm_number).await });
            let made = AbortOnDropHandle::new(made)
                .await
                .unwrap_or_else(|error| Err(StartError::Failed(error.to_string())));
            if this.started(place, number, made) {
                // A closed channel means that the controller has ended.
                let _ = this.changed.send(connector).await;
            }
        });
        let task = task.abort_handle();
        let starting = Starting {
            number,
            connector: name,
            task,
        };
        state.starting.insert(key, starting);
    }

    /// Takes over what came of a start; false when nobody waits for it any more. What was made then goes.
    fn started(&self, key: Key, number: u64, made: Result<Running, StartError>) -> bool {
        let mut state = self.state.lock();
        let waits = state
            .starting
            .get(&key)
            .is_some_and(|starting| starting.number == number);
        if state.closed || !waits {
            return false;
        }
        state.starting.remove(&key);
        let outcome = made.map(|running| {
            state.running.insert(key.clone(), running);
        });
        state.started.insert(key, outcome);
        true
    }

    /// Makes an agent. Fails with what the factory says, or when it takes too long.
    async fn make(
        &self,
        spec: AgentSpec,
        arm: Arc<ArmClient>,
        arm_number: u64,
    ) -> Result<Running, StartError> {
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
        Ok(Running {
            agent,
            spec,
            arm: arm_number,
            since: Instant::now(),
            status,
            _forwarder: forwarder,
        })
    }

    /// Tells an agent its new spec; nothing when it does not run.
    pub fn update(&self, spec: AgentSpec) {
        let key = (spec.connector_uid.clone(), spec.node.os);
        if let Some(running) = self.state.lock().running.get_mut(&key) {
            running.agent.update(spec.clone());
            running.spec = spec;
        }
    }

    /// Stops an agent, also one that is being started. Its Node and its container groups stay.
    pub async fn stop(&self, key: &Key) {
        let found = {
            let mut state = self.state.lock();
            if let Some(starting) = state.starting.remove(key) {
                starting.task.abort();
            }
            state.started.remove(key);
            state.running.remove(key)
        };
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

    /// Name and UID of each connector with agents, also those that are being started.
    pub fn names(&self) -> BTreeSet<(String, String)> {
        let state = self.state.lock();
        let running = state
            .running
            .iter()
            .map(|((uid, _), agent)| (agent.spec.connector.clone(), uid.clone()));
        let starting = state
            .starting
            .iter()
            .map(|((uid, _), start)| (start.connector.clone(), uid.clone()));
        running.chain(starting).collect()
    }

    /// Cancels the agents of a connector, and their starts, without waiting for them.
    pub fn abandon(&self, uid: &str) {
        let mut state = self.state.lock();
        state.started.retain(|(owner, _), _| owner != uid);
        state.starting.retain(|(owner, _), starting| {
            let stays = owner != uid;
            if !stays {
                starting.task.abort();
            }
            stays
        });
        state.running.retain(|(owner, _), agent| {
            let stays = owner != uid;
            if !stays {
                tracing::warn!(node = %agent.spec.node.name, "cancelled the agent: the connector is not held");
            }
            stays
        });
    }

    /// Stops all agents together, within the time one may take, and starts none any more.
    pub async fn stop_all(&self) {
        let all = {
            let mut state = self.state.lock();
            state.closed = true;
            for starting in std::mem::take(&mut state.starting).into_values() {
                starting.task.abort();
            }
            std::mem::take(&mut state.running)
        };
        join_all(all.into_values().map(end)).await;
    }
}

impl Running {
    fn view(&self) -> View {
        // `has_changed` fails when the agent has dropped its sender.
        let alive = self.status.has_changed().is_ok();
        let seen = RunningAgentSnapshot {
            spec: self.spec.clone(),
            arm: self.arm,
            alive,
        };
        View {
            seen,
            status: self.status.borrow().clone(),
            age: self.since.elapsed(),
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
