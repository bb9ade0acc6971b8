//! How often running pods are looked at, when all nodes of a subscription and principal share its reads. PURE.
//!
//! Pods that have changed lately or should end wish to be looked at often; the others every fifteen seconds. When that is
//! more than the budget gives, both are stretched: the idle ones first, but never below six tenths of the reads.

use std::time::Duration;

/// Time between two looks at an idle pod while the budget allows.
pub const IDLE_LOOK: Duration = Duration::from_secs(15);
/// The part of the planned reads that brisk pods get at most while idle ones wait.
const BRISK_SHARE: f64 = 0.4;

/// What the looks at running pods would cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Wish {
    /// Reads per second for pods that have changed lately or should end.
    pub brisk: f64,
    /// Pods that have been as they are for long.
    pub idle: f64,
}

/// How often to look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// How much longer than they wish brisk pods wait; at least 1.
    pub stretch: f64,
    /// Time between two looks at an idle pod.
    pub idle: Duration,
}

impl Wish {
    /// The reads a second that it costs while the budget allows.
    pub fn reads(self) -> f64 {
        self.brisk + self.idle / IDLE_LOOK.as_secs_f64()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            stretch: 1.0,
            idle: IDLE_LOOK,
        }
    }
}

impl Pace {
    /// The pace at which `wish` costs no more than `reads` a second.
    pub fn within(wish: Wish, reads: f64) -> Self {
        let reads = reads.max(0.1);
        let idle_at_best = wish.idle / IDLE_LOOK.as_secs_f64();
        let for_brisk = (reads - idle_at_best).max(reads * BRISK_SHARE);
        let stretch = (wish.brisk / for_brisk).max(1.0);
        let left = (reads - wish.brisk / stretch).max(reads * (1.0 - BRISK_SHARE));
        let idle = Duration::from_secs_f64((wish.idle / left).min(3600.0));
        Self {
            stretch,
            idle: idle.max(IDLE_LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_idle_pods_are_looked_at_every_fifteen_seconds_and_a_thousand_every_minute() {
        for (idle, brisk, reads, seconds, stretch) in [
            (100.0, 0.0, 7.0, 15.0, 1.0),
            (100.0, 0.0, 17.5, 15.0, 1.0),
            (1000.0, 0.0, 17.5, 57.14, 1.0),
            // A few jobs keep their pace at the cost of the idle ones.
            (900.0, 100.0 / 15.0, 17.5, 83.08, 1.0),
            // A burst of pods that have just started takes no more than its share.
            (500.0, 1000.0, 17.5, 47.62, 142.86),
            (0.0, 1000.0, 17.5, 15.0, 57.14),
        ] {
            let pace = Pace::within(Wish { brisk, idle }, reads);
            let close = |is: f64, should: f64| (is - should).abs() < 0.01;
            assert!(
                close(pace.idle.as_secs_f64(), seconds) && close(pace.stretch, stretch),
                "{idle} idle, {brisk} brisk: {pace:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_planned_never_costs_more_than_the_reads(
            idle in 0.0..5000.0f64, brisk in 0.0..5000.0f64, reads in 1.0..100.0f64,
        ) {
            let pace = Pace::within(Wish { brisk, idle }, reads);
            let cost = brisk / pace.stretch + idle / pace.idle.as_secs_f64();
            // Beyond an hour between two looks the plan is capped.
            proptest::prop_assert!(cost <= reads * 1.001 || pace.idle >= Duration::from_hours(1), "{pace:?} costs {cost}");
        }
    }
}
