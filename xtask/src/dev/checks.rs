//! The claims of the walk-through, as pure checks on one look at the cluster and at the emulator.
//!
//! Each check gives the first thing that is not so, as a sentence.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::Value;

use super::view::{Os, View};

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The nodes and pods of `wanted` are up, no other node of the connector is, and the connector says so.
pub(super) fn running(view: &View, wanted: &[Os]) -> Result<(), String> {
    for os in wanted {
        node_is_up(view, *os)?;
    }
    for os in [Os::Linux, Os::Windows]
        .iter()
        .filter(|os| !wanted.contains(os))
    {
        ensure(view.node(*os).is_none(), || {
            format!("node {} still exists", os.node())
        })?;
    }
    for os in wanted {
        pod_is_up(view, *os)?;
    }
    connector_is_ready(view, wanted.len())?;
    ensure(view.groups.len() == wanted.len(), || {
        format!(
            "there are {} container groups for {} pods: {:?}",
            view.groups.len(),
            wanted.len(),
            view.groups
        )
    })
}

fn node_is_up(view: &View, os: Os) -> Result<(), String> {
    let name = os.node();
    let node = view
        .node(os)
        .ok_or_else(|| format!("there is no node {name}"))?;
    // What `kubectl get nodes` shows under ROLES.
    let role = node.labels().get("kubernetes.io/role").map(String::as_str);
    ensure(role == Some("agent"), || {
        format!("node {name} has role {role:?}, not agent")
    })?;
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    let ready = ready.map_or("missing", |ready| ready.status.as_str());
    ensure(ready == "True", || {
        format!("node {name} has condition Ready {ready}")
    })
}

fn pod_is_up(view: &View, os: Os) -> Result<(), String> {
    let pods: Vec<&Pod> = view.pods(os).collect();
    let [pod] = pods.as_slice() else {
        return Err(format!(
            "{} has {} pods, not 1",
            os.deployment(),
            pods.len()
        ));
    };
    let name = pod.name_any();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    ensure(node == Some(os.node()), || {
        format!("pod {name} is on node {node:?}, not {}", os.node())
    })?;
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let why = [status.reason, status.message]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(": ");
    ensure(
        phase == "Running" && pod.metadata.deletion_timestamp.is_none(),
        || format!("pod {name} is {phase} ({why})"),
    )?;
    let containers = status.container_statuses.unwrap_or_default();
    ensure(
        containers.len() == 1 && containers.iter().all(|container| container.ready),
        || {
            let ready = containers
                .iter()
                .filter(|container| container.ready)
                .count();
            format!("pod {name} is {ready}/{} ready, not 1/1", containers.len())
        },
    )?;
    ensure(status.pod_ip.is_some_and(|ip| !ip.is_empty()), || {
        format!("pod {name} has no IP")
    })
}

fn connector_is_ready(view: &View, nodes: usize) -> Result<(), String> {
    let connector = view.connector.as_ref().ok_or("there is no connector")?;
    let status = connector.data.get("status").cloned().unwrap_or_default();
    let generation = status.get("observedGeneration").and_then(Value::as_i64);
    ensure(generation == connector.metadata.generation, || {
        format!(
            "the connector's observedGeneration is {generation:?}, not {:?}",
            connector.metadata.generation
        )
    })?;
    let conditions = status.get("conditions").and_then(Value::as_array);
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    ensure(
        ready
            .and_then(|ready| ready.get("status"))
            .and_then(Value::as_str)
            == Some("True"),
        || {
            format!(
                "the connector's Ready condition is {}",
                ready.unwrap_or(&Value::Null)
            )
        },
    )?;
    let summary = status
        .get("nodeSummary")
        .and_then(Value::as_str)
        .unwrap_or_default();
    ensure(summary == format!("{nodes}/{nodes}"), || {
        format!("the connector's nodeSummary is {summary:?}")
    })
}

/// After Both → Linux: Windows is drained and gone, and its replacement pod waits; Linux is what it was.
pub(super) fn only_linux(
    view: &View,
    linux_node: &str,
    linux_pod: &str,
    windows_pod: &str,
) -> Result<(), String> {
    // First what must never break, so that it is the first thing said.
    let (node, pod) = (view.node_uid(Os::Linux), view.pod_uid(Os::Linux));
    ensure(node.as_deref() == Some(linux_node), || {
        format!("the Linux node was replaced: {node:?}")
    })?;
    ensure(pod.as_deref() == Some(linux_pod), || {
        format!("the Linux pod was replaced: {pod:?}")
    })?;
    node_is_gone(view, Os::Windows)?;
    waits_for_a_node(view, Os::Windows, &[windows_pod])?;
    running(view, &[Os::Linux])
}

/// After the connector's deletion.
pub(super) fn removed(view: &View) -> Result<(), String> {
    for os in [Os::Linux, Os::Windows] {
        node_is_gone(view, os)?;
        waits_for_a_node(view, os, &[])?;
    }
    ensure(view.groups.is_empty(), || {
        format!("container groups still exist: {:?}", view.groups)
    })?;
    ensure(view.connector.is_none(), || {
        String::from("the connector still exists")
    })
}

fn node_is_gone(view: &View, os: Os) -> Result<(), String> {
    let name = os.node();
    ensure(view.node(os).is_none(), || {
        format!("node {name} still exists")
    })?;
    ensure(
        view.leases.iter().all(|lease| lease.name_any() != name),
        || format!("lease {name} still exists"),
    )?;
    let bound: BTreeSet<String> = view
        .pods
        .iter()
        .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name))
        .map(Pod::name_any)
        .collect();
    ensure(bound.is_empty(), || {
        format!("pods are still bound to {name}: {bound:?}")
    })
}

/// A Deployment makes a new pod for the one that it lost, and there is no node for it.
fn waits_for_a_node(view: &View, os: Os, gone: &[&str]) -> Result<(), String> {
    let deployment = os.deployment();
    let pods: Vec<&Pod> = view.pods(os).collect();
    ensure(!pods.is_empty(), || {
        format!("{deployment} has no replacement pod")
    })?;
    for pod in pods {
        let name = pod.name_any();
        ensure(
            !pod.uid().is_some_and(|uid| gone.contains(&uid.as_str())),
            || format!("pod {name} was not drained"),
        )?;
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        ensure(phase == Some("Pending"), || {
            format!("the replacement pod {name} is {phase:?}, not Pending")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use kube::api::DynamicObject;
    use serde_json::json;

    use super::super::session::CONNECTOR;
    use super::*;

    fn node(os: Os, uid: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": os.node(), "uid": uid, "labels": { "kubernetes.io/role": "agent" } },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        }))
        .unwrap()
    }

    fn pod(os: Os, uid: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": format!("{}-abc-{uid}", os.deployment()), "uid": uid },
            "spec": { "nodeName": os.node(), "containers": [] },
            "status": { "phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
                { "name": "c", "ready": true, "image": "", "imageID": "", "restartCount": 0 },
            ] },
        }))
        .unwrap()
    }

    fn pending(os: Os, uid: &str) -> Pod {
        let mut pod = pod(os, uid);
        pod.spec.as_mut().unwrap().node_name = None;
        pod.status = Some(serde_json::from_value(json!({ "phase": "Pending" })).unwrap());
        pod
    }

    fn connector(summary: &str) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector",
            "metadata": { "name": CONNECTOR, "generation": 2 },
            "status": {
                "observedGeneration": 2,
                "conditions": [{ "type": "Ready", "status": "True" }],
                "nodeSummary": summary,
            },
        }))
        .unwrap()
    }

    fn both() -> View {
        View {
            connector: Some(connector("2/2")),
            nodes: vec![node(Os::Linux, "nl"), node(Os::Windows, "nw")],
            pods: vec![pod(Os::Linux, "pl"), pod(Os::Windows, "pw")],
            leases: Vec::new(),
            groups: vec!["a".into(), "b".into()],
        }
    }

    fn objection(change: impl FnOnce(&mut View)) -> String {
        let mut view = both();
        change(&mut view);
        running(&view, &[Os::Linux, Os::Windows]).unwrap_err()
    }

    #[test]
    fn the_walk_through_holds_and_each_row_can_fail() {
        assert_eq!(running(&both(), &[Os::Linux, Os::Windows]), Ok(()));
        let cases = [
            (objection(|view| drop(view.nodes.pop())), "there is no node"),
            (
                objection(|view| view.nodes[0].metadata.labels = None),
                "has role None",
            ),
            (
                objection(|view| view.nodes[0].status = None),
                "condition Ready missing",
            ),
            (
                objection(|view| view.pods[0].spec.as_mut().unwrap().node_name = Some("x".into())),
                "is on node Some(\"x\")",
            ),
            (
                objection(|view| {
                    view.pods[1].status.as_mut().unwrap().phase = Some("Pending".into());
                }),
                "is Pending",
            ),
            (
                objection(|view| view.pods[1].status.as_mut().unwrap().container_statuses = None),
                "is 0/0 ready",
            ),
            (
                objection(|view| view.pods[1].status.as_mut().unwrap().pod_ip = None),
                "has no IP",
            ),
            (
                objection(|view| view.connector = Some(connector("1/2"))),
                "nodeSummary",
            ),
            (
                objection(|view| view.connector.as_mut().unwrap().metadata.generation = Some(3)),
                "observedGeneration",
            ),
            (
                objection(|view| drop(view.groups.pop())),
                "1 container groups for 2 pods",
            ),
        ];
        for (said, part) in cases {
            assert!(said.contains(part), "{said:?} does not contain {part:?}");
        }
    }

    #[test]
    fn windows_goes_and_linux_stays() {
        let mut view = both();
        let check = |view: &View| only_linux(view, "nl", "pl", "pw");
        assert!(
            check(&view)
                .unwrap_err()
                .contains("windows-eastus still exists")
        );
        view.nodes.pop();
        assert!(check(&view).unwrap_err().contains("still bound"));
        view.pods[1] = pending(Os::Windows, "pw2");
        assert!(check(&view).unwrap_err().contains("nodeSummary"));
        view.connector = Some(connector("1/1"));
        assert!(check(&view).unwrap_err().contains("2 container groups"));
        view.groups.pop();
        assert_eq!(check(&view), Ok(()));
        view.pods[0] = pod(Os::Linux, "another");
        assert!(check(&view).unwrap_err().contains("Linux pod was replaced"));
    }

    #[test]
    fn nothing_is_left() {
        let mut view = View {
            pods: vec![pending(Os::Linux, "1"), pending(Os::Windows, "2")],
            ..View::default()
        };
        assert_eq!(removed(&view), Ok(()));
        view.groups.push("left".into());
        assert!(removed(&view).unwrap_err().contains("left"));
    }
}
