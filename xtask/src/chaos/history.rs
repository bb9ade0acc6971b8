//! Watches for the whole run: what each pod went through, and when nodes were Ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, Event};
use tokio::task::JoinHandle;

use super::world::{PodHistory, PodSeen, Readiness, Time};

/// The watch. It ends with its owner.
pub(super) struct History {
    pods: Arc<Mutex<Pods>>,
    nodes: Arc<Mutex<Vec<Readiness>>>,
    outages: Mutex<Vec<(Time, Time)>>,
    tasks: [JoinHandle<()>; 2],
}

/// What is known, by UID. PURE.
#[derive(Debug, Default)]
pub(super) struct Pods {
    known: BTreeMap<String, PodHistory>,
    /// UIDs of a list that is still coming.
    listed: Option<Vec<String>>,
}

impl Pods {
    pub(super) fn applied(&mut self, pod: &PodSeen, now: Time) {
        if let Some(listed) = &mut self.listed {
            listed.push(pod.uid.clone());
        }
        let known = self.known.entry(pod.uid.clone()).or_default();
        known.name.clone_from(&pod.name);
        known.policy.clone_from(&pod.policy);
        known.job.clone_from(&pod.job);
        known.untouched = pod.untouched;
        let last = known
            .phases
            .last()
            .map(|(_, phase, reason)| (phase.as_str(), reason.as_str()));
        if last != Some((&pod.phase, &pod.reason)) {
            known
                .phases
                .push((now, pod.phase.clone(), pod.reason.clone()));
        }
        if pod.deleting.is_some() {
            known.going.get_or_insert(now);
        } else {
            known.last_alive = Some(now);
        }
    }

    pub(super) fn deleted(&mut self, pod: &PodSeen, now: Time) {
        // The last words of a pod that was deleted at once may be its only ones.
        self.applied(pod, now);
        if let Some(known) = self.known.get_mut(&pod.uid) {
            known.going.get_or_insert(now);
            known.gone = Some(now);
        }
    }

    pub(super) fn list_begins(&mut self) {
        self.listed = Some(Vec::new());
    }

    /// What the list has not shown is gone; when, nobody saw.
    pub(super) fn list_ends(&mut self, now: Time) {
        let listed = self.listed.take().unwrap_or_default();
        for (uid, known) in &mut self.known {
            if known.gone.is_none() && !listed.contains(uid) {
                known.going.get_or_insert(now);
                known.gone = Some(now);
            }
        }
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    pub(super) fn start(client: &Client) -> Self {
        let api = Api::<Pod>::all(client.clone());
        let pods = Arc::new(Mutex::new(Pods::default()));
        let kept = Arc::clone(&pods);
        let task = tokio::spawn(async move {
            // Short steps back: an API server that restarts is back within seconds.
            let mut events = watcher::watcher(api, watcher::Config::default())
                .backoff(watcher::DefaultBackoff::default())
                .boxed();
            while let Some(event) = events.next().await {
                let now = Utc::now();
                let mut pods = locked(&kept);
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                        pods.applied(&PodSeen::of(&pod), now);
                    }
                    Ok(Event::Delete(pod)) => pods.deleted(&PodSeen::of(&pod), now),
                    Ok(Event::Init) => pods.list_begins(),
                    Ok(Event::InitDone) => pods.list_ends(now),
                    Err(_) => {}
                }
            }
        });
        let nodes = Arc::new(Mutex::new(Vec::new()));
        let tasks = [task, tokio::spawn(watch_nodes(client, &nodes))];
        Self {
            pods,
            nodes,
            outages: Mutex::default(),
            tasks,
        }
    }

    /// When nodes became Ready, and when they were not any more.
    pub(super) fn nodes(&self) -> Vec<Readiness> {
        locked(&self.nodes).clone()
    }

    /// The API server, etcd or all operators were away.
    pub(super) fn was_away(&self, from: Time, to: Time) {
        locked(&self.outages).push((from, to));
    }

    pub(super) fn outages(&self) -> Vec<(Time, Time)> {
        locked(&self.outages).clone()
    }

    /// All that was seen until now.
    pub(super) fn pods(&self) -> BTreeMap<String, PodHistory> {
        locked(&self.pods).known.clone()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn watch_nodes(
    client: &Client,
    kept: &Arc<Mutex<Vec<Readiness>>>,
) -> impl Future<Output = ()> + Send + 'static {
    let (api, kept) = (Api::<Node>::all(client.clone()), Arc::clone(kept));
    async move {
        let mut events = watcher::watcher(api, watcher::Config::default())
            .backoff(watcher::DefaultBackoff::default())
            .boxed();
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(node) | Event::InitApply(node)) = event {
                note_node(&mut locked(&kept), &node, Utc::now());
            }
        }
    }
}

/// Notes a change of the condition Ready.
fn note_node(kept: &mut Vec<Readiness>, node: &Node, now: Time) {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let ready = conditions
        .unwrap_or_default()
        .iter()
        .find(|it| it.type_ == "Ready");
    let (ready, reason) = ready.map_or((false, ""), |it| {
        (
            it.status == "True",
            it.reason.as_deref().unwrap_or_default(),
        )
    });
    let node = node.metadata.name.as_deref().unwrap_or_default();
    let last = kept.iter().rev().find(|known| known.node == node);
    if last.is_none_or(|known| known.ready != ready) {
        kept.push(Readiness {
            at: now,
            node: node.to_owned(),
            ready,
            reason: reason.to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn pod(uid: &str, phase: &str) -> PodSeen {
        PodSeen {
            phase: phase.to_owned(),
            ..crate::chaos::check::fixture::pod(uid)
        }
    }

    fn at(seconds: i64) -> Time {
        Time::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn phases_are_noted_when_they_change() {
        let mut pods = Pods::default();
        for (second, phase) in [(1, "Pending"), (2, "Pending"), (3, "Running")] {
            pods.applied(&pod("a", phase), at(second));
        }
        let known = &pods.known["a"];
        assert_eq!(known.phases.len(), 2);
        assert_eq!(
            (known.first(&["Running"]), known.last_alive),
            (Some(at(3)), Some(at(3)))
        );
        assert_eq!((known.going, known.gone), (None, None));
    }

    #[test]
    fn a_deletion_begins_with_its_timestamp_and_ends_with_the_event() {
        let mut pods = Pods::default();
        pods.applied(&pod("a", "Running"), at(1));
        let mut going = pod("a", "Running");
        going.deleting = Some(at(9));
        pods.applied(&going, at(2));
        pods.deleted(&going, at(3));
        let known = &pods.known["a"];
        assert_eq!(
            (known.last_alive, known.going, known.gone),
            (Some(at(1)), Some(at(2)), Some(at(3)))
        );
    }

    #[test]
    fn what_a_new_list_does_not_show_is_gone() {
        let mut pods = Pods::default();
        pods.applied(&pod("a", "Running"), at(1));
        pods.applied(&pod("b", "Running"), at(1));
        pods.list_begins();
        pods.applied(&pod("b", "Running"), at(5));
        pods.list_ends(at(6));
        assert_eq!(pods.known["a"].gone, Some(at(6)));
        assert_eq!(pods.known["b"].gone, None);
    }

    #[test]
    fn a_node_is_noted_when_it_becomes_ready_or_is_not_any_more() {
        let node = |status: &str| -> Node {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "n"},
                "status": {"conditions": [{"type": "Ready", "status": status, "reason": "R"}]},
            }))
            .unwrap()
        };
        let mut kept = Vec::new();
        for (second, status) in [(1, "False"), (2, "True"), (3, "True"), (4, "Unknown")] {
            note_node(&mut kept, &node(status), at(second));
        }
        let told: Vec<_> = kept.iter().map(|it| (it.at, it.ready)).collect();
        assert_eq!(told, [(at(1), false), (at(2), true), (at(4), false)]);
    }
}
