//! How often running pods are polled, when all nodes of a subscription and principal share its reads. PURE.
//!
//! Pods that have changed recently or run to completion are polled often, stable ones every fifteen seconds. When that is
//! more than the budget gives, both intervals grow: the stable pods' first, but never below six tenths of the reads.

use std::time::Duration;

/// Time between two polls of a stable pod while the budget allows.
pub const STABLE_INTERVAL: Duration = Duration::from_secs(15);
/// The share of the planned reads that active pods get at most while stable ones wait.
const ACTIVE_SHARE: f64 = 0.4;

/// What polling the running pods costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PollDemand {
    /// Reads per second for pods that have changed recently or run to completion.
    pub active: f64,
    /// Number of pods that have not changed for long.
    pub stable: f64,
}

/// How often to poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PollInterval {
    /// Factor on the interval of active pods; at least 1.
    pub stretch: f64,
    /// Time between two polls of a stable pod.
    pub stable: Duration,
}

impl PollDemand {
    /// The reads a second that it costs while the budget allows.
    pub fn reads(self) -> f64 {
        self.active + self.stable / STABLE_INTERVAL.as_secs_f64()
    }
}

impl Default for PollInterval {
    fn default() -> Self {
        Self {
            stretch: 1.0,
            stable: STABLE_INTERVAL,
        }
    }
}

impl PollInterval {
    /// The intervals at which `demand` costs no more than `reads` a second.
    pub fn within(demand: PollDemand, reads: f64) -> Self {
        let reads = reads.max(0.1);
        let stable_at_best = demand.stable / STABLE_INTERVAL.as_secs_f64();
        let for_brisk = (reads - stable_at_best).max(reads * ACTIVE_SHARE);
        let stretch = (demand.active / for_brisk).max(1.0);
        let left = (reads - demand.active / stretch).max(reads * (1.0 - ACTIVE_SHARE));
        let stable = Duration::from_secs_f64((demand.stable / left).min(3600.0));
        Self {
            stretch,
            stable: stable.max(STABLE_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_idle_pods_are_looked_at_every_fifteen_seconds_and_a_thousand_every_minute() {
        for (idle, active, reads, seconds, stretch) in [
            (100.0, 0.0, 7.0, 15.0, 1.0),
            (100.0, 0.0, 17.5, 15.0, 1.0),
            (1000.0, 0.0, 17.5, 57.14, 1.0),
            // A few jobs keep their interval at the cost of the idle ones.
            (900.0, 100.0 / 15.0, 17.5, 83.08, 1.0),
            // A burst of pods that have just started takes no more than its share.
            (500.0, 1000.0, 17.5, 47.62, 142.86),
            (0.0, 1000.0, 17.5, 15.0, 57.14),
        ] {
            let interval = PollInterval::within(
                PollDemand {
                    active,
                    stable: idle,
                },
                reads,
            );
            let close = |is: f64, should: f64| (is - should).abs() < 0.01;
            assert!(
                close(interval.stable.as_secs_f64(), seconds) && close(interval.stretch, stretch),
                "{idle} idle, {active} active: {interval:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_planned_never_costs_more_than_the_reads(
            idle in 0.0..5000.0f64, active in 0.0..5000.0f64, reads in 1.0..100.0f64,
        ) {
            let interval = PollInterval::within(PollDemand { active, stable: idle }, reads);
            let cost = active / interval.stretch + idle / interval.stable.as_secs_f64();
            // Beyond an hour between two looks the plan is capped.
            proptest::prop_assert!(cost <= reads * 1.001 || interval.stable >= Duration::from_hours(1), "{interval:?} costs {cost}");
        }
    }
}
