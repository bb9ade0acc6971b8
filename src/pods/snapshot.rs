//! What the node's pods are doing, for those who ask the node: the pods' loop publishes it, and the kubelet API reads it
//! instead of asking the API server at each scrape. PURE.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;

use crate::translate::{ContainerFacts, PodFacts, PodKey, VolumeSources};
use crate::watched::set_if_changed;

/// A container that runs, by what the API server has or is about to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    pub name: Box<str>,
    /// Image as the pod spells it.
    pub image: Box<str>,
    /// Whether it is one of `spec.initContainers`.
    pub init: bool,
    /// Since when; 1970 when that is not known.
    pub since: Timestamp,
}

/// A pod of which a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPod {
    pub key: PodKey,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// The containers that run, init containers first; never empty.
    pub containers: Box<[RunningContainer]>,
    /// What the files of its volumes are made of; `None` also of a pod that ends.
    pub volumes: Option<Arc<VolumeSources>>,
}

impl RunningPod {
    /// The pod, when a container of it runs.
    pub fn of(facts: &PodFacts) -> Option<Self> {
        let inits = facts.init_containers.iter().map(|it| running(it, true));
        let others = facts.containers.iter().map(|it| running(it, false));
        let containers: Box<[_]> = inits.chain(others).flatten().collect();
        (!containers.is_empty()).then(|| Self {
            key: facts.key.clone(),
            created: facts.created,
            started: facts.start_time,
            containers,
            volumes: facts.volumes.clone().filter(|_| facts.deletion.is_none()),
        })
    }
}

fn running(container: &ContainerFacts, init: bool) -> Option<RunningContainer> {
    Some(RunningContainer {
        name: container.name.clone(),
        image: container.image.clone(),
        init,
        since: container.running?,
    })
}

/// The pods of a node that run, by namespace and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodePods {
    /// Sorted by their keys.
    pub running: Vec<Arc<RunningPod>>,
}

impl NodePods {
    /// Those of `records` that run.
    pub fn from_records<'a>(records: impl Iterator<Item = &'a PodFacts>) -> Self {
        let mut running: Vec<Arc<RunningPod>> =
            records.filter_map(RunningPod::of).map(Arc::new).collect();
        running.sort_by(|a, b| a.key.cmp(&b.key));
        Self { running }
    }
}

/// Who publishes the pods of a node.
pub type Sender = watch::Sender<Arc<NodePods>>;
pub type Receiver = watch::Receiver<Arc<NodePods>>;

/// A snapshot of a node without pods, and who will change it.
pub fn channel() -> (Sender, Receiver) {
    watch::channel(Arc::default())
}

/// Publishes `records` when they say something else than what is published.
pub fn publish<'a>(sender: &Sender, records: impl Iterator<Item = &'a PodFacts>) {
    set_if_changed(sender, Arc::new(NodePods::from_records(records)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::translate::facts;

    fn record(name: &str, [init, main]: [&str; 2]) -> PodFacts {
        let status = |name: &str, state: &str| {
            json!([{"name": name, "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {state: match state {
                "running" => json!({"startedAt": "2026-01-01T00:00:07Z"}),
                "terminated" => json!({"exitCode": 0}),
                _ => json!({}),
            }}}])
        };
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n", "initContainers": [{"name": "i", "image": "im/i"}],
                     "containers": [{"name": "c", "image": "im/c"}]},
            "status": {"startTime": "2026-01-01T00:00:01Z",
                "initContainerStatuses": status("i", init), "containerStatuses": status("c", main)},
        });
        facts(&serde_json::from_value(pod).unwrap()).unwrap()
    }

    #[test]
    fn pods_that_run_are_there_with_what_runs() {
        let records = [
            record("web", ["terminated", "running"]),
            record("both", ["running", "running"]),
            record("new", ["waiting", "waiting"]),
            record("init", ["running", "waiting"]),
            record("done", ["terminated", "terminated"]),
        ];
        let pods = NodePods::from_records(records.iter());
        let told: Vec<_> = pods
            .running
            .iter()
            .map(|pod| {
                let containers = pod.containers.iter();
                let containers = containers.map(|it| (&*it.name, &*it.image, it.init));
                (pod.key.name.as_str(), containers.collect::<Vec<_>>())
            })
            .collect();
        let (i, c) = (("i", "im/i", true), ("c", "im/c", false));
        let should = [("both", vec![i, c]), ("init", vec![i]), ("web", vec![c])];
        assert_eq!(told, should);
        let at = |second: i64| Timestamp::from_second(1_767_225_600 + second).unwrap();
        let web = &pods.running[2];
        assert_eq!(
            (web.created, web.started, web.containers[0].since),
            (Some(at(0)), Some(at(1)), at(7))
        );
    }

    #[test]
    fn readers_are_woken_only_by_what_they_can_see() {
        let (sender, mut receiver) = channel();
        publish(&sender, [record("a", ["waiting", "waiting"])].iter());
        assert!(!receiver.has_changed().unwrap());
        publish(&sender, [record("a", ["waiting", "running"])].iter());
        assert!(receiver.has_changed().unwrap());
        assert_eq!(receiver.borrow_and_update().running.len(), 1);
        publish(&sender, [record("a", ["terminated", "running"])].iter());
        assert!(!receiver.has_changed().unwrap());
        publish(&sender, std::iter::empty());
        assert!(receiver.borrow_and_update().running.is_empty());
    }
}
