//! One reconcile of one connector. Every step looks, acts and returns; nothing waits for Azure or for pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use kube_runtime::controller::Action;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::Instant;

use super::checks::{Finding, Subject};
use super::finalize::{Progress, Situation, finish, retire};
use super::memory::{BACKOFF_CAP, CheckKey, Checked, Memory};
use super::plan::{Identity, Seen, Split, Step, agent_spec, split, steps};
use super::status::{Facts, NodeFacts, Retiring, status};
use super::supervisor::{StartError, Supervisor, View};
use super::validate::{Problem, Resolved, resolve, secret_reference};
use super::{
    Context, FIELD_MANAGER, FINALIZER, FLUX_REQUESTED_AT, FORCE_DELETE, REQUESTED_AT, dereference,
};
use crate::agent::AgentSpec;
use crate::api::conditions::{READY, STALLED, find};
use crate::api::{
    DeletionPolicy, Os, VirtualKubeletConnector, VirtualKubeletConnectorStatus, node_name,
};
use crate::kube::backoff::jitter;
use crate::kube::call::{KubeError, TIMEOUT, call, optional};
use crate::kube::events::{Event, EventType, Events};

/// A removal is looked at so often, besides whenever its agent has news.
const REMOVAL_STEP: Duration = Duration::from_secs(2);

/// What all reconciles share.
pub(super) struct Core {
    pub(super) context: Context,
    pub(super) supervisor: Supervisor,
    pub(super) events: Events,
    /// Gets the name of a connector that should be reconciled.
    pub(super) trigger: mpsc::Sender<String>,
    pub(super) memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
    pub(super) cluster_uid: OnceCell<String>,
}

/// The connector and the facts that no step changes.
struct Subjects<'a> {
    connector: &'a VirtualKubeletConnector,
    identity: Identity,
    deleting: bool,
    forced: bool,
    requested_at: Option<String>,
}

impl Core {
    fn memory(&self, uid: &str) -> Arc<tokio::sync::Mutex<Memory>> {
        self.memories
            .lock()
            .entry(uid.to_owned())
            .or_default()
            .clone()
    }

    /// Stops and forgets what belongs to connectors that no longer exist.
    pub(super) async fn sweep(&self, live: &BTreeSet<String>) {
        self.memories.lock().retain(|uid, _| live.contains(uid));
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

    /// See the module.
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
        let subjects = Subjects {
            identity: Identity {
                name: connector.name_any(),
                uid: uid.clone(),
                cluster_uid: self.cluster_uid().await?,
            },
            deleting,
            forced: deleting && annotation(FORCE_DELETE).as_deref() == Some(uid.as_str()),
            requested_at: annotation(REQUESTED_AT).or_else(|| annotation(FLUX_REQUESTED_AT)),
            connector,
        };
        let memory = self.memory(&uid);
        let mut memory = memory.lock().await;
        let memory = &mut *memory;

        let manager = self.context.clients.manager();
        let reference = secret_reference(&connector.spec, &self.context.namespace);
        let secret = dereference::secret(&manager, reference.as_ref()).await;
        let resolved = resolve(&connector.spec, &secret, &self.context.namespace)
            .and_then(|resolved| memory.arm(&self.context, &resolved).map(|_| resolved));
        let checked = match &resolved {
            Ok(resolved) => self.check(&subjects, memory, resolved),
            Err(_) => Checked::default(),
        };

        let split = split(connector, self.supervisor.views(&uid).into_keys());
        self.apply(&subjects, memory, &split, &checked).await?;
        let trouble = trouble(&resolved, &checked);
        let leaving = self
            .remove(&subjects, memory, &split, trouble.as_deref())
            .await?;
        if deleting && leaving.is_empty() {
            self.release(connector).await?;
            self.memories.lock().remove(&uid);
            return Ok(Action::await_change());
        }

        let nodes = self.node_facts(&subjects, memory, &split, &leaving);
        let next = self
            .write_status(&subjects, memory, &resolved, &checked, &nodes)
            .await;
        next?;
        let mut wake = checked.next;
        if let Some(retry) = memory.start_errors.values().map(|(_, at)| *at).min() {
            wake = wake.min(retry);
        }
        if resolved.is_err() {
            wake = wake.min(Instant::now() + jitter(BACKOFF_CAP, 0.2));
        }
        if !leaving.is_empty() {
            wake = wake.min(Instant::now() + jitter(REMOVAL_STEP, 0.2));
        }
        Ok(Action::requeue(
            wake.saturating_duration_since(Instant::now())
                .max(Duration::from_millis(100)),
        ))
    }

    async fn cluster_uid(&self) -> Result<String, KubeError> {
        let manager = self.context.clients.manager();
        self.cluster_uid
            .get_or_try_init(|| async { dereference::cluster_uid(&manager).await })
            .await
            .cloned()
    }

    fn check(&self, subjects: &Subjects, memory: &mut Memory, resolved: &Resolved) -> Checked {
        let spec = &subjects.connector.spec;
        let key = CheckKey {
            generation: subjects.connector.metadata.generation.unwrap_or_default(),
            secret_version: resolved.identity.secret_resource_version.clone(),
            requested_at: subjects.requested_at.clone(),
            arm: memory.arm.as_ref().map_or(0, |arm| arm.number),
        };
        let subject = Subject {
            secret: resolved.secret.clone(),
            client: resolved.identity.client_id.clone().unwrap_or_default(),
            subscription: resolved.subscription.clone(),
            region: spec.region.clone(),
            resource_group: spec.aci_resource_group.clone(),
        };
        memory.check(key, subject, &subjects.identity.name, &self.trigger)
    }

    /// Starts, updates and restarts agents.
    async fn apply(
        &self,
        subjects: &Subjects<'_>,
        memory: &mut Memory,
        split: &Split,
        checked: &Checked,
    ) -> Result<(), KubeError> {
        let Subjects {
            connector,
            identity,
            ..
        } = subjects;
        let manager = self.context.clients.manager();
        let running: BTreeMap<Os, Seen> = self
            .supervisor
            .views(&identity.uid)
            .into_iter()
            .map(|(os, view)| (os, view.seen))
            .collect();
        let mut desired = BTreeMap::new();
        let mut may_start = BTreeSet::new();
        let clear = checked.fresh
            && checked
                .findings
                .as_ref()
                .is_some_and(|all| !all.iter().any(|f| f.blocks));
        for os in split.wanted.iter().chain(&split.retiring) {
            let spec = agent_spec(identity, &connector.spec, *os, split.retiring.contains(os));
            let wanted = split.wanted.contains(os);
            let waits = memory
                .start_errors
                .get(os)
                .is_some_and(|(_, at)| Instant::now() < *at);
            // A Node that exists needs its agent even while Azure is in trouble.
            if !running.contains_key(os)
                && !waits
                && ((wanted && clear)
                    || owed(connector, *os)
                    || dereference::node_exists(&manager, &spec.node.name).await?)
            {
                may_start.insert(*os);
            }
            desired.insert(*os, spec);
        }
        // An orphaning or forced removal needs no agent.
        if subjects.deleting
            && (subjects.forced || connector.spec.deletion_policy == DeletionPolicy::Orphan)
        {
            may_start.clear();
        }
        let arm = memory.arm.clone();
        let steps = steps(
            &desired,
            &running,
            arm.as_ref().map(|arm| arm.number),
            |os| may_start.contains(&os),
        );
        let results = join_all(steps.into_iter().map(|(os, step)| {
            let arm = arm.clone();
            async move { (os, self.take(os, step, arm).await) }
        }))
        .await;
        memory.start_errors.retain(|os, _| desired.contains_key(os));
        for (os, result) in results {
            match result {
                Ok(()) => {
                    memory.start_errors.remove(&os);
                    memory.start_backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(connector = %identity.name, os = os.label(), %error, "the agent did not start");
                    let retry = Instant::now() + memory.start_backoff.next_delay();
                    memory.start_errors.insert(os, (error, retry));
                }
            }
        }
        Ok(())
    }

    async fn take(
        &self,
        os: Os,
        step: Step,
        arm: Option<super::memory::Arm>,
    ) -> Result<(), StartError> {
        let (spec, restart) = match step {
            Step::Update(spec) => {
                self.supervisor.update(spec);
                return Ok(());
            }
            Step::Start(spec) => (spec, false),
            Step::Restart(spec) => (spec, true),
        };
        let Some(arm) = arm else { return Ok(()) };
        if restart {
            self.supervisor
                .stop(&(spec.connector_uid.clone(), os))
                .await;
        }
        self.supervisor.start(spec, arm.client, arm.number).await
    }

    /// Takes each retiring node one step further. The answer has those that are not gone yet.
    async fn remove(
        &self,
        subjects: &Subjects<'_>,
        memory: &mut Memory,
        split: &Split,
        trouble: Option<&str>,
    ) -> Result<BTreeMap<Os, Retiring>, KubeError> {
        memory
            .retiring_since
            .retain(|os, _| split.retiring.contains(os));
        let views = self.supervisor.views(&subjects.identity.uid);
        let mut since = BTreeMap::new();
        for os in &split.retiring {
            since.insert(
                *os,
                memory
                    .retiring_since
                    .entry(*os)
                    .or_insert_with(Instant::now)
                    .elapsed(),
            );
        }
        // One node that cannot be removed does not hold up the other.
        let results = join_all(split.retiring.iter().map(|os| {
            let elapsed = since.get(os).copied().unwrap_or_default();
            let start_error = memory
                .start_errors
                .get(os)
                .map(|(error, _)| error.to_string());
            let trouble = start_error.or_else(|| trouble.map(ToOwned::to_owned));
            let view = views.get(os).cloned();
            async move {
                (
                    *os,
                    self.remove_one(subjects, *os, view, elapsed, trouble).await,
                )
            }
        }))
        .await;
        let mut leaving = BTreeMap::new();
        for (os, result) in results {
            match result {
                Ok(None) => {}
                Ok(Some(retiring)) => {
                    leaving.insert(os, retiring);
                }
                Err(error) => {
                    leaving.insert(
                        os,
                        Retiring {
                            message: error.to_string(),
                            blocked: false,
                        },
                    );
                }
            }
        }
        Ok(leaving)
    }

    async fn remove_one(
        &self,
        subjects: &Subjects<'_>,
        os: Os,
        view: Option<View>,
        elapsed: Duration,
        trouble: Option<String>,
    ) -> Result<Option<Retiring>, KubeError> {
        let Subjects {
            connector,
            identity,
            deleting,
            forced,
            ..
        } = subjects;
        let spec = agent_spec(identity, &connector.spec, os, true);
        let manager = self.context.clients.manager();
        if view.is_none()
            && !owed(connector, os)
            && !dereference::node_exists(&manager, &spec.node.name).await?
        {
            return Ok(None);
        }
        let situation = Situation {
            // An edit of osType is no deletion: it always drains.
            policy: if *deleting {
                connector.spec.deletion_policy
            } else {
                DeletionPolicy::Drain
            },
            elapsed: deletion_age(connector).unwrap_or(elapsed),
            drain_timeout: connector.spec.drain_timeout(),
            forced: *forced,
            agent: view.as_ref().map(|view| &view.status),
            trouble: trouble.as_deref(),
        };
        match retire(&manager, &spec.node.name, &situation).await? {
            Progress::Waiting(retiring) => Ok(Some(retiring)),
            Progress::Finish { left } => {
                self.supervisor.stop(&(identity.uid.clone(), os)).await;
                finish(&manager, &spec).await?;
                self.tell_what_is_left(connector, &spec, left);
                Ok(None)
            }
        }
    }

    fn tell_what_is_left(&self, connector: &VirtualKubeletConnector, spec: &AgentSpec, left: u32) {
        if left > 0 {
            let note = format!(
                "{left} container groups of node {} are left in resource group {}; find them by their tag with the connector's UID {}",
                spec.node.name, spec.resource_group, spec.connector_uid
            );
            self.emit(
                connector,
                "ContainerGroupsLeft",
                "RemoveNode",
                note,
                EventType::Warning,
            );
        }
    }

    fn node_facts(
        &self,
        subjects: &Subjects,
        memory: &Memory,
        split: &Split,
        leaving: &BTreeMap<Os, Retiring>,
    ) -> Vec<NodeFacts> {
        let Subjects {
            connector,
            identity,
            ..
        } = subjects;
        let views = self.supervisor.views(&identity.uid);
        let all: BTreeSet<Os> = split.wanted.iter().chain(leaving.keys()).copied().collect();
        all.into_iter()
            .map(|os| NodeFacts {
                name: node_name(&identity.name, os, &connector.spec.region),
                os,
                agent: views.get(&os).map(|view| view.status.clone()),
                start_error: memory.start_errors.get(&os).map(|(error, _)| error.clone()),
                retiring: leaving.get(&os).cloned(),
            })
            .collect()
    }

    /// Writes the status if it says anything new, and an Event when `Ready` has another reason.
    async fn write_status(
        &self,
        subjects: &Subjects<'_>,
        memory: &mut Memory,
        resolved: &Result<Resolved, Problem>,
        checked: &Checked,
        nodes: &[NodeFacts],
    ) -> Result<(), KubeError> {
        let Subjects {
            connector,
            identity,
            ..
        } = subjects;
        // The watch may not have brought our own last write yet.
        let seen = version(connector);
        let previous = match &memory.written {
            Some((written, status)) if *written > seen => Some(status),
            _ => connector.status.as_ref(),
        };
        let facts = Facts {
            generation: connector.metadata.generation.unwrap_or_default(),
            spec: &connector.spec,
            previous,
            requested_at: subjects.requested_at.clone(),
            deleting: subjects.deleting,
            resolved: resolved.as_ref().map(|resolved| &resolved.identity),
            findings: checked.findings.as_deref(),
            fresh: checked.fresh,
            nodes,
        };
        let next = status(&facts, &Time(Timestamp::now()));
        if previous == Some(&next) {
            return Ok(());
        }
        self.announce(connector, previous, &next);
        let body = json!({
            "apiVersion": VirtualKubeletConnector::api_version(&()),
            "kind": VirtualKubeletConnector::kind(&()),
            "metadata": {"name": identity.name, "uid": identity.uid},
            "status": next,
        });
        let api = Api::<VirtualKubeletConnector>::all(self.context.clients.manager());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&body);
        let written = call(
            "write the connector's status",
            TIMEOUT,
            api.patch_status(&identity.name, &params, &patch),
        )
        .await?;
        // As the server has it (times have whole seconds there).
        memory.written = written
            .status
            .clone()
            .map(|status| (version(&written), status));
        Ok(())
    }

    fn announce(
        &self,
        connector: &VirtualKubeletConnector,
        previous: Option<&VirtualKubeletConnectorStatus>,
        next: &VirtualKubeletConnectorStatus,
    ) {
        let ready = find(&next.conditions, READY);
        let before = previous.and_then(|status| find(&status.conditions, READY));
        let Some(ready) =
            ready.filter(|ready| before.map(|b| b.reason.as_str()) != Some(ready.reason.as_str()))
        else {
            return;
        };
        tracing::info!(connector = %connector.name_any(), ready = %ready.status, reason = %ready.reason, message = %ready.message, "the connector changed");
        let kind = if find(&next.conditions, STALLED).is_some() {
            EventType::Warning
        } else {
            EventType::Normal
        };
        self.emit(
            connector,
            &ready.reason,
            "Reconcile",
            ready.message.clone(),
            kind,
        );
    }

    fn emit(
        &self,
        connector: &VirtualKubeletConnector,
        reason: &str,
        action: &'static str,
        note: String,
        kind: EventType,
    ) {
        self.events.emit(Event {
            regarding: connector.object_ref(&()),
            related: None,
            reason: reason.to_owned(),
            action,
            note,
            kind,
        });
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
        let api = Api::<VirtualKubeletConnector>::all(self.context.clients.manager());
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

/// The status says that the node has pods or container groups: there is something to remove, even without a Node.
fn owed(connector: &VirtualKubeletConnector, os: Os) -> bool {
    let nodes = connector.status.iter().flat_map(|status| &status.nodes);
    nodes
        .filter(|node| node.os_type == os)
        .any(|node| node.container_groups.unwrap_or_default() > 0)
}

/// Why container groups cannot be reached, if so.
fn trouble(resolved: &Result<Resolved, Problem>, checked: &Checked) -> Option<String> {
    match resolved {
        Err(problem) => Some(problem.message.clone()),
        Ok(_) => {
            let blocking = checked
                .findings
                .iter()
                .flatten()
                .find(|finding: &&Finding| finding.blocks);
            blocking.map(|finding| finding.message.clone())
        }
    }
}

/// Since when the connector is being deleted, by our clock.
fn deletion_age(connector: &VirtualKubeletConnector) -> Option<Duration> {
    let Time(since) = connector.metadata.deletion_timestamp.as_ref()?;
    Some(
        Timestamp::now()
            .duration_since(*since)
            .try_into()
            .unwrap_or_default(),
    )
}

fn version(connector: &VirtualKubeletConnector) -> u64 {
    connector
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
