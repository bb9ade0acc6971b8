//! A certificate that ends soon is told of, once a day.

use chrono::Datelike as _;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::stage::{CERTIFICATE, Own, PEM, Stage, eventually, run};

/// A certificate of the test's key that ends in so many days, with the key; and when it ends.
fn certificate(days: i64) -> (String, i64) {
    let end = (chrono::Utc::now() + chrono::Duration::days(days)).date_naive();
    let (month, day) = (
        end.month().try_into().unwrap(),
        end.day().try_into().unwrap(),
    );
    let mut params = rcgen::CertificateParams::default();
    params.not_after = rcgen::date_time_ymd(end.year(), month, day);
    let key = PEM.split("-----BEGIN CERTIFICATE").next().unwrap();
    let signer = rcgen::KeyPair::from_pem(key).unwrap();
    let made = params.self_signed(&signer).unwrap();
    let end = end.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp();
    (format!("{key}{}", made.pem()), end)
}

async fn metric(stage: &Stage) -> Option<String> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let metrics = client.get(format!("{}/metrics", stage.operator.metrics_url()));
    let text = metrics.send().await.unwrap().text().await.unwrap();
    let name = "vkc_credential_expiry_timestamp_seconds{connector=\"ending\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map(str::to_owned)
}

async fn warnings(stage: &Stage) -> Vec<Event> {
    let events = Api::<Event>::namespaced(stage.client.clone(), "default");
    let mut events = events.list(&ListParams::default()).await.unwrap().items;
    events.retain(|event| event.reason.as_deref() == Some("CredentialsExpiring"));
    events
}

async fn write(stage: &Stage, pem: &str) {
    let config = &stage.config;
    assert!(stage.azure.control().set_certificates(CERTIFICATE, pem));
    let data = [
        ("AZURE_TENANT_ID", config.tenant_id.as_bytes()),
        ("AZURE_CLIENT_ID", CERTIFICATE.as_bytes()),
        ("AZURE_SUBSCRIPTION_ID", config.subscription_id.as_bytes()),
        ("AZURE_CLIENT_CERTIFICATE", pem.as_bytes()),
    ];
    stage.write_secret("ending", &data).await;
}

#[test]
fn the_end_of_a_certificate_is_told_two_weeks_ahead() {
    run(async {
        let stage = Stage::start(Own::SystemAssigned).await;
        let (pem, end) = certificate(10);
        write(&stage, &pem).await;
        let credentials = json!({"type": "ServicePrincipal", "secretRef": {"name": "ending"}});
        stage.connect("ending", credentials).await;
        let message = stage
            .condition_is("ending", "CredentialsReady", "True")
            .await;
        assert!(
            message.contains("its certificate expires at 20"),
            "{message}"
        );
        assert_eq!(metric(&stage).await, Some(end.to_string()));
        let warned = eventually("a warning", 20, || async {
            warnings(&stage).await.pop().ok_or(String::new())
        })
        .await;
        assert_eq!(warned.type_.as_deref(), Some("Warning"));
        let regarding = warned.regarding.unwrap();
        assert_eq!(regarding.kind.as_deref(), Some("VirtualKubeletConnector"));
        let note = warned.note.unwrap();
        assert!(
            note.contains("Secret vkc-system/ending expires in 9 days"),
            "{note}"
        );
        // Not again with each reconcile.
        for when in ["1", "2", "3"] {
            stage.ask_now("ending", when).await;
            eventually("it was asked", 20, || async {
                let connector = stage.connector("ending").await;
                if connector["status"]["lastHandledReconcileAt"] == when {
                    Ok(())
                } else {
                    Err(String::new())
                }
            })
            .await;
        }
        assert_eq!(warnings(&stage).await.len(), 1);

        // A new certificate ends it.
        let (pem, end) = certificate(100);
        write(&stage, &pem).await;
        eventually("the new end is shown", 60, || async {
            let shown = metric(&stage).await;
            let message = stage
                .condition_is("ending", "CredentialsReady", "True")
                .await;
            if shown == Some(end.to_string()) && !message.contains("expires") {
                Ok(())
            } else {
                Err(format!("{shown:?} {message}"))
            }
        })
        .await;
        assert_eq!(warnings(&stage).await.len(), 1);
        let background = DeleteParams::background();
        stage
            .connectors()
            .delete("ending", &background)
            .await
            .unwrap();
        eventually("the figure goes with the connector", 60, || async {
            metric(&stage).await.map_or(Ok(()), Err)
        })
        .await;
        stage.finish(&[]).await;
    });
}
