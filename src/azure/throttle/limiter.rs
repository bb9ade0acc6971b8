//! Waiting for a permit to call ARM.
//!
//! Reads and writes wait here for seconds: a caller is in the queue while its future lives. Creates and deletes of
//! container groups may have to wait for minutes. They get their position in the queue as an error at once and poll; the
//! position is kept under the group's name as long as they do.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::error::{AzureError, ErrorClass};
use super::budget::{Bucket, Budget, Class, Observed, QueuePosition, Reservation, Settings};
use super::fair_queue::FairQueue;
use super::log_polls::LogPollScheduler;
use super::plan::{self, Planner, Turns};
use super::poll_interval::{PollDemand, PollInterval};

mod line;
mod request;

use line::Ticket;
pub use request::{CallPriority, PermitRequest, asked_by};
use request::{Line, Place};

/// Code of the error that gives a create or delete its position in the queue.
pub const QUEUED: &str = "WaitingInLine";
/// A queued create or delete polls at least this often, or it loses its position.
pub const QUEUED_POLL: Duration = Duration::from_secs(10);
/// Callers of one connector that may wait at once; more are refused.
const MAX_WAITING: usize = 512;
/// A read of a lower priority has a turn after this many of higher ones.
const PATIENCE: u32 = 4;
/// The same for metrics, which can wait longest.
const PATIENCE_FOR_METRICS: u32 = 32;

/// Lanes of the queue of reads: one for each priority.
const LANES: usize = 4;
/// Logs that somebody asks for, in calls a second and at once: of ARM's 25 and 250 reads. Half of what the plan leaves.
const LOGS: (f64, f64) = (2.5, 100.0);
/// Sessions of exec and attach that somebody opens: of ARM's 10 and 200 writes, which are those of creates, signals and hooks
/// too.
const SESSIONS: (f64, f64) = (3.0, 60.0);

/// What takes turns on its own within a budget.
#[derive(Debug)]
struct Share {
    bucket: Bucket,
    queue: FairQueue<u64, Arc<Notify>>,
}

impl Share {
    fn new((rate, burst): (f64, f64)) -> Self {
        Self {
            bucket: Bucket::new(rate, burst),
            queue: FairQueue::new(1, None),
        }
    }
}

#[derive(Debug)]
struct State {
    budget: Budget,
    reads: FairQueue<u64, Arc<Notify>>,
    writes: FairQueue<u64, Arc<Notify>>,
    logs: Share,
    sessions: Share,
    counted: FairQueue<String, Ticket>,
    planner: Planner,
    metrics: Turns,
    waiters: u64,
}

impl State {
    fn queue(&mut self, line: Line) -> &mut FairQueue<u64, Arc<Notify>> {
        match line {
            Line::Reads => &mut self.reads,
            Line::Writes => &mut self.writes,
            Line::Logs => &mut self.logs.queue,
            Line::Sessions => &mut self.sessions.queue,
        }
    }

    /// How long the first in a line has to wait.
    fn wait(&mut self, line: Line, now: Duration) -> Duration {
        let first = QueuePosition::default();
        match line {
            Line::Reads => self.budget.wait(Class::Read, first, now).0,
            Line::Writes => self.budget.wait(Class::Write, first, now).0,
            Line::Logs => self.logs.bucket.first(now),
            Line::Sessions => self.sessions.bucket.first(now),
        }
    }

    /// Takes one call, or says how long to wait.
    fn take(&mut self, line: Line, now: Duration) -> Result<[Reservation; 2], Duration> {
        let first = QueuePosition::default();
        let taken = match line {
            Line::Reads => self.budget.take(Class::Read, first, now),
            Line::Writes => self.budget.take(Class::Write, first, now),
            Line::Logs => return self.logs.bucket.take(now).map(|()| <_>::default()),
            Line::Sessions => return self.sessions.bucket.take(now).map(|()| <_>::default()),
        };
        taken.map_err(|(wait, _)| wait)
    }

    fn wake_head(&mut self, line: Line) {
        if let Some((_, notify)) = self.queue(line).head() {
            notify.notify_one();
        }
    }
}

/// The budget of one subscription and principal.
#[derive(Debug)]
pub struct Limiter {
    epoch: Instant,
    state: Mutex<State>,
    log_polls: Arc<LogPollScheduler>,
}

impl Limiter {
    /// A limiter with the starting budget.
    pub fn new(settings: Settings) -> Self {
        Self {
            epoch: Instant::now(),
            state: Mutex::new(State {
                budget: Budget::new(settings),
                reads: FairQueue::new(LANES, Some(PATIENCE))
                    .with_patience(CallPriority::Metrics as usize, PATIENCE_FOR_METRICS),
                writes: FairQueue::new(1, None),
                logs: Share::new(LOGS),
                sessions: Share::new(SESSIONS),
                counted: FairQueue::new(2, None),
                planner: Planner::default(),
                metrics: Turns::default(),
                waiters: 0,
            }),
            log_polls: {
                let polls = LogPollScheduler::default();
                polls.set_rate(plan::log_reads(settings.reads_per_second));
                Arc::new(polls)
            },
        }
    }

    /// When followed logs are polled within this budget.
    pub fn log_polls(&self) -> Arc<LogPollScheduler> {
        Arc::clone(&self.log_polls)
    }

    /// Waits for a turn to make one call, at most until `deadline`. Members of a class take turns; classes do not wait for
    /// each other, but deletes go before creates. Dropping the future leaves the queue, unless it is a create or delete
    /// that polls its position.
    ///
    /// # Errors
    /// [`ErrorClass::Throttled`] when there is no turn before `deadline`; at once when that can be foreseen, with the
    /// time to wait as `retry_after`. A create or delete whose turn is more than half a second away gets [`QUEUED`]: ask
    /// again then, and every [`QUEUED_POLL`] meanwhile.
    pub async fn acquire(
        self: &Arc<Self>,
        request: PermitRequest<'_>,
        deadline: Instant,
    ) -> Result<Permit, AzureError> {
        match request.class {
            Class::Create | Class::Delete => return self.wait_in_queue(request, deadline).await,
            Class::Read if request.priority == CallPriority::Metrics => {
                self.wait_for_metrics(deadline).await?;
            }
            Class::Read | Class::Write => {}
        }
        let mut waited = Duration::ZERO;
        if let Some(share) = request.share() {
            waited = self.wait_for_turn(share, deadline).await?.1;
        }
        let (taken, for_turn) = self.wait_for_turn(request.place(), deadline).await?;
        Ok(self.permit(request.class, taken, waited + for_turn))
    }

    /// Notes what polling the running pods of `node` costs, and returns the intervals at which to poll.
    pub fn plan(&self, tenant: u64, node: &str, demand: PollDemand) -> PollInterval {
        let (now, logs) = (self.now(), self.log_polls.demand());
        let mut state = self.state.lock();
        let rate = state.budget.read_rate();
        state
            .planner
            .statuses((tenant, node), demand, (rate, logs), now)
    }

    /// Notes how many reads a second keep the metrics of `node` fresh. Forgotten when it is not repeated.
    pub fn plan_metrics(&self, tenant: u64, node: &str, reads_per_second: f64) {
        let now = self.now();
        let mut state = self.state.lock();
        state.planner.metrics((tenant, node), reads_per_second, now);
    }

    /// Waits until the plan has a turn for metrics.
    async fn wait_for_metrics(&self, deadline: Instant) -> Result<(), AzureError> {
        let logs = self.log_polls.demand();
        let (wait, turn) = {
            let mut state = self.state.lock();
            let (now, rate) = (self.now(), state.budget.read_rate());
            let shares = state.planner.shares(rate, logs, now);
            let wait = state.metrics.book(now, shares.metrics_at_most);
            let turn = MetricsTurn {
                limiter: self,
                reads: shares.metrics_at_most,
                used: false,
            };
            (wait, turn)
        };
        if Instant::now() + wait > deadline {
            return Err(no_turn(Line::Reads.budget(), wait));
        }
        tokio::time::sleep(wait).await;
        turn.use_up();
        Ok(())
    }

    /// The first turn at `place`, and how long it was waited for.
    async fn wait_for_turn(
        &self,
        place: Place,
        deadline: Instant,
    ) -> Result<([Reservation; 2], Duration), AzureError> {
        let (line, asked) = (place.line, Instant::now());
        let (waiter, notify) = {
            let mut state = self.state.lock();
            if state.queue(line).is_empty()
                && let Ok(taken) = state.take(line, self.now())
            {
                return Ok((taken, Duration::ZERO));
            }
            // A longer wait of those behind the first is not final: answers may show a larger limit.
            let wait = state.wait(line, self.now());
            let full = state.queue(line).waiting(place.tenant) >= MAX_WAITING;
            if full || Instant::now() + wait > deadline {
                let wait = wait.max(Duration::from_millis(100));
                return Err(no_turn(line.budget(), wait));
            }
            state.waiters += 1;
            let (id, notify) = (state.waiters, Arc::new(Notify::new()));
            state
                .queue(line)
                .push(place.lane, place.tenant, id, Arc::clone(&notify));
            let waiter = Waiter {
                limiter: self,
                place,
                id,
            };
            (waiter, notify)
        };
        loop {
            let wait = {
                let mut state = self.state.lock();
                let first = state
                    .queue(line)
                    .head()
                    .is_some_and(|(id, _)| *id == waiter.id);
                if first {
                    match state.take(line, self.now()) {
                        Ok(taken) => {
                            state
                                .queue(line)
                                .serve(place.lane, place.tenant, &waiter.id);
                            return Ok((taken, asked.elapsed()));
                        }
                        Err(wait) => Some(wait),
                    }
                } else {
                    None
                }
            };
            let turn = wait.map_or(deadline, |wait| Instant::now() + wait);
            if wait.is_some() && turn > deadline {
                return Err(no_turn(line.budget(), wait.unwrap_or_default()));
            }
            tokio::select! {
                () = notify.notified() => {}
                () = tokio::time::sleep_until(turn) => if wait.is_none() {
                    return Err(no_turn(line.budget(), Duration::from_secs(1)));
                },
            }
        }
    }

    fn permit(self: &Arc<Self>, class: Class, taken: [Reservation; 2], waited: Duration) -> Permit {
        Permit {
            limiter: Arc::clone(self),
            class,
            taken: Some(taken),
            waited,
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// A turn for metrics; given back when the caller stops waiting.
struct MetricsTurn<'a> {
    limiter: &'a Limiter,
    reads: f64,
    used: bool,
}

impl MetricsTurn<'_> {
    fn use_up(mut self) {
        self.used = true;
    }
}

impl Drop for MetricsTurn<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.limiter.state.lock().metrics.give_back(self.reads);
        }
    }
}

/// A caller that waits; leaves the queue when dropped, and wakes the next one.
struct Waiter<'a> {
    limiter: &'a Limiter,
    place: Place,
    id: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        let Place { line, lane, tenant } = self.place;
        state.queue(line).remove(lane, tenant, &self.id);
        state.wake_head(line);
    }
}

/// The right to make one call; counts as under way until dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped has used up its turn for nothing"]
pub struct Permit {
    limiter: Arc<Limiter>,
    class: Class,
    /// `None` once the call is over.
    taken: Option<[Reservation; 2]>,
    waited: Duration,
}

impl Permit {
    /// How long the turn was waited for, since the first request.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The call was answered: feeds back what the answer said about the budget.
    pub fn observe(mut self, observed: &Observed) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        let refused = observed
            .throttled
            .then(|| observed.retry_after.unwrap_or_default());
        let now = self.limiter.now();
        let mut state = self.limiter.state.lock();
        state.budget.finish(self.class, refused, now);
        let before = state.budget.read_rate();
        state.budget.observe(self.class, taken, observed, now);
        let rate = state.budget.read_rate();
        if rate.total_cmp(&before).is_ne() {
            self.limiter.log_polls.set_rate(plan::log_reads(rate));
        }
        match self.class {
            Class::Read => state.wake_head(Line::Reads),
            Class::Write => state.wake_head(Line::Writes),
            Class::Create | Class::Delete => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.taken.take().is_some() {
            let now = self.limiter.now();
            self.limiter
                .state
                .lock()
                .budget
                .finish(self.class, None, now);
        }
    }
}

fn no_turn(budget: &str, wait: Duration) -> AzureError {
    let text = format!(
        "the {budget} of this subscription and principal is used up; next turn in about {} s",
        wait.as_secs_f64().ceil()
    );
    AzureError {
        retry_after: Some(wait),
        ..AzureError::local(ErrorClass::Throttled, "BudgetUsedUp", &text)
    }
}
