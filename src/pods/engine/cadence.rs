//! When to look again. PURE.
//!
//! ACI tells nobody when a container changes, so its state is read by GET (LIST carries none). The cadence is quick
//! while a change is expected and slows down as a pod stays as it is, so that a hundred idle pods cost less than one
//! pod a second would, and a new pod shows Running within a fraction of a second.

use std::time::Duration;

use crate::azure::throttle::poll_interval::STABLE_INTERVAL;
use crate::azure::throttle::{PollDemand, PollInterval, QUEUED_POLL};
use crate::provider::{Failure, FailureKind};

const FIRST_LOOKS_MS: [u64; 7] = [50, 100, 150, 250, 400, 650, 1000];
const STARTING_CAP: Duration = Duration::from_secs(2);
const SLOW_START_AFTER: Duration = Duration::from_secs(60);
const SLOW_START_PERIOD: Duration = Duration::from_secs(5);
const VERY_SLOW_START_AFTER: Duration = Duration::from_secs(600);
/// ACI gives up after 30 minutes; a group that is still on its way then is looked at once in a minute.
const ENDLESS_START_AFTER: Duration = Duration::from_secs(1900);
const ENDLESS_START_PERIOD: Duration = Duration::from_secs(60);
const STEADY_MIN: Duration = Duration::from_secs(1);
/// Longest time between two looks at a running pod while the read budget allows.
const STEADY_MAX: Duration = STABLE_INTERVAL;
const RETRY_BASE: Duration = Duration::from_millis(500);
const QUICK_CAP: Duration = Duration::from_secs(30);
const REFERENCE_CAP: Duration = Duration::from_secs(15);
const SLOW_MIN: Duration = Duration::from_secs(5);
const SLOW_CAP: Duration = Duration::from_secs(300);
/// What concerns everybody heals for everybody: a minute is soon enough, and costs little.
const SHARED_CAP: Duration = Duration::from_secs(60);
const INVALID_CAP: Duration = Duration::from_secs(900);
/// Of pods that Azure refuses for one reason, one is tried in this time: a refused create counts as one in ACI's limit of
/// 100 in five minutes.
const CROWD_TURN: Duration = Duration::from_secs(5);
const CROWD_CAP: Duration = Duration::from_secs(1800);
/// ACI asks for at least ten seconds while an operation on the group runs.
const TRANSITION: Duration = Duration::from_secs(10);
const ENDED_MIN: Duration = Duration::from_secs(20);
const ENDED_MAX: Duration = Duration::from_secs(900);
const END_BASE: Duration = Duration::from_millis(150);
const END_CAP: Duration = Duration::from_secs(2);
const DELETE_BASE: Duration = Duration::from_millis(200);
const DELETE_CAP: Duration = Duration::from_secs(10);
/// Looks at a deletion, about two and a half minutes of them, after which it is slow.
pub(super) const SLOW_DELETION: u32 = 20;
const SLOW_DELETE_PERIOD: Duration = Duration::from_secs(60);

/// Wait before look number `look` (from 0) at a group that is being created since `age`.
pub(super) fn starting(look: u32, age: Duration) -> Duration {
    let index = usize::try_from(look).unwrap_or(usize::MAX);
    match FIRST_LOOKS_MS.get(index) {
        Some(ms) => Duration::from_millis(*ms),
        None if age < SLOW_START_AFTER => STARTING_CAP,
        None if age < VERY_SLOW_START_AFTER => SLOW_START_PERIOD,
        None if age < ENDLESS_START_AFTER => STEADY_MAX,
        None => ENDLESS_START_PERIOD,
    }
}

/// Wait between two LISTs that look for groups which finished starting, with `groups` in the resource group.
pub(super) fn bulk(groups: usize) -> Duration {
    Duration::from_millis(250)
        + Duration::from_millis(u64::try_from(groups).unwrap_or(u64::MAX).min(5000))
}

/// Wait between two looks at a pod that has been as it is for `stable`; one that `ends` should end by itself.
pub(super) fn steady(stable: Duration, ends: bool, interval: PollInterval) -> Duration {
    match active(stable, ends) {
        Some(demand) => demand
            .mul_f64(interval.stretch.min(3600.0))
            .min(interval.stable.max(demand)),
        None => interval.stable,
    }
}

/// Adds the cost of looking at such a pod to `demand`.
pub(super) fn add_demand(demand: &mut PollDemand, stable: Duration, ends: bool) {
    match active(stable, ends) {
        Some(every) => demand.active += 1.0 / every.as_secs_f64(),
        None => demand.stable += 1.0,
    }
}

/// How often a pod that changes or should end wishes to be looked at; `None` for an idle one.
fn active(stable: Duration, ends: bool) -> Option<Duration> {
    let demand = (stable / 6).clamp(STEADY_MIN, STEADY_MAX);
    (ends || demand < STEADY_MAX).then_some(demand)
}

/// Wait before a create or delete asks again for its turn, which is `wait` away as far as is known.
pub(super) fn in_line(wait: Duration) -> Duration {
    wait.min(QUEUED_POLL)
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
        FailureKind::Shared => retry(attempt, SHARED_CAP).max(SLOW_MIN),
        FailureKind::Invalid => retry(attempt, INVALID_CAP).max(SLOW_MIN),
        FailureKind::Transitioning => TRANSITION,
        FailureKind::Refused | FailureKind::Rejected => SLOW_CAP,
        FailureKind::Queued => return in_line(failure.retry_after.unwrap_or(QUEUED_POLL)),
    };
    wait.max(failure.retry_after.unwrap_or_default())
}

/// Wait before the next create of a pod that was refused for `failure` as `crowd` pods of the node are, this one included.
pub(super) fn after_refusal(failure: &Failure, attempt: u32, crowd: usize) -> Duration {
    let alone = after_failure(failure, attempt);
    let crowded = match failure.kind {
        FailureKind::Slow | FailureKind::Image | FailureKind::Shared | FailureKind::Invalid => {
            CROWD_TURN.saturating_mul(u32::try_from(crowd).unwrap_or(u32::MAX))
        }
        _ => Duration::ZERO,
    };
    alone.max(crowded.min(CROWD_CAP))
}

/// Wait before another try at a group that Azure would not provision for the `times`th time (from 1).
pub(super) fn provision(times: u32) -> Duration {
    retry(times.saturating_add(3), SLOW_CAP).max(SLOW_MIN)
}

/// Whether a start that began `age` ago is so slow that its pod's status should say so.
pub(super) fn is_slow_start(age: Duration) -> bool {
    age >= VERY_SLOW_START_AFTER
}

/// Wait before look number `look` (from 0) at a group whose pod has failed, to see that ACI has not started it again.
pub(super) fn ended(look: u32) -> Duration {
    exponential(ENDED_MIN, look.saturating_add(1), ENDED_MAX)
}

/// Wait before another poll of a pod whose containers are to end.
pub(super) fn ending(attempt: u32) -> Duration {
    exponential(END_BASE, attempt, END_CAP)
}

/// Wait before another look at, or another try of, a deletion.
pub(super) fn deletion(attempt: u32) -> Duration {
    if attempt > SLOW_DELETION {
        return SLOW_DELETE_PERIOD;
    }
    exponential(DELETE_BASE, attempt, DELETE_CAP)
}

/// Whether look number `attempt` at a deletion is to ask for it again. Each asking counts in ACI's limit of deletes.
pub(super) fn asks_again(attempt: u32) -> bool {
    attempt >= 4 && attempt.is_power_of_two()
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
        assert_eq!(
            starting(900, Duration::from_secs(1901)),
            ENDLESS_START_PERIOD
        );
    }

    #[test]
    fn a_pod_is_looked_at_less_often_the_longer_it_stays_as_it_is() {
        let roomy = PollInterval::default();
        let tight = PollInterval {
            stretch: 4.0,
            stable: Duration::from_secs(57),
        };
        for (stable, ends, roomy_wait, tight_wait) in [
            (0, false, 1, 4),
            (30, false, 5, 20),
            (89, false, 14, 57),
            (90, false, 15, 57),
            (3600, false, 15, 57),
            (3600, true, 15, 57),
        ] {
            let stable = Duration::from_secs(stable);
            let seconds = |interval| steady(stable, ends, interval).as_secs();
            assert_eq!((seconds(roomy), seconds(tight)), (roomy_wait, tight_wait));
        }
        let jobs_first = PollInterval {
            stretch: 1.0,
            ..tight
        };
        assert_eq!(
            steady(Duration::from_secs(3600), true, jobs_first),
            STEADY_MAX
        );
    }

    #[test]
    fn retries_grow_to_their_cap() {
        let cap = Duration::from_secs(30);
        assert_eq!(retry(1, cap), RETRY_BASE);
        assert_eq!(retry(3, cap), RETRY_BASE * 4);
        assert_eq!(retry(u32::MAX, cap), cap);
        assert_eq!(deletion(10), DELETE_CAP);
        assert_eq!(deletion(u32::MAX), SLOW_DELETE_PERIOD);
        let asked: Vec<u32> = (0..100).filter(|look| asks_again(*look)).collect();
        assert_eq!(asked, [4, 8, 16, 32, 64]);
    }

    #[test]
    fn what_is_refused_does_not_use_up_the_creates() {
        for (kind, first, last) in [
            (FailureKind::Slow, 5, 300),
            (FailureKind::Image, 5, 300),
            (FailureKind::Shared, 5, 60),
            (FailureKind::Invalid, 5, 900),
            (FailureKind::Transitioning, 10, 10),
        ] {
            let failure = Failure {
                kind,
                reason: "Test",
                message: String::new(),
                retry_after: None,
                faults: None,
            };
            let wait = |attempt, crowd| after_refusal(&failure, attempt, crowd).as_secs();
            assert_eq!((wait(1, 1), wait(99, 1)), (first, last), "{kind:?}");
            if kind != FailureKind::Transitioning {
                assert_eq!(wait(99, 200), 1000, "one create in five seconds");
                assert_eq!(wait(1, 100_000), 1800);
            }
            let asked = Failure {
                retry_after: Some(Duration::from_secs(100)),
                ..failure.clone()
            };
            assert_eq!(after_refusal(&asked, 1, 1).as_secs(), 100);
        }
        let waits: Vec<u64> = (1..9).map(|times| provision(times).as_secs()).collect();
        assert_eq!(waits, [5, 8, 16, 32, 64, 128, 256, 300]);
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
