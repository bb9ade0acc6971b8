//! Pods that Azure refuses for a reason which others may share: when one gets through, the others are tried. PURE.

use std::time::Duration;

use super::record::{PodRecord, Record};
use super::stage::Stage;
use super::{Engine, Now};
use crate::azure::ErrorClass;
use crate::provider::{Failure, FailureKind, follows};
use crate::translate::PodKey;

/// Of pods that wait for something which is shared out (quota, capacity), so many follow one that got it.
const FOLLOWERS: usize = 2;
/// Between two that follow.
const SPREAD: Duration = Duration::from_millis(100);

/// What a call was refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cause {
    reason: &'static str,
    /// It concerns every pod of the connector.
    shared: bool,
}

impl PodRecord {
    /// Remembers what a call was refused for.
    pub(super) fn refused(&mut self, failure: &Failure) {
        let lasting = matches!(
            failure.kind,
            FailureKind::Slow | FailureKind::Shared | FailureKind::Image | FailureKind::Invalid
        );
        self.refused_for = lasting.then_some(Cause {
            reason: failure.reason,
            shared: failure.kind == FailureKind::Shared,
        });
    }
}

impl Record {
    fn is_refused_for(&self, reason: &str) -> bool {
        let cause = self.pod.as_ref().and_then(|pod| pod.refused_for);
        cause.is_some_and(|cause| cause.reason == reason)
    }

    /// Whether a step of this stage can be tried again.
    fn can_be_retried(&self) -> bool {
        match self.stage {
            Stage::Creating
            | Stage::Starting { .. }
            | Stage::Running { .. }
            | Stage::Removing(_) => true,
            Stage::Unsynced
            | Stage::Refused
            | Stage::Finished(_)
            | Stage::Gone
            | Stage::Orphaned(_) => false,
        }
    }
}

impl Engine {
    /// How many pods Azure refuses for `reason`.
    pub(super) fn pods_failing_with(&self, reason: &str) -> usize {
        let refused = |record: &&Record| record.is_refused_for(reason);
        self.records.values().filter(refused).count()
    }

    /// A call for `key` has succeeded: what it was refused for before, if anything, may be over for others.
    pub(super) fn on_success(&mut self, now: Now, key: &PodKey) {
        let pod = self
            .records
            .get_mut(key)
            .and_then(|record| record.pod.as_mut());
        let Some(cause) = pod.and_then(|pod| pod.refused_for.take()) else {
            return;
        };
        let most = if cause.shared { usize::MAX } else { FOLLOWERS };
        self.retry_refused(now, cause.reason, most);
    }

    /// A group is gone: quota is free.
    pub(super) fn quota_freed(&mut self, now: Now) {
        self.retry_refused(now, follows(ErrorClass::Quota).reason, FOLLOWERS);
    }

    fn retry_refused(&mut self, now: Now, reason: &str, most: usize) {
        let mut refused: Vec<&mut Record> = self
            .records
            .values_mut()
            .filter(|record| record.is_refused_for(reason) && record.can_be_retried())
            .collect();
        refused.sort_by(|a, b| a.key.cmp(&b.key));
        let mut after = SPREAD;
        for record in refused.into_iter().take(most) {
            record.not_before = now.mono + after;
            self.touched.push(record.key.clone());
            after += SPREAD;
        }
    }
}
