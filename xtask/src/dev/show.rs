//! What happens as it happens: one short line for each change of a connector, node, pod, and for each Event.

use std::collections::HashMap;
use std::time::Instant;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt as _};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, watcher};
use serde_json::Value;
use tokio::task::JoinSet;

/// Longest piece of an Event's message that is shown.
const MESSAGE_MAX: usize = 120;

/// The API of the connector, known here by name only.
pub(super) fn connector_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "virtual-kubelet.io",
        "v1alpha1",
        "VirtualKubeletConnector",
    ))
}

/// Watches until dropped.
pub(super) struct Show {
    _tasks: JoinSet<()>,
}

impl Show {
    pub(super) fn start(client: &Client, started: Instant) -> Self {
        let mut tasks = JoinSet::new();
        let connectors = Api::<DynamicObject>::all_with(client.clone(), &connector_resource());
        tasks.spawn(follow(connectors, "connector", started, connector_line));
        tasks.spawn(follow(Api::all(client.clone()), "node", started, node_line));
        tasks.spawn(follow(
            Api::namespaced(client.clone(), "default"),
            "pod",
            started,
            pod_line,
        ));
        tasks.spawn(follow(
            Api::namespaced(client.clone(), super::session::NAMESPACE),
            "lease",
            started,
            lease_line,
        ));
        tasks.spawn(follow(
            Api::all(client.clone()),
            "event",
            started,
            event_line,
        ));
        Self { _tasks: tasks }
    }
}

/// Prints an object's line when it differs from the one before. An empty line is not worth printing.
async fn follow<K>(api: Api<K>, kind: &str, started: Instant, line: fn(&K) -> String)
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let mut last: HashMap<String, String> = HashMap::new();
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                let new = line(&object);
                let name = object.name_any();
                if !new.is_empty() && last.get(&name) != Some(&new) {
                    print(started, kind, &name, &new);
                    last.insert(name, new);
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                let name = object.name_any();
                if kind != "event" && last.remove(&name).is_some() {
                    print(started, kind, &name, "gone");
                }
            }
            // The watch starts again by itself, and the steps report what really fails.
            Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
        }
    }
}

fn print(started: Instant, kind: &str, name: &str, line: &str) {
    let seconds = started.elapsed().as_secs_f64();
    if kind == "event" {
        println!("{seconds:6.1}s  {line}");
    } else {
        println!("{seconds:6.1}s  {kind} {name}: {line}");
    }
}

fn connector_line(connector: &DynamicObject) -> String {
    let conditions = connector
        .data
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    let text = |name: &str| {
        ready
            .and_then(|ready| ready.get(name))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let line = match ready {
        Some(_) => format!(
            "Ready={} {}: {}",
            text("status"),
            text("reason"),
            text("message")
        ),
        None => String::from("no status yet"),
    };
    deleting(connector.metadata.deletion_timestamp.is_some(), line)
}

/// Who holds it; that it was renewed is no news.
fn lease_line(lease: &Lease) -> String {
    let holder = lease.spec.as_ref();
    match holder.and_then(|spec| spec.holder_identity.as_deref()) {
        Some(holder) => format!("held by {holder}"),
        None => String::from("held by nobody"),
    }
}

fn node_line(node: &Node) -> String {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    let mut line = match ready.map(|ready| ready.status.as_str()) {
        Some("True") => String::from("Ready"),
        Some(_) => String::from("NotReady"),
        None => String::from("registered"),
    };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        line.push_str(", cordoned");
    }
    deleting(node.metadata.deletion_timestamp.is_some(), line)
}

fn pod_line(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let mut line = status.phase.unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let waiting = containers
        .iter()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .or(status.reason);
    if let Some(reason) = waiting {
        line = format!("{line} ({reason})");
    }
    if !containers.is_empty() {
        let ready = containers
            .iter()
            .filter(|container| container.ready)
            .count();
        line = format!("{line} {ready}/{}", containers.len());
    }
    if let Some(ip) = status.pod_ip {
        line = format!("{line} {ip}");
    }
    if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        line = format!("{line} on {node}");
    }
    deleting(pod.metadata.deletion_timestamp.is_some(), line)
}

fn event_line(event: &Event) -> String {
    let object = &event.involved_object;
    let watched = ["Pod", "Node", "VirtualKubeletConnector"];
    let kind = object.kind.as_deref().unwrap_or_default();
    if !watched.contains(&kind) {
        return String::new();
    }
    let message = event.message.as_deref().unwrap_or_default();
    // The scheduler's messages go on for long; the beginning says it.
    let message: String = message
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(MESSAGE_MAX)
        .collect();
    let name = object.name.as_deref().unwrap_or_default();
    let reason = event.reason.as_deref().unwrap_or_default();
    format!("event {} {name}: {reason}: {message}", kind.to_lowercase())
}

fn deleting(is: bool, line: String) -> String {
    if is {
        format!("{line}, terminating")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_say_what_kubectl_would() {
        let pod: Pod = serde_json::from_value(json!({
            "spec": { "nodeName": "n", "containers": [] },
            "status": { "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
                { "name": "a", "ready": true, "image": "", "imageID": "", "restartCount": 0 },
                { "name": "b", "ready": false, "image": "", "imageID": "", "restartCount": 0,
                  "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
            ] },
        }))
        .unwrap();
        assert_eq!(
            pod_line(&pod),
            "Running (CrashLoopBackOff) 1/2 10.0.0.1 on n"
        );

        let node: Node = serde_json::from_value(json!({
            "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "unschedulable": true },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        }))
        .unwrap();
        assert_eq!(node_line(&node), "Ready, cordoned, terminating");
    }
}
