//! `config/policy/daemon_sets.yaml`: `DaemonSet`s that do not ask for virtual nodes stay off them.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::eventually;
use super::install::installed;
use crate::support::wait::merge;

const EXEMPT: &str = "virtual-kubelet.io/run-on-virtual-nodes";

/// A `DaemonSet` as those of the platform are; `patch` is merged into the spec of its pods.
fn agent(name: &str, patch: &Value) -> Value {
    let mut spec = json!({
        "containers": [{"name": "main", "image": "example.com/agent"}],
        "tolerations": [{"operator": "Exists"}],
    });
    merge(&mut spec, patch);
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "annotations": {}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    })
}

fn api(client: &Client) -> Api<DaemonSet> {
    Api::namespaced(client.clone(), "default")
}

fn not_virtual() -> Value {
    json!({"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]})
}

fn required(terms: &Value) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}})
}

fn affinity(daemon_set: DaemonSet) -> Value {
    let spec = daemon_set.spec.unwrap().template.spec.unwrap();
    serde_json::to_value(spec.affinity).unwrap()
}

/// The affinity of a `DaemonSet` as the API server would take it.
async fn admitted(client: &Client, object: &Value) -> Value {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let object = serde_json::from_value(object.clone()).unwrap();
    affinity(api(client).create(&params, &object).await.unwrap())
}

/// The API server with the policy in force.
async fn ready() -> Client {
    let client = installed().await.client().await.unwrap();
    eventually("admission knows the policy", 30, async || {
        let plain = admitted(&client, &agent("plain", &json!({}))).await;
        (!plain.is_null()).then_some(())
    })
    .await;
    client
}

#[tokio::test]
async fn each_way_to_a_virtual_node_is_closed_and_nothing_else_is_changed() {
    let client = ready().await;
    let ssd = json!({"key": "disk", "operator": "In", "values": ["ssd"]});
    let gpu = json!({"key": "gpu", "operator": "Exists"});
    let here = json!({"key": "type", "operator": "In", "values": ["virtual-kubelet"]});
    let connector = |operator: &str, values: Value| json!({"key": "virtual-kubelet.io/connector", "operator": operator, "values": values});
    let field = json!({"key": "metadata.name", "operator": "In", "values": ["a-node"]});
    let preferred = json!([{"weight": 1, "preference": {"matchExpressions": [ssd]}}]);
    let only = required(&json!([{"matchExpressions": [not_virtual()]}]));
    let mut with_preference = only.clone();
    with_preference["preferredDuringSchedulingIgnoredDuringExecution"] = preferred.clone();
    let away = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "other"}}},
    ]}});
    let mut away_too = away.clone();
    away_too["nodeAffinity"] = only.clone();
    let node = |affinity: Value| json!({"nodeAffinity": affinity});
    let terms = |terms: Value| node(required(&terms));
    let cases = [
        ("none", json!(null), node(only.clone())),
        ("empty", json!({}), node(only.clone())),
        ("of pods", away, away_too),
        ("of no node", node(json!({})), node(only.clone())),
        (
            "preferred",
            node(json!({"preferredDuringSchedulingIgnoredDuringExecution": preferred})),
            node(with_preference),
        ),
        (
            "one term",
            terms(json!([{"matchExpressions": [ssd]}])),
            terms(json!([{"matchExpressions": [ssd, not_virtual()]}])),
        ),
        (
            "several terms, one of fields, one empty, one that asks for virtual nodes",
            terms(json!([
                {"matchExpressions": [ssd, gpu]},
                {"matchFields": [field]},
                {},
                {"matchExpressions": [here, ssd]},
                {"matchExpressions": [gpu], "matchFields": [field]},
            ])),
            terms(json!([
                {"matchExpressions": [ssd, gpu, not_virtual()]},
                {"matchExpressions": [not_virtual()], "matchFields": [field]},
                {},
                {"matchExpressions": [here, ssd]},
                {"matchExpressions": [gpu, not_virtual()], "matchFields": [field]},
            ])),
        ),
        (
            "each word about virtual nodes",
            terms(json!([
                {"matchExpressions": [not_virtual(), ssd]},
                {"matchExpressions": [connector("In", json!(["a"]))]},
                {"matchExpressions": [{"key": "virtual-kubelet.io/connector", "operator": "DoesNotExist"}]},
                {"matchExpressions": [connector("NotIn", json!(["a"]))]},
            ])),
            terms(json!([
                {"matchExpressions": [not_virtual(), ssd]},
                {"matchExpressions": [connector("In", json!(["a"]))]},
                {"matchExpressions": [{"key": "virtual-kubelet.io/connector", "operator": "DoesNotExist"}]},
                {"matchExpressions": [connector("NotIn", json!(["a"])), not_virtual()]},
            ])),
        ),
    ];
    for (what, before, after) in cases {
        let patch = json!({"affinity": before});
        let got = admitted(&client, &agent("case", &patch)).await;
        assert_eq!(got, after, "{what}");
        let again = admitted(&client, &agent("case", &json!({"affinity": got}))).await;
        assert_eq!(again, after, "{what}, a second time");
    }
    for (selector, changed) in [
        (json!({"type": "virtual-kubelet"}), false),
        (json!({"virtual-kubelet.io/connector": "mine"}), false),
        (json!({"type": "other", "kubernetes.io/os": "linux"}), true),
    ] {
        let patch = json!({"nodeSelector": selector});
        let got = admitted(&client, &agent("case", &patch)).await;
        assert_eq!(!got.is_null(), changed, "{selector}");
    }
    for (value, changed) in [("true", false), ("false", true)] {
        let mut exempt = agent("case", &json!({}));
        exempt["metadata"]["annotations"][EXEMPT] = json!(value);
        assert_eq!(!admitted(&client, &exempt).await.is_null(), changed);
    }
}

#[tokio::test]
async fn what_runs_already_is_changed_when_it_rolls_out_and_not_before() {
    let client = ready().await;
    let daemon_sets = api(&client);
    let mut object = agent(
        "before",
        &json!({"nodeSelector": {"kubernetes.io/hostname": "nowhere"}}),
    );
    object["metadata"]["annotations"][EXEMPT] = json!("true");
    let object = serde_json::from_value(object).unwrap();
    daemon_sets
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    let patch = async |patch: Value| {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let answer = daemon_sets.patch("before", &params, &patch).await;
        affinity(answer.unwrap())
    };
    // It is as one that was there before the policy.
    let bare = json!({"metadata": {"annotations": {EXEMPT: null}, "labels": {"team": "a"}}});
    assert_eq!(patch(bare).await, Value::Null);
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}});
    let wanted = json!({"nodeAffinity": required(&json!([{"matchExpressions": [not_virtual()]}]))});
    assert_eq!(patch(restart).await, wanted);
    // Whoever writes it as it was, as a client does that knows nothing of the policy, changes nothing.
    let known = daemon_sets.get("before").await.unwrap();
    let without = json!({"spec": {"template": {"spec": {"affinity": null}}}});
    assert_eq!(patch(without).await, wanted);
    let after = daemon_sets.get("before").await.unwrap();
    assert_eq!(known.metadata.generation, after.metadata.generation);
    daemon_sets
        .delete("before", &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn no_pod_comes_to_a_virtual_node_but_those_of_an_exempt_daemon_set() {
    let client = ready().await;
    let name = "virtual-kubelet-daemons-linux-eastus";
    let labels = json!({"type": "virtual-kubelet", "kubernetes.io/hostname": name});
    let node: Node =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let daemon_sets = api(&client);
    let here = json!({"nodeSelector": {"kubernetes.io/hostname": name}});
    for (name, exempt) in [("kept-off", "false"), ("exempt", "true")] {
        let mut object = agent(name, &here);
        object["metadata"]["annotations"][EXEMPT] = json!(exempt);
        let object = serde_json::from_value(object).unwrap();
        daemon_sets
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let of = async |name: &str| {
        let labelled = ListParams::default().labels(&format!("app={name}"));
        pods.list(&labelled).await.unwrap().items
    };
    eventually("the exempt one has its pod", 60, async || {
        (of("exempt").await.len() == 1).then_some(())
    })
    .await;
    let status = eventually("the controller has seen the other", 60, async || {
        let it = daemon_sets.get("kept-off").await.unwrap();
        let status = it.status?;
        (status.observed_generation == it.metadata.generation).then_some(status)
    })
    .await;
    assert_eq!(status.desired_number_scheduled, 0, "nowhere to run");
    assert_eq!(of("kept-off").await.len(), 0);
    for name in ["kept-off", "exempt"] {
        let params = DeleteParams::background();
        daemon_sets.delete(name, &params).await.unwrap();
    }
    nodes.delete(name, &DeleteParams::default()).await.unwrap();
}
