//! What must not be told is not told, whatever fails.

use aci_emulator::Fault;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::fixture::{
    CANARY, Fixture, PATIENCE, condition, eventually, is_running, text, waiting,
};
use crate::support::site::{Runs, log, run, shared};

/// Lets creates fail in all ways, each with the pod's token in the request that fails. Gives a pod that runs all the same.
async fn fail_in_all_ways(fixture: &Fixture) -> Value {
    let refused = [
        ("quota", 409, "ContainerGroupQuotaReached"),
        ("image", 400, "InaccessibleImage"),
        ("denied", 403, "AuthorizationFailed"),
    ];
    for (name, status, code) in refused {
        fixture.control.inject(Fault {
            status,
            code: code.to_owned(),
            times: 1000,
            ..Fixture::fault("PUT", name)
        });
        fixture.create_pod(name, "example.com/web", json!({})).await;
    }
    fixture.control.inject(Fault {
        drop_connection: true,
        ..Fixture::fault("PUT", "dropped")
    });
    fixture.control.inject(Fault {
        status: 503,
        code: "ServiceUnavailable".to_owned(),
        after_effect: true,
        ..Fixture::fault("PUT", "unheard")
    });
    for name in ["dropped", "unheard"] {
        fixture.create_pod(name, "example.com/web", json!({})).await;
    }
    let reasons = [
        ["AciQuotaExceeded", "AciQuotaExceeded"],
        ["ErrImagePull", "ImagePullBackOff"],
        ["AzureForbidden", "AzureForbidden"],
    ];
    for ((name, _, _), reasons) in refused.into_iter().zip(reasons) {
        fixture
            .pod_until(name, reasons[0], PATIENCE, |pod| {
                reasons.contains(&waiting(pod))
            })
            .await;
    }
    fixture
        .pod_until("dropped", "it runs", PATIENCE, is_running)
        .await;
    fixture
        .pod_until("unheard", "it runs", PATIENCE, is_running)
        .await
}

/// From now on the client secret is wrong, and the tokens it bought are void.
async fn void_the_secret(fixture: &Fixture) {
    fixture.control.set_client_secret("another");
    fixture.control.revoke_tokens();
    let ask = json!({"metadata": {"annotations": {"virtual-kubelet.io/requestedAt": "now"}}});
    fixture
        .connectors()
        .patch(&fixture.name, &PatchParams::default(), &Patch::Merge(&ask))
        .await
        .unwrap();
    eventually(
        "the connector says that its secret is wrong",
        PATIENCE,
        || async {
            let connector = fixture.connector().await;
            if condition(&connector, "CredentialsReady")["status"] == "False" {
                Ok(())
            } else {
                Err(connector["status"].to_string())
            }
        },
    )
    .await;
}

/// Everything that the operator tells anybody.
pub(crate) async fn told(operator: &impl Runs, fixture: &Fixture) -> Vec<(&'static str, String)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = client.get(format!("{}/metrics", operator.metrics_url()));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let all = ListParams::default();
    let events = Api::<Event>::all(fixture.client.clone());
    let events = events.list(&all).await.unwrap().items;
    let nodes = fixture.nodes().list(&all).await.unwrap().items;
    let urls = fixture.control.requests().into_iter();
    let urls: Vec<String> = urls
        .map(|request| format!("{}?{}", request.path, request.query))
        .collect();
    vec![
        ("the log", std::fs::read_to_string(log().await).unwrap()),
        ("the metrics", metrics),
        (
            "the events",
            serde_json::to_string::<Vec<Event>>(&events).unwrap(),
        ),
        (
            "the nodes",
            serde_json::to_string::<Vec<Node>>(&nodes).unwrap(),
        ),
        ("the pods", json!(fixture.pods().await).to_string()),
        ("the connector", fixture.connector().await.to_string()),
        ("the URLs", urls.join("\n")),
    ]
}

#[test]
fn nothing_tells_a_secret() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "canary", "Linux").await;
        let pod = fail_in_all_ways(&fixture).await;
        let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
        let encoded = text(&put["properties"]["volumes"][0]["secret"]["token"]);
        let token = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(token.split('.').count(), 3);
        void_the_secret(&fixture).await;

        let secret = &fixture.config.client_secret;
        assert!(secret.starts_with(CANARY));
        // Also as it travels: base64 in the group and in Secrets.
        let needles = [
            CANARY.to_owned(),
            BASE64_STANDARD.encode(secret),
            token.rsplit('.').next().unwrap().to_owned(),
            encoded.to_owned(),
            // The head of every token, of whomever.
            "eyJhbGciOi".to_owned(),
        ];
        for (place, content) in told(&operator, &fixture).await {
            assert!(
                content.contains("canary"),
                "{place} say nothing about the connector"
            );
            for needle in &needles {
                assert!(!content.contains(needle.as_str()), "{place} tell a secret");
            }
        }
        fixture.control.set_client_secret(secret);
        fixture.finish().await;
    });
}
