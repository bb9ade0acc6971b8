//! What a pod refers to, in its environment and in volumes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, is_running, merge, text, waiting};
use crate::support::site::{run, shared};

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

/// The content of a file of the volume that the pod calls `volume`: it is in that volume, or the shim is told to write it there.
fn file(sent: &Value, volume: &str, file: &str) -> Vec<u8> {
    let decode = |text_of: &Value| BASE64_STANDARD.decode(text(text_of)).unwrap();
    let volumes = sent["volumes"].as_array().unwrap();
    let named = |name: &str| volumes.iter().find(|it| text(&it["name"]) == name);
    let own = named(volume).unwrap_or(&Value::Null);
    if own["emptyDir"].is_null() {
        return decode(&own["secret"][file]);
    }
    let mounts = &sent["initContainers"][0]["properties"]["volumeMounts"];
    let mut mounts = mounts.as_array().unwrap().iter();
    let orders = mounts.find(|it| it["mountPath"] == "/.vkc/spec").unwrap();
    let beside = &named(text(&orders["name"])).unwrap()["secret"];
    let spec: Value = serde_json::from_slice(&decode(&beside["spec.json"])).unwrap();
    let mut filled = spec["volumes"].as_array().unwrap().iter();
    let files = &filled.find(|it| it["name"] == volume).unwrap()["files"];
    let mut files = files.as_array().unwrap().iter();
    let found = files.find(|it| it["path"] == file).unwrap();
    decode(&beside[text(&found["content"]["from"])])
}

#[test]
fn references_become_environment_and_files_and_secrets_stay_secret() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "references", "Linux").await;
        references_are_carried(fixture).await;
    });
}

#[test]
fn references_become_files_without_the_shim_too() {
    run(async {
        let operator = shared().await;
        let patch = json!({"shim": {"mode": "Never"}});
        let fixture = Fixture::start_with(&operator, "plainreferences", "Linux", &patch).await;
        references_are_carried(fixture).await;
    });
}

async fn references_are_carried(fixture: Fixture) {
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
            (
                "secret",
                "secretRef",
                "SecretNotFound",
                "secret \"login\" not found",
            ),
            (
                "map",
                "configMapRef",
                "ConfigMapNotFound",
                "configmap \"settings\" not found",
            ),
        ];
        for (name, source, _, _) in table {
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
        for (name, _, reason, sentence) in &table {
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
            let name = format!("must-{name}");
            let pod = fixture
                .pod_until(&name, "it waits", PATIENCE, |pod| {
                    waiting(pod) == "CreateContainerConfigError"
                })
                .await;
            assert_eq!(pod["status"]["phase"], "Pending");
            let state = &pod["status"]["containerStatuses"][0]["state"];
            assert_eq!(state["waiting"]["message"], *sentence);
            let event = fixture.event(&pod, "Failed").await;
            assert_eq!(text(&event["note"]), format!("Error: {sentence}"));
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

#[test]
fn an_image_that_no_node_could_run_costs_no_call() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "noimage", "Linux").await;
        let never = json!({"imagePullPolicy": "Never"});
        create(&fixture, "never", &never, json!([])).await;
        let invalid = json!({"image": "registry.example.com/Team/App:1"});
        create(&fixture, "invalid", &invalid, json!([])).await;
        for (name, reason, event, words) in [
            (
                "never",
                "ErrImageNeverPull",
                "ErrImageNeverPull",
                "Container image \"example.com/web\" is not present with pull policy of Never",
            ),
            (
                "invalid",
                "InvalidImageName",
                "InspectFailed",
                "Failed to apply default image tag \"registry.example.com/Team/App:1\": couldn't parse image name \
                 \"registry.example.com/Team/App:1\": invalid reference format: repository name (Team/App) must be lowercase",
            ),
        ] {
            let pod = fixture
                .pod_until(name, "it waits", PATIENCE, |pod| waiting(pod) == reason)
                .await;
            let state = &pod["status"]["containerStatuses"][0]["state"];
            assert_eq!(text(&state["waiting"]["message"]), words);
            let event = fixture.event(&pod, event).await;
            assert_eq!(text(&event["note"]), words);
            assert_eq!(fixture.calls(name), []);
        }
        fixture.finish().await;
    });
}

#[test]
fn containers_are_told_of_services() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "services", "Linux").await;
        fixture.run_pod("before").await;
        let service = |name: &str, change: Value| {
            let mut spec = json!({"ports": [{"name": "pg", "port": 5432}]});
            merge(&mut spec, &change);
            json!({"metadata": {"name": name}, "spec": spec})
        };
        for (name, change) in [
            ("my-db", json!({})),
            ("headless", json!({"clusterIP": "None"})),
        ] {
            fixture.create::<Service>(&service(name, change)).await;
        }
        let env = json!({"env": [
            {"name": "URL", "value": "pg://$(MY_DB_SERVICE_HOST):$(MY_DB_SERVICE_PORT_PG)"},
            {"name": "MY_DB_PORT", "value": "mine"},
        ]});
        create(&fixture, "linked", &env, json!([])).await;
        fixture
            .create_pod(
                "loose",
                "example.com/web",
                json!({"enableServiceLinks": false}),
            )
            .await;
        let running = async |name: &str| {
            let pod = fixture
                .pod_until(name, "it runs", PATIENCE, is_running)
                .await;
            sent(&fixture, &pod)
        };
        let (linked, loose) = (running("linked").await, running("loose").await);
        let db = fixture.api::<Service>().get("my-db").await.unwrap();
        let host = db.spec.unwrap().cluster_ip.unwrap();
        let value = |sent: &Value, name: &str| variable(sent, name)["value"].clone();
        assert_eq!(value(&linked, "MY_DB_SERVICE_HOST"), host);
        assert_eq!(value(&linked, "MY_DB_SERVICE_PORT"), "5432");
        assert_eq!(value(&linked, "MY_DB_PORT"), "mine");
        assert_eq!(
            value(&linked, "MY_DB_PORT_5432_TCP"),
            format!("tcp://{host}:5432")
        );
        assert_eq!(value(&linked, "URL"), format!("pg://{host}:5432"));
        assert!(!linked.to_string().contains("HEADLESS"));
        assert!(!loose.to_string().contains("MY_DB"));
        for sent in [&linked, &loose] {
            assert_eq!(value(sent, "KUBERNETES_SERVICE_PORT_HTTPS"), "443");
            assert!(value(sent, "KUBERNETES_SERVICE_HOST").is_string());
        }
        fixture.finish().await;
    });
}
