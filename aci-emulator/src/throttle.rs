//! ARM's token buckets and the provider's own counters.
//!
//! Buckets are per principal and class of operation (reads 250, +25/s; writes and deletes 200,
//! +10/s), plus one for the whole subscription with 15 times as much: ARM documentation
//! "Understand how Azure Resource Manager throttles requests". The provider counts PUT and DELETE
//! together, as recorded traffic shows.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::arm::errors::ApiError;

const GLOBAL_FACTOR: f64 = 15.0;
const FIVE_MINUTES: Duration = Duration::from_mins(5);
const ONE_HOUR: Duration = Duration::from_hours(1);

/// The class ARM counts a call in; every POST is a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Read,
    Write,
    Delete,
}

impl Class {
    pub(crate) fn of(method: &http::Method) -> Self {
        match method.as_str() {
            "GET" | "HEAD" => Self::Read,
            "DELETE" => Self::Delete,
            _ => Self::Write,
        }
    }

    /// As in the request log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }

    /// Bucket size and refill per second.
    fn limits(self) -> (f64, f64) {
        match self {
            Self::Read => (250.0, 25.0),
            Self::Write | Self::Delete => (200.0, 10.0),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    /// Takes one: what remains, or the seconds until one is there.
    fn take(&mut self, size: f64, refill: f64, now: Instant) -> Result<u64, u64> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * refill;
        self.level = (self.level + gained).min(size);
        self.at = now;
        if self.level < 1.0 {
            return Err(whole((1.0 - self.level) / refill).max(1));
        }
        self.level -= 1.0;
        Ok(whole(self.level.floor()))
    }
}

// Both casts are of small positive numbers; a rounding of seconds is all that can be lost.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(seconds: f64) -> u64 {
    seconds.ceil().max(0.0) as u64
}

/// What the headers of an answer say about the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remaining {
    pub(crate) class: Class,
    pub(crate) principal: u64,
    pub(crate) global: u64,
}

/// All buckets and counters of the subscription.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    principals: HashMap<(String, &'static str), Bucket>,
    global: HashMap<&'static str, Bucket>,
    provider: VecDeque<Instant>,
}

impl Throttle {
    /// One call of `class` by `principal`.
    pub(crate) fn take(
        &mut self,
        subscription: &str,
        principal: &str,
        class: Class,
        now: Instant,
    ) -> Result<Remaining, ApiError> {
        let (size, refill) = class.limits();
        let key = (principal.to_owned(), class.name());
        let own = self.principals.entry(key).or_insert(Bucket {
            level: size,
            at: now,
        });
        let left = own.take(size, refill, now);
        let wide = self.global.entry(class.name()).or_insert(Bucket {
            level: size * GLOBAL_FACTOR,
            at: now,
        });
        let global =
            left.and_then(|_| wide.take(size * GLOBAL_FACTOR, refill * GLOBAL_FACTOR, now));
        match (left, global) {
            (Ok(principal), Ok(global)) => Ok(Remaining { class, principal, global }),
            (Err(wait), _) | (_, Err(wait)) => Err(ApiError::new(
                429,
                "SubscriptionRequestsThrottled",
                format!(
                    "Number of '{}' requests for subscription '{subscription}' actor '{principal}' exceeded. Please try again after '{wait}' seconds.",
                    class.name()
                ),
            )
            .retry_after(wait)),
        }
    }

    /// One PUT or DELETE of a container group: what remains of the five-minute and the one-hour
    /// count, where a limit of 0 counts as none.
    pub(crate) fn take_provider(
        &mut self,
        per_five_minutes: u32,
        per_hour: u32,
        now: Instant,
    ) -> Result<ProviderRemaining, ApiError> {
        let since = |at: &Instant| now.saturating_duration_since(*at);
        while self
            .provider
            .front()
            .is_some_and(|at| since(at) >= ONE_HOUR)
        {
            self.provider.pop_front();
        }
        let hour = self.provider.len();
        let recent = self
            .provider
            .iter()
            .rev()
            .take_while(|at| since(at) < FIVE_MINUTES)
            .count();
        for (count, limit, window, name) in [
            (recent, per_five_minutes, FIVE_MINUTES, "pt5m"),
            (hour, per_hour, ONE_HOUR, "pt1h"),
        ] {
            let limit = limit as usize;
            if limit == 0 || count < limit {
                continue;
            }
            let oldest = self
                .provider
                .len()
                .checked_sub(limit)
                .and_then(|at| self.provider.get(at));
            let wait = oldest.map_or(window, |at| window.saturating_sub(since(at)));
            return Err(ApiError::new(
                429,
                "TooManyRequests",
                format!(
                    "The request is being throttled as the limit has been reached for operation type - write_{name}. For more information, see - https://aka.ms/srpthrottlinglimits"
                ),
            )
            .retry_after(whole(wait.as_secs_f64()).max(1)));
        }
        if per_five_minutes > 0 || per_hour > 0 {
            self.provider.push_back(now);
        }
        let left = |limit: u32, count: usize| {
            (limit > 0).then(|| (limit as usize).saturating_sub(count + 1))
        };
        Ok(ProviderRemaining {
            five_minutes: left(per_five_minutes, recent),
            hour: left(per_hour, hour),
        })
    }
}

/// What the provider's headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProviderRemaining {
    pub(crate) five_minutes: Option<usize>,
    pub(crate) hour: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_have_a_bucket_of_250_that_refills_25_a_second() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        let first = throttle.take("s", "p", Class::Read, now).unwrap();
        assert_eq!((first.principal, first.global), (249, 3749));
        for _ in 0..249 {
            throttle.take("s", "p", Class::Read, now).unwrap();
        }
        let refused = throttle.take("s", "p", Class::Read, now).unwrap_err();
        assert_eq!((refused.status, refused.retry_after), (429, Some(1)));
        assert!(
            throttle.take("s", "p", Class::Write, now).is_ok(),
            "classes are apart"
        );
        assert!(
            throttle.take("s", "q", Class::Read, now).is_ok(),
            "principals are apart"
        );
        let later = now + Duration::from_secs(1);
        for _ in 0..25 {
            throttle.take("s", "p", Class::Read, later).unwrap();
        }
        assert!(throttle.take("s", "p", Class::Read, later).is_err());
    }

    #[test]
    fn the_provider_counts_put_and_delete_in_two_windows() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        for n in 0..100 {
            let left = throttle.take_provider(100, 150, start).unwrap();
            assert_eq!(
                (left.five_minutes, left.hour),
                (Some(99 - n), Some(149 - n))
            );
        }
        let refused = throttle
            .take_provider(100, 150, start + Duration::from_mins(1))
            .unwrap_err();
        assert_eq!(
            (refused.code.as_str(), refused.retry_after),
            ("TooManyRequests", Some(240))
        );
        let later = start + Duration::from_secs(301);
        for _ in 0..50 {
            throttle.take_provider(100, 150, later).unwrap();
        }
        let refused = throttle.take_provider(100, 150, later).unwrap_err();
        assert!(refused.message.contains("pt1h"), "{}", refused.message);
        assert_eq!(refused.retry_after, Some(3299));
        assert!(throttle.take_provider(0, 0, later).is_ok(), "0 is off");
    }
}
