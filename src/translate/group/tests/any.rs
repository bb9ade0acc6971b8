//! Whatever a pod says, its group is one that ACI takes, or the pod is refused by name.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{body, translate};
use crate::api::Os;
use crate::translate::testing::{HELLO, IIS, pod};

fn quantity() -> impl Strategy<Value = Value> {
    let written = |range: std::ops::Range<u32>, unit: &'static str| {
        range.prop_map(move |number| json!(format!("{number}{unit}")))
    };
    prop_oneof![
        8 => written(0..9000, "m"),
        8 => written(0..9000, "Mi"),
        4 => written(0..9000, "M"),
        2 => written(0..9, ""),
        1 => written(0..9000, ""),
        1 => "[0-9.]{1,6}(e[0-9])?".prop_map(|text| json!(text)),
    ]
}

fn resources() -> impl Strategy<Value = Value> {
    let name = || prop_oneof![9 => Just("cpu"), 9 => Just("memory"), 1 => Just("nvidia.com/gpu")];
    let map = move || proptest::collection::btree_map(name(), quantity(), 0..3);
    (map(), map()).prop_map(|(limits, requests)| json!({"limits": limits, "requests": requests}))
}

fn probe() -> impl Strategy<Value = Value> {
    let http = (
        prop_oneof![9 => (0_i32..90).prop_map(|port| json!(port)), 1 => Just(json!("a")), 1 => Just(json!("b"))],
        select(vec![None, Some("HTTP"), Some("HTTPS")]),
        select(vec![None, Some(""), Some("h")]),
    )
        .prop_map(|(port, scheme, host)| json!({"httpGet": {"port": port, "scheme": scheme, "host": host}}));
    prop_oneof![
        20 => Just(json!(null)),
        3 => http,
        2 => Just(json!({"exec": {"command": ["true"]}, "periodSeconds": 5})),
        1 => Just(json!({"tcpSocket": {"port": 80}})),
        1 => Just(json!({})),
    ]
}

fn security() -> impl Strategy<Value = Value> {
    let user = select(vec![None, None, Some(0_i64), Some(1), Some(1 << 31)]);
    let seccomp = select(vec![
        None,
        None,
        Some("RuntimeDefault"),
        Some("Unconfined"),
        Some("Localhost"),
    ]);
    let drop = select(vec![vec![], vec!["ALL"]]);
    (user, seccomp, drop, proptest::option::of(any::<bool>())).prop_map(
        |(user, seccomp, drop, escalation)| {
            json!({
                "runAsUser": user,
                "seccompProfile": seccomp.map(|kind| json!({"type": kind})),
                "capabilities": {"drop": drop},
                "allowPrivilegeEscalation": escalation,
            })
        },
    )
}

fn init() -> impl Strategy<Value = Value> {
    (container(2), any::<bool>(), any::<bool>()).prop_map(|(mut init, sidecar, plain)| {
        if plain {
            for member in ["ports", "livenessProbe", "readinessProbe"] {
                init[member] = json!(null);
            }
        }
        init["restartPolicy"] = json!(sidecar.then_some("Always"));
        init
    })
}

fn container(index: i32) -> impl Strategy<Value = Value> {
    let name = prop_oneof![9 => "[A-Z]{1,3}", 1 => "[A-Z_.]{1,3}"];
    let env =
        (name, "[$()A-C]{0,8}").prop_map(|(name, value)| json!({"name": name, "value": value}));
    let own = 80 + 10 * index;
    let port = (
        prop_oneof![9 => own..own + 4, 1 => 1_i32..65_536],
        prop_oneof![9 => Just("TCP"), 9 => Just("UDP"), 1 => Just("SCTP")],
    );
    let port =
        port.prop_map(|(port, protocol)| json!({"containerPort": port, "protocol": protocol}));
    let path = prop_oneof![9 => "/[a-z]{1,4}", 1 => "/[a-z:]{1,4}"];
    let sub = prop_oneof![4 => Just(None), 1 => "([ab.]{1,2}/?){0,3}".prop_map(Some)];
    let expression = prop_oneof![9 => Just(None), 1 => "[$()A-C/]{0,8}".prop_map(Some)];
    let volume = select(vec!["kube-api-access-q9wzc", "d", "work", "dirs", "share"]);
    let mount = (volume, path, sub, expression).prop_map(|(name, path, sub, expression)| {
        json!({"name": name, "mountPath": path, "subPath": sub, "subPathExpr": expression})
    });
    (
        proptest::collection::vec(env, 0..4),
        proptest::collection::vec(port, 0..4),
        proptest::collection::vec(mount, 0..3),
        resources(),
        proptest::collection::vec("\\PC{0,6}", 0..3),
        (probe(), probe(), security()),
    )
        .prop_map(move |(env, ports, mounts, resources, command, (liveness, readiness, security))| {
            json!({"name": format!("c{index}"), "image": "i", "env": env, "ports": ports, "volumeMounts": mounts,
                   "resources": resources, "command": command, "livenessProbe": liveness, "readinessProbe": readiness, "securityContext": security})
        })
}

proptest! {
    #[test]
    fn a_group_is_legal_or_its_pod_is_refused(
        (first, second, init) in (container(0), proptest::option::of(container(1)), proptest::option::of(init())),
        windows in any::<bool>(),
    ) {
        let containers: Vec<Value> = std::iter::once(first).chain(second).collect();
        let (text, os) = if windows { (IIS, Os::Windows) } else { (HELLO, Os::Linux) };
        let changes = [
            ("/spec/containers", json!(containers)),
            ("/spec/initContainers", json!(init.into_iter().collect::<Vec<_>>())),
            ("/spec/volumes/-", json!({"name": "d", "emptyDir": {}})),
            ("/spec/volumes/-", json!({"name": "work", "emptyDir": {}})),
            ("/spec/volumes/-", json!({"name": "dirs", "configMap": {"name": "c", "items": [
                {"key": "A", "path": "a/a"}, {"key": "B", "path": "a/b"}, {"key": "A", "path": "b/a/a"},
            ]}})),
            ("/spec/volumes/-", json!({"name": "share", "azureFile": {"secretName": "storage", "shareName": "n"}})),
        ];
        let changes = if windows { &changes[..2] } else { &changes[..] };
        match translate(&pod(text, changes), os) {
            Ok(translation) => {
                let body = serde_json::to_value(&translation.group).unwrap();
                let checked = body::check(&body);
                prop_assert!(checked.is_ok(), "{:?}\n{:#}", checked, body);
            }
            Err(refusals) => {
                prop_assert!(!refusals.0.is_empty());
                for refusal in refusals.0 {
                    prop_assert!(["spec.", "metadata.annotations["].iter().any(|place| refusal.field.starts_with(place)) && !refusal.message.is_empty());
                }
            }
        }
    }
}
