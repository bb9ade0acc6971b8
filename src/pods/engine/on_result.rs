//! What came of creates, deletes and stops. Facts only: what follows is for `rules` and `next`.

use super::record::Record;
use super::stage::{Afterwards, Exists, Made, Stage, Stopping};
use super::{Effect, Engine, Now, cadence};
use crate::provider::{Deleted, Ensured, Failure, FailureKind};
use crate::translate::{
    PodKey, status_failed, status_not_started, status_of_group, status_unpulled, status_waiting,
};

impl Engine {
    pub(super) fn created(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<Ensured, Failure>,
        effects: &mut Vec<Effect>,
    ) {
        if result.is_ok() {
            self.on_success(now, key);
        }
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        record.learn_of_create(&result);
        if !matches!(record.stage, Stage::Creating) {
            return;
        }
        match result {
            // Nothing else was under way meanwhile: the group is there, whatever the pod has been through.
            Ok(ensured) => {
                record.started(now, &ensured, effects);
                self.note_bulk(effects);
            }
            Err(_) if late => {}
            Err(failure) if failure.kind == FailureKind::Queued => {
                record.create_queued(now, &failure, effects);
            }
            Err(failure) => {
                record.create_failed(now, &failure, effects);
                let crowd = self.pods_failing_with(failure.reason);
                if let Some(record) = self.records.get_mut(key) {
                    let wait = cadence::after_refusal(&failure, record.attempts, crowd);
                    record.wait(now, wait);
                }
            }
        }
    }

    /// A delete of a group ended.
    pub(super) fn deleted(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<Deleted, Failure>,
        effects: &mut Vec<Effect>,
    ) {
        if result.is_ok() {
            self.on_success(now, key);
        }
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        let Stage::Removing(removal) = &mut record.stage else {
            return;
        };
        match result {
            Ok(Deleted::Absent) => record.exists = Exists::No,
            Ok(Deleted::Accepted(group)) => {
                removal.last = group.or(removal.last.take());
                removal.accepted = true;
                record.exists = Exists::Yes;
                record.poll_soon();
            }
            Err(_) if late => {}
            Err(failure) => {
                removal.unseen = true;
                if failure.kind == FailureKind::Queued {
                    record.delete_queued(now, &failure, effects);
                } else {
                    record.end_failed(now, &failure, effects);
                }
            }
        }
    }

    /// A stop of a group ended.
    pub(super) fn stopped(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<(), Failure>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        match (&mut record.stage, result) {
            // Stopped because the delete has to wait; whether that went well or not, the delete goes on.
            (Stage::Removing(removal), _) => removal.stop = Stopping::Done,
            (Stage::Finished(_), _) if late => {}
            // The answer says that it was taken; one poll says that it is so.
            (Stage::Finished(_), Ok(())) => record.finish(now, Afterwards::Poll),
            (Stage::Finished(_), Err(failure)) => record.end_failed(now, &failure, effects),
            _ => {}
        }
    }
}

impl Record {
    /// Whether there is a group now, whatever the record waits for meanwhile.
    fn learn_of_create(&mut self, result: &Result<Ensured, Failure>) {
        match result {
            Ok(ensured) => {
                self.exists = Exists::Yes;
                self.look_first = false;
                self.unheard = false;
                if !ensured.adopted {
                    self.made = Made::Here;
                }
            }
            // Nothing was sent.
            Err(Failure {
                kind: FailureKind::Queued | FailureKind::Refused | FailureKind::Rejected,
                ..
            }) => {}
            Err(failure) => {
                self.unheard |= failure.kind.may_have_taken_effect();
                self.look_first |= self.unheard;
                if self.exists == Exists::No {
                    self.exists = Exists::Maybe;
                }
            }
        }
        if let Stage::Removing(removal) = &mut self.stage {
            removal.had_group |= self.exists != Exists::No;
        }
    }

    /// Azure has taken the group.
    fn started(&mut self, now: Now, ensured: &Ensured, effects: &mut Vec<Effect>) {
        self.enter(now, Stage::starting(now, false));
        let Some(pod) = &mut self.pod else { return };
        pod.slow_since = None;
        pod.inherited = false;
        effects.extend(pod.notes(&ensured.notes));
        pod.facts.told.learn(&ensured.group);
        let status = status_of_group(&pod.facts, &ensured.group, pod.host_ip(), now.wall);
        pod.write(status, effects);
    }

    /// Azure, or what the pod refers to, does not let the group be made.
    fn create_failed(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        self.attempts = self.attempts.saturating_add(1);
        let Some(pod) = &mut self.pod else { return };
        pod.queued = None;
        pod.refused(failure);
        let (facts, message, host_ip) = (&pod.facts, &failure.message, pod.host_ip());
        let reason = failure.reason;
        let status = match failure.kind {
            FailureKind::Image => {
                status_unpulled(facts, self.attempts > 1, message, host_ip, now.wall)
            }
            FailureKind::Rejected => status_failed(facts, None, reason, message, host_ip, now.wall),
            _ => match &failure.faults {
                Some(faults) => status_not_started(facts, faults, host_ip, now.wall),
                None => status_waiting(facts, reason, message, host_ip, now.wall),
            },
        };
        pod.write(status, effects);
        pod.record_failure(now, failure, effects);
        match failure.kind {
            FailureKind::Refused => self.enter(now, Stage::Refused),
            FailureKind::Rejected => self.finish(now, Afterwards::Rest),
            _ => {}
        }
    }

    /// A delete or stop failed.
    fn end_failed(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        if let Some(pod) = &mut self.pod {
            pod.refused(failure);
        }
        self.end_later(now, failure, effects);
    }

    /// What should have ended is tried again later.
    pub(super) fn end_later(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        self.back_off(
            now,
            cadence::after_failure(failure, self.attempts.saturating_add(1)),
        );
        let attempts = self.attempts;
        if let Some(pod) = &mut self.pod {
            pod.record_failed_end(now, failure, attempts, effects);
        }
    }
}
