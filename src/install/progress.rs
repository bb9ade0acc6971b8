//! What a person sees while it comes up or goes: a line for each change, and the nodes at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, watch_object};
use tokio::time::{Instant, timeout_at};

use super::api::{ApiError, Cluster};
use crate::api::VirtualKubeletConnector;
use crate::api::conditions::{READY, STALLED, find};
use crate::api::names::LABEL_CONNECTOR;
use crate::kube::call::{TIMEOUT, call};

/// Why the wait ended without success. What was written stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum WaitError {
    #[error("{name} is not ready after {} s: {why}", .after.as_secs())]
    Timeout {
        name: String,
        after: Duration,
        why: String,
    },
    #[error(
        "{name} cannot become ready: {why}\nPut that right, and the operator goes on by itself"
    )]
    Stalled { name: String, why: String },
    #[error("connector {0} was deleted meanwhile")]
    Deleted(String),
    #[error("connector {name} is not gone after {} s: {why}", .after.as_secs())]
    NotGone {
        name: String,
        after: Duration,
        why: String,
    },
    #[error("the connection to the API server ended")]
    Ended,
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// The terminal, with the time since the start before each line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    started: Instant,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// To standard error: standard output is for results.
    pub(super) fn say(&self, text: &str) {
        eprintln!("{:6.1}s  {text}", self.started.elapsed().as_secs_f64());
    }
}

pub(super) fn warn(text: &str) {
    eprintln!("warning: {text}");
}

/// How far a connector is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Ready,
    /// No retry will cure it.
    Stalled(String),
    Working(String),
    /// No operator has looked at it since it was written.
    Unseen,
}

/// What to look for when no operator comes.
const NO_OPERATOR: &str = "no operator has acted on it; is one running? kubectl get pods --all-namespaces --selector app.kubernetes.io/part-of=virtual-kubelet-connector";

/// Reads it off the status. `generation` is the one that was written.
fn progress(connector: &VirtualKubeletConnector, generation: i64) -> Progress {
    let observed = connector.status.as_ref();
    let observed = observed.and_then(|status| status.observed_generation);
    if observed.unwrap_or(-1) < generation {
        return Progress::Unseen;
    }
    let holds = |type_| condition(connector, type_).is_some_and(|it| it.status == "True");
    if holds(READY) {
        Progress::Ready
    } else if holds(STALLED) {
        Progress::Stalled(said(connector, STALLED))
    } else {
        Progress::Working(said(connector, READY))
    }
}

fn condition<'a>(connector: &'a VirtualKubeletConnector, type_: &str) -> Option<&'a Condition> {
    find(&connector.status.as_ref()?.conditions, type_)
}

/// Reason and message of a condition; nothing where there is none.
fn said(connector: &VirtualKubeletConnector, type_: &str) -> String {
    condition(connector, type_)
        .map(|it| format!("{}: {}", it.reason, it.message))
        .unwrap_or_default()
}

/// Which nodes are ready, in a sentence.
fn nodes(connector: &VirtualKubeletConnector) -> String {
    let nodes = connector.status.iter().flat_map(|status| &status.nodes);
    let sentence = |node: &crate::api::VirtualNodeStatus| {
        let state = if node.ready == Some(true) {
            "is ready"
        } else {
            "is not ready"
        };
        format!("node {} {state}", node.name)
    };
    nodes.map(sentence).collect::<Vec<_>>().join(", ")
}

/// What a look at a connector shows.
enum Look {
    There(Box<VirtualKubeletConnector>),
    Gone,
    /// Nothing new came before the deadline.
    TimeUp,
}

/// A connector, as it changes until a deadline.
struct Watched {
    changes: BoxStream<'static, watcher::Result<Option<VirtualKubeletConnector>>>,
    deadline: Instant,
    terminal: Terminal,
}

impl Watched {
    fn start(cluster: &Cluster, name: &str, timeout: Duration, terminal: Terminal) -> Self {
        Self {
            changes: watch_object(cluster.connectors(), name)
                .default_backoff()
                .boxed(),
            deadline: Instant::now() + timeout,
            terminal,
        }
    }

    /// What is next. That the API server does not answer is told, and waited out.
    async fn next(&mut self) -> Result<Look, WaitError> {
        loop {
            let Ok(change) = timeout_at(self.deadline, self.changes.next()).await else {
                return Ok(Look::TimeUp);
            };
            match change.ok_or(WaitError::Ended)? {
                Ok(Some(connector)) => return Ok(Look::There(Box::new(connector))),
                Ok(None) => return Ok(Look::Gone),
                Err(error) => self.terminal.say(&format!(
                    "the API server does not answer, trying again: {error}"
                )),
            }
        }
    }
}

/// Waits until the connector is ready, with a line for each change.
pub(super) async fn until_ready(
    cluster: &Cluster,
    name: &str,
    timeout: Duration,
    terminal: Terminal,
) -> Result<(), WaitError> {
    let generation = cluster
        .connector(name)
        .await?
        .and_then(|it| it.metadata.generation)
        .unwrap_or_default();
    let mut last = NO_OPERATOR.to_owned();
    let mut ready = BTreeSet::new();
    let mut seen: Option<VirtualKubeletConnector> = None;
    let mut watched = Watched::start(cluster, name, timeout, terminal);
    loop {
        let connector = match watched.next().await? {
            Look::There(connector) => connector,
            Look::Gone if seen.is_none() => continue,
            Look::Gone => return Err(WaitError::Deleted(name.to_owned())),
            Look::TimeUp => {
                let why = match &seen {
                    Some(connector) => [last, nodes(connector)].join("; "),
                    None => "it was not seen".to_owned(),
                };
                let why = why.trim_end_matches("; ").to_owned();
                let (name, after) = (format!("connector {name}"), timeout);
                return Err(WaitError::Timeout { name, after, why });
            }
        };
        for node in connector.status.iter().flat_map(|status| &status.nodes) {
            if node.ready != Some(true) {
                ready.remove(&node.name);
            } else if ready.insert(node.name.clone()) {
                terminal.say(&format!("node {} is ready", node.name));
            }
        }
        match progress(&connector, generation) {
            Progress::Ready => return Ok(()),
            Progress::Stalled(why) => {
                let nodes = nodes(&connector);
                let why = if nodes.is_empty() {
                    why
                } else {
                    format!("{why} ({nodes})")
                };
                let name = format!("connector {name}");
                return Err(WaitError::Stalled { name, why });
            }
            Progress::Working(line) if line != last => {
                terminal.say(&line);
                last = line;
            }
            Progress::Working(_) | Progress::Unseen => {}
        }
        seen = Some(*connector);
    }
}

/// What has to come true for a removal.
#[derive(Debug, Clone)]
pub(super) enum Gone {
    /// The connector.
    Connector,
    /// One of its nodes.
    Node(String),
}

/// Waits until it is gone, with a line for each change.
///
/// `before` is the connector as it was.
pub(super) async fn until_gone(
    cluster: &Cluster,
    before: &VirtualKubeletConnector,
    what: &Gone,
    timeout: Duration,
    terminal: Terminal,
) -> Result<(), WaitError> {
    let name = &before.name_any();
    let mut last = said(before, READY);
    let mut watched = Watched::start(cluster, name, timeout, terminal);
    loop {
        let connector = match watched.next().await? {
            Look::There(connector) => connector,
            Look::Gone => return Ok(()),
            Look::TimeUp => {
                let name = name.to_owned();
                return Err(WaitError::NotGone {
                    name,
                    after: timeout,
                    why: last,
                });
            }
        };
        if let Gone::Node(node) = what {
            let status = connector.status.clone().unwrap_or_default();
            let is_there = status.nodes.iter().any(|it| it.name == *node);
            let is_seen = status.observed_generation >= connector.metadata.generation;
            if is_seen && !is_there {
                return Ok(());
            }
        }
        let line = said(&connector, READY);
        if line != last {
            terminal.say(&line);
            last = line;
        }
    }
}

/// The nodes of a connector, as `kubectl get nodes` shows them.
pub(super) async fn node_table(cluster: &Cluster, connector: &str) -> Result<String, ApiError> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let ours = ListParams::default().labels(&format!("{LABEL_CONNECTOR}={connector}"));
    let listed = call("list the nodes", TIMEOUT, api.list(&ours)).await?;
    Ok(table(&listed.items))
}

fn table(nodes: &[Node]) -> String {
    let row = |node: &Node| {
        let status = node.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let ready = conditions
            .iter()
            .any(|it| it.type_ == "Ready" && it.status == "True");
        let role = node.labels().get("kubernetes.io/role");
        [
            node.name_any(),
            if ready { "Ready" } else { "NotReady" }.to_owned(),
            role.cloned().unwrap_or_default(),
            status
                .node_info
                .map(|it| it.kubelet_version)
                .unwrap_or_default(),
        ]
    };
    let head = ["NAME", "STATUS", "ROLES", "VERSION"].map(String::from);
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(nodes.iter().map(row)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn connector(status: &Value) -> VirtualKubeletConnector {
        serde_json::from_value(json!({
            "apiVersion": "virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector",
            "metadata": {"name": "c"}, "spec": {"region": "eastus", "aciResourceGroup": "rg"}, "status": status,
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn how_far_a_connector_is() {
        let working = |text: &str| Progress::Working(text.to_owned());
        let observed = |generation: i64, conditions: &[Value]| {
            connector(&json!({"observedGeneration": generation, "conditions": conditions}))
        };
        let ready = condition("Ready", "True", "NodesReady");
        let coming = condition("Ready", "False", "Progressing");
        let stalled = condition("Stalled", "True", "SecretInvalid");
        for (connector, wanted) in [
            (observed(2, std::slice::from_ref(&ready)), Progress::Ready),
            (
                observed(2, std::slice::from_ref(&coming)),
                working("Progressing: m"),
            ),
            (
                observed(2, &[coming.clone(), stalled]),
                Progress::Stalled("SecretInvalid: m".to_owned()),
            ),
        ] {
            assert_eq!(progress(&connector, 2), wanted);
        }
        // What was Ready before the change says nothing of it.
        for old in [observed(1, &[ready]), connector(&Value::Null)] {
            assert_eq!(progress(&old, 2), Progress::Unseen);
        }
    }

    #[test]
    fn nodes_as_kubectl_shows_them() {
        let node = |name: &str, ready: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"kubernetes.io/role": "agent"}},
                "status": {
                    "conditions": [{"type": "Ready", "status": ready}],
                    "nodeInfo": {"kubeletVersion": "v1.36.3-vkc-v0.1.0", "architecture": "", "bootID": "", "containerRuntimeVersion": "",
                        "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""},
                },
            }))
            .unwrap()
        };
        assert_eq!(
            table(&[
                node("virtual-kubelet-c-linux-eastus", "True"),
                node("b", "Unknown")
            ]),
            "NAME                             STATUS     ROLES   VERSION\n\
             virtual-kubelet-c-linux-eastus   Ready      agent   v1.36.3-vkc-v0.1.0\n\
             b                                NotReady   agent   v1.36.3-vkc-v0.1.0\n"
        );
    }
}
