//! One of the resource provider's counters: so many calls in so long a time. PURE.
//!
//! How ACI's counters forget is not documented. We keep the times of our own calls and never make more than the limit in
//! any stretch of the window's length: that holds under a sliding window, a fixed one and a token bucket alike. A call
//! counts from its answer on, because the server has counted it by then at the latest.
//!
//! The limit is Azure's default until answers show another: `remaining` is a lower bound of the limit, and more than it
//! cannot be left. Where others use the counter too, or it is smaller, we therefore reckon with less, and try one call
//! now and then to see whether there is more.

use std::collections::VecDeque;
use std::time::Duration;

/// Added to the window's length: the server's clock need not be finer than a second.
const MARGIN: Duration = Duration::from_secs(1);
/// The part of the limit that is kept for deletes: a group that cannot be deleted costs money.
const DELETE_SHARE: usize = 10;
/// A create that has waited for this part of the window may use the deletes' share, as far as deletes do not.
const PATIENCE: u32 = 10;
/// A window that seems smaller than the default, and empty, is tried so often.
const PROBE: Duration = Duration::from_secs(30);

/// Who asks for a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueuePosition {
    pub delete: bool,
    /// Calls that go before this one.
    pub ahead: usize,
    /// How long it has waited.
    pub waited: Duration,
}

/// What has to be remembered of a call under way to make sense of its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reservation {
    number: usize,
    beside: usize,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    at: Duration,
    delete: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Window {
    length: Duration,
    limit: usize,
    /// The largest limit we have reason to believe in.
    top: usize,
    /// Calls answered within the window, oldest first.
    made: VecDeque<Made>,
    under_way: usize,
    taken: usize,
    probe_at: Duration,
}

impl Window {
    pub(super) const fn new(length: Duration, limit: usize) -> Self {
        Self {
            length,
            limit,
            top: limit,
            made: VecDeque::new(),
            under_way: 0,
            taken: 0,
            probe_at: Duration::ZERO,
        }
    }

    /// The limit as far as we know.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// Whether calls are under way.
    pub(super) fn is_unsettled(&self) -> bool {
        self.under_way > 0
    }

    pub(super) fn take(&mut self) -> Reservation {
        let beside = self.under_way;
        self.under_way = self.under_way.saturating_add(1);
        self.taken = self.taken.saturating_add(1);
        Reservation {
            number: self.taken,
            beside,
        }
    }

    /// A call has ended. One that was `refused` has not been counted.
    pub(super) fn finish(&mut self, delete: bool, refused: Option<Duration>, now: Duration) {
        self.under_way = self.under_way.saturating_sub(1);
        let again = refused.unwrap_or_default().max(PROBE);
        self.probe_at = self.probe_at.max(now.saturating_add(again));
        if refused.is_none() {
            self.made.push_back(Made { at: now, delete });
        }
    }

    /// The server has `remaining` left after the call `taken`, which has ended.
    pub(super) fn adopt(&mut self, remaining: u32, taken: Reservation, now: Duration) {
        self.forget(now);
        let remaining = usize::try_from(remaining).unwrap_or(usize::MAX);
        self.top = self.top.max(remaining.saturating_add(1));
        self.limit = self.limit.max(remaining.saturating_add(1));
        let used = self.made.len().saturating_add(self.under_way);
        // There cannot be more than was left after a call of ours.
        if self.limit.saturating_sub(used) > remaining {
            self.limit = used.saturating_add(remaining).max(1);
        }
        // There is at least this much: calls that ran beside it may have been counted before or after it.
        let later = self.taken.saturating_sub(taken.number);
        let least = remaining.saturating_sub(later.saturating_add(taken.beside));
        let limit = used.saturating_add(least).min(self.top);
        self.limit = self.limit.max(limit);
        while self.free() < least && self.made.pop_front().is_some() {}
    }

    /// How long until the call at `place` can be made, as far as is known.
    pub(super) fn wait(&mut self, place: QueuePosition, now: Duration) -> Duration {
        self.forget(now);
        if place.delete {
            return self.wait_for(place.ahead, 0, now);
        }
        let share = self.limit / DELETE_SHARE;
        let deletes = self.made.iter().filter(|made| made.delete).count();
        let held_back = (self.length / PATIENCE).saturating_sub(place.waited);
        let with_all = self.wait_for(place.ahead, share, now);
        let with_most = self.wait_for(place.ahead, share.min(deletes), now);
        with_all.min(with_most.max(held_back))
    }

    /// How long until `ahead` calls and one more can be made and leave `reserve`.
    fn wait_for(&self, ahead: usize, reserve: usize, now: Duration) -> Duration {
        let need = ahead.saturating_add(1).saturating_add(reserve);
        let Some(turn) = need.checked_sub(self.free()).and_then(|n| n.checked_sub(1)) else {
            return Duration::ZERO;
        };
        // What is made now comes free a window later, and so forth.
        let limit = self.limit.max(1);
        let round = u32::try_from(turn / limit).unwrap_or(u32::MAX);
        let last = self.made.len().checked_sub(1);
        let freed = last
            .and_then(|last| self.made.get(last.min(turn % limit)))
            .map_or(now, |made| made.at);
        let length = self.length + MARGIN;
        let wait = freed
            .saturating_add(length.saturating_mul(round.saturating_add(1)))
            .saturating_sub(now);
        if self.limit < self.top && ahead == 0 && self.under_way == 0 {
            wait.min(self.probe_at.saturating_sub(now))
        } else {
            wait
        }
    }

    fn free(&self) -> usize {
        self.limit
            .saturating_sub(self.made.len())
            .saturating_sub(self.under_way)
    }

    fn forget(&mut self, now: Duration) {
        let length = self.length + MARGIN;
        while self
            .made
            .front()
            .is_some_and(|made| made.at.saturating_add(length) <= now)
        {
            self.made.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
