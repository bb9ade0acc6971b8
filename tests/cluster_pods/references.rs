//! What a pod refers to, in its environment and in volumes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::{Value, json};

use crate::fixture::{Fixture, PATIENCE, is_running, merge, text, waiting};
use crate::operator::{run, shared};

const HUSH: &str = "hush-do-not-tell";

async fn create_secret(fixture: &Fixture) {
    let secret =
        json!({"metadata": {"name": "login"}, "stringData": {"user": "robot", "password": HUSH}});
    fixture.create::<Secret>(&secret).await;
}

async fn create_config_map(fixture: &Fixture) {
    let map = json!({
        "metadata": {"name": "settings"},
        "data": {"MODE": "fast", "COLOUR": "red"},
        "binaryData": {"logo": BASE64_STANDARD.encode(b"\xff\xfe")},
    });
    fixture.create::<ConfigMap>(&map).await;
}

/// Creates a pod whose container is merged with `container`.
async fn create(fixture: &Fixture, name: &str, container: &Value, volumes: Value) -> Value {
    let mut spec = fixture.pod_spec("example.com/web");
    merge(&mut spec["containers"][0], container);
    spec["volumes"] = volumes;
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec});
    fixture.create::<Pod>(&pod).await
}

/// The properties of the group of `pod` as they were sent.
fn sent(fixture: &Fixture, pod: &Value) -> Value {
    let put = fixture.control.last_put(&fixture.group_of(pod)).unwrap();
    put["properties"].clone()
}

fn variable<'a>(sent: &'a Value, name: &str) -> &'a Value {
    let all = sent["containers"][0]["properties"]["environmentVariables"].as_array();
    all.and_then(|all| all.iter().find(|it| it["name"] == name))
        .unwrap_or(&Value::Null)
}

/// The content of a file of the volume that the pod calls `volume`.
fn file(sent: &Value, volume: &str, file: &str) -> Vec<u8> {
    let volumes = sent["volumes"].as_array().unwrap();
    let volume = volumes
        .iter()
        .find(|it| text(&it["name"]) == volume)
        .unwrap_or(&Value::Null);
    BASE64_STANDARD
        .decode(text(&volume["secret"][file]))
        .unwrap()
}

#[test]
fn references_become_environment_and_files_and_secrets_stay_secret() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "references", "Linux").await;
        create_secret(&fixture).await;
        create_config_map(&fixture).await;
        let container = json!({
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "env": [
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
                {"name": "URL", "value": "db://$(PASSWORD)@$(MODE)"},
                {"name": "COLOUR", "value": "blue"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            ],
            "volumeMounts": [
                {"name": "login", "mountPath": "/login", "readOnly": true},
                {"name": "everything", "mountPath": "/everything"},
            ],
        });
        let volumes = json!([
            {"name": "login", "secret": {"secretName": "login", "items": [{"key": "password", "path": "pass"}]}},
            {"name": "everything", "projected": {"sources": [
                {"configMap": {"name": "settings"}},
                {"secret": {"name": "login", "items": [{"key": "user", "path": "user"}]}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"serviceAccountToken": {"audience": "vault", "expirationSeconds": 600, "path": "token"}},
            ]}},
        ]);
        create(&fixture, "all", &container, volumes).await;
        let pod = fixture
            .pod_until("all", "it runs", PATIENCE, is_running)
            .await;
        let sent = sent(&fixture, &pod);
        let expected = json!({"name": "PASSWORD", "secureValue": HUSH});
        assert_eq!(*variable(&sent, "PASSWORD"), expected);
        let url = format!("db://{HUSH}@fast");
        assert_eq!(
            *variable(&sent, "URL"),
            json!({"name": "URL", "secureValue": url})
        );
        assert_eq!(variable(&sent, "COLOUR")["value"], "blue");
        assert_eq!(variable(&sent, "NODE")["value"], pod["spec"]["nodeName"]);
        assert_eq!(variable(&sent, "HOST")["value"], pod["status"]["hostIP"]);
        assert_eq!(file(&sent, "login", "pass"), HUSH.as_bytes());
        assert_eq!(file(&sent, "everything", "user"), b"robot");
        assert_eq!(file(&sent, "everything", "logo"), b"\xff\xfe");
        // The scheduler's binding adds labels of the node.
        let labels = pod["metadata"]["labels"].as_object().unwrap();
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert!(labels.contains(&"app=\"web\"".to_owned()));
        assert_eq!(
            file(&sent, "everything", "labels"),
            labels.join("\n").as_bytes()
        );
        let token = String::from_utf8(file(&sent, "everything", "token")).unwrap();
        assert_eq!(token.split('.').count(), 3);
        // Where it stands in the open: nowhere but in the values that ACI keeps to itself.
        assert_eq!(sent.to_string().matches(HUSH).count(), 2);
        let shown = fixture.control.groups().into_iter();
        let shown: String = shown.map(|group| group.to_string()).collect();
        assert!(!shown.contains(HUSH) && !shown.contains(&BASE64_STANDARD.encode(HUSH)));
        assert!(!json!(fixture.pods().await).to_string().contains(HUSH));
        fixture.finish().await;
    });
}

#[test]
fn a_mandatory_reference_is_waited_for_and_an_optional_one_is_not() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "missing", "Linux").await;
        let env = |source: &str, optional: bool| {
            let key = if source == "secretRef" {
                "login"
            } else {
                "settings"
            };
            json!({"envFrom": [{source: {"name": key, "optional": optional}}]})
        };
        let table = [
            ("secret", "secretRef", "SecretNotFound"),
            ("map", "configMapRef", "ConfigMapNotFound"),
        ];
        for (name, source, _) in table {
            let optional = format!("may-{name}");
            create(&fixture, &optional, &env(source, true), json!([])).await;
            create(
                &fixture,
                &format!("must-{name}"),
                &env(source, false),
                json!([]),
            )
            .await;
        }
        for (name, _, reason) in table {
            let pod = fixture
                .pod_until(&format!("may-{name}"), "it runs", PATIENCE, is_running)
                .await;
            let event = fixture.event(&pod, &format!("Optional{reason}")).await;
            assert!(text(&event["note"]).contains("envFrom[0]"), "{event}");
            assert_eq!(
                fixture
                    .events(&pod, &format!("Optional{reason}"))
                    .await
                    .len(),
                1
            );
            let reason = format!("Mandatory{reason}");
            let name = format!("must-{name}");
            let pod = fixture
                .pod_until(&name, "it waits", PATIENCE, |pod| waiting(pod) == reason)
                .await;
            assert_eq!(pod["status"]["phase"], "Pending");
            fixture.event(&pod, &reason).await;
            assert_eq!(fixture.calls(&name), []);
        }
        create_secret(&fixture).await;
        create_config_map(&fixture).await;
        for (name, variable_name) in [("must-secret", "password"), ("must-map", "MODE")] {
            let pod = fixture
                .pod_until(name, "it heals", PATIENCE, is_running)
                .await;
            assert!(variable(&sent(&fixture, &pod), variable_name).is_object());
            assert_eq!(fixture.count("PUT", name), 1);
        }
        fixture.finish().await;
    });
}
