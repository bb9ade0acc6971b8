//! The state machine of the pods of one virtual node. PURE: inputs and the time in, effects out.
//!
//! Identity is the pod's UID. What is true comes from two complete lists, the pods of the API server and the groups of
//! Azure; nothing is created or deleted before both arrived. A group is created once. It is deleted when its pod is
//! being deleted, or is known by a live GET to be gone. Each pod has at most one operation on its way: the queue holds
//! one slot per key, and every step of a pod ends in the effect that brings it forward.

mod cadence;
mod changes;
mod deadline;
mod ended;
mod entry;
mod groups;
mod line;
mod looks;
mod orphans;
mod pods;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::jiff::Timestamp;

use self::entry::{Entry, Stage};
use self::orphans::Orphan;
use crate::azure::model::ContainerGroup;
use crate::azure::throttle::{Pace, Wish};
use crate::kube::events::Origin;
use crate::pods::queue::Weight;
use crate::provider::{Deleted, Ensured, Failure, FailureKind, Listing};
use crate::translate::{PodFacts, PodKey};

/// The time, twice: by the wall for what people read, and since the agent started for intervals.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Wall clock.
    pub wall: Timestamp,
    /// Monotonic time since the agent started.
    pub mono: Duration,
}

/// Whether a pod still exists, by a live GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The API server has no pod of that name, or one with another UID.
    Gone,
    /// The pod exists.
    Alive,
    /// The API server did not say.
    Unknown,
}

/// Something that happened.
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
    /// An ensure ended.
    Ensured(PodKey, Result<Ensured, Failure>),
    /// An observation ended.
    Observed(PodKey, Result<Option<Box<ContainerGroup>>, Failure>),
    /// A delete of a group ended.
    Deleted(PodKey, Result<Deleted, Failure>),
    /// A stop of a group ended.
    Stopped(PodKey, Result<(), Failure>),
    /// A wait is over.
    Woken(PodKey),
    /// Somebody who used a container of this pod met something else than its status says.
    Doubted(PodKey),
    /// A live GET of a pod ended.
    Confirmed(PodKey, Presence),
    /// The status writer is done with this status: it is in the API server, or its pod is gone.
    StatusWritten(PodKey, u64),
    /// The removal of a pod from the API server ended; false when it has to be tried again.
    Removed(PodKey, bool),
    /// No new group may be made, or may again.
    Suspended(bool),
}

impl Input {
    /// The operation that failed, and why.
    pub(super) fn failed(&self) -> Option<(&'static str, &'static str)> {
        let (operation, failure) = match self {
            Self::GroupsListed(Err(failure)) => ("list", failure),
            Self::Ensured(_, Err(failure)) => ("create", failure),
            Self::Observed(_, Err(failure)) => ("look", failure),
            Self::Deleted(_, Err(failure)) => ("delete", failure),
            Self::Stopped(_, Err(failure)) => ("stop", failure),
            _ => return None,
        };
        (failure.kind != FailureKind::InLine).then_some((operation, failure.reason))
    }

    /// The pod of which this tells how it is, or that nothing is known of it for now.
    fn looked(&self) -> Option<PodKey> {
        match self {
            Self::Observed(key, _) | Self::Ensured(key, Err(_)) | Self::Woken(key) => {
                Some(key.clone())
            }
            _ => None,
        }
    }
}

/// An operation on Azure or on the API server for one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Create the group; look for an existing one before when told so.
    Ensure {
        /// GET before PUT.
        look_first: bool,
    },
    /// GET the group.
    Observe,
    /// DELETE the group.
    Delete,
    /// Stop the group's containers; the group stays.
    Stop,
    /// Do nothing but come back.
    Wake,
    /// GET the pod from the API server.
    Confirm,
    /// Remove the pod from the API server.
    Remove,
}

/// What a pod's owner should be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// The pod.
    pub key: PodKey,
    /// `Warning` when a person should look.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// For what Azure told: how often and when it happened there.
    pub origin: Option<Origin>,
}

/// Something to do.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Put an operation into the pod's slot of the queue.
    Schedule {
        /// The pod.
        key: PodKey,
        /// The pod's group.
        group: Arc<str>,
        /// What to do.
        operation: Operation,
        /// Its place among what is due.
        weight: Weight,
        /// How long to wait.
        after: Duration,
    },
    /// Take what waits in the pod's slot out of the queue.
    Forget(PodKey),
    /// LIST the groups of the node.
    List {
        /// How long to wait.
        after: Duration,
    },
    /// Write a status to the API server.
    WriteStatus {
        /// The pod.
        key: PodKey,
        /// The whole of the status that we own.
        status: Box<PodStatus>,
        /// Its digest.
        digest: u64,
    },
    /// Tell the pod's owner.
    Emit(PodEvent),
    /// Count that Azure took a group and did not provision it, for this reason.
    Unprovisioned(&'static str),
}

/// More groups in creation than this are watched by LIST rather than one GET each.
const BULK_THRESHOLD: usize = 8;

/// All pods of one node.
#[derive(Debug)]
pub struct Index {
    host_ip: Option<String>,
    group_name: NameGroup,
    pods: HashMap<PodKey, Entry>,
    orphans: BTreeMap<PodKey, Orphan>,
    delete_orphans: bool,
    lists: Lists,
    suspended: bool,
    list_failures: u32,
    bulk_listing: bool,
    pace: Pace,
}

/// Which complete lists have arrived.
#[derive(Debug, Default)]
struct Lists {
    pods: bool,
    groups: bool,
}

/// Gives the group name of a pod.
pub struct NameGroup(pub Box<dyn Fn(&PodKey) -> String + Send + Sync>);

impl std::fmt::Debug for NameGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameGroup")
    }
}

impl Index {
    /// An empty index; the first effect to run is a list of groups.
    pub fn new(host_ip: Option<String>, group_name: NameGroup, delete_orphans: bool) -> Self {
        Self {
            host_ip,
            group_name,
            pods: HashMap::new(),
            orphans: BTreeMap::new(),
            delete_orphans,
            lists: Lists::default(),
            suspended: false,
            list_failures: 0,
            bulk_listing: false,
            pace: Pace::default(),
        }
    }

    /// Takes one input and says what to do about it.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let fx = &mut effects;
        let looked = input.looked();
        match input {
            Input::PodApplied(facts) => self.pod_applied(now, *facts, fx),
            Input::PodGone(key) => self.pod_gone(&key, fx),
            Input::PodsSynced => self.pods_synced(now, fx),
            Input::GroupsListed(Ok(listing)) => self.groups_listed(now, &listing, fx),
            Input::GroupsListed(Err(failure)) => self.list_failed(&failure, fx),
            Input::Ensured(key, result) => self.ensured(now, &key, result, fx),
            Input::Observed(key, result) => self.observed(now, &key, result, fx),
            Input::Deleted(key, result) => self.deleted(now, &key, result, fx),
            Input::Stopped(key, result) => self.stopped(now, &key, result, fx),
            Input::Woken(key) => self.woken(now, &key, fx),
            Input::Doubted(key) => self.doubted(&key, fx),
            Input::Confirmed(key, presence) => self.confirmed(&key, presence, fx),
            Input::StatusWritten(key, digest) => self.status_written(&key, digest, fx),
            Input::Removed(key, done) => self.removed(&key, done, fx),
            Input::Suspended(suspended) => self.set_suspended(now, suspended, fx),
        }
        if let Some(key) = looked {
            self.end_overdue(now, &key, fx);
        }
        self.hurry(now, fx);
        effects
    }

    /// Whether groups without a pod are deleted or only counted.
    pub fn set_delete_orphans(&mut self, delete: bool) {
        self.delete_orphans = delete;
    }

    /// Looks at running pods follow `pace` from now on.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// What looks at the running pods would cost.
    pub fn wish(&self, now: Now) -> Wish {
        let mut wish = Wish::default();
        for entry in self.pods.values() {
            if let Stage::Running { stable_since } = entry.stage {
                let stable = now.mono.saturating_sub(stable_since);
                cadence::add_wish(&mut wish, stable, entry.ends());
            }
        }
        wish
    }

    /// True once both lists arrived.
    pub fn is_synced(&self) -> bool {
        self.lists.pods && self.lists.groups
    }

    /// Pods bound to the node.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// Groups in Azure that belong to the node, as far as known.
    pub fn groups(&self) -> usize {
        self.pods.values().filter(|entry| entry.has_group()).count() + self.orphans.len()
    }

    /// Groups that no pod claims.
    pub fn orphaned(&self) -> usize {
        self.orphans.len()
    }

    /// The slim record of `key`.
    pub fn facts(&self, key: &PodKey) -> Option<&PodFacts> {
        self.pods.get(key).map(|entry| &entry.facts)
    }
}
