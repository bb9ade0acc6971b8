//! The circuit breaker of deletes that nobody asked for. PURE.
//!
//! A pod that is deleted in the API server takes its container group with it; that is asked for. A group whose pod is just
//! not there (it vanished from the watch, or a list shows a group without a pod) is deleted, too, but when many of a node's
//! groups lose their pods at once the cause is more likely a restored or copied control plane than the pods. Then nothing is
//! deleted until a person agrees, or a stated time has passed.

use std::collections::VecDeque;
use std::time::Duration;

use super::Now;

/// A group without a pod is left alone for this long after the pod is known to be gone, so that those that vanish
/// together are counted together.
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// Deletes of this time count together.
const WINDOW: Duration = Duration::from_secs(600);
/// Of a node's groups one in so many may lose its pod within the window.
const SHARE: usize = 5;
/// Without a person's word it goes on after this long.
pub const HOLD: Duration = Duration::from_secs(1800);
/// How long a release holds: the groups that were waiting are deleted meanwhile.
const RELEASE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// When groups were deleted that nobody asked to delete.
    recent: VecDeque<Duration>,
    tripped_at: Option<Duration>,
    released_until: Duration,
}

impl Breaker {
    /// Whether one of `waiting` groups without a pod may be deleted now, of `groups` of the node, these included. Counts
    /// the delete when it may, and trips when it may not.
    pub(super) fn permits(&mut self, now: Now, waiting: usize, groups: usize) -> bool {
        let now = now.mono;
        while self
            .recent
            .front()
            .is_some_and(|first| now.saturating_sub(*first) >= WINDOW)
        {
            self.recent.pop_front();
        }
        if let Some(at) = self.tripped_at {
            if now < at + HOLD {
                return false;
            }
            self.release(now);
        }
        if now < self.released_until {
            return true;
        }
        if self.recent.len() + waiting > allowed(groups + self.recent.len()) {
            self.tripped_at = Some(now);
            return false;
        }
        self.recent.push_back(now);
        true
    }

    fn release(&mut self, now: Duration) {
        self.tripped_at = None;
        self.recent.clear();
        self.released_until = now + RELEASE;
    }

    /// A person has agreed to what waits.
    pub(super) fn approve(&mut self, now: Now) {
        self.release(now.mono);
    }

    /// Whether a person has just agreed.
    pub(super) fn is_released(&self, now: Now) -> bool {
        now.mono < self.released_until
    }

    /// Since when nothing is deleted; `None` while it is.
    pub(super) fn tripped_at(&self) -> Option<Duration> {
        self.tripped_at
    }

    /// When a group that may not be deleted before `earliest` should be considered.
    pub(super) fn opens(&self, now: Now, earliest: Duration) -> Duration {
        let held = self.tripped_at.map_or(now.mono, |at| at + HOLD);
        held.max(earliest)
    }

    /// Nothing waits any more: what tripped it is over.
    pub(super) fn reset(&mut self) {
        self.tripped_at = None;
    }
}

/// How many of `groups` may lose their pods within the window. One in five, and two of the smallest fleets.
fn allowed(groups: usize) -> usize {
    groups.div_ceil(SHARE).max(2)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            wall: Timestamp::UNIX_EPOCH,
            mono: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_few_may_go_and_a_fleet_may_not() {
        for (waiting, groups, permitted) in [
            (1, 1, true),
            (2, 2, true),
            (3, 3, false),
            (2, 10, true),
            (3, 12, true),
            (12, 12, false),
            (200, 1000, true),
            (201, 1000, false),
        ] {
            let mut breaker = Breaker::default();
            assert_eq!(
                breaker.permits(at(0), waiting, groups),
                permitted,
                "{waiting} of {groups}"
            );
            assert_eq!(breaker.tripped_at().is_some(), !permitted);
        }
    }

    #[test]
    fn one_after_the_other_is_counted_together() {
        let mut breaker = Breaker::default();
        let deleted = (0..100)
            .take_while(|n| breaker.permits(at(*n), 1, 100 - usize::try_from(*n).unwrap()))
            .count();
        assert_eq!(deleted, 20, "a fifth of a hundred");
        // It does not re-arm by itself.
        for seconds in [101, 700, 1800] {
            assert!(!breaker.permits(at(seconds), 1, 80));
        }
        assert!(
            breaker.permits(at(20 + 1800), 1, 80),
            "after the stated time"
        );
    }

    #[test]
    fn what_is_deleted_now_and_then_never_trips() {
        let mut breaker = Breaker::default();
        for n in 0..100 {
            assert!(breaker.permits(at(n * 301), 1, 10), "{n}");
        }
    }

    #[test]
    fn a_persons_word_releases_what_waits_and_not_what_comes_later() {
        let mut breaker = Breaker::default();
        assert!(!breaker.permits(at(0), 12, 12));
        breaker.approve(at(60));
        for waiting in (1..=12).rev() {
            assert!(breaker.permits(at(61), waiting, 12));
        }
        assert!(!breaker.permits(at(60 + 301), 12, 12));
    }
}
