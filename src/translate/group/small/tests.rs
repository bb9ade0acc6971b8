use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::api::Os;
use crate::azure::model::SecretBytes;
use crate::translate::testing::{HELLO, IIS, defaults, owner, pod, resolved};
use crate::translate::{Object, Reference, Resolved, Service, container_group, small_group};

fn is_small(pod: &Pod, resolved: &Resolved) -> bool {
    let (defaults, owner) = (defaults(Os::Linux), owner(pod));
    let done = small_group(pod, &defaults, &owner, resolved);
    if let Some(done) = &done {
        assert_eq!(
            *done,
            container_group(pod, &defaults, &owner, resolved),
            "it is the same"
        );
    }
    done.is_some()
}

#[test]
fn a_common_pod_is_small() {
    for text in [HELLO, IIS] {
        assert!(is_small(&pod(text, &[]), &resolved()));
        assert!(is_small(&pod(text, &[]), &Resolved::default()));
    }
    assert!(is_small(
        &Pod {
            metadata: pod(HELLO, &[]).metadata,
            ..Pod::default()
        },
        &resolved()
    ));
}

#[test]
fn one_with_much_of_anything_is_not() {
    let many = |one: Value| json!(vec![one; 600]);
    let table = [
        ("/spec/containers", many(json!({"name": "c", "image": "i"}))),
        (
            "/spec/initContainers",
            many(json!({"name": "c", "image": "i"})),
        ),
        ("/spec/containers/0/env", many(json!({"name": "A"}))),
        (
            "/spec/containers/0/envFrom",
            many(json!({"configMapRef": {"name": "c"}})),
        ),
        ("/spec/containers/0/args", many(json!("a"))),
        ("/spec/containers/0/args", json!(["a".repeat(100_000)])),
        (
            "/spec/containers/0/env",
            json!([{"name": "A", "value": "a".repeat(100_000)}]),
        ),
        (
            "/metadata/annotations",
            json!({"note": "a".repeat(100_000)}),
        ),
        ("/spec/imagePullSecrets", many(json!({"name": "s"}))),
        ("/spec/volumes", many(json!({"name": "v", "emptyDir": {}}))),
        (
            "/spec/volumes/-",
            json!({"name": "v", "secret": {"secretName": "s", "items": many(json!({"key": "USER", "path": "u"}))}}),
        ),
        (
            "/spec/volumes/-",
            json!({"name": "v", "projected": {"sources": many(json!({"secret": {"name": "s"}}))}}),
        ),
        (
            "/spec/containers/0/volumeMounts/-",
            json!({"name": "v", "mountPath": "/v", "subPathExpr": "a".repeat(100_000)}),
        ),
    ];
    for (at, value) in table {
        assert!(!is_small(&pod(HELLO, &[(at, value)]), &resolved()), "{at}");
    }
    let service = |n: usize| {
        let port = json!({"port": 80});
        let service = json!({"metadata": {"name": format!("s{n}")}, "spec": {"clusterIP": "10.0.0.1", "ports": [port]}});
        Service::of(&serde_json::from_value(service).unwrap()).unwrap()
    };
    let services = Resolved {
        services: Some((0..600).map(service).collect::<Vec<_>>().into()),
        ..resolved()
    };
    assert!(!is_small(&pod(HELLO, &[]), &services));
    let mut large = resolved();
    let entry = ("k".to_owned(), SecretBytes::new(vec![b'x'; 100_000]));
    let object = Object {
        data: [entry].into(),
        ..Object::default()
    };
    large.objects.insert(
        Reference::Secret("large".to_owned()),
        Some(Arc::new(object)),
    );
    assert!(!is_small(&pod(HELLO, &[]), &large));
}

#[test]
fn a_small_pod_that_becomes_large_is_not() {
    let mut env = vec![json!({"name": "A0", "value": "0123456789abcdef"})];
    env.extend((1..20).map(|n| {
        let before = n - 1;
        json!({"name": format!("A{n}"), "value": format!("$(A{before})$(A{before})")})
    }));
    let bomb = pod(HELLO, &[("/spec/containers/0/env", json!(env))]);
    assert!(!is_small(&bomb, &resolved()));
}
