//! The pods bound to one node, as inputs of the index.
//!
//! A list and a watch with the field selector `spec.nodeName`, not a cache: each pod becomes a slim record at once. A
//! relist yields exact departures, because the set of UIDs that it showed is compared with the one before.

use std::collections::HashSet;
use std::sync::Arc;

use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use kube_runtime::watcher as start_watcher;
use kube_runtime::watcher::{self, Event};

use crate::kube::sent::SmallPod;
use crate::kube::watches::steady;
use crate::translate::{PodFacts, PodKey, facts};

/// Server-side end of each watch: a connection that died silently is noticed within this time.
const WATCH_SECONDS: u32 = 90;
/// Pods in one page of a list, which are in memory at once. The longest that an API server takes have three megabytes of text each.
/// A thousand pods are 125 pages of a few milliseconds.
const PAGE: u32 = 8;
/// A pod as it is watched. One that is large is read again when its group is made.
pub type WatchedPod = SmallPod;

/// A change of the pods of the node.
#[derive(Debug)]
pub enum Change {
    /// A pod was added or changed. The pod itself is for the worker that may be about to need it; `None` when it is too large for
    /// that.
    Applied(Box<PodFacts>, Option<Weighed>),
    /// A pod is no longer in the API server.
    Gone(PodKey),
    /// A complete list has been told.
    Synced,
    /// The watch failed and will be started again.
    Failed(String),
}

/// A pod, and about how many bytes of memory it takes.
#[derive(Debug, Clone)]
pub struct Weighed {
    pub pod: Arc<Pod>,
    pub bytes: usize,
}

/// Watches the pods of `node` for ever; see [`steady`] for what happens between failures.
pub fn changes(client: Client, node: &str) -> impl Stream<Item = Change> + Send + use<> {
    translate(steady(start_watcher(
        Api::<WatchedPod>::all(client),
        config(node),
    )))
}

fn config(node: &str) -> watcher::Config {
    watcher::Config::default()
        .fields(&format!("spec.nodeName={node}"))
        .timeout(WATCH_SECONDS)
        .page_size(PAGE)
}

/// Turns watch events into changes, keeping the set of pods to tell departures across relists.
pub fn translate<S, E>(events: S) -> impl Stream<Item = Change> + Send
where
    S: Stream<Item = Result<Event<WatchedPod>, E>> + Send,
    E: std::fmt::Display + Send,
{
    let mut known = Known::default();
    events.flat_map(move |event| futures::stream::iter(known.take(event)))
}

#[derive(Default)]
struct Known {
    now: HashSet<PodKey>,
    listed: HashSet<PodKey>,
}

impl Known {
    fn take<E: std::fmt::Display>(&mut self, event: Result<Event<WatchedPod>, E>) -> Vec<Change> {
        match event {
            Ok(Event::Init) => {
                self.listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(sent)) => {
                if let Some(key) = PodKey::of(&sent.pod) {
                    self.listed.insert(key);
                }
                self.applied(sent)
            }
            Ok(Event::InitDone) => {
                let listed = std::mem::take(&mut self.listed);
                let before = std::mem::replace(&mut self.now, listed);
                let gone = before.into_iter().filter(|key| !self.now.contains(key));
                gone.map(Change::Gone)
                    .chain(std::iter::once(Change::Synced))
                    .collect()
            }
            Ok(Event::Apply(sent)) => self.applied(sent),
            Ok(Event::Delete(sent)) => PodKey::of(&sent.pod)
                .map(|key| {
                    self.now.remove(&key);
                    vec![Change::Gone(key)]
                })
                .unwrap_or_default(),
            Err(error) => vec![Change::Failed(error.to_string())],
        }
    }

    fn applied(&mut self, sent: WatchedPod) -> Vec<Change> {
        let Some(facts) = facts(&sent.pod) else {
            return Vec::new();
        };
        self.now.insert(facts.key.clone());
        let whole = sent.excess.is_none().then(|| Weighed {
            pod: Arc::new(sent.pod),
            bytes: sent.bytes,
        });
        vec![Change::Applied(Box::new(facts), whole)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::sent::SMALL_POD;
    use k8s_openapi::api::core::v1::{Container, PodSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn pod(name: &str, uid: &str) -> WatchedPod {
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("default".into()),
                uid: Some(uid.into()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                node_name: Some("node".into()),
                containers: vec![Container {
                    name: "c".into(),
                    ..Container::default()
                }],
                ..PodSpec::default()
            }),
            status: None,
        };
        serde_json::from_str(&serde_json::to_string(&pod).unwrap()).unwrap()
    }

    async fn told(events: Vec<Event<WatchedPod>>) -> Vec<String> {
        let events =
            futures::stream::iter(events.into_iter().map(Ok::<_, std::convert::Infallible>));
        translate(events)
            .map(|change| match change {
                Change::Applied(facts, _) => format!("+{}", facts.key.uid),
                Change::Gone(key) => format!("-{}", key.uid),
                Change::Synced => "synced".into(),
                Change::Failed(_) => "failed".into(),
            })
            .collect()
            .await
    }

    /// Otherwise a process that starts anew dies of the pods that it finds, and again.
    #[test]
    fn a_page_of_the_largest_pods_fits_into_the_memory() {
        let pages = config("n").page_size.unwrap() as usize;
        // Its text is there twice.
        let largest = SMALL_POD + 2 * (3 << 20);
        assert!(pages * largest <= 56 << 20);
    }

    #[tokio::test]
    async fn a_pod_that_is_too_large_to_be_kept_is_told_without_itself() {
        let mut large = pod("a", "1").pod;
        let spec = large.spec.as_mut().unwrap();
        let env = (0..60_000).map(|n| k8s_openapi::api::core::v1::EnvVar {
            name: format!("A{n}"),
            ..Default::default()
        });
        spec.containers[0].env = Some(env.collect());
        let large: WatchedPod =
            serde_json::from_str(&serde_json::to_string(&large).unwrap()).unwrap();
        let events = [
            Event::Init,
            Event::InitApply(large),
            Event::Apply(pod("b", "2")),
        ];
        let events = futures::stream::iter(events.map(Ok::<_, std::convert::Infallible>));
        let told: Vec<_> = translate(events)
            .filter_map(async |change| match change {
                Change::Applied(facts, pod) => Some((facts.key.uid, pod.is_some())),
                _ => None,
            })
            .collect()
            .await;
        assert_eq!(told, [("1".to_owned(), false), ("2".to_owned(), true)]);
    }

    #[tokio::test]
    async fn a_relist_tells_exactly_what_departed() {
        let events = vec![
            Event::Init,
            Event::InitApply(pod("a", "1")),
            Event::InitApply(pod("b", "2")),
            Event::InitDone,
            Event::Apply(pod("c", "3")),
            Event::Init,
            Event::InitApply(pod("a", "1")),
            Event::InitDone,
        ];
        let mut told = told(events).await;
        let last = told.split_off(5);
        assert_eq!(told, ["+1", "+2", "synced", "+3", "+1"]);
        let mut gone: Vec<_> = last.into_iter().collect();
        gone.sort();
        assert_eq!(gone, ["-2", "-3", "synced"]);
    }

    #[tokio::test]
    async fn a_pod_recreated_under_its_name_is_another_pod() {
        let events = vec![
            Event::Init,
            Event::InitApply(pod("a", "1")),
            Event::InitDone,
            Event::Init,
            Event::InitApply(pod("a", "2")),
            Event::InitDone,
        ];
        assert_eq!(told(events).await, ["+1", "synced", "+2", "-1", "synced"]);
    }

    #[tokio::test]
    async fn a_delete_is_told_by_its_uid() {
        let events = vec![
            Event::Init,
            Event::InitDone,
            Event::Apply(pod("a", "1")),
            Event::Delete(pod("a", "1")),
        ];
        assert_eq!(told(events).await, ["synced", "+1", "-1"]);
    }
}
