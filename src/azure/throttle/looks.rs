//! When followed logs are looked at: their part of the reads of one subscription and principal, whatever the number of
//! nodes.
//!
//! ARM grants 25 reads a second; what followers leave of them is for statuses. A follower books its next turn as soon as
//! it has had one: the first that is free once it wants to look again. So nobody is overtaken by who came later, a hundred
//! followers take turns in the order of their last looks, and turns that slow followers leave free are for fast ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Milliseconds from one turn to the next: eight a second.
const BETWEEN: u64 = 125;

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

/// Turns by their numbers, those that are booked. Time is an argument: pure.
#[derive(Debug, Clone, Default)]
pub struct Calendar {
    booked: BTreeSet<u64>,
}

impl Calendar {
    /// Books the first free turn that begins at `now` and `wait` or later; its number.
    pub fn book(&mut self, now: Duration, wait: Duration) -> u64 {
        self.forget(now);
        let mut number = first(now.saturating_add(wait));
        for taken in self.booked.range(number..) {
            if *taken != number {
                break;
            }
            number += 1;
        }
        self.booked.insert(number);
        number
    }

    /// The time that the booked turns need.
    pub fn round(&mut self, now: Duration) -> Duration {
        self.forget(now);
        let turns = u64::try_from(self.booked.len()).unwrap_or(u64::MAX);
        Duration::from_millis(turns.saturating_mul(BETWEEN))
    }

    /// Turns that are over are of no interest.
    fn forget(&mut self, now: Duration) {
        self.booked = self.booked.split_off(&first(now));
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
