//! Watches and audits that miss nothing: from a moment on.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fixture::{Fixture, text};
use super::site::plane;

/// Events of a watch, in their order.
pub(crate) struct Watch<K>(BoxStream<'static, kube::Result<WatchEvent<K>>>);

/// What happened to an object, and the object after it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) what: &'static str,
    pub(crate) object: Value,
}

impl<K> Watch<K>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize + Send + 'static,
{
    /// Everything after `version`. `fields` is a field selector, or empty.
    pub(crate) async fn start(api: &Api<K>, fields: &str, version: &str) -> Self {
        let mut params = WatchParams::default().timeout(120);
        if !fields.is_empty() {
            params = params.fields(fields);
        }
        let stream = api.watch(&params, version).await.unwrap();
        Self(stream.boxed())
    }

    /// The next event; `None` when there is none for so long.
    pub(crate) async fn next(&mut self, within: Duration) -> Option<Seen> {
        let deadline = tokio::time::Instant::now() + within;
        let event = loop {
            let event = tokio::time::timeout_at(deadline, self.0.try_next())
                .await
                .ok()?
                .unwrap()
                .expect("the watch ended");
            // The API server sends them about once a minute: nothing has happened.
            if !matches!(event, WatchEvent::Bookmark(_)) {
                break event;
            }
        };
        let (what, object) = match event {
            WatchEvent::Added(object) => ("added", object),
            WatchEvent::Modified(object) => ("modified", object),
            WatchEvent::Deleted(object) => ("deleted", object),
            other => panic!("the watch says {other:?}"),
        };
        Some(Seen {
            what,
            object: serde_json::to_value(object).unwrap(),
        })
    }

    /// All events of the time to come.
    pub(crate) async fn all_of(&mut self, time: Duration) -> Vec<Seen> {
        let mut seen = Vec::new();
        let end = tokio::time::Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            match self.next(left).await {
                Some(event) => seen.push(event),
                None => return seen,
            }
        }
    }
}

/// What the API server was asked to write, by its audit log. Unlike a watch it shows writes that change nothing.
pub(crate) struct Audit(usize);

impl Audit {
    /// From now on.
    pub(crate) async fn start() -> Self {
        Self(Self::read().await.len())
    }

    async fn read() -> String {
        std::fs::read_to_string(plane().await.audit_log()).unwrap()
    }

    /// Writes of the node of `os`, and of the operator to that Node, as `verb resource name`. Leases are not told.
    pub(crate) async fn writes(&self, fixture: &Fixture, os: &str) -> Vec<String> {
        let node = fixture.node_name(os);
        let log = Self::read().await.split_off(self.0);
        let entries = log.lines().filter_map(|line| {
            let entry: Value = serde_json::from_str(line).ok()?;
            let (verb, object) = (text(&entry["verb"]), &entry["objectRef"]);
            let resource = text(&object["resource"]);
            let by_node = entry["impersonatedUser"]["username"] == format!("system:node:{node}");
            let to_node = resource == "nodes"
                && object["name"] == node
                && entry["user"]["username"] == "system:serviceaccount:vkc-system:vkc";
            let is_write = matches!(verb, "create" | "update" | "patch" | "delete");
            (is_write && (by_node || to_node) && resource != "leases").then(|| {
                let (part, name) = (text(&object["subresource"]), text(&object["name"]));
                format!("{verb} {resource}/{part} {name}")
            })
        });
        entries.collect()
    }
}
