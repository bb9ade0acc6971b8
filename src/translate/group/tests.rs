use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Note, Reference, Refusals, Resolved, Translation, container_group};
use crate::api::Os;
use crate::translate::testing::{HELLO, IIS, defaults, owner, pod, resolved};

mod any;
pub(super) mod body;
mod budget;
mod dns;
mod features;
mod limits;
mod mutants;
mod not_enforced;
mod refusals;

fn translate(pod: &Pod, os: Os) -> Result<Translation, Refusals> {
    container_group(pod, &defaults(os), &owner(pod), &resolved())
}

/// The PUT body of the Linux fixture with `changes`, checked as ACI would.
fn linux(changes: &[(&str, Value)]) -> Value {
    let translation =
        translate(&pod(HELLO, changes), Os::Linux).unwrap_or_else(|refusals| panic!("{refusals}"));
    let body = serde_json::to_value(&translation.group).unwrap();
    body::check(&body).unwrap_or_else(|why| panic!("{why}\n{body:#}"));
    body
}

fn refused(text: &str, changes: &[(&str, Value)], os: Os) -> Vec<(String, &'static str)> {
    let refusals = translate(&pod(text, changes), os)
        .err()
        .map(|refusals| refusals.0)
        .unwrap_or_default();
    refusals
        .into_iter()
        .map(|refusal| (refusal.field, refusal.reason))
        .collect()
}

const C0: &str = "/spec/containers/0";

fn c0(member: &str) -> String {
    format!("{C0}/{member}")
}

#[test]
fn the_walk_through_pod_on_linux() {
    let body = linux(&[]);
    let expected = json!({
        "location": "eastus",
        "tags": {
            "vkc-cluster": "c1",
            "vkc-connector": "k1",
            "vkc-image": "microsoft/aci-helloworld",
            "vkc-namespace": "default",
            "vkc-node": "virtual-kubelet-virtual-kubelet-linux-eastus",
            "vkc-pod": "aci-helloworld-5d6f7c8b9d-x7k2p",
            "vkc-uid": "3f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11",
        },
        "properties": {
            "osType": "Linux",
            "sku": "Standard",
            "restartPolicy": "Always",
            "containers": [{
                "name": "aci-helloworld",
                "properties": {
                    "image": "microsoft/aci-helloworld",
                    "environmentVariables": [
                        {"name": "HOSTNAME", "value": "aci-helloworld-5d6f7c8b9d-x7k2p"},
                    ],
                    "ports": [{"port": 80, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": 1.0, "memoryInGB": 1.5}},
                    "volumeMounts": [{
                        "name": "kube-api-access-q9wzc",
                        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                        "readOnly": true,
                    }],
                },
            }],
            "volumes": [{
                "name": "kube-api-access-q9wzc",
                "secret": {"token": "dDBrZW4=", "ca.crt": "LS0tLS1CRUdJTg==", "namespace": "ZGVmYXVsdA=="},
            }],
            "ipAddress": {"type": "Public", "ports": [{"port": 80, "protocol": "TCP"}]},
        },
    });
    assert_eq!(body, expected);
    let translation = translate(&pod(HELLO, &[]), Os::Linux).unwrap();
    assert_eq!(translation.notes, Vec::<Note>::new());
}

#[test]
fn the_walk_through_pod_on_windows_has_no_volumes() {
    let iis = pod(IIS, &[]);
    let translation = container_group(
        &iis,
        &defaults(Os::Windows),
        &owner(&iis),
        &Resolved::default(),
    )
    .unwrap();
    assert_eq!(
        translation.references,
        [Reference::Services, Reference::Kubernetes]
    );
    let body = serde_json::to_value(&translation.group).unwrap();
    body::check(&body).unwrap();
    let expected = json!({
        "osType": "Windows",
        "sku": "Standard",
        "restartPolicy": "Always",
        "containers": [{
            "name": "nanoserver-iis",
            "properties": {
                "image": "microsoft/iis:nanoserver",
                "ports": [{"port": 80, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": 1.0, "memoryInGB": 1.5}},
            },
        }],
        "ipAddress": {"type": "Public", "ports": [{"port": 80, "protocol": "TCP"}]},
    });
    assert_eq!(body["properties"], expected);
    assert_eq!(translation.notes, Vec::<Note>::new());
}

#[test]
fn the_service_account_s_volume_needs_a_token_and_the_ca() {
    let review = |pod: &Pod, resolved: &Resolved| {
        container_group(pod, &defaults(Os::Linux), &owner(pod), resolved)
    };
    let hello = pod(HELLO, &[]);
    let expected = vec![
        Reference::ConfigMap("kube-root-ca.crt".to_owned()),
        Reference::ServiceAccountToken {
            audience: None,
            expiration_seconds: Some(3607),
        },
        Reference::Services,
        Reference::Kubernetes,
    ];
    let unfetched = review(&hello, &Resolved::default()).unwrap();
    assert_eq!(unfetched.references, expected);
    let mut without = resolved();
    without
        .objects
        .values_mut()
        .for_each(|object| *object = None);
    let missing = review(&hello, &without).unwrap_err();
    let told: Vec<_> = missing
        .0
        .iter()
        .map(|refusal| (refusal.field.as_str(), refusal.reason, refusal.is_retryable))
        .collect();
    assert_eq!(
        told,
        [
            (
                "spec.volumes[0].projected.sources[0].serviceAccountToken",
                "MissingReference",
                true
            ),
            (
                "spec.volumes[0].projected.sources[1].configMap",
                "FailedMount",
                true
            ),
        ]
    );
    let unmounted = pod(HELLO, &[(&c0("volumeMounts"), json!([]))]);
    let unmounted = review(&unmounted, &Resolved::default()).unwrap();
    assert_eq!(
        unmounted.references,
        [Reference::Services, Reference::Kubernetes]
    );
}

#[test]
fn secrets_do_not_show_in_debug() {
    let translation = translate(&pod(HELLO, &[]), Os::Linux).unwrap();
    let shown = format!("{translation:?} {:?}", resolved());
    assert!(
        !shown.contains("t0ken") && !shown.contains("dDBrZW4"),
        "{shown}"
    );
}

#[test]
fn command_args_and_environment_are_expanded_in_order() {
    let body = linux(&[
        (&c0("command"), json!(["/bin/$(DIR)", "$$(DIR)"])),
        (
            &c0("args"),
            json!(["--name=$(NAME)", "$(LATER)", "$(NOBODY)"]),
        ),
        (
            &c0("env"),
            json!([
                {"name": "DIR", "value": "old"},
                {"name": "NAME", "value": "$(DIR)-$(LATER)"},
                {"name": "EMPTY"},
                {"name": "LATER", "value": ""},
                {"name": "DIR", "value": "sh"},
            ]),
        ),
    ]);
    let container = &body["properties"]["containers"][0]["properties"];
    assert_eq!(
        container["command"],
        json!(["/bin/sh", "$(DIR)", "--name=old-$(LATER)", "", "$(NOBODY)"])
    );
    let expected = json!([
        {"name": "NAME", "value": "old-$(LATER)"},
        {"name": "EMPTY", "value": ""},
        {"name": "LATER", "value": ""},
        {"name": "DIR", "value": "sh"},
        {"name": "HOSTNAME", "value": "aci-helloworld-5d6f7c8b9d-x7k2p"},
    ]);
    assert_eq!(container["environmentVariables"], expected);
}

#[test]
fn args_alone_follow_the_entry_point_of_the_image() {
    let pod = |image: &str| {
        let container = json!([{
            "name": "c", "image": image, "args": ["--dir=$(DIR)", "x"], "env": [{"name": "DIR", "value": "/d"}],
        }]);
        let changes = [
            ("/spec/containers", container.clone()),
            ("/spec/initContainers", container),
            ("/spec/initContainers/0/name", json!("i")),
        ];
        pod(HELLO, &changes)
    };
    for (image, expected) in [
        // What the image says is not expanded.
        ("e", json!(["/entry", "$(HOME)", "--dir=/d", "x"])),
        ("bare", json!(["--dir=/d", "x"])),
    ] {
        let pod = pod(image);
        let made = container_group(&pod, &defaults(Os::Linux), &owner(&pod), &resolved()).unwrap();
        let body = serde_json::to_value(&made.group).unwrap();
        for list in ["containers", "initContainers"] {
            let container = &body["properties"][list][0]["properties"];
            assert_eq!(container["command"], expected, "{list} of {image}");
        }
        assert_eq!(made.notes, []);
    }
    let unread = pod("unread");
    let made = container_group(&unread, &defaults(Os::Linux), &owner(&unread), &resolved());
    let unread: Vec<_> = made.unwrap().references;
    let unread: Vec<_> = unread.iter().filter(|it| !resolved().knows(it)).collect();
    assert_eq!(unread, [&Reference::Image("unread".to_owned())]);
    // A command of its own, or none at all, needs nothing of the image.
    for container in [
        json!({"name": "c", "image": "i", "command": ["a"], "args": ["b"]}),
        json!({"name": "c", "image": "i"}),
    ] {
        let pod = self::pod(HELLO, &[("/spec/containers", json!([container]))]);
        let made = container_group(&pod, &defaults(Os::Linux), &owner(&pod), &resolved());
        assert!(
            made.unwrap()
                .references
                .iter()
                .all(|it| it.image().is_none())
        );
    }
}

#[test]
fn addresses_follow_the_connector() {
    let ports = json!([
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 53, "protocol": "TCP", "name": "dns"},
        {"containerPort": 53, "protocol": "TCP", "name": "again"},
    ]);
    let dns = pod(HELLO, &[(&c0("ports"), ports)]);
    let none = pod(HELLO, &[(&c0("ports"), json!([]))]);
    let subnet =
        "/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/n";
    let table = [
        (&dns, None, false, json!(null), json!(null)),
        (&none, None, true, json!(null), json!(null)),
        (&dns, None, true, json!("Public"), json!(null)),
        (
            &dns,
            Some(subnet),
            true,
            json!("Private"),
            json!([{"id": subnet}]),
        ),
        (
            &none,
            Some(subnet),
            false,
            json!(null),
            json!([{"id": subnet}]),
        ),
    ];
    for (pod, subnet, public_ip, kind, subnets) in table {
        let subnet_id = subnet.map(str::to_owned);
        let defaults = crate::translate::GroupDefaults {
            subnet_id,
            public_ip,
            ..defaults(Os::Linux)
        };
        let translation = container_group(pod, &defaults, &owner(pod), &resolved()).unwrap();
        let body = serde_json::to_value(&translation.group).unwrap();
        body::check(&body).unwrap();
        assert_eq!(body["properties"]["ipAddress"]["type"], kind);
        assert_eq!(body["properties"]["subnetIds"], subnets);
        if !kind.is_null() {
            let expected =
                json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
            assert_eq!(body["properties"]["ipAddress"]["ports"], expected);
        }
    }
}

#[test]
fn volumes_get_names_that_aci_takes() {
    let body = linux(&[
        (
            "/spec/volumes",
            json!([{"name": "d", "emptyDir": {}}, {"name": "unused", "emptyDir": {}}]),
        ),
        (
            &c0("volumeMounts"),
            json!([{"name": "d", "mountPath": "/a"}, {"name": "d", "mountPath": "/b", "readOnly": true}]),
        ),
    ]);
    let volumes = body["properties"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 1);
    let name = &volumes[0]["name"];
    assert_eq!(volumes[0]["emptyDir"], json!({}));
    let mounts = &body["properties"]["containers"][0]["properties"]["volumeMounts"];
    assert_eq!(
        *mounts,
        json!([{"name": name, "mountPath": "/a"}, {"name": name, "mountPath": "/b", "readOnly": true}])
    );
}

#[test]
fn restart_policy_zone_and_tags_go_along() {
    let hello = pod(HELLO, &[("/spec/restartPolicy", json!("Never"))]);
    let mut defaults = defaults(Os::Linux);
    defaults.zones = vec!["2".to_owned(), "1".to_owned()];
    defaults.tags.insert("team".to_owned(), "a".to_owned());
    defaults
        .tags
        .insert("VKC-UID".to_owned(), "mine".to_owned());
    let group = container_group(&hello, &defaults, &owner(&hello), &resolved())
        .unwrap()
        .group;
    assert_eq!(group.properties.restart_policy.as_deref(), Some("Never"));
    assert_eq!(group.zones, ["2"]);
    assert_eq!(group.tags.get("team").map(String::as_str), Some("a"));
    assert_eq!(
        crate::translate::ownership(&group.tags),
        Some(owner(&hello))
    );
    assert!(!group.tags.contains_key("VKC-UID"));
}

#[test]
fn a_step_of_tekton_is_told_what_it_waits_for_in_vain() {
    let ready = json!({"path": "ready", "fieldRef": {"fieldPath": "metadata.annotations['tekton.dev/ready']"}});
    let name = json!({"path": "name", "fieldRef": {"fieldPath": "metadata.name"}});
    let pod = |items: Value, message_path: &str| {
        pod(
            HELLO,
            &[
                (
                    "/spec/volumes/-",
                    json!({"name": "downward", "downwardAPI": {"items": items}}),
                ),
                (
                    &c0("volumeMounts/-"),
                    json!({"name": "downward", "mountPath": "/d"}),
                ),
                (&c0("terminationMessagePath"), json!(message_path)),
            ],
        )
    };
    let notes = |pod: &Pod| {
        let made = translate(pod, Os::Linux).unwrap();
        made.notes
            .into_iter()
            .map(|note| note.field)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        notes(&pod(json!([name, ready]), "/tekton/termination")),
        [
            "spec.volumes[1].downwardAPI.items",
            "spec.containers[0].terminationMessagePath"
        ]
    );
    assert!(notes(&pod(json!([name]), "/dev/termination-log")).is_empty());
}
