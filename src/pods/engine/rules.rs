//! What follows for a record from facts and time alone: which stage it is in. PURE.
//!
//! Each rule may be applied at any time and as often as one likes. No rule chooses an operation.

use super::ending::Ending;
use super::record::Record;
use super::stage::{Afterwards, Exists, Made, Orphan, Removal, Stage, Why};
use super::{Effect, Engine, Now, breaker, cadence};
use crate::translate::{
    PodFacts, PodKey, RestartPolicy, status_failed, status_group_gone, status_group_lost,
    status_terminated,
};

const DEADLINE: &str = "DeadlineExceeded";
const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
/// Another control plane works with the same groups.
const ANOTHER: &str = "AnotherControlPlane";
const ANOTHER_MESSAGE: &str = "The container group is not deleted: another control plane works with the same container groups. \
                               The connector's condition OrphansFound says how to go on";
const UNPROVISIONED: &str = "ProvisioningFailed";
/// ARM has no delete with a condition, and answers a delete with the last state of the group.
const STARTED_LATE: &str = "Azure started the container group after it had given it up, while the group was being deleted; what has \
                            run is not run again";
/// Polls that fail before a pod is ended at its deadline without one.
const DEADLINE_POLLS: u32 = 3;
/// Rules lead from one to the next; more than this cannot follow one another.
const MOST: usize = 8;

impl Engine {
    /// Brings the record of `key` as far as facts and time allow; drops it when nothing is left of it.
    pub(super) fn apply_rules(&mut self, now: Now, key: &PodKey, effects: &mut Vec<Effect>) {
        for _ in 0..MOST {
            if !self.apply_one(now, key, effects) {
                return;
            }
        }
    }

    /// Applies the first rule that holds; false when none does.
    fn apply_one(&mut self, now: Now, key: &PodKey, effects: &mut Vec<Effect>) -> bool {
        let synced = self.node.is_synced();
        let Some(record) = self.records.get_mut(key) else {
            return false;
        };
        if record.is_void() {
            self.records.remove(key);
            return false;
        }
        if record.is_settled_orphan(now) {
            return self.delete_orphan(now, key);
        }
        if record.abandons_hook(now) {
            record.in_flight = None;
            effects.push(Effect::Abandon(key.clone()));
            return true;
        }
        if !synced && matches!(record.stage, Stage::Unsynced) {
            return false;
        }
        if record.ends_now() {
            let graceful = record.may_end_gracefully(now);
            record.remove_group(now, Why::PodDeleted);
            if graceful {
                record.set_ending(Ending::Poll);
                record.poll_soon();
            }
            return true;
        }
        if matches!(record.stage, Stage::Unsynced) {
            record.decide(now);
            return true;
        }
        if record.is_past_deadline(now) {
            if let Some(pod) = &record.pod {
                effects.push(pod.event(false, DEADLINE, DEADLINE_MESSAGE.to_owned()));
            }
            record.remove_group(now, Why::Deadline);
            return true;
        }
        if let Some(removal) = record.take_removed(now) {
            record.removed(now, &removal, effects);
            self.quota_freed(now);
            return true;
        }
        if record.is_held_back(&self.node) {
            record.tell_held_back(now, effects);
        }
        record.judge_condemned(now, effects);
        record.tell_namespace(&self.node.tenants, now, effects);
        false
    }

    /// Deletes the group of a pod that is gone, unless too many lose theirs, or it is not ours to judge.
    fn delete_orphan(&mut self, now: Now, key: &PodKey) -> bool {
        let record = self.records.get(key);
        let held = record.is_some_and(|record| record.is_held_back(&self.node));
        if held && !self.node.breaker.is_released(now) {
            return false;
        }
        let waiting = self
            .orphans()
            .filter(|record| matches!(record.stage, Stage::Orphaned(_)))
            .count();
        let groups = self.counts().groups;
        if !self.node.breaker.permits(now, waiting, groups) {
            return false;
        }
        if let Some(record) = self.records.get_mut(key) {
            record.remove_group(now, Why::PodGone);
        }
        true
    }

    /// Notes when one of `settled` shows that another control plane is at work.
    pub(super) fn look_for_another_control_plane(&mut self, now: Now, settled: &[PodKey]) {
        if self.node.another_control_plane.is_some() || self.node.breaker.is_released(now) {
            return;
        }
        let shows_it = |key: &PodKey| {
            let record = self.records.get(key);
            record.is_some_and(|record| record.made == Made::Elsewhere && record.needs_a_word())
        };
        if settled.iter().any(shows_it) {
            self.node.another_control_plane = Some(now.wall);
            self.touch_all();
        }
    }

    /// With the last orphan the cause is gone, too.
    pub(super) fn reset_breaker(&mut self) {
        if self.node.breaker.tripped_at().is_some() && self.orphans().next().is_none() {
            self.node.breaker.reset();
        }
    }
}

impl Record {
    /// Whether nothing is left: no pod, no group, and nothing on its way that could make one.
    fn is_void(&self) -> bool {
        let settled = match self.stage {
            Stage::Gone => true,
            Stage::Removing(_) | Stage::Orphaned(_) => self.exists == Exists::No,
            _ => false,
        };
        settled && self.pod.is_none() && self.in_flight.is_none()
    }

    /// Whether its pod is known to be gone, and for long enough.
    fn is_settled_orphan(&self, now: Now) -> bool {
        let Stage::Orphaned(Orphan::Confirmed { at }) = self.stage else {
            return false;
        };
        self.in_flight.is_none() && now.mono >= at + breaker::SETTLE
    }

    /// Whether the pod is being deleted and its group is not being deleted for that yet.
    fn ends_now(&self) -> bool {
        let begun = match &self.stage {
            Stage::Gone => true,
            Stage::Removing(removal) => removal.why == Why::PodDeleted,
            _ => false,
        };
        self.is_deleting() && !begun
    }

    /// Chooses the stage of a pod that our lists have shown, or that is new.
    fn decide(&mut self, now: Now) {
        let Some(pod) = &self.pod else { return };
        let (begun, inherited) = (pod.has_run(), pod.inherited);
        let failed = pod.facts.phase.as_deref() == Some("Failed");
        let never = pod.facts.restart_policy == RestartPolicy::Never;
        if pod.facts.is_final() {
            // A predecessor may not have come to ending the sidecars.
            let has_sidecars = pod.facts.sidecars().next().is_some();
            let may_run = failed && never || has_sidecars;
            let afterwards = if self.exists == Exists::Yes && may_run {
                Afterwards::Poll
            } else {
                Afterwards::Rest
            };
            self.finish(now, afterwards);
        } else if self.exists == Exists::Yes {
            let poll_now = self.poll_now;
            self.enter(now, Stage::starting(now, true));
            self.poll_now = poll_now;
        } else if inherited && begun {
            // It ran under a predecessor, and no list shows its group: it is not run a second time without a look.
            self.enter(now, Stage::starting(now, true));
            self.poll_now = true;
        } else if inherited && pod.facts.deadline().is_some_and(|at| at <= now.wall) {
            // It may have ended in time.
            self.enter(now, Stage::starting(now, false));
            self.poll_now = true;
        } else {
            self.enter(now, Stage::Creating);
        }
    }

    /// Whether the pod has been active for too long, by a poll after its deadline, or several that failed: what has ended
    /// by itself has ended so.
    fn is_past_deadline(&self, now: Now) -> bool {
        let Some(left) = self.time_left(now) else {
            return false;
        };
        let deadline = self.facts().and_then(PodFacts::deadline);
        let answered = self.observed_at.is_some() && self.observed_at >= deadline;
        let unmade = matches!(self.stage, Stage::Creating | Stage::Refused);
        left.is_zero() && (unmade || answered || self.attempts >= DEADLINE_POLLS)
    }

    /// The removal of a group that is gone for sure: nothing is on its way that could make it again.
    fn take_removed(&mut self, now: Now) -> Option<Removal> {
        if self.exists != Exists::No || self.in_flight.is_some() {
            return None;
        }
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Removing(removal) => {
                self.enter(now, Stage::Gone);
                Some(removal)
            }
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// What follows when the group is gone.
    fn removed(&mut self, now: Now, removal: &Removal, effects: &mut Vec<Effect>) {
        let (had_group, once) = (removal.had_group, self.ends());
        let Some(pod) = &mut self.pod else { return };
        let host_ip = pod.host_ip.clone();
        let (host_ip, last) = (host_ip.as_deref(), removal.last.as_deref());
        // A pod that the watch had lost is still too old.
        let expired = pod.facts.deadline().is_some_and(|at| at <= now.wall);
        let why = match removal.why {
            Why::PodGone if expired => Why::Deadline,
            why => why,
        };
        match why {
            Why::PodDeleted => {
                let ends = had_group && !pod.facts.is_final();
                let status = ends.then(|| status_terminated(&pod.facts, last, host_ip, now.wall));
                let writes = status.is_some_and(|status| pod.write(status, effects));
                // Only its last status is waited for.
                pod.unwritten &= writes;
            }
            Why::Deadline => {
                let facts = &pod.facts;
                let status =
                    status_failed(facts, last, DEADLINE, DEADLINE_MESSAGE, host_ip, now.wall);
                pod.write(status, effects);
                self.finish(now, Afterwards::Rest);
            }
            Why::Unprovisioned if once && removal.cut_short() => {
                let (reason, facts) = (UNPROVISIONED, &pod.facts);
                let status = status_failed(facts, last, reason, STARTED_LATE, host_ip, now.wall);
                pod.write(status, effects);
                effects.push(pod.event(true, reason, STARTED_LATE.to_owned()));
                self.finish(now, Afterwards::Rest);
            }
            Why::Replace | Why::Unprovisioned => self.make_again(now),
            // Its pod has come back meanwhile.
            Why::PodGone => self.group_lost(now, effects),
        }
    }

    /// The group of a pod that ran is gone, and nobody here has deleted it. What has run is not run again unless the pod
    /// says so.
    pub(super) fn group_lost(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.exists = Exists::No;
        let Some(pod) = &mut self.pod else { return };
        let host_ip = pod.host_ip.clone();
        if !pod.has_run() {
            // Nothing is run twice: a predecessor may have deleted it because its provisioning failed. Whoever deletes it
            // again and again makes no storm of it.
            let again = pod.failed_starts;
            pod.failed_starts = again.saturating_add(1);
            self.enter(now, Stage::Creating);
            self.look_first = true;
            if again > 0 {
                self.wait(now, cadence::provision(again));
            }
            return;
        }
        if pod.facts.restart_policy == RestartPolicy::Always {
            let status = status_group_lost(&mut pod.facts, host_ip.as_deref(), now.wall);
            pod.write(status, effects);
            pod.failed_starts = pod.failed_starts.saturating_add(1);
            effects.push(
                pod.event(
                    true,
                    "ContainerGroupDeleted",
                    "The container group of this pod was deleted in Azure by somebody else; its containers are started again"
                        .to_owned(),
                ),
            );
            self.make_again(now);
            return;
        }
        let status = status_group_gone(&pod.facts, None, host_ip.as_deref(), now.wall);
        pod.write(status, effects);
        effects.push(pod.event(
            true,
            "ContainerGroupDeleted",
            "The container group of this pod was deleted in Azure by somebody else".to_owned(),
        ));
        self.finish(now, Afterwards::Rest);
    }

    /// Tells the pod's owner why its group is not deleted.
    fn tell_held_back(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if let Some(pod) = &mut self.pod {
            pod.record_trouble(now, ANOTHER, ANOTHER_MESSAGE, effects);
        }
    }

    /// Another group is made, after a back-off by how often in a row that was so.
    fn make_again(&mut self, now: Now) {
        self.enter(now, Stage::Creating);
        self.look_first = true;
        self.wait(now, cadence::provision(self.failed_starts()));
    }

    /// Restarts that the containers of the pod have behind them.
    pub(super) fn restarts(&self) -> i32 {
        self.facts().map_or(0, PodFacts::restarts)
    }
}
