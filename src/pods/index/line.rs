//! Pods whose create or delete waits for Azure's limit.
//!
//! The limiter keeps the line; the index asks again, says in the pod's status where it stands, once a minute at most, and
//! calls nothing for what was never sent. A group that is to be deleted and has to wait for long is stopped meanwhile: that
//! does not count as a create or delete, and what is stopped bills nothing (Azure: "Manually stop or start containers in
//! Azure Container Instances").

use std::time::Duration;

use super::entry::{Entry, Stage};
use super::looks::tell;
use super::{Effect, Index, Now, Operation, cadence};
use crate::pods::queue::Weight;
use crate::provider::Failure;
use crate::translate::{PodKey, status_waiting};

/// Who waits for less is not told.
const WORTH_TELLING: Duration = Duration::from_secs(10);
/// The place is told again after this long, spread by a tenth either way.
const TELL_AGAIN: Duration = Duration::from_secs(67);
/// A group whose delete has to wait for longer is stopped meanwhile.
const WORTH_STOPPING: Duration = Duration::from_secs(30);

impl Entry {
    /// A create waits for its turn.
    pub(super) fn wait_in_line(
        &mut self,
        now: Now,
        failure: &Failure,
        host_ip: Option<&str>,
        fx: &mut Vec<Effect>,
    ) {
        let wait = failure.retry_after.unwrap_or_default();
        let told_until = self.in_line.unwrap_or_default();
        self.in_line = Some(told_until);
        if wait >= WORTH_TELLING && now.mono >= told_until {
            self.in_line = Some(now.mono + cadence::jitter(TELL_AGAIN, self.seed()));
            let message = &failure.message;
            let status = status_waiting(&self.facts, failure.reason, message, host_ip, now.wall);
            self.write(status, fx);
            if told_until.is_zero() {
                tell(self, now, failure, fx);
            }
        }
        let look_first = self.inherited;
        fx.push(self.ask_again(Operation::Ensure { look_first }, wait));
    }

    /// A delete waits for its turn.
    pub(super) fn wait_to_delete(&mut self, now: Now, failure: &Failure, fx: &mut Vec<Effect>) {
        let wait = failure.retry_after.unwrap_or_default();
        if wait >= WORTH_STOPPING && self.in_line.is_none() {
            self.in_line = Some(Duration::ZERO);
            tell(self, now, failure, fx);
            fx.push(self.schedule(Operation::Stop, Weight::Change, Duration::ZERO));
        } else {
            fx.push(self.ask_again(Operation::Delete, wait));
        }
    }

    /// Not spread: the line says whose turn it is, and when.
    fn ask_again(&self, operation: Operation, wait: Duration) -> Effect {
        Effect::Schedule {
            key: self.facts.key.clone(),
            group: self.group.clone(),
            operation,
            weight: Weight::Change,
            after: cadence::in_line(wait),
        }
    }
}

impl Index {
    /// The end of a pod whose create was in the line has begun: what was never sent needs no delete. The wait lets a create
    /// end that is on its way just now.
    pub(super) fn leave_line(&mut self, key: &PodKey, fx: &mut Vec<Effect>) {
        if let Some(entry) = self.pods.get_mut(key) {
            entry.stage = Stage::Deleting { last: None };
            fx.push(entry.schedule(Operation::Wake, Weight::Change, Duration::ZERO));
        }
    }

    /// Nothing of the pod is on its way any more.
    pub(super) fn left_line(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        if entry.in_line.take().is_some() {
            entry.stage = Stage::Held;
            self.group_gone(now, key, fx);
        } else {
            fx.push(entry.schedule(Operation::Delete, Weight::Change, Duration::ZERO));
        }
    }
}
