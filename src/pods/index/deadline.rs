//! `spec.activeDeadlineSeconds`: a pod that is active for longer has failed.
//!
//! There is no timer: whatever a pod waits for, it waits no longer than its deadline, and what comes back then finds it
//! passed. As with a kubelet the pod is `Failed` only when nothing of it runs any more, so its group goes first.

use std::time::Duration;

use super::entry::{Entry, Stage};
use super::{Effect, Index, Now, Operation, PodEvent};
use crate::pods::queue::Weight;
use crate::translate::{PodKey, status_failed};

/// The kubelet's words.
const REASON: &str = "DeadlineExceeded";
const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
/// Looks that fail before a pod is ended without one.
const LOOKS: u32 = 3;
/// Added to a wait for a deadline: the wall clock and the queue's need not agree to the millisecond.
pub(super) const MARGIN: Duration = Duration::from_millis(50);

impl Entry {
    /// Whether the pod has been active for as long as it may.
    pub(super) fn is_overdue(&self, now: Now) -> bool {
        self.time_left(now).is_some_and(|left| left.is_zero())
    }

    /// Whether the deadline can end the pod where it is now.
    fn is_active(&self) -> bool {
        match self.stage {
            Stage::Ensuring | Stage::Refused | Stage::Starting { .. } | Stage::Running { .. } => {
                self.facts.deletion.is_none()
            }
            // Held: decided when the lists have arrived. The others have ended, or are about to.
            Stage::Held
            | Stage::Finished { .. }
            | Stage::Clearing
            | Stage::Expiring { .. }
            | Stage::Deleting { .. }
            | Stage::Gone => false,
        }
    }
}

impl Index {
    /// Ends the pod `key` when it has been active for too long. Called when an operation of it has ended, so that there
    /// was a look after the deadline, or several that failed: what has ended by itself has ended so.
    pub(super) fn end_overdue(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let looked = |entry: &Entry| entry.attempts == 0 || entry.attempts >= LOOKS;
        let unmade = |entry: &Entry| matches!(entry.stage, Stage::Ensuring | Stage::Refused);
        let overdue = |entry: &Entry| {
            entry.is_active() && entry.is_overdue(now) && (unmade(entry) || looked(entry))
        };
        if self.pods.get(key).is_some_and(overdue) {
            fx.retain(|effect| !matches!(effect, Effect::Schedule { key: of, .. } if of == key));
            self.expire(now, key, fx);
        }
    }

    /// Lets nothing wait beyond its pod's deadline.
    pub(super) fn hurry(&self, now: Now, fx: &mut [Effect]) {
        for effect in fx {
            let Effect::Schedule {
                key,
                operation,
                after,
                ..
            } = effect
            else {
                continue;
            };
            let entry = self.pods.get(key).filter(|entry| entry.is_active());
            let Some(left) = entry.and_then(|entry| entry.time_left(now)) else {
                continue;
            };
            match operation {
                // Looks after the deadline keep their pace.
                Operation::Observe if !left.is_zero() => *after = (*after).min(left + MARGIN),
                // Nothing is made at the deadline.
                Operation::Ensure { .. } if *after >= left => {
                    (*operation, *after) = (Operation::Wake, left + MARGIN);
                }
                _ => {}
            }
        }
    }

    /// Begins to end a pod that has been active for too long.
    pub(super) fn expire(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        entry.attempts = 0;
        fx.push(Effect::Emit(PodEvent {
            key: key.clone(),
            warning: false,
            reason: REASON.to_owned(),
            message: MESSAGE.to_owned(),
            origin: None,
        }));
        let unsent = matches!(entry.stage, Stage::Ensuring) && entry.in_line.take().is_some();
        let nothing_made = unsent || matches!(entry.stage, Stage::Refused | Stage::Held);
        entry.stage = Stage::Expiring { last: None };
        if nothing_made {
            self.expired(now, key, fx);
        } else {
            fx.push(entry.schedule(Operation::Delete, Weight::Change, Duration::ZERO));
        }
    }

    /// Nothing runs any more of a pod that was active for too long.
    pub(super) fn expired(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let host_ip = self.host_ip.clone();
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        let finished = Stage::Finished { stop: false };
        let last = match std::mem::replace(&mut entry.stage, finished) {
            Stage::Expiring { last } => last,
            _ => None,
        };
        let host_ip = host_ip.as_deref();
        let status = status_failed(
            &entry.facts,
            last.as_deref(),
            REASON,
            MESSAGE,
            host_ip,
            now.wall,
        );
        entry.write(status, fx);
        fx.push(Effect::Forget(key.clone()));
    }

    /// Looks at a pod that may not run any more now, not when its next look is due.
    pub(super) fn doubted(&mut self, key: &PodKey, fx: &mut Vec<Effect>) {
        if let Some(entry) = self.pods.get(key)
            && matches!(entry.stage, Stage::Running { .. })
        {
            fx.push(entry.schedule(Operation::Observe, Weight::Fresh, Duration::ZERO));
        }
    }

    /// A wait for the deadline is over.
    pub(super) fn woken(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let Some(entry) = self.pods.get(key) else {
            return;
        };
        match entry.stage {
            Stage::Held => self.decide(now, key, fx),
            Stage::Ensuring => fx.push(entry.schedule(
                Operation::Ensure { look_first: true },
                Weight::Retry,
                Duration::ZERO,
            )),
            Stage::Refused => fx.extend(entry.schedule_deadline(now)),
            Stage::Deleting { .. } => self.left_line(now, key, fx),
            Stage::Starting { .. } | Stage::Running { .. } => {
                fx.push(entry.schedule(Operation::Observe, Weight::Fresh, Duration::ZERO));
            }
            Stage::Finished { .. } | Stage::Clearing | Stage::Expiring { .. } | Stage::Gone => {}
        }
    }
}
