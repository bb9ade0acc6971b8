//! One reconcile of one connector. Every step looks, acts and returns; nothing waits for Azure or for pods.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use kube_runtime::controller::Action;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::apply::apply;
use super::capacity::Region;
use super::expiry::watch_expiry;
use super::held::Held;
use super::plan::{ConnectorIdentity, desired_nodes};
use super::preflight::{ConditionUpdate, Register, Subject};
use super::retire_nodes::{Removal, remove};
use super::state::{BACKOFF_CAP, ConnectorState, PreflightKey, PreflightRequest, PreflightResult};
use super::status::NodeFacts;
use super::supervisor::Supervisor;
use super::validate::{Problem, Resolved, SecretState, resolve, secret_reference};
use super::write_status::{Found, SETTLING, announce_left, node_facts, write_status};
use super::{
    Context, DELETE_ORPHANS, FINALIZER, FLUX_REQUESTED_AT, FORCE_DELETE, REQUESTED_AT, dereference,
    scope, shim_login, workspace,
};
use crate::api::conditions::{CREDENTIALS_READY, reason};
use crate::api::{AzureScope, Os, VirtualKubeletConnector, node_name};
use crate::azure::Reach;
use crate::kube::backoff::jitter;
use crate::kube::call::{KubeError, TIMEOUT, optional};
use crate::kube::events::Events;

/// A Secret that the API server did not give is asked for again after so long.
const SECRET_RETRY: Duration = Duration::from_secs(5);
/// A removal is looked at so often, besides whenever its agent has news.
const REMOVAL_STEP: Duration = Duration::from_secs(2);

/// Annotations that ask for a reconcile: ours, and the one that Flux sets.
const REQUESTS: [&str; 2] = [REQUESTED_AT, FLUX_REQUESTED_AT];

/// What all reconciles share.
pub(super) struct Reconciler {
    pub(super) context: Context,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) events: Events,
    /// Gets the name of a connector that should be reconciled.
    pub(super) trigger: mpsc::Sender<String>,
    pub(super) states: Mutex<HashMap<String, Arc<tokio::sync::Mutex<ConnectorState>>>>,
    pub(super) cluster_uid: OnceCell<String>,
    pub(super) held: Held,
}

/// The connector and the facts that no step changes.
pub(super) struct ReconcileContext<'a> {
    pub(super) connector: &'a VirtualKubeletConnector,
    pub(super) identity: ConnectorIdentity,
    pub(super) deleting: bool,
    pub(super) forced: bool,
    /// What the annotations say that ask for a reconcile.
    pub(super) requested_at: [Option<String>; 2],
}

impl Reconciler {
    fn state(&self, uid: &str) -> Arc<tokio::sync::Mutex<ConnectorState>> {
        self.states
            .lock()
            .entry(uid.to_owned())
            .or_default()
            .clone()
    }

    /// Stops and forgets what belongs to connectors that no longer exist.
    pub(super) async fn sweep(&self, live: &BTreeSet<String>) {
        self.states.lock().retain(|uid, _| live.contains(uid));
        for uid in self
            .supervisor
            .connectors()
            .into_iter()
            .filter(|uid| !live.contains(uid))
        {
            tracing::warn!(
                uid,
                "a connector is gone without its finalizer; stopping its agents"
            );
            self.supervisor.stop_connector(&uid).await;
        }
    }

    pub(super) async fn reconcile(
        &self,
        connector: &VirtualKubeletConnector,
    ) -> Result<Action, KubeError> {
        let uid = connector.uid().unwrap_or_default();
        let deleting = connector.meta().deletion_timestamp.is_some();
        let annotation = |key: &str| connector.annotations().get(key).cloned();
        if deleting && !connector.finalizers().iter().any(|f| f == FINALIZER) {
            self.supervisor.stop_connector(&uid).await;
            return Ok(Action::await_change());
        }
        if !deleting {
            self.ensure_finalizer(connector).await?;
        }
        // What is written for this connector is not sent any more once it is not ours.
        let clients = self.clients(&connector.name_any());
        let (manager, plain) = (clients.operator(), clients.operator_no_retry());
        let cluster_uid = self.cluster_uid().await?;
        let state = self.state(&uid);
        let mut state = state.lock().await;
        let state = &mut *state;
        state.fence = Some(self.fence(&connector.name_any()));
        let mut agents = self.supervisor.snapshot(&uid);
        state.note_starts(&connector.name_any(), &mut agents.started);
        let workspace = self.read_secrets(connector, state).await;
        let mut cx = ReconcileContext {
            identity: ConnectorIdentity {
                name: connector.name_any(),
                uid: uid.clone(),
                cluster_uid,
                cluster_dns: self.context.cluster_dns.clone(),
                workspace_key: state.workspace_key.clone(),
                shim_login: state.shim_login.clone(),
                region: Region::default(),
                approved_orphans: annotation(DELETE_ORPHANS),
                tenure: self.tenure(&connector.name_any()),
            },
            deleting,
            forced: deleting && annotation(FORCE_DELETE).as_deref() == Some(uid.as_str()),
            requested_at: REQUESTS.map(annotation),
            connector,
        };
        let reference = secret_reference(&connector.spec, &self.context.namespace);
        let secret = dereference::secret(&manager, reference.as_ref()).await;
        let resolved = self.resolve(connector, secret, state).await;
        let resolved = self.reach(connector, resolved, state);
        let checked = match &resolved {
            Ok(resolved) => {
                let Context { observer, .. } = &self.context;
                let expiry = &mut state.expiry;
                watch_expiry(expiry, connector, resolved, observer, &self.events);
                self.check(&cx, state, resolved)
            }
            Err(_) => state.unchecked(),
        };
        cx.identity.region = checked.region.clone();

        let sets = desired_nodes(connector, agents.known());
        state
            .start_errors
            .retain(|os, _| sets.wanted.contains(os) || sets.retiring.contains(os));
        let supervisor = &self.supervisor;
        apply(
            &manager,
            supervisor,
            &cx,
            state,
            &mut agents,
            &sets,
            &checked,
        )
        .await?;
        let trouble = trouble(&resolved, &checked, &state.reach());
        let trouble = trouble.as_deref();
        let Removal { leaving, left } =
            remove(&plain, supervisor, &cx, state, &agents, &sets, trouble).await;
        for left in &left {
            announce_left(&self.events, connector, left);
            let observer = &self.context.observer;
            observer.groups_left(&cx.identity.name, left.groups);
        }
        if deleting && leaving.is_empty() {
            self.release(connector).await?;
            self.states.lock().remove(&uid);
            return Ok(Action::await_change());
        }

        let nodes = node_facts(&cx, state, &agents, &sets, &leaving);
        let arrives_until = state.arrives_until(connector, self.context.arrival);
        let found = Found {
            resolved: &resolved,
            workspace: workspace.as_ref().err(),
            checked: &checked,
            nodes: &nodes,
            arriving: arrives_until.is_some(),
        };
        write_status(&manager, &self.events, &cx, state, &found).await?;
        let problems = [resolved.as_ref().err(), workspace.as_ref().err()];
        let now = Instant::now();
        let wake = wake(now, state, &checked, &nodes, problems, !leaving.is_empty());
        let wake = arrives_until.map_or(wake, |until| wake.min(until));
        Ok(Action::requeue(
            wake.saturating_duration_since(now)
                .max(Duration::from_millis(100)),
        ))
    }

    /// What spec and Secret come to. To open a certificate may take a second, so it is done once for each version, and not
    /// on the task that all reconciles share.
    async fn resolve(
        &self,
        connector: &VirtualKubeletConnector,
        secret: SecretState,
        state: &mut ConnectorState,
    ) -> Result<Resolved, Problem> {
        let (spec, namespace, environment) = (
            connector.spec.clone(),
            self.context.namespace.clone(),
            self.context.environment.clone(),
        );
        let SecretState::Found(found) = &secret else {
            state.resolved = None;
            return resolve(&spec, &secret, &namespace, &environment);
        };
        let found = &found.metadata;
        let source = (
            connector.metadata.generation,
            found.uid.clone(),
            found.resource_version.clone(),
        );
        if let Some((known, resolved)) = &state.resolved
            && *known == source
        {
            return resolved.clone();
        }
        let opened = spawn_blocking(move || resolve(&spec, &secret, &namespace, &environment));
        let resolved = opened.await.map_err(|error| Problem {
            condition: CREDENTIALS_READY,
            reason: reason::SECRET_INVALID,
            message: format!("the credentials could not be read: {error}"),
            stalled: false,
        })?;
        state.resolved.insert((source, resolved)).1.clone()
    }

    /// Makes the ARM client for what was resolved, unless that leads somewhere else than where the container groups are.
    fn reach(
        &self,
        connector: &VirtualKubeletConnector,
        resolved: Result<Resolved, Problem>,
        state: &mut ConnectorState,
    ) -> Result<Resolved, Problem> {
        let resolved = resolved?;
        let pinned = pinned(connector, state);
        let moved = pinned
            .as_ref()
            .and_then(|pinned| scope::moved(pinned, &resolved, &connector.spec));
        let Some(problem) = moved else {
            state.arm(&self.context, &resolved)?;
            return Ok(resolved);
        };
        // What runs goes on with the client that it has. After a restart there is none, and nodes without an agent would
        // lose their pods: it gets one for where the container groups are.
        if state.arm.is_none()
            && let Some(stay) = pinned.and_then(|pinned| scope::stay(&pinned, &resolved))
        {
            state.arm(&self.context, &stay)?;
        }
        Err(problem)
    }

    /// Reads what other Secrets than that of the credentials have into `state`: the key of the Log Analytics workspace, and the
    /// login that the shim's image is pulled with.
    async fn read_secrets(
        &self,
        connector: &VirtualKubeletConnector,
        state: &mut ConnectorState,
    ) -> Result<(), Problem> {
        let (spec, namespace) = (&connector.spec, &self.context.namespace);
        let manager = self.context.clients.operator();
        let secret = async |reference: Option<(String, String)>| {
            dereference::secret(&manager, reference.as_ref()).await
        };
        let found = secret(workspace::secret_reference(spec, namespace)).await;
        let key = workspace::key(spec, &found, namespace);
        let workspace = keep(&mut state.workspace_key, key);
        let found = secret(shim_login::secret_reference(spec, namespace)).await;
        let login = shim_login::login(spec, &found, namespace);
        workspace.and(keep(&mut state.shim_login, login))
    }

    async fn cluster_uid(&self) -> Result<String, KubeError> {
        let manager = self.context.clients.operator();
        self.cluster_uid
            .get_or_try_init(|| async { dereference::cluster_uid(&manager).await })
            .await
            .cloned()
    }

    fn check(
        &self,
        cx: &ReconcileContext,
        state: &mut ConnectorState,
        resolved: &Resolved,
    ) -> PreflightResult {
        let spec = &cx.connector.spec;
        let key = PreflightKey {
            generation: cx.connector.metadata.generation.unwrap_or_default(),
            secret_version: resolved.identity.secret_resource_version.clone(),
            requested_at: cx.requested_at.clone(),
            arm: state.arm.as_ref().map_or(0, |arm| arm.number),
        };
        let register = if cx.deleting {
            Register::No
        } else {
            Register::of(spec)
        };
        let subject = Subject::new(spec, resolved, register);
        let identity = &cx.identity;
        let node = |os: Os| (os, node_name(&identity.name, os, &spec.region));
        let question = PreflightRequest {
            subject,
            connector: identity.name.clone(),
            connector_uid: identity.uid.clone(),
            cluster_uid: identity.cluster_uid.clone(),
            nodes: [Os::Linux, Os::Windows].map(node).into(),
            manager: self.context.clients.operator(),
        };
        state.check(&key, question, self.context.pace, &self.trigger)
    }

    async fn ensure_finalizer(&self, connector: &VirtualKubeletConnector) -> Result<(), KubeError> {
        if connector
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER)
        {
            return Ok(());
        }
        let finalizers: Vec<&str> = connector
            .finalizers()
            .iter()
            .map(String::as_str)
            .chain([FINALIZER])
            .collect();
        self.write_finalizers(connector, &finalizers)
            .await
            .map(drop)
    }

    /// Lets the object go.
    async fn release(&self, connector: &VirtualKubeletConnector) -> Result<(), KubeError> {
        let finalizers: Vec<&str> = connector
            .finalizers()
            .iter()
            .map(String::as_str)
            .filter(|finalizer| *finalizer != FINALIZER)
            .collect();
        self.write_finalizers(connector, &finalizers).await?;
        tracing::info!(connector = %connector.name_any(), "the connector is removed");
        Ok(())
    }

    /// Finalizers are replaced as a list, so the write names the version it is based on.
    async fn write_finalizers(
        &self,
        connector: &VirtualKubeletConnector,
        finalizers: &[&str],
    ) -> Result<(), KubeError> {
        let patch = json!({"metadata": {
            "uid": connector.uid(), "resourceVersion": connector.resource_version(), "finalizers": finalizers,
        }});
        let clients = self.clients(&connector.name_any());
        let api = Api::<VirtualKubeletConnector>::all(clients.operator());
        let (name, params, patch) = (
            connector.name_any(),
            PatchParams::default(),
            Patch::Merge(&patch),
        );
        optional(
            "write the connector's finalizers",
            TIMEOUT,
            api.patch_metadata(&name, &params, &patch),
        )
        .await
        .map(drop)
    }
}

/// When the connector is looked at again, besides at news.
fn wake(
    now: Instant,
    state: &ConnectorState,
    checked: &PreflightResult,
    nodes: &[NodeFacts],
    problems: [Option<&Problem>; 2],
    leaving: bool,
) -> Instant {
    let retries = state.start_errors.values().map(|(_, at)| *at);
    let problems = problems.into_iter().flatten().map(|problem| {
        let pause = if problem.stalled {
            BACKOFF_CAP
        } else {
            SECRET_RETRY
        };
        now + jitter(pause, 0.2)
    });
    let settling = nodes.iter().any(|node| node.settling);
    let settled = settling.then(|| now + SETTLING);
    let step = leaving.then(|| now + jitter(REMOVAL_STEP, 0.2));
    retries
        .chain(problems)
        .chain(settled)
        .chain(step)
        .fold(checked.next, Instant::min)
}

/// Where the container groups are, as was said last: the watch may not have brought our own last write yet.
fn pinned(connector: &VirtualKubeletConnector, state: &ConnectorState) -> Option<AzureScope> {
    let seen = connector.status.as_ref();
    let written = state.written.as_ref().map(|(_, status)| status);
    [seen, written]
        .into_iter()
        .flatten()
        .find_map(|status| status.azure_scope.clone())
}

/// Keeps what was read of a Secret. While the API server does not answer, the last one stays.
fn keep<T>(kept: &mut Option<T>, read: Result<Option<T>, Problem>) -> Result<(), Problem> {
    match read {
        Ok(read) => *kept = read,
        Err(problem) => {
            if problem.stalled {
                *kept = None;
            }
            return Err(problem);
        }
    }
    Ok(())
}

/// Why container groups cannot be reached, if so.
fn trouble(
    resolved: &Result<Resolved, Problem>,
    checked: &PreflightResult,
    reach: &Reach,
) -> Option<String> {
    let preflight = match resolved {
        Err(problem) => return Some(problem.message.clone()),
        Ok(_) => checked.findings.iter().flatten(),
    };
    let blocking = preflight
        .into_iter()
        .find(|finding: &&ConditionUpdate| finding.blocks);
    let away = match reach {
        Reach::Away { error, .. } => Some(format!("Azure does not answer: {error}")),
        Reach::Unknown | Reach::Reachable => None,
    };
    blocking.map(|finding| finding.message.clone()).or(away)
}

#[cfg(test)]
mod tests;
