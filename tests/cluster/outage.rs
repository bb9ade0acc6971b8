//! The API server is away for minutes and comes back, on a control plane of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vkc::api::{Os, node_name};
use vkc::kube::identity;
use vkc::node::keeper::{NodeKeeper, NodeWanted, Registration};
use vkc::node::spec::{NodeSpec, kubelet_version};
use vkc::node::status::Endpoint;
use vkc::pods::watch::{Change, changes};
use xtask::control_plane::{Assets, ControlPlane, Options};

use crate::support::tools::clients;
use crate::support::wait::eventually;

/// Two minutes: longer than the grace after which a node without heartbeats is `NotReady`, and than what the API server
/// remembers of a watch across its restart.
const OUTAGE: Duration = Duration::from_mins(2);
/// What the docs promise.
const BACK: Duration = Duration::from_secs(5);

fn spec() -> NodeSpec {
    NodeSpec {
        name: node_name("outage", Os::Linux, "eastus"),
        os: Os::Linux,
        region: "eastus".to_owned(),
        connector: "outage".to_owned(),
        connector_uid: "outage".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        taints: Vec::new(),
        capacity: BTreeMap::from([("cpu".to_owned(), "8".to_owned())]),
        allocatable: None,
        unschedulable: false,
    }
}

async fn ready(nodes: &Api<Node>, name: &str) -> bool {
    let Ok(node) = nodes.get(name).await else {
        return false;
    };
    let conditions = node.status.and_then(|status| status.conditions);
    conditions
        .unwrap_or_default()
        .iter()
        .any(|it| it.type_ == "Ready" && it.status == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_minutes_without_the_api_server_and_all_is_as_before_within_five_seconds() {
    let assets = Assets::resolve(|_| {}).unwrap();
    let plane = ControlPlane::start(&assets, Options::default())
        .await
        .unwrap();
    let clients = clients(plane.kubeconfig()).await;
    let admin = plane.client().await.unwrap();
    let name = spec().name;
    let node = identity::acquire(&clients, &name, "v1.36.3", "default").await;
    let node = node.unwrap().client;
    let keeper = NodeKeeper {
        manager: clients.operator(),
        node: node.clone(),
        kubelet_version: kubelet_version("v1.36.3"),
    };
    let (_wanted, wanted) = watch::channel(NodeWanted {
        starting: false,
        spec: spec(),
        ready: true,
        reason: "Synced".to_owned(),
        message: "synced".to_owned(),
        azure: None,
        endpoint: Endpoint::default(),
    });
    let (registered, _) = watch::channel(Registration::default());
    let keeper = keeper.run(wanted, registered, CancellationToken::new());
    let _keeper = AbortOnDropHandle::new(tokio::spawn(keeper));
    let nodes = Api::<Node>::all(admin.clone());
    eventually("the node is Ready", 20, || ready(&nodes, &name)).await;
    let (seen, mut pods) = watch::channel(Vec::<(String, Instant)>::new());
    let mut watched = changes(node, &name).boxed();
    let _watch = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(change) = watched.next().await {
            if let Change::Applied(facts, _) = change {
                seen.send_modify(|all| all.push((facts.key.name.clone(), Instant::now())));
            }
        }
    }));

    plane.kill_api_server();
    tokio::time::sleep(OUTAGE).await;
    plane.restart_api_server().await.unwrap();
    let back = Instant::now();
    // One that is bound right after the return, to a version that the old watch does not know.
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "after", "namespace": "default"},
        "spec": {"nodeName": name, "containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false},
    }))
    .unwrap();
    let api = Api::<Pod>::namespaced(admin.clone(), "default");
    eventually("the pod is taken", 10, || async {
        api.create(&PostParams::default(), &pod).await.is_ok()
    })
    .await;
    let created = Instant::now();
    let found = pods.wait_for(|all| all.iter().any(|(name, _)| name == "after"));
    tokio::time::timeout(BACK * 2, found)
        .await
        .expect("the pod is seen")
        .unwrap();
    let late = back.elapsed().max(created - back);
    eventually("the node is Ready again", BACK.as_secs(), || {
        ready(&nodes, &name)
    })
    .await;
    let all = back.elapsed();
    println!("pods seen {late:?}, all {all:?} after the return");
    assert!(
        late <= BACK + (created - back),
        "the pods were seen after {late:?}"
    );
    // And it stays so: what the node lifecycle controller does late is put right.
    tokio::time::sleep(Duration::from_secs(1)).await;
    eventually("the node stays Ready", BACK.as_secs(), || {
        ready(&nodes, &name)
    })
    .await;
    plane.stop().await;
}
