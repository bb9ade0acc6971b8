//! The pods of one virtual node: a pure engine that decides what is next, and the loop that does it.

pub mod backend;
mod driver;
pub mod engine;
mod fresh;
pub mod prober;
pub mod queue;
mod slots;
pub mod snapshot;
pub mod watch;
pub mod writer;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use self::backend::Live;
pub use self::backend::read_pod;
use self::driver::{Driver, Sinks, Sources};
use self::engine::{Held, PodEvent};
pub use self::prober::ProbeCounts;
use crate::api::{AllowedNamespaces, Probes};
use crate::kube::events::{Event, EventType, Events};
use crate::kube::namespaces::Namespaces;
use crate::provider::{Aci, RefreshRequests};
use crate::translate::PodKey;

/// What happens in the pods' loop, for metrics.
pub trait Observer: Send + Sync {
    /// A status reached the API server this long after the observation that made it.
    fn status_lag(&self, lag: Duration);
    /// A pod's create was sent this long after its event arrived.
    fn create_lag(&self, lag: Duration);
    /// Operations that wait and run.
    fn queue(&self, node: &str, waiting: usize, running: usize);
    /// An operation on a container group failed for this reason, which is that of the pod's status or Event.
    fn failure(&self, operation: &'static str, reason: &'static str);
}

impl Observer for () {
    fn status_lag(&self, _: Duration) {}
    fn create_lag(&self, _: Duration) {}
    fn queue(&self, _: &str, _: usize, _: usize) {}
    fn failure(&self, _: &'static str, _: &'static str) {}
}

/// What the loop needs from outside.
#[derive(Clone)]
pub struct Dependencies {
    /// Acts as the node.
    pub node: Client,
    /// Acts as the operator: live GETs of pods that may be gone.
    pub manager: Client,
    pub provider: Arc<Aci>,
    /// Pods to poll now.
    pub refreshes: Arc<RefreshRequests>,
    /// Where pods' events go.
    pub events: Events,
    pub observer: Arc<dyn Observer>,
    /// Where it is published which pods run.
    pub snapshot: Arc<snapshot::Sender>,
    /// Where it is counted how probes go.
    pub probes: ProbeCounts,
    /// The labels of all namespaces.
    pub namespaces: channel::Receiver<Namespaces>,
}

/// What the agent may change while the loop runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// No new group may be made.
    pub suspended: bool,
    /// Groups without a pod are deleted, not only counted.
    pub delete_orphans: bool,
    /// A person's approval of the deletion of groups that were too many at once: the token of [`Held`].
    pub approved_orphans: Option<String>,
    /// Which namespaces' pods may have groups; all without it.
    pub allowed_namespaces: Option<Arc<AllowedNamespaces>>,
    /// Who runs the probes of containers.
    pub probes: Probes,
    /// How often it has changed what container groups are made with: pods that were refused may run now.
    pub edits: u64,
}

/// How the pods are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Both lists have arrived.
    pub synced: bool,
    /// Pods bound to the node.
    pub pods: u32,
    pub groups: u32,
    /// Groups that no pod claims.
    pub orphans: u32,
    /// Those of them that are not deleted because they are too many at once.
    pub held: Option<Held>,
    /// Why the lists do not arrive.
    pub problem: Option<String>,
}

/// Keeps the pods of `node` until `cancel`; then ends what is in flight, flushes the statuses and returns.
pub async fn run(
    node: &str,
    host_ip: Option<String>,
    dependencies: Dependencies,
    settings: channel::Receiver<Settings>,
    report: channel::Sender<Report>,
    cancel: CancellationToken,
) {
    let Dependencies {
        node: client,
        manager,
        provider,
        refreshes,
        events,
        observer,
        snapshot,
        probes,
        namespaces,
    } = dependencies;
    let changes = watch::changes(client.clone(), node).boxed();
    let backend = Arc::new(Live {
        aci: provider,
        node: client,
        manager,
    });
    let emit = Box::new(move |event| events.emit(to_event(event)));
    let sources = Sources {
        changes,
        settings,
        refreshes,
        namespaces,
    };
    let sinks = Sinks {
        emit,
        observer,
        report,
        snapshot,
        probes,
    };
    Driver::new(node, host_ip, backend, sinks)
        .run(sources, cancel)
        .await;
}

/// The pod of `key`, as Events name it.
pub fn object_reference(key: PodKey) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_string()),
        kind: Some("Pod".to_string()),
        namespace: Some(key.namespace),
        name: Some(key.name),
        uid: Some(key.uid),
        ..ObjectReference::default()
    }
}

fn to_event(event: PodEvent) -> Event {
    Event {
        regarding: object_reference(event.key),
        related: None,
        reason: event.reason,
        action: "SyncPod",
        note: event.message,
        origin: event.origin,
        kind: if event.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
    }
}
