//! When to look again. PURE.
//!
//! ACI tells nobody when a container changes, so its state is read by GET (LIST carries none). The cadence is quick
//! while a change is expected and slows down as a pod stays as it is, so that a hundred idle pods cost less than one
//! pod a second would, and a new pod shows Running within a fraction of a second.

use std::time::Duration;

use crate::provider::{Failure, FailureKind};

const FIRST_LOOKS_MS: [u64; 7] = [50, 100, 150, 250, 400, 650, 1000];
const STARTING_CAP: Duration = Duration::from_secs(2);
const SLOW_START_AFTER: Duration = Duration::from_secs(60);
const SLOW_START_PERIOD: Duration = Duration::from_secs(5);
const VERY_SLOW_START_AFTER: Duration = Duration::from_secs(600);
const STEADY_MIN: Duration = Duration::from_secs(1);
/// Longest time between two looks at a running pod while the read budget allows.
const STEADY_MAX: Duration = Duration::from_secs(15);
/// Steady reads per second that one node may use, out of the ten that its principal has.
const STEADY_READS_PER_SECOND: f64 = 7.0;
const RETRY_BASE: Duration = Duration::from_millis(500);
const QUICK_CAP: Duration = Duration::from_secs(30);
const REFERENCE_CAP: Duration = Duration::from_secs(15);
const SLOW_MIN: Duration = Duration::from_secs(5);
const SLOW_CAP: Duration = Duration::from_secs(300);
/// ACI asks for at least ten seconds while an operation on the group runs.
const TRANSITION: Duration = Duration::from_secs(10);
const ENDED_MIN: Duration = Duration::from_secs(20);
const ENDED_MAX: Duration = Duration::from_secs(900);
const DELETE_BASE: Duration = Duration::from_millis(200);
const DELETE_CAP: Duration = Duration::from_secs(10);

/// Wait before look number `look` (from 0) at a group that is being created since `age`.
pub(super) fn starting(look: u32, age: Duration) -> Duration {
    let index = usize::try_from(look).unwrap_or(usize::MAX);
    match FIRST_LOOKS_MS.get(index) {
        Some(ms) => Duration::from_millis(*ms),
        None if age < SLOW_START_AFTER => STARTING_CAP,
        None if age < VERY_SLOW_START_AFTER => SLOW_START_PERIOD,
        None => STEADY_MAX,
    }
}

/// Wait between two LISTs that look for groups which finished starting, with `groups` in the answer.
pub(super) fn bulk(groups: usize) -> Duration {
    Duration::from_millis(250)
        + Duration::from_millis(u64::try_from(groups).unwrap_or(u64::MAX).min(5000))
}

/// Wait between two looks at a pod that has been as it is for `stable`, on a node with `pods` of them.
pub(super) fn steady(stable: Duration, pods: usize) -> Duration {
    let wish = (stable / 6).clamp(STEADY_MIN, STEADY_MAX);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of pods is far below 2^52"
    )]
    let floor = Duration::from_secs_f64(pods as f64 / STEADY_READS_PER_SECOND);
    wish.max(floor)
}

/// Wait before attempt `attempt` (from 1) of something that failed; never longer than `cap`.
pub(super) fn retry(attempt: u32, cap: Duration) -> Duration {
    exponential(RETRY_BASE, attempt, cap)
}

/// Wait before attempt `attempt` (from 1) after `failure`.
pub(super) fn after_failure(failure: &Failure, attempt: u32) -> Duration {
    let wait = match failure.kind {
        FailureKind::Transient | FailureKind::Uncertain => retry(attempt, QUICK_CAP),
        FailureKind::Reference => retry(attempt, REFERENCE_CAP),
        FailureKind::Slow | FailureKind::Image => retry(attempt, SLOW_CAP).max(SLOW_MIN),
        FailureKind::Transitioning => TRANSITION,
        FailureKind::Refused => SLOW_CAP,
    };
    wait.max(failure.retry_after.unwrap_or_default())
}

/// Wait before look number `look` (from 0) at a group whose pod has failed, to see that ACI has not started it again.
pub(super) fn ended(look: u32) -> Duration {
    exponential(ENDED_MIN, look.saturating_add(1), ENDED_MAX)
}

/// Wait before another look at, or another try of, a deletion.
pub(super) fn deletion(attempt: u32) -> Duration {
    exponential(DELETE_BASE, attempt, DELETE_CAP)
}

fn exponential(base: Duration, attempt: u32, cap: Duration) -> Duration {
    base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(16)))
        .min(cap)
}

/// Spreads `wait` by up to a tenth either way; `seed` decides, so that the index stays deterministic.
pub(super) fn jitter(wait: Duration, seed: u64) -> Duration {
    let permille = 900 + (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 201;
    wait.mul_f64(f64::from(u32::try_from(permille).unwrap_or(1000)) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_looks_are_quick_and_then_slow_down() {
        let waits: Vec<u128> = (0..9)
            .map(|n| starting(n, Duration::ZERO).as_millis())
            .collect();
        assert_eq!(waits, [50, 100, 150, 250, 400, 650, 1000, 2000, 2000]);
        assert_eq!(starting(50, Duration::from_secs(61)), SLOW_START_PERIOD);
        assert_eq!(starting(500, Duration::from_secs(601)), STEADY_MAX);
    }

    #[test]
    fn a_hundred_steady_pods_stay_within_the_read_budget() {
        let period = steady(Duration::from_secs(3600), 100);
        assert_eq!(period, Duration::from_secs(15));
        let thousand = steady(Duration::from_secs(3600), 1000);
        assert!(1000.0 / thousand.as_secs_f64() <= STEADY_READS_PER_SECOND + 0.01);
        assert_eq!(steady(Duration::ZERO, 1), STEADY_MIN);
    }

    #[test]
    fn retries_grow_to_their_cap() {
        let cap = Duration::from_secs(30);
        assert_eq!(retry(1, cap), RETRY_BASE);
        assert_eq!(retry(3, cap), RETRY_BASE * 4);
        assert_eq!(retry(u32::MAX, cap), cap);
        assert_eq!(deletion(u32::MAX), DELETE_CAP);
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        for seed in 0..1000 {
            let wait = jitter(Duration::from_secs(10), seed);
            assert!(
                wait >= Duration::from_secs(9) && wait <= Duration::from_millis(11_000),
                "{wait:?}"
            );
        }
    }
}
