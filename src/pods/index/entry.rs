//! What is remembered of one pod: a slim record, not the Pod.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::jiff::Timestamp;

use super::{Effect, Now, Operation, cadence, deadline};
use crate::azure::model::ContainerGroup;
use crate::pods::queue::Weight;
use crate::translate::{PodFacts, RestartPolicy, Told, digest};

/// Where a pod is on its way.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing may be made yet: the lists have not arrived, or the connector is suspended.
    Held,
    /// An ensure waits or runs.
    Ensuring,
    /// The pod cannot run on ACI; only a change of the pod helps.
    Refused,
    /// The group exists and does not run yet. `seen` is false until a GET has shown it.
    Starting {
        since: Duration,
        looks: u32,
        seen: bool,
    },
    /// The group runs, and its status is what it was at `stable_since`.
    Running { stable_since: Duration },
    /// The pod has ended; its group is kept for its logs until the pod is deleted. With `stop`, what runs of the group
    /// is stopped as soon as the pod's last status is in the API server.
    Finished { stop: bool },
    /// Provisioning failed: the group is being deleted, because it might start late and bill; then another is made.
    Clearing,
    /// The pod has been active for too long: its group is being deleted, and then the pod is `Failed`, as a kubelet says
    /// so only when nothing runs any more. Holds the group's last state.
    Expiring { last: Option<Box<ContainerGroup>> },
    /// The pod is being deleted, and so is its group. Holds the group's last state.
    Deleting { last: Option<Box<ContainerGroup>> },
    /// The group is gone; the pod's final status is being written or the pod is being removed.
    Gone,
}

/// The record of one pod.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) facts: PodFacts,
    pub(super) group: Arc<str>,
    pub(super) stage: Stage,
    /// Tries of the current step that failed.
    pub(super) attempts: u32,
    /// Its create, or delete, was never sent and waits for its turn; its place is told again from this time on.
    pub(super) in_line: Option<Duration>,
    /// The reason for which Azure refused the last call, when it was not one that passes.
    pub(super) refused_for: Option<&'static str>,
    /// How often in a row Azure took the group and did not provision it.
    pub(super) failed_starts: u32,
    /// Since when it has not been provisioned, once that is too long.
    pub(super) slow_since: Option<Timestamp>,
    /// The pod is older than our lists: a group of it may exist that no list shows yet.
    pub(super) inherited: bool,
    /// Digest of the status that is, or is about to be, in the API server.
    current: u64,
    /// Digests written before: their echoes on the watch are old news.
    recent: [u64; 4],
    /// Digest of the last thing told, so that it is told once.
    told: u64,
    /// Which of ACI's events have been told.
    pub(super) told_events: Told,
    /// Which of them a predecessor has told at least, until it is known that nothing has happened since.
    pub(super) told_before: Option<Told>,
}

impl Entry {
    pub(super) fn new(facts: PodFacts, group: Arc<str>, inherited: bool) -> Self {
        let current = facts.status_digest;
        Self {
            facts,
            group,
            stage: Stage::Held,
            attempts: 0,
            in_line: None,
            refused_for: None,
            failed_starts: 0,
            slow_since: None,
            inherited,
            current,
            recent: [0; 4],
            told: 0,
            told_events: Told::default(),
            told_before: None,
        }
    }

    /// True while Azure has, or may have, a group of this pod.
    pub(super) fn has_group(&self) -> bool {
        match self.stage {
            Stage::Starting { .. }
            | Stage::Running { .. }
            | Stage::Finished { .. }
            | Stage::Clearing
            | Stage::Expiring { .. }
            | Stage::Deleting { .. } => true,
            Stage::Held | Stage::Ensuring | Stage::Refused | Stage::Gone => false,
        }
    }

    /// Asks for `status` to be written unless it is there already; true when a write was asked for.
    pub(super) fn write(&mut self, status: PodStatus, fx: &mut Vec<Effect>) -> Option<u64> {
        let digest = digest(&status);
        self.facts.remember(&status);
        if digest == self.current {
            return None;
        }
        if let Some(told) = self.told_before.take() {
            self.told_events = told;
        }
        self.recent.rotate_right(1);
        self.recent[0] = self.current;
        self.current = digest;
        fx.push(Effect::WriteStatus {
            key: self.facts.key.clone(),
            status: Box::new(status),
            digest,
        });
        Some(digest)
    }

    /// True when `digest` is that of the status last asked for.
    pub(super) fn is_current(&self, digest: u64) -> bool {
        self.current == digest
    }

    /// Takes the newer record. True when somebody else has changed the status that we own.
    pub(super) fn refresh(&mut self, mut facts: PodFacts) -> bool {
        let seen = facts.status_digest;
        let echo_of_old = seen != self.current && self.recent.contains(&seen);
        let foreign = seen != self.current && !echo_of_old;
        if echo_of_old {
            facts.recall(&self.facts);
        }
        if foreign {
            self.current = seen;
        }
        facts.told = std::mem::take(&mut self.facts.told);
        self.facts = facts;
        foreign
    }

    /// True the first time `what` is told in a row.
    pub(super) fn tell_once(&mut self, what: u64) -> bool {
        std::mem::replace(&mut self.told, what) != what
    }

    pub(super) fn schedule(&self, operation: Operation, weight: Weight, after: Duration) -> Effect {
        Effect::Schedule {
            key: self.facts.key.clone(),
            group: self.group.clone(),
            operation,
            weight,
            after: if after.is_zero() {
                after
            } else {
                cadence::jitter(after, self.seed())
            },
        }
    }

    /// Waits for the pod's deadline, when nothing else brings it forward.
    pub(super) fn schedule_deadline(&self, now: Now) -> Option<Effect> {
        let left = self.time_left(now)?;
        Some(Effect::Schedule {
            key: self.facts.key.clone(),
            group: self.group.clone(),
            operation: Operation::Wake,
            weight: Weight::Steady,
            after: left + deadline::MARGIN,
        })
    }

    /// How long the pod may still be active; `None` when nobody says.
    pub(super) fn time_left(&self, now: Now) -> Option<Duration> {
        let left = self.facts.deadline()?.duration_since(now.wall);
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Whether the pod should end by itself.
    pub(super) fn ends(&self) -> bool {
        self.facts.restart_policy != RestartPolicy::Always
    }

    pub(super) fn seed(&self) -> u64 {
        self.current ^ u64::from(self.attempts)
    }
}
