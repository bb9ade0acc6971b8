//! `config/requests`: what the scheduler counts of a pod is what Azure bills for it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, condition, eventually, is_running, merge, text};
use crate::support::site::{path, plane, run, shared};
use crate::support::tools::apply;

/// Puts the policy in force in the fixture's namespace and in no other test's.
async fn install(fixture: &Fixture) {
    let text = std::fs::read_to_string(path("config/requests/requests.yaml")).unwrap();
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects[1]["spec"]["matchResources"] = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": fixture.name}},
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    apply(plane().await, &list).await;
    eventually("admission knows the policy", PATIENCE, || async {
        let pod = admitted(fixture, json!({})).await;
        pod["spec"]["containers"][0]["resources"]["requests"].is_object()
    })
    .await;
}

/// A pod with this in its spec, as the API server would take it.
async fn admitted(fixture: &Fixture, patch: Value) -> Value {
    let mut spec = fixture.pod_spec("example.com/web");
    merge(&mut spec, &patch);
    let pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": "tried"}, "spec": spec})).unwrap();
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = fixture.api::<Pod>().create(&params, &pod).await.unwrap();
    serde_json::to_value(pod).unwrap()
}

/// Requests of the containers of a pod, sidecars last.
fn requests(pod: &Value) -> Vec<Value> {
    let list = |name: &str| pod["spec"][name].as_array().cloned().unwrap_or_default();
    let sidecars = list("initContainers")
        .into_iter()
        .filter(|it| it["restartPolicy"] == "Always");
    let all = list("containers").into_iter().chain(sidecars);
    all.map(|it| it["resources"]["requests"].clone()).collect()
}

fn container(name: &str, resources: &Value) -> Value {
    json!({"name": name, "image": "example.com/web", "resources": resources})
}

/// The pods of the test, with what Azure bills for each.
fn pods() -> [(&'static str, Value, &'static str); 3] {
    let small = |name: &str| {
        container(
            name,
            &json!({"requests": {"cpu": "100m", "memory": "128M"}}),
        )
    };
    let mut proxy = small("proxy");
    proxy["restartPolicy"] = json!("Always");
    let bounded = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2", "memory": "3G"}});
    [
        ("silent", json!({}), "cpu=1,memory=1.5G"),
        (
            "small",
            json!({"containers": [small("main"), small("other")], "initContainers": [proxy]}),
            "cpu=1,memory=1.2G",
        ),
        (
            "bounded",
            json!({"containers": [container("main", &bounded)]}),
            "cpu=2,memory=3G",
        ),
    ]
}

#[test]
fn the_scheduler_counts_what_azure_bills() {
    run(async {
        let operator = shared().await;
        let four = json!({"node": {"capacity": {"cpu": "4", "memory": "64Gi", "pods": "50"}}});
        let fixture = Fixture::start_with(&operator, "billed", "Linux", &four).await;
        // As pods say it: five cores on a node of four.
        for number in 0..5 {
            let name = format!("plain-{number}");
            fixture.run_pod(&name).await;
        }
        let at_once = DeleteParams::default().grace_period(0);
        let api = fixture.api::<Pod>();
        api.delete_collection(&at_once, &kube::api::ListParams::default())
            .await
            .unwrap();
        eventually("they are gone", PATIENCE, || async {
            fixture.pods().await.is_empty()
        })
        .await;

        install(&fixture).await;
        for (name, patch, billed) in pods() {
            fixture.create_pod(name, "example.com/web", patch).await;
            let pod = fixture
                .pod_until(name, "it is billed", PATIENCE, |pod| {
                    is_running(pod)
                        && !pod["metadata"]["annotations"]["virtual-kubelet.io/billed-resources"]
                            .is_null()
                })
                .await;
            let annotations = &pod["metadata"]["annotations"];
            assert_eq!(
                annotations["virtual-kubelet.io/billed-resources"], billed,
                "{name}"
            );
        }
        // The four cores are taken: the scheduler says so, and Azure is not asked.
        let full = fixture
            .create_pod("late", "example.com/web", json!({}))
            .await;
        let full = fixture
            .pod_until(
                text(&full["metadata"]["name"]),
                "it waits",
                PATIENCE,
                |pod| condition(pod, "PodScheduled")["status"] == "False",
            )
            .await;
        let why = text(&condition(&full, "PodScheduled")["message"]).to_owned();
        assert!(why.contains("Insufficient cpu"), "{why}");
        assert_eq!(fixture.calls("late"), []);

        what_is_changed_and_what_is_not(&fixture).await;
        let policy = ["delete", "-f", &path("config/requests/requests.yaml")];
        let plane = plane().await;
        plane.kubectl_run(&policy).await.unwrap().ok().unwrap();
        fixture.finish().await;
    });
}

async fn what_is_changed_and_what_is_not(fixture: &Fixture) {
    let mut seen = Vec::new();
    for (_, patch, _) in pods() {
        seen.push(requests(&admitted(fixture, patch).await));
    }
    let wanted = [
        json!([{"cpu": "1", "memory": "1500M"}]),
        json!([
            {"cpu": "800m", "memory": "744M"},
            {"cpu": "100m", "memory": "128M"},
            {"cpu": "100m", "memory": "128M"},
        ]),
        json!([{"cpu": "2", "memory": "3G"}]),
    ];
    assert_eq!(json!(seen), json!(wanted));
    // A limit grows with its request.
    let bound = json!({"limits": {"cpu": "250m", "memory": "256Mi"}});
    let pod = admitted(fixture, json!({"containers": [container("main", &bound)]})).await;
    let resources = &pod["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"], json!({"cpu": "1", "memory": "1G"}));
    assert_eq!(resources["limits"], resources["requests"]);
    // What may run elsewhere, too, and what says it for the pod.
    for patch in [
        json!({"nodeSelector": null}),
        json!({"resources": {"requests": {"cpu": "2"}}}),
    ] {
        let pod = admitted(fixture, patch).await;
        assert_eq!(requests(&pod), [Value::Null], "{pod}");
    }
}
