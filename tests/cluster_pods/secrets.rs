//! What must not be told is not told, whatever fails.

use aci_emulator::Fault;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::fixture::{CANARY, Fixture, PATIENCE, condition, eventually, is_running, text, waiting};
use crate::operator::{Runs, log, run, shared};

#[test]
fn nothing_tells_a_secret() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "canary", "Linux").await;
        // Failures of all kinds, each with the pod's token in the request that fails.
        for (name, status, code) in [
            ("quota", 409, "ContainerGroupQuotaReached"),
            ("image", 400, "InaccessibleImage"),
            ("denied", 403, "AuthorizationFailed"),
        ] {
            fixture.control.inject(Fault {
                status,
                code: code.to_owned(),
                times: 1000,
                ..Fixture::fault("PUT", name)
            });
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
        for name in ["quota", "image", "denied", "dropped", "unheard"] {
            fixture.create_pod(name, "example.com/web", json!({})).await;
        }
        for name in ["quota", "image", "denied"] {
            fixture
                .pod_until(name, "it waits", PATIENCE, |pod| {
                    !waiting(pod).is_empty() && waiting(pod) != "ContainerCreating"
                })
                .await;
        }
        let pod = fixture
            .pod_until("unheard", "it runs", PATIENCE, is_running)
            .await;
        fixture
            .pod_until("dropped", "it runs", PATIENCE, is_running)
            .await;
        let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
        let encoded = text(&put["properties"]["volumes"][0]["secret"]["token"]);
        let token = String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(token.split('.').count(), 3);

        // The secret is wrong from now on, and the tokens it bought are void.
        fixture.control.set_client_secret("another");
        fixture.control.revoke_tokens();
        let annotation =
            json!({"metadata": {"annotations": {"virtual-kubelet.io/requestedAt": "now"}}});
        fixture
            .connectors()
            .patch(
                &fixture.name,
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Merge(&annotation),
            )
            .await
            .unwrap();
        eventually(
            "the connector says that its secret is wrong",
            PATIENCE,
            || async {
                let connector = fixture.connector().await;
                let credentials = condition(&connector, "CredentialsReady");
                if credentials["status"] == "False" {
                    Ok(())
                } else {
                    Err(connector["status"].to_string())
                }
            },
        )
        .await;

        let metrics = reqwest::Client::builder().no_proxy().build().unwrap();
        let metrics = metrics
            .get(format!("{}/metrics", operator.metrics_url()))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let events = Api::<Event>::all(fixture.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        let nodes = Api::<Node>::all(fixture.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        let urls: Vec<String> = fixture
            .control
            .requests()
            .into_iter()
            .map(|request| format!("{}?{}", request.path, request.query))
            .collect();
        let log = std::fs::read_to_string(log().await).unwrap();
        assert!(log.contains("ContainerGroupQuotaReached") || log.contains("AciQuotaExceeded"));
        let signature = token.rsplit('.').next().unwrap();
        let secret = &fixture.config.client_secret;
        // Also as it travels: base64 in the group and in Secrets. The end of a text is found whatever stands before it.
        let needles = [
            secret.clone(),
            BASE64_STANDARD.encode(secret),
            signature.to_owned(),
            encoded[encoded.len() - 60..].to_owned(),
        ];
        for (place, content) in [
            ("the log", log),
            ("the metrics", metrics),
            ("the events", serde_json::to_string(&events.items).unwrap()),
            ("the nodes", serde_json::to_string(&nodes.items).unwrap()),
            ("the pods", json!(fixture.pods().await).to_string()),
            ("the connector", fixture.connector().await.to_string()),
            ("the URLs", urls.join("\n")),
        ] {
            assert!(!content.is_empty(), "{place}");
            for needle in &needles {
                assert!(!content.contains(needle.as_str()), "{place} tell a secret");
            }
            // No token of any kind, and no secret of another connector.
            assert!(!content.contains("eyJhbGciOi"), "{place} hold a token");
            assert!(!content.contains(CANARY), "{place} hold a client secret");
        }
        fixture.control.set_client_secret(secret);
        fixture.finish().await;
    });
}
