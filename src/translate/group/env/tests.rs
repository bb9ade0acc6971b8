use serde_json::{Value, json};

use crate::api::Os;
use crate::azure::model::ContainerGroup;
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{Note, Refusals, Resolved, Translation, container_group};

/// The Linux fixture with this container.
fn translate(container: &Value, resolved: &Resolved) -> Result<Translation, Refusals> {
    let mut whole = json!({"name": "c", "image": "i"});
    for (member, value) in container.as_object().unwrap() {
        whole[member] = value.clone();
    }
    let changes = [
        ("/spec/containers", json!([whole])),
        ("/spec/serviceAccountName", json!("robot")),
        ("/metadata/labels", json!({"app": "web", "a/b": "x"})),
        ("/metadata/annotations", json!({"note": "two\nlines"})),
    ];
    let pod = pod(HELLO, &changes);
    container_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved)
}

/// All but what the runtime of a node adds.
fn variables(group: &ContainerGroup) -> Value {
    let mut all = all_variables(group);
    if let Some(all) = all.as_array_mut() {
        all.retain(|it| it["name"] != "HOSTNAME");
    }
    all
}

fn all_variables(group: &ContainerGroup) -> Value {
    let body = serde_json::to_value(group).unwrap();
    body["properties"]["containers"][0]["properties"]["environmentVariables"].clone()
}

/// The environment of `container`, and the reasons of its Events.
fn made(container: &Value) -> (Value, Vec<Note>) {
    let made = translate(container, &resolved()).unwrap_or_else(|why| panic!("{why}"));
    (variables(&made.group), made.notes)
}

fn refused(container: &Value) -> Vec<(String, &'static str, bool)> {
    let refusals = translate(container, &resolved()).unwrap_err().0;
    let told = refusals.into_iter();
    told.map(|it| (it.field, it.reason, it.is_retryable))
        .collect()
}

fn from(source: &str, selector: &Value) -> Value {
    json!({"env": [{"name": "V", "valueFrom": {source: selector}}]})
}

#[test]
fn what_a_pod_tells_about_itself() {
    let table = [
        ("metadata.name", "aci-helloworld-5d6f7c8b9d-x7k2p"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "3f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['a/b']", "x"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", "two\nlines"),
        (
            "spec.nodeName",
            "virtual-kubelet-virtual-kubelet-linux-eastus",
        ),
        ("spec.serviceAccountName", "robot"),
        ("status.hostIP", "10.1.2.3"),
        ("status.hostIPs", "10.1.2.3"),
    ];
    for (path, value) in table {
        let (env, notes) = made(&from("fieldRef", &json!({"fieldPath": path})));
        assert_eq!(env, json!([{"name": "V", "value": value}]), "{path}");
        assert_eq!(notes, []);
    }
    let at = "spec.containers[0].env[0].valueFrom.fieldRef".to_owned();
    for path in [
        "status.podIP",
        "status.podIPs",
        "spec.host",
        "metadata.labels['",
    ] {
        let got = refused(&from("fieldRef", &json!({"fieldPath": path})));
        assert_eq!(got, [(at.clone(), "NotSupportedOnAci", false)], "{path}");
    }
}

#[test]
fn resources_are_counted_in_their_divisor_and_rounded_up() {
    let both = json!({"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "1500m", "memory": "1Gi"}});
    let requests = json!({"requests": {"cpu": "250m", "memory": "64Mi"}});
    let table = [
        (&both, "limits.cpu", json!(null), "2"),
        (&both, "limits.cpu", json!("1m"), "1500"),
        (&both, "limits.cpu", json!("0"), "2"),
        (&both, "requests.cpu", json!(null), "1"),
        (&both, "requests.cpu", json!("1m"), "250"),
        (&both, "limits.memory", json!(null), "1073741824"),
        (&both, "limits.memory", json!("1Mi"), "1024"),
        (&both, "limits.memory", json!("1M"), "1074"),
        (&both, "requests.memory", json!("1Gi"), "1"),
        (&requests, "limits.cpu", json!("1m"), "250"),
        (&requests, "limits.memory", json!("1Mi"), "64"),
        (&json!({}), "limits.cpu", json!(null), "1"),
        (&json!({}), "limits.memory", json!("1M"), "1500"),
        (&json!({}), "requests.cpu", json!(null), "0"),
        (&json!({}), "requests.memory", json!(null), "0"),
    ];
    for (resources, resource, divisor, value) in table {
        let mut container = from(
            "resourceFieldRef",
            &json!({"resource": resource, "divisor": divisor}),
        );
        container["resources"] = resources.clone();
        let (env, _) = made(&container);
        assert_eq!(
            env,
            json!([{"name": "V", "value": value}]),
            "{resource} {divisor}"
        );
    }
    let other = json!({"resource": "limits.cpu", "containerName": "nobody"});
    assert_eq!(refused(&from("resourceFieldRef", &other)).len(), 1);
}

#[test]
fn a_secret_is_never_a_plain_value() {
    let (env, _) = made(&json!({
        "envFrom": [{"secretRef": {"name": "s"}, "prefix": "DB_"}],
        "env": [
            {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASS"}}},
            {"name": "NOTHING", "valueFrom": {"secretKeyRef": {"name": "s", "key": "EMPTY"}}},
            {"name": "URL", "value": "db://$(DB_USER):$(PASS)@host"},
            {"name": "AGAIN", "value": "[$(URL)]"},
            {"name": "TEXT", "value": "$$(PASS)"},
        ],
    }));
    let expected = json!([
        {"name": "DB_EMPTY", "secureValue": ""},
        {"name": "DB_PASS", "secureValue": "hush"},
        {"name": "DB_USER", "secureValue": "u"},
        {"name": "PASS", "secureValue": "hush"},
        {"name": "NOTHING", "secureValue": ""},
        {"name": "URL", "secureValue": "db://u:hush@host"},
        {"name": "AGAIN", "secureValue": "[db://u:hush@host]"},
        {"name": "TEXT", "value": "$(PASS)"},
    ]);
    assert_eq!(env, expected);
}

#[test]
fn the_later_of_two_variables_counts_and_all_before_are_seen() {
    let (env, notes) = made(&json!({
        "command": ["run", "$(A)", "$(B)"],
        "envFrom": [{"configMapRef": {"name": "c"}}, {"configMapRef": {"name": "c"}, "prefix": "X_"}],
        "env": [
            {"name": "SEEN", "value": "$(A)-$(B)-$(X_0)-$(LATER)"},
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "B"}}},
            {"name": "LATER", "value": ""},
        ],
    }));
    let expected = json!([
        {"name": "B", "value": "two"},
        {"name": "X_0", "value": "zero"},
        {"name": "X_A", "value": "1"},
        {"name": "X_B", "value": "two"},
        {"name": "SEEN", "value": "1-two-zero-$(LATER)"},
        {"name": "A", "value": "two"},
        {"name": "LATER", "value": ""},
    ]);
    assert_eq!(env, expected);
    let told: Vec<_> = notes
        .iter()
        .map(|note| (note.field.as_str(), note.reason))
        .collect();
    assert_eq!(
        told,
        [(
            "spec.containers[0].envFrom[0]",
            "InvalidEnvironmentVariableNames"
        )]
    );
    assert!(notes[0].message.ends_with(": 0"), "{}", notes[0].message);
}

#[test]
fn keys_that_aci_does_not_take_are_left_out_and_told() {
    let (env, notes) = made(&json!({"envFrom": [
        {"configMapRef": {"name": "dotted"}},
        {"configMapRef": {"name": "dotted"}, "prefix": "_"},
        {"secretRef": {"name": "s"}, "prefix": "_X_"},
    ]}));
    let names: Vec<_> = env
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["_X_EMPTY", "_X_PASS", "_X_USER"]);
    let told: Vec<_> = notes
        .iter()
        .map(|it| (it.field.as_str(), it.reason))
        .collect();
    let reason = "InvalidEnvironmentVariableNames";
    assert_eq!(
        told,
        [
            ("spec.containers[0].envFrom[0]", reason),
            ("spec.containers[0].envFrom[1]", reason)
        ]
    );
    assert!(notes[0].message.ends_with(": a.b"), "{}", notes[0].message);
    let refusals = translate(
        &json!({"env": [{"name": "3SCALE_URL", "value": "x"}]}),
        &resolved(),
    )
    .unwrap_err();
    let message = refusals.to_string();
    assert!(
        message.contains("variable \"3SCALE_URL\" of container c: "),
        "{message}"
    );
    let (env, _) = made(&json!({"env": [{"name": "_JAVA_OPTIONS", "value": "x"}, {"name": "X_"}]}));
    assert_eq!(env.as_array().unwrap().len(), 2);
}

#[test]
fn what_is_optional_is_left_out_and_told_once() {
    let key = |name: &str, key: &str| json!({"name": name, "key": key, "optional": true});
    let (env, notes) = made(&json!({
        "envFrom": [
            {"secretRef": {"name": "gone", "optional": true}},
            {"configMapRef": {"name": "gone", "optional": true}},
        ],
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": key("gone", "k")}},
            {"name": "B", "valueFrom": {"secretKeyRef": key("s", "k")}},
            {"name": "C", "valueFrom": {"configMapKeyRef": key("c", "k")}},
            {"name": "D", "value": "$(A)"},
        ],
    }));
    assert_eq!(env, json!([{"name": "D", "value": "$(A)"}]));
    let reasons: Vec<_> = notes.iter().map(|note| note.reason).collect();
    let expected = [
        "OptionalSecretNotFound",
        "OptionalConfigMapNotFound",
        "OptionalSecretKeyNotFound",
        "OptionalConfigMapKeyNotFound",
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn what_is_missing_heals() {
    let table = [
        (
            "secretKeyRef",
            json!({"name": "gone", "key": "k"}),
            "CreateContainerConfigError",
        ),
        (
            "secretKeyRef",
            json!({"name": "s", "key": "k"}),
            "CreateContainerConfigError",
        ),
        (
            "secretKeyRef",
            json!({"name": "raw", "key": "key"}),
            "ReferenceNotSupportedOnAci",
        ),
        (
            "configMapKeyRef",
            json!({"name": "gone", "key": "k"}),
            "CreateContainerConfigError",
        ),
        (
            "configMapKeyRef",
            json!({"name": "c", "key": "logo"}),
            "CreateContainerConfigError",
        ),
    ];
    for (source, selector, reason) in table {
        let at = format!("spec.containers[0].env[0].valueFrom.{source}");
        assert_eq!(refused(&from(source, &selector)), [(at, reason, true)]);
        let unfetched = translate(&from(source, &selector), &Resolved::default()).unwrap();
        // It, and what every pod is told of services.
        assert_eq!(unfetched.references.len(), 3);
    }
    for (source, name, reason) in [
        ("secretRef", "gone", "CreateContainerConfigError"),
        ("configMapRef", "gone", "CreateContainerConfigError"),
        ("secretRef", "raw", "ReferenceNotSupportedOnAci"),
    ] {
        let got = refused(&json!({"envFrom": [{source: {"name": name}}]}));
        assert_eq!(
            got,
            [("spec.containers[0].envFrom[0]".to_owned(), reason, true)]
        );
    }
    for (source, selector, message) in [
        (
            "secretKeyRef",
            json!({"name": "gone", "key": "k"}),
            "secret \"gone\" not found",
        ),
        (
            "configMapKeyRef",
            json!({"name": "gone", "key": "k"}),
            "configmap \"gone\" not found",
        ),
        (
            "secretKeyRef",
            json!({"name": "s", "key": "k"}),
            "couldn't find key k in Secret default/s",
        ),
        (
            "configMapKeyRef",
            json!({"name": "c", "key": "logo"}),
            "couldn't find key logo in ConfigMap default/c",
        ),
    ] {
        let refusals = translate(&from(source, &selector), &resolved()).unwrap_err();
        assert_eq!(refusals.as_kubelet().unwrap().message, message);
    }
    let mixed = json!({"tty": true, "envFrom": [{"secretRef": {"name": "gone"}}]});
    assert!(!translate(&mixed, &resolved()).unwrap_err().is_retryable());
    let message = translate(
        &from("secretKeyRef", &json!({"name": "raw", "key": "key"})),
        &resolved(),
    );
    assert!(!message.unwrap_err().to_string().contains('\u{fffd}'));
}

#[test]
fn the_host_name_is_in_the_environment_as_every_runtime_has_it() {
    let long = "x".repeat(62) + "-y";
    let table = [
        (json!({}), "web-0", "HOSTNAME=web-0"),
        (json!({"hostname": "other"}), "web-0", "HOSTNAME=other"),
        (
            json!({}),
            long.as_str(),
            &format!("HOSTNAME={}", "x".repeat(62)),
        ),
    ];
    for (spec, name, expected) in table {
        let container = json!({"name": "c", "image": "i", "command": ["echo", "$(HOSTNAME)"]});
        let mut changes = vec![
            ("/metadata/name", json!(name)),
            ("/spec/containers", json!([container])),
        ];
        if let Some(hostname) = spec.get("hostname") {
            changes.push(("/spec/hostname", hostname.clone()));
        }
        let pod = pod(HELLO, &changes);
        let made = container_group(&pod, &defaults(Os::Linux), &owner(&pod), &resolved()).unwrap();
        let all = all_variables(&made.group);
        let last = all.as_array().unwrap().last().unwrap();
        let told = format!(
            "{}={}",
            last["name"].as_str().unwrap(),
            last["value"].as_str().unwrap()
        );
        assert_eq!(told, expected);
        // It is the runtime's, and no name for Kubernetes to expand.
        let command = &made.group.properties.containers[0].properties.command;
        assert_eq!(command, &["echo", "$(HOSTNAME)"]);
    }
    let own = json!({"env": [{"name": "HOSTNAME", "value": "mine"}]});
    let made = translate(&own, &resolved()).unwrap();
    let all = all_variables(&made.group);
    let names: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["name"] == "HOSTNAME")
        .collect();
    assert_eq!(names, [&json!({"name": "HOSTNAME", "value": "mine"})]);
}
