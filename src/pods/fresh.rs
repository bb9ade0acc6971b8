//! Pods that are kept whole between their event and the creation of their groups, as far as there is room; the others are read
//! again.
//!
//! Room is counted in bytes: a pod of a megabyte and a half of YAML may have sixty thousand variables, and take twenty times as much
//! here. Where nothing is made for now, in a namespace that is not allowed for one, pods wait for ever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use super::watch::Weighed;
use crate::translate::PodKey;

/// All pods of a node that are kept.
const MOST: usize = 16 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    kept: HashMap<PodKey, Kept>,
    bytes: usize,
    large: HashSet<PodKey>,
}

#[derive(Debug)]
struct Kept {
    since: Instant,
    pod: Arc<Pod>,
    bytes: usize,
}

impl Fresh {
    /// A pod that was not there before. It is kept when it came at a time at which it will soon be needed. One that is too large
    /// for that comes without itself: few such are in memory at once.
    pub(super) fn add(&mut self, key: PodKey, pod: Option<Weighed>, since: Option<Instant>) {
        let Some(Weighed { pod, bytes }) = pod else {
            self.large.insert(key);
            return;
        };
        if let Some(since) = since
            && self.bytes + bytes <= MOST
        {
            self.bytes += bytes;
            self.kept.insert(key, Kept { since, pod, bytes });
        }
    }

    /// A pod that was there is another now.
    pub(super) fn change(&mut self, key: PodKey, pod: Option<Weighed>) {
        if let Some((since, _)) = self.take(&key) {
            self.add(key, pod, Some(since));
        }
    }

    /// The pod, which is not kept any more, and since when it was.
    pub(super) fn take(&mut self, key: &PodKey) -> Option<(Instant, Arc<Pod>)> {
        let kept = self.kept.remove(key)?;
        self.bytes -= kept.bytes;
        Some((kept.since, kept.pod))
    }

    /// The pod is gone.
    pub(super) fn forget(&mut self, key: &PodKey) {
        self.take(key);
        self.large.remove(key);
    }

    pub(super) fn is_large(&self, key: &PodKey) -> bool {
        self.large.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(bytes: usize) -> Weighed {
        let pod = Arc::default();
        Weighed { pod, bytes }
    }

    fn key(n: usize) -> PodKey {
        PodKey {
            namespace: "ns".to_owned(),
            name: format!("p-{n}"),
            uid: n.to_string(),
        }
    }

    #[test]
    fn what_waits_for_its_creation_has_a_bounded_number_of_bytes() {
        let now = Some(Instant::now());
        let mut fresh = Fresh::default();
        for n in 0..300 {
            fresh.add(key(n), Some(pod(900_000)), now);
        }
        assert!(fresh.bytes <= MOST && (15..20).contains(&fresh.kept.len()));
        assert!(!fresh.is_large(&key(299)));
        let large = key(999);
        fresh.add(large.clone(), None, now);
        assert!(fresh.is_large(&large) && fresh.take(&large).is_none());
        fresh.forget(&large);
        assert!(!fresh.is_large(&large));
        let before = fresh.kept.len();
        fresh.change(key(0), Some(pod(10)));
        assert_eq!(fresh.kept.len(), before);
        for n in 0..300 {
            fresh.forget(&key(n));
        }
        assert_eq!((fresh.bytes, fresh.kept.len()), (0, 0));
    }

    #[test]
    fn ordinary_pods_have_room_by_the_hundred() {
        let now = Some(Instant::now());
        let mut fresh = Fresh::default();
        for n in 0..256 {
            fresh.add(key(n), Some(pod(50_000)), now);
        }
        assert_eq!(fresh.kept.len(), 256);
        let (since, _) = fresh.take(&key(7)).unwrap();
        assert_eq!(Some(since), now);
    }
}
