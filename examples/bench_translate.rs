//! Time and allocations of the translator, for `cargo xtask bench --only translate`: one line `value unit name` each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use vkc::api::Os;
use vkc::azure::model::ContainerGroup;
use vkc::translate::{
    GroupDefaults, Ownership, PodKey, Resolved, container_group, digest, facts, status_of_group,
    status_patch,
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const CONTAINERS: usize = 3;
const VARIABLES: usize = 10;
/// Long enough for a stable mean.
const SPAN: Duration = Duration::from_secs(2);

fn main() {
    let pod: Pod = serde_json::from_value(pod()).unwrap();
    let defaults = GroupDefaults::new(Os::Linux, "eastus".to_owned());
    let owner = Ownership {
        cluster_uid: "cluster".to_owned(),
        connector_uid: "connector".to_owned(),
        node: "node".to_owned(),
        key: PodKey::of(&pod).unwrap(),
        restarts: 0,
        mark: None,
    };
    let resolved = Resolved {
        services: Some(std::sync::Arc::from([])),
        kubernetes: Some(None),
        ..Resolved::default()
    };
    let to_body = || {
        let translation = container_group(&pod, &defaults, &owner, &resolved).expect("it runs");
        serde_json::to_vec(&translation.group).unwrap()
    };
    measure("pod → PUT body", to_body);

    let view = serde_json::to_vec(&view(&to_body())).unwrap();
    let known = facts(&pod).unwrap();
    let now = "2026-11-23T10:00:00Z".parse().unwrap();
    let to_status = || {
        let group: ContainerGroup = serde_json::from_slice(&view).unwrap();
        let status = status_of_group(&known, &group, Some("10.0.0.1"), now);
        (digest(&status), status_patch(&known, &status))
    };
    measure("GET body → status patch", to_status);
}

fn measure<T>(name: &str, run: impl Fn() -> T) {
    for _ in 0..100 {
        black_box(run());
    }
    let (begun, mut times) = (Instant::now(), 0_u32);
    while begun.elapsed() < SPAN {
        black_box(run());
        times += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{:.0} /s {name}, per second on one core",
        f64::from(times) / seconds
    );

    let _profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get();
    black_box(run());
    let after = dhat::HeapStats::get();
    println!(
        "{} allocations {name}, each",
        after.total_blocks - before.total_blocks
    );
    println!(
        "{} B {name}, allocated each",
        after.total_bytes - before.total_bytes
    );
}

/// Three containers, each with ten variables, a port, both probes, resources and a volume.
fn pod() -> Value {
    let container = |n: usize| {
        let env: Vec<Value> = (0..VARIABLES)
            .map(|v| json!({"name": format!("VARIABLE_{v}"), "value": format!("value {v} of $(VARIABLE_0)")}))
            .collect();
        let port = 8080 + n;
        json!({
            "name": format!("container-{n}"),
            "image": "registry.example.com/team/app:1.2.3",
            "command": ["/bin/app", "--name", "$(VARIABLE_1)"],
            "env": env,
            "ports": [{"name": "web", "containerPort": port}],
            "livenessProbe": {"httpGet": {"path": "/live", "port": "web"}},
            "readinessProbe": {"exec": {"command": ["cat", "/ready"]}},
            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}},
            "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        })
    };
    json!({
        "metadata": {"name": "bench", "namespace": "default", "uid": "3f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11"},
        "spec": {
            "nodeName": "node",
            "containers": (0..CONTAINERS).map(container).collect::<Vec<_>>(),
            "volumes": [{"name": "work", "emptyDir": {}}],
        },
    })
}

/// What ACI answers about the group of `body` once it runs.
fn view(body: &[u8]) -> Value {
    let mut group: Value = serde_json::from_slice(body).unwrap();
    let event = |name: &str| {
        json!({
            "count": 1, "firstTimestamp": "2026-11-23T09:59:00Z", "lastTimestamp": "2026-11-23T09:59:00Z",
            "name": name, "message": format!("{name} image \"registry.example.com/team/app:1.2.3\""), "type": "Normal",
        })
    };
    let events: Vec<Value> = ["Pulling", "Pulled", "Created", "Started"]
        .map(event)
        .into();
    if let Some(properties) = group.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("provisioningState".to_owned(), json!("Succeeded"));
        properties.insert(
            "instanceView".to_owned(),
            json!({"state": "Running", "events": []}),
        );
        let containers = properties
            .get_mut("containers")
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(properties) = container
                .get_mut("properties")
                .and_then(Value::as_object_mut)
            {
                let state = json!({"state": "Running", "startTime": "2026-11-23T09:59:00Z", "detailStatus": ""});
                let view = json!({"restartCount": 0, "currentState": state, "events": events});
                properties.insert("instanceView".to_owned(), view);
            }
        }
    }
    group
}
