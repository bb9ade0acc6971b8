//! Whatever a pod and its references say, what is made of them fits into a request.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{REQUEST, config_map, secret};
use crate::api::Os;
use crate::azure::model::SecretBytes;
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{Object, Resolved, container_group, small_group};

fn name() -> impl Strategy<Value = String> {
    select(vec!["A", "B", "C", "D", "K0", "K1", "P_K0", "A."]).prop_map(str::to_owned)
}

/// Text with references, some of it long.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        9 => name().prop_map(|name| format!("$({name})")),
        3 => "[$()\\\\PC]{0,4}",
        1 => (0_usize..400).prop_map(|n| "\u{1}\"x".repeat(n)),
    ];
    (vec(part, 0..12), 1_usize..12).prop_map(|(parts, times)| parts.concat().repeat(times))
}

fn object() -> impl Strategy<Value = Object> {
    let content = || {
        prop_oneof![
            3 => vec(any::<u8>(), 0..40),
            3 => text().prop_map(String::into_bytes),
            1 => (0_usize..60_000).prop_map(|n| vec![b'"'; n]),
        ]
    };
    let entries =
        move || proptest::collection::btree_map(name(), content().prop_map(SecretBytes::new), 0..6);
    (entries(), entries()).prop_map(|(data, binary)| Object {
        data,
        binary,
        ..Object::default()
    })
}

fn variable() -> impl Strategy<Value = Value> {
    let source = prop_oneof![
        name().prop_map(
            |key| json!({"configMapKeyRef": {"name": "any", "key": key, "optional": true}})
        ),
        name()
            .prop_map(|key| json!({"secretKeyRef": {"name": "any", "key": key, "optional": true}})),
        select(vec![
            "metadata.annotations['x']",
            "metadata.annotations",
            "metadata.labels",
            "metadata.name"
        ])
        .prop_map(|path| json!({"fieldRef": {"fieldPath": path}})),
    ];
    prop_oneof![
        3 => (name(), text()).prop_map(|(name, value)| json!({"name": name, "value": value})),
        1 => (name(), source).prop_map(|(name, source)| json!({"name": name, "valueFrom": source})),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let from = (select(vec!["", "P_", "="]), any::<bool>()).prop_map(|(prefix, secret)| {
        let kind = if secret { "secretRef" } else { "configMapRef" };
        json!({"prefix": prefix, kind: {"name": "any"}})
    });
    let mount = (0_usize..30, 0_usize..4, proptest::option::of(text())).prop_map(|(n, volume, path)| {
        json!({"name": format!("v{volume}"), "mountPath": format!("/{n}"), "subPathExpr": path})
    });
    (
        vec(variable(), 0..24),
        vec(from, 0..4),
        vec(text(), 0..3),
        vec(text(), 0..3),
        vec(mount, 0..6),
    )
        .prop_map(|(env, from, command, args, mounts)| {
            json!({"name": "c", "image": "e", "env": env, "envFrom": from, "command": command, "args": args, "volumeMounts": mounts})
        })
}

fn volume() -> impl Strategy<Value = Value> {
    let item = || (name(), "[a-b/]{1,6}").prop_map(|(key, path)| json!({"key": key, "path": path}));
    let items = move || vec(item(), 0..6);
    let fields = vec("[a-b]{1,3}", 0..6).prop_map(|paths| -> Value {
        let all = paths.into_iter();
        all.map(|path| json!({"path": path, "fieldRef": {"fieldPath": "metadata.annotations"}}))
            .collect()
    });
    let source = prop_oneof![
        items()
            .prop_map(|items| json!({"secret": {"name": "any", "items": items, "optional": true}})),
        items().prop_map(|items| json!({"configMap": {"name": "any", "items": items}})),
        fields
            .clone()
            .prop_map(|items| json!({"downwardAPI": {"items": items}})),
    ];
    prop_oneof![
        Just(json!({"emptyDir": {}})),
        Just(json!({"configMap": {"name": "any"}})),
        items().prop_map(|items| json!({"secret": {"secretName": "any", "items": items}})),
        fields.prop_map(|items| json!({"downwardAPI": {"items": items}})),
        vec(source, 0..4).prop_map(|sources| json!({"projected": {"sources": sources}})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_made_fits_into_a_request(
        containers in vec(container(), 1..3),
        volumes in vec(volume(), 4),
        (map, hidden) in (object(), object()),
        note in text(),
    ) {
        let mut containers = containers;
        for (n, container) in containers.iter_mut().enumerate() {
            container["name"] = json!(format!("c{n}"));
        }
        let named = |(n, mut volume): (usize, Value)| {
            volume["name"] = json!(format!("v{n}"));
            volume
        };
        let volumes: Value = volumes.into_iter().enumerate().map(named).collect();
        let changes = [
            ("/spec/containers", json!(containers)),
            ("/spec/volumes", volumes),
            ("/metadata/annotations", json!({"x": note})),
        ];
        let pod = pod(HELLO, &changes);
        let mut all = resolved();
        all.objects.insert(config_map("any"), Some(Arc::new(map)));
        all.objects.insert(secret("any"), Some(Arc::new(hidden)));
        for resolved in [&all, &Resolved::default()] {
            let done = container_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved);
            if let Ok(made) = &done {
                let body = serde_json::to_string(&made.group).unwrap();
                prop_assert!(body.len() <= REQUEST, "{}", body.len());
            }
            let small = small_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved);
            prop_assert!(small.is_none_or(|small| small == done));
        }
    }
}
