//! Each kind brings a connector to Ready and a pod to Running, as itself and nobody else.

use aci_emulator::Proof;
use serde_json::{Value, json};

use super::stage::{
    CERTIFICATE, FEDERATED, Own, PEM, SECRET, SYSTEM, Stage, USER, condition, eventually, run,
};

const PFX: &[u8] = include_bytes!("../../../src/azure/credential/pkcs12/modern.p12");

/// A Secret under the name of the connector, without client secret or certificate.
fn base(stage: &Stage, client_id: &str) -> Vec<(&'static str, Vec<u8>)> {
    [
        ("AZURE_TENANT_ID", stage.config.tenant_id.as_str()),
        ("AZURE_CLIENT_ID", client_id),
        ("AZURE_SUBSCRIPTION_ID", &stage.config.subscription_id),
    ]
    .map(|(key, value)| (key, value.as_bytes().to_vec()))
    .to_vec()
}

async fn write(stage: &Stage, name: &str, client_id: &str, more: &[(&'static str, &[u8])]) {
    let data = base(stage, client_id);
    let mut data: Vec<(&str, &[u8])> = data.iter().map(|(k, v)| (*k, v.as_slice())).collect();
    data.extend(more);
    stage.write_secret(name, &data).await;
}

#[test]
fn every_kind_runs_pods_as_itself() {
    run(async {
        let stage = Stage::start(Own::Federated).await;
        let secret = stage.config.client_secret.clone();
        let with_secret = [("AZURE_CLIENT_SECRET", secret.as_bytes())];
        write(&stage, "by-secret", SECRET, &with_secret).await;
        let with_pem = [("AZURE_CLIENT_CERTIFICATE", PEM.as_bytes())];
        write(&stage, "by-pem", CERTIFICATE, &with_pem).await;
        let with_pfx = [
            ("AZURE_CLIENT_CERTIFICATE", PFX),
            ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "Grüße 🔑 1".as_bytes()),
        ];
        write(&stage, "by-pfx", CERTIFICATE, &with_pfx).await;
        let of_secret =
            |name: &str| json!({"type": "ServicePrincipal", "secretRef": {"name": name}});
        let tenant = &stage.config.tenant_id;
        let kinds: [(&str, Value, &str, Proof, &str); 7] = [
            (
                "by-secret",
                of_secret("by-secret"),
                SECRET,
                Proof::Secret,
                "ServicePrincipal",
            ),
            (
                "by-pem",
                of_secret("by-pem"),
                CERTIFICATE,
                Proof::Certificate,
                "ServicePrincipal",
            ),
            (
                "by-pfx",
                of_secret("by-pfx"),
                CERTIFICATE,
                Proof::Certificate,
                "ServicePrincipal",
            ),
            (
                "by-token",
                json!({"type": "WorkloadIdentity", "clientID": FEDERATED, "tenantID": tenant}),
                FEDERATED,
                Proof::Federated,
                "WorkloadIdentity",
            ),
            (
                "by-user",
                json!({"type": "ManagedIdentity", "clientID": USER}),
                USER,
                Proof::Machine,
                "ManagedIdentity",
            ),
            (
                "by-system",
                json!({"type": "ManagedIdentity"}),
                SYSTEM,
                Proof::Machine,
                "ManagedIdentity",
            ),
            (
                "by-own",
                Value::Null,
                FEDERATED,
                Proof::Federated,
                "WorkloadIdentity",
            ),
        ];
        for (name, credentials, ..) in &kinds {
            stage.connect(name, credentials.clone()).await;
        }
        for (name, _, client_id, proof, kind) in &kinds {
            let message = stage.condition_is(name, "CredentialsReady", "True").await;
            assert!(message.contains("was accepted"), "{message}");
            stage.condition_is(name, "Ready", "True").await;
            let identity = &stage.connector(name).await["status"]["identity"];
            assert_eq!(identity["type"], *kind);
            let shown = if *name == "by-system" {
                Value::Null
            } else {
                json!(client_id)
            };
            assert_eq!(identity["clientID"], shown, "{name}");
            stage.run_pod(name).await;
            stage.acted_as(name, client_id, *proof);
        }
        let names = kinds.map(|(name, ..)| name);
        stage.finish(&names).await;
    });
}

#[test]
fn no_credential_goes_to_a_host_that_nobody_has_allowed() {
    run(async {
        let stage = Stage::start(Own::Federated).await;
        let secret = stage.config.client_secret.clone();
        let secret = [("AZURE_CLIENT_SECRET", secret.as_bytes())];
        write(&stage, "thief-secret", SECRET, &secret).await;
        // The same server under a name that the operator's flags do not have.
        let elsewhere = stage.azure.url().replace("127.0.0.1", "localhost");
        let mut cloud = stage.custom_cloud();
        for field in ["resourceManagerEndpoint", "authorityHost", "audience"] {
            cloud[field] = json!(elsewhere);
        }
        let tenant = &stage.config.tenant_id;
        let kinds = [
            ("thief-own", Value::Null),
            (
                "thief-token",
                json!({"type": "WorkloadIdentity", "clientID": FEDERATED, "tenantID": tenant}),
            ),
            ("thief-machine", json!({"type": "ManagedIdentity"})),
            (
                "thief-secret",
                json!({"type": "ServicePrincipal", "secretRef": {"name": "thief-secret"}}),
            ),
        ];
        for (name, credentials) in &kinds {
            let more = json!({"customCloud": cloud});
            stage.connect_with(name, credentials.clone(), more).await;
        }
        for (name, _) in &kinds {
            let message = stage.condition_is(name, "CredentialsReady", "False").await;
            assert!(message.contains(&elsewhere), "{message}");
            let connector = stage.connector(name).await;
            for kind in ["Stalled", "CredentialsReady"] {
                assert_eq!(condition(&connector, kind)["reason"], "AuthorityNotAllowed");
            }
        }
        assert_eq!(stage.azure.control().requests().len(), 0);
        // The Secret says that it may go there.
        let named = [secret[0], ("AZURE_AUTHORITY_HOST", elsewhere.as_bytes())];
        write(&stage, "thief-secret", SECRET, &named).await;
        eventually("it is shown there", 30, || async {
            let asked = stage.azure.control().requests();
            let tokens = asked.iter().filter(|it| it.path.contains("/oauth2/"));
            if tokens.count() > 0 {
                Ok(())
            } else {
                Err(String::new())
            }
        })
        .await;
        stage.finish(&kinds.map(|(name, _)| name)).await;
    });
}

#[test]
fn the_operators_own_identity_is_the_one_of_its_environment() {
    run(async {
        for (own, name, client_id, proof, who) in [
            (
                Own::Secret,
                "own-secret",
                SECRET,
                Proof::Secret,
                "service principal",
            ),
            (
                Own::UserAssigned,
                "own-user",
                USER,
                Proof::Machine,
                "managed identity 44444444",
            ),
            (
                Own::SystemAssigned,
                "own-system",
                SYSTEM,
                Proof::Machine,
                "system-assigned managed identity",
            ),
        ] {
            let stage = Stage::start(own).await;
            stage.connect(name, Value::Null).await;
            let message = stage.condition_is(name, "CredentialsReady", "True").await;
            assert!(message.starts_with(who), "{message}");
            assert!(
                message.contains("of the operator's environment was accepted"),
                "{message}"
            );
            stage.run_pod(name).await;
            stage.acted_as(name, client_id, proof);
            stage.finish(&[name]).await;
        }
    });
}

#[test]
fn nobody_stands_in_for_an_identity_that_is_refused() {
    run(async {
        let stage = Stage::start(Own::Federated).await;
        let tenant = stage.config.tenant_id.clone();
        // Each of these would work with the identity of another.
        write(
            &stage,
            "no-secret",
            CERTIFICATE,
            &[
                ("AZURE_CLIENT_SECRET", b"wrong".as_slice()),
                ("AZURE_CLIENT_CERTIFICATE", PEM.as_bytes()),
            ],
        )
        .await;
        write(
            &stage,
            "no-key",
            SECRET,
            &[("AZURE_CLIENT_CERTIFICATE", PEM.as_bytes())],
        )
        .await;
        write(
            &stage,
            "no-password",
            CERTIFICATE,
            &[("AZURE_CLIENT_CERTIFICATE", PFX)],
        )
        .await;
        let of_secret =
            |name: &str| json!({"type": "ServicePrincipal", "secretRef": {"name": name}});
        let cases = [
            ("no-secret", of_secret("no-secret"), "AADSTS7000215"),
            ("no-key", of_secret("no-key"), "AADSTS700027"),
            (
                "no-password",
                of_secret("no-password"),
                "AZURE_CLIENT_CERTIFICATE_PASSWORD",
            ),
            (
                "no-app",
                json!({"type": "WorkloadIdentity", "clientID": "66666666-6666-4666-8666-666666666666", "tenantID": tenant}),
                "AADSTS700016",
            ),
            (
                "no-tenant",
                json!({"type": "WorkloadIdentity", "clientID": FEDERATED, "tenantID": "77777777-7777-4777-8777-777777777777"}),
                "AADSTS90002",
            ),
            (
                "no-machine",
                json!({"type": "ManagedIdentity", "clientID": "66666666-6666-4666-8666-666666666666"}),
                "Identity not found",
            ),
        ];
        for (name, credentials, _) in &cases {
            stage.connect(name, credentials.clone()).await;
        }
        for (name, _, text) in &cases {
            let message = stage.condition_is(name, "CredentialsReady", "False").await;
            assert!(message.contains(text), "{name}: {message}");
            let connector = stage.connector(name).await;
            assert_eq!(condition(&connector, "Stalled")["status"], "True", "{name}");
            assert_eq!(stage.calls(name), [], "{name}");
        }
        assert_eq!(stage.azure.control().exchanges(), []);
        let names = cases.map(|(name, ..)| name);
        stage.finish(&names).await;
    });
}

#[test]
fn tokens_are_for_the_audience_of_the_cloud() {
    run(async {
        let stage = Stage::start(Own::SystemAssigned).await;
        for (name, audience, wanted) in [
            // The tenant knows it, and this Resource Manager does not want it.
            ("aud-wrong", "https://vault.azure.net", Err("audience")),
            (
                "aud-unknown",
                "https://management.example.com",
                Err("AADSTS500011"),
            ),
            ("aud-right", "https://management.azure.com/", Ok(())),
        ] {
            let mut cloud = stage.custom_cloud();
            cloud["audience"] = json!(audience);
            let more = json!({"customCloud": cloud});
            stage.connect_with(name, Value::Null, more).await;
            match wanted {
                Ok(()) => {
                    stage.condition_is(name, "Ready", "True").await;
                    let tokens = stage.azure.control().exchanges();
                    let last = tokens.last().unwrap();
                    assert_eq!(last.audience, "https://management.azure.com");
                }
                Err(text) => {
                    let message = stage.condition_is(name, "CredentialsReady", "False").await;
                    assert!(message.contains(text), "{message}");
                }
            }
        }
        stage
            .finish(&["aud-wrong", "aud-unknown", "aud-right"])
            .await;
    });
}
