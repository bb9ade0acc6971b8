//! The connector controller at a real API server, with the emulator for Azure and an agent that keeps its Node for real
//! but runs nothing.

mod operator;
mod preflight;
mod removal;
mod scope;

use std::time::Duration;

use aci_emulator::{Config, Emulator};
use base64::Engine as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use vkc::api::{Os, VirtualKubeletConnector, node_name};

use crate::support::wait::eventually;

const NAMESPACE: &str = "vkc-system";

/// Seconds for what the controller is to do.
const PATIENCE: u64 = 25;

/// One connector with an Azure and a Secret of its own.
struct Fixture {
    name: &'static str,
    admin: Client,
    azure: Emulator,
}

impl Fixture {
    async fn new(name: &'static str, config: Config) -> Self {
        let admin = operator::running().await;
        let azure = Emulator::start(Config {
            serve_pages: false,
            ..config
        })
        .await
        .unwrap();
        let fixture = Self { name, admin, azure };
        fixture.write_secret("emulator-secret").await;
        fixture
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), NAMESPACE)
    }

    fn connectors(&self) -> Api<VirtualKubeletConnector> {
        Api::all(self.admin.clone())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.admin.clone())
    }

    async fn write_secret(&self, password: &str) {
        let config = Config::default();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "stringData": {
            "AZURE_TENANT_ID": config.tenant_id, "AZURE_CLIENT_ID": config.client_id,
            "AZURE_CLIENT_SECRET": password, "AZURE_SUBSCRIPTION_ID": config.subscription_id,
        }});
        let params = PatchParams::apply("test").force();
        self.secrets()
            .patch(self.name, &params, &Patch::Apply(&secret))
            .await
            .unwrap();
    }

    /// Creates the connector with `more` in its spec.
    async fn connect(&self, more: Value) {
        let ca = base64::engine::general_purpose::STANDARD.encode(self.azure.ca_pem());
        let mut spec = json!({
            "osType": "Both", "region": "eastus", "aciResourceGroup": "aci-rg", "publicIP": true, "cloud": "Custom",
            "customCloud": {
                "resourceManagerEndpoint": self.azure.url(), "authorityHost": self.azure.url(), "caBundle": ca,
            },
            "credentials": {"type": "ServicePrincipal", "secretRef": {"name": self.name}},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let connector = json!({
            "apiVersion": "virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector",
            "metadata": {"name": self.name}, "spec": spec,
        });
        let connector = serde_json::from_value(connector).unwrap();
        self.connectors()
            .create(&PostParams::default(), &connector)
            .await
            .unwrap();
    }

    async fn get(&self) -> VirtualKubeletConnector {
        self.connectors().get(self.name).await.unwrap()
    }

    async fn edit(&self, patch: Value) {
        self.connectors()
            .patch(self.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    async fn ask_again(&self, token: &str) {
        self.edit(json!({"metadata": {"annotations": {"virtual-kubelet.io/requestedAt": token}}}))
            .await;
    }

    /// Waits for `Ready` with this status and reason, about the live generation.
    async fn ready(&self, status: &str, reason: &str) -> VirtualKubeletConnector {
        eventually(
            &format!("{} is Ready={status} for {reason}", self.name),
            PATIENCE,
            || async {
                let live = self.get().await;
                let ready = condition(&live, "Ready").ok_or("no Ready")?;
                let current = ready.observed_generation == live.metadata.generation;
                let met = current && ready.status == status && ready.reason == reason;
                if met {
                    Ok(live)
                } else {
                    Err(format!("{:?}", live.status))
                }
            },
        )
        .await
    }

    fn node(&self, os: Os) -> String {
        node_name(self.name, os, "eastus")
    }

    /// A pod bound to the node, as if scheduled there.
    async fn pod(&self, os: Os, name: &str) -> Api<Pod> {
        let namespaces = Api::<Namespace>::all(self.admin.clone());
        if namespaces.get_opt(self.name).await.unwrap().is_none() {
            let namespace =
                serde_json::from_value(json!({"metadata": {"name": self.name}})).unwrap();
            namespaces
                .create(&PostParams::default(), &namespace)
                .await
                .unwrap();
        }
        operator::plane()
            .await
            .namespace_ready(self.name)
            .await
            .unwrap();
        let pods = Api::<Pod>::namespaced(self.admin.clone(), self.name);
        let pod = json!({"metadata": {"name": name}, "spec": {
            "nodeName": self.node(os), "containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 5,
        }});
        pods.create(
            &PostParams::default(),
            &serde_json::from_value(pod).unwrap(),
        )
        .await
        .unwrap();
        pods
    }

    async fn delete(&self) {
        self.connectors()
            .delete(self.name, &DeleteParams::default())
            .await
            .unwrap();
    }

    async fn gone(&self) {
        eventually("the connector is gone", PATIENCE, || async {
            match self.connectors().get_opt(self.name).await.unwrap() {
                None => Ok(()),
                Some(live) => Err(format!("{:?}", live.status)),
            }
        })
        .await;
        let leases = Api::<Lease>::namespaced(self.admin.clone(), "kube-node-lease");
        for os in [Os::Linux, Os::Windows] {
            assert!(
                self.nodes()
                    .get_opt(&self.node(os))
                    .await
                    .unwrap()
                    .is_none(),
                "Node of {os:?}"
            );
            assert!(
                leases.get_opt(&self.node(os)).await.unwrap().is_none(),
                "Lease of {os:?}"
            );
        }
    }

    /// The `resourceVersion` is the same for two seconds.
    async fn idle(&self) {
        let before = self.get().await.resource_version();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = self.get().await;
        assert_eq!(
            before,
            after.resource_version(),
            "written while idle: {:?}",
            after.status
        );
    }
}

fn condition<'a>(connector: &'a VirtualKubeletConnector, type_: &str) -> Option<&'a Condition> {
    connector
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
}

/// Message of `Ready`; `Stalled` or `Reconciling`, whichever is there.
fn summary(connector: &VirtualKubeletConnector) -> (String, Option<&'static str>) {
    let abnormal = ["Stalled", "Reconciling"]
        .into_iter()
        .find(|type_| condition(connector, type_).is_some());
    (
        condition(connector, "Ready").unwrap().message.clone(),
        abnormal,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_become_ready_and_then_nothing_is_written() {
    let fixture = Fixture::new("good", Config::default()).await;
    fixture.connect(json!({})).await;
    let live = fixture.ready("True", "NodesReady").await;
    assert_eq!(
        summary(&live),
        ("2/2 nodes are ready in eastus".to_owned(), None)
    );
    let status = live.status.unwrap();
    assert_eq!(status.node_summary.as_deref(), Some("2/2"));
    assert_eq!(
        status.identity.unwrap().type_.as_deref(),
        Some("ServicePrincipal")
    );
    for type_ in [
        "CredentialsReady",
        "ProviderRegistered",
        "ResourceGroupReady",
        "NodesReady",
    ] {
        assert!(
            status
                .conditions
                .iter()
                .any(|c| c.type_ == type_ && c.status == "True"),
            "{type_}"
        );
    }
    fixture.idle().await;
    fixture.ask_again("one").await;
    eventually("the request is acknowledged", PATIENCE, || async {
        let status = fixture.get().await.status.unwrap();
        if status.last_handled_reconcile_at.as_deref() == Some("one") {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    eventually("the answer to it is in", PATIENCE, || async {
        let live = fixture.get().await;
        if condition(&live, "Reconciling").is_none() {
            Ok(())
        } else {
            Err(format!("{:?}", live.status))
        }
    })
    .await;
    fixture.idle().await;

    // Suspended: the nodes take no more pods, the rest stays.
    fixture.edit(json!({"spec": {"suspend": true}})).await;
    eventually("the nodes are cordoned", PATIENCE, || async {
        let node = fixture.nodes().get(&fixture.node(Os::Linux)).await.unwrap();
        if node.spec.unwrap().unschedulable == Some(true) {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    let live = fixture.ready("True", "NodesReady").await;
    assert_eq!(condition(&live, "Suspended").unwrap().status, "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_stalls_and_editing_it_is_enough() {
    let fixture = Fixture::new("secret", Config::default()).await;
    fixture.write_secret("wrong").await;
    fixture.connect(json!({})).await;
    let live = fixture.ready("False", "CredentialsRejected").await;
    let (message, abnormal) = summary(&live);
    assert_eq!(abnormal, Some("Stalled"));
    assert!(
        message.contains("AADSTS7000215")
            && message.contains(
                "put a current one under key AZURE_CLIENT_SECRET of Secret vkc-system/secret"
            ),
        "{message}"
    );
    assert!(
        fixture
            .nodes()
            .get_opt(&fixture.node(Os::Linux))
            .await
            .unwrap()
            .is_none(),
        "no node is started"
    );
    fixture.idle().await;
    fixture.write_secret("emulator-secret").await;
    fixture.ready("True", "NodesReady").await;

    fixture
        .secrets()
        .delete("secret", &DeleteParams::default())
        .await
        .unwrap();
    let live = fixture.ready("False", "SecretNotFound").await;
    assert!(
        summary(&live)
            .0
            .contains("Secret vkc-system/secret does not exist; create it")
    );
    assert_eq!(
        live.status.unwrap().node_summary.as_deref(),
        Some("2/2"),
        "what runs goes on"
    );
    fixture.write_secret("emulator-secret").await;
    fixture.ready("True", "NodesReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_azure_refuses_stalls_with_the_command_that_cures_it() {
    let unregistered = Config {
        provider_state: "NotRegistered".to_owned(),
        ..Config::default()
    };
    let cases = [
        (
            "group",
            Config::default(),
            json!({"aciResourceGroup": "nowhere"}),
            "ResourceGroupNotFound",
            "az group create --name nowhere --location eastus",
        ),
        (
            "provider",
            unregistered,
            json!({}),
            "ProviderNotRegistered",
            "az provider register --namespace Microsoft.ContainerInstance",
        ),
        (
            "region",
            Config::default(),
            json!({"region": "atlantis"}),
            "RegionNotAvailable",
            "not offered in region atlantis",
        ),
    ];
    for (name, config, more, reason, text) in cases {
        let fixture = Fixture::new(name, config).await;
        fixture.connect(more).await;
        let live = fixture.ready("False", reason).await;
        let (message, abnormal) = summary(&live);
        assert_eq!(abnormal, Some("Stalled"), "{name}");
        assert!(message.contains(text), "{message}");
        assert_eq!(fixture.azure.control().group_count(), 0);
        if name == "group" {
            fixture
                .azure
                .control()
                .add_resource_group("nowhere", "eastus");
            fixture.ask_again("now").await;
            fixture.ready("True", "NodesReady").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_azure_is_no_stall_and_nobody_else_notices() {
    let broken = Fixture::new("broken", Config::default()).await;
    broken
        .connect(json!({"customCloud": {
            "resourceManagerEndpoint": "https://127.0.0.1:1", "authorityHost": "https://127.0.0.1:1",
        }}))
        .await;
    let other = Fixture::new("other", Config::default()).await;
    other.connect(json!({"osType": "Linux"})).await;
    other.ready("True", "NodesReady").await;
    let live = broken.ready("False", "TokenUnavailable").await;
    let (message, abnormal) = summary(&live);
    assert_eq!(abnormal, Some("Reconciling"), "{message}");
    // The cure is an edit.
    broken
        .edit(json!({"spec": {"customCloud": {
            "resourceManagerEndpoint": broken.azure.url(), "authorityHost": broken.azure.url(),
            "caBundle": base64::engine::general_purpose::STANDARD.encode(broken.azure.ca_pem()),
        }}}))
        .await;
    broken.ready("True", "NodesReady").await;
}
