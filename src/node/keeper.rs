//! Keeps one Node as it is wanted: creates it in one write, repairs it, writes its status, renews its lease.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{self, watcher};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::NodeError;
use super::contest::Contest;
use super::lease;
use super::repair::{Ownership, needs_repair, ownership};
use super::spec::{NodeSpec, desired_node};
use super::status::{AzureInput, Endpoint, ReadyInput, differs, node_status, status_patch};
use crate::kube::backoff::{Backoff, jitter};
use crate::kube::call::{KubeError, TIMEOUT, call, optional};
use crate::kube::watches::steady;
use crate::watched::set_if_changed;

/// An unchanged status is written so often (a kubelet's `nodeStatusReportFrequency`).
const REPORT_EVERY: Duration = Duration::from_mins(5);
/// A watch that says nothing is renewed after so many seconds, so that a dead connection is noticed.
const WATCH_SECONDS: u32 = 90;

/// What the agent wants of its Node, now.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeWanted {
    pub spec: NodeSpec,
    /// Whether pods can run.
    pub ready: bool,
    /// That is not known yet: a Ready condition that is `True` stands as a predecessor has left it.
    pub starting: bool,
    /// Reason of the Ready condition, one CamelCase word.
    pub reason: String,
    /// Message of the Ready condition.
    pub message: String,
    /// Whether Azure answers; `None` while that is not known.
    pub azure: Option<AzureInput>,
    /// How the API server reaches the node.
    pub endpoint: Endpoint,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// The Node exists as wanted and the last wanted Ready condition was written.
    pub registered: bool,
    /// The Ready condition that was last written.
    pub ready: bool,
    pub uid: Option<String>,
    /// What is wrong, in one sentence.
    pub problem: Option<String>,
    /// Another process writes the same Node again and again.
    pub contested: bool,
}

/// The clients and facts a keeper needs.
#[derive(Clone)]
pub struct NodeKeeper {
    /// The operator: creates and repairs Nodes (`NodeRestriction` lets no node set labels, taints or owners).
    pub manager: Client,
    /// The node: watches itself, writes its status and its lease.
    pub node: Client,
    /// `kubeletVersion`, see [`super::spec::kubelet_version`].
    pub kubelet_version: String,
}

impl std::fmt::Debug for NodeKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeKeeper").finish_non_exhaustive()
    }
}

impl NodeKeeper {
    /// Keeps the Node until `cancel`. Deletes nothing: the Node outlives the process, see [`remove`].
    ///
    /// `wanted.spec.name` must not change. Every failure is reported in `registered` and tried again.
    pub async fn run(
        self,
        wanted: watch::Receiver<NodeWanted>,
        registered: watch::Sender<Registration>,
        cancel: CancellationToken,
    ) {
        let name = wanted.borrow().spec.name.clone();
        let (uid_sender, uid) = watch::channel(None);
        let recovered = Notify::new();
        let work = async {
            tokio::join!(
                self.keep(wanted, registered, uid_sender, &recovered),
                lease::keep(self.node.clone(), &name, uid, &recovered)
            );
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = work => {}
        }
    }

    async fn keep(
        &self,
        mut wanted: watch::Receiver<NodeWanted>,
        registered: watch::Sender<Registration>,
        uid: watch::Sender<Option<String>>,
        recovered: &Notify,
    ) {
        let name = wanted.borrow().spec.name.clone();
        let config = watcher::Config::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(WATCH_SECONDS);
        let mut events = steady(watcher(Api::<Node>::all(self.node.clone()), config))
            .modify(|node| node.metadata.managed_fields = None)
            .boxed();
        let mut state = State::default();
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut next_pass = Instant::now();
        loop {
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                event = events.next() => match event {
                    // Only a change of what we know is a reason to act before the delay is over.
                    Some(Ok(event)) => if !state.see(event) { continue },
                    Some(Err(error)) => {
                        tracing::debug!(node = %name, %error, "the watch of the Node was interrupted");
                        continue;
                    }
                    None => return,
                },
                // The API server is back. What was known of the Node is older than what others have done to it since.
                () = recovered.notified() => state.forget(),
                () = tokio::time::sleep_until(next_pass) => {}
            }
            let want = wanted.borrow_and_update().clone();
            let result = self.step(&mut state, &want).await;
            let now = Instant::now();
            let contested = state.contest.is_on(now);
            let (problem, delay) = match &result {
                Ok(()) | Err(NodeError::Contested(_)) => {
                    backoff.reset();
                    let next = [state.contest.hold(now), state.contest.over()];
                    let next = next.into_iter().flatten().min();
                    let delay = next.map(|next| next.saturating_duration_since(now));
                    let report = jitter(REPORT_EVERY, 0.1);
                    (
                        contested.then(|| contest(&name)),
                        delay.map_or(report, |delay| delay.min(report)),
                    )
                }
                Err(error) => {
                    tracing::warn!(node = %name, %error, "the Node is not as wanted");
                    (Some(error.to_string()), backoff.next_delay())
                }
            };
            next_pass = Instant::now() + delay;
            // The lease goes on while the Node cannot be read or repaired; only a foreign Node gets no heartbeat from us.
            let live_uid = match (&state.live, &result) {
                (Some(live), _) => live.metadata.uid.clone(),
                (None, Err(NodeError::Kube(_) | NodeError::Contested(_))) => uid.borrow().clone(),
                (None, _) => None,
            };
            set_if_changed(&uid, live_uid.clone());
            let now = Registration {
                registered: problem.is_none(),
                ready: state.ready,
                uid: live_uid,
                problem,
                contested,
            };
            set_if_changed(&registered, now);
        }
    }

    /// One pass from what is to what is wanted. Idle when nothing differs.
    async fn step(&self, state: &mut State, want: &NodeWanted) -> Result<(), NodeError> {
        let name = want.spec.name.as_str();
        let nodes = Api::<Node>::all(self.manager.clone());
        if state.live.is_none() {
            state.live = optional("get the Node", TIMEOUT, nodes.get(name)).await?;
        }
        let live = match state.live.take() {
            Some(live) => live,
            None => self.create(state, want).await?,
        };
        if let Ownership::Foreign(problem) = ownership(&live, &want.spec) {
            // Looked at again each time: somebody may delete it.
            return Err(NodeError::Foreign(problem));
        }
        let wrong = self.is_wrong(&live, want);
        if wrong && state.intact.as_ref() == Some(want) {
            // As we had left it, it would not be.
            state.intact = None;
            state.contest.overwritten(Instant::now());
            if state.contest.is_on(Instant::now()) {
                tracing::warn!(node = name, "{}", contest(name));
            }
        }
        let held = state.contest.hold(Instant::now()).is_some();
        if wrong && held {
            state.live = Some(live);
            return Err(NodeError::Contested(contest(name)));
        }
        let live = self.repair(live, want).await?;
        let live = state.live.insert(live).clone();
        match self.write_status(state, &live, want).await {
            // Deleted behind our back, or recreated: the next pass starts from a GET.
            Err(error) if error.is_not_found() => {
                state.live = None;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
            Ok(()) => {
                state.intact = Some(want.clone());
                Ok(())
            }
        }
    }

    /// Whether something of ours in the Node is not as it is wanted.
    fn is_wrong(&self, live: &Node, want: &NodeWanted) -> bool {
        let desired = desired_node(&want.spec, &self.kubelet_version);
        needs_repair(live, &desired).is_some()
            || differs(live.status.as_ref(), &self.status(want, Some(live)))
    }

    /// One write with everything, so that nobody ever sees the Node without its taint.
    async fn create(&self, state: &mut State, want: &NodeWanted) -> Result<Node, KubeError> {
        let mut node = desired_node(&want.spec, &self.kubelet_version);
        node.status = Some(self.status(want, None));
        let nodes = Api::<Node>::all(self.manager.clone());
        match call(
            "create the Node",
            TIMEOUT,
            nodes.create(&PostParams::default(), &node),
        )
        .await
        {
            Ok(created) => {
                tracing::info!(node = %want.spec.name, "created the Node");
                state.wrote(want.ready);
                Ok(created)
            }
            Err(error) if error.is_conflict() => {
                call("get the Node", TIMEOUT, nodes.get(&want.spec.name)).await
            }
            Err(error) => Err(error),
        }
    }

    async fn repair(&self, live: Node, want: &NodeWanted) -> Result<Node, KubeError> {
        let desired = desired_node(&want.spec, &self.kubelet_version);
        let Some(patch) = needs_repair(&live, &desired) else {
            return Ok(live);
        };
        tracing::info!(node = %want.spec.name, "repairing the Node");
        let nodes = Api::<Node>::all(self.manager.clone());
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let request = nodes.patch(&want.spec.name, &params, &patch);
        call("repair the Node", TIMEOUT, request).await
    }

    async fn write_status(
        &self,
        state: &mut State,
        live: &Node,
        want: &NodeWanted,
    ) -> Result<(), KubeError> {
        let status = self.status(want, Some(live));
        let due = state
            .written
            .is_none_or(|written| written.elapsed() >= REPORT_EVERY.mul_f64(0.85));
        if !due && !differs(live.status.as_ref(), &status) {
            return Ok(());
        }
        let ready = want.ready || stands(want, Some(live)).is_some();
        let patch = status_patch(live.status.as_ref(), &status);
        let nodes = Api::<Node>::all(self.node.clone());
        let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
        let request = nodes.patch_status(&want.spec.name, &params, &patch);
        state.live = Some(call("write the Node's status", TIMEOUT, request).await?);
        state.wrote(ready);
        Ok(())
    }

    fn status(
        &self,
        want: &NodeWanted,
        live: Option<&Node>,
    ) -> k8s_openapi::api::core::v1::NodeStatus {
        let mut ready = ReadyInput {
            ready: want.ready,
            reason: want.reason.clone(),
            message: want.message.clone(),
            azure: want.azure.clone(),
        };
        if let Some(left) = stands(want, live) {
            ready.ready = true;
            ready.reason = left.reason.clone().unwrap_or_default();
            ready.message = left.message.clone().unwrap_or_default();
        }
        node_status(
            &want.spec,
            &self.kubelet_version,
            &want.endpoint,
            &ready,
            live,
            Timestamp::now(),
        )
    }
}

/// The Ready condition of a predecessor, while it stands.
fn stands<'a>(want: &NodeWanted, live: Option<&'a Node>) -> Option<&'a NodeCondition> {
    let conditions = live?.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|it| it.type_ == "Ready")?;
    (want.starting && ready.status == "True").then_some(ready)
}

fn contest(node: &str) -> String {
    format!(
        "another process writes node {node} as well, which therefore changes back and forth; this one writes it more and \
         more seldom. Look for a second installation of the operator, or an older one that knows no Leases"
    )
}

/// What the keeper knows.
#[derive(Debug, Default)]
struct State {
    live: Option<Node>,
    /// Between the start of a list and its end: was our Node in it?
    listed: bool,
    written: Option<Instant>,
    ready: bool,
    /// What the Node was made to be, as long as nobody has changed it.
    intact: Option<NodeWanted>,
    contest: Contest,
}

impl State {
    /// The next pass starts from a GET.
    fn forget(&mut self) {
        self.live = None;
    }

    fn wrote(&mut self, ready: bool) {
        self.written = Some(Instant::now());
        self.ready = ready;
    }

    /// Takes a watch event; true when it brought news.
    fn see(&mut self, event: watcher::Event<Node>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listed = false;
                false
            }
            watcher::Event::InitApply(node) => {
                self.listed = true;
                self.see_node(node)
            }
            watcher::Event::InitDone => !self.listed && self.live.take().is_some(),
            watcher::Event::Apply(node) => self.see_node(node),
            watcher::Event::Delete(node) => {
                let known = self
                    .live
                    .as_ref()
                    .is_some_and(|live| live.metadata.uid == node.metadata.uid);
                if known {
                    self.live = None;
                }
                known
            }
        }
    }

    /// Answers to our own writes come back by the watch, sometimes after a later write: older news are none.
    fn see_node(&mut self, node: Node) -> bool {
        let stale = self
            .live
            .as_ref()
            .is_some_and(|live| version(live) >= version(&node));
        if !stale {
            self.live = Some(node);
        }
        !stale
    }
}

/// `resourceVersion` as a number; the API server has made that comparison official in 1.35 (KEP-5504).
fn version(node: &Node) -> u64 {
    node.metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// Deletes the Node and its Lease, if the Node belongs to this connector. Nothing to delete is success.
///
/// # Errors
/// [`NodeError::Foreign`] when a Node of this name is somebody else's: it is left alone.
pub async fn remove(manager: &Client, spec: &NodeSpec) -> Result<(), NodeError> {
    let nodes = Api::<Node>::all(manager.clone());
    if let Some(live) = optional("get the Node", TIMEOUT, nodes.get(&spec.name)).await? {
        if let Ownership::Foreign(problem) = ownership(&live, spec) {
            return Err(NodeError::Foreign(problem));
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: live.metadata.uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        optional(
            "delete the Node",
            TIMEOUT,
            nodes.delete(&spec.name, &params),
        )
        .await?;
        tracing::info!(node = %spec.name, "deleted the Node");
    }
    let leases = Api::<Lease>::namespaced(manager.clone(), lease::NAMESPACE);
    optional(
        "delete the node's Lease",
        TIMEOUT,
        leases.delete(&spec.name, &DeleteParams::default()),
    )
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
