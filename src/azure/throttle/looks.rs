//! When followed logs are looked at: their part of the reads of one subscription and principal, whatever the number of
//! nodes.
//!
//! What they may have of the reads is in [`super::plan`]. A follower books its next turn as soon as it has had one: the first that is free once it wants to look again. So nobody is overtaken by who came later, a hundred
//! followers take turns in the order of their last looks, and turns that slow followers leave free are for fast ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Milliseconds from one turn to the next: eight a second, which is what followers get of ARM's 25.
const BETWEEN: u64 = 125;
/// Where ARM gives less, only one in so many turns is used at least.
const RAREST: u64 = 8;
/// Nobody looks again before this time has passed, so that each follower wants one read a second at most.
const AGAIN: Duration = Duration::from_secs(1);

/// The turns of all followers. Share it in an [`Arc`].
#[derive(Debug)]
pub struct Looks {
    epoch: Instant,
    calendar: Mutex<Calendar>,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            calendar: Mutex::default(),
        }
    }
}

impl Looks {
    /// Waits for a turn: the first free one after `wait`. Dropping the future gives the turn back.
    pub async fn turn(self: &Arc<Self>, wait: Duration) {
        let number = self.calendar.lock().book(self.epoch.elapsed(), wait);
        let mut turn = Booked {
            looks: Arc::clone(self),
            number: Some(number),
        };
        tokio::time::sleep_until(self.epoch + start(number)).await;
        // It is used.
        turn.number = None;
    }

    /// A turn needed another call: the next free turn is its.
    pub fn charge(&self) {
        self.calendar
            .lock()
            .book(self.epoch.elapsed(), Duration::ZERO);
    }

    /// Gives all followers `reads` a second from now on; at most eight, and one at least.
    pub fn set_rate(&self, reads: f64) {
        self.calendar.lock().set_rate(reads);
    }

    /// The reads a second that the followers of the moment want at most.
    pub fn demand(&self) -> f64 {
        let followers = self.calendar.lock().wanted(self.epoch.elapsed());
        f64::from(u32::try_from(followers).unwrap_or(u32::MAX))
    }

    /// How long it takes until everybody who waits has had a turn.
    pub fn round(&self) -> Duration {
        self.calendar.lock().round(self.epoch.elapsed())
    }
}

/// A turn that somebody waits for.
struct Booked {
    looks: Arc<Looks>,
    number: Option<u64>,
}

impl Drop for Booked {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.looks.calendar.lock().booked.remove(&number);
        }
    }
}

/// Turns by their numbers, those that are booked and those of the last second. Time is an argument: pure.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    booked: BTreeSet<u64>,
    /// One in so many turns is used; 0 is 1.
    every: u64,
}

impl Calendar {
    /// Books the first free turn that begins at `now` and `wait` or later; its number.
    pub fn book(&mut self, now: Duration, wait: Duration) -> u64 {
        self.forget(now);
        let every = self.every.max(1);
        let mut number = first(now.saturating_add(wait));
        // The first that is far enough from all others.
        loop {
            let near = (number + 1).saturating_sub(every)..number.saturating_add(every);
            match self.booked.range(near).next_back() {
                Some(taken) => number = taken.saturating_add(every),
                None => break,
            }
        }
        self.booked.insert(number);
        number
    }

    /// From now on turns are booked at a distance that makes `reads` a second of them.
    pub fn set_rate(&mut self, reads: f64) {
        let every = (1.0 / (reads.max(0.1) * Duration::from_millis(BETWEEN).as_secs_f64())).ceil();
        self.every = (1..=RAREST)
            .find(|n| f64::from(u32::try_from(*n).unwrap_or(u32::MAX)) >= every)
            .unwrap_or(RAREST);
    }

    /// The time that the booked turns need.
    pub fn round(&mut self, now: Duration) -> Duration {
        self.forget(now);
        let turns = self.booked.range(first(now)..).count();
        let turns = u64::try_from(turns).unwrap_or(u64::MAX);
        let every = BETWEEN.saturating_mul(self.every.max(1));
        Duration::from_millis(turns.saturating_mul(every))
    }

    /// How many turns are booked or have been used in the last second: who follows is one of them, or two.
    fn wanted(&mut self, now: Duration) -> usize {
        self.forget(now);
        self.booked.len()
    }

    /// Turns that are long over are of no interest.
    fn forget(&mut self, now: Duration) {
        self.booked = self.booked.split_off(&first(now.saturating_sub(AGAIN)));
    }
}

/// The first turn that begins at `time` or later.
fn first(time: Duration) -> u64 {
    let nanos = Duration::from_millis(BETWEEN).as_nanos();
    u64::try_from(time.as_nanos().div_ceil(nanos)).unwrap_or(u64::MAX / BETWEEN)
}

/// When a turn begins.
pub fn start(turn: u64) -> Duration {
    Duration::from_millis(turn.saturating_mul(BETWEEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_free_turn_after_the_wait() {
        let mut calendar = Calendar::default();
        for (now, wait, begins, why) in [
            (7_000, 0, 7_000, "at once"),
            (7_000, 0, 7_125, "never two together"),
            (7_000, 10, 7_250, "the next that is free"),
            (7_001, 1_000, 8_125, "no earlier than wanted"),
            (7_001, 0, 7_375, "before somebody who wants to wait longer"),
            (20_001, 0, 20_125, "unused turns are not saved up"),
        ] {
            assert_eq!(start(calendar.book(ms(now), ms(wait))), ms(begins), "{why}");
        }
        assert_eq!(
            calendar.round(ms(20_100)),
            ms(125),
            "old turns are forgotten"
        );
        assert_eq!(calendar.round(ms(20_126)), ms(0));
    }

    #[test]
    fn where_arm_gives_less_turns_are_further_apart() {
        for (reads, apart) in [
            (8.0, 125),
            (25.0, 125),
            (4.0, 250),
            (3.2, 375),
            (1.0, 1_000),
            (0.0, 1_000),
        ] {
            let mut calendar = Calendar::default();
            calendar.set_rate(reads);
            for turn in 0..5 {
                let begins = start(calendar.book(ms(7_000), ms(0)));
                assert_eq!(begins, ms(7_000 + turn * apart), "{reads}");
            }
            // The turn that was used last counts too.
            let begins = start(calendar.book(ms(7_001 + 4 * apart), ms(0)));
            assert_eq!(begins, ms(7_000 + 5 * apart), "{reads}");
            assert_eq!(calendar.round(ms(7_001 + 4 * apart)), ms(apart), "{reads}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_given_back_and_calls_are_charged() {
        let looks = Arc::new(Looks::default());
        let begun = Instant::now();
        looks.turn(Duration::ZERO).await;
        assert_eq!(begun.elapsed(), ms(0));
        let gone = tokio::time::timeout(ms(1), looks.turn(Duration::ZERO)).await;
        assert!(gone.is_err());
        looks.charge();
        assert_eq!(looks.round(), ms(125), "what nobody waits for is free");
        looks.turn(Duration::ZERO).await;
        assert_eq!(begun.elapsed(), ms(250), "behind the call that was charged");
    }
}
