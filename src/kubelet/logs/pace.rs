//! How often a follower looks. PURE.

use std::time::Duration;

/// The wait after something new.
const FAST: Duration = Duration::from_secs(1);
/// The longest wait while nothing happens.
const SLOW: Duration = Duration::from_secs(10);
/// Each wait while nothing happens is so much longer than the one before.
const STRETCH: f64 = 1.5;
/// A node's followers together look at most this often a second: the rest of ARM's 25 reads a second is for statuses.
const LOOKS_PER_SECOND: f64 = 5.0;

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

    /// The wait before the next look, with so many followers at the node.
    pub fn wait(&self, followers: usize) -> Duration {
        let followers = f64::from(u32::try_from(followers).unwrap_or(u32::MAX));
        self.wait
            .max(Duration::from_secs_f64(followers / LOOKS_PER_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_followers_look_less_and_many_share_the_budget() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(1), FAST);
        let mut waits = 0;
        while pace.wait(1) < SLOW {
            pace.idle();
            waits += 1;
        }
        assert_eq!(waits, 6);
        pace.idle();
        assert_eq!(pace.wait(1), SLOW);
        assert_eq!(pace.wait(100), Duration::from_secs(20));
        pace.active();
        assert_eq!(pace.wait(1), FAST);
    }
}
