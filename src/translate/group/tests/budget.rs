//! Small pods that say much: each way to make a group larger than what a pod and its references hold is refused before it is
//! built, and costs time in proportion to the pod.

use std::sync::Arc;

use serde_json::{Value, json};

use super::c0;
use crate::api::Os;
use crate::azure::model::SecretBytes;
use crate::translate::testing::{HELLO, defaults, object, owner, pod, resolved};
use crate::translate::{
    Object, Reference, Refusal, Refusals, Resolved, Service, Translation, container_group,
};

/// What ARM takes as a request.
const REQUEST: usize = 4 * 1024 * 1024;

fn translate(
    changes: &[(&str, Value)],
    resolved: &Resolved,
) -> (usize, Result<Translation, Refusals>) {
    let pod = pod(HELLO, changes);
    let size = serde_json::to_string(&pod).unwrap().len();
    let done = container_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved);
    (size, done)
}

/// The only refusal, which is for what would be too much. `said`: words of it.
fn exceeds(changes: &[(&str, Value)], resolved: &Resolved, said: &[&str]) -> Refusal {
    let (_, done) = translate(changes, resolved);
    let refusals = match done {
        Err(refusals) => refusals.0,
        Ok(made) => panic!(
            "{} bytes are made",
            serde_json::to_string(&made.group).unwrap().len()
        ),
    };
    let [refusal] = refusals.as_slice() else {
        panic!("{refusals:?}");
    };
    assert_eq!(refusal.reason, "ExceedsAciLimits", "{refusal:?}");
    for words in said {
        assert!(
            refusal.message.contains(words),
            "{words:?}: {}",
            refusal.message
        );
    }
    refusal.clone()
}

fn with(references: &[(Reference, Object)]) -> Resolved {
    let mut resolved = resolved();
    for (reference, object) in references {
        let object = Some(Arc::new(object.clone()));
        resolved.objects.insert(reference.clone(), object);
    }
    resolved
}

fn config_map(name: &str) -> Reference {
    Reference::ConfigMap(name.to_owned())
}

fn secret(name: &str) -> Reference {
    Reference::Secret(name.to_owned())
}

/// An object of `count` entries of `size` bytes.
fn entries(count: usize, size: usize) -> Object {
    let entry = |n| (format!("K{n}"), SecretBytes::new(vec![b'x'; size]));
    Object {
        data: (0..count).map(entry).collect(),
        ..Object::default()
    }
}

/// Variables of which each is twice the one before, `levels` times, after `first`.
fn doubling(first: Value, levels: usize) -> Vec<Value> {
    let mut env = vec![first];
    env.extend(
        (1..=levels).map(
            |n| json!({"name": format!("A{n}"), "value": format!("$(A{})$(A{})", n - 1, n - 1)}),
        ),
    );
    env
}

const FOUR: &[&str] = &["over 4 MB", "more than Azure takes"];

#[test]
fn variables_that_double_are_refused_in_place() {
    let env = doubling(json!({"name": "A0", "value": "0123456789abcdef"}), 22);
    let changes = [(&*c0("env"), json!(env))];
    let (size, _) = translate(&changes, &resolved());
    assert!(size < 5_000, "{size}");
    let refusal = exceeds(&changes, &resolved(), FOUR);
    assert!(refusal.message.starts_with("the environment would be"));
    // What is made before the last: 16 bytes times 2^0 to 2^16 and 2^17.
    assert_eq!(refusal.field, "spec.containers[0].env[17]");
    assert!(!refusal.is_retryable, "only another pod helps");
    let init = json!([{"name": "i", "image": "i", "env": env}]);
    let refusal = exceeds(&[("/spec/initContainers", init)], &resolved(), FOUR);
    assert_eq!(refusal.field, "spec.initContainers[0].env[17]");
}

#[test]
fn what_a_config_map_or_a_secret_makes_too_large_heals_when_that_changes() {
    for (source, reference) in [
        ("configMapKeyRef", config_map("big")),
        ("secretKeyRef", secret("big")),
    ] {
        let first =
            |key: &str| json!({"name": "A0", "valueFrom": {source: {"name": "big", "key": key}}});
        let resolved = with(&[(reference, entries(1, 100_000))]);
        let changes = [(&*c0("env"), json!(doubling(first("K0"), 6)))];
        assert!(exceeds(&changes, &resolved, FOUR).is_retryable);
        // An empty value would not help here: the rest of it is the pod's own.
        let mut env = doubling(
            json!({"name": "A0", "value": format!("$(BIG){}", "y".repeat(100))}),
            16,
        );
        env.insert(
            0,
            json!({"name": "BIG", "valueFrom": {source: {"name": "big", "key": "K0"}}}),
        );
        let small = match source {
            "configMapKeyRef" => with(&[(config_map("big"), entries(1, 1))]),
            _ => with(&[(secret("big"), entries(1, 1))]),
        };
        let changes = [(&*c0("env"), json!(env))];
        assert!(!exceeds(&changes, &small, FOUR).is_retryable);
    }
}

#[test]
fn words_of_a_command_count() {
    let env = json!([{"name": "BIG", "value": "x".repeat(10_000)}]);
    for (member, text) in [
        ("command", "$(BIG)".repeat(1_000)),
        ("args", "$(BIG)".repeat(1_000)),
    ] {
        let changes = [
            (&*c0("env"), env.clone()),
            (&*c0("command"), json!(["run"])),
            (&*c0(member), json!([text])),
        ];
        let refusal = exceeds(&changes, &resolved(), FOUR);
        assert_eq!(refusal.field, "spec.containers[0].command");
        let words = vec!["$(BIG)"; 1_000];
        let changes = [
            (&*c0("env"), env.clone()),
            (&*c0("command"), json!(["run"])),
            (&*c0(member), json!(words)),
        ];
        exceeds(&changes, &resolved(), FOUR);
    }
}

#[test]
fn paths_by_expression_count() {
    let mount = |n: usize| json!({"name": "d", "mountPath": format!("/{n}"), "subPathExpr": format!("{n}/{}", "$(BIG)".repeat(100))});
    let changes = [
        (
            &*c0("env"),
            json!([{"name": "BIG", "value": "x".repeat(10_000)}]),
        ),
        ("/spec/volumes/-", json!({"name": "d", "emptyDir": {}})),
        (&*c0("volumeMounts"), (0..15).map(mount).collect()),
    ];
    let refusal = exceeds(&changes, &resolved(), FOUR);
    assert_eq!(
        refusal.field,
        "spec.containers[0].volumeMounts[4].subPathExpr"
    );
}

#[test]
fn an_annotation_in_many_variables_counts() {
    for path in ["metadata.annotations['x']", "metadata.annotations"] {
        let one =
            |n| json!({"name": format!("V{n}"), "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let changes = [
            ("/metadata/annotations", json!({"x": "\n".repeat(200_000)})),
            (&*c0("env"), (0..300).map(one).collect()),
        ];
        let refusal = exceeds(&changes, &resolved(), FOUR);
        assert!(!refusal.is_retryable);
        assert!(refusal.field.ends_with("valueFrom.fieldRef"), "{refusal:?}");
        let item = |n| json!({"path": format!("{n}"), "fieldRef": {"fieldPath": path}});
        let items: Value = (0..300).map(item).collect();
        let changes = [
            ("/metadata/annotations", json!({"x": "\n".repeat(200_000)})),
            (
                "/spec/volumes/-",
                json!({"name": "d", "downwardAPI": {"items": items}}),
            ),
            (
                &c0("volumeMounts/-"),
                json!({"name": "d", "mountPath": "/d"}),
            ),
        ];
        exceeds(&changes, &resolved(), &["would be"]);
    }
}

#[test]
fn one_config_map_under_many_prefixes_counts() {
    let source = |n| json!({"prefix": format!("P{n}_"), "configMapRef": {"name": "big"}});
    let changes = [(&*c0("envFrom"), (0..200).map(source).collect())];
    let resolved = with(&[(config_map("big"), entries(1_000, 900))]);
    let refusal = exceeds(&changes, &resolved, FOUR);
    assert_eq!(refusal.field, "spec.containers[0].envFrom[4]");
    assert!(refusal.is_retryable);
    // Without values it is the number that is too large, and names that ACI does not take cost what others do.
    for (count, prefix) in [(10_000, "P"), (10_000, "P."), (10_000, "=")] {
        let source =
            |n| json!({"prefix": format!("{prefix}{n}"), "configMapRef": {"name": "many"}});
        let changes = [(&*c0("envFrom"), (0..2_000).map(source).collect())];
        let resolved = with(&[(config_map("many"), entries(count, 0))]);
        let (_, done) = translate(&changes, &resolved);
        let refusals = done.unwrap_err();
        let told = refusals
            .0
            .iter()
            .filter(|it| it.reason == "ExceedsAciLimits");
        assert_eq!(told.count(), 1, "{refusals}");
        assert!(refusals.0.len() < 200, "{}", refusals.0.len());
    }
}

#[test]
fn one_secret_in_many_volumes_and_in_many_mounts_is_one_copy_or_refused() {
    let volume = |n| json!({"name": format!("v{n}"), "secret": {"secretName": "big"}});
    let mount = |n: usize, volume: usize| json!({"name": format!("v{volume}"), "mountPath": format!("/{n}")});
    let resolved = with(&[(secret("big"), entries(1, 1_000_000))]);
    let changes = |volumes: usize, mounts: usize| {
        [
            ("/spec/volumes", (0..volumes).map(volume).collect::<Value>()),
            (
                "/spec/containers/0/volumeMounts",
                (0..mounts).map(|n| mount(n, n % volumes)).collect(),
            ),
        ]
    };
    let said = [
        "the files of Secrets and ConfigMaps would be",
        "4000008 characters of base64",
        "3500000",
    ];
    let refusal = exceeds(&changes(20, 20), &resolved, &said[..]);
    assert_eq!(refusal.field, "spec.volumes[2]");
    assert!(refusal.is_retryable);
    let (_, many) = translate(&changes(2_000, 2_000), &resolved);
    let fields: Vec<_> = many.unwrap_err().0.into_iter().map(|it| it.field).collect();
    assert!(fields.contains(&"spec.volumes".to_owned()), "{fields:?}");
    let (_, one) = translate(&changes(2, 3_000), &resolved);
    let one = one.unwrap().group.properties;
    assert_eq!(
        (
            one.volumes.len(),
            one.containers[0].properties.volume_mounts.len()
        ),
        (2, 3_000)
    );
}

#[test]
fn projected_copies_and_many_small_files_count() {
    let item = |n| json!({"key": "K0", "path": format!("f{n}")});
    let items: Value = (0..500).map(item).collect();
    let projected = json!({"name": "p", "projected": {"sources": [{"secret": {"name": "big", "items": items}}]}});
    let mount = |name: &str| {
        (
            c0("volumeMounts/-"),
            json!({"name": name, "mountPath": "/p"}),
        )
    };
    let (at, mounted) = mount("p");
    let changes = [("/spec/volumes/-", projected), (&*at, mounted)];
    let resolved = with(&[
        (secret("big"), entries(1, 100_000)),
        (secret("many"), entries(5_000, 0)),
    ]);
    assert!(exceeds(&changes, &resolved, &["characters of base64"]).is_retryable);
    let sources = json!(vec![json!({"secret": {"name": "many"}}); 3_000]);
    let projected = json!({"name": "p", "projected": {"sources": sources}});
    let (at, mounted) = mount("p");
    let (_, done) = translate(
        &[("/spec/volumes/-", projected), (&*at, mounted)],
        &resolved,
    );
    let refusals = done.unwrap_err();
    let told = refusals.0.iter().find(|it| it.reason == "ExceedsAciLimits");
    assert!(told.unwrap().message.contains("files"), "{refusals}");
}

#[test]
fn the_directories_of_a_deep_path_are_not_written_out() {
    let path = "a/".repeat(30_000) + "f";
    let volume = json!({"name": "p", "secret": {"secretName": "s", "items": [{"key": "USER", "path": path}]}});
    let changes = [
        ("/spec/volumes/-", volume),
        (
            &*c0("volumeMounts/-"),
            json!({"name": "p", "mountPath": "/p", "subPath": "a/a/a"}),
        ),
    ];
    let (_, done) = translate(&changes, &resolved());
    assert_eq!(done.unwrap_err().0.len(), 1);
}

#[test]
fn variables_of_services_count() {
    let ports = (1..=140).map(|n| json!({"port": n, "name": format!("p{n}")}));
    let service = json!({
        "metadata": {"name": "a".repeat(30), "namespace": "default"},
        "spec": {"clusterIP": "10.0.0.1", "ports": ports.collect::<Value>()},
    });
    let service = Service::of(&serde_json::from_value(service).unwrap()).unwrap();
    let with = |services: Vec<Service>| Resolved {
        services: Some(Arc::from(services)),
        ..resolved()
    };
    let one = |n| json!({"name": format!("c{n}"), "image": "i", "resources": {"requests": {"cpu": "10m", "memory": "1M"}}});
    let containers: Value = (0..60).map(one).collect();
    let twice = [
        service.clone(),
        Service {
            name: "b".repeat(30),
            ..service
        },
    ];
    let changes = [("/spec/containers", containers)];
    let refusal = exceeds(&changes, &with(twice.to_vec()), FOUR);
    assert_eq!(refusal.field, "spec.enableServiceLinks");
    assert!(refusal.is_retryable && refusal.message.contains("enableServiceLinks"));
}

#[test]
fn the_key_of_a_share_is_copied_for_as_many_volumes_as_a_group_has() {
    let volume =
        |n| json!({"name": format!("v{n}"), "azureFile": {"secretName": "key", "shareName": "s"}});
    let mount = |n| json!({"name": format!("v{n}"), "mountPath": format!("/{n}")});
    let key = vec![b'k'; 1_000_000];
    let mut resolved = resolved();
    let share = object(&[
        ("azurestorageaccountname", b"a"),
        ("azurestorageaccountkey", &key),
    ]);
    resolved.objects.insert(secret("key"), Some(share));
    let changes = |count: usize| {
        [
            ("/spec/volumes", (0..count).map(volume).collect::<Value>()),
            (
                "/spec/containers/0/volumeMounts",
                (0..count).map(mount).collect(),
            ),
        ]
    };
    for count in [20, 2_000] {
        let refusal = exceeds(&changes(count), &resolved, FOUR);
        assert!(refusal.is_retryable);
        assert_eq!(refusal.field, "spec.volumes[4].azureFile");
    }
}

#[test]
fn a_group_of_nearly_four_megabytes_is_made() {
    let values = (0..38).map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(100_000)}));
    let (_, done) = translate(&[(&c0("env"), values.collect())], &resolved());
    let body = serde_json::to_string(&done.unwrap().group).unwrap();
    assert!((3_800_000..REQUEST).contains(&body.len()), "{}", body.len());
    // What is counted is what ARM gets, where a control character takes six.
    let values = (0..38).map(|n| json!({"name": format!("V{n}"), "value": "\u{1}".repeat(20_000)}));
    exceeds(&[(&c0("env"), values.collect())], &resolved(), FOUR);
    // Nothing but what the pod says itself.
    let words = vec!["x".repeat(100_000); 45];
    let probe = json!({"exec": {"command": words}});
    let refusal = exceeds(&[(&c0("livenessProbe"), probe)], &resolved(), FOUR);
    assert!(!refusal.is_retryable);
}

mod any;
mod time;
