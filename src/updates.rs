//! Brings the files of running pods' volumes up to date: Secrets, `ConfigMap`s, labels, annotations and tokens.
//!
//! A kubelet writes into the volume; here the shim in a container does, over ACI's exec, in pods that have it for that
//! ([`crate::api::VolumeUpdates`]). `plan` (pure) says which pod is looked at and when, `objects` watches what volumes are made of,
//! and what was written is a condition of the pod, so that the next process need not write it again.

mod live;
mod objects;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::live::Live;
use self::objects::Objects;
use self::plan::{Now, ObjectName, Plan};
use crate::kube::call::KubeError;
use crate::kube::events::{Event, EventType, Events};
use crate::pods::{object_reference, snapshot};
use crate::provider::{Aci, Failure, MadeWith, UpdateWanted, VolumesBrought};
use crate::translate::PodKey;

/// Changes of objects that wait to be looked at.
const CHANGES: usize = 64;

/// What the updates of a node's volumes need.
#[derive(Clone)]
pub struct Dependencies {
    /// Acts as the node.
    pub node: Client,
    pub provider: Arc<Aci>,
    /// What runs.
    pub pods: snapshot::Receiver,
    pub events: Events,
}

/// Azure and the API server, as the loop needs them. Every call but [`Calls::follow`] ends in bounded time.
#[async_trait]
trait Calls: Send + Sync + 'static {
    fn made(&self, key: &PodKey) -> MadeWith;
    async fn update(&self, key: &PodKey, wanted: &UpdateWanted) -> Result<VolumesBrought, Failure>;
    /// Writes down what is in the volumes of a pod.
    async fn record(&self, key: &PodKey, version: &str, at: Timestamp) -> Result<(), KubeError>;
    /// Tells each change of `object`, for ever.
    async fn follow(&self, object: ObjectName, changes: mpsc::Sender<ObjectName>);
}

/// Keeps the volumes of a node's pods up to date until `cancel`.
pub async fn run(dependencies: Dependencies, cancel: CancellationToken) {
    let Dependencies {
        node,
        provider,
        pods,
        events,
    } = dependencies;
    let calls = Arc::new(Live::new(node, provider));
    let emit = move |event| events.emit(event);
    Updates::new(calls, Box::new(emit)).run(pods, cancel).await;
}

struct Updates<C> {
    calls: Arc<C>,
    emit: Box<dyn Fn(Event) + Send + Sync>,
    plan: Plan,
    started: Instant,
    tasks: JoinSet<Result<VolumesBrought, Failure>>,
    owners: HashMap<Id, PodKey>,
}

impl<C: Calls> Updates<C> {
    fn new(calls: Arc<C>, emit: Box<dyn Fn(Event) + Send + Sync>) -> Self {
        Self {
            calls,
            emit,
            plan: Plan::default(),
            started: Instant::now(),
            tasks: JoinSet::new(),
            owners: HashMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.started.elapsed(),
            wall: Timestamp::now(),
        }
    }

    async fn run(mut self, mut pods: snapshot::Receiver, cancel: CancellationToken) {
        let (tell, mut changes) = mpsc::channel(CHANGES);
        let mut objects = Objects::new(Arc::clone(&self.calls), tell);
        pods.mark_changed();
        loop {
            while let Some((key, wanted)) = self.plan.take(self.now()) {
                self.begin(key, wanted);
            }
            let due = self.plan.next().map(|at| self.started + at);
            tokio::select! {
                () = cancel.cancelled() => break,
                Ok(()) = pods.changed() => self.saw(&mut pods, &mut objects),
                Some(object) = changes.recv() => {
                    let now = self.now();
                    self.plan.changed(now, &object);
                }
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(due.unwrap_or(self.started)), if due.is_some() => {
                    if self.plan.look_again(self.now()) {
                        self.saw(&mut pods, &mut objects);
                    }
                }
            }
        }
        self.tasks.shutdown().await;
    }

    fn saw(&mut self, pods: &mut snapshot::Receiver, objects: &mut Objects<C>) {
        let running = pods.borrow_and_update().clone();
        let calls = Arc::clone(&self.calls);
        let now = self.now();
        let made = |key: &PodKey| calls.made(key);
        // The volumes of a pod do not change.
        if self.plan.set_pods(now, &running, made, fastrand::f64) {
            objects.set(&self.plan.objects());
        }
    }

    fn begin(&mut self, key: PodKey, wanted: UpdateWanted) {
        let (calls, of) = (Arc::clone(&self.calls), key.clone());
        let task = async move {
            let brought = calls.update(&of, &wanted).await?;
            if let VolumesBrought::Written(version) = &brought
                && let Err(error) = calls.record(&of, version, Timestamp::now()).await
            {
                // The next process writes it once more.
                tracing::warn!(ns = of.namespace, pod = of.name, %error, "it is not on record what is in the volumes");
            }
            Ok(brought)
        };
        let id = self.tasks.spawn(task).id();
        self.owners.insert(id, key);
    }

    fn ended(&mut self, ended: Result<(Id, Result<VolumesBrought, Failure>), JoinError>) {
        let (id, result) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "an update of volumes died");
            let message = "an internal error; see the operator's log".to_owned();
            (error.id(), Err(Failure::transient("Internal", message)))
        });
        let Some(key) = self.owners.remove(&id) else {
            return;
        };
        if let Some(version) = self.plan.ended(self.now(), &key, &result) {
            tracing::info!(ns = key.namespace, pod = key.name, %version, "volumes are up to date");
        }
        if let Err(failure) = result {
            tracing::info!(ns = key.namespace, pod = key.name, reason = failure.reason, error = %failure, "volumes were not brought up to date");
            (self.emit)(not_updated(&key, &failure));
        }
    }
}

fn not_updated(key: &PodKey, failure: &Failure) -> Event {
    Event {
        regarding: object_reference(key.clone()),
        related: None,
        reason: "VolumesNotUpdated".to_owned(),
        action: "UpdateVolumes",
        note: format!(
            "What the pod's volumes are made of has changed, or a token is about to end, and the files could not be written; it is \
             tried again: {failure}"
        ),
        kind: EventType::Warning,
        origin: None,
    }
}

#[cfg(test)]
mod tests;
