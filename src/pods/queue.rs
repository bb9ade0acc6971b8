//! A keyed queue with due times and weights. PURE: time is an argument.
//!
//! Each key has one slot: the newest operation asked for replaces one that still waits, because the index always knows
//! better than what it said before. A key is never worked on twice at once; what arrives meanwhile waits for the
//! running operation to end. Among operations that are due, the lightest weight goes first, so that steady observation
//! never holds up a creation or a deletion.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Order of service among operations that are due; lighter first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Deletions and creations.
    Change,
    /// Observation of a pod whose state is still moving.
    Fresh,
    /// Repetition after an error.
    Retry,
    /// Observation of a pod that is stable.
    Steady,
}

#[derive(Debug)]
struct Slot<O> {
    operation: O,
    weight: Weight,
    due: Instant,
    sequence: u64,
}

/// The queue. `K` names what is serialized, `O` is what to do.
#[derive(Debug)]
pub struct Queue<K, O> {
    slots: HashMap<K, Slot<O>>,
    running: HashSet<K>,
    sleeping: BTreeSet<(Instant, u64, K)>,
    ready: BTreeSet<(Weight, u64, K)>,
    sequence: u64,
}

impl<K: Clone + Eq + Hash + Ord, O> Default for Queue<K, O> {
    fn default() -> Self {
        Self {
            slots: HashMap::new(),
            running: HashSet::new(),
            sleeping: BTreeSet::new(),
            ready: BTreeSet::new(),
            sequence: 0,
        }
    }
}

impl<K: Clone + Eq + Hash + Ord, O> Queue<K, O> {
    /// Puts `operation` into the slot of `key`, due `after` from `now`, replacing what waited there.
    pub fn schedule(
        &mut self,
        now: Instant,
        key: K,
        operation: O,
        weight: Weight,
        after: Duration,
    ) {
        self.forget(&key);
        self.sequence += 1;
        let slot = Slot {
            operation,
            weight,
            due: now + after,
            sequence: self.sequence,
        };
        if !self.running.contains(&key) {
            self.sleeping.insert((slot.due, slot.sequence, key.clone()));
        }
        self.slots.insert(key, slot);
    }

    /// Takes what waits in the slot of `key` out of the queue. What runs already is not touched.
    pub fn forget(&mut self, key: &K) {
        if let Some(slot) = self.slots.remove(key) {
            self.sleeping
                .remove(&(slot.due, slot.sequence, key.clone()));
            self.ready
                .remove(&(slot.weight, slot.sequence, key.clone()));
        }
    }

    /// The next operation that is due, lightest first. Its key counts as running until [`Queue::finished`].
    pub fn pop(&mut self, now: Instant) -> Option<(K, O)> {
        while let Some((due, _, _)) = self.sleeping.first() {
            if *due > now {
                break;
            }
            if let Some((_, sequence, key)) = self.sleeping.pop_first()
                && let Some(slot) = self.slots.get(&key)
            {
                self.ready.insert((slot.weight, sequence, key));
            }
        }
        let (_, _, key) = self.ready.pop_first()?;
        let slot = self.slots.remove(&key)?;
        self.running.insert(key.clone());
        Some((key, slot.operation))
    }

    /// Ends the running operation of `key`; what was scheduled meanwhile becomes eligible.
    pub fn finished(&mut self, key: &K) {
        if self.running.remove(key)
            && let Some(slot) = self.slots.get(key)
        {
            self.sleeping.insert((slot.due, slot.sequence, key.clone()));
        }
    }

    /// When the next operation that is not due yet becomes so; `None` when something is ready or nothing waits.
    pub fn next_due(&self) -> Option<Instant> {
        self.sleeping.first().map(|(due, _, _)| *due)
    }

    /// True when [`Queue::pop`] would return something at `now`.
    pub fn has_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.next_due().is_some_and(|due| due <= now)
    }

    /// Operations that run now.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Operations that wait.
    pub fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// True when nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Instant, Queue<&'static str, u32>) {
        (Instant::now(), Queue::default())
    }

    #[test]
    fn lighter_weights_go_first_and_equal_weights_in_order() {
        let (now, mut q) = queue();
        q.schedule(now, "steady", 1, Weight::Steady, Duration::ZERO);
        q.schedule(now, "retry", 2, Weight::Retry, Duration::ZERO);
        q.schedule(now, "a", 3, Weight::Change, Duration::ZERO);
        q.schedule(now, "b", 4, Weight::Change, Duration::ZERO);
        let order: Vec<u32> = std::iter::from_fn(|| q.pop(now).map(|(_, o)| o)).collect();
        assert_eq!(order, [3, 4, 2, 1]);
    }

    #[test]
    fn nothing_is_popped_before_it_is_due() {
        let (now, mut q) = queue();
        q.schedule(now, "a", 1, Weight::Change, Duration::from_secs(2));
        assert_eq!(q.pop(now), None);
        assert_eq!(q.next_due(), Some(now + Duration::from_secs(2)));
        assert_eq!(q.pop(now + Duration::from_secs(2)), Some(("a", 1)));
    }

    #[test]
    fn the_newest_operation_replaces_the_waiting_one() {
        let (now, mut q) = queue();
        q.schedule(now, "a", 1, Weight::Steady, Duration::from_secs(60));
        q.schedule(now, "a", 2, Weight::Change, Duration::ZERO);
        assert_eq!(q.waiting(), 1);
        assert_eq!(q.pop(now), Some(("a", 2)));
        assert_eq!(q.pop(now + Duration::from_secs(120)), None);
    }

    #[test]
    fn a_key_never_runs_twice_at_once() {
        let (now, mut q) = queue();
        q.schedule(now, "a", 1, Weight::Change, Duration::ZERO);
        assert_eq!(q.pop(now), Some(("a", 1)));
        q.schedule(now, "a", 2, Weight::Change, Duration::ZERO);
        assert_eq!(q.pop(now), None);
        assert!(!q.is_idle());
        q.finished(&"a");
        assert_eq!(q.pop(now), Some(("a", 2)));
        q.finished(&"a");
        assert!(q.is_idle());
    }

    #[test]
    fn forgetting_drops_what_waits_but_not_what_runs() {
        let (now, mut q) = queue();
        q.schedule(now, "a", 1, Weight::Change, Duration::ZERO);
        q.pop(now);
        q.schedule(now, "a", 2, Weight::Change, Duration::ZERO);
        q.forget(&"a");
        assert_eq!(q.running(), 1);
        q.finished(&"a");
        assert_eq!(q.pop(now), None);
    }
}
