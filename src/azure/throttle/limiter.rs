//! The waiting for a turn.
//!
//! Reads and writes wait here for seconds: a caller holds its place in the line while its future lives. Creates and
//! deletes of container groups may have to wait for minutes. They are told so at once and ask again; their place in the
//! line is kept under the group's name as long as they do.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::error::{AzureError, ErrorClass};
use super::budget::{Budget, Class, Limit, Observed, Place, Settings, Taken};
use super::line::Line;
use super::looks::Looks;
use super::pace::{Pace, Wish};
use super::plan::{self, Planner, Turns};

/// Code of the error that tells a create or delete its place in the line.
pub const IN_LINE: &str = "WaitingInLine";
/// A create or delete that is in the line asks again so often at least, or its place is given up.
pub const ASK_AGAIN: Duration = Duration::from_secs(10);
/// A place in the line is kept for so long after it was asked for.
const KEPT: Duration = Duration::from_secs(35);
/// A create or delete waits so long before it is told its place instead.
const SHORT_WAIT: Duration = Duration::from_millis(500);
/// While calls are under way, whose answers may show a larger limit, it waits so long.
const UNSETTLED_WAIT: Duration = Duration::from_secs(3);
/// And looks so often.
const UNSETTLED_LOOK: Duration = Duration::from_millis(25);
/// Callers of one connector that wait at once; who comes when they are that many is refused.
const MAX_WAITING: usize = 512;
/// Places in the line of creates and deletes that are kept for one connector.
const MAX_IN_LINE: usize = 5000;
/// Turns of more urgent reads in a row while a less urgent one waits.
const PATIENCE: u32 = 4;
/// The same while figures wait: nobody but a graph misses them.
const PATIENCE_FOR_FIGURES: u32 = 32;

/// How soon a read is needed: the more urgent first, and after four turns of theirs one of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Urgency {
    /// Somebody waits: a pod that starts or is being deleted, logs, exec.
    #[default]
    Prompt,
    /// A look at a pod that runs.
    Steady,
    /// A list of groups.
    Leisure,
    /// A figure for `kubectl top`. It has its turn when the plan has one for it, and then goes last.
    Figures,
}

/// How many urgencies there are.
const LANES: usize = 4;

/// Who wants to call what.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What it counts as.
    pub class: Class,
    /// Whose it is: members (connectors) take turns.
    pub member: u64,
    /// For reads.
    pub urgency: Urgency,
    /// For creates and deletes: the name of the group, under which a place in the line is kept.
    pub group: &'a str,
}

impl Ask<'_> {
    fn lane(&self) -> usize {
        match self.class {
            Class::Read => self.urgency as usize,
            Class::Create => 1,
            Class::Write | Class::Delete => 0,
        }
    }
}

/// A place in the line of creates and deletes.
#[derive(Debug)]
struct Ticket {
    since: Instant,
    seen: Instant,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    reads: Line<u64, Arc<Notify>>,
    writes: Line<u64, Arc<Notify>>,
    /// Deletes before creates.
    counted: Line<String, Ticket>,
    planner: Planner,
    figures: Turns,
    /// Waiters so far.
    waiters: u64,
}

impl State {
    /// The line of a class whose callers wait here.
    fn line(&mut self, class: Class) -> &mut Line<u64, Arc<Notify>> {
        if class == Class::Read {
            &mut self.reads
        } else {
            &mut self.writes
        }
    }

    fn wake_head(&mut self, class: Class) {
        if let Some((_, notify)) = self.line(class).head() {
            notify.notify_one();
        }
    }
}

/// The budget of one subscription and principal.
#[derive(Debug)]
pub struct Limiter {
    epoch: Instant,
    state: Mutex<State>,
    looks: Arc<Looks>,
}

impl Limiter {
    /// A limiter that has not seen an answer yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            epoch: Instant::now(),
            state: Mutex::new(State {
                budget: Budget::new(settings),
                reads: Line::new(LANES, Some(PATIENCE))
                    .with_patience(Urgency::Figures as usize, PATIENCE_FOR_FIGURES),
                writes: Line::new(1, None),
                counted: Line::new(2, None),
                planner: Planner::default(),
                figures: Turns::default(),
                waiters: 0,
            }),
            looks: {
                let looks = Looks::default();
                looks.set_rate(plan::log_reads(settings.reads_per_second));
                Arc::new(looks)
            },
        }
    }

    /// The turns of followed logs within this budget.
    pub fn looks(&self) -> Arc<Looks> {
        Arc::clone(&self.looks)
    }

    /// Waits for a turn to make one call, at most until `deadline`. Members of a class take turns; classes do not wait for
    /// each other, but that deletes go before creates. Dropping the future gives the place up, unless it is a create or
    /// delete that has been told its place.
    ///
    /// # Errors
    /// [`ErrorClass::Throttled`] when there is no turn before `deadline`; at once when that can be foreseen, with the
    /// time to wait as `retry_after`. A create or delete whose turn is more than half a second away gets [`IN_LINE`]: ask
    /// again then, and every [`ASK_AGAIN`] meanwhile.
    pub async fn acquire(
        self: &Arc<Self>,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<Permit, AzureError> {
        match ask.class {
            Class::Read if ask.urgency == Urgency::Figures => {
                self.wait_for_figures(deadline).await?;
                self.wait_for_turn(ask, deadline).await
            }
            Class::Read | Class::Write => self.wait_for_turn(ask, deadline).await,
            Class::Create | Class::Delete => self.wait_in_line(ask, deadline).await,
        }
    }

    /// The error of a create or delete that is in the line and still has to wait; `None` when it should be sent, or has
    /// never been asked for.
    pub fn in_line(&self, ask: Ask<'_>) -> Option<AzureError> {
        let mut state = self.state.lock();
        let key = ask.group.to_owned();
        let ticket = state.counted.get_mut(ask.lane(), ask.member, &key)?;
        ticket.seen = Instant::now();
        let since = ticket.since;
        match self.place(&mut state, ask, since) {
            (wait, ..) if wait <= SHORT_WAIT => None,
            (wait, number, limit) => Some(in_line(ask.class, wait, number, limit)),
        }
    }

    /// Notes what looks at the running pods of `node` would cost, and says how often to look.
    pub fn plan(&self, member: u64, node: &str, wish: Wish) -> Pace {
        let (now, logs) = (self.now(), self.looks.demand());
        let mut state = self.state.lock();
        let rate = state.budget.read_rate();
        state
            .planner
            .statuses((member, node), wish, (rate, logs), now)
    }

    /// Notes how many reads a second would keep the figures of `node` fresh. Forgotten when it is not said again.
    pub fn plan_figures(&self, member: u64, node: &str, reads_per_second: f64) {
        let now = self.now();
        let mut state = self.state.lock();
        state.planner.figures((member, node), reads_per_second, now);
    }

    /// Waits until the plan has a turn for a figure.
    async fn wait_for_figures(&self, deadline: Instant) -> Result<(), AzureError> {
        let logs = self.looks.demand();
        let (wait, turn) = {
            let mut state = self.state.lock();
            let (now, rate) = (self.now(), state.budget.read_rate());
            let shares = state.planner.shares(rate, logs, now);
            let wait = state.figures.book(now, shares.figures_at_most);
            let turn = FigureTurn {
                limiter: self,
                reads: shares.figures_at_most,
                used: false,
            };
            (wait, turn)
        };
        if Instant::now() + wait > deadline {
            return Err(no_turn(Class::Read, wait));
        }
        tokio::time::sleep(wait).await;
        turn.use_up();
        Ok(())
    }

    async fn wait_in_line(
        self: &Arc<Self>,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<Permit, AzureError> {
        let key = ask.group.to_owned();
        let (lane, member) = (ask.lane(), ask.member);
        let patience = deadline.min(Instant::now() + SHORT_WAIT);
        let settled = deadline.min(Instant::now() + UNSETTLED_WAIT);
        loop {
            let wait = {
                let mut state = self.state.lock();
                let now = Instant::now();
                state.counted.retain(|ticket| now < ticket.seen + KEPT);
                let since = if let Some(ticket) = state.counted.get_mut(lane, member, &key) {
                    ticket.seen = now;
                    ticket.since
                } else {
                    now
                };
                let (wait, number, limit) = self.place(&mut state, ask, since);
                if wait.is_zero() {
                    let place = state.place_of(ask, since.elapsed());
                    let place = Place { ahead: 0, ..place };
                    if let Ok(taken) = state.budget.take(ask.class, place, self.now()) {
                        state.counted.serve(lane, member, &key);
                        return Ok(self.permit(ask.class, taken, now - since));
                    }
                }
                if state.counted.get_mut(lane, member, &key).is_none() {
                    if state.counted.waiting(member) >= MAX_IN_LINE {
                        return Err(no_turn(ask.class, wait.max(ASK_AGAIN)));
                    }
                    let ticket = Ticket { since, seen: now };
                    state.counted.push(lane, member, key.clone(), ticket);
                }
                if now + wait <= patience {
                    wait.max(Duration::from_millis(1))
                } else if state.budget.is_unsettled() && now < settled {
                    UNSETTLED_LOOK
                } else {
                    return Err(in_line(ask.class, wait, number, limit));
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// How long a create or delete has to wait, its number in the line, and for what.
    fn place(&self, state: &mut State, ask: Ask<'_>, since: Instant) -> (Duration, usize, Limit) {
        let place = state.place_of(ask, since.elapsed());
        let (wait, limit) = state.budget.wait(ask.class, place, self.now());
        (wait, place.ahead + 1, limit)
    }

    async fn wait_for_turn(
        self: &Arc<Self>,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<Permit, AzureError> {
        let (class, asked) = (ask.class, Instant::now());
        let (waiter, notify) = {
            let mut state = self.state.lock();
            let here = Place::default();
            if state.line(class).is_empty()
                && let Ok(taken) = state.budget.take(class, here, self.now())
            {
                return Ok(self.permit(class, taken, Duration::ZERO));
            }
            // Only who is first is judged: answers to those before may show that there is more.
            let (wait, _) = state.budget.wait(class, here, self.now());
            let full = state.line(class).waiting(ask.member) >= MAX_WAITING;
            if full || Instant::now() + wait > deadline {
                return Err(no_turn(class, wait.max(Duration::from_millis(100))));
            }
            state.waiters += 1;
            let (id, notify) = (state.waiters, Arc::new(Notify::new()));
            let (lane, member) = (ask.lane(), ask.member);
            state
                .line(class)
                .push(lane, member, id, Arc::clone(&notify));
            let waiter = Waiter {
                limiter: self,
                class,
                lane,
                member,
                id,
            };
            (waiter, notify)
        };
        loop {
            let wait = {
                let mut state = self.state.lock();
                let first = state
                    .line(class)
                    .head()
                    .is_some_and(|(id, _)| *id == waiter.id);
                if first {
                    match state.budget.take(class, Place::default(), self.now()) {
                        Ok(taken) => {
                            state
                                .line(class)
                                .serve(waiter.lane, waiter.member, &waiter.id);
                            return Ok(self.permit(class, taken, asked.elapsed()));
                        }
                        Err((wait, _)) => Some(wait),
                    }
                } else {
                    None
                }
            };
            let turn = wait.map_or(deadline, |wait| Instant::now() + wait);
            if wait.is_some() && turn > deadline {
                return Err(no_turn(class, wait.unwrap_or_default()));
            }
            tokio::select! {
                () = notify.notified() => {}
                () = tokio::time::sleep_until(turn) => if wait.is_none() {
                    return Err(no_turn(class, Duration::from_secs(1)));
                },
            }
        }
    }

    fn permit(self: &Arc<Self>, class: Class, taken: [Taken; 2], waited: Duration) -> Permit {
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

impl State {
    fn place_of(&self, ask: Ask<'_>, waited: Duration) -> Place {
        let (lane, member) = (ask.lane(), ask.member);
        let known = self.counted.ahead(lane, member, &ask.group.to_owned());
        Place {
            delete: ask.class == Class::Delete,
            ahead: known.unwrap_or_else(|| self.counted.ahead_of_new(lane, member)),
            waited,
        }
    }
}

/// A turn for a figure; given back when nobody waits for it any more.
struct FigureTurn<'a> {
    limiter: &'a Limiter,
    reads: f64,
    used: bool,
}

impl FigureTurn<'_> {
    fn use_up(mut self) {
        self.used = true;
    }
}

impl Drop for FigureTurn<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.limiter.state.lock().figures.give_back(self.reads);
        }
    }
}

/// A caller that waits; leaves the line when dropped, and wakes who is first then.
struct Waiter<'a> {
    limiter: &'a Limiter,
    class: Class,
    lane: usize,
    member: u64,
    id: u64,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state
            .line(self.class)
            .remove(self.lane, self.member, &self.id);
        state.wake_head(self.class);
    }
}

/// The right to make one call; counts as under way until dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped has used up its turn for nothing"]
pub struct Permit {
    limiter: Arc<Limiter>,
    class: Class,
    /// `None` once the call is over.
    taken: Option<[Taken; 2]>,
    waited: Duration,
}

impl Permit {
    /// How long the turn was waited for, since the first ask.
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
            self.limiter.looks.set_rate(plan::log_reads(rate));
        }
        if matches!(self.class, Class::Read | Class::Write) {
            state.wake_head(self.class);
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

fn no_turn(class: Class, wait: Duration) -> AzureError {
    let text = format!(
        "the budget of {} calls of this subscription and principal is used up; next turn in about {} s",
        class.name(),
        wait.as_secs_f64().ceil()
    );
    AzureError {
        retry_after: Some(wait),
        ..AzureError::local(ErrorClass::Throttled, "BudgetUsedUp", &text)
    }
}

fn in_line(class: Class, wait: Duration, number: usize, limit: Limit) -> AzureError {
    let limit = match limit {
        Limit::Counter(limit, window) => {
            let minutes = window.as_secs() / 60;
            let time = match minutes {
                60 => "an hour".to_owned(),
                minutes => format!("{minutes} minutes"),
            };
            format!("Azure allows {limit} creates and deletes in {time} in this subscription")
        }
        Limit::Arm => format!(
            "Azure allows no more {} calls in this subscription for now",
            class.name()
        ),
        Limit::Pause => format!(
            "Azure has refused {} calls in this subscription for a while",
            class.name()
        ),
    };
    let at = chrono::Utc::now() + wait;
    let what = match class {
        Class::Delete => "delete",
        _ => "create",
    };
    let text = format!(
        "{limit}; this {what} is number {number} in line; next try about {}",
        at.format("%H:%M:%SZ")
    );
    AzureError {
        retry_after: Some(wait),
        ..AzureError::local(ErrorClass::Throttled, IN_LINE, &text)
    }
}
