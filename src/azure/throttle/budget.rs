//! The rules of the ARM budget, with time as an argument. PURE.
//!
//! ARM keeps a token bucket per class (reads 250 and 25/s, writes and deletes 200 and 10/s each). The ACI provider
//! counts PUT and DELETE of container groups together, 100 in five minutes and 300 in an hour unless raised, and says
//! what is left in `x-ms-ratelimit-remaining-subscription-resource-requests-pt5m` and `-pt1h`.
//! Until headers say more we keep to these defaults; what the server reports then counts more than what we reckon.

use std::time::Duration;

use super::window::Window;
pub use super::window::{QueuePosition, Reservation};

/// Two refusals this close together mean the class, not one odd resource.
const TOGETHER: Duration = Duration::from_secs(5);
/// The wait after a 429 that does not say how long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after an answer that says "nothing left" without refusing anything.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);
/// The part of what the server has left that we do not touch: other programs may use the same principal.
const OTHERS_SHARE: f64 = 0.2;
/// ARM's own read bucket.
const ARM_READS: (f64, f64) = (25.0, 250.0);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Reads per second until the server shows that it has more.
    pub reads_per_second: f64,
    /// Reads at once until the server shows that it has more.
    pub read_burst: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reads_per_second: 10.0,
            read_burst: 100.0,
        }
    }
}

/// What ARM and the provider count apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Read,
    /// PUT of a container group: a write, and one of the provider's counted requests.
    Create,
    Write,
    /// DELETE of a container group: a delete, and one of the provider's counted requests.
    Delete,
}

impl Class {
    /// Every class, in the order of [`Class::index`].
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Write, Self::Delete];

    /// Position in [`Class::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// For metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// What an answer said about the budget. A missing header is no knowledge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observed {
    /// The answer was 429.
    pub throttled: bool,
    /// `Retry-After`, already capped.
    pub retry_after: Option<Duration>,
    /// `x-ms-ratelimit-remaining-subscription-{reads,writes,deletes}`, the one of the call's class.
    pub remaining: Option<u32>,
    /// The provider's counter of five minutes.
    pub remaining_5m: Option<u32>,
    /// The provider's counter of one hour.
    pub remaining_1h: Option<u32>,
}

/// So many calls a second, and those that nobody wanted are saved up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    rate: f64,
    burst: f64,
    at: Duration,
}

impl Bucket {
    pub(super) const fn new(rate: f64, burst: f64) -> Self {
        Self {
            tokens: burst,
            rate,
            burst,
            at: Duration::ZERO,
        }
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.at = self.at.max(now);
    }

    /// How long the first who wants one has to wait.
    pub(super) fn first(&mut self, now: Duration) -> Duration {
        self.refill(now);
        let wait = Duration::from_secs_f64(self.wait(0).min(3600.0));
        // A rounded wait of less than a millisecond would spin.
        if wait.is_zero() {
            wait
        } else {
            wait.max(Duration::from_millis(1))
        }
    }

    /// Takes one, or says how long to wait for it.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let wait = self.first(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.tokens -= 1.0;
        Ok(())
    }

    /// Seconds until one token can be taken and `ahead` have been taken before; 0 for now.
    fn wait(&self, ahead: usize) -> f64 {
        let ahead = f64::from(u32::try_from(ahead).unwrap_or(u32::MAX));
        let missing = ahead + 1.0 - self.tokens;
        if missing <= 1e-6 {
            0.0
        } else {
            missing / self.rate
        }
    }
}

/// What holds a call up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// ARM's own bucket of the class.
    Arm,
    /// The server has refused calls of the class and said how long.
    Pause,
    /// One of the provider's counters: so many creates and deletes in so long a time.
    Counter(usize, Duration),
}

#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    until: Option<Duration>,
    last_refusal: Option<Duration>,
}

/// The budget of one subscription and principal.
#[derive(Debug, Clone)]
pub struct Budget {
    settings: Settings,
    reads: Bucket,
    writes: Bucket,
    deletes: Bucket,
    five_minutes: Window,
    one_hour: Window,
    pauses: [Pause; Class::ALL.len()],
}

impl Budget {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            reads: Bucket::new(
                settings.reads_per_second.max(0.1),
                settings.read_burst.max(1.0),
            ),
            writes: Bucket::new(10.0, 200.0),
            deletes: Bucket::new(10.0, 200.0),
            five_minutes: Window::new(Duration::from_mins(5), 100),
            one_hour: Window::new(Duration::from_hours(1), 300),
            pauses: [Pause::default(); Class::ALL.len()],
        }
    }

    /// Takes one call of `class`, or says how long to wait before asking again, and why. Each call that was taken is to
    /// be ended by [`Budget::finish`].
    pub fn take(
        &mut self,
        class: Class,
        place: QueuePosition,
        now: Duration,
    ) -> Result<[Reservation; 2], (Duration, Limit)> {
        let (wait, limit) = self.wait(class, place, now);
        if !wait.is_zero() {
            return Err((wait, limit));
        }
        self.bucket(class).tokens -= 1.0;
        Ok(if counted_by_provider(class) {
            [self.five_minutes.take(), self.one_hour.take()]
        } else {
            [Reservation::default(); 2]
        })
    }

    /// How long until a call of `class` at `place` has its turn, as far as is known at `now`, and what it waits for; zero
    /// for at once.
    pub fn wait(&mut self, class: Class, place: QueuePosition, now: Duration) -> (Duration, Limit) {
        let paused = self.pauses.get(class.index()).and_then(|pause| pause.until);
        let paused = paused
            .map(|until| until.saturating_sub(now))
            .unwrap_or_default();
        let bucket = self.bucket(class);
        bucket.refill(now);
        let seconds = bucket.wait(place.ahead);
        let bucket = Duration::from_secs_f64(seconds.min(3600.0));
        let mut longest = (bucket, Limit::Arm);
        if counted_by_provider(class) {
            for window in [&mut self.five_minutes, &mut self.one_hour] {
                let wait = window.wait(place, now);
                if wait > longest.0 {
                    longest = (wait, Limit::Counter(window.limit(), window.length()));
                }
            }
        }
        if paused > longest.0 {
            longest = (paused, Limit::Pause);
        }
        // A rounded wait of less than a millisecond would spin.
        if !longest.0.is_zero() {
            longest.0 = longest.0.max(Duration::from_millis(1));
        }
        longest
    }

    /// The call of `class` is over. One that was `refused` with a 429 was not counted by the server, and is not to be
    /// tried again before that time has passed.
    pub fn finish(&mut self, class: Class, refused: Option<Duration>, now: Duration) {
        if counted_by_provider(class) {
            let delete = class == Class::Delete;
            self.five_minutes.finish(delete, refused, now);
            self.one_hour.finish(delete, refused, now);
        }
    }

    /// Whether answers are awaited that may change the provider's counters.
    pub fn is_unsettled(&self) -> bool {
        self.five_minutes.is_unsettled()
    }

    /// Reads per second, all together.
    pub fn read_rate(&self) -> f64 {
        self.reads.rate
    }

    /// What an answer to a call of `class` said.
    ///
    /// A single 429 is the caller's alone: ACI refuses single resources too, and everybody standing still for that
    /// would be the greater harm. The class pauses when a second 429 comes within five seconds or the server says that
    /// nothing is left. `taken` is what [`Budget::take`] gave for the call, which has been finished.
    pub fn observe(
        &mut self,
        class: Class,
        taken: [Reservation; 2],
        observed: &Observed,
        now: Duration,
    ) {
        let index = class.index();
        self.adopt_remaining(class, observed, now);
        if counted_by_provider(class) {
            let [short, long] = taken;
            for (window, remaining, taken) in [
                (&mut self.five_minutes, observed.remaining_5m, short),
                (&mut self.one_hour, observed.remaining_1h, long),
            ] {
                if let Some(remaining) = remaining {
                    window.adopt(remaining, taken, now);
                }
            }
        }
        let Some(pause) = self.pauses.get_mut(index) else {
            return;
        };
        let empty = observed.remaining == Some(0);
        let pause_for = if observed.throttled {
            let again = pause
                .last_refusal
                .is_some_and(|last| now.saturating_sub(last) <= TOGETHER);
            pause.last_refusal = Some(now);
            (again || empty).then(|| observed.retry_after.unwrap_or(DEFAULT_PAUSE))
        } else {
            empty.then_some(EMPTY_PAUSE)
        };
        if let Some(length) = pause_for {
            pause.until = pause.until.max(Some(now + length));
        }
    }

    /// Reads grow to ARM's own bucket while the server shows that it is well filled, and shrink back when it is nearly
    /// empty. Calls under way are not subtracted here: our bucket is no larger than ARM's and has counted them.
    fn adopt_remaining(&mut self, class: Class, observed: &Observed, now: Duration) {
        let Some(remaining) = observed.remaining.map(f64::from) else {
            return;
        };
        let settings = self.settings;
        let bucket = self.bucket(class);
        bucket.refill(now);
        if class == Class::Read {
            let (rate, burst) = ARM_READS;
            if remaining >= burst / 2.0 && bucket.burst < burst {
                bucket.tokens += burst - bucket.burst;
                (bucket.rate, bucket.burst) = (rate.max(settings.reads_per_second), burst);
            } else if remaining < burst / 10.0 && bucket.rate > settings.reads_per_second {
                bucket.rate = settings.reads_per_second.max(0.1);
                bucket.burst = settings.read_burst.max(1.0);
            }
        }
        let ours = remaining * (1.0 - OTHERS_SHARE);
        bucket.tokens = bucket.tokens.min(ours).min(bucket.burst);
    }

    fn bucket(&mut self, class: Class) -> &mut Bucket {
        match class {
            Class::Read => &mut self.reads,
            Class::Create | Class::Write => &mut self.writes,
            Class::Delete => &mut self.deletes,
        }
    }
}

fn counted_by_provider(class: Class) -> bool {
    matches!(class, Class::Create | Class::Delete)
}

#[cfg(test)]
mod tests;
