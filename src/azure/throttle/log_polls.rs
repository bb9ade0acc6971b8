//! When followed logs are polled: their share of the reads of one subscription and principal, for all nodes together.
//!
//! The size of the share is in [`super::plan`]. A follower books its next slot as soon as it has used one: the first that
//! is free once its interval is over. So no follower is overtaken by a later one, a hundred of them take slots in the
//! order of their last polls, and slots that slow followers leave free are for fast ones.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Milliseconds from one slot to the next: eight a second, which is what followers get of ARM's 25.
const BETWEEN: u64 = 125;
/// Where ARM gives less, at least one in this many slots is used.
const RAREST: u64 = 8;
/// The shortest interval of a follower.
const AGAIN: Duration = Duration::from_secs(1);

/// The slots of all followers. Share it in an [`Arc`].
#[derive(Debug)]
pub struct LogPollScheduler {
    epoch: Instant,
    slots: Mutex<PollSlots>,
}

impl Default for LogPollScheduler {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            slots: Mutex::default(),
        }
    }
}

impl LogPollScheduler {
    /// Waits for a slot: the first free one after `wait`. Dropping the future gives the slot back.
    pub async fn next_slot(self: &Arc<Self>, wait: Duration) {
        let number = self.slots.lock().book(self.epoch.elapsed(), wait);
        let mut slot = Booked {
            polls: Arc::clone(self),
            number: Some(number),
        };
        tokio::time::sleep_until(self.epoch + start(number)).await;
        // It is used.
        slot.number = None;
    }

    /// A poll needed another call: it takes the next free slot.
    pub fn charge(&self) {
        self.slots.lock().book(self.epoch.elapsed(), Duration::ZERO);
    }

    /// Gives all followers `reads` a second from now on; at most eight, and one at least.
    pub fn set_rate(&self, reads: f64) {
        self.slots.lock().set_rate(reads);
    }

    /// The reads a second that the present followers need at most.
    pub fn demand(&self) -> f64 {
        let followers = self.slots.lock().wanted(self.epoch.elapsed());
        f64::from(u32::try_from(followers).unwrap_or(u32::MAX))
    }

    /// How long it takes until all that wait have had a slot.
    pub fn round(&self) -> Duration {
        self.slots.lock().round(self.epoch.elapsed())
    }
}

/// A slot that a follower waits for.
struct Booked {
    polls: Arc<LogPollScheduler>,
    number: Option<u64>,
}

impl Drop for Booked {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.polls.slots.lock().booked.remove(&number);
        }
    }
}

/// Slots by their numbers, those that are booked and those of the last second. PURE: time is an argument.
#[derive(Debug, Clone, Default)]
pub struct PollSlots {
    booked: BTreeSet<u64>,
    /// One in this many slots is used; 0 is 1.
    every: u64,
}

impl PollSlots {
    /// Books the first free slot that begins at `now` and `wait` or later; returns its number.
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

    /// From now on slots are booked at a distance that makes `reads` a second of them.
    pub fn set_rate(&mut self, reads: f64) {
        let every = (1.0 / (reads.max(0.1) * Duration::from_millis(BETWEEN).as_secs_f64())).ceil();
        self.every = (1..=RAREST)
            .find(|n| f64::from(u32::try_from(*n).unwrap_or(u32::MAX)) >= every)
            .unwrap_or(RAREST);
    }

    /// The time until the last booked slot.
    pub fn round(&mut self, now: Duration) -> Duration {
        self.forget(now);
        let slots = self.booked.range(first(now)..).count();
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        let every = BETWEEN.saturating_mul(self.every.max(1));
        Duration::from_millis(slots.saturating_mul(every))
    }

    /// Slots booked or used in the last second: one or two for each follower.
    fn wanted(&mut self, now: Duration) -> usize {
        self.forget(now);
        self.booked.len()
    }

    /// Drops slots that are over for a second.
    fn forget(&mut self, now: Duration) {
        self.booked = self.booked.split_off(&first(now.saturating_sub(AGAIN)));
    }
}

/// The first slot that begins at `time` or later.
fn first(time: Duration) -> u64 {
    let nanos = Duration::from_millis(BETWEEN).as_nanos();
    u64::try_from(time.as_nanos().div_ceil(nanos)).unwrap_or(u64::MAX / BETWEEN)
}

/// When a slot begins.
pub fn start(slot: u64) -> Duration {
    Duration::from_millis(slot.saturating_mul(BETWEEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_free_slot_after_the_wait() {
        let mut slots = PollSlots::default();
        for (now, wait, begins, why) in [
            (7_000, 0, 7_000, "at once"),
            (7_000, 0, 7_125, "never two together"),
            (7_000, 10, 7_250, "the next that is free"),
            (7_001, 1_000, 8_125, "no earlier than wanted"),
            (7_001, 0, 7_375, "before somebody who wants to wait longer"),
            (20_001, 0, 20_125, "unused slots are not saved up"),
        ] {
            assert_eq!(start(slots.book(ms(now), ms(wait))), ms(begins), "{why}");
        }
        assert_eq!(slots.round(ms(20_100)), ms(125), "old slots are forgotten");
        assert_eq!(slots.round(ms(20_126)), ms(0));
    }

    #[test]
    fn where_arm_gives_less_slots_are_further_apart() {
        for (reads, apart) in [
            (8.0, 125),
            (25.0, 125),
            (4.0, 250),
            (3.2, 375),
            (1.0, 1_000),
            (0.0, 1_000),
        ] {
            let mut slots = PollSlots::default();
            slots.set_rate(reads);
            for slot in 0..5 {
                let begins = start(slots.book(ms(7_000), ms(0)));
                assert_eq!(begins, ms(7_000 + slot * apart), "{reads}");
            }
            // The slot that was used last counts too.
            let begins = start(slots.book(ms(7_001 + 4 * apart), ms(0)));
            assert_eq!(begins, ms(7_000 + 5 * apart), "{reads}");
            assert_eq!(slots.round(ms(7_001 + 4 * apart)), ms(apart), "{reads}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_given_back_and_calls_are_charged() {
        let polls = Arc::new(LogPollScheduler::default());
        let begun = Instant::now();
        polls.next_slot(Duration::ZERO).await;
        assert_eq!(begun.elapsed(), ms(0));
        let gone = tokio::time::timeout(ms(1), polls.next_slot(Duration::ZERO)).await;
        assert!(gone.is_err());
        polls.charge();
        assert_eq!(polls.round(), ms(125), "what nobody waits for is free");
        polls.next_slot(Duration::ZERO).await;
        assert_eq!(begun.elapsed(), ms(250), "behind the call that was charged");
    }
}
