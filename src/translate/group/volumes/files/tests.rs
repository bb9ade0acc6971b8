use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::Os;
use crate::translate::testing::{HELLO, defaults, object, owner, pod, resolved};
use crate::translate::{Reference, Refusals, Resolved, Translation, container_group};

/// The Linux fixture with this one volume, mounted twice.
fn translate(source: &Value, resolved: &Resolved) -> Result<Translation, Refusals> {
    let mut volume = source.clone();
    volume["name"] = json!("files");
    let mounts = json!([
        {"name": "files", "mountPath": "/a"},
        {"name": "files", "mountPath": "/b", "readOnly": true},
    ]);
    let changes = [
        ("/spec/volumes", json!([volume])),
        ("/spec/containers/0/volumeMounts", mounts),
        ("/metadata/labels", json!({"b": "2", "a": "say \"1\"\n"})),
    ];
    let pod = pod(HELLO, &changes);
    container_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved)
}

fn volume_of(translation: &Translation) -> Value {
    let body = serde_json::to_value(&translation.group).unwrap();
    assert_eq!(body["properties"]["volumes"].as_array().unwrap().len(), 1);
    let mounts = &body["properties"]["containers"][0]["properties"]["volumeMounts"];
    let expected = json!([
        {"name": "files", "mountPath": "/a"},
        {"name": "files", "mountPath": "/b", "readOnly": true},
    ]);
    assert_eq!(*mounts, expected);
    body["properties"]["volumes"][0].clone()
}

fn made(source: &Value) -> (Value, Vec<&'static str>) {
    let made = translate(source, &resolved()).unwrap_or_else(|why| panic!("{why}"));
    let reasons = made.notes.iter().map(|note| note.reason).collect();
    (volume_of(&made), reasons)
}

fn refused(source: &Value) -> Vec<(String, &'static str, bool)> {
    let refusals = translate(source, &resolved()).unwrap_err().0;
    let told = refusals.into_iter();
    told.map(|it| (it.field, it.reason, it.is_retryable))
        .collect()
}

/// A volume of these files.
fn of(files: &[(&str, &[u8])]) -> Value {
    let files = files
        .iter()
        .map(|(path, content)| ((*path).to_owned(), json!(STANDARD.encode(content))));
    let files: serde_json::Map<String, Value> = files.collect();
    json!({"name": "files", "secret": files})
}

fn projected(sources: &Value) -> Value {
    json!({"projected": {"sources": sources}})
}

#[test]
fn all_keys_or_the_items_are_files() {
    let table = [
        (
            json!({"secret": {"secretName": "s", "defaultMode": 420}}),
            of(&[("USER", b"u"), ("PASS", b"hush"), ("EMPTY", b"")]),
        ),
        (
            json!({"secret": {"secretName": "s", "items": [{"key": "PASS", "path": "p.txt"}, {"key": "PASS", "path": "q"}]}}),
            of(&[("p.txt", b"hush"), ("q", b"hush")]),
        ),
        (
            json!({"secret": {"secretName": "raw"}}),
            of(&[("key", b"\xff")]),
        ),
        (
            json!({"configMap": {"name": "c"}}),
            of(&[
                ("A", b"1"),
                ("B", b"two"),
                ("0", b"zero"),
                ("logo", b"\xff\xfe"),
            ]),
        ),
        (
            json!({"configMap": {"name": "c", "items": [{"key": "logo", "path": "logo.png"}]}}),
            of(&[("logo.png", b"\xff\xfe")]),
        ),
        (
            json!({"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "aci-helloworld", "resource": "limits.cpu", "divisor": "1m"}},
            ]}}),
            of(&[
                ("labels", b"a=\"say \\\"1\\\"\\n\"\nb=\"2\""),
                ("cpu", b"1000"),
            ]),
        ),
        (
            projected(&json!([
                {"secret": {"name": "s", "items": [{"key": "USER", "path": "user"}]}},
                {"configMap": {"name": "dotted"}},
                {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "own"}},
            ])),
            of(&[
                ("user", b"u"),
                ("a.b", b"1"),
                ("name", b"default"),
                ("own", b"t0ken"),
            ]),
        ),
    ];
    for (source, expected) in table {
        // Labels may change, and their file does not.
        let told = source.to_string().contains("metadata.labels");
        let notes = vec!["ApproximatedOnAci"; usize::from(told)];
        assert_eq!(made(&source), (expected, notes), "{source}");
    }
}

#[test]
fn the_end_of_a_token_is_told_but_for_the_one_that_every_pod_gets() {
    let token = |audience: Option<&str>, seconds: i64| {
        let source = json!({"audience": audience, "expirationSeconds": seconds, "path": "token"});
        projected(&json!([{"serviceAccountToken": source}]))
    };
    let (volume, reasons) = made(&token(None, 3607));
    assert_eq!((volume, reasons), (of(&[("token", b"t0ken")]), vec![]));
    let translation = translate(&token(Some("vault"), 600), &resolved()).unwrap();
    assert_eq!(volume_of(&translation), of(&[("token", b"v4ult")]));
    let told: Vec<_> = translation
        .notes
        .iter()
        .map(|it| (it.field.as_str(), it.reason))
        .collect();
    let field = "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds";
    assert_eq!(told, [(field, "ApproximatedOnAci")]);
}

#[test]
fn what_is_optional_is_left_out_and_told() {
    let empty = json!({"name": "files", "emptyDir": {}});
    let table = [
        (
            json!({"secret": {"secretName": "gone", "optional": true}}),
            empty.clone(),
            vec!["OptionalSecretNotFound"],
        ),
        (
            json!({"configMap": {"name": "gone", "optional": true, "items": [{"key": "k", "path": "p"}]}}),
            empty.clone(),
            vec!["OptionalConfigMapNotFound"],
        ),
        (
            json!({"secret": {"secretName": "s", "optional": true, "items": [{"key": "k", "path": "p"}, {"key": "USER", "path": "u"}]}}),
            of(&[("u", b"u")]),
            vec!["OptionalSecretKeyNotFound"],
        ),
        (projected(&json!([])), empty, Vec::new()),
    ];
    for (source, volume, reasons) in table {
        assert_eq!(made(&source), (volume, reasons), "{source}");
    }
}

#[test]
fn file_modes_are_told_once_for_each_volume_and_item() {
    let (_, reasons) = made(&json!({"secret": {"secretName": "s", "defaultMode": 256}}));
    assert_eq!(reasons, ["ApproximatedOnAci"]);
    let items =
        json!([{"key": "A", "path": "a", "mode": 256}, {"key": "B", "path": "b", "mode": 420}]);
    let (_, reasons) = made(&json!({"configMap": {"name": "c", "items": items}}));
    assert_eq!(reasons, ["ApproximatedOnAci"]);
}

#[test]
fn what_is_missing_heals_and_what_cannot_be_is_refused() {
    let item = |key: &str, path: &str| json!([{"key": key, "path": path}]);
    let table = [
        (
            json!({"secret": {"secretName": "gone", "items": item("k", "p")}}),
            "secret",
            "FailedMount",
            true,
        ),
        (
            json!({"configMap": {"name": "gone"}}),
            "configMap",
            "FailedMount",
            true,
        ),
        (
            json!({"secret": {"secretName": "s", "items": item("k", "p")}}),
            "secret.items[0]",
            "FailedMount",
            true,
        ),
        (
            json!({"secret": {"secretName": "s", "items": item("USER", "../b")}}),
            "secret.items[0]",
            "NotSupportedOnAci",
            false,
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "/", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
            "downwardAPI.items[0]",
            "NotSupportedOnAci",
            false,
        ),
        (
            projected(
                &json!([{"secret": {"name": "s"}}, {"configMap": {"name": "c", "items": item("A", "USER")}}]),
            ),
            "projected.sources[1].configMap.items[0]",
            "NotSupportedOnAci",
            false,
        ),
        (
            projected(&json!([{"clusterTrustBundle": {"name": "n", "path": "p"}}])),
            "projected.sources[0].clusterTrustBundle",
            "NotSupportedOnAci",
            false,
        ),
        (
            projected(&json!([{"podCertificate": {"signerName": "s", "keyType": "ED25519"}}])),
            "projected.sources[0].podCertificate",
            "NotSupportedOnAci",
            false,
        ),
    ];
    for (source, field, reason, heals) in table {
        let expected = [(format!("spec.volumes[0].{field}"), reason, heals)];
        assert_eq!(refused(&source), expected, "{source}");
    }
    for (source, why) in [
        (
            json!({"secret": {"secretName": "gone"}}),
            "secret \"gone\" not found",
        ),
        (
            json!({"configMap": {"name": "gone"}}),
            "configmap \"gone\" not found",
        ),
        (
            json!({"secret": {"secretName": "s", "items": item("k", "p")}}),
            "references non-existent secret key: k",
        ),
        (
            json!({"configMap": {"name": "c", "items": item("k", "p")}}),
            "references non-existent config key: k",
        ),
    ] {
        let refusals = translate(&source, &resolved()).unwrap_err();
        let message = format!("MountVolume.SetUp failed for volume \"files\" : {why}");
        assert_eq!(refusals.as_kubelet().unwrap().message, message);
        assert!(refusals.faults().is_empty(), "no container is at fault");
    }
}

#[test]
fn more_than_azure_takes_in_a_request_is_refused() {
    let mut resolved = resolved();
    let big = vec![0_u8; 2_700_000];
    resolved.objects.insert(
        Reference::Secret("big".to_owned()),
        Some(object(&[("big", &big)])),
    );
    let refusals = translate(&json!({"secret": {"secretName": "big"}}), &resolved).unwrap_err();
    assert_eq!(refusals.reason(), "ExceedsAciLimits");
}
