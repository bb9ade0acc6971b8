//! The pods of one virtual node and their container groups. PURE: inputs and the time in, effects out.
//!
//! Identity is the pod's UID. What is true comes from two complete lists, the pods of the API server and the groups of
//! Azure; nothing is created or deleted before both arrived. A group is created once. It is deleted when its pod is
//! being deleted, or is known by a live GET to be gone.
//!
//! Level-triggered: an input changes a record ([`on_pod`], [`on_list`], [`on_group`], [`on_result`]), rules bring the
//! record as far as facts and time alone allow ([`rules`]), and [`next`] chooses the one operation that is next. Nothing
//! else schedules, and an answer that comes late changes facts only.

mod breaker;
mod cadence;
mod changes;
mod condemned;
mod ending;
mod exchange;
mod messages;
mod namespaces;
mod next;
mod notices;
mod on_group;
mod on_list;
mod on_pod;
mod on_result;
mod post_start;
mod probing;
mod queued;
mod record;
mod rules;
mod shared_failures;
#[cfg(test)]
mod simulation;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::jiff::Timestamp;

use self::breaker::Breaker;
pub use self::breaker::HOLD;
pub use self::namespaces::Tenants;
pub use self::probing::ProbeNews;
use self::record::Record;
use self::stage::{Flight, Stage};
use crate::api::Probes;
use crate::azure::model::ContainerGroup;
use crate::azure::throttle::{PollDemand, PollInterval};
use crate::kube::events::Origin;
use crate::pods::queue::Priority;
use crate::provider::{Deleted, EndLogs, Ensured, Failure, FailureKind, Listing, Unreached};
use crate::translate::{ContainerEnd, PodFacts, PodKey, ProbeTarget};

/// The time, twice: by the wall for what people read, and since the agent started for intervals.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub wall: Timestamp,
    /// Monotonic time since the agent started.
    pub mono: Duration,
}

/// Whether a pod still exists, by a live GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The API server has no pod of that name, or one with another UID.
    Gone,
    Alive,
    /// The API server did not say.
    Unknown,
}

#[derive(Debug)]
pub enum Input {
    /// The API server has this pod on our node.
    PodApplied(Box<PodFacts>),
    /// The API server no longer has this pod.
    PodGone(PodKey),
    /// The first complete list of pods has been applied.
    PodsSynced,
    /// A complete list of our groups.
    GroupsListed(Result<Listing, Failure>),
    Created(PodKey, Result<Ensured, Failure>),
    /// A GET of a group ended.
    Observed(PodKey, Result<Option<Box<ContainerGroup>>, Failure>),
    /// A delete of a group ended.
    Deleted(PodKey, Result<Deleted, Failure>),
    /// A stop of a group ended.
    Stopped(PodKey, Result<(), Failure>),
    /// A try to give a group another image ended; `None` when there is no such group.
    ImageExchanged(PodKey, Result<Option<Ensured>, Failure>),
    /// A restart of a group ended.
    Restarted(PodKey, Result<(), Failure>),
    /// The logs of containers that have ended were read.
    LogsRead(PodKey, Result<EndLogs, Failure>),
    /// The `postStart` hooks of a pod ended; those that failed.
    PostStartEnded(PodKey, Vec<Unreached>),
    /// The `preStop` hooks of a pod ended; those that failed.
    PreStopEnded(PodKey, Vec<Unreached>),
    /// SIGTERM was sent to the containers of a pod; those that it did not reach.
    Signalled(PodKey, Vec<Unreached>),
    /// The programs of containers were killed; those that were not.
    Killed(PodKey, Vec<Unreached>),
    /// What the probes of a pod have shown.
    Probed(PodKey, ProbeNews),
    /// A timer is due.
    Timer(PodKey),
    /// An exec or log call observed a state that contradicts the pod's status: poll it.
    Refresh(PodKey),
    /// A live GET of a pod ended.
    PodRead(PodKey, Presence),
    /// The status writer is done with this status: it is in the API server, or its pod is gone.
    StatusWritten(PodKey, u64),
    /// The removal of a pod from the API server ended; false when it has to be tried again.
    PodDeleted(PodKey, bool),
    /// No new group may be made, or may again.
    Suspended(bool),
    /// Which namespaces' pods may have groups.
    Tenants(Tenants),
    /// Who runs the probes of containers.
    Probes(Probes),
    /// Groups are made with something else now.
    Edited,
}

impl Input {
    /// The operation that failed, and why.
    pub(super) fn failed(&self) -> Option<(&'static str, &'static str)> {
        let (operation, failure) = match self {
            Self::GroupsListed(Err(failure)) => ("list", failure),
            Self::Created(_, Err(failure)) => ("create", failure),
            Self::Observed(_, Err(failure)) => ("look", failure),
            Self::Deleted(_, Err(failure)) => ("delete", failure),
            Self::Stopped(_, Err(failure)) => ("stop", failure),
            Self::Restarted(_, Err(failure)) => ("restart", failure),
            Self::ImageExchanged(_, Err(failure)) => ("image", failure),
            Self::LogsRead(_, Err(failure)) => ("logs", failure),
            _ => return None,
        };
        (failure.kind != FailureKind::Queued).then_some((operation, failure.reason))
    }
}

/// An operation on Azure or on the API server for one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    CreateGroup {
        /// GET before PUT, and adopt what is there.
        look_first: bool,
        /// Restarts that the pod's containers have behind them, when a group before this one was lost.
        restarts: i32,
    },
    GetGroup,
    DeleteGroup,
    /// Stop the group's containers; the group stays.
    StopGroup,
    /// Start the group's containers anew.
    RestartGroup,
    /// Give the group's only container the image that the pod has now, unless it has it.
    ExchangeImage,
    /// Read the end of the logs of these ends, and the group after that.
    ReadLogs(Vec<ContainerEnd>),
    /// Run the `postStart` hooks of these containers.
    RunPostStart(Vec<String>),
    /// Run the `preStop` hooks of these containers.
    RunPreStop(Vec<String>),
    /// Send SIGTERM to these containers.
    SendSignal(Vec<String>),
    /// Kill the programs of these containers.
    Kill(Vec<String>),
    /// GET the pod from the API server.
    GetPod,
    /// Remove the pod from the API server.
    DeletePod,
    /// Nothing: rules are applied again at that time.
    Timer,
}

impl Operation {
    /// Whether it is done in the containers of a pod, and takes as long as the pod allows.
    pub(super) fn is_hook(&self) -> bool {
        matches!(
            self,
            Self::RunPostStart(_) | Self::RunPreStop(_) | Self::SendSignal(_) | Self::Kill(_)
        )
    }
}

/// What a pod's owner should be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    pub key: PodKey,
    /// `Warning` when a person should look.
    pub warning: bool,
    pub reason: String,
    pub message: String,
    /// For what Azure told: how often and when it happened there.
    pub origin: Option<Origin>,
}

#[derive(Debug, PartialEq)]
pub enum Effect {
    /// The next operation of this pod and when it is due, instead of what was scheduled before.
    Schedule {
        key: PodKey,
        /// What it will be if nothing happens until then; [`Engine::begin`] says what it is.
        operation: Operation,
        /// Its place among what is due.
        priority: Priority,
        /// How long to wait.
        after: Duration,
    },
    /// Nothing is scheduled for this pod any more.
    Forget(PodKey),
    /// The hooks or signals of this pod that are under way are not waited for.
    Abandon(PodKey),
    /// Probe these containers of the pod from now on, and no others.
    Probe {
        key: PodKey,
        target: Option<Arc<ProbeTarget>>,
    },
    /// LIST the groups of the node.
    List {
        /// How long to wait.
        after: Duration,
    },
    /// Write a status to the API server.
    WriteStatus {
        key: PodKey,
        /// The whole of the status that we own.
        status: Box<PodStatus>,
        digest: u64,
    },
    /// Tell the pod's owner.
    Emit(PodEvent),
    /// Count that Azure took a group and did not provision it, for this reason.
    Unprovisioned(&'static str),
}

/// More groups in creation than this are watched by LIST rather than one GET each.
const BULK_THRESHOLD: usize = 8;

/// What [`next::next`] has to know of the node.
#[derive(Debug, Default)]
struct NodeState {
    lists: Lists,
    /// No group may be made.
    suspended: bool,
    /// Which namespaces' pods may have groups.
    tenants: Tenants,
    /// Who runs the probes of containers.
    probes: Probes,
    /// Groups that a list shows without a pod are deleted, not only counted.
    delete_orphans: bool,
    /// A list tells which groups have been provisioned.
    bulk_listing: bool,
    interval: PollInterval,
    breaker: Breaker,
    /// Since when it is known that another control plane works with the same groups. Only a person's word ends it: that the
    /// groups that showed it are gone may be the other one's doing.
    another_control_plane: Option<Timestamp>,
}

/// Which complete lists have arrived.
#[derive(Debug, Default)]
struct Lists {
    pods: bool,
    groups: bool,
}

impl NodeState {
    fn is_synced(&self) -> bool {
        self.lists.pods && self.lists.groups
    }
}

/// All pods of one node, and all container groups.
#[derive(Debug)]
pub struct Engine {
    host_ip: Option<Arc<str>>,
    group_name: NameGroup,
    records: HashMap<PodKey, Record>,
    node: NodeState,
    list_failures: u32,
    /// Records whose next operation may be another one now.
    touched: Vec<PodKey>,
}

/// How many pods and groups a node has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods bound to the node.
    pub pods: usize,
    /// Groups in Azure that belong to the node, as far as known.
    pub groups: usize,
    /// Groups that no pod claims.
    pub orphans: usize,
}

/// Why groups without a pod are not deleted. The first reason that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Some of them were made by another control plane.
    AnotherControlPlane,
    /// They are too many at once.
    TooMany,
    /// They were made for a connector of this name that no longer exists.
    Predecessor,
}

/// Groups without a pod that are not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub why: Hold,
    /// Names of the groups, sorted.
    pub groups: Vec<String>,
    /// Identifies this set, for a person's approval.
    pub token: String,
}

/// An operation to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Name of the pod's group.
    pub group: Arc<str>,
    pub operation: Operation,
    /// Its place among what is due.
    pub priority: Priority,
}

/// Gives the group name of a pod that has no group yet.
pub struct NameGroup(pub Box<dyn Fn(&PodKey) -> String + Send + Sync>);

impl std::fmt::Debug for NameGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameGroup")
    }
}

impl Engine {
    /// An empty engine; the first effect to run is a list of groups.
    pub fn new(host_ip: Option<String>, group_name: NameGroup, delete_orphans: bool) -> Self {
        Self {
            host_ip: host_ip.map(Into::into),
            group_name,
            records: HashMap::new(),
            node: NodeState {
                delete_orphans,
                ..NodeState::default()
            },
            list_failures: 0,
            touched: Vec::new(),
        }
    }

    /// Takes one input and says what to do about it.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let fx = &mut effects;
        match input {
            Input::PodApplied(facts) => self.pod_applied(now, *facts, fx),
            Input::PodGone(key) => self.pod_gone(now, &key),
            Input::PodsSynced => self.pods_synced(),
            Input::GroupsListed(Ok(listing)) => self.groups_listed(now, &listing, fx),
            Input::GroupsListed(Err(failure)) => self.list_failed(&failure, fx),
            Input::Created(key, result) => self.created(now, &key, result, fx),
            Input::Observed(key, result) => self.observed(now, &key, result, fx),
            Input::Deleted(key, result) => self.deleted(now, &key, result, fx),
            Input::Stopped(key, result) => self.stopped(now, &key, result, fx),
            Input::Restarted(key, result) => self.restarted(now, &key, result, fx),
            Input::ImageExchanged(key, result) => self.image_exchanged(now, &key, result, fx),
            Input::Probed(key, news) => self.probed(now, &key, news, fx),
            Input::Probes(probes) => self.set_probes(now, probes, fx),
            Input::LogsRead(key, result) => self.logs_read(now, &key, result, fx),
            Input::PostStartEnded(key, failed) => self.post_start_ended(now, &key, &failed, fx),
            Input::PreStopEnded(key, failed) => self.pre_stop_ended(now, &key, &failed, fx),
            Input::Signalled(key, unreached) => self.signalled(now, &key, &unreached, fx),
            Input::Killed(key, unreached) => self.killed(now, &key, &unreached, fx),
            Input::PodRead(key, presence) => self.pod_read(now, &key, presence),
            Input::PodDeleted(key, done) => self.pod_deleted(now, &key, done),
            Input::Timer(key) => self.touched.push(key),
            Input::Refresh(key) => self.refresh(&key),
            Input::StatusWritten(key, digest) => self.status_written(&key, digest),
            Input::Suspended(suspended) => self.set_suspended(suspended),
            Input::Tenants(tenants) => self.set_tenants(tenants),
            Input::Edited => self.review_refused(now),
        }
        self.settle(now, fx);
        effects
    }

    /// Begins the operation of `key` that is due: the one that is next as things are now. `None` when there is none any
    /// more. Its end must be told by the input that belongs to it.
    pub fn begin(&mut self, now: Now, key: &PodKey) -> Option<Begun> {
        let record = self.records.get_mut(key)?;
        let planned = record.planned.take()?;
        if planned.operation != Operation::Timer {
            record.in_flight = Some(Flight {
                operation: planned.operation.clone(),
                epoch: record.epoch,
                began: now.wall,
            });
        }
        Some(Begun {
            group: Arc::clone(&record.group),
            operation: planned.operation,
            priority: planned.priority,
        })
    }

    /// The record whose operation has ended, and whether that began in an earlier stage.
    fn land(&mut self, now: Now, key: &PodKey) -> Option<(&mut Record, bool)> {
        let record = self.records.get_mut(key)?;
        self.touched.push(key.clone());
        let late = record.land(now);
        Some((record, late))
    }

    /// Applies the rules to what has been touched and schedules what is next.
    fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut settled = self.apply_rules_to_touched(now, effects);
        self.look_for_another_control_plane(now, &settled);
        settled.append(&mut self.apply_rules_to_touched(now, effects));
        if settled.len() > BULK_THRESHOLD {
            self.note_bulk(effects);
            settled.append(&mut self.touched);
        }
        settled.sort();
        settled.dedup();
        for key in settled {
            let Some(record) = self.records.get_mut(&key) else {
                effects.push(Effect::Forget(key));
                continue;
            };
            let target = record.probe_target();
            if record.told_probes != target {
                record.told_probes.clone_from(&target);
                let key = key.clone();
                effects.push(Effect::Probe { key, target });
            }
            let next = next::next(record, &self.node, now);
            if record.planned == next {
                continue;
            }
            match &next {
                Some(next) => effects.push(Effect::Schedule {
                    key,
                    operation: next.operation.clone(),
                    priority: next.priority,
                    after: next.due.saturating_sub(now.mono),
                }),
                None => effects.push(Effect::Forget(key)),
            }
            record.planned = next;
        }
        self.reset_breaker();
    }

    /// Applies the rules until no record is touched any more. The keys of all that were.
    fn apply_rules_to_touched(&mut self, now: Now, effects: &mut Vec<Effect>) -> Vec<PodKey> {
        let mut settled = Vec::new();
        while !self.touched.is_empty() {
            let mut touched = std::mem::take(&mut self.touched);
            touched.sort();
            touched.dedup();
            for key in &touched {
                self.apply_rules(now, key, effects);
            }
            settled.append(&mut touched);
        }
        settled
    }

    fn touch_all(&mut self) {
        self.touched.extend(self.records.keys().cloned());
    }

    /// Whether groups without a pod are deleted or only counted, from the next list on.
    pub fn set_delete_orphans(&mut self, delete: bool) {
        self.node.delete_orphans = delete;
    }

    /// Polls of running pods follow `interval` from now on.
    pub fn set_poll_interval(&mut self, interval: PollInterval) {
        self.node.interval = interval;
    }

    /// A person has agreed to the deletion of the groups that one of `tokens` names; they are separated by commas.
    pub fn approve(&mut self, now: Now, tokens: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let agreed = |held: Held| tokens.split(',').any(|token| token.trim() == held.token);
        if self.held().is_some_and(agreed) {
            self.node.breaker.approve(now);
            self.node.another_control_plane = None;
            self.touch_all();
            self.settle(now, &mut effects);
        }
        effects
    }

    /// What polls of the running pods would cost.
    pub fn demand(&self, now: Now) -> PollDemand {
        let mut demand = PollDemand::default();
        for record in self.records.values() {
            if let Stage::Running { stable_since } = record.stage {
                let stable = now.mono.saturating_sub(stable_since);
                cadence::add_demand(&mut demand, stable, record.ends());
            }
        }
        demand
    }

    /// True once both lists arrived.
    pub fn is_synced(&self) -> bool {
        self.node.is_synced()
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for record in self.records.values() {
            counts.pods += usize::from(record.pod.is_some());
            counts.groups += usize::from(record.has_group());
            counts.orphans += usize::from(record.is_orphan() && record.has_group());
        }
        counts
    }

    fn orphans(&self) -> impl Iterator<Item = &Record> {
        self.records
            .values()
            .filter(|record| record.is_orphan() && record.has_group())
    }

    /// The groups that would be deleted if nothing held that back.
    pub fn held(&self) -> Option<Held> {
        let waiting = |record: &&Record| {
            matches!(record.stage, Stage::Orphaned(_)) || record.is_held_back(&self.node)
        };
        let tripped = self.node.breaker.tripped_at().is_some();
        let another = self.node.another_control_plane;
        let why = if another.is_some() {
            Hold::AnotherControlPlane
        } else if tripped {
            Hold::TooMany
        } else {
            Hold::Predecessor
        };
        let is_held = |record: &&Record| why != Hold::Predecessor || record.needs_a_word();
        let mut groups: Vec<String> = self
            .orphans()
            .filter(waiting)
            .filter(is_held)
            .map(|record| record.group.to_string())
            .collect();
        if groups.is_empty() && another.is_none() {
            return None;
        }
        groups.sort();
        let since = another.map(|since| since.to_string());
        let named: Vec<String> = groups.iter().cloned().chain(since).collect();
        let token = crate::translate::short_hash(&named);
        Some(Held { why, groups, token })
    }

    /// The slim records of all pods.
    pub fn all_facts(&self) -> impl Iterator<Item = &PodFacts> {
        self.records.values().filter_map(Record::facts)
    }

    /// The slim record of `key`.
    pub fn facts(&self, key: &PodKey) -> Option<&PodFacts> {
        self.records.get(key).and_then(Record::facts)
    }
}
