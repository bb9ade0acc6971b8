//! What container groups have besides containers: from the connector's `containerGroup`, and from annotations of pods.

use aci_emulator::Subnet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::secrets::told;
use crate::support::fixture::{
    Fixture, PATIENCE, condition, eventually, is_running, merge, text, waiting,
};
use crate::support::site::{plane, run, shared};
use crate::support::tools::kube_config;

const IDENTITIES: &str = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/\
                          Microsoft.ManagedIdentity/userAssignedIdentities";
const KEY: &str = "Pferdeapfel";

fn identity(name: &str) -> String {
    format!("{IDENTITIES}/{name}")
}

/// Applies a pod with kubectl, annotated under our prefix.
async fn apply(
    fixture: &Fixture,
    name: &str,
    annotations: &[(&str, &str)],
    patch: &Value,
) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (format!("virtual-kubelet.io/{key}"), json!(value)))
        .collect();
    let mut spec = fixture.pod_spec("example.com/web");
    spec["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    merge(&mut spec, patch);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": fixture.name, "annotations": annotations},
        "spec": spec,
    });
    let plane = plane().await;
    let args = ["apply", "-f", "-"];
    let done = plane
        .kubectl_as(plane.kubeconfig(), &args, &pod.to_string())
        .await;
    done.unwrap().ok().unwrap();
    fixture.pod(name).await
}

/// The body of the PUT of a pod that runs, and the pod.
async fn runs(fixture: &Fixture, name: &str) -> (Value, Value) {
    let pod = fixture
        .pod_until(name, "it runs", PATIENCE, is_running)
        .await;
    let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
    (put, pod)
}

async fn put(fixture: &Fixture, name: &str, annotations: &[(&str, &str)]) -> Value {
    apply(fixture, name, annotations, &json!({})).await;
    runs(fixture, name).await.0
}

fn annotation<'a>(pod: &'a Value, key: &str) -> &'a Value {
    &pod["metadata"]["annotations"][format!("virtual-kubelet.io/{key}")]
}

/// Confidential computing, a customer's key, and secrets of a Key Vault, with the identity `a`.
async fn protected(fixture: &Fixture, a: &str) {
    let policy = "cGFja2FnZSBwb2xpY3k=";
    let secret = put(
        fixture,
        "secret",
        &[("confidential-compute-cce-policy", policy)],
    )
    .await;
    assert_eq!(secret["properties"]["sku"], "Confidential");
    let confidential = &secret["properties"]["confidentialComputeProperties"];
    assert_eq!(*confidential, json!({"ccePolicy": policy}));

    let vault = [
        ("encryption-vault-url", "https://v.vault.azure.net"),
        ("encryption-key-name", "k"),
        ("encryption-key-version", "0123456789abcdef0123456789abcdef"),
        ("encryption-identity", a),
        ("identity", a),
    ];
    let sealed = put(fixture, "sealed", &vault).await;
    let expected = json!({"vaultBaseUrl": vault[0].1, "keyName": "k", "keyVersion": vault[2].1, "identity": a});
    assert_eq!(sealed["properties"]["encryptionProperties"], expected);

    let vault = "main/DB=https://v.vault.azure.net/secrets/db";
    let keys = put(
        fixture,
        "keys",
        &[("key-vault-env", vault), ("identity", a)],
    )
    .await;
    let reference = &keys["properties"]["secretReferences"][0];
    assert_eq!(reference["identity"], json!(a));
    let environment = &keys["properties"]["containers"][0]["properties"]["environmentVariables"];
    let variable = environment
        .as_array()
        .and_then(|all| all.iter().find(|it| it["name"] == "DB"));
    assert_eq!(
        variable.map(|it| &it["secureValueReference"]),
        Some(&reference["name"])
    );
    let version = fixture
        .requests("keys")
        .into_iter()
        .find(|it| it.method == "PUT");
    assert!(version.unwrap().query.contains("2025-09-01"));
}

#[test]
fn features_of_the_connector_and_of_annotations_reach_azure() {
    run(async {
        let operator = shared().await;
        let (a, b) = (identity("a"), identity("b"));
        let patch = json!({"zones": ["2"], "containerGroup": {"identityIDs": [a, b]}});
        let fixture = Fixture::start_with(&operator, "features", "Linux", &patch).await;

        let plain = put(&fixture, "plain", &[]).await;
        assert_eq!(plain.get("identity"), None, "{plain}");
        assert_eq!(plain["zones"], json!(["2"]));
        assert_eq!(plain["properties"]["sku"], "Standard");

        let both = format!("system,{b}");
        let own = put(&fixture, "own", &[("identity", &both), ("zone", "3")]).await;
        assert_eq!(
            own["identity"],
            json!({"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {&b: {}}})
        );
        assert_eq!(own["zones"], json!(["3"]));

        let spot = put(
            &fixture,
            "spot",
            &[("priority", "Spot"), ("public-ip", "false")],
        )
        .await;
        assert_eq!(spot["properties"]["priority"], "Spot");
        assert!(spot["properties"].get("ipAddress").is_none());

        protected(&fixture, &a).await;

        apply(&fixture, "spott", &[("priorty", "Spot")], &json!({})).await;
        let (_, pod) = runs(&fixture, "spott").await;
        let event = fixture.event(&pod, "UnknownAnnotation").await;
        assert!(
            text(&event["note"]).contains("virtual-kubelet.io/priorty"),
            "{event}"
        );

        for (name, key, value, reason, cause) in [
            (
                "thief",
                "identity",
                &*identity("owner"),
                "AnnotationNotAllowed",
                "identityIDs",
            ),
            (
                "roamer",
                "subnet",
                "/subscriptions/x",
                "AnnotationNotAllowed",
                "another connector",
            ),
            (
                "slip",
                "zone",
                "5",
                "InvalidAnnotation",
                "one of 1, 2, 3, none",
            ),
            (
                "bare",
                "priority",
                "Spot",
                "NotSupportedOnAci",
                "no IP address",
            ),
        ] {
            apply(&fixture, name, &[(key, value)], &json!({})).await;
            let refused = |pod: &Value| waiting(pod) == reason;
            let pod = fixture.pod_until(name, reason, PATIENCE, refused).await;
            let said = text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
            let place = format!("metadata.annotations[virtual-kubelet.io/{key}]");
            assert!(said.contains(&place) && said.contains(cause), "{said}");
            assert_eq!(fixture.calls(name), []);
        }
        fixture.finish().await;
    });
}

#[test]
fn a_pod_shows_what_is_billed_and_its_public_name() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "shown", "Linux").await;
        let small = json!({"requests": {"cpu": "250m", "memory": "1201M"}});
        let patch = json!({"containers": [{
            "name": "main", "image": "example.com/web", "ports": [{"containerPort": 80}], "resources": small,
        }]});
        let annotations = [("dns-label", "shown-app"), ("team", "none of ours")];
        apply(&fixture, "app", &annotations, &patch).await;
        let (put, pod) = runs(&fixture, "app").await;
        assert_eq!(put["properties"]["ipAddress"]["dnsNameLabel"], "shown-app");
        assert_eq!(*annotation(&pod, "billed-resources"), "cpu=1,memory=1.3G");
        assert_eq!(
            *annotation(&pod, "fqdn"),
            "shown-app.eastus.azurecontainer.io"
        );
        assert_eq!(
            *annotation(&pod, "dns-label"),
            "shown-app",
            "the author's stay"
        );

        // Nobody else's: a later write restores them, and costs nothing while nothing changes.
        let version = pod["metadata"]["resourceVersion"].clone();
        fixture.run_pod("clock").await;
        let later = fixture.pod("app").await;
        assert_eq!(later["metadata"]["resourceVersion"], version);
        fixture.finish().await;
    });
}

#[test]
fn pods_in_a_subnet_ask_the_cluster_s_dns() {
    run(async {
        let operator = shared().await;
        let subnet = "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/rg/providers/Microsoft.Network/\
                      virtualNetworks/v/subnets/aci";
        let patch = json!({"publicIP": false});
        let fixture = Fixture::start_with(&operator, "resolve", "Linux", &patch).await;
        // The subnet has to be in the connector's subscription, which only the fixture knows.
        let subnet = subnet.replace(
            "00000000-0000-4000-8000-000000000000",
            &fixture.config.subscription_id,
        );
        let made = Subnet::new("rg", "v", "aci", "eastus");
        assert_eq!(fixture.control.set_subnet(made), subnet);
        let edit = json!({"spec": {"subnetID": subnet}});
        let done = fixture
            .connectors()
            .patch(&fixture.name, &PatchParams::default(), &Patch::Merge(&edit))
            .await;
        done.unwrap();
        eventually("pods are put into the subnet", PATIENCE, || async {
            let connector = fixture.connector().await;
            let seen = &connector["status"]["observedGeneration"];
            let is_true = |kind: &str| condition(&connector, kind)["status"] == "True";
            let is_ready = is_true("Ready") && is_true("SubnetReady");
            if *seen == connector["metadata"]["generation"] && is_ready {
                Ok(())
            } else {
                Err(connector["status"].to_string())
            }
        })
        .await;

        let cluster = json!({
            "nameServers": ["10.0.0.10"],
            "searchDomains": "resolve.svc.cluster.local svc.cluster.local cluster.local",
            "options": "ndots:5",
        });
        let first = put(&fixture, "first", &[("subnet", &subnet)]).await;
        assert_eq!(first["properties"]["dnsConfig"], cluster);
        assert_eq!(first["properties"]["subnetIds"], json!([{"id": subnet}]));
        assert_eq!(first["properties"]["ipAddress"]["type"], "Private");

        let own = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.9.9.9"], "options": [{"name": "ndots", "value": "1"}]}});
        apply(&fixture, "none", &[("realtime-metrics", "true")], &own).await;
        let (none, pod) = runs(&fixture, "none").await;
        assert_eq!(
            none["properties"]["dnsConfig"],
            json!({"nameServers": ["10.9.9.9"], "options": "ndots:1"})
        );
        let extension = &none["properties"]["extensions"][0]["properties"];
        assert_eq!(
            *extension,
            json!({"extensionType": "realtime-metrics", "version": "1.0"})
        );
        let event = fixture.event(&pod, "ApproximatedOnAci").await;
        assert!(
            text(&event["note"]).starts_with("spec.dnsPolicy"),
            "{event}"
        );

        let azure = put(&fixture, "azure", &[("cluster-dns", "false")]).await;
        assert!(azure["properties"].get("dnsConfig").is_none());
        fixture.finish().await;
    });
}

fn workspace_secret(key: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "logging-workspace", "namespace": "vkc-system"},
        "stringData": {"workspaceKey": key},
    })
}

#[test]
fn logs_go_to_the_workspace_with_the_key_of_its_secret() {
    run(async {
        let operator = shared().await;
        let workspace = json!({
            "workspaceID": "22222222-2222-2222-2222-222222222222",
            "secretRef": {"name": "logging-workspace"},
        });
        let secrets = Api::<Secret>::namespaced(operator_client().await, "vkc-system");
        let secret = serde_json::from_value(workspace_secret(KEY)).unwrap();
        let created = secrets.create(&PostParams::default(), &secret).await;
        created.unwrap();
        let patch = json!({"containerGroup": {"logAnalytics": workspace}});
        let fixture = Fixture::start_with(&operator, "logging", "Linux", &patch).await;

        let logs = |put: &Value| put["properties"]["diagnostics"]["logAnalytics"].clone();
        let first = logs(&put(&fixture, "first", &[("log-type", "ContainerInsights")]).await);
        assert_eq!(first["workspaceKey"], KEY);
        assert_eq!(first["logType"], "ContainerInsights");
        assert_eq!(first["metadata"]["pod-name"], "first");
        let quiet = put(&fixture, "quiet", &[("log-analytics", "off")]).await;
        assert!(quiet["properties"].get("diagnostics").is_none());

        // Without it pods wait, and the connector says why.
        secrets
            .delete("logging-workspace", &kube::api::DeleteParams::default())
            .await
            .unwrap();
        eventually("the connector misses the Secret", PATIENCE, || async {
            let connector = fixture.connector().await;
            let ready = condition(&connector, "Ready");
            if ready["reason"] == "SecretNotFound" {
                Ok(text(&ready["message"]).contains("vkc-system/logging-workspace"))
            } else {
                Err(ready.to_string())
            }
        })
        .await;
        apply(&fixture, "second", &[], &json!({})).await;
        let waits = |pod: &Value| waiting(pod) == "LogAnalyticsKeyMissing";
        fixture
            .pod_until("second", "it waits", PATIENCE, waits)
            .await;
        let fresh = format!("{KEY}-fresh");
        let secret: Secret = serde_json::from_value(workspace_secret(&fresh)).unwrap();
        let created = secrets.create(&PostParams::default(), &secret).await;
        created.unwrap();
        let (second, _) = runs(&fixture, "second").await;
        assert_eq!(logs(&second)["workspaceKey"], json!(fresh));
        fixture.connector_is_ready().await;

        for (place, content) in told(&operator, &fixture).await {
            assert!(content.contains("logging"), "{place} say nothing of this");
            assert!(!content.contains(KEY), "{place} tell the key");
        }
        let groups = json!(fixture.control.groups()).to_string();
        assert!(groups.contains("logAnalytics") && !groups.contains(KEY));
        fixture.finish().await;
    });
}

async fn operator_client() -> kube::Client {
    plane().await.client().await.unwrap()
}

/// What the identity of a node may write to its pods, as the API server decides it.
#[test]
fn a_node_may_annotate_its_pods_with_their_status_and_not_label_them() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "rights", "Linux").await;
        fixture.run_pod("mine").await;
        let node = fixture.node_name("linux");
        let mut config = kube_config(plane().await.kubeconfig()).await;
        config.auth_info.impersonate = Some(format!("system:node:{node}"));
        config.auth_info.impersonate_groups = Some(vec!["system:nodes".to_owned()]);
        let client = kube::Client::try_from(config).unwrap();
        let pods = Api::<Pod>::namespaced(client, &fixture.name);
        let params = PatchParams::default();
        let write = |metadata: Value| Patch::Merge(json!({"metadata": metadata}));
        let label = pods
            .patch_status("mine", &params, &write(json!({"labels": {"a": "b"}})))
            .await;
        assert!(matches!(label, Err(kube::Error::Api(status)) if status.code == 403));
        let direct = pods
            .patch("mine", &params, &write(json!({"annotations": {"a": "b"}})))
            .await;
        assert!(matches!(direct, Err(kube::Error::Api(status)) if status.code == 403));
        let status = pods
            .patch_status("mine", &params, &write(json!({"annotations": {"a": "b"}})))
            .await;
        let annotations = status.unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations.get("a").map(String::as_str), Some("b"));
        fixture.finish().await;
    });
}
