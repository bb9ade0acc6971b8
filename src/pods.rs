//! The pods of one virtual node: a pure index of what is and what to do next, and the loop that does it.
//!
//! One task owns the index, the queue and the status writer; calls to Azure and to the API server run beside it, a
//! bounded number at a time, and come back as inputs. Nothing is shared and nothing is locked.

pub mod index;
pub mod queue;
pub mod snapshot;
pub mod watch;
mod worker;
pub mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::watch as channel;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::index::{Effect, Index, Input, NameGroup, Now, Operation, PodEvent};
use self::queue::{Queue, Weight};
use self::watch::Change;
use self::worker::{Done, Worker};
use self::writer::Writer;
use crate::azure::throttle::Urgency;
use crate::kube::events::{Event, EventType, Events};
use crate::provider::{Doubts, Failure, Provider};
use crate::translate::{PodKey, status_patch};

/// Operations on Azure at once, per node. The limiter of the principal is the real brake; this bounds memory.
const OPERATIONS: usize = 100;
/// Status patches at once, per node: more saturate the API server rather than gain speed.
const WRITES: usize = 8;
/// Pods kept whole between their event and their creation; the others are read again.
const FRESH_PODS: usize = 256;
/// A list of groups may be as old as this part of the time between two: so that nodes that list the same resource group
/// at different times make one list do.
const LIST_AGE: f64 = 0.9;
/// The first list decides what is adopted: it may be shared only by nodes that start together.
const FIRST_LIST_AGE: Duration = Duration::from_secs(1);
/// What the looks at running pods cost is reckoned so often at most.
const PLAN: Duration = Duration::from_secs(1);
/// What is in flight when the agent stops gets this long to end, statuses included.
const DRAIN: Duration = Duration::from_secs(6);

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
    /// The container groups.
    pub provider: Arc<dyn Provider>,
    /// Pods to look at now.
    pub doubts: Arc<Doubts>,
    /// Where pods' events go.
    pub events: Events,
    /// Metrics.
    pub observer: Arc<dyn Observer>,
}

/// What the agent may change while the loop runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// No new group may be made.
    pub suspended: bool,
    /// Groups without a pod are deleted, not only counted.
    pub delete_orphans: bool,
}

/// How the pods are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Both lists have arrived.
    pub synced: bool,
    /// Pods bound to the node.
    pub pods: u32,
    /// Groups in Azure.
    pub groups: u32,
    /// Groups that no pod claims.
    pub orphans: u32,
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
    let changes = watch::changes(dependencies.node.clone(), node).boxed();
    let provider = dependencies.provider.clone();
    let name_group = NameGroup(Box::new(move |key| provider.group_name(key)));
    let mut pods = Loop {
        node: node.to_string(),
        started: Instant::now(),
        index: Index::new(host_ip, name_group, settings.borrow().delete_orphans),
        queue: Queue::default(),
        writer: Writer::default(),
        fresh: HashMap::new(),
        tasks: JoinSet::new(),
        owners: HashMap::new(),
        list_due: Some(Instant::now()),
        list_age: FIRST_LIST_AGE,
        plan_due: Instant::now(),
        list_failure: None,
        watch_failure: None,
        worker: Worker::new(&dependencies),
        doubts: dependencies.doubts.clone(),
        events: dependencies.events.clone(),
        observer: dependencies.observer.clone(),
    };
    pods.run(changes, settings, report, cancel).await;
}

/// What a running task works on, to put it right when the task panics.
enum Owner {
    Operation(PodKey, Operation),
    Write(PodKey),
    List,
}

struct Loop {
    node: String,
    started: Instant,
    index: Index,
    queue: Queue<PodKey, (Arc<str>, Operation, Urgency)>,
    writer: Writer,
    fresh: HashMap<PodKey, (Instant, Arc<Pod>)>,
    tasks: JoinSet<Done>,
    owners: HashMap<Id, Owner>,
    list_due: Option<Instant>,
    list_age: Duration,
    plan_due: Instant,
    list_failure: Option<String>,
    watch_failure: Option<String>,
    worker: Worker,
    doubts: Arc<Doubts>,
    events: Events,
    observer: Arc<dyn Observer>,
}

impl Loop {
    async fn run(
        &mut self,
        mut changes: futures::stream::BoxStream<'static, Change>,
        mut settings: channel::Receiver<Settings>,
        report: channel::Sender<Report>,
        cancel: CancellationToken,
    ) {
        self.apply_settings(*settings.borrow_and_update());
        let mut settings_open = true;
        loop {
            self.start_work();
            self.publish(&report);
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                change = changes.next() => match change {
                    Some(change) => self.changed(change),
                    None => break,
                },
                news = settings.changed(), if settings_open => match news {
                    Ok(()) => {
                        let now = *settings.borrow_and_update();
                        self.apply_settings(now);
                    }
                    Err(_) => settings_open = false,
                },
                pod = self.doubts.next() => self.step(Input::Doubted(pod)),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        drop(changes);
        self.drain().await;
        self.publish(&report);
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::now(),
            mono: self.started.elapsed(),
        }
    }

    fn step(&mut self, input: Input) {
        if let Some((operation, reason)) = input.failed() {
            self.observer.failure(operation, reason);
        }
        let now = Instant::now();
        for effect in self.index.step(self.now(), input) {
            match effect {
                Effect::Schedule {
                    key,
                    group,
                    operation,
                    weight,
                    after,
                } => {
                    let urgency = match weight {
                        Weight::Steady => Urgency::Steady,
                        Weight::Change | Weight::Fresh | Weight::Retry => Urgency::Prompt,
                    };
                    let work = (group, operation, urgency);
                    self.queue.schedule(now, key, work, weight, after);
                }
                Effect::Forget(key) => self.queue.forget(&key),
                Effect::List { after } => {
                    let (due, age) = (now + after, after.mul_f64(LIST_AGE));
                    if self.list_due.is_none_or(|earlier| due < earlier) {
                        (self.list_due, self.list_age) = (Some(due), age);
                    }
                }
                Effect::WriteStatus {
                    key,
                    status,
                    digest,
                } => self.writer.put(now, key, status, digest),
                Effect::Emit(event) => self.events.emit(to_event(event)),
                Effect::Unprovisioned(reason) => self.observer.failure("provision", reason),
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Applied(facts, pod) => {
                self.watch_failure = None;
                let key = facts.key.clone();
                let new = self.index.facts(&key).is_none();
                self.step(Input::PodApplied(facts));
                if let Some((_, known)) = self.fresh.get_mut(&key) {
                    *known = pod;
                } else if new && self.index.is_synced() && self.fresh.len() < FRESH_PODS {
                    self.fresh.insert(key, (Instant::now(), pod));
                }
            }
            Change::Gone(key) => {
                self.fresh.remove(&key);
                self.step(Input::PodGone(key));
            }
            Change::Synced => {
                self.watch_failure = None;
                self.step(Input::PodsSynced);
            }
            Change::Failed(error) => {
                tracing::warn!(node = self.node, %error, "the watch of pods failed; it is being started again");
                self.watch_failure = Some(error);
            }
        }
    }

    fn apply_settings(&mut self, settings: Settings) {
        self.index.set_delete_orphans(settings.delete_orphans);
        self.step(Input::Suspended(settings.suspended));
    }

    /// Starts what is due, as far as the bounds allow.
    fn start_work(&mut self) {
        let now = Instant::now();
        if now >= self.plan_due {
            self.plan_due = now + PLAN;
            let pace = self.worker.plan(self.index.wish(self.now()));
            self.index.set_pace(pace);
        }
        if self.list_due.is_some_and(|due| due <= now)
            && !self.owners.values().any(|o| matches!(o, Owner::List))
        {
            self.list_due = None;
            let task = self.worker.list(self.list_age);
            let id = self.tasks.spawn(task).id();
            self.owners.insert(id, Owner::List);
        }
        while self.queue.running() < OPERATIONS
            && let Some((key, (group, operation, urgency))) = self.queue.pop(now)
        {
            let pod = match operation {
                Operation::Ensure { .. } => self.fresh.remove(&key),
                _ => None,
            };
            if let Some((seen, _)) = &pod {
                self.observer.create_lag(seen.elapsed());
            }
            let task = self.worker.operation(
                key.clone(),
                group,
                (operation.clone(), urgency),
                pod.map(|(_, pod)| pod),
            );
            let id = self.tasks.spawn(task).id();
            self.owners.insert(id, Owner::Operation(key, operation));
        }
        self.start_writes(now);
    }

    fn start_writes(&mut self, now: Instant) {
        while self.writer.running() < WRITES
            && let Some((key, pending)) = self.writer.pop(now)
        {
            let Some(facts) = self.index.facts(&key) else {
                self.writer.done(&key);
                continue;
            };
            let patch = status_patch(facts, &pending.status);
            let task = self.worker.write(key.clone(), pending, patch);
            let id = self.tasks.spawn(task).id();
            self.owners.insert(id, Owner::Write(key));
        }
    }

    fn ended(&mut self, ended: Result<(Id, Done), tokio::task::JoinError>) {
        match ended {
            Ok((id, done)) => {
                self.owners.remove(&id);
                self.done(done);
            }
            Err(error) => {
                tracing::error!(node = self.node, %error, "a task of the pods' loop died");
                let failure = Failure::transient(
                    "Internal",
                    "an internal error; see the operator's log".to_string(),
                );
                match self.owners.remove(&error.id()) {
                    Some(Owner::Operation(key, operation)) => {
                        self.done(Done::Operation(
                            key.clone(),
                            worker::failed(key, &operation, failure),
                        ));
                    }
                    Some(Owner::Write(key)) => self.writer.done(&key),
                    Some(Owner::List) => self.done(Done::Listed(Err(failure))),
                    None => {}
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Operation(key, input) => {
                self.queue.finished(&key);
                self.step(input);
            }
            Done::Listed(result) => {
                self.list_failure = result.as_ref().err().map(|failure| failure.message.clone());
                self.step(Input::GroupsListed(result));
            }
            Done::Written(key, pending, outcome) => match outcome {
                Ok(()) => {
                    self.observer.status_lag(pending.since.elapsed());
                    self.writer.done(&key);
                    self.step(Input::StatusWritten(key, pending.digest));
                }
                Err(error) => {
                    tracing::warn!(node = self.node, ns = key.namespace, pod = key.name, %error, "status not written");
                    self.writer.failed(Instant::now(), key, pending);
                }
            },
        }
    }

    fn next_wake(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(60);
        let operations = (self.queue.running() < OPERATIONS)
            .then(|| self.queue.next_due())
            .flatten();
        let writes = (self.writer.running() < WRITES)
            .then(|| self.writer.next_due())
            .flatten();
        [operations, writes, self.list_due]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min)
    }

    fn publish(&self, report: &channel::Sender<Report>) {
        self.observer
            .queue(&self.node, self.queue.waiting(), self.queue.running());
        let synced = self.index.is_synced();
        let problem = if synced {
            None
        } else {
            self.list_failure
                .clone()
                .or_else(|| self.watch_failure.clone())
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let now = Report {
            synced,
            pods: count(self.index.pods()),
            groups: count(self.index.groups()),
            orphans: count(self.index.orphaned()),
            problem,
        };
        report.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                *before = now;
            }
            changed
        });
    }

    /// Nothing new is begun; what runs may end, and what it made known is written.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        loop {
            self.start_writes(Instant::now());
            if self.tasks.is_empty() && self.writer.is_idle() {
                break;
            }
            let wake = self.writer.next_due().unwrap_or(deadline).min(deadline);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(wake) => if Instant::now() >= deadline { break },
            }
        }
        self.tasks.shutdown().await;
    }
}

fn to_event(event: PodEvent) -> Event {
    Event {
        regarding: ObjectReference {
            api_version: Some("v1".to_string()),
            kind: Some("Pod".to_string()),
            namespace: Some(event.key.namespace),
            name: Some(event.key.name),
            uid: Some(event.key.uid),
            ..ObjectReference::default()
        },
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
