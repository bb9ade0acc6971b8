//! A keyed queue with due times and priorities. PURE: time is an argument.
//!
//! Each key stands in it once: what is set last counts. Among what is due, the highest priority goes first, so that polls of
//! stable pods never hold up a creation or a deletion.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// Order of service among operations that are due; the first one goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Mutate,
    /// Polls of a pod whose state is still moving.
    Transition,
    /// Repetition after an error.
    Retry,
    /// Polls of a pod that is stable.
    Poll,
}

#[derive(Debug)]
struct Entry {
    priority: Priority,
    due: Instant,
    sequence: u64,
}

/// The queue of keys `K`.
#[derive(Debug)]
pub struct Queue<K> {
    entries: HashMap<K, Entry>,
    sleeping: BTreeSet<(Instant, u64, K)>,
    ready: BTreeSet<(Priority, u64, K)>,
    sequence: u64,
}

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            sleeping: BTreeSet::new(),
            ready: BTreeSet::new(),
            sequence: 0,
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Lets `key` be due at `due`, instead of when it was before.
    pub fn set(&mut self, key: K, priority: Priority, due: Instant) {
        self.remove(&key);
        self.sequence += 1;
        let entry = Entry {
            priority,
            due,
            sequence: self.sequence,
        };
        self.sleeping.insert((due, self.sequence, key.clone()));
        self.entries.insert(key, entry);
    }

    /// Takes `key` out of the queue.
    pub fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.sleeping
                .remove(&(entry.due, entry.sequence, key.clone()));
            self.ready
                .remove(&(entry.priority, entry.sequence, key.clone()));
        }
    }

    /// The next key that is due, highest priority first. It is no longer in the queue.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        while let Some((due, _, _)) = self.sleeping.first() {
            if *due > now {
                break;
            }
            if let Some((_, sequence, key)) = self.sleeping.pop_first()
                && let Some(entry) = self.entries.get(&key)
            {
                self.ready.insert((entry.priority, sequence, key));
            }
        }
        let (_, _, key) = self.ready.pop_first()?;
        self.entries.remove(&key);
        Some(key)
    }

    /// When the next key becomes due; that of a key which is due already is in the past.
    pub fn next_due(&self) -> Option<Instant> {
        let ready = self
            .ready
            .first()
            .and_then(|(_, _, key)| self.entries.get(key))
            .map(|entry| entry.due);
        ready.or_else(|| self.sleeping.first().map(|(due, _, _)| *due))
    }

    /// Keys in the queue.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn queue() -> (Instant, Queue<&'static str>) {
        (Instant::now(), Queue::default())
    }

    #[test]
    fn higher_priorities_go_first_and_equal_ones_in_order() {
        let (now, mut q) = queue();
        q.set("poll", Priority::Poll, now);
        q.set("retry", Priority::Retry, now);
        q.set("a", Priority::Mutate, now);
        q.set("b", Priority::Mutate, now);
        let order: Vec<&str> = std::iter::from_fn(|| q.pop(now)).collect();
        assert_eq!(order, ["a", "b", "retry", "poll"]);
        assert!(q.is_empty());
    }

    #[test]
    fn nothing_is_popped_before_it_is_due() {
        let (now, mut q) = queue();
        let due = now + Duration::from_secs(2);
        q.set("a", Priority::Mutate, due);
        assert_eq!(q.pop(now), None);
        assert_eq!(q.next_due(), Some(due));
        assert_eq!(q.pop(due), Some("a"));
        assert_eq!(q.next_due(), None);
    }

    #[test]
    fn what_is_set_last_counts() {
        let (now, mut q) = queue();
        q.set("a", Priority::Poll, now + Duration::from_secs(60));
        q.set("a", Priority::Mutate, now);
        assert_eq!(q.len(), 1);
        assert_eq!(q.pop(now), Some("a"));
        assert_eq!(q.pop(now + Duration::from_secs(120)), None);
    }

    #[test]
    fn what_is_ready_and_was_not_popped_is_still_due() {
        let (now, mut q) = queue();
        q.set("a", Priority::Mutate, now);
        q.set("b", Priority::Poll, now);
        assert_eq!(q.pop(now), Some("a"));
        assert_eq!(q.next_due(), Some(now), "b waits for room only");
        q.remove(&"b");
        assert_eq!((q.pop(now), q.next_due()), (None, None));
    }
}
