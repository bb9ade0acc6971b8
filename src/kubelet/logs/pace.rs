//! How often a follower looks. PURE.

use std::time::Duration;

/// The wait after something new.
const FAST: Duration = Duration::from_secs(1);
/// The longest wait while nothing happens.
const SLOW: Duration = Duration::from_secs(10);
/// Each wait while nothing happens is so much longer than the one before.
const STRETCH: f64 = 1.5;
/// A node's followers together look at most so often: the rest of ARM's 25 reads a second is for statuses.
const BETWEEN_LOOKS: Duration = Duration::from_millis(125);

/// The pace of one follower.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { wait: FAST }
    }
}

impl Pace {
    /// Something new was seen.
    pub fn active(&mut self) {
        self.wait = FAST;
    }

    /// Nothing new was seen.
    pub fn idle(&mut self) {
        self.wait = self.wait.mul_f64(STRETCH).min(SLOW);
    }

    /// The wait before this follower wants to look again.
    pub fn wait(&self) -> Duration {
        self.wait
    }
}

/// The turns of a node's followers: first come, first served, and never two too close together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turns {
    next: Duration,
}

impl Turns {
    /// Takes the next turn; how long to wait for it.
    pub fn take(&mut self, now: Duration) -> Duration {
        let at = self.next.max(now);
        self.next = at + BETWEEN_LOOKS;
        at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_followers_look_less() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(), FAST);
        let mut waits = 0;
        while pace.wait() < SLOW {
            pace.idle();
            waits += 1;
        }
        assert_eq!(waits, 6);
        pace.idle();
        assert_eq!(pace.wait(), SLOW);
        pace.active();
        assert_eq!(pace.wait(), FAST);
    }

    #[test]
    fn many_followers_take_turns() {
        let mut turns = Turns::default();
        let now = Duration::from_secs(7);
        assert_eq!(turns.take(now), Duration::ZERO);
        assert_eq!(turns.take(now), BETWEEN_LOOKS);
        assert_eq!(turns.take(now), BETWEEN_LOOKS * 2);
        assert_eq!(turns.take(now + BETWEEN_LOOKS), BETWEEN_LOOKS * 2);
        assert_eq!(
            turns.take(now + BETWEEN_LOOKS * 9),
            Duration::ZERO,
            "unused turns are not saved up"
        );
    }
}
