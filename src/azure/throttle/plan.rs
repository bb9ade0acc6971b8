//! One plan of ARM's reads for everything that is polled. PURE.
//!
//! A reserve is for what cannot be foreseen: pods that start and end, exec, lists and other programs of the same
//! principal. The rest is shared by the statuses of running pods, followed logs and the metrics of `kubectl top`, so that
//! what is planned never adds up to more than ARM gives.

use std::collections::HashMap;
use std::time::Duration;

use super::poll_interval::{PollDemand, PollInterval};

/// The share of the reads that is kept as a reserve.
const RESERVE: f64 = 0.2;
/// The share that followed logs get at most: eight a second of ARM's 25.
const LOGS: f64 = 0.32;
/// The share that statuses get at most, even when nothing else reads.
const STATUSES: f64 = 0.7;
/// Of what logs leave, the share that is kept for metrics while they are scraped.
const METRICS: f64 = 0.25;
/// Turns of metrics that are saved up: of so many seconds, and so many. A scrape uses its whole share although it does not
/// last from one scrape to the next, and leaves enough of ARM's burst to pods that start.
const SAVED_TIME: f64 = 15.0;
const SAVED: f64 = 50.0;
/// Metrics are read as often as this at least, in calls a second.
const SLOWEST: f64 = 0.2;
/// The demand of a node that has not repeated it for this long no longer counts.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// What would be read, in calls a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// Statuses of running pods.
    pub statuses: f64,
    /// Polls of followed logs.
    pub logs: f64,
    /// Metrics from Azure Monitor.
    pub metrics: f64,
}

/// What may be read, in calls a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// Statuses of running pods.
    pub statuses: f64,
    /// Polls of followed logs.
    pub logs: f64,
    /// Metrics from Azure Monitor.
    pub metrics: f64,
    /// What metrics may have while a scrape waits for them: each is wanted only once in a while.
    pub metrics_at_most: f64,
}

impl Shares {
    /// Shares `rate` calls a second. What one does not want the others have.
    pub fn of(rate: f64, demand: Demand) -> Self {
        let rate = rate.max(0.0);
        let logs = demand.logs.clamp(0.0, log_reads(rate));
        let left = rate * (1.0 - RESERVE) - logs;
        let metrics_at_most = (left - demand.statuses.max(0.0)).max(left * METRICS);
        let metrics = demand.metrics.clamp(0.0, metrics_at_most);
        Self {
            statuses: (left - metrics).min(rate * STATUSES),
            logs,
            metrics,
            metrics_at_most,
        }
    }
}

/// The most that followed logs get of `rate` calls a second.
pub fn log_reads(rate: f64) -> f64 {
    rate * LOGS
}

/// Turns at a rate that may change. Those that nobody wanted are saved up for a while.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When the next turn would be if turns were not saved up, in seconds.
    next: Option<f64>,
}

impl Turns {
    /// Books a turn; how long to wait for it.
    pub(super) fn book(&mut self, now: Duration, reads_per_second: f64) -> Duration {
        let (now, rate) = (now.as_secs_f64(), reads_per_second.max(SLOWEST));
        let saved = SAVED_TIME.min(SAVED / rate);
        let next = self.next.unwrap_or(f64::MIN).max(now - saved);
        self.next = Some(next + 1.0 / rate);
        Duration::try_from_secs_f64((next - now).max(0.0)).unwrap_or_default()
    }

    /// The last turn that was booked at this rate is not needed.
    pub(super) fn give_back(&mut self, reads_per_second: f64) {
        if let Some(next) = &mut self.next {
            *next -= 1.0 / reads_per_second.max(SLOWEST);
        }
    }
}

/// A connector and its node.
type Reader = (u64, String);

/// Who shares the reads, and what they demand.
#[derive(Debug, Default)]
pub(super) struct Planner {
    statuses: HashMap<Reader, (PollDemand, Duration)>,
    metrics: HashMap<Reader, (f64, Duration)>,
}

impl Planner {
    /// Notes what polling the running pods of a node costs; returns the intervals for those of all nodes.
    pub(super) fn statuses(
        &mut self,
        (tenant, node): (u64, &str),
        demand: PollDemand,
        (rate, logs): (f64, f64),
        now: Duration,
    ) -> PollInterval {
        self.statuses
            .insert((tenant, node.to_owned()), (demand, now));
        let shares = self.shares(rate, logs, now);
        PollInterval::within(self.demand(), shares.statuses)
    }

    /// Notes how many reads a second keep the metrics of a node fresh.
    pub(super) fn metrics(
        &mut self,
        (tenant, node): (u64, &str),
        reads_per_second: f64,
        now: Duration,
    ) {
        let demand = (reads_per_second, now);
        self.metrics.insert((tenant, node.to_owned()), demand);
    }

    /// The shares of `rate` reads a second while followed logs want `logs` of them.
    pub(super) fn shares(&mut self, rate: f64, logs: f64, now: Duration) -> Shares {
        let known = |at: Duration| now.saturating_sub(at) < FORGOTTEN;
        self.statuses.retain(|_, (_, at)| known(*at));
        self.metrics.retain(|_, (_, at)| known(*at));
        let demand = Demand {
            statuses: self.demand().reads(),
            logs,
            metrics: self.metrics.values().map(|(reads, _)| reads).sum(),
        };
        Shares::of(rate, demand)
    }

    fn demand(&self) -> PollDemand {
        let mut total = PollDemand::default();
        for (demand, _) in self.statuses.values() {
            total.active += demand.active;
            total.stable += demand.stable;
        }
        total
    }
}

#[cfg(test)]
mod tests;
