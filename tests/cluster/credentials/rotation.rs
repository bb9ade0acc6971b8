//! A credential changes while pods run: without a restart, within a minute, and no pod notices.

use std::time::{Duration, Instant};

use aci_emulator::Proof;
use serde_json::{Value, json};

use super::stage::{CERTIFICATE, FEDERATED, Own, PEM, SECRET, Stage, condition, eventually, run};

/// "Within a minute".
const MINUTE: Duration = Duration::from_mins(1);

async fn write(stage: &Stage, name: &str, client_id: &str, key: &str, value: &str) {
    let config = &stage.config;
    let data = [
        ("AZURE_TENANT_ID", config.tenant_id.as_bytes()),
        ("AZURE_CLIENT_ID", client_id.as_bytes()),
        ("AZURE_SUBSCRIPTION_ID", config.subscription_id.as_bytes()),
        (key, value.as_bytes()),
    ];
    stage.write_secret(name, &data).await;
}

/// What a change of credentials must not touch.
fn containers(pod: &Value) -> Value {
    assert_eq!(pod["status"]["phase"], "Running");
    json!([
        pod["status"]["containerStatuses"],
        pod["status"]["startTime"],
        condition(pod, "Ready")["lastTransitionTime"],
    ])
}

/// Number of the newest token.
fn newest(stage: &Stage) -> u64 {
    let tokens = stage.azure.control().exchanges();
    tokens.last().map_or(0, |exchange| exchange.token)
}

/// Waits for a call about the connector with a token that is newer than `old`; from then on none has an older one.
async fn only_newer(stage: &Stage, name: &str, old: u64) {
    let first = eventually("a call with the new token", 30, || async {
        let calls = stage.calls(name);
        let newer = |token: Option<u64>| token.is_some_and(|token| token > old);
        calls
            .iter()
            .position(|call| newer(call.token))
            .ok_or_else(|| format!("{:?}", calls.last()))
    })
    .await;
    for call in stage.calls(name).iter().skip(first) {
        assert!(
            call.token > Some(old),
            "the old token was used again: {call:?}"
        );
    }
}

#[test]
fn a_new_secret_is_used_and_a_wrong_one_is_told_without_a_restart() {
    run(async {
        let stage = Stage::start(Own::SystemAssigned).await;
        let name = "turning";
        let good = stage.config.client_secret.clone();
        write(&stage, name, SECRET, "AZURE_CLIENT_SECRET", &good).await;
        let credentials = json!({"type": "ServicePrincipal", "secretRef": {"name": name}});
        stage.connect(name, credentials).await;
        let before = containers(&stage.run_pod(name).await);

        // Wrong: said with Entra's code, and the good token of before is not used any more.
        let since = Instant::now();
        write(&stage, name, SECRET, "AZURE_CLIENT_SECRET", "wrong").await;
        let message = stage.condition_is(name, "CredentialsReady", "False").await;
        assert!(message.contains("AADSTS7000215"), "{message}");
        eprintln!("a wrong secret was told after {:?}", since.elapsed());
        assert!(since.elapsed() < MINUTE);
        let calls = stage.calls(name).len();
        // Several rounds of what the operator does for a running pod.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(stage.calls(name).len(), calls, "calls without a credential");
        assert_eq!(containers(&stage.pod(name).await), before);

        // Right again, with another secret: Azure's side changed too.
        let old = newest(&stage);
        let since = Instant::now();
        stage.azure.control().set_client_secret("the next one");
        write(
            &stage,
            name,
            SECRET,
            "AZURE_CLIENT_SECRET",
            "the next one\n",
        )
        .await;
        stage.condition_is(name, "CredentialsReady", "True").await;
        stage.condition_is(name, "Ready", "True").await;
        eprintln!("a good secret was told after {:?}", since.elapsed());
        assert!(since.elapsed() < MINUTE);
        only_newer(&stage, name, old).await;
        assert_eq!(containers(&stage.pod(name).await), before);

        // From a secret to the certificate of another application.
        let old = newest(&stage);
        write(&stage, name, CERTIFICATE, "AZURE_CLIENT_CERTIFICATE", PEM).await;
        eventually("the new application is named", 60, || async {
            let connector = stage.connector(name).await;
            if connector["status"]["identity"]["clientID"] == CERTIFICATE {
                Ok(())
            } else {
                Err(connector["status"].to_string())
            }
        })
        .await;
        stage.condition_is(name, "CredentialsReady", "True").await;
        only_newer(&stage, name, old).await;
        let tokens = stage.tokens(CERTIFICATE);
        assert!(!tokens.is_empty() && tokens.iter().all(|token| token.proof == Proof::Certificate));
        assert_eq!(containers(&stage.pod(name).await), before);
        stage.finish(&[name]).await;
    });
}

#[test]
fn the_token_file_is_read_again_for_each_exchange() {
    run(async {
        let stage = Stage::start(Own::Federated).await;
        let name = "reading";
        stage.connect(name, Value::Null).await;
        let before = containers(&stage.run_pod(name).await);
        let control = stage.azure.control();

        std::fs::write(&stage.token_file, "e30.e30.e30").unwrap();
        control.revoke_tokens();
        stage.ask_now(name, "1").await;
        let message = stage.condition_is(name, "CredentialsReady", "False").await;
        assert!(message.contains("AADSTS700212"), "{message}");
        assert!(!message.contains("e30.e30"), "{message}");
        assert_eq!(containers(&stage.pod(name).await), before);

        // Nobody tells the operator that the file is another one.
        let old = newest(&stage);
        let since = Instant::now();
        std::fs::write(&stage.token_file, &stage.token).unwrap();
        stage.condition_is(name, "CredentialsReady", "True").await;
        eprintln!("a good token file was noticed after {:?}", since.elapsed());
        assert!(since.elapsed() < MINUTE);
        only_newer(&stage, name, old).await;
        assert!(stage.tokens(FEDERATED).len() >= 2);
        assert_eq!(containers(&stage.pod(name).await), before);
        stage.finish(&[name]).await;
    });
}
