//! One plan of ARM's reads for everything that comes back again and again. PURE.
//!
//! A part of the reads is planned with by nobody: it is for what cannot be foreseen, pods that start and end, exec, lists
//! and other programs of the same principal. The rest is shared by the looks at running pods, the followed logs and the
//! figures for `kubectl top`. So what is planned never adds up to more than ARM gives.

use std::collections::HashMap;
use std::time::Duration;

use super::pace::{Pace, Wish};

/// The part of the reads that nobody plans with.
const RESERVE: f64 = 0.2;
/// The part that followed logs get at most: eight a second of ARM's 25.
const LOGS: f64 = 0.32;
/// The part that looks at running pods get at most, also when nobody else reads.
const STATUSES: f64 = 0.7;
/// Of what logs leave, the part that is kept for figures while they are wanted.
const FIGURES: f64 = 0.25;
/// Turns of figures that are saved up: of so many seconds, and so many. A scrape uses its whole share although it does not
/// last from one scrape to the next, and leaves enough of ARM's burst to pods that start.
const SAVED_TIME: f64 = 15.0;
const SAVED: f64 = 50.0;
/// Figures are read as often as this at least, in calls a second.
const SLOWEST: f64 = 0.2;
/// A node that has not said what it wishes for so long does not count any more.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// What would be read, in calls a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// Looks at running pods.
    pub statuses: f64,
    /// Looks of followed logs.
    pub logs: f64,
    /// Figures from Azure Monitor.
    pub figures: f64,
}

/// What may be read, in calls a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// Looks at running pods.
    pub statuses: f64,
    /// Looks of followed logs.
    pub logs: f64,
    /// Figures from Azure Monitor.
    pub figures: f64,
    /// What figures may have while a scrape waits for them: each is wanted only once in a while.
    pub figures_at_most: f64,
}

impl Shares {
    /// Shares `rate` calls a second. What one does not want the others have.
    pub fn of(rate: f64, demand: Demand) -> Self {
        let rate = rate.max(0.0);
        let logs = demand.logs.clamp(0.0, log_reads(rate));
        let left = rate * (1.0 - RESERVE) - logs;
        let figures_at_most = (left - demand.statuses.max(0.0)).max(left * FIGURES);
        let figures = demand.figures.clamp(0.0, figures_at_most);
        Self {
            statuses: (left - figures).min(rate * STATUSES),
            logs,
            figures,
            figures_at_most,
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

/// Who shares the reads, and what they wish.
#[derive(Debug, Default)]
pub(super) struct Planner {
    statuses: HashMap<Reader, (Wish, Duration)>,
    figures: HashMap<Reader, (f64, Duration)>,
}

impl Planner {
    /// Notes what looks at the running pods of a node would cost, and says the pace for those of all nodes.
    pub(super) fn statuses(
        &mut self,
        (member, node): (u64, &str),
        wish: Wish,
        (rate, logs): (f64, f64),
        now: Duration,
    ) -> Pace {
        self.statuses.insert((member, node.to_owned()), (wish, now));
        let shares = self.shares(rate, logs, now);
        Pace::within(self.wish(), shares.statuses)
    }

    /// Notes how many reads a second would keep the figures of a node fresh.
    pub(super) fn figures(
        &mut self,
        (member, node): (u64, &str),
        reads_per_second: f64,
        now: Duration,
    ) {
        let wish = (reads_per_second, now);
        self.figures.insert((member, node.to_owned()), wish);
    }

    /// The shares of `rate` reads a second while followed logs want `logs` of them.
    pub(super) fn shares(&mut self, rate: f64, logs: f64, now: Duration) -> Shares {
        let known = |at: Duration| now.saturating_sub(at) < FORGOTTEN;
        self.statuses.retain(|_, (_, at)| known(*at));
        self.figures.retain(|_, (_, at)| known(*at));
        let demand = Demand {
            statuses: self.wish().reads(),
            logs,
            figures: self.figures.values().map(|(reads, _)| reads).sum(),
        };
        Shares::of(rate, demand)
    }

    fn wish(&self) -> Wish {
        let mut total = Wish::default();
        for (wish, _) in self.statuses.values() {
            total.brisk += wish.brisk;
            total.idle += wish.idle;
        }
        total
    }
}

#[cfg(test)]
mod tests;
