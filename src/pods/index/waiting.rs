//! Pods that Azure refuses for a reason which others may share: what heals for one is tried for the others.

use std::time::Duration;

use super::entry::{Entry, Stage};
use super::{Effect, Index, Operation};
use crate::azure::ErrorClass;
use crate::pods::queue::Weight;
use crate::provider::{Failure, FailureKind, follows};
use crate::translate::PodKey;

/// Of pods that wait for something which is shared out (quota, capacity), so many follow one that got it.
const FOLLOWERS: usize = 2;
/// Between two that follow.
const SPREAD: Duration = Duration::from_millis(100);

impl Entry {
    /// Remembers what a call was refused for.
    pub(super) fn refused(&mut self, failure: &Failure) {
        let lasting = matches!(
            failure.kind,
            FailureKind::Slow | FailureKind::Shared | FailureKind::Image | FailureKind::Invalid
        );
        self.refused_for = lasting.then_some(failure.reason);
    }

    /// The step that was refused, once more.
    fn retry(&self, after: Duration) -> Option<Effect> {
        let operation = match self.stage {
            Stage::Ensuring => Operation::Ensure {
                look_first: self.inherited,
            },
            Stage::Starting { .. } | Stage::Running { .. } => Operation::Observe,
            Stage::Clearing | Stage::Expiring { .. } | Stage::Deleting { .. } => Operation::Delete,
            Stage::Held | Stage::Refused | Stage::Finished { .. } | Stage::Gone => return None,
        };
        Some(self.schedule(operation, Weight::Retry, after))
    }
}

impl Index {
    /// How many pods Azure refuses for `reason`.
    pub(super) fn crowd(&self, reason: &str) -> usize {
        let refused = |entry: &&Entry| entry.refused_for == Some(reason);
        self.pods.values().filter(refused).count()
    }

    /// A call for `key` has succeeded: what it was refused for before, if anything, may be over for others.
    pub(super) fn accepted(&mut self, key: &PodKey, fx: &mut Vec<Effect>) {
        let entry = self.pods.get_mut(key);
        let Some(reason) = entry.and_then(|entry| entry.refused_for.take()) else {
            return;
        };
        let shared = ErrorClass::ALL
            .into_iter()
            .map(follows)
            .any(|row| row.reason == reason && row.kind == FailureKind::Shared);
        let most = if shared { usize::MAX } else { FOLLOWERS };
        self.retry_refused(reason, most, fx);
    }

    /// A group is gone: there is room in the quota.
    pub(super) fn room(&self, fx: &mut Vec<Effect>) {
        self.retry_refused(follows(ErrorClass::Quota).reason, FOLLOWERS, fx);
    }

    fn retry_refused(&self, reason: &str, most: usize, fx: &mut Vec<Effect>) {
        let mut refused: Vec<&Entry> = self
            .pods
            .values()
            .filter(|entry| entry.refused_for == Some(reason))
            .collect();
        refused.sort_by(|a, b| a.facts.key.cmp(&b.facts.key));
        let mut after = SPREAD;
        for entry in refused.into_iter().take(most) {
            fx.extend(entry.retry(after));
            after += SPREAD;
        }
    }
}
