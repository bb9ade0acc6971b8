//! The line of creates and deletes of container groups: who waits there polls, and has its place under the group's name.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::budget::{Class, Limit, QueuePosition};
use super::{Limiter, Permit, PermitRequest, QUEUED, QUEUED_POLL, State, no_turn};
use crate::azure::error::{AzureError, ErrorClass};

/// A position in the queue is kept for this long after the last poll.
const KEPT: Duration = Duration::from_secs(35);
/// A create or delete whose turn is nearer than this waits for it instead of polling.
const SHORT_WAIT: Duration = Duration::from_millis(500);
/// The same while calls are in flight whose answers may show a larger limit.
const UNSETTLED_WAIT: Duration = Duration::from_secs(3);
/// How often it checks for such an answer meanwhile.
const UNSETTLED_POLL: Duration = Duration::from_millis(25);
/// Queued creates and deletes of one connector; more are refused.
const MAX_QUEUED: usize = 5000;

/// A queued create or delete.
#[derive(Debug)]
pub(super) struct Ticket {
    since: Instant,
    seen: Instant,
    /// When its turn came, if that is not taken yet.
    turn: Option<Instant>,
}

impl Limiter {
    /// Queues a create or delete and waits for its turn, for as long as [`Limiter::acquire`] would; that is to follow soon, or
    /// [`Limiter::leave`]. Whatever the call needs can be fetched between the two: nobody who comes later goes before it.
    ///
    /// # Errors
    /// As those of [`Limiter::acquire`] for a create or delete.
    pub async fn line_up(
        &self,
        request: PermitRequest<'_>,
        deadline: Instant,
    ) -> Result<(), AzureError> {
        self.in_queue(request, deadline, |state, since, now| {
            let ticket = Ticket {
                since,
                seen: now,
                turn: Some(now),
            };
            state.keep(request, ticket);
            Some(())
        })
        .await
    }

    /// A queued create or delete will not be sent for now: others need not wait for it.
    pub fn leave(&self, request: PermitRequest<'_>) {
        let mut state = self.state.lock();
        let key = request.group.to_owned();
        state.counted.remove(request.lane(), request.tenant, &key);
    }

    /// The error of a create or delete that is queued and has to wait; `None` when it may be sent, or is not queued.
    pub fn queue_position(&self, request: PermitRequest<'_>) -> Option<AzureError> {
        let mut state = self.state.lock();
        let key = request.group.to_owned();
        let ticket = state
            .counted
            .get_mut(request.lane(), request.tenant, &key)?;
        ticket.seen = Instant::now();
        let since = ticket.since;
        match self.place(&mut state, request, since) {
            (wait, ..) if wait <= SHORT_WAIT => None,
            (wait, number, limit) => Some(queued(request.class, wait, number, limit)),
        }
    }

    pub(super) async fn wait_in_queue(
        self: &Arc<Self>,
        request: PermitRequest<'_>,
        deadline: Instant,
    ) -> Result<Permit, AzureError> {
        let (lane, tenant, key) = (request.lane(), request.tenant, request.group.to_owned());
        self.in_queue(request, deadline, |state, since, now| {
            let place = state.position_of(request, since.elapsed());
            let place = QueuePosition { ahead: 0, ..place };
            let taken = state.budget.take(request.class, place, self.now()).ok()?;
            let ticket = state.counted.get_mut(lane, tenant, &key);
            let turn = ticket.and_then(|ticket| ticket.turn);
            state.counted.serve(lane, tenant, &key);
            let waited = turn.unwrap_or(now) - since;
            Some(self.permit(request.class, taken, waited))
        })
        .await
    }

    /// What `go` makes of the turn of a create or delete, when that has come; it is told since when the call is queued, and the time.
    async fn in_queue<T>(
        &self,
        request: PermitRequest<'_>,
        deadline: Instant,
        mut go: impl FnMut(&mut State, Instant, Instant) -> Option<T>,
    ) -> Result<T, AzureError> {
        let key = request.group.to_owned();
        let (lane, tenant) = (request.lane(), request.tenant);
        let patience = deadline.min(Instant::now() + SHORT_WAIT);
        let settled = deadline.min(Instant::now() + UNSETTLED_WAIT);
        loop {
            let wait = {
                let mut state = self.state.lock();
                let now = Instant::now();
                state.counted.retain(|ticket| now < ticket.seen + KEPT);
                let since = if let Some(ticket) = state.counted.get_mut(lane, tenant, &key) {
                    ticket.seen = now;
                    ticket.since
                } else {
                    now
                };
                let (wait, number, limit) = self.place(&mut state, request, since);
                if wait.is_zero()
                    && let Some(turn) = go(&mut state, since, now)
                {
                    return Ok(turn);
                }
                if state.counted.get_mut(lane, tenant, &key).is_none() {
                    if state.counted.waiting(tenant) >= MAX_QUEUED {
                        let budget = format!("budget of {} calls", request.class.name());
                        return Err(no_turn(&budget, wait.max(QUEUED_POLL)));
                    }
                    let ticket = Ticket {
                        since,
                        seen: now,
                        turn: None,
                    };
                    state.keep(request, ticket);
                }
                if now + wait <= patience {
                    wait.max(Duration::from_millis(1))
                } else if state.budget.is_unsettled() && now < settled {
                    UNSETTLED_POLL
                } else {
                    return Err(queued(request.class, wait, number, limit));
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// How long a create or delete has to wait, its number in the queue, and for which limit.
    fn place(
        &self,
        state: &mut State,
        request: PermitRequest<'_>,
        since: Instant,
    ) -> (Duration, usize, Limit) {
        let place = state.position_of(request, since.elapsed());
        let (wait, limit) = state.budget.wait(request.class, place, self.now());
        (wait, place.ahead + 1, limit)
    }
}

impl State {
    /// Notes `ticket`, in place of the one that the call may have.
    fn keep(&mut self, request: PermitRequest<'_>, ticket: Ticket) {
        let (lane, tenant, key) = (request.lane(), request.tenant, request.group.to_owned());
        match self.counted.get_mut(lane, tenant, &key) {
            Some(known) => *known = ticket,
            None => self.counted.push(lane, tenant, key, ticket),
        }
    }

    fn position_of(&self, request: PermitRequest<'_>, waited: Duration) -> QueuePosition {
        let (lane, tenant) = (request.lane(), request.tenant);
        let known = self.counted.ahead(lane, tenant, &request.group.to_owned());
        QueuePosition {
            delete: request.class == Class::Delete,
            ahead: known.unwrap_or_else(|| self.counted.ahead_of_new(lane, tenant)),
            waited,
        }
    }
}

fn queued(class: Class, wait: Duration, number: usize, limit: Limit) -> AzureError {
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
        ..AzureError::local(ErrorClass::Throttled, QUEUED, &text)
    }
}
