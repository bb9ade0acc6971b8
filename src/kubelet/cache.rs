//! A bounded cache whose entries die: what the API server said about a caller, for a while. PURE: time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Entries by key, each with its end.
#[derive(Debug)]
pub struct Cache<K, V> {
    entries: HashMap<K, (V, Duration)>,
    capacity: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// A cache that never holds more than `capacity` entries.
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            capacity: capacity.max(1),
        }
    }

    /// The live entry of `key` at `now`.
    pub fn get(&self, key: &K, now: Duration) -> Option<V> {
        let (value, until) = self.entries.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Keeps `value` for `life`. When the cache is full the dead go first, then the one that would die first.
    pub fn put(&mut self, key: K, value: V, now: Duration, life: Duration) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.entries.retain(|_, (_, until)| now < *until);
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            let first = self.entries.iter().min_by_key(|(_, (_, until))| *until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                self.entries.remove(&key);
            }
        }
        self.entries.insert(key, (value, now + life));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn entries_die_and_make_room() {
        let mut cache = Cache::new(2);
        cache.put("a", 1, s(0), s(10));
        cache.put("b", 2, s(0), s(20));
        assert_eq!(
            (cache.get(&"a", s(9)), cache.get(&"a", s(10))),
            (Some(1), None)
        );
        cache.put("c", 3, s(1), s(30));
        assert_eq!(
            cache.get(&"a", s(1)),
            None,
            "the one that would have died first"
        );
        assert_eq!(
            (cache.get(&"b", s(1)), cache.get(&"c", s(1))),
            (Some(2), Some(3))
        );
        cache.put("d", 4, s(25), s(30));
        assert_eq!(
            (cache.get(&"c", s(25)), cache.get(&"d", s(25))),
            (Some(3), Some(4))
        );
        cache.put("c", 5, s(25), s(1));
        assert_eq!(cache.get(&"d", s(25)), Some(4), "a renewal needs no room");
        assert_eq!(cache.entries.len(), 2);
    }
}
