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
use tokio::time::Instant;

use super::capacity::Region;
use super::checks::{Finding, Register, Subject};
use super::held::Held;
use super::memory::{BACKOFF_CAP, CheckKey, Checked, Memory, Question};
use super::plan::{Identity, split};
use super::supervisor::Supervisor;
use super::validate::{Problem, Resolved, SecretState, resolve, secret_reference};
use super::{
    Context, FINALIZER, FLUX_REQUESTED_AT, FORCE_DELETE, REQUESTED_AT, dereference, workspace,
};
use crate::api::{CapacitySource, Os, Priority, VirtualKubeletConnector, node_name};
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
pub(super) struct Core {
    pub(super) context: Context,
    pub(super) supervisor: Supervisor,
    pub(super) events: Events,
    /// Gets the name of a connector that should be reconciled.
    pub(super) trigger: mpsc::Sender<String>,
    pub(super) memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
    pub(super) cluster_uid: OnceCell<String>,
    pub(super) held: Held,
}

/// The connector and the facts that no step changes.
pub(super) struct Subjects<'a> {
    pub(super) connector: &'a VirtualKubeletConnector,
    pub(super) identity: Identity,
    pub(super) deleting: bool,
    pub(super) forced: bool,
    /// What the annotations say that ask for a reconcile.
    pub(super) requested_at: [Option<String>; 2],
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
        let manager = self.context.clients.manager();
        let cluster_uid = self.cluster_uid().await?;
        let memory = self.memory(&uid);
        let mut memory = memory.lock().await;
        let memory = &mut *memory;
        memory.fence = Some(self.fence(&connector.name_any()));
        let workspace = self.workspace(connector, memory).await;
        let mut subjects = Subjects {
            identity: Identity {
                name: connector.name_any(),
                uid: uid.clone(),
                cluster_uid,
                cluster_dns: self.context.cluster_dns.clone(),
                workspace_key: memory.workspace_key.clone(),
                region: Region::default(),
            },
            deleting,
            forced: deleting && annotation(FORCE_DELETE).as_deref() == Some(uid.as_str()),
            requested_at: REQUESTS.map(annotation),
            connector,
        };
        let reference = secret_reference(&connector.spec, &self.context.namespace);
        let secret = dereference::secret(&manager, reference.as_ref()).await;
        let resolved = self
            .resolve(connector, &secret, memory)
            .and_then(|resolved| memory.arm(&self.context, &resolved).map(|_| resolved));
        let checked = match &resolved {
            Ok(resolved) => {
                self.watch_expiry(connector, memory, resolved);
                self.check(&subjects, memory, resolved)
            }
            Err(_) => memory.unchecked(),
        };
        subjects.identity.region = checked.region.clone();

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
        self.write_status(
            &subjects,
            memory,
            &resolved,
            workspace.as_ref().err(),
            &checked,
            &nodes,
        )
        .await?;
        let mut wake = checked.next;
        if let Some(retry) = memory.start_errors.values().map(|(_, at)| *at).min() {
            wake = wake.min(retry);
        }
        for problem in resolved
            .as_ref()
            .err()
            .into_iter()
            .chain(workspace.as_ref().err())
        {
            let pause = if problem.stalled {
                BACKOFF_CAP
            } else {
                SECRET_RETRY
            };
            wake = wake.min(Instant::now() + jitter(pause, 0.2));
        }
        if !leaving.is_empty() {
            wake = wake.min(Instant::now() + jitter(REMOVAL_STEP, 0.2));
        }
        Ok(Action::requeue(
            wake.saturating_duration_since(Instant::now())
                .max(Duration::from_millis(100)),
        ))
    }

    /// What spec and Secret come to. To open a certificate may take a second, so it is done once for each version.
    fn resolve(
        &self,
        connector: &VirtualKubeletConnector,
        secret: &SecretState,
        memory: &mut Memory,
    ) -> Result<Resolved, Problem> {
        let again = || {
            let Context {
                namespace,
                environment,
                ..
            } = &self.context;
            resolve(&connector.spec, secret, namespace, environment)
        };
        let SecretState::Found(found) = secret else {
            memory.resolved = None;
            return again();
        };
        let found = &found.metadata;
        let source = (
            connector.metadata.generation,
            found.uid.clone(),
            found.resource_version.clone(),
        );
        match &memory.resolved {
            Some((known, resolved)) if *known == source => resolved.clone(),
            _ => memory.resolved.insert((source, again())).1.clone(),
        }
    }

    /// Reads the key of the Log Analytics workspace into `memory`. While the API server does not answer, the last one
    /// stays.
    async fn workspace(
        &self,
        connector: &VirtualKubeletConnector,
        memory: &mut Memory,
    ) -> Result<(), Problem> {
        let namespace = &self.context.namespace;
        let reference = workspace::secret_reference(&connector.spec, namespace);
        let manager = self.context.clients.manager();
        let secret = dereference::secret(&manager, reference.as_ref()).await;
        let key = workspace::key(&connector.spec, &secret, namespace);
        match key {
            Ok(key) => memory.workspace_key = key,
            Err(problem) => {
                if problem.stalled {
                    memory.workspace_key = None;
                }
                return Err(problem);
            }
        }
        Ok(())
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
        let follows_quota = spec.node.capacity_source == CapacitySource::Quota;
        let subject = Subject {
            who: resolved.who.clone(),
            source: resolved.source.clone(),
            expires: resolved.expires,
            client: resolved.identity.client_id.clone().unwrap_or_default(),
            subscription: resolved.subscription.clone(),
            region: spec.region.clone(),
            resource_group: spec.aci_resource_group.clone(),
            subnet: spec.subnet_id.clone(),
            api_version: spec.container_instance_api_version.clone(),
            register: if spec.register_provider && !subjects.deleting {
                Register::Yes
            } else {
                Register::No
            },
            spot: spec.container_group.priority == Priority::Spot,
            follows_quota,
        };
        let identity = &subjects.identity;
        let node = |os: Os| (os, node_name(&identity.name, os, &spec.region));
        let question = Question {
            subject,
            connector: identity.name.clone(),
            connector_uid: identity.uid.clone(),
            cluster_uid: identity.cluster_uid.clone(),
            nodes: [Os::Linux, Os::Windows].map(node).into(),
            manager: self.context.clients.manager(),
        };
        memory.check(&key, question, self.context.pace, &self.trigger)
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
        let api = Api::<VirtualKubeletConnector>::all(clients.manager());
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

/// Why container groups cannot be reached, if so.
fn trouble(resolved: &Result<Resolved, Problem>, checked: &Checked) -> Option<String> {
    let checks = match resolved {
        Err(problem) => return Some(problem.message.clone()),
        Ok(_) => checked.findings.iter().flatten(),
    };
    let blocking = checks.into_iter().find(|finding: &&Finding| finding.blocks);
    blocking.map(|finding| finding.message.clone())
}
