//! How often a follower polls its log. PURE.

use std::time::Duration;

/// The wait after something new.
const FAST: Duration = Duration::from_secs(1);
/// The longest wait while nothing happens, and there are turns enough.
const SLOW: Duration = Duration::from_secs(10);
/// Each wait while nothing happens is so much longer than the one before.
const STRETCH: f64 = 1.5;
/// A log without anything new for so long is still: while many want turns, it leaves some of its own to the others.
const STILL: Duration = Duration::from_mins(2);
/// The wait of a still log, in rounds of all followers: at least one, and up to so much more.
const MORE: f64 = 0.75;
/// Multiples of the golden ratio, without their whole parts, lie evenly between 0 and 1.
const GOLDEN: f64 = 0.618_033_988_75;

/// The poll interval of one follower. Times are those of one clock, since any moment.
#[derive(Debug, Clone, Copy)]
pub struct FollowInterval {
    wait: Duration,
    active: Duration,
}

impl FollowInterval {
    /// For a follower that begins `now`.
    pub fn new(now: Duration) -> Self {
        Self {
            wait: FAST,
            active: now,
        }
    }

    /// Something new was seen.
    pub fn active(&mut self, now: Duration) {
        *self = Self::new(now);
    }

    /// Nothing new was seen.
    pub fn idle(&mut self) {
        self.wait = self.wait.mul_f64(STRETCH).min(SLOW);
    }

    /// The wait before the next poll, when all followers have had a slot after `round`.
    pub fn wait(&self, now: Duration, round: Duration) -> Duration {
        if now.saturating_sub(self.active) < STILL {
            self.wait
        } else {
            // Each another wait: in a row, still logs would let nobody in between.
            let spread = (now.as_secs_f64() * 8.0 * GOLDEN).fract();
            self.wait.max(round.mul_f64(1.0 + MORE * spread))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;
    use crate::azure::throttle::log_polls::{PollSlots, start};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn idle_followers_poll_less() {
        let mut interval = FollowInterval::new(s(7));
        let wait = |interval: &FollowInterval| interval.wait(s(7), s(0));
        assert_eq!(wait(&interval), FAST);
        let mut waits = 0;
        while wait(&interval) < SLOW {
            interval.idle();
            waits += 1;
        }
        assert_eq!(waits, 6);
        interval.idle();
        assert_eq!(wait(&interval), SLOW);
        interval.active(s(8));
        assert_eq!(wait(&interval), FAST);
    }

    #[test]
    fn a_still_log_waits_longer_while_there_are_many() {
        let mut interval = FollowInterval::new(s(100));
        for _ in 0..9 {
            interval.idle();
        }
        assert_eq!(interval.wait(s(219), s(20)), s(10));
        assert_eq!(interval.wait(s(220), s(2)), s(10));
        let waits: Vec<_> = (220..240).map(|now| interval.wait(s(now), s(20))).collect();
        for least in (20..34).step_by(2) {
            let between = |wait: &&Duration| (s(least)..s(least + 2)).contains(*wait);
            assert!(
                waits.iter().any(|wait| between(&wait)),
                "{least}: {waits:?}"
            );
        }
        assert!(
            waits.iter().all(|wait| (s(20)..s(35)).contains(wait)),
            "{waits:?}"
        );
    }

    /// The longest times between two looks, of `busy` logs with something new at each look, and of `others` with
    /// something new every `every` seconds; and the looks a second.
    fn simulate(busy: usize, others: usize, every: u64) -> (Duration, Duration, f64) {
        let (begin, end) = (s(300), s(900));
        let mut slots = PollSlots::default();
        let mut paces = vec![FollowInterval::new(s(0)); busy + others];
        let mut last = vec![s(0); busy + others];
        let mut gaps = [s(0); 2];
        let mut looks = 0_u32;
        let mut turns: BinaryHeap<_> = (0..busy + others)
            .map(|who| Reverse((slots.book(s(0), FAST), who)))
            .collect();
        while let Some(Reverse((turn, who))) = turns.pop() {
            // A look takes a moment.
            let now = start(turn) + Duration::from_millis(60);
            if now > end {
                break;
            }
            if now > begin {
                looks += 1;
                let gap = &mut gaps[usize::from(who >= busy)];
                *gap = (*gap).max(now.saturating_sub(last[who]));
            }
            let shift = u64::try_from(who).unwrap();
            let lines = |at: Duration| (at.as_secs() + shift) / every;
            if who < busy || lines(now) > lines(last[who]) {
                paces[who].active(now);
            } else {
                paces[who].idle();
            }
            last[who] = now;
            let wait = paces[who].wait(now, slots.round(now));
            turns.push(Reverse((slots.book(now, wait), who)));
        }
        let [busy, others] = gaps;
        (
            busy,
            others,
            f64::from(looks) / end.saturating_sub(begin).as_secs_f64(),
        )
    }

    #[test]
    fn a_hundred_followers_take_turns() {
        // All busy, or all with a line now and then: a turn every 100 / 8 s, whoever has something new.
        for (busy, others, every) in [(100, 0, 1), (0, 100, 40), (50, 50, 40)] {
            let (busy, others, looks) = simulate(busy, others, every);
            assert!(
                busy.max(others) <= Duration::from_millis(12_750),
                "{busy:?} {others:?}"
            );
            assert!(looks <= 8.0 && looks > 7.8, "{looks}");
        }
    }

    #[test]
    fn still_logs_leave_turns_to_busy_ones() {
        let (busy, still, looks) = simulate(10, 90, 10_000);
        assert!(busy < s(6), "{busy:?}");
        assert!(still < s(23), "{still:?}");
        assert!(looks <= 8.0, "{looks}");
        let (alone, _, looks) = simulate(1, 0, 1);
        assert!(
            alone <= Duration::from_millis(1_250) && looks < 1.0,
            "{alone:?}"
        );
    }
}
