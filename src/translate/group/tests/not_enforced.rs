//! What ACI cannot enforce and the restricted Pod Security Standard does not demand: the pod runs without it, unless the
//! connector has such pods refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{body, c0};
use crate::api::{Compatibility, Os};
use crate::translate::support::{Verdict, rows};
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{GroupDefaults, container_group};

/// Changes of the Linux fixture, the field that they are about, and the field of `spec.compatibility`.
type Case = (Vec<(String, Value)>, &'static str, &'static str);

fn cases() -> Vec<Case> {
    let spec = |member: &str, value: Value| (format!("/spec/{member}"), value);
    let own = |member: &str, value: Value| (c0(member), value);
    let mount = || own("volumeMounts", json!([{"name": "v", "mountPath": "/v"}]));
    let empty = |source: Value| spec("volumes", json!([{"name": "v", "emptyDir": source}]));
    let of_pod = |context: Value| spec("securityContext", context);
    let context = |context: Value| own("securityContext", context);
    let probe = |member: &str, handler: Value| own(member, handler);
    vec![
        (
            vec![of_pod(
                json!({"appArmorProfile": {"type": "RuntimeDefault"}}),
            )],
            "spec.securityContext.appArmorProfile",
            "appArmorProfile",
        ),
        (
            vec![context(
                json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}}),
            )],
            "spec.containers[0].securityContext.appArmorProfile",
            "appArmorProfile",
        ),
        (
            vec![spec(
                "dnsConfig",
                json!({"options": [{"name": "ndots", "value": "2"}]}),
            )],
            "spec.dnsConfig",
            "dnsOptions",
        ),
        (
            vec![own(
                "resources",
                json!({"requests": {"ephemeral-storage": "5Gi"}}),
            )],
            "spec.containers[0].resources.requests[ephemeral-storage]",
            "ephemeralStorage",
        ),
        (
            vec![empty(json!({"sizeLimit": "1Gi"})), mount()],
            "spec.volumes[0].emptyDir.sizeLimit",
            "ephemeralStorage",
        ),
        (
            vec![of_pod(json!({"fsGroup": 2000})), empty(json!({})), mount()],
            "spec.securityContext.fsGroup",
            "fsGroup",
        ),
        (
            vec![empty(json!({"medium": "Memory"})), mount()],
            "spec.volumes[0].emptyDir.medium",
            "memoryVolumes",
        ),
        (
            vec![probe("livenessProbe", json!({"tcpSocket": {"port": 81}}))],
            "spec.containers[0].livenessProbe.tcpSocket",
            "probes",
        ),
        (
            vec![probe("readinessProbe", json!({"grpc": {"port": 81}}))],
            "spec.containers[0].readinessProbe.grpc",
            "probes",
        ),
        (
            vec![probe(
                "startupProbe",
                json!({"exec": {"command": ["true"]}}),
            )],
            "spec.containers[0].startupProbe",
            "probes",
        ),
        (
            vec![context(json!({"readOnlyRootFilesystem": true}))],
            "spec.containers[0].securityContext.readOnlyRootFilesystem",
            "readOnlyRootFilesystem",
        ),
        (
            vec![of_pod(json!({"seLinuxOptions": {"level": "s0"}}))],
            "spec.securityContext.seLinuxOptions",
            "seLinuxOptions",
        ),
        (
            vec![context(json!({"seLinuxOptions": {"type": "t"}}))],
            "spec.containers[0].securityContext.seLinuxOptions",
            "seLinuxOptions",
        ),
        (
            vec![of_pod(json!({"supplementalGroups": [7]}))],
            "spec.securityContext.supplementalGroups",
            "supplementalGroups",
        ),
    ]
}

fn changed(changes: &[(String, Value)]) -> k8s_openapi::api::core::v1::Pod {
    let changes: Vec<(&str, Value)> = changes
        .iter()
        .map(|(pointer, value)| (pointer.as_str(), value.clone()))
        .collect();
    pod(HELLO, &changes)
}

#[test]
fn the_pod_runs_and_is_told_once_or_is_refused_where_the_connector_says_so() {
    for (changes, field, key) in cases() {
        let pod = changed(&changes);
        let translate = |compatibility: Compatibility| {
            let defaults = GroupDefaults {
                compatibility,
                ..defaults(Os::Linux)
            };
            container_group(&pod, &defaults, &owner(&pod), &resolved())
        };
        let made =
            translate(Compatibility::default()).unwrap_or_else(|why| panic!("{field}: {why}"));
        let body = serde_json::to_value(&made.group).unwrap();
        body::check(&body).unwrap_or_else(|why| panic!("{why}\n{body:#}"));
        let notes: Vec<_> = made
            .notes
            .iter()
            .map(|it| (it.field.as_str(), it.reason))
            .collect();
        assert_eq!(notes, [(field, "NotEnforcedOnAci")]);
        assert_eq!(body["tags"]["vkc-not-enforced"], key, "{field}");
        let only = |word: &str| serde_json::from_value(json!({key: word})).unwrap();
        let refused = translate(only("Refuse")).unwrap_err().0;
        let refused: Vec<_> = refused
            .iter()
            .map(|it| (it.field.as_str(), it.reason))
            .collect();
        assert_eq!(refused, [(field, "NotSupportedOnAci")]);
        assert!(translate(only("Approximate")).is_ok());
    }
}

#[test]
fn all_of_it_is_one_event_and_one_tag() {
    let changes = [
        (
            "/spec/securityContext",
            json!({"fsGroup": 1, "supplementalGroups": [2]}),
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]),
        ),
        (
            "/spec/containers",
            json!([
                {"name": "a", "image": "i", "securityContext": {"readOnlyRootFilesystem": true},
                 "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                 "resources": {"requests": {"ephemeral-storage": "1Gi"}, "limits": {"ephemeral-storage": "2Gi"}}},
                {"name": "b", "image": "i", "securityContext": {"readOnlyRootFilesystem": true}},
            ]),
        ),
        (
            "/spec/initContainers",
            json!([{"name": "c", "image": "i", "securityContext": {"readOnlyRootFilesystem": true}}]),
        ),
    ];
    let pod = pod(HELLO, &changes);
    let made = container_group(&pod, &defaults(Os::Linux), &owner(&pod), &resolved()).unwrap();
    let tag = made.group.tags.get("vkc-not-enforced").map(String::as_str);
    let list = "ephemeralStorage,fsGroup,memoryVolumes,readOnlyRootFilesystem,supplementalGroups";
    assert_eq!(tag, Some(list));
    let [note] = made.notes.as_slice() else {
        panic!("{:?}", made.notes)
    };
    let text = format!("{}: {}", note.field, note.message);
    for part in [
        "spec.containers[0].securityContext.readOnlyRootFilesystem (and 2 more): ACI has no read-only root",
        "spec.volumes[0].emptyDir.sizeLimit: ",
        "spec.containers[0].resources.limits[ephemeral-storage] (and 1 more): ",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // An Event has room for it.
    assert!(text.len() < 1000, "{text}");
}

#[test]
fn every_row_is_reached() {
    let tried: BTreeSet<String> = cases()
        .into_iter()
        .map(|(_, field, _)| {
            let field = field
                .replace("[0]", "[]")
                .replace(".requests[ephemeral-storage]", "");
            field
                .replace("livenessProbe.", "*Probe.")
                .replace("readinessProbe.", "*Probe.")
        })
        .collect();
    for row in rows() {
        let (field, _) = row.field.split_once(": ").unwrap_or((row.field, ""));
        if matches!(row.linux, Verdict::NotEnforced(..)) {
            assert!(tried.contains(field), "{}", row.field);
        }
    }
}

#[test]
fn more_disk_than_a_group_has_is_refused() {
    let asked = |main: &str, init: &str| {
        let resources = |amount: &str| json!({"requests": {"ephemeral-storage": amount}});
        let container = |name: &str, amount: &str| json!({"name": name, "image": "i", "resources": resources(amount)});
        let changes = [
            (
                "/spec/containers",
                json!([container("a", main), container("b", "10G")]),
            ),
            ("/spec/initContainers", json!([container("c", init)])),
        ];
        super::refused(HELLO, &changes, Os::Linux)
    };
    assert_eq!(asked("40G", "50G"), []);
    let exceeds = |field: &str| vec![(field.to_owned(), "ExceedsAciLimits")];
    assert_eq!(asked("40001M", "1G"), exceeds("spec.containers"));
    assert_eq!(
        asked("1G", "51G"),
        exceeds("spec.initContainers[0].resources")
    );
    let limit = [(
        &*c0("resources"),
        json!({"limits": {"ephemeral-storage": "1Ti"}}),
    )];
    assert_eq!(
        super::refused(HELLO, &limit, Os::Linux),
        [],
        "a bound takes nothing"
    );
}
