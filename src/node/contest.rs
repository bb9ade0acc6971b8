//! Does somebody else write the same Node? PURE: time is an argument.
//!
//! Leases keep two replicas apart. What they cannot keep away is a process that knows nothing of them: an operator of an
//! older version, a second installation with another namespace. Each would see the other's write and write again at once,
//! for ever. So a writer that is overwritten several times within a minute keeps a growing distance between its writes.

use std::time::Duration;

use tokio::time::Instant;

use crate::kube::backoff::jitter;

/// Overwritten so often within [`WINDOW`], it is a contest.
const OFTEN: usize = 3;
const WINDOW: Duration = Duration::from_mins(1);
/// The first distance between two writes, which doubles up to the last.
const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_mins(5);
/// Over after so many distances without interference: the other one keeps a distance, too, which may be twice ours.
const CALM: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Contest {
    /// The last times at which what we had written was something else again.
    overwritten: Vec<Instant>,
    /// The distance to keep, while it is one.
    distance: Option<Duration>,
    /// No write before then.
    hold: Option<Instant>,
}

impl Contest {
    /// Somebody has changed what we had written.
    pub(super) fn overwritten(&mut self, now: Instant) {
        self.calm(now);
        self.overwritten
            .retain(|at| now.duration_since(*at) < WINDOW);
        self.overwritten.push(now);
        self.distance = match self.distance {
            Some(distance) => Some((distance * 2).min(LAST)),
            None => (self.overwritten.len() >= OFTEN).then_some(FIRST),
        };
        // Two that began together must not write together for ever.
        self.hold = self.distance.map(|distance| now + jitter(distance, 0.3));
    }

    /// When the next write may be, if that is later than now.
    pub(super) fn hold(&self, now: Instant) -> Option<Instant> {
        self.hold.filter(|hold| *hold > now)
    }

    /// Whether it is one; it is over when nobody has interfered for [`CALM`] distances.
    pub(super) fn is_on(&mut self, now: Instant) -> bool {
        self.calm(now);
        self.distance.is_some()
    }

    /// When it will be over if nothing happens.
    pub(super) fn over(&self) -> Option<Instant> {
        let last = self.overwritten.last()?;
        let hold = self.hold.unwrap_or(*last);
        Some(hold.max(*last) + self.distance? * CALM)
    }

    fn calm(&mut self, now: Instant) {
        if self.over().is_some_and(|over| over <= now) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn distances_grow_and_calm_ends_them() {
        let mut contest = Contest::default();
        let mut now = Instant::now();
        for _ in 0..2 {
            contest.overwritten(now);
            assert_eq!(contest.hold(now), None, "once or twice is no contest");
        }
        let mut holds = Vec::new();
        for _ in 0..8 {
            contest.overwritten(now);
            let hold = contest.hold(now).unwrap();
            holds.push(hold.duration_since(now));
            assert!(contest.is_on(now));
            now = hold;
        }
        assert!(holds[0] <= FIRST.mul_f64(1.31), "{holds:?}");
        assert!(holds[7] >= LAST.mul_f64(0.69), "{holds:?}");
        assert!(holds.iter().all(|hold| *hold <= LAST.mul_f64(1.31)));
        now = contest.over().unwrap();
        assert!(!contest.is_on(now));
        contest.overwritten(now);
        assert_eq!(contest.hold(now), None, "it begins from the beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn rare_changes_are_no_contest() {
        let mut contest = Contest::default();
        let start = Instant::now();
        for minute in 0..10 {
            contest.overwritten(start + Duration::from_secs(40) * minute);
            let now = start + Duration::from_secs(40) * minute;
            assert!(!contest.is_on(now));
        }
    }
}
