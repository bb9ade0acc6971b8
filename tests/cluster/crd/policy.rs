//! `config/policy`: what admission refuses beyond RBAC.

use k8s_openapi::api::core::v1::{Binding, Namespace, Node, Pod};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::install::installed;
use super::{connector, eventually, feed};
use crate::support::tools::kube_config;

/// Creates a namespace with these labels that can take pods.
async fn namespace(client: &Client, name: &str, labels: Value) {
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
    let namespaces = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    installed().await.namespace_ready(name).await.unwrap();
}

async fn node(client: &Client, name: &str) {
    let node: Node = serde_json::from_value(
        json!({"metadata": {"name": name, "labels": {"type": "virtual-kubelet"}}}),
    )
    .unwrap();
    Api::all(client.clone())
        .create(&PostParams::default(), &node)
        .await
        .unwrap();
}

fn pod(name: &str, node: Option<&str>) -> Pod {
    // A scheduler that does not exist: nobody but the test binds it.
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "schedulerName": "nobody",
            "containers": [{"name": "main", "image": "example.com/web"}],
        },
    }))
    .unwrap()
}

/// The answer to a request: the message of a 403, else nothing.
fn refusal<T>(answer: Result<T, kube::Error>) -> Option<String> {
    match answer {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.code == 403 => Some(status.message),
        Err(error) => panic!("{error}"),
    }
}

/// Both ways of getting a pod to a node: `spec.nodeName`, and a binding. What was made is deleted again.
async fn ways(client: &Client, namespace: &str, node: &str) -> [Option<String>; 2] {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = PostParams::default();
    let named = refusal(pods.create(&params, &pod("named", Some(node))).await);
    pods.create(&params, &pod("bound", None)).await.unwrap();
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "bound", "namespace": namespace},
        "target": {"kind": "Node", "name": node},
    });
    // The older address of the same. It answers with a Status.
    let kind = ApiResource::erase::<Binding>(&());
    let bindings: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let object = serde_json::from_value(binding.clone()).unwrap();
    let old = refusal(bindings.create(&params, &object).await);
    let bound = pods
        .create_subresource::<Value, Value>("binding", "bound", &params, &binding)
        .await;
    let bound = match bound {
        // Bound by the older address already.
        Err(kube::Error::Api(status)) if status.code == 409 => None,
        other => refusal(other),
    };
    assert_eq!(old.is_some(), bound.is_some(), "{old:?} {bound:?}");
    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    for name in ["named", "bound"] {
        let _ = pods.delete(name, &at_once).await;
    }
    [named, bound]
}

#[tokio::test]
async fn a_pod_gets_to_a_node_only_from_a_namespace_that_the_connector_allows() {
    let client = installed().await.client().await.unwrap();
    let requirement = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "env", "operator": operator, "values": values}]});
    for (name, selector) in [
        ("gate-labels", json!({"matchLabels": {"env": "prod"}})),
        ("gate-in", requirement("In", json!(["prod", "test"]))),
        ("gate-notin", requirement("NotIn", json!(["dev"]))),
        ("gate-exists", requirement("Exists", json!([]))),
        ("gate-absent", requirement("DoesNotExist", json!([]))),
        ("gate-empty", json!({})),
        ("gate-none", Value::Null),
    ] {
        let spec = json!({"spec": {"osType": "Both", "allowedNamespaces": selector}});
        feed(&["apply", "-f", "-"], &connector(name, &spec)).await;
        node(&client, &format!("virtual-kubelet-{name}-linux-eastus")).await;
        node(&client, &format!("virtual-kubelet-{name}-windows-eastus")).await;
    }
    node(&client, "a-real-node").await;
    namespace(&client, "gate-prod", json!({"env": "prod"})).await;
    namespace(&client, "gate-dev", json!({"env": "dev"})).await;
    namespace(&client, "gate-bare", json!({})).await;
    let linux = |connector: &str| format!("virtual-kubelet-{connector}-linux-eastus");
    // The policy and its parameters reach admission by watches of their own.
    eventually("every connector is known to admission", 30, async || {
        for gate in ["gate-labels", "gate-in", "gate-notin", "gate-exists"] {
            let namespace = if gate == "gate-exists" {
                "gate-bare"
            } else {
                "gate-dev"
            };
            ways(&client, namespace, &linux(gate)).await[0].as_ref()?;
        }
        ways(&client, "gate-prod", &linux("gate-absent")).await[0].as_ref()?;
        Some(())
    })
    .await;
    // prod, dev, bare
    for (gate, allowed) in [
        ("gate-labels", [true, false, false]),
        ("gate-in", [true, false, false]),
        ("gate-notin", [true, false, true]),
        ("gate-exists", [true, true, false]),
        ("gate-absent", [false, false, true]),
        ("gate-empty", [true, true, true]),
        ("gate-none", [true, true, true]),
    ] {
        for (namespace, allowed) in ["gate-prod", "gate-dev", "gate-bare"].iter().zip(allowed) {
            for os in ["linux", "windows"] {
                let node = format!("virtual-kubelet-{gate}-{os}-eastus");
                for (way, answer) in ["nodeName", "binding"]
                    .iter()
                    .zip(ways(&client, namespace, &node).await)
                {
                    assert_eq!(
                        answer.is_none(),
                        allowed,
                        "{way} {namespace} {node}: {answer:?}"
                    );
                    if let Some(message) = answer {
                        assert!(
                            message.contains(gate) && message.contains(namespace),
                            "{message}"
                        );
                    }
                }
            }
        }
    }
    assert_eq!(
        ways(&client, "gate-dev", "a-real-node").await,
        [None, None],
        "other nodes are nobody's business"
    );
}

#[tokio::test]
async fn the_operators_account_changes_no_real_node_and_deletes_no_pod_there() {
    let plane = installed().await;
    let admin = plane.client().await.unwrap();
    let kubeconfig = plane
        .kubeconfig_for_service_account("vkc-system", "vkc")
        .await
        .unwrap();
    let mut config = kube_config(&kubeconfig).await;
    config.proxy_url = None;
    let operator = Client::try_from(config).unwrap();
    let virtual_node = "virtual-kubelet-policy-linux-eastus";
    node(&admin, virtual_node).await;
    node(&admin, "policy-real").await;
    namespace(&admin, "policy", json!({})).await;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "policy");
    for (name, node) in [("here", virtual_node), ("there", "policy-real")] {
        pods.create(&PostParams::default(), &pod(name, Some(node)))
            .await
            .unwrap();
    }
    pods.create(&PostParams::default(), &pod("nowhere", None))
        .await
        .unwrap();

    let nodes: Api<Node> = Api::all(operator.clone());
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    let patch = async |name: &str, patch: &Patch<Value>| {
        refusal(nodes.patch(name, &PatchParams::default(), patch).await)
    };
    eventually("admission knows the policy", 30, async || {
        patch("policy-real", &cordon).await
    })
    .await;
    assert_eq!(patch(virtual_node, &cordon).await, None);
    let bare = Patch::Merge(json!({"metadata": {"labels": {"type": null}}}));
    assert!(
        patch(virtual_node, &bare)
            .await
            .unwrap()
            .contains("type=virtual-kubelet")
    );
    let fake: Node = serde_json::from_value(
        json!({"metadata": {"name": "worker-17", "labels": {"type": "virtual-kubelet"}}}),
    )
    .unwrap();
    assert!(refusal(nodes.create(&PostParams::default(), &fake).await).is_some());

    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(operator.clone(), "policy");
    for (name, refused) in [("there", true), ("nowhere", true), ("here", false)] {
        let answer = refusal(pods.delete(name, &at_once).await);
        assert_eq!(answer.is_some(), refused, "{name}: {answer:?}");
    }
    for (name, refused) in [("policy-real", true), (virtual_node, false)] {
        let answer = refusal(nodes.delete(name, &DeleteParams::default()).await);
        assert_eq!(answer.is_some(), refused, "{name}: {answer:?}");
    }
}
