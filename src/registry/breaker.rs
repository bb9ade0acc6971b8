//! Hosts that do not answer: after some failures in a row they are left alone for a while, and nobody waits for them. PURE: time is
//! an argument.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Failures of the network in a row before a host is left alone.
const FAILURES: u32 = 3;
/// For how long at first, doubled with each further failure, and at most.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(300);
/// Hosts that are remembered.
const HOSTS: usize = 1024;

/// Remembers hosts that do not answer.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<HashMap<String, Trouble>>);

#[derive(Debug, Clone, Copy)]
struct Trouble {
    failures: u32,
    until: Duration,
}

impl Breaker {
    /// For how much longer the host is left alone.
    pub(super) fn rest(&self, host: &str, now: Duration) -> Option<Duration> {
        let until = self.0.lock().get(host)?.until;
        until.checked_sub(now).filter(|rest| !rest.is_zero())
    }

    /// The host has answered, or not.
    pub(super) fn note(&self, host: &str, answered: bool, now: Duration) {
        let mut hosts = self.0.lock();
        if answered {
            hosts.remove(host);
            return;
        }
        if hosts.len() >= HOSTS && !hosts.contains_key(host) {
            let first = hosts.iter().min_by_key(|(_, trouble)| trouble.until);
            if let Some(first) = first.map(|(host, _)| host.clone()) {
                hosts.remove(&first);
            }
        }
        let trouble = hosts.entry(host.to_owned()).or_insert(Trouble {
            failures: 0,
            until: Duration::ZERO,
        });
        trouble.failures = trouble.failures.saturating_add(1);
        if let Some(more) = trouble.failures.checked_sub(FAILURES) {
            let wait = FIRST.saturating_mul(1 << more.min(8)).min(LONGEST);
            trouble.until = now + wait;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_does_not_answer_is_left_alone_longer_and_longer() {
        let breaker = Breaker::default();
        for _ in 0..2 {
            breaker.note("a", false, s(0));
            assert_eq!(breaker.rest("a", s(0)), None);
        }
        let mut now = s(0);
        for wait in [30, 60, 120, 240, 300, 300] {
            breaker.note("a", false, now);
            assert_eq!(breaker.rest("a", now), Some(s(wait)));
            assert_eq!(breaker.rest("b", now), None);
            now += s(wait);
            assert_eq!(breaker.rest("a", now), None, "one more try");
        }
        breaker.note("a", true, now);
        breaker.note("a", false, now);
        assert_eq!(breaker.rest("a", now), None, "forgotten");
    }

    #[test]
    fn the_memory_is_bounded() {
        let breaker = Breaker::default();
        for n in 0..HOSTS + 100 {
            breaker.note(&n.to_string(), false, s(0));
        }
        assert_eq!(breaker.0.lock().len(), HOSTS);
    }
}
