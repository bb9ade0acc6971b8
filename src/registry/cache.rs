//! Answers that are kept for a while and asked for once, however many want them at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Answers by key, [`Cache::CAPACITY`] at most.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    slots: Mutex<HashMap<K, Arc<Slot<V>>>>,
}

/// An answer and until when it counts; empty while somebody asks.
type Slot<V> = OnceCell<(Instant, V)>;

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self {
            slots: Mutex::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// Keys that are kept.
    pub(super) const CAPACITY: usize = 512;

    /// The answer that is kept for `key`, or what `ask` answers together with how long that counts. Of several callers at
    /// once one asks; when it is cancelled, another asks anew.
    pub(super) async fn get<F>(&self, key: K, ask: impl FnOnce() -> F) -> V
    where
        F: Future<Output = (V, Duration)>,
    {
        let slot = self.slot(key);
        let ask = || async {
            let (value, counts) = ask().await;
            (Instant::now() + counts, value)
        };
        slot.get_or_init(ask).await.1.clone()
    }

    fn slot(&self, key: K) -> Arc<Slot<V>> {
        let now = Instant::now();
        let until = |slot: &Slot<V>| slot.get().map(|(until, _)| *until);
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(&key)
            && until(slot).is_none_or(|until| until > now)
        {
            return Arc::clone(slot);
        }
        if slots.len() >= Self::CAPACITY {
            slots.retain(|_, slot| until(slot).is_none_or(|until| until > now));
        }
        // Still full: the one that would go first goes, and of those that are being asked for any.
        if slots.len() >= Self::CAPACITY {
            let first = slots
                .iter()
                .min_by_key(|(_, slot)| until(slot).map_or((true, now), |until| (false, until)))
                .map(|(key, _)| key.clone());
            if let Some(first) = first {
                slots.remove(&first);
            }
        }
        let slot = Arc::new(OnceCell::new());
        slots.insert(key, Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    struct Asked(AtomicU32);

    impl Asked {
        async fn ask(&self, takes: Duration) -> (u32, Duration) {
            let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(takes).await;
            (count, MINUTE)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_ask_once_and_the_answer_ages() {
        let cache = Cache::<u32, u32>::default();
        let asked = Asked(AtomicU32::new(0));
        let second = Duration::from_secs(1);
        let all = (0..100).map(|_| cache.get(1, || asked.ask(second)));
        assert_eq!(futures::future::join_all(all).await, [1; 100]);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(cache.get(1, || asked.ask(second)).await, 1);
        tokio::time::advance(second).await;
        assert_eq!(cache.get(1, || asked.ask(second)).await, 2);
        assert_eq!(cache.get(2, || asked.ask(second)).await, 3, "another key");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gives_up_leaves_the_asking_to_the_next() {
        let cache = Cache::<u32, u32>::default();
        let asked = Asked(AtomicU32::new(0));
        let first = cache.get(1, || asked.ask(MINUTE));
        let second = cache.get(1, || asked.ask(Duration::ZERO));
        let gives_up = tokio::time::timeout(Duration::from_secs(1), first);
        let (gave_up, answer) = futures::join!(gives_up, second);
        assert!(gave_up.is_err());
        assert_eq!(answer, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_grow_without_end() {
        type Small = Cache<usize, usize>;
        let cache = Small::default();
        for n in 0..Small::CAPACITY + 10 {
            let counts = MINUTE + Duration::from_secs(n as u64);
            cache.get(n, || async move { (n, counts) }).await;
        }
        let slots = cache.slots.lock();
        assert_eq!(slots.len(), Small::CAPACITY);
        assert!(!slots.contains_key(&0) && slots.contains_key(&(Small::CAPACITY + 9)));
    }
}
