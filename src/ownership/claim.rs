//! A holder's proof that nobody else may act for a connector yet.
//!
//! It is valid for less time than the Lease lasts, counted from the moment at which the last successful renewal was *sent*:
//! what others have seen of the Lease cannot be older than that. So a claim has lapsed seconds before anybody may take the
//! connector, which leaves a request that was just sent time to arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Observer;
use crate::fence::{Fence, NotHeld, Target};
use crate::tenure::Tenure;

/// The wall clock may run ahead of the monotonic one by so much between two renewals. More means that the machine was
/// suspended (Linux does not count that in its monotonic clock), or that somebody has set the clock: in doubt, the claim
/// has lapsed until the Lease is renewed.
const JUMP: Duration = Duration::from_secs(2);

/// Claims made so far.
static CLAIMS: AtomicU64 = AtomicU64::new(1);

/// See the module. Cheap to clone; all clones are the same claim.
#[derive(Clone)]
pub struct Claim(Arc<Inner>);

struct Inner {
    connector: String,
    number: u64,
    valid_for: Duration,
    tenure: Option<Arc<Tenure>>,
    state: Mutex<State>,
    wall_clock: fn() -> SystemTime,
    observer: Arc<dyn Observer>,
}

#[derive(Debug)]
struct State {
    /// When the last successful renewal was sent, by both clocks. `None`: for ever.
    renewed: Option<(Instant, SystemTime)>,
    leaving: bool,
    ended: bool,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("connector", &self.0.connector)
            .field("number", &self.0.number)
            .field("state", &*self.0.state.lock())
            .finish_non_exhaustive()
    }
}

impl Claim {
    /// A claim whose Lease was taken by a request that was sent at `sent`.
    pub(super) fn new(
        connector: &str,
        valid_for: Duration,
        sent: (Instant, SystemTime),
        tenure: Tenure,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let (sent, tenure) = (Some(sent), Some(tenure));
        Self::with_clock(
            connector,
            valid_for,
            sent,
            tenure,
            observer,
            SystemTime::now,
        )
    }

    /// A claim that never lapses.
    pub(super) fn for_ever(connector: &str) -> Self {
        Self::with_clock(
            connector,
            Duration::MAX,
            None,
            None,
            Arc::new(()),
            SystemTime::now,
        )
    }

    fn with_clock(
        connector: &str,
        valid_for: Duration,
        renewed: Option<(Instant, SystemTime)>,
        tenure: Option<Tenure>,
        observer: Arc<dyn Observer>,
        wall_clock: fn() -> SystemTime,
    ) -> Self {
        Self(Arc::new(Inner {
            connector: connector.to_owned(),
            number: CLAIMS.fetch_add(1, Ordering::Relaxed),
            valid_for,
            tenure: tenure.map(Arc::new),
            state: Mutex::new(State {
                renewed,
                leaving: false,
                ended: false,
            }),
            wall_clock,
            observer,
        }))
    }

    /// Whose time it is; `None` for a claim that needs no Lease.
    pub fn tenure(&self) -> Option<Arc<Tenure>> {
        self.0.tenure.clone()
    }

    /// Differs between any two claims of this process.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether writes may be sent now.
    ///
    /// # Errors
    /// [`NotHeld`] when not.
    pub fn check(&self) -> Result<(), NotHeld> {
        let connector = || self.0.connector.clone();
        let state = self.0.state.lock();
        if state.ended {
            return Err(NotHeld::Ended {
                connector: connector(),
            });
        }
        let Some((sent, sent_wall)) = state.renewed else {
            return Ok(());
        };
        let elapsed = sent.elapsed();
        let by_wall = (self.0.wall_clock)()
            .duration_since(sent_wall)
            .unwrap_or_default();
        if elapsed < self.0.valid_for && by_wall <= elapsed.saturating_add(JUMP) {
            Ok(())
        } else {
            Err(NotHeld::Lapsed {
                connector: connector(),
            })
        }
    }

    /// Time until it lapses; `None` for one that does not.
    pub fn remaining(&self) -> Option<Duration> {
        let (sent, _) = self.0.state.lock().renewed?;
        Some(self.0.valid_for.saturating_sub(sent.elapsed()))
    }

    /// It is about to be given away.
    pub fn is_leaving(&self) -> bool {
        self.0.state.lock().leaving
    }

    /// The Lease was renewed by a request sent at `sent`: valid again, unless it has ended.
    pub(super) fn renewed(&self, sent: (Instant, SystemTime)) {
        self.0.state.lock().renewed = Some(sent);
    }

    pub(super) fn leave(&self) {
        self.0.state.lock().leaving = true;
    }

    /// Nothing makes it valid again.
    pub(super) fn end(&self) {
        self.0.state.lock().ended = true;
    }
}

impl Fence for Claim {
    fn allow(&self, target: Target) -> Result<(), NotHeld> {
        self.check()
            .inspect_err(|_| self.0.observer.refused(target.label()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: Duration = Duration::from_secs(10);

    fn taken(clock: fn() -> SystemTime) -> Claim {
        let now = (Instant::now(), clock());
        Claim::with_clock("c", VALID, Some(now), None, Arc::new(()), clock)
    }

    fn lapsed(claim: &Claim) -> bool {
        matches!(claim.check(), Err(NotHeld::Lapsed { .. }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_lapses_by_the_monotonic_clock_and_lives_on_by_a_renewal() {
        let claim = taken(|| SystemTime::UNIX_EPOCH);
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(claim.check(), Ok(()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(lapsed(&claim));
        // An answer that was on its way during a pause proves nothing about now.
        claim.renewed((Instant::now() - VALID, SystemTime::UNIX_EPOCH));
        assert!(lapsed(&claim));
        claim.renewed((Instant::now(), SystemTime::UNIX_EPOCH));
        assert_eq!(claim.check(), Ok(()));
        claim.end();
        claim.renewed((Instant::now(), SystemTime::UNIX_EPOCH));
        assert!(matches!(claim.check(), Err(NotHeld::Ended { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_ran_ahead_is_a_pause_and_one_that_went_back_is_not() {
        let claim = taken(SystemTime::now);
        claim.renewed((Instant::now(), SystemTime::now() - Duration::from_secs(60)));
        assert!(lapsed(&claim), "the machine slept for a minute");
        claim.renewed((
            Instant::now(),
            SystemTime::now() + Duration::from_secs(3600),
        ));
        assert_eq!(claim.check(), Ok(()), "somebody has set the clock back");
    }

    #[tokio::test(start_paused = true)]
    async fn refused_writes_are_counted() {
        #[derive(Default)]
        struct Counted(Mutex<Vec<&'static str>>);
        impl Observer for Counted {
            fn state(&self, _: usize, _: usize, _: Option<Duration>) {}
            fn change(&self, _: &'static str) {}
            fn renewal(&self, _: bool) {}
            fn refused(&self, target: &'static str) {
                self.0.lock().push(target);
            }
        }
        let counted = Arc::new(Counted::default());
        let now = (Instant::now(), SystemTime::now());
        let claim = Claim::new("c", VALID, now, Tenure::default(), counted.clone());
        assert!(claim.allow(Target::Azure).is_ok());
        tokio::time::advance(VALID).await;
        assert!(claim.allow(Target::Azure).is_err());
        assert!(claim.allow(Target::ApiServer).is_err());
        assert_eq!(*counted.0.lock(), ["azure", "api_server"]);
    }
}
