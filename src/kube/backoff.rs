//! Exponential back-off with a cap and jitter, as a value.

use std::time::Duration;

/// Doubling delays between a base and a cap, each spread by up to 20 % so that many keys do not move in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempts: u32,
}

impl Backoff {
    /// A back-off that starts at `base` and never waits longer than `cap` (before jitter).
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            attempts: 0,
        }
    }

    /// The next delay; each call counts as one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        let delay = self.base.saturating_mul(factor).min(self.cap);
        if delay < self.cap {
            self.attempts = self.attempts.saturating_add(1);
        }
        jitter(delay, 0.2)
    }

    /// Starts again at the base: call it after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// `delay` moved by at most `spread` (0.0 to 1.0) of itself in either direction.
pub fn jitter(delay: Duration, spread: f64) -> Duration {
    delay.mul_f64(1.0 + spread.clamp(0.0, 1.0) * (2.0 * fastrand::f64() - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_cap_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(7));
        for mean in [200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 7000.0, 7000.0] {
            let got = backoff.next_delay().as_secs_f64() * 1000.0;
            assert!(
                (mean * 0.79..=mean * 1.21).contains(&got),
                "{got} is not near {mean}"
            );
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(241));
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(
            Duration::from_secs(1),
            Duration::from_secs(u64::from(u32::MAX)),
        );
        for _ in 0..80 {
            assert!(backoff.next_delay() <= Duration::from_secs(2 * u64::from(u32::MAX)));
        }
    }

    #[test]
    fn jitter_moves() {
        let all: std::collections::BTreeSet<_> = (0..16)
            .map(|_| jitter(Duration::from_secs(100), 0.2))
            .collect();
        assert!(all.len() > 1, "sixteen equal draws");
    }
}
