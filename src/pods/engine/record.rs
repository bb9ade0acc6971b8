//! What is remembered of one pod and its container group: a slim record, not the Pod. PURE.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::jiff::Timestamp;

use super::condemned::Condemned;
use super::exchange::NewImage;
use super::messages::UnreadLogs;
use super::next::Next;
use super::probing::ProbedPod;
use super::stage::{Exists, Flight, Made, Orphan, Removal, Stage, Why};
use super::{Effect, NodeState, Now};
use crate::translate::{
    EventCursor as EventsTold, PodFacts, PodKey, ProbeTarget, RestartPolicy, digest,
};

/// One container group, the pod that claims it, or both. All decisions are made from this by `rules` and `next`.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: PodKey,
    pub(super) group: Arc<str>,
    /// `None`: no pod of the node claims the group.
    pub(super) pod: Option<PodRecord>,
    pub(super) stage: Stage,
    /// Counts the stages: what an answer says about time holds only for the stage in which its operation began.
    pub(super) epoch: u32,
    pub(super) exists: Exists,
    pub(super) made: Made,
    /// A create whose outcome is unknown, or a predecessor's: look before making a group.
    pub(super) look_first: bool,
    /// The outcome of a create is unknown, and no GET has answered since.
    pub(super) unheard: bool,
    pub(super) in_flight: Option<Flight>,
    /// What has been scheduled last, to schedule only what is new.
    pub(super) planned: Option<Next>,
    /// Tries of the current stage that failed, or its polls.
    pub(super) attempts: u32,
    /// Not before this time: back-off, and what Azure asked for.
    pub(super) not_before: Duration,
    /// When the last operation ended or the stage began: polls are counted from here.
    pub(super) base: Duration,
    /// Something has happened that makes a poll due now.
    pub(super) poll_now: bool,
    /// Since when a group that should be there answers 404.
    pub(super) missing_since: Option<Duration>,
    /// When its last GET began to be true, by the wall clock.
    pub(super) observed_at: Option<Timestamp>,
    /// Which of the pod's containers are probed, as it was told last.
    pub(super) told_probes: Option<Arc<ProbeTarget>>,
    /// Containers that are to end because they failed a probe, or their hook did.
    pub(super) condemned: Vec<Condemned>,
    /// Its group is to get another image.
    pub(super) new_image: Option<NewImage>,
    /// Logs that are read before anything else, for the messages of containers that have ended.
    pub(super) unread: Option<UnreadLogs>,
}

/// What is remembered of a pod.
#[derive(Debug)]
pub(super) struct PodRecord {
    pub(super) facts: PodFacts,
    pub(super) host_ip: Option<Arc<str>>,
    /// The pod is older than our lists.
    pub(super) inherited: bool,
    /// Its create or delete was never sent and waits for its turn; the status is not updated before this time.
    pub(super) queued: Option<Duration>,
    /// The reason for which Azure refused the last call, when it was not one that passes.
    pub(super) refused_for: Option<super::shared_failures::Cause>,
    /// How often in a row Azure took the group and did not provision it, or lost it.
    pub(super) failed_starts: u32,
    /// Since when it has not been provisioned, once that is too long.
    pub(super) slow_since: Option<Timestamp>,
    /// Digest of the status that is, or is about to be, in the API server.
    current: u64,
    /// The status of that digest has been asked for and is not known to be in the API server.
    pub(super) unwritten: bool,
    /// Digests written before: their echoes on the watch are old news.
    recent: [u64; 4],
    /// Digest of the last Event, so that it is recorded once.
    last_event: u64,
    /// It has been told that its namespace is not allowed.
    pub(super) namespace_told: bool,
    /// Which of ACI's events have been told.
    pub(super) events: EventsTold,
    /// Which of them a predecessor has told at least, until it is known that nothing has happened since.
    pub(super) events_before: Option<EventsTold>,
    /// What of it can be probed while it runs; `None` when the operator runs no probe of it.
    pub(super) probed: Option<ProbedPod>,
}

impl Record {
    pub(super) fn new(key: PodKey, group: Arc<str>, now: Now, stage: Stage) -> Self {
        Self {
            key,
            group,
            pod: None,
            stage,
            epoch: 0,
            exists: Exists::No,
            made: Made::default(),
            look_first: false,
            unheard: false,
            in_flight: None,
            planned: None,
            attempts: 0,
            not_before: Duration::ZERO,
            base: now.mono,
            poll_now: false,
            missing_since: None,
            observed_at: None,
            told_probes: None,
            condemned: Vec::new(),
            new_image: None,
            unread: None,
        }
    }

    /// Enters a stage: what was known about time belongs to the one before.
    pub(super) fn enter(&mut self, now: Now, stage: Stage) {
        self.stage = stage;
        self.epoch = self.epoch.wrapping_add(1);
        self.attempts = 0;
        self.not_before = Duration::ZERO;
        self.base = now.mono;
        self.poll_now = false;
        self.missing_since = None;
        self.unread = None;
        self.new_image = None;
        if let Some(pod) = &mut self.pod {
            pod.queued = None;
        }
    }

    pub(super) fn remove_group(&mut self, now: Now, why: Why) {
        let had_group = self.exists != Exists::No;
        let last = self.unread.take().and_then(|unread| unread.last);
        let removal = Removal {
            last,
            ..Removal::new(why, had_group)
        };
        self.enter(now, Stage::Removing(removal));
    }

    /// Ends the operation on its way; true when it began in an earlier stage.
    pub(super) fn land(&mut self, now: Now) -> bool {
        let late = self
            .in_flight
            .take()
            .is_some_and(|flight| flight.epoch != self.epoch);
        if !late {
            self.base = now.mono;
        }
        late
    }

    /// True while Azure has, or may have, a group of this record.
    pub(super) fn has_group(&self) -> bool {
        match self.stage {
            Stage::Starting { .. }
            | Stage::Running { .. }
            | Stage::Removing(_)
            | Stage::Orphaned(_) => self.exists != Exists::No,
            Stage::Unsynced | Stage::Creating | Stage::Finished(_) => self.exists == Exists::Yes,
            Stage::Refused | Stage::Gone => false,
        }
    }

    /// Whether no pod claims the group.
    pub(super) fn is_orphan(&self) -> bool {
        self.pod.is_none()
    }

    /// Whether it is a group without a pod, that pod is gone for sure, and only a person may say what becomes of the group.
    pub(super) fn needs_a_word(&self) -> bool {
        matches!(self.stage, Stage::Orphaned(Orphan::Confirmed { .. })) && self.made.is_strange()
    }

    /// Whether its deletion waits for a person's word: while another control plane is at work, all that this process has not
    /// made; else only what [`Record::needs_a_word`].
    pub(super) fn is_held_back(&self, node: &NodeState) -> bool {
        let another = node.another_control_plane.is_some();
        match &self.stage {
            Stage::Removing(removal) => another && self.made != Made::Here && !removal.accepted,
            Stage::Orphaned(Orphan::Confirmed { .. }) => another || self.made.is_strange(),
            _ => false,
        }
    }

    /// Whether the pod is being deleted.
    pub(super) fn is_deleting(&self) -> bool {
        self.facts().is_some_and(|facts| facts.deletion.is_some())
    }

    pub(super) fn facts(&self) -> Option<&PodFacts> {
        self.pod.as_ref().map(|pod| &pod.facts)
    }

    /// How long the pod may still be active; `None` when nobody says, or when the deadline cannot end it where it is.
    pub(super) fn time_left(&self, now: Now) -> Option<Duration> {
        let facts = self.facts().filter(|facts| facts.deletion.is_none())?;
        // It has ended by itself.
        if self.unread.as_ref().is_some_and(UnreadLogs::is_last) {
            return None;
        }
        match self.stage {
            Stage::Creating | Stage::Refused | Stage::Starting { .. } | Stage::Running { .. } => {}
            Stage::Unsynced
            | Stage::Finished(_)
            | Stage::Removing(_)
            | Stage::Gone
            | Stage::Orphaned(_) => return None,
        }
        let left = facts.deadline()?.duration_since(now.wall);
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Whether the pod should end by itself.
    pub(super) fn ends(&self) -> bool {
        self.facts()
            .is_some_and(|facts| facts.restart_policy != RestartPolicy::Always)
    }

    /// Whether an irreversible step must wait for the status on its way to the API server.
    pub(super) fn is_unwritten(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.unwritten)
    }

    /// Spreads waits; the engine stays deterministic.
    pub(super) fn seed(&self) -> u64 {
        let current = self.pod.as_ref().map_or(0, |pod| pod.current);
        current ^ u64::from(self.attempts)
    }

    pub(super) fn failed_starts(&self) -> u32 {
        self.pod.as_ref().map_or(0, |pod| pod.failed_starts)
    }
}

impl PodRecord {
    pub(super) fn new(facts: PodFacts, host_ip: Option<Arc<str>>, inherited: bool) -> Self {
        let current = facts.status_digest;
        Self {
            facts,
            host_ip,
            inherited,
            queued: None,
            refused_for: None,
            failed_starts: 0,
            slow_since: None,
            current,
            unwritten: false,
            recent: [0; 4],
            last_event: 0,
            namespace_told: false,
            events: EventsTold::default(),
            events_before: None,
            probed: None,
        }
    }

    /// Asks for `status` to be written unless it is there already; true when a write was asked for.
    pub(super) fn write(&mut self, status: PodStatus, effects: &mut Vec<Effect>) -> bool {
        let digest = digest(&status);
        self.facts.remember(&status);
        if digest == self.current {
            return false;
        }
        if let Some(told) = self.events_before.take() {
            self.events = told;
        }
        self.recent.rotate_right(1);
        if let Some(first) = self.recent.first_mut() {
            *first = self.current;
        }
        self.current = digest;
        self.unwritten = true;
        effects.push(Effect::WriteStatus {
            key: self.facts.key.clone(),
            status: Box::new(status),
            digest,
        });
        true
    }

    /// The status `digest` is in the API server, or its pod is gone.
    pub(super) fn written(&mut self, digest: u64) {
        if self.current == digest {
            self.unwritten = false;
        }
    }

    /// Takes the newer facts. True when somebody else has changed the status that we own.
    pub(super) fn refresh(&mut self, mut facts: PodFacts) -> bool {
        let seen = facts.status_digest;
        let echo_of_old = seen != self.current && self.recent.contains(&seen);
        let foreign = seen != self.current && !echo_of_old;
        if echo_of_old {
            facts.recall(&self.facts);
        }
        if foreign {
            // Somebody has written after us: there is no word of our own to wait for.
            self.current = seen;
            self.unwritten = false;
        }
        // What we have taken on ourselves stays, whatever the echo is of.
        facts.keep_unwritten(&mut self.facts);
        self.facts = facts;
        foreign
    }

    /// True the first time `what` is recorded in a row.
    pub(super) fn record_once(&mut self, what: u64) -> bool {
        std::mem::replace(&mut self.last_event, what) != what
    }

    /// Whether a container of the pod has been started, by its status.
    pub(super) fn has_begun(&self) -> bool {
        let started = self.facts.condition("PodReadyToStartContainers");
        self.facts.phase.as_deref() != Some("Pending")
            || started.is_some_and(|condition| &*condition.status == "True")
    }

    /// Whether a container of the pod has been started, as far as its status says so.
    pub(super) fn has_run(&self) -> bool {
        self.facts.phase.as_deref() == Some("Running")
            || self.has_begun() && self.facts.phase.is_some()
    }

    pub(super) fn host_ip(&self) -> Option<&str> {
        self.host_ip.as_deref()
    }
}
