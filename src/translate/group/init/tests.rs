use serde_json::{Value, json};

use crate::api::Os;
use crate::translate::group::{Refusals, Translation, container_group};
use crate::translate::testing::{HELLO, IIS, defaults, owner, pod, resolved};

fn translate(text: &str, changes: &[(&str, Value)], os: Os) -> Result<Translation, Refusals> {
    let pod = pod(text, changes);
    container_group(&pod, &defaults(os), &owner(&pod), &resolved())
}

fn fields(init: Value, os: Os) -> Vec<String> {
    let text = if os == Os::Linux { HELLO } else { IIS };
    match translate(text, &[("/spec/initContainers", init)], os) {
        Ok(_) => Vec::new(),
        Err(refusals) => refusals.0.into_iter().map(|it| it.field).collect(),
    }
}

#[test]
fn init_containers_keep_their_order_and_what_aci_has() {
    let init = json!([
        {
            "name": "b",
            "image": "i:1",
            "command": ["sh", "$(A)"],
            "args": ["-c"],
            "env": [{"name": "A", "value": "1"}],
            "volumeMounts": [{"name": "kube-api-access-q9wzc", "mountPath": "/t", "readOnly": true}],
            "securityContext": {"runAsUser": 7},
        },
        {"name": "a", "image": "i:2"},
    ]);
    let changes = [
        ("/spec/initContainers", init),
        ("/spec/containers/0/volumeMounts", json!([])),
    ];
    let translation = translate(HELLO, &changes, Os::Linux).unwrap();
    assert_eq!(translation.notes, []);
    let body = serde_json::to_value(&translation.group).unwrap();
    let hostname = json!({"name": "HOSTNAME", "value": "aci-helloworld-5d6f7c8b9d-x7k2p"});
    let expected = json!([
        {"name": "b", "properties": {
            "image": "i:1",
            "command": ["sh", "1", "-c"],
            "environmentVariables": [{"name": "A", "value": "1"}, hostname],
            "volumeMounts": [{"name": "kube-api-access-q9wzc", "mountPath": "/t", "readOnly": true}],
            "securityContext": {"runAsUser": 7},
        }},
        {"name": "a", "properties": {"image": "i:2", "environmentVariables": [hostname]}},
    ]);
    assert_eq!(body["properties"]["initContainers"], expected);
    // The volume is there although only an init container mounts it.
    assert_eq!(
        body["properties"]["volumes"][0]["name"],
        "kube-api-access-q9wzc"
    );
}

#[test]
fn the_group_is_large_enough_for_each_init_container() {
    let table = [
        (json!({}), json!({"cpu": 1.0, "memoryInGB": 1.5})),
        (
            json!({"requests": {"cpu": "2500m"}, "limits": {"cpu": "8"}}),
            json!({"cpu": 2.5, "memoryInGB": 1.5}),
        ),
        (
            json!({"limits": {"memory": "3Gi"}}),
            json!({"cpu": 1.0, "memoryInGB": 3.3}),
        ),
        (
            json!({"requests": {"cpu": "10m", "memory": "1Mi"}}),
            json!({"cpu": 1.0, "memoryInGB": 1.5}),
        ),
    ];
    for (resources, expected) in table {
        let init = json!([{"name": "i", "image": "i", "resources": resources}]);
        let changes = [("/spec/initContainers", init)];
        let group = translate(HELLO, &changes, Os::Linux).unwrap().group;
        let body = serde_json::to_value(&group.properties.containers[0]).unwrap();
        let requests = &body["properties"]["resources"]["requests"];
        assert_eq!(*requests, expected, "{resources}");
    }
    let large = json!([{"name": "i", "image": "i", "resources": {"requests": {"cpu": "32"}}}]);
    assert_eq!(fields(large, Os::Linux), ["spec.containers"]);
}

#[test]
fn a_sidecar_runs_along_and_blocks_nothing() {
    let init = json!([
        {"name": "first", "image": "i"},
        {
            "name": "proxy",
            "image": "p",
            "restartPolicy": "Always",
            "ports": [{"containerPort": 90, "name": "up"}],
            "livenessProbe": {"httpGet": {"port": "up"}},
        },
    ]);
    let translation = translate(HELLO, &[("/spec/initContainers", init)], Os::Linux).unwrap();
    let told: Vec<&str> = translation.notes.iter().map(|it| &*it.field).collect();
    assert_eq!(told, ["spec.initContainers[1].restartPolicy"]);
    let properties = translation.group.properties;
    let names: Vec<&str> = properties.containers.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["aci-helloworld", "proxy"]);
    assert_eq!(properties.init_containers.len(), 1);
    let proxy = &properties.containers[1].properties;
    assert!(proxy.resources.is_some() && proxy.liveness_probe.is_some());
    assert_eq!(properties.ip_address.unwrap().ports.len(), 2);
}

#[test]
fn what_an_init_container_cannot_have_is_refused_by_name() {
    let exec = json!({"exec": {"command": ["true"]}});
    let sidecar = |member: &str, value: Value| {
        let mut sidecar = json!({"name": "i", "image": "i", "restartPolicy": "Always"});
        sidecar[member] = value;
        json!([sidecar])
    };
    let table = [
        ("image", json!(""), "image"),
        ("lifecycle", json!({"preStop": exec}), "lifecycle"),
        ("livenessProbe", exec.clone(), "livenessProbe"),
        ("readinessProbe", exec.clone(), "readinessProbe"),
        ("startupProbe", exec.clone(), "startupProbe"),
        ("restartPolicy", json!("Never"), "restartPolicy"),
        ("env", json!([{"name": "9", "value": "x"}]), "env[0].name"),
        (
            "securityContext",
            json!({"runAsNonRoot": true, "runAsUser": 0}),
            "securityContext.runAsNonRoot",
        ),
        (
            "volumeMounts",
            json!([{"name": "kube-api-access-q9wzc", "mountPath": "/a", "subPath": "x"}]),
            "volumeMounts[0].subPath",
        ),
        (
            "resources",
            json!({"requests": {"cpu": "lots"}}),
            "resources.requests[cpu]",
        ),
    ];
    for (member, value, field) in table {
        let mut init = json!({"name": "i", "image": "i"});
        init[member] = value;
        let expected = format!("spec.initContainers[1].{field}");
        let init = json!([{"name": "h", "image": "i"}, init]);
        assert_eq!(fields(init, Os::Linux), [expected]);
    }
    for (member, value, field) in [
        ("livenessProbe", json!({}), "livenessProbe"),
        ("tty", json!(true), "tty"),
    ] {
        let expected = format!("spec.initContainers[0].{field}");
        assert_eq!(fields(sidecar(member, value), Os::Linux), [expected]);
    }
    let open = json!([{"name": "i", "image": "i", "ports": [{"containerPort": 81}]}]);
    assert_eq!(fields(open, Os::Linux), [""; 0], "it has ended before");
    let plain = sidecar("image", json!("i"));
    assert_eq!(fields(plain.clone(), Os::Windows), ["spec.initContainers"]);
    for policy in ["Never", "OnFailure"] {
        let changes = [
            ("/spec/initContainers", plain.clone()),
            ("/spec/restartPolicy", json!(policy)),
        ];
        let translation = translate(HELLO, &changes, Os::Linux).unwrap();
        assert_eq!(
            translation.notes[0].field,
            "spec.initContainers[0].restartPolicy"
        );
        assert_eq!(translation.group.properties.containers.len(), 2);
    }
}

#[test]
fn init_containers_have_a_limit() {
    let many = |count: usize| -> Value {
        (0..count)
            .map(|n| json!({"name": format!("i{n}"), "image": "i"}))
            .collect()
    };
    assert_eq!(fields(many(59), Os::Linux), [""; 0]);
    assert_eq!(fields(many(60), Os::Linux), ["spec.initContainers"]);
}
