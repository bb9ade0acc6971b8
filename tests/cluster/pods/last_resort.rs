//! The real scheduler between real nodes, which exist on paper only, and a virtual node of a huge capacity: the proof of
//! docs/scheduling.md.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, eventually, merge, text};
use crate::support::site::{run, shared};

const NAME: &str = "resort";
/// Pods of [`REQUESTS`] that a real node has room for.
const ROOM: usize = 8;
/// Each must be heard of within 50 s, the controller manager's grace.
const BEAT: Duration = Duration::from_secs(5);

/// How many pods each node has.
type Spread = BTreeMap<String, usize>;

/// Three nodes of four cores, each of a machine that does not exist.
struct RealNodes {
    api: Api<Node>,
    beaten: Mutex<Instant>,
}

impl RealNodes {
    fn names() -> [String; 3] {
        [0, 1, 2].map(|number| format!("{NAME}-real-{number}"))
    }

    async fn create(api: Api<Node>) -> Self {
        let now = Timestamp::now().to_string();
        for name in Self::names() {
            let size = json!({"cpu": "4", "memory": "16Gi", "pods": "110"});
            let node = json!({
                "metadata": {
                    "name": name,
                    "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", NAME: "real"},
                },
                // Others of the cluster have pods that would take a place.
                "spec": {"taints": [{"key": NAME, "effect": "NoSchedule"}]},
                "status": {
                    "capacity": size,
                    "allocatable": size,
                    "conditions": [{
                        "type": "Ready", "status": "True", "reason": "KubeletReady",
                        "lastHeartbeatTime": now, "lastTransitionTime": now,
                    }],
                },
            });
            let node: Node = serde_json::from_value(node).unwrap();
            api.create(&PostParams::default(), &node).await.unwrap();
        }
        for name in Self::names() {
            eventually(&format!("{name} counts as ready"), 30, || async {
                let node = api.get(&name).await.unwrap();
                let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
                if taints.iter().all(|taint| taint.key == NAME) {
                    Ok(())
                } else {
                    Err(format!("{taints:?}"))
                }
            })
            .await;
        }
        Self {
            api,
            beaten: Mutex::new(Instant::now()),
        }
    }

    /// What a kubelet would say now and then.
    async fn beat(&self) {
        if self.beaten.lock().unwrap().elapsed() < BEAT {
            return;
        }
        *self.beaten.lock().unwrap() = Instant::now();
        let now = Timestamp::now().to_string();
        let status =
            json!({"status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": now}]}});
        for name in Self::names() {
            self.api
                .patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status))
                .await
                .unwrap();
        }
    }

    async fn delete(&self) {
        for name in Self::names() {
            self.api
                .delete(&name, &DeleteParams::default())
                .await
                .unwrap();
        }
    }
}

/// The spec of a pod that can run on the real nodes and on the fixture's virtual node, and on no other test's.
fn either() -> Value {
    json!({
        "containers": [{
            "name": "main",
            "image": "example.com/web",
            "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
        }],
        "tolerations": [
            {"key": "virtual-kubelet.io/provider", "operator": "Exists"},
            {"key": NAME, "operator": "Exists"},
        ],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": NAME, "operator": "Exists"}]},
            {"matchExpressions": [{"key": "virtual-kubelet.io/connector", "operator": "In", "values": [NAME]}]},
        ]}}},
    })
}

/// Pods that nobody owns, which the scheduler does not spread; `patch` is merged into each one's spec.
async fn create_pods(fixture: &Fixture, app: &str, count: usize, patch: &Value) {
    let mut spec = either();
    merge(&mut spec, patch);
    for number in 0..count {
        let metadata = json!({"name": format!("{app}-{number}"), "labels": {"app": app}});
        fixture
            .create::<Pod>(&json!({"metadata": metadata, "spec": spec}))
            .await;
    }
}

async fn pods_of(fixture: &Fixture, app: &str) -> Vec<Pod> {
    let labelled = ListParams::default().labels(&format!("app={app}"));
    fixture.api::<Pod>().list(&labelled).await.unwrap().items
}

/// Where the pods of `app` are, once all of them are somewhere.
async fn spread(fixture: &Fixture, real: &RealNodes, app: &str, count: usize) -> Spread {
    eventually(&format!("{count} pods of {app} are bound"), 60, || async {
        real.beat().await;
        let mut spread = Spread::new();
        for pod in pods_of(fixture, app).await {
            if let Some(node) = pod.spec.and_then(|spec| spec.node_name) {
                *spread.entry(node).or_default() += 1;
            }
        }
        if spread.values().sum::<usize>() == count {
            Ok(spread)
        } else {
            Err(format!("{spread:?}"))
        }
    })
    .await
}

/// No kubelet would end the pods of the real nodes.
async fn delete_pods(fixture: &Fixture, app: &str) {
    let at_once = DeleteParams::default().grace_period(0);
    let labelled = ListParams::default().labels(&format!("app={app}"));
    let api = fixture.api::<Pod>();
    api.delete_collection(&at_once, &labelled).await.unwrap();
    eventually("its pods are gone", 30, || async {
        match pods_of(fixture, app).await.len() {
            0 => Ok(()),
            left => Err(left.to_string()),
        }
    })
    .await;
}

fn each_real(count: usize) -> Spread {
    RealNodes::names().map(|name| (name, count)).into()
}

#[test]
fn a_virtual_node_is_the_last_resort() {
    run(async {
        let operator = shared().await;
        let huge =
            json!({"node": {"capacity": {"cpu": "10000", "memory": "40Ti", "pods": "5000"}}});
        let fixture = Fixture::start_with(&operator, NAME, "Linux", &huge).await;
        let real = RealNodes::create(fixture.nodes()).await;
        let virtual_node = fixture.node_name("linux");

        // Without the taint's say, the emptiest node wins: what a huge capacity does by itself.
        let everything = json!({"tolerations": [{"operator": "Exists"}]});
        create_pods(&fixture, "drawn", 6, &everything).await;
        let drawn = spread(&fixture, &real, "drawn", 6).await;
        assert_eq!(drawn, [(virtual_node.clone(), 6)].into());
        delete_pods(&fixture, "drawn").await;

        // The pod's own wish does it, too.
        let mut wish = everything.clone();
        merge(
            &mut wish,
            &json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "preference": {"matchExpressions": [
                    {"key": "virtual-kubelet.io/connector", "operator": "DoesNotExist"},
                ]},
            }]}}}),
        );
        create_pods(&fixture, "wish", 3 * ROOM + 1, &wish).await;
        let mut full = each_real(ROOM);
        full.insert(virtual_node.clone(), 1);
        assert_eq!(spread(&fixture, &real, "wish", 3 * ROOM + 1).await, full);
        delete_pods(&fixture, "wish").await;

        // By default, and though the scheduler would rather spread a Deployment's pods over all nodes.
        fill_with_a_deployment(&fixture, &real, &virtual_node).await;
        the_urgent_ones(&fixture, &real, &virtual_node).await;
        real.delete().await;
        fixture.finish().await;
    });
}

async fn fill_with_a_deployment(fixture: &Fixture, real: &RealNodes, virtual_node: &str) {
    let labels = json!({"app": "web"});
    let count = 3 * ROOM + 4;
    fixture
        .create::<Deployment>(&json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": count,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": either()},
            },
        }))
        .await;
    let mut expected = each_real(ROOM);
    expected.insert(virtual_node.to_owned(), 4);
    assert_eq!(spread(fixture, real, "web", count).await, expected);
}

/// The API server's admission knows a new `PriorityClass` by a watch, and refuses its pods until then.
async fn admitted(fixture: &Fixture, priority: &Value) {
    let mut spec = either();
    merge(&mut spec, priority);
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": "tried"}, "spec": spec})).unwrap();
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pods = fixture.api::<Pod>();
    eventually("the class is known to admission", 30, || async {
        let tried = pods.create(&dry_run, &pod).await;
        tried.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// With the real nodes full: a pod that may use the virtual node gets it and displaces nobody; one that may not waits
/// for a place that is made for it.
async fn the_urgent_ones(fixture: &Fixture, real: &RealNodes, virtual_node: &str) {
    let urgent: PriorityClass =
        serde_json::from_value(json!({"metadata": {"name": NAME}, "value": 1000})).unwrap();
    let classes = Api::<PriorityClass>::all(fixture.client.clone());
    classes
        .create(&PostParams::default(), &urgent)
        .await
        .unwrap();
    let priority = json!({"priorityClassName": NAME});
    admitted(fixture, &priority).await;
    create_pods(fixture, "calm", 1, &priority).await;
    let calm = spread(fixture, real, "calm", 1).await;
    assert_eq!(calm, [(virtual_node.to_owned(), 1)].into());
    assert!(
        fixture
            .pods()
            .await
            .iter()
            .all(|pod| pod["metadata"]["deletionTimestamp"].is_null()),
        "nobody was displaced"
    );

    let mut demanding = priority;
    let real_only = json!({"tolerations": [{"key": NAME, "operator": "Exists"}]});
    merge(&mut demanding, &real_only);
    create_pods(fixture, "demanding", 1, &demanding).await;
    let place = eventually("a place is made for the pod", 30, || async {
        real.beat().await;
        let pod = fixture.pod("demanding-0").await;
        let place = text(&pod["status"]["nominatedNodeName"]);
        if place.is_empty() {
            Err(pod["status"].to_string())
        } else {
            Ok(place.to_owned())
        }
    })
    .await;
    assert!(RealNodes::names().contains(&place), "{place}");
    classes
        .delete(NAME, &DeleteParams::default())
        .await
        .unwrap();
    for app in ["calm", "demanding"] {
        delete_pods(fixture, app).await;
    }
}
