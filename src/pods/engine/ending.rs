//! The graceful end of a pod that is being deleted: `preStop` hooks, SIGTERM, and the time until its containers have ended.
//! PURE.
//!
//! As a kubelet does it (Kubernetes, "Pod Lifecycle: Termination of Pods"): the grace period begins with the delete and
//! covers the hooks; at its end the rest is killed, here by the deletion of the group. Each step is on record in the pod's
//! status before it is taken, so that none is taken twice. Sidecars come when all other containers have ended (KEP-753).

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::next::{Next, at, poll, timer};
use super::record::Record;
use super::stage::{Afterwards, Removal, Stage, Why};
use super::{Effect, Engine, Now, Operation, cadence};
use crate::pods::queue::Priority;
use crate::provider::Unreached;
use crate::translate::{
    EndStep, PodFacts, PodKey, has_ended, only_sidecars_run, sidecars_have_ended, status_of_group,
};

/// Containers that nobody can send a signal get this long after their pod was deleted: what sends them requests learns of
/// the deletion meanwhile.
const DRAIN: SignedDuration = SignedDuration::from_secs(3);

/// What the end of a pod waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A poll, which says what runs.
    Poll,
    /// Its `preStop` hooks.
    PreStop,
    /// SIGTERM to be sent.
    Signal,
    /// Its containers to end, until this time.
    Drain(Timestamp),
    /// Nothing: the group is deleted.
    Over,
}

impl Engine {
    /// The `preStop` hooks of a pod have ended, as far as they were to.
    pub(super) fn pre_stop_ended(
        &mut self,
        now: Now,
        key: &PodKey,
        failed: &[Unreached],
        effects: &mut Vec<Effect>,
    ) {
        let Some((record, _)) = self.land(now, key) else {
            return;
        };
        let afterwards = match &record.stage {
            Stage::Finished(Afterwards::PreStop(sidecars)) => {
                Some(Afterwards::Signal(sidecars.clone()))
            }
            _ => None,
        };
        if record.ending() != Some(Ending::PreStop) && afterwards.is_none() {
            return;
        }
        if let Some(pod) = &record.pod {
            for Unreached { container, why } in failed {
                let message = format!("PreStopHook of container {container} failed: {why}");
                effects.push(pod.event(true, "FailedPreStopHook", message));
            }
        }
        if let Some(afterwards) = afterwards {
            return record.finish(now, afterwards);
        }
        record.signal_next(now, effects);
    }

    /// SIGTERM has been sent to the containers of a pod but those `unreached`.
    pub(super) fn signalled(
        &mut self,
        now: Now,
        key: &PodKey,
        unreached: &[Unreached],
        effects: &mut Vec<Effect>,
    ) {
        let sent = self.records.get(key).map(Record::signalling);
        let Some((record, _)) = self.land(now, key) else {
            return;
        };
        if matches!(record.stage, Stage::Running { .. }) {
            return record.condemned_signalled(now, &sent.unwrap_or_default(), unreached);
        }
        if let Stage::Finished(Afterwards::Signal(sidecars)) = &record.stage {
            // Where nobody could be told there is nothing to wait for.
            let afterwards = if unreached.len() < sidecars.running.len() {
                Afterwards::Drain(sidecars.until)
            } else {
                Afterwards::Stop
            };
            return record.finish(now, afterwards);
        }
        let Some(pod) = &record.pod else { return };
        let (Stage::Removing(removal), Some(deletion)) = (&record.stage, pod.facts.deletion) else {
            return;
        };
        if removal.ending != Ending::Signal {
            return;
        }
        let until = if unreached.len() < in_turn(&pod.facts, removal).len() {
            deletion.at
        } else {
            let began = pod.facts.deletion_began().unwrap_or(now.wall);
            deletion.at.min(began.checked_add(DRAIN).unwrap_or(began))
        };
        for Unreached { container, why } in unreached {
            let message = format!(
                "SIGTERM could not be sent to container {container}, which is killed with its container group: {why}"
            );
            effects.push(pod.event(true, "NotSignalled", message));
        }
        record.set_ending(Ending::Drain(until));
        record.poll_soon();
    }
}

impl Record {
    /// Whether the containers of a pod that is being deleted are to end by themselves: something runs, and the pod has time.
    pub(super) fn may_end_gracefully(&self, now: Now) -> bool {
        let runs = match self.stage {
            Stage::Running { .. } => true,
            // It ran under a predecessor.
            Stage::Unsynced => {
                self.has_group()
                    && self
                        .pod
                        .as_ref()
                        .is_some_and(|pod| pod.has_run() && !pod.facts.is_final())
            }
            _ => false,
        };
        runs && self.grace_left(now).is_some()
    }

    /// What is left of the grace period of a pod that is being deleted.
    fn grace_left(&self, now: Now) -> Option<Duration> {
        let deletion = self.facts()?.deletion?;
        let left = Duration::try_from(deletion.at.duration_since(now.wall)).ok()?;
        (deletion.grace_seconds > 0 && !left.is_zero()).then_some(left)
    }

    /// Whether a hook or signal is under way that nothing waits for any more: the pod is gone, or has no time left.
    pub(super) fn abandons_hook(&self, now: Now) -> bool {
        let under_way = self.in_flight.as_ref();
        under_way.is_some_and(|flight| flight.operation.is_hook())
            && match &self.stage {
                Stage::Removing(removal) => step(self, removal, now).is_none(),
                Stage::Running { .. } => {
                    self.condemned.is_empty() && self.hooks_to_run().is_empty()
                }
                Stage::Finished(Afterwards::PreStop(_) | Afterwards::Signal(_)) => false,
                _ => true,
            }
    }

    /// Containers that SIGTERM is on its way to.
    fn signalling(&self) -> Vec<String> {
        match self.in_flight.as_ref().map(|flight| &flight.operation) {
            Some(Operation::SendSignal(containers)) => containers.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the containers of the pod are about to end by themselves.
    pub(super) fn is_ending(&self) -> bool {
        matches!(&self.stage, Stage::Removing(removal) if removal.why == Why::PodDeleted
            && removal.ending != Ending::Over && !removal.accepted)
    }

    fn ending(&self) -> Option<Ending> {
        match &self.stage {
            Stage::Removing(removal) => Some(removal.ending),
            _ => None,
        }
    }

    pub(super) fn set_ending(&mut self, ending: Ending) {
        self.attempts = 0;
        if let Stage::Removing(removal) = &mut self.stage {
            removal.ending = ending;
        }
    }

    /// A poll has shown the last state of the group of a pod that is to end. True while that has not ended.
    pub(super) fn saw_ending(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(pod) = &mut self.pod else {
            return false;
        };
        let Stage::Removing(removal) = &self.stage else {
            return false;
        };
        let Some(group) = &removal.last else {
            return false;
        };
        if matches!(removal.ending, Ending::Over) {
            return false;
        }
        let facts = &pod.facts;
        let sidecars_turn =
            has_ended(facts, group) || only_sidecars_run(facts, group) || facts.is_sidecars_turn();
        if removal.running().is_empty() || sidecars_turn && sidecars_have_ended(facts, group) {
            self.set_ending(Ending::Over);
            return false;
        }
        let waits = match (removal.ending, facts.deletion) {
            (Ending::Poll, Some(deletion)) => deletion.at,
            (Ending::Drain(until), _)
                if sidecars_turn && !facts.is_sidecars_turn()
                    || until <= now.wall && sidecars_wait(facts, removal) =>
            {
                self.begin_with_sidecars(now, effects);
                return true;
            }
            _ => return true,
        };
        match facts.ending {
            Some(EndStep::SidecarsSignalled) => self.set_ending(Ending::Drain(waits)),
            Some(EndStep::SidecarsPreStop) => self.signal_next(now, effects),
            _ if sidecars_turn => self.begin_with_sidecars(now, effects),
            Some(EndStep::Signalled) => self.set_ending(Ending::Drain(waits)),
            None if facts.has_pre_stop => {
                self.put_on_record(now, EndStep::PreStop, effects);
                self.set_ending(Ending::PreStop);
            }
            Some(EndStep::PreStop) | None => self.signal_next(now, effects),
        }
        true
    }

    /// All containers but sidecars have ended.
    fn begin_with_sidecars(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.facts().is_some_and(|facts| facts.has_pre_stop) {
            self.put_on_record(now, EndStep::SidecarsPreStop, effects);
            self.set_ending(Ending::PreStop);
        } else {
            self.signal(now, EndStep::SidecarsSignalled, effects);
        }
    }

    /// The hooks of those whose turn it is have ended, if there were any.
    fn signal_next(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let step = if self.facts().is_some_and(PodFacts::is_sidecars_turn) {
            EndStep::SidecarsSignalled
        } else {
            EndStep::Signalled
        };
        self.signal(now, step, effects);
    }

    fn signal(&mut self, now: Now, step: EndStep, effects: &mut Vec<Effect>) {
        self.put_on_record(now, step, effects);
        self.set_ending(Ending::Signal);
    }

    /// Writes into the pod's status that the step is taken.
    fn put_on_record(&mut self, now: Now, step: EndStep, effects: &mut Vec<Effect>) {
        let Some(pod) = &mut self.pod else { return };
        pod.facts.ending = Some(step);
        if let Stage::Removing(Removal {
            last: Some(group), ..
        }) = &self.stage
        {
            let status = status_of_group(&pod.facts, group, pod.host_ip(), now.wall);
            pod.write(status, effects);
        }
    }
}

/// The running containers whose turn it is to end.
fn in_turn(facts: &PodFacts, removal: &Removal) -> Vec<String> {
    let mut names = removal.running();
    names.retain(|name| facts.sidecars().any(|it| it == name) == facts.is_sidecars_turn());
    names
}

/// Whether sidecars run that have not been told to end.
fn sidecars_wait(facts: &PodFacts, removal: &Removal) -> bool {
    let running = removal.running();
    !facts.is_sidecars_turn()
        && running
            .iter()
            .any(|name| facts.sidecars().any(|it| it == name))
}

/// The next step to the end of the pod; `None` when its group is to be deleted now.
pub(super) fn step(record: &Record, removal: &Removal, now: Now) -> Option<Next> {
    if removal.why != Why::PodDeleted || removal.accepted {
        return None;
    }
    let facts = record.facts()?;
    let left = record.grace_left(now)?;
    let deadline = now.mono + left;
    let next = match removal.ending {
        Ending::Over => return None,
        Ending::PreStop | Ending::Signal if record.is_unwritten() => timer(deadline),
        Ending::PreStop => at(record, Operation::RunPreStop(in_turn(facts, removal))),
        Ending::Signal => at(record, Operation::SendSignal(in_turn(facts, removal))),
        Ending::Poll => poll(record, Priority::Transition, Duration::ZERO),
        Ending::Drain(until) => {
            let left = Duration::try_from(until.duration_since(now.wall)).unwrap_or_default();
            if left.is_zero() {
                // Nobody else could be told; the sidecars can be, before all are killed with the group.
                return sidecars_wait(facts, removal)
                    .then(|| poll(record, Priority::Transition, Duration::ZERO));
            }
            let next = poll(
                record,
                Priority::Transition,
                cadence::ending(record.attempts),
            );
            Next {
                due: next.due.min(now.mono + left),
                ..next
            }
        }
    };
    Some(Next {
        due: next.due.min(deadline),
        ..next
    })
}
