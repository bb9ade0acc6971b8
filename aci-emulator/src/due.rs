//! Groups that are to be looked at, and when: the next moment at which one changes by itself, and whenever something has
//! changed one. Nothing is polled.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    arm::world::Key,
    clock::{Clock, Time, between},
};

/// When nothing is due.
const IDLE: Duration = Duration::from_hours(1);

/// For one task, which looks at them.
#[derive(Default)]
pub(crate) struct Due {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    groups: BTreeSet<(Time, Key)>,
    all: bool,
}

impl Due {
    /// Has a group looked at.
    pub(crate) fn check(&self, key: Key, at: Time) {
        self.queue.lock().groups.insert((at, key));
        self.wake.notify_one();
    }

    /// Has every group looked at that the task knows.
    pub(crate) fn check_all(&self) {
        self.queue.lock().all = true;
        self.wake.notify_one();
    }

    /// What is due; the task knows the groups `known`.
    pub(crate) fn take<'a>(&self, now: Time, known: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        let mut queue = self.queue.lock();
        let mut keys = Vec::new();
        while queue.groups.first().is_some_and(|(at, _)| *at <= now) {
            keys.extend(queue.groups.pop_first().map(|(_, key)| key));
        }
        if std::mem::take(&mut queue.all) {
            keys.extend(known.cloned());
        }
        keys
    }

    /// Returns when more is due.
    pub(crate) async fn wait(&self, clock: &Clock) {
        let next = self.queue.lock().groups.first().map(|(at, _)| *at);
        let pause = next.map_or(IDLE, |next| {
            between(clock.now(), next) + Duration::from_millis(1)
        });
        // That it was woken is the same as that the time has come.
        let _ = tokio::time::timeout(pause, self.wake.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::plus;

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_taken_once_and_the_rest_is_waited_for() {
        let (due, clock) = (Due::default(), Clock::new());
        let now = clock.now();
        let (soon, later) = (Key::new("rg", "soon"), Key::new("rg", "later"));
        let known = [Key::new("rg", "known")];
        due.check(soon.clone(), now);
        due.check(later, plus(now, Duration::from_mins(1)));
        assert_eq!(due.take(now, known.iter()), [soon]);
        assert!(due.take(now, known.iter()).is_empty());

        due.wait(&clock).await; // Both were told at once.
        let begun = tokio::time::Instant::now();
        due.wait(&clock).await;
        assert!(begun.elapsed() > Duration::from_secs(50), "{begun:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_known_group_is_looked_at_once_when_all_are_to_be() {
        let (due, clock) = (Due::default(), Clock::new());
        let known = [Key::new("rg", "a"), Key::new("rg", "b")];
        due.check_all();
        due.wait(&clock).await;
        assert_eq!(due.take(clock.now(), known.iter()), known);
        assert!(due.take(clock.now(), known.iter()).is_empty());
    }
}
