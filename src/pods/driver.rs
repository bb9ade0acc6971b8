//! The loop of one node's pods: inputs to the engine, its effects to the backend.
//!
//! One task owns the engine, the queue and the status writer; calls run beside it, a bounded number at a time, and come back
//! as inputs. Nothing is shared and nothing is locked.

mod operations;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch as channel;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::operations::{died, internal, not_written, operate};
use super::backend::Backend;
use super::engine::{Begun, Effect, Engine, Input, NameGroup, Now, Operation, PodEvent, Tenants};
use super::fresh::Fresh;
use super::prober::{News, ProbeCounts, Prober};
use super::queue::Queue;
use super::slots::{OperationSlot, Slots};
use super::watch::Change;
use super::writer::{Pending, Writer};
use super::{Observer, Report, Settings, snapshot};
use crate::api::AllowedNamespaces;
use crate::kube::call::KubeError;
use crate::kube::namespaces::Namespaces;
use crate::provider::{Failure, Listing, RefreshRequests};
use crate::translate::PodKey;
use crate::watched::set_if_changed;

/// Operations on Azure at once, per node. The limiter of the principal is the real brake; this bounds memory.
const OPERATIONS: usize = 100;
/// Status patches at once, per node: more saturate the API server rather than gain speed.
const WRITES: usize = 8;
/// A list of groups may be as old as this part of the time between two: so that nodes that list the same resource group
/// at different times make one list do.
const LIST_AGE: f64 = 0.9;
/// The first list decides what is adopted: it may be shared only by nodes that start together.
const FIRST_LIST_AGE: Duration = Duration::from_secs(1);
/// What the polls of running pods cost is reckoned so often at most.
const PLAN: Duration = Duration::from_secs(1);
/// What runs is published no more often than this: each time all pods are gone through.
const SNAPSHOT: Duration = Duration::from_millis(200);
/// What is in flight when the agent stops gets this long to end, statuses included.
const DRAIN: Duration = Duration::from_secs(6);
/// Tries of a status write before somebody is told.
const SILENT_WRITES: u32 = 5;

/// Where the loop's pods' Events go.
pub(super) type Emit = Box<dyn Fn(PodEvent) + Send>;

/// Where what the loop knows goes.
pub(super) struct Sinks {
    pub(super) emit: Emit,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) report: channel::Sender<Report>,
    pub(super) snapshot: Arc<snapshot::Sender>,
    pub(super) probes: ProbeCounts,
}

/// What comes to the loop from outside.
pub(super) struct Sources {
    /// Changes of the node's pods.
    pub(super) changes: BoxStream<'static, Change>,
    pub(super) settings: channel::Receiver<Settings>,
    /// Pods to poll now.
    pub(super) refreshes: Arc<RefreshRequests>,
    pub(super) namespaces: channel::Receiver<Namespaces>,
}

/// What a running task works on, to put it right when the task panics.
#[derive(Debug)]
enum Owner {
    Operation(PodKey, Operation),
    Write(PodKey, Pending),
    List,
}

/// How a task ended.
enum Done {
    Operation(Input),
    Listed(Result<Listing, Failure>),
    Written(PodKey, Pending, Result<(), KubeError>),
}

pub(super) struct Driver<B> {
    node: String,
    backend: Arc<B>,
    sinks: Sinks,
    started: Instant,
    engine: Engine,
    queue: Queue<PodKey>,
    prober: Prober<B>,
    writer: Writer,
    fresh: Fresh,
    tasks: JoinSet<Done>,
    owners: HashMap<Id, Owner>,
    /// Hooks and signals under way: they take no slot, because a pod says how long they may take.
    hooks: HashMap<PodKey, AbortHandle>,
    slots: Slots,
    list_due: Option<Instant>,
    list_age: Duration,
    plan_due: Instant,
    list_failure: Option<String>,
    watch_failure: Option<String>,
    /// Something has happened that the report does not say yet.
    unreported: bool,
    /// When the snapshot is published next, if it is not up to date, and when it may be at the earliest.
    snapshot_due: Option<Instant>,
    snapshot_from: Instant,
    /// [`Settings::edits`] that the pods know of.
    edits: u64,
}

impl<B: Backend> Driver<B> {
    pub(super) fn new(node: &str, host_ip: Option<String>, backend: Arc<B>, sinks: Sinks) -> Self {
        let names = Arc::clone(&backend);
        let name_group = NameGroup(Box::new(move |key| names.group_name(key)));
        let now = Instant::now();
        Self {
            node: node.to_owned(),
            prober: Prober::new(Arc::clone(&backend), sinks.probes.clone()),
            backend,
            sinks,
            started: now,
            engine: Engine::new(host_ip, name_group, false),
            queue: Queue::default(),
            writer: Writer::default(),
            fresh: Fresh::default(),
            tasks: JoinSet::new(),
            owners: HashMap::new(),
            hooks: HashMap::new(),
            slots: Slots::new(OPERATIONS),
            list_due: Some(now),
            list_age: FIRST_LIST_AGE,
            plan_due: now,
            list_failure: None,
            watch_failure: None,
            unreported: true,
            snapshot_due: None,
            snapshot_from: now,
            edits: 0,
        }
    }

    /// Runs until `cancel` or the end of the changes; then ends what is in flight, flushes the statuses and returns.
    pub(super) async fn run(mut self, sources: Sources, cancel: CancellationToken) {
        let Sources {
            mut changes,
            mut settings,
            refreshes,
            mut namespaces,
        } = sources;
        let now = settings.borrow_and_update().clone();
        self.apply_settings(&now);
        let mut selector = now.allowed_namespaces;
        self.step(Input::Tenants(tenants(selector.as_ref(), &mut namespaces)));
        let (mut settings_open, mut namespaces_open) = (true, true);
        let slots = self.slots.clone();
        loop {
            self.start_work();
            self.publish();
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
                        let now = settings.borrow_and_update().clone();
                        self.apply_settings(&now);
                        selector.clone_from(&now.allowed_namespaces);
                        self.step(Input::Tenants(tenants(selector.as_ref(), &mut namespaces)));
                    }
                    Err(_) => settings_open = false,
                },
                news = namespaces.changed(), if namespaces_open => match news {
                    Ok(()) => self.step(Input::Tenants(tenants(selector.as_ref(), &mut namespaces))),
                    Err(_) => namespaces_open = false,
                },
                news = self.prober.next() => match news {
                    News::Of(key, news) => self.step(Input::Probed(key, news)),
                    News::Event(event) => (self.sinks.emit)(event),
                },
                pod = refreshes.next() => self.step(Input::Refresh(pod)),
                () = slots.freed(), if self.waits_for_a_slot() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        drop(changes);
        self.drain().await;
        self.publish();
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::now(),
            mono: self.started.elapsed(),
        }
    }

    fn step(&mut self, input: Input) {
        if let Some((operation, reason)) = input.failed() {
            self.sinks.observer.failure(operation, reason);
        }
        let effects = self.engine.step(self.now(), input);
        self.carry_out(effects);
        self.unreported = true;
        self.snapshot_due.get_or_insert(self.snapshot_from);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let now = Instant::now();
        for effect in effects {
            match effect {
                Effect::Schedule {
                    key,
                    priority,
                    after,
                    ..
                } => self.queue.set(key, priority, now + after),
                Effect::Forget(key) => self.queue.remove(&key),
                Effect::Abandon(key) => self.abandon(&key),
                Effect::Probe { key, target } => {
                    let facts = self.engine.facts(&key);
                    self.prober.set(&key, target.as_deref(), facts);
                }
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
                Effect::Emit(event) => (self.sinks.emit)(event),
                Effect::Unprovisioned(reason) => self.sinks.observer.failure("provision", reason),
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Applied(facts, pod) => {
                self.watch_failure = None;
                let key = facts.key.clone();
                let new = self.engine.facts(&key).is_none();
                self.step(Input::PodApplied(facts));
                if new {
                    let soon = self.engine.is_synced().then(Instant::now);
                    self.fresh.add(key, pod, soon);
                } else {
                    self.fresh.change(key, pod);
                }
            }
            Change::Gone(key) => {
                self.fresh.forget(&key);
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

    fn apply_settings(&mut self, settings: &Settings) {
        self.engine.set_delete_orphans(settings.delete_orphans);
        if let Some(token) = &settings.approved_orphans {
            let effects = self.engine.approve(self.now(), token);
            self.carry_out(effects);
        }
        self.step(Input::Suspended(settings.suspended));
        self.step(Input::Probes(settings.probes));
        if std::mem::replace(&mut self.edits, settings.edits) != settings.edits {
            self.step(Input::Edited);
        }
    }

    /// Starts what is due, as far as the bounds allow.
    fn start_work(&mut self) {
        let now = Instant::now();
        if now >= self.plan_due {
            self.plan_due = now + PLAN;
            let interval = self.backend.plan(self.engine.demand(self.now()));
            self.engine.set_poll_interval(interval);
        }
        if self.list_due.is_some_and(|due| due <= now)
            && !self.owners.values().any(|o| matches!(o, Owner::List))
        {
            self.list_due = None;
            let (backend, max_age) = (Arc::clone(&self.backend), self.list_age);
            let task = async move { Done::Listed(backend.list(max_age).await) };
            let id = self.tasks.spawn(task).id();
            self.owners.insert(id, Owner::List);
        }
        while self.is_due(now)
            && let Some(slot) = self.slots.take()
            && let Some(key) = self.queue.pop(now)
        {
            if let Some(begun) = self.engine.begin(self.now(), &key) {
                self.begin(key, begun, slot);
            }
        }
        self.start_writes(now);
    }

    fn begin(&mut self, key: PodKey, begun: Begun, slot: Arc<OperationSlot>) {
        if begun.operation == Operation::Timer {
            return self.step(Input::Timer(key));
        }
        let pod = match begun.operation {
            Operation::CreateGroup { .. } => self.fresh.take(&key),
            _ => None,
        };
        if let Some((seen, _)) = &pod {
            self.sinks.observer.create_lag(seen.elapsed());
        }
        let owner = Owner::Operation(key.clone(), begun.operation.clone());
        let large = self.fresh.is_large(&key);
        let hook = begun.operation.is_hook().then(|| key.clone());
        let task = operate(
            Arc::clone(&self.backend),
            key,
            begun,
            (pod.map(|(_, pod)| pod), large),
            slot,
        );
        let handle = self.tasks.spawn(task);
        self.owners.insert(handle.id(), owner);
        if let Some(key) = hook {
            self.hooks.insert(key, handle);
        }
    }

    /// Ends the hooks or signals of a pod; nothing comes of them.
    fn abandon(&mut self, key: &PodKey) {
        if let Some(handle) = self.hooks.remove(key) {
            self.owners.remove(&handle.id());
            handle.abort();
        }
    }

    /// Whether an operation is due.
    fn is_due(&self, now: Instant) -> bool {
        self.queue.next_due().is_some_and(|due| due <= now)
    }

    /// Whether something is due that no place is free for.
    fn waits_for_a_slot(&self) -> bool {
        !self.slots.is_free() && self.is_due(Instant::now())
    }

    fn start_writes(&mut self, now: Instant) {
        while self.writer.running() < WRITES
            && let Some((key, pending)) = self.writer.pop(now)
        {
            let Some(facts) = self.engine.facts(&key).cloned() else {
                self.writer.done(&key);
                continue;
            };
            let owner = Owner::Write(key.clone(), pending.clone());
            let backend = Arc::clone(&self.backend);
            let task = async move {
                let outcome = backend.write_status(&facts, &pending.status).await;
                Done::Written(key, pending, outcome)
            };
            let id = self.tasks.spawn(task).id();
            self.owners.insert(id, owner);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Done), JoinError>) {
        let (id, done) = match ended {
            Ok((id, done)) => (id, Some(done)),
            // One that was abandoned.
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(node = self.node, %error, "a task of the pods' loop died");
                (error.id(), None)
            }
        };
        let owner = self.owners.remove(&id);
        if let Some(Owner::Operation(key, operation)) = &owner
            && operation.is_hook()
        {
            self.hooks.remove(key);
        }
        match (done, owner) {
            (Some(done), _) => self.done(done),
            (None, Some(Owner::Operation(key, operation))) => {
                if let Some(input) = died(key, &operation) {
                    self.step(input);
                }
            }
            // What has been written is not known: it is written again.
            (None, Some(Owner::Write(key, pending))) => {
                self.writer.failed(Instant::now(), key, pending);
            }
            (None, Some(Owner::List)) => self.done(Done::Listed(Err(internal()))),
            (None, None) => {}
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Operation(input) => self.step(input),
            Done::Listed(result) => {
                self.list_failure = result.as_ref().err().map(|failure| failure.message.clone());
                self.step(Input::GroupsListed(result));
            }
            Done::Written(key, pending, Ok(())) => {
                self.sinks.observer.status_lag(pending.since.elapsed());
                self.writer.done(&key);
                self.step(Input::StatusWritten(key, pending.digest));
            }
            Done::Written(key, pending, Err(error)) => {
                tracing::warn!(node = self.node, ns = key.namespace, pod = key.name, %error, "status not written");
                if pending.attempts() == SILENT_WRITES {
                    (self.sinks.emit)(not_written(&key, &error));
                }
                self.writer.failed(Instant::now(), key, pending);
            }
        }
    }

    fn next_wake(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(60);
        let operations = self
            .slots
            .is_free()
            .then(|| self.queue.next_due())
            .flatten();
        [
            operations,
            self.next_write(),
            self.list_wake(),
            self.snapshot_due,
        ]
        .into_iter()
        .flatten()
        .fold(idle, Instant::min)
    }

    /// When a status may be written next; `None` while all writers are busy, whose end is an event of its own.
    fn next_write(&self) -> Option<Instant> {
        (self.writer.running() < WRITES)
            .then(|| self.writer.next_due())
            .flatten()
    }

    /// When the next list begins; `None` while one is being read.
    fn list_wake(&self) -> Option<Instant> {
        let reading = self.owners.values().any(|o| matches!(o, Owner::List));
        self.list_due.filter(|_| !reading)
    }

    fn publish(&mut self) {
        self.sinks
            .observer
            .queue(&self.node, self.queue.len(), self.slots.taken());
        if std::mem::take(&mut self.unreported) {
            self.report();
        }
        let now = Instant::now();
        if self.snapshot_due.is_some_and(|due| due <= now) {
            self.snapshot_due = None;
            self.snapshot_from = now + SNAPSHOT;
            snapshot::publish(&self.sinks.snapshot, self.engine.all_facts());
        }
    }

    fn report(&self) {
        let synced = self.engine.is_synced();
        let problem = if synced {
            None
        } else {
            self.list_failure
                .clone()
                .or_else(|| self.watch_failure.clone())
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let counts = self.engine.counts();
        let now = Report {
            synced,
            pods: count(counts.pods),
            groups: count(counts.groups),
            orphans: count(counts.orphans),
            held: self.engine.held(),
            problem,
        };
        set_if_changed(&self.sinks.report, now);
    }

    /// Nothing new is begun; what runs may end, and what it made known is written.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        // That they were begun is on record: whoever goes on does not run them again.
        for key in self.hooks.keys().cloned().collect::<Vec<_>>() {
            self.abandon(&key);
        }
        loop {
            self.start_writes(Instant::now());
            if self.tasks.is_empty() && self.writer.is_idle() {
                break;
            }
            let wake = self.next_write().unwrap_or(deadline).min(deadline);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = tokio::time::sleep_until(wake) => if Instant::now() >= deadline { break },
            }
        }
        self.tasks.shutdown().await;
    }
}

/// Which namespaces' pods may have groups, by what is known of their labels now.
fn tenants(
    selector: Option<&Arc<AllowedNamespaces>>,
    namespaces: &mut channel::Receiver<Namespaces>,
) -> Tenants {
    let namespaces = namespaces.borrow_and_update().clone();
    match selector {
        None => Tenants::All,
        Some(selector) => Tenants::Selected {
            selector: Arc::clone(selector),
            namespaces,
        },
    }
}

#[cfg(test)]
mod tests;
