//! Whether Azure answers, as the calls of one client have seen it. No call is made to find out.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::{AzureError, ErrorClass};

/// Azure that has answered before is said to be away after this long without an answer.
const AWAY: Duration = Duration::from_mins(1);
/// The last failure must be so much later than the first: one that was followed by silence proves nothing.
const CONFIRMED: Duration = Duration::from_secs(20);

/// Whose answer is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Azure Resource Manager, or the resource provider behind it.
    ResourceManager,
    /// Microsoft Entra ID, or whoever else issues the tokens.
    Tokens,
}

/// Failures without a success in between.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failing {
    since: Instant,
    last: Instant,
    /// `since` for people.
    wall: DateTime<Utc>,
    cause: Cause,
    /// What the first one was.
    error: String,
}

/// What the calls have seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    answered: bool,
    failing: Option<Failing>,
}

/// What follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    /// Nothing was asked yet.
    #[default]
    Unknown,
    /// Azure answers, or has not been silent for long.
    Reachable,
    /// Azure does not answer.
    Away {
        since: DateTime<Utc>,
        cause: Cause,
        error: String,
    },
}

impl Health {
    /// The rule. A client that never had an answer does not wait for it to come back.
    pub fn reach(&self, now: Instant) -> Reach {
        match &self.failing {
            None if self.answered => Reach::Reachable,
            None => Reach::Unknown,
            Some(failing) if !self.answered || failing.is_away(now) => Reach::Away {
                since: failing.wall,
                cause: failing.cause,
                error: failing.error.clone(),
            },
            Some(_) => Reach::Reachable,
        }
    }

    /// When [`Health::reach`] may say something else although nothing new was seen.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let failing = self.failing.as_ref().filter(|_| self.answered)?;
        let due = failing.since + AWAY;
        (due > now).then_some(due)
    }

    /// Takes over a result; true when those who watch should look.
    fn record(
        &mut self,
        result: Result<(), &AzureError>,
        now: Instant,
        wall: DateTime<Utc>,
    ) -> bool {
        let Some(failure) = judge(result) else {
            return false;
        };
        match (failure, &mut self.failing) {
            (Ok(()), None) => !std::mem::replace(&mut self.answered, true),
            (Ok(()), Some(_)) => {
                self.answered = true;
                self.failing = None;
                true
            }
            (Err((cause, error)), None) => {
                self.failing = Some(Failing {
                    since: now,
                    last: now,
                    wall,
                    cause,
                    error: error.to_string(),
                });
                true
            }
            (Err(_), Some(failing)) => {
                let before = failing.is_away(now);
                failing.last = now;
                failing.is_away(now) != before
            }
        }
    }
}

impl Failing {
    fn is_away(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= AWAY
            && self.last.saturating_duration_since(self.since) >= CONFIRMED
    }
}

/// What a result says about Azure: it answers, it does not, or nothing. A refusal is an answer.
fn judge(result: Result<(), &AzureError>) -> Option<Result<(), (Cause, &AzureError)>> {
    let Err(error) = result else {
        return Some(Ok(()));
    };
    match error.class {
        ErrorClass::Connection | ErrorClass::Timeout | ErrorClass::Unavailable => {
            Some(Err((Cause::ResourceManager, error)))
        }
        ErrorClass::Identity => Some(Err((Cause::Tokens, error))),
        // The token service's answer says nothing about ARM, and what is unreadable is not ARM's.
        ErrorClass::BadCredentials | ErrorClass::Protocol => None,
        // Our own limiter and checks ask nobody.
        _ => error.status.is_some().then_some(Ok(())),
    }
}

/// The health of one client, shared by all who use it.
#[derive(Debug)]
pub(crate) struct Record(watch::Sender<Health>);

impl Default for Record {
    fn default() -> Self {
        Self(watch::channel(Health::default()).0)
    }
}

impl Record {
    /// Takes over the result of a call.
    pub(crate) fn note<T>(&self, result: &Result<T, AzureError>) {
        let (now, wall) = (Instant::now(), Utc::now());
        let result = result.as_ref().map(drop);
        self.0
            .send_if_modified(|health| health.record(result, now, wall));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass, status: Option<u16>) -> AzureError {
        AzureError {
            status,
            ..AzureError::local(class, "Code", "text")
        }
    }

    /// The health after calls at these seconds, and how often the watchers were woken.
    fn after(calls: &[(u64, Option<ErrorClass>)]) -> (Health, Instant, usize) {
        let start = Instant::now();
        let mut health = Health::default();
        let mut woken = 0;
        for (second, class) in calls {
            let error = class.map(|class| error(class, None));
            let result = error.as_ref().map_or(Ok(()), Err);
            let now = start + Duration::from_secs(*second);
            woken += usize::from(health.record(result, now, DateTime::UNIX_EPOCH));
        }
        (health, start, woken)
    }

    fn reach(calls: &[(u64, Option<ErrorClass>)], second: u64) -> &'static str {
        let (health, start, _) = after(calls);
        match health.reach(start + Duration::from_secs(second)) {
            Reach::Unknown => "unknown",
            Reach::Reachable => "reachable",
            Reach::Away { .. } => "away",
        }
    }

    #[test]
    fn azure_is_away_after_a_minute_of_failures_and_back_with_the_first_answer() {
        use ErrorClass::{Connection, Identity, Timeout};
        for (calls, second, expected) in [
            (vec![], 0, "unknown"),
            (vec![(0, None)], 600, "reachable"),
            (vec![(0, None), (1, Some(Connection))], 59, "reachable"),
            (
                vec![(0, None), (1, Some(Connection)), (31, Some(Timeout))],
                60,
                "reachable",
            ),
            (
                vec![(0, None), (1, Some(Connection)), (31, Some(Timeout))],
                61,
                "away",
            ),
            (
                vec![(0, None), (1, Some(Identity)), (31, Some(Identity))],
                61,
                "away",
            ),
            (vec![(0, None), (1, Some(Connection))], 600, "reachable"),
            (
                vec![
                    (0, None),
                    (1, Some(Connection)),
                    (70, Some(Connection)),
                    (71, None),
                ],
                72,
                "reachable",
            ),
            (vec![(0, Some(Connection))], 1, "away"),
        ] {
            assert_eq!(reach(&calls, second), expected, "{calls:?} at {second}");
        }
    }

    #[test]
    fn a_refusal_is_an_answer_and_our_own_limiter_is_none() {
        let start = Instant::now();
        let look = |class, status| {
            let mut health = Health::default();
            health.record(Err(&error(class, status)), start, DateTime::UNIX_EPOCH);
            health.reach(start)
        };
        assert_eq!(look(ErrorClass::Forbidden, Some(403)), Reach::Reachable);
        assert_eq!(look(ErrorClass::Throttled, Some(429)), Reach::Reachable);
        assert_eq!(look(ErrorClass::Throttled, None), Reach::Unknown);
        assert_eq!(look(ErrorClass::BadCredentials, Some(401)), Reach::Unknown);
        assert!(matches!(
            look(ErrorClass::Unavailable, Some(503)),
            Reach::Away { .. }
        ));
    }

    #[test]
    fn watchers_are_woken_by_changes_only() {
        use ErrorClass::Connection;
        let mut calls = vec![(0, None), (1, None), (2, None), (3, Some(Connection))];
        calls.extend((4..100).map(|second| (second, Some(Connection))));
        calls.extend((100..200).map(|second| (second, None)));
        let (_, _, woken) = after(&calls);
        assert!(woken <= 4, "{woken}");
    }

    #[test]
    fn the_timer_is_set_for_the_minute_only() {
        let (health, start, _) = after(&[(0, None), (1, Some(ErrorClass::Timeout))]);
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(health.due(at(5)), Some(at(61)));
        assert_eq!(health.due(at(61)), None);
        assert_eq!(after(&[(0, None)]).0.due(start), None);
    }
}
