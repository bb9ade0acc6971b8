//! What is next for a record: the one place that chooses an operation. PURE.
//!
//! Level-triggered: the answer follows from the record, the node and the time alone, so it can be asked for at any time
//! and as often as one likes. What is due later may be another operation by then.

use std::time::Duration;

use super::record::Record;
use super::stage::{Afterwards, Orphan, Removal, Stage, Stopping};
use super::{NodeState, Now, Operation, breaker, cadence, condemned, ending, exchange, post_start};
use crate::pods::queue::Priority;

/// Added to a wait for a deadline: the wall clock and the queue's need not agree to the millisecond.
pub(super) const MARGIN: Duration = Duration::from_millis(50);
/// A group that is watched by LIST is read by GET this often all the same: only GET shows its events.
pub(super) const BULK_POLL: Duration = Duration::from_secs(5);
/// A group that should be there and answers 404 is asked for a second time after this long.
pub(super) const MISSING_AGAIN: Duration = Duration::from_secs(5);

/// An operation and when it is due, since the agent's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) operation: Operation,
    pub(super) priority: Priority,
    pub(super) due: Duration,
}

/// The next operation of `record`; `None` while one is on its way, and where only an input brings the record forward.
pub(super) fn next(record: &Record, node: &NodeState, now: Now) -> Option<Next> {
    if record.in_flight.is_some() {
        return None;
    }
    if let Some(unread) = &record.unread {
        return Some(unread.next(record));
    }
    let next = match &record.stage {
        Stage::Unsynced | Stage::Refused => None,
        Stage::Creating => create(record, node),
        Stage::Starting { since, polls, .. } => Some(poll(
            record,
            Priority::Transition,
            starting(record, node, *since, *polls),
        )),
        Stage::Running { stable_since } => {
            let stable = record.base.saturating_sub(*stable_since);
            let wait = match record.missing_since {
                Some(_) => MISSING_AGAIN,
                None => cadence::steady(stable, record.ends(), node.interval),
            };
            let priority = if record.poll_now || record.missing_since.is_some() {
                Priority::Transition
            } else {
                Priority::Poll
            };
            let poll = poll(record, priority, wait);
            let next = exchange::exchange_image(record, node, &poll)
                .or_else(|| post_start::run_hooks(record))
                .or_else(|| condemned::end_containers(record));
            Some(next.unwrap_or(poll))
        }
        Stage::Finished(afterwards) => finished(record, afterwards),
        // A person brings these forward.
        _ if record.is_held_back(node) => None,
        Stage::Removing(removal) => {
            Some(ending::step(record, removal, now).unwrap_or_else(|| remove(record, removal)))
        }
        Stage::Gone => (!record.is_unwritten()).then(|| at(record, Operation::DeletePod)),
        Stage::Orphaned(orphan) => orphaned(record, *orphan, node, now),
    };
    before_deadline(record, next, now)
}

/// An operation of this stage, as soon as its back-off allows.
pub(super) fn at(record: &Record, operation: Operation) -> Next {
    Next {
        operation,
        priority: if record.attempts == 0 {
            Priority::Mutate
        } else {
            Priority::Retry
        },
        due: record.not_before,
    }
}

/// A GET of the group `wait` after the last answer, spread, unless something makes it due now.
pub(super) fn poll(record: &Record, priority: Priority, wait: Duration) -> Next {
    let failed = record.not_before > record.base;
    let due = if failed {
        record.not_before
    } else if record.poll_now || wait.is_zero() {
        record.base
    } else {
        record.base + cadence::jitter(wait, record.seed())
    };
    Next {
        operation: Operation::GetGroup,
        priority: if failed { Priority::Retry } else { priority },
        due,
    }
}

fn create(record: &Record, node: &NodeState) -> Option<Next> {
    if node.suspended {
        return None;
    }
    if record.unheard {
        return Some(at(record, Operation::GetGroup));
    }
    let operation = Operation::CreateGroup {
        look_first: record.look_first,
        restarts: record.restarts(),
    };
    let allowed = node.tenants.allow(&record.key.namespace);
    allowed.then(|| at(record, operation))
}

/// The wait before the next poll of a group that does not run yet.
fn starting(record: &Record, node: &NodeState, since: Duration, polls: u32) -> Duration {
    if record.missing_since.is_some() {
        return MISSING_AGAIN;
    }
    if polls == 0 && node.bulk_listing {
        return BULK_POLL;
    }
    cadence::starting(polls, record.base.saturating_sub(since))
}

fn finished(record: &Record, afterwards: &Afterwards) -> Option<Next> {
    match afterwards {
        Afterwards::Rest => None,
        Afterwards::Poll => Some(poll(
            record,
            Priority::Poll,
            cadence::ended(record.attempts),
        )),
        // How the pod ended is only safe in the API server: a stopped group tells nothing any more.
        _ if record.is_unwritten() => None,
        Afterwards::PreStop(it) => Some(at(record, Operation::RunPreStop(it.running.clone()))),
        Afterwards::Signal(it) => Some(at(record, Operation::SendSignal(it.running.clone()))),
        Afterwards::Stop => Some(at(record, Operation::StopGroup)),
        Afterwards::Drain(until) => {
            let next = poll(record, Priority::Poll, cadence::ended(record.attempts));
            // A poll that failed is tried again after its back-off, also when their time is over.
            let failed = record.not_before > record.base;
            let due = if failed {
                next.due
            } else {
                next.due.min(*until + MARGIN)
            };
            Some(Next { due, ..next })
        }
    }
}

fn remove(record: &Record, removal: &Removal) -> Next {
    if removal.looks_first() {
        return at(record, Operation::GetGroup);
    }
    if removal.stop == Stopping::Wanted {
        return at(record, Operation::StopGroup);
    }
    if !removal.accepted {
        return at(record, Operation::DeleteGroup);
    }
    // Most polls find the delete still going on; now and then it has to be asked for again.
    let wait = cadence::deletion(record.attempts);
    let mut next = poll(record, Priority::Transition, wait);
    if cadence::asks_again(record.attempts) && !record.poll_now {
        next.operation = Operation::DeleteGroup;
    }
    next
}

/// An orphan is asked for by a live GET once two lists have shown it, or at once when its pod vanished from the watch; it
/// is deleted by a rule, not here.
fn orphaned(record: &Record, orphan: Orphan, node: &NodeState, now: Now) -> Option<Next> {
    match orphan {
        Orphan::Listed { twice, .. } => {
            let asks = node.delete_orphans || record.made.is_strange();
            (twice && asks).then(|| at(record, Operation::GetPod))
        }
        Orphan::Vanished { .. } => Some(at(record, Operation::GetPod)),
        Orphan::Confirmed { at } => Some(timer(node.breaker.opens(now, at + breaker::SETTLE))),
    }
}

pub(super) fn timer(due: Duration) -> Next {
    Next {
        operation: Operation::Timer,
        priority: Priority::Poll,
        due,
    }
}

/// Lets nothing wait beyond the pod's deadline, and makes nothing at it.
fn before_deadline(record: &Record, next: Option<Next>, now: Now) -> Option<Next> {
    let Some(left) = record.time_left(now) else {
        return next;
    };
    let deadline = now.mono + left + MARGIN;
    let Some(mut next) = next else {
        return Some(timer(deadline));
    };
    match next.operation {
        // Once it has passed one answer is waited for, at the interval of its failures.
        Operation::GetGroup if left.is_zero() && record.not_before <= record.base => {
            next.due = next.due.min(now.mono);
        }
        Operation::GetGroup if !left.is_zero() => next.due = next.due.min(deadline),
        Operation::CreateGroup { .. } if next.due >= now.mono + left => {
            return Some(timer(deadline));
        }
        _ => {}
    }
    Some(next)
}

/// Whether `record` may stay as it is: nothing is scheduled and no input is outstanding that brings it forward.
#[cfg(test)]
pub(super) fn is_at_rest(record: &Record, node: &NodeState) -> bool {
    match &record.stage {
        // The next list brings forward what it has shown.
        Stage::Refused
        | Stage::Finished(Afterwards::Rest)
        | Stage::Orphaned(Orphan::Listed { .. }) => true,
        // The lists, the end of the suspension, the next list or the status writer bring these forward.
        Stage::Unsynced => !node.is_synced(),
        Stage::Creating => node.suspended || !node.tenants.allow(&record.key.namespace),
        Stage::Finished(afterwards) if *afterwards == Afterwards::Poll => false,
        Stage::Finished(_) | Stage::Gone => record.is_unwritten(),
        _ => record.is_held_back(node),
    }
}
