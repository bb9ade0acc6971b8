//! Groups that no pod claims.
//!
//! Deletes are rare and sure: an orphan is deleted only when the API server says, by a live GET, that its pod is gone,
//! when two lists at some distance showed it, and never many in one pass.

use std::sync::Arc;
use std::time::Duration;

use super::{Effect, Index, Operation, Presence, cadence};
use crate::pods::queue::Weight;
use crate::provider::{Deleted, Failure, GroupSummary};
use crate::translate::PodKey;

/// An orphan must have been seen for this long before its pod is asked for.
const SETTLE: Duration = Duration::from_secs(20);
/// Orphans acted on in one pass: a tenth of the groups, but at least this many.
const BREAKER_MIN: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Seen { since: Duration },
    Confirming,
    Deleting,
}

/// A group without a pod.
#[derive(Debug)]
pub(super) struct Orphan {
    group: Arc<str>,
    state: State,
    attempts: u32,
}

impl Orphan {
    pub(super) fn confirming(group: Arc<str>) -> Self {
        Self {
            group,
            state: State::Confirming,
            attempts: 0,
        }
    }

    pub(super) fn deleting(group: Arc<str>) -> Self {
        Self {
            group,
            state: State::Deleting,
            attempts: 0,
        }
    }

    fn schedule(&self, key: &PodKey, operation: Operation, after: Duration) -> Effect {
        Effect::Schedule {
            key: key.clone(),
            group: self.group.clone(),
            operation,
            weight: if after.is_zero() {
                Weight::Change
            } else {
                Weight::Retry
            },
            after,
        }
    }
}

impl Index {
    /// Compares a complete list of our groups, read at `at`, with our pods.
    pub(super) fn note_orphans(
        &mut self,
        at: Duration,
        groups: &[GroupSummary],
        fx: &mut Vec<Effect>,
    ) {
        self.orphans.retain(|key, orphan| {
            !matches!(orphan.state, State::Seen { .. })
                || groups.iter().any(|group| group.key == *key)
        });
        let mut allowed = (groups.len() / 10).max(BREAKER_MIN);
        for summary in groups {
            if self.pods.contains_key(&summary.key) {
                continue;
            }
            let orphan = self
                .orphans
                .entry(summary.key.clone())
                .or_insert_with(|| Orphan {
                    group: summary.name.as_str().into(),
                    state: State::Seen { since: at },
                    attempts: 0,
                });
            if let State::Seen { since } = orphan.state
                && at.saturating_sub(since) >= SETTLE
                && self.delete_orphans
                && allowed > 0
            {
                allowed -= 1;
                orphan.state = State::Confirming;
                fx.push(orphan.schedule(&summary.key, Operation::Confirm, Duration::ZERO));
            }
        }
    }

    pub(super) fn orphan_confirmed(
        &mut self,
        key: &PodKey,
        presence: Presence,
        fx: &mut Vec<Effect>,
    ) {
        let Some(orphan) = self.orphans.get_mut(key) else {
            return;
        };
        match presence {
            Presence::Gone => {
                orphan.state = State::Deleting;
                orphan.attempts = 0;
                fx.push(orphan.schedule(key, Operation::Delete, Duration::ZERO));
            }
            // The pod lives, but not on our node or not yet in our watch: leave its group alone.
            Presence::Alive => {
                self.orphans.remove(key);
            }
            Presence::Unknown => {
                orphan.attempts = orphan.attempts.saturating_add(1);
                let wait = cadence::retry(orphan.attempts, Duration::from_secs(60));
                fx.push(orphan.schedule(key, Operation::Confirm, wait));
            }
        }
    }

    /// True when the result belonged to an orphan.
    pub(super) fn orphan_deleted(
        &mut self,
        key: &PodKey,
        result: &Result<Deleted, Failure>,
        fx: &mut Vec<Effect>,
    ) -> bool {
        let Some(orphan) = self.orphans.get_mut(key) else {
            return false;
        };
        orphan.attempts = orphan.attempts.saturating_add(1);
        match result {
            Ok(Deleted::Absent) => {
                self.orphans.remove(key);
            }
            Ok(Deleted::Accepted(_)) => {
                let wait = if orphan.attempts == 1 {
                    Duration::ZERO
                } else {
                    cadence::deletion(orphan.attempts)
                };
                fx.push(orphan.schedule(key, Operation::Observe, wait));
            }
            Err(failure) => {
                let wait = cadence::after_failure(failure, orphan.attempts);
                fx.push(orphan.schedule(key, Operation::Delete, wait));
            }
        }
        true
    }

    /// True when the observation belonged to an orphan; `exists` is `None` when Azure did not say.
    pub(super) fn orphan_observed(
        &mut self,
        key: &PodKey,
        exists: Option<bool>,
        fx: &mut Vec<Effect>,
    ) -> bool {
        let Some(orphan) = self.orphans.get_mut(key) else {
            return false;
        };
        if exists == Some(false) {
            self.orphans.remove(key);
        } else {
            orphan.attempts = orphan.attempts.saturating_add(1);
            // Most looks find the delete still going on; now and then it has to be asked for again.
            let operation = if cadence::asks_again(orphan.attempts) {
                Operation::Delete
            } else {
                Operation::Observe
            };
            fx.push(orphan.schedule(key, operation, cadence::deletion(orphan.attempts)));
        }
        true
    }

    /// An ensure that ends after its pod is gone leaves its group to be deleted.
    pub(super) fn orphan_ensured(&self, key: &PodKey) -> bool {
        self.orphans.contains_key(key)
    }
}
