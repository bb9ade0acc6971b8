//! Another image for the only container of a pod that runs. PURE.
//!
//! Level-triggered: each GET shows which image the group was made with. The PUT is preceded by another look, so that one whose
//! answer was lost is not sent again, and it restarts the container as a kubelet would (`kubectl set image`).

use std::time::Duration;

use super::next::{Next, at};
use super::record::Record;
use super::{Effect, Engine, NodeState, Now, Operation, cadence};
use crate::azure::model::ContainerGroup;
use crate::provider::{Ensured, Failure, FailureKind};
use crate::translate::PodKey;

/// A group that is to get another image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NewImage {
    /// Tries that failed.
    attempts: u32,
    /// Not before this time.
    not_before: Duration,
}

impl Engine {
    /// A try to give a group another image ended; `None` when there is no such group.
    pub(super) fn image_exchanged(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<Option<Ensured>, Failure>,
        effects: &mut Vec<Effect>,
    ) {
        if result.is_ok() {
            self.on_success(now, key);
        }
        let Some((record, _)) = self.land(now, key) else {
            return;
        };
        if !record.lives() {
            return;
        }
        match result {
            Ok(ensured) => {
                record.new_image = None;
                record.poll_soon();
                if let Some(ensured) = ensured.filter(|it| !it.adopted) {
                    record.tell_exchange(&ensured, effects);
                }
            }
            Err(failure) => record.exchange_failed(now, &failure, effects),
        }
    }
}

impl Record {
    /// A poll shows the group of a pod that runs.
    pub(super) fn saw_image(&mut self, group: &ContainerGroup) {
        let has_new = self.facts().is_some_and(|facts| facts.has_new_image(group));
        self.new_image = has_new.then(|| self.new_image.unwrap_or_default());
    }

    fn tell_exchange(&mut self, ensured: &Ensured, effects: &mut Vec<Effect>) {
        let Some(pod) = &self.pod else { return };
        if let Some(only) = pod.facts.containers.first() {
            let message = format!(
                "Container {} definition changed, will be restarted",
                only.name
            );
            effects.push(pod.event(false, "Killing", message));
        }
        effects.extend(pod.notes(&ensured.notes));
    }

    /// It runs on as it was, as far as is known; the next GET tells.
    fn exchange_failed(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        let waits = failure.kind == FailureKind::Queued;
        let before = self.new_image.unwrap_or_default();
        let attempts = before.attempts.saturating_add(u32::from(!waits));
        let wait = cadence::after_failure(failure, attempts);
        self.new_image = Some(NewImage {
            attempts,
            not_before: now.mono + cadence::jitter(wait, self.seed()),
        });
        self.poll_soon();
        let lasts = !waits && !failure.kind.is_transient();
        if let Some(pod) = self.pod.as_mut().filter(|_| lasts) {
            pod.record_failure(now, failure, effects);
        }
    }
}

/// The PUT of the group of `record` with another image, before `poll` is due; `None` when there is nothing to do by then. What
/// may not be made anew goes on as it is.
pub(super) fn exchange_image(record: &Record, node: &NodeState, poll: &Next) -> Option<Next> {
    let new_image = record.new_image?;
    let may_start = !node.suspended && node.tenants.allow(&record.key.namespace);
    let due = new_image.not_before;
    let next = at(record, Operation::ExchangeImage);
    (may_start && due <= poll.due).then_some(Next { due, ..next })
}
