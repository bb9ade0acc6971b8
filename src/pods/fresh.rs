//! Pods that are kept whole between their event and the creation of their groups, as far as there is room; the others are read
//! again.
//!
//! Room is counted in bytes: a pod of a megabyte and a half of YAML may have sixty thousand variables, and take twenty times as much
//! here. Where nothing is made for now, in a namespace that is not allowed for one, pods wait for ever.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::time::Instant;

use crate::translate::{PodKey, json_length};

/// All pods of a node that are kept.
const MOST: usize = 16 << 20;
/// A pod that takes more is not kept, and few of them are translated at once.
const LARGE: usize = 1 << 20;

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
    /// A pod that was not there before. It is kept when it came at a time at which it will soon be needed.
    pub(super) fn add(&mut self, key: PodKey, pod: Arc<Pod>, since: Option<Instant>) {
        let bytes = weight(&pod);
        if bytes > LARGE {
            self.large.insert(key);
        } else if let Some(since) = since
            && self.bytes + bytes <= MOST
        {
            self.bytes += bytes;
            self.kept.insert(key, Kept { since, pod, bytes });
        }
    }

    /// A pod that was there is another now.
    pub(super) fn change(&mut self, key: PodKey, pod: Arc<Pod>) {
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

/// About how many bytes of memory a pod takes: its text, and the largest of the structures that hold it. PURE.
fn weight(pod: &Pod) -> usize {
    let text = json_length(pod);
    let Some(spec) = &pod.spec else {
        return text;
    };
    let inits = spec.init_containers.iter().flatten();
    let containers = spec.containers.iter().chain(inits).map(|container| {
        size_of::<Container>()
            + held(container.env.as_ref())
            + held(container.ports.as_ref())
            + held(container.volume_mounts.as_ref())
    });
    text + held(spec.volumes.as_ref()) + containers.sum::<usize>()
}

fn held<T>(items: Option<&Vec<T>>) -> usize {
    items.map_or(0, |items| size_of_val(items.as_slice()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(variables: usize, text: usize) -> Arc<Pod> {
        let env: Vec<_> = (0..variables)
            .map(|n| json!({"name": format!("A{n}")}))
            .collect();
        let pod = json!({
            "metadata": {"name": "p", "annotations": {"a": "x".repeat(text)}},
            "spec": {"containers": [{"name": "c", "env": env}]},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
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
            fresh.add(key(n), pod(1, 900_000), now);
        }
        assert!(fresh.bytes <= MOST && (15..20).contains(&fresh.kept.len()));
        assert!(!fresh.is_large(&key(299)));
        // Twenty bytes of YAML each, and much more in memory.
        let large = key(999);
        fresh.add(large.clone(), pod(60_000, 0), now);
        assert!(fresh.is_large(&large) && fresh.take(&large).is_none());
        fresh.forget(&large);
        assert!(!fresh.is_large(&large));
        let before = fresh.kept.len();
        fresh.change(key(0), pod(1, 10));
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
            fresh.add(key(n), pod(50, 5_000), now);
        }
        assert_eq!(fresh.kept.len(), 256);
        let (since, _) = fresh.take(&key(7)).unwrap();
        assert_eq!(Some(since), now);
    }
}
