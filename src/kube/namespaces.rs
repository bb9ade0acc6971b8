//! The labels of all namespaces, followed while they change: one watch for the process, of metadata only.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use kube_runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;

use super::watches::steady;

/// A watch that says nothing is renewed after so many seconds, so that a dead connection is noticed.
const WATCH_SECONDS: u32 = 90;

/// Labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// The namespaces as they were last seen. A copy costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    labels: Arc<BTreeMap<String, Arc<Labels>>>,
    /// Why there is no list yet.
    problem: Option<Arc<str>>,
}

impl Namespaces {
    /// The labels of a namespace; `None` when it has not been seen, or not yet.
    pub fn labels(&self, namespace: &str) -> Option<&Labels> {
        self.labels.get(namespace).map(Arc::as_ref)
    }

    /// Why no list of them has arrived, where that is known.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

impl FromIterator<(String, Labels)> for Namespaces {
    fn from_iter<T: IntoIterator<Item = (String, Labels)>>(all: T) -> Self {
        let labels = all.into_iter();
        let labels = labels.map(|(name, labels)| (name, Arc::new(labels)));
        Self {
            labels: Arc::new(labels.collect()),
            problem: None,
        }
    }
}

/// A place for the namespaces, empty at first, and what [`follow`] fills it through.
pub fn channel() -> (watch::Sender<Namespaces>, watch::Receiver<Namespaces>) {
    watch::channel(Namespaces::default())
}

/// Keeps the namespaces up to date, for ever. While the watch fails they stay as they were.
pub async fn follow(client: Client, sender: watch::Sender<Namespaces>) {
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let events = watcher(Api::<PartialObjectMeta<Namespace>>::all(client), config);
    keep(steady(events), &sender).await;
}

async fn keep<E: std::fmt::Display>(
    events: impl Stream<Item = Result<Event<PartialObjectMeta<Namespace>>, E>>,
    sender: &watch::Sender<Namespaces>,
) {
    let mut events = std::pin::pin!(events);
    let mut listing = BTreeMap::new();
    let mut listed = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(namespace)) => {
                listing.insert(namespace.name_any(), labels(namespace));
            }
            Ok(Event::InitDone) => {
                listed = true;
                let now = Namespaces {
                    labels: Arc::new(std::mem::take(&mut listing)),
                    problem: None,
                };
                sender.send_if_modified(|known| {
                    let differs = *known != now;
                    *known = now;
                    differs
                });
            }
            Ok(Event::Apply(namespace)) => apply(sender, namespace),
            Ok(Event::Delete(namespace)) => {
                sender.send_if_modified(|known| {
                    Arc::make_mut(&mut known.labels)
                        .remove(&namespace.name_any())
                        .is_some()
                });
            }
            Err(error) => {
                tracing::debug!(%error, "the watch of namespaces failed; it is being started again");
                if !listed {
                    let problem = Some(error.to_string().into());
                    let new = sender.send_if_modified(|known| {
                        let differs = known.problem != problem;
                        known.problem = problem;
                        differs
                    });
                    if new {
                        tracing::warn!(%error, "the labels of namespaces cannot be read; connectors with allowedNamespaces start no pods");
                    }
                }
            }
        }
    }
}

/// Nobody is woken by a change that leaves the labels as they were.
fn apply(sender: &watch::Sender<Namespaces>, namespace: PartialObjectMeta<Namespace>) {
    let (name, labels) = (namespace.name_any(), labels(namespace));
    sender.send_if_modified(|known| {
        if known.labels.get(&name) == Some(&labels) {
            return false;
        }
        Arc::make_mut(&mut known.labels).insert(name, labels);
        true
    });
}

fn labels(namespace: PartialObjectMeta<Namespace>) -> Arc<Labels> {
    Arc::new(namespace.metadata.labels.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::api::ObjectMeta;

    fn namespace(name: &str, label: &str) -> PartialObjectMeta<Namespace> {
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([("aci".to_owned(), label.to_owned())])),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    fn seen(now: &Namespaces) -> Vec<(&str, &str)> {
        let all = now.labels.iter();
        all.map(|(name, labels)| (name.as_str(), labels["aci"].as_str()))
            .collect()
    }

    #[tokio::test]
    async fn labels_are_what_the_last_list_and_the_changes_since_say() {
        let (sender, mut now) = channel();
        let mut tell = async |events: Vec<Result<Event<_>, &'static str>>| {
            keep(futures::stream::iter(events), &sender).await;
            let woken = now.has_changed().unwrap();
            (now.borrow_and_update().clone(), woken)
        };
        let (known, woken) = tell(vec![Err("forbidden")]).await;
        assert_eq!((known.problem(), woken), (Some("forbidden"), true));
        let (known, woken) = tell(vec![
            Ok(Event::Init),
            Ok(Event::InitApply(namespace("a", "no"))),
            Ok(Event::InitApply(namespace("b", "yes"))),
        ])
        .await;
        assert_eq!((seen(&known), woken), (vec![], false), "half a list");
        let (known, woken) = tell(vec![
            Ok(Event::Init),
            Ok(Event::InitApply(namespace("a", "no"))),
            Ok(Event::InitApply(namespace("b", "yes"))),
            Ok(Event::InitDone),
            Err("a watch that breaks later changes nothing"),
        ])
        .await;
        assert_eq!(seen(&known), [("a", "no"), ("b", "yes")]);
        assert_eq!((known.problem(), woken), (None, true));
        assert_eq!(known.labels("c"), None);
        let (known, woken) = tell(vec![Ok(Event::Apply(namespace("a", "no")))]).await;
        assert_eq!((seen(&known).len(), woken), (2, false), "nothing is new");
        let (known, woken) = tell(vec![
            Ok(Event::Apply(namespace("a", "yes"))),
            Ok(Event::Delete(namespace("b", "yes"))),
        ])
        .await;
        assert_eq!((seen(&known), woken), (vec![("a", "yes")], true));
    }
}
