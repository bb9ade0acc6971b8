//! A word in every secret place, every failure, the most talkative log: the word is told nowhere.

use aci_emulator::{Echo, Fault, Proof};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use super::stage::{
    CERTIFICATE, FEDERATED, Own, PEM, PODS, SECRET, Stage, condition, eventually, plane, run,
};

/// With signs that forms, JSON and base64 each write in a way of their own.
const CLIENT_SECRET: &str = "Canary~client+secret/\"1\"%&=";
const WRONG_SECRET: &str = "Canary~wrong+secret/\"2\"%&=";
const REGISTRY_PASSWORD: &str = "Canary-of-the-registry";
const VARIABLE: &str = "Canary in a variable";
const FILE: &str = "Canary in a file\nof two lines";
const WORKSPACE_KEY: &str = "Canary+of/the+workspace==";
const STDIN: &str = "Canary typed into a session";
/// Of the fixture `modern.p12`.
const PFX_PASSWORD: &str = "Grüße 🔑 1";
const PFX: &[u8] = include_bytes!("../../../src/azure/credential/pkcs12/modern.p12");

const CONNECTORS: [&str; 3] = ["canary-secret", "canary-file", "canary-token"];

async fn prepare(stage: &Stage) {
    let config = &stage.config;
    let base = [
        ("AZURE_TENANT_ID", config.tenant_id.as_bytes()),
        ("AZURE_SUBSCRIPTION_ID", config.subscription_id.as_bytes()),
    ];
    let with = |more: &[(&'static str, &'static [u8])]| [base.as_slice(), more].concat();
    let data = with(&[
        ("AZURE_CLIENT_ID", SECRET.as_bytes()),
        ("AZURE_CLIENT_SECRET", CLIENT_SECRET.as_bytes()),
    ]);
    stage.write_secret("canary-secret", &data).await;
    let data = with(&[
        ("AZURE_CLIENT_ID", CERTIFICATE.as_bytes()),
        ("AZURE_CLIENT_CERTIFICATE", PFX),
        ("AZURE_CLIENT_CERTIFICATE_PASSWORD", PFX_PASSWORD.as_bytes()),
    ]);
    stage.write_secret("canary-file", &data).await;
    let workspace = [("workspaceKey", WORKSPACE_KEY.as_bytes())];
    stage.write_secret("canary-workspace", &workspace).await;
    let of_secret = |name: &str| json!({"type": "ServicePrincipal", "secretRef": {"name": name}});
    let federated =
        json!({"type": "WorkloadIdentity", "clientID": FEDERATED, "tenantID": config.tenant_id});
    let workspace = json!({"logAnalytics": {
        "workspaceID": "12121212-3434-4656-8878-909090909090", "secretRef": {"name": "canary-workspace"},
    }});
    for (name, credentials) in CONNECTORS.iter().zip([
        of_secret("canary-secret"),
        of_secret("canary-file"),
        federated,
    ]) {
        let more = if *name == "canary-secret" {
            json!({"containerGroup": workspace})
        } else {
            json!({})
        };
        stage.connect_with(name, credentials, more).await;
    }
    for name in CONNECTORS {
        stage.condition_is(name, "Ready", "True").await;
    }
    let auth = BASE64_STANDARD.encode(format!("user:{REGISTRY_PASSWORD}"));
    let registry = json!({"auths": {"example.com": {
        "username": "user", "password": REGISTRY_PASSWORD, "auth": auth,
    }}});
    for secret in [
        json!({
            "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": registry.to_string()},
        }),
        json!({"metadata": {"name": "words"}, "stringData": {"variable": VARIABLE, "file": FILE}}),
    ] {
        let secret: Secret = serde_json::from_value(secret).unwrap();
        Api::<Secret>::namespaced(stage.client.clone(), PODS)
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
    }
}

/// A pod with a secret in each place that a pod has.
async fn create_pod(stage: &Stage, name: &str) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "containers": [{
                "name": "main", "image": "example.com/web",
                "env": [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "words", "key": "variable"}}}],
                "volumeMounts": [{"name": "words", "mountPath": "/words"}],
            }],
            "volumes": [{"name": "words", "secret": {"secretName": "words", "items": [{"key": "file", "path": "file"}]}}],
            "imagePullSecrets": [{"name": "pull"}],
            "nodeSelector": {"virtual-kubelet.io/connector": "canary-secret"},
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
        },
    }))
    .unwrap();
    stage
        .pods()
        .create(&PostParams::default(), &pod)
        .await
        .unwrap();
}

/// The secrets did get to where they belong: else silence would prove nothing.
fn all_passed_through(stage: &Stage) {
    let control = stage.azure.control();
    let groups = control.groups();
    let put = control
        .last_put(groups[0]["name"].as_str().unwrap())
        .unwrap();
    let put = put.to_string();
    for word in [
        REGISTRY_PASSWORD,
        VARIABLE,
        &BASE64_STANDARD.encode(FILE),
        WORKSPACE_KEY,
    ] {
        assert!(put.contains(word), "not sent: {word}");
    }
    let bodies = control.token_bodies().join("\n");
    let encoded = "Canary%7Eclient%2Bsecret%2F%221%22%25%26%3D";
    for word in [encoded, &stage.token] {
        assert!(bodies.contains(word), "not sent: {word}");
    }
    let signed = stage.tokens(CERTIFICATE);
    assert_eq!(signed[0].proof, Proof::Certificate);
}

fn echo(broken: bool) -> Echo {
    if broken { Echo::Broken } else { Echo::Quoted }
}

/// Creates fail in every way, each quoting its request.
async fn fail_creates(stage: &Stage) {
    let control = stage.azure.control();
    let ways = [
        ("denied", 403, "AuthorizationFailed", false),
        ("slowed", 429, "TooManyRequests", false),
        ("broken", 500, "InternalServerError", true),
        ("refused", 400, "InvalidRequestContent", false),
        ("unserved", 503, "ServiceUnavailable", false),
        ("garbled", 400, "InvalidRequestContent", true),
    ];
    for (name, status, code, broken) in ways {
        control.inject(Fault {
            method: Some("PUT".to_owned()),
            path_contains: Some(format!("/containerGroups/{name}")),
            status,
            code: code.to_owned(),
            message: "The request is not good:".to_owned(),
            echo: Some(echo(broken)),
            times: 1000,
            ..Fault::default()
        });
        create_pod(stage, name).await;
    }
    for (name, ..) in ways {
        let sent = format!("/containergroups/{name}");
        eventually(&format!("two refusals of {name}"), 60, || async {
            let mut calls = stage.calls("canary-secret");
            calls.retain(|call| call.method == "PUT" && call.path.to_lowercase().contains(&sent));
            // Some are final, and told in the pod's status at once.
            let failed = stage.pod(name).await["status"]["phase"] == "Failed";
            if failed || !calls.is_empty() {
                Ok(())
            } else {
                Err(calls.len().to_string())
            }
        })
        .await;
    }
}

/// Exchanges fail in every way, each quoting its request.
async fn fail_exchanges(stage: &Stage) {
    let control = stage.azure.control();
    let ways = [
        (401, "invalid_client", "AADSTS7000215: It is wrong:", false),
        (
            401,
            "invalid_client",
            "AADSTS700027: It is not registered:",
            false,
        ),
        (
            400,
            "invalid_request",
            "AADSTS90099: It is not good:",
            false,
        ),
        (403, "access_denied", "It is denied:", false),
        (429, "temporarily_unavailable", "It is too much:", false),
        (500, "server_error", "It is broken:", false),
        (502, "bad_gateway", "It is garbled:", true),
        (200, "fine", "It is no token:", false),
        (200, "fine", "It is no token and garbled:", true),
    ];
    for (number, (status, code, message, broken)) in ways.into_iter().enumerate() {
        control.clear_faults();
        control.inject(Fault {
            path_contains: Some("/oauth2/".to_owned()),
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            echo: Some(echo(broken)),
            times: 1000,
            ..Fault::default()
        });
        control.revoke_tokens();
        for name in CONNECTORS {
            stage.ask_now(name, &format!("way-{number}")).await;
        }
        for name in CONNECTORS {
            eventually(&format!("{name} has noticed: {message}"), 60, || async {
                let connector = stage.connector(name).await;
                let handled = &connector["status"]["lastHandledReconcileAt"];
                let ready = condition(&connector, "CredentialsReady");
                if *handled == format!("way-{number}") && ready["status"] != "True" {
                    Ok(())
                } else {
                    Err(connector["status"].to_string())
                }
            })
            .await;
        }
    }
    control.clear_faults();
}

/// Everything that the operator tells anybody.
async fn told(stage: &Stage) -> Vec<(&'static str, String)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = client.get(format!("{}/metrics", stage.operator.metrics_url()));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let all = ListParams::default();
    let events = Api::<Event>::all(stage.client.clone());
    let events: Vec<Event> = events.list(&all).await.unwrap().items;
    let nodes = Api::<Node>::all(stage.client.clone());
    let nodes: Vec<Node> = nodes.list(&all).await.unwrap().items;
    let pods: Vec<Pod> = stage.pods().list(&all).await.unwrap().items;
    let connectors = stage.connectors().list(&all).await.unwrap().items;
    let requests = stage.azure.control().requests().into_iter();
    let urls: Vec<String> = requests
        .map(|request| format!("{} {}?{}", request.method, request.path, request.query))
        .collect();
    vec![
        ("the log", std::fs::read_to_string(&stage.log).unwrap()),
        ("the metrics", metrics),
        ("the events", json!(events).to_string()),
        ("the nodes", json!(nodes).to_string()),
        ("the pods", json!(pods).to_string()),
        ("the connectors", json!(connectors).to_string()),
        ("the URLs", urls.join("\n")),
    ]
}

/// Each secret, and what gives it away, in all the ways to write it.
fn needles(stage: &Stage) -> Vec<String> {
    let words = [
        CLIENT_SECRET,
        WRONG_SECRET,
        REGISTRY_PASSWORD,
        VARIABLE,
        FILE,
        WORKSPACE_KEY,
        STDIN,
        PFX_PASSWORD,
    ];
    let mut needles = vec!["Canary".to_owned(), "BEGIN PRIVATE KEY".to_owned()];
    for word in words {
        let quoted = Value::from(word).to_string();
        let bytes = format!("{:?}", word.as_bytes());
        needles.extend([
            word.to_owned(),
            quoted.trim_matches('"').to_owned(),
            bytes.trim_matches(['[', ']']).to_owned(),
            BASE64_STANDARD.encode(word),
            BASE64_URL_SAFE_NO_PAD.encode(word),
        ]);
    }
    // Lines of the private key, and the file that it comes in.
    needles.extend(PEM.lines().skip(2).take(20).map(str::to_owned));
    needles.push(BASE64_STANDARD.encode(&PFX[300..600]));
    // Of the federated token and of every signed assertion: the head of all, and each one's own signature.
    needles.push("eyJhbGciOi".to_owned());
    needles.push(stage.token.rsplit('.').next().unwrap().to_owned());
    for body in stage.azure.control().token_bodies() {
        let shown = body.split("client_assertion=").nth(1);
        if let Some(signature) = shown.and_then(|jwt| jwt.split('&').next()?.rsplit('.').next()) {
            needles.push(signature.to_owned());
        }
    }
    needles.retain(|needle| needle.len() > 5);
    needles
}

#[test]
fn no_secret_is_told_whatever_fails() {
    run(async {
        let stage = Stage::start_with(Own::Federated, CLIENT_SECRET).await;
        prepare(&stage).await;
        create_pod(&stage, "good").await;
        stage.pod_runs("good").await;
        all_passed_through(&stage);

        let plane = plane().await;
        let args = ["exec", "-n", PODS, "-i", "good", "--", "cat"];
        let ran = plane.kubectl_as(plane.kubeconfig(), &args, STDIN).await;
        let said = ran.unwrap().ok().unwrap();
        assert!(said.contains(STDIN), "{said}");

        fail_creates(&stage).await;
        fail_exchanges(&stage).await;
        // A secret that Entra ID itself refuses, and a file that does not open.
        let config = &stage.config;
        let data = [
            ("AZURE_TENANT_ID", config.tenant_id.as_bytes()),
            ("AZURE_SUBSCRIPTION_ID", config.subscription_id.as_bytes()),
            ("AZURE_CLIENT_ID", SECRET.as_bytes()),
            ("AZURE_CLIENT_SECRET", WRONG_SECRET.as_bytes()),
        ];
        stage.write_secret("canary-secret", &data).await;
        let data = [
            ("AZURE_TENANT_ID", config.tenant_id.as_bytes()),
            ("AZURE_SUBSCRIPTION_ID", config.subscription_id.as_bytes()),
            ("AZURE_CLIENT_ID", CERTIFICATE.as_bytes()),
            ("AZURE_CLIENT_CERTIFICATE", PFX),
            ("AZURE_CLIENT_CERTIFICATE_PASSWORD", WRONG_SECRET.as_bytes()),
        ];
        stage.write_secret("canary-file", &data).await;
        for (name, text) in [
            ("canary-secret", "AADSTS7000215"),
            ("canary-file", "does not open with the password"),
        ] {
            eventually(&format!("{name}: {text}"), 60, || async {
                let connector = stage.connector(name).await;
                let message = condition(&connector, "CredentialsReady")["message"].clone();
                let status = &condition(&connector, "CredentialsReady")["status"];
                if *status == "False" && message.as_str().unwrap().contains(text) {
                    Ok(())
                } else {
                    Err(message.to_string())
                }
            })
            .await;
        }

        let needles = needles(&stage);
        for (place, content) in told(&stage).await {
            assert!(
                content.contains("canary-secret"),
                "{place} say nothing about the connector"
            );
            // The answers that quote their request did arrive, and were told without it.
            if ["the log", "the pods", "the events"].contains(&place) {
                assert!(content.contains("[redacted]"), "{place} quote nothing");
            }
            for needle in &needles {
                let Some(at) = content.find(needle.as_str()) else {
                    continue;
                };
                let from = content.floor_char_boundary(at.saturating_sub(300));
                panic!("{place} tell a secret after: {}", &content[from..at]);
            }
        }
        // Right again, so that the pods can go.
        let data = [
            ("AZURE_TENANT_ID", config.tenant_id.as_bytes()),
            ("AZURE_SUBSCRIPTION_ID", config.subscription_id.as_bytes()),
            ("AZURE_CLIENT_ID", SECRET.as_bytes()),
            ("AZURE_CLIENT_SECRET", CLIENT_SECRET.as_bytes()),
        ];
        stage.write_secret("canary-secret", &data).await;
        stage
            .condition_is("canary-secret", "CredentialsReady", "True")
            .await;
        stage.finish(&CONNECTORS).await;
    });
}
