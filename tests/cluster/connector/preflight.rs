//! What Azure's side lacks, as conditions, and how it is put right there.

use std::time::Duration;

use aci_emulator::{Config, Subnet};
use serde_json::json;
use vkc::api::VirtualKubeletConnector;

use super::{Fixture, PATIENCE, condition, eventually, summary};

fn deny(fixture: &Fixture, actions: &[&str]) {
    let actions = actions.iter().map(|it| (*it).to_owned()).collect();
    fixture
        .azure
        .control()
        .change_settings(|settings| settings.denied_actions = actions);
}

/// Waits until a condition has this status and reason, and gives its message.
async fn until(fixture: &Fixture, type_: &str, status: &str, reason: &str) -> String {
    eventually(
        &format!("{type_} is {status} for {reason}"),
        PATIENCE,
        || async {
            let live = fixture.get().await;
            let found = condition(&live, type_).ok_or("not there")?;
            if found.status == status && found.reason == reason {
                Ok(found.message.clone())
            } else {
                Err(format!("{found:?}"))
            }
        },
    )
    .await
}

fn registrations(fixture: &Fixture) -> Vec<u16> {
    let requests = fixture.azure.control().requests();
    requests
        .iter()
        .filter(|it| it.method == "POST" && it.path.ends_with("/register"))
        .map(|it| it.status)
        .collect()
}

fn stalls(live: &VirtualKubeletConnector, parts: &[&str]) {
    let (message, abnormal) = summary(live);
    assert_eq!(abnormal, Some("Stalled"), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_not_registered_to_ready_by_azures_side_alone() {
    let fixture = Fixture::new(
        "ladder",
        Config {
            provider_state: "NotRegistered".to_owned(),
            resource_groups: Vec::new(),
            ..Config::default()
        },
    )
    .await;
    let azure = fixture.azure.control();
    let read = "Microsoft.Resources/subscriptions/resourceGroups/read";
    deny(&fixture, &[read]);
    let bare = Subnet {
        service: String::new(),
        ..Subnet::new("net", "v", "aci", "eastus")
    };
    let id = azure.set_subnet(bare.clone());
    let spec = json!({"aciResourceGroup": "later", "publicIP": false, "subnetID": id});
    fixture.connect(spec).await;

    let live = fixture.ready("False", "ProviderNotRegistered").await;
    stalls(
        &live,
        &["az provider register --namespace Microsoft.ContainerInstance"],
    );
    let provider = condition(&live, "ProviderRegistered").unwrap();
    assert_eq!(provider.reason, "NotRegistered", "ARM's word");
    let before = live.metadata.clone();

    azure.set_provider_state("Registering");
    let live = fixture.ready("False", "Registering").await;
    assert_eq!(summary(&live).1, Some("Reconciling"), "it passes");
    azure.set_provider_state("Registered");
    let live = fixture.ready("False", "ResourceGroupForbidden").await;
    let assignment = "az role assignment create --assignee 11111111-1111-4111-8111-111111111111 --role Contributor";
    stalls(&live, &[read, assignment]);

    deny(&fixture, &[]);
    let live = fixture.ready("False", "ResourceGroupNotFound").await;
    stalls(&live, &["az group create --name later --location eastus"]);

    let write = "Microsoft.ContainerInstance/containerGroups/write";
    deny(&fixture, &[write]);
    azure.add_resource_group("later", "eastus");
    let live = fixture.ready("False", "ResourceGroupForbidden").await;
    stalls(&live, &[&format!("lacks {write} on"), assignment]);
    deny(&fixture, &[]);
    let live = fixture.ready("False", "SubnetNotDelegated").await;
    stalls(
        &live,
        &[
            "--delegations Microsoft.ContainerInstance/containerGroups",
            &id,
        ],
    );
    assert_eq!(registrations(&fixture), [0; 0], "nobody asked for it");
    assert_eq!(azure.group_count(), 0);

    let subnet = Subnet::new("net", "v", "aci", "eastus");
    azure.set_subnet(subnet.clone());
    let live = fixture.ready("True", "NodesReady").await;
    let now = live.metadata.clone();
    assert_eq!(
        (now.generation, now.annotations),
        (before.generation, before.annotations),
        "nobody touched the connector"
    );
    fixture.idle().await;

    // Later trouble of the subnet is told, and what runs goes on.
    let full = Subnet {
        prefix: "10.0.0.0/29".to_owned(),
        others: 3,
        ..subnet
    };
    azure.set_subnet(full);
    fixture.ask_again("full").await;
    let message = until(&fixture, "SubnetReady", "False", "SubnetFull").await;
    assert!(
        message.starts_with("all 3 addresses of subnet aci are in use"),
        "{message}"
    );
    assert!(azure.remove_subnet(&id));
    let message = until(&fixture, "SubnetReady", "False", "SubnetNotFound").await;
    assert!(
        message.contains("az network vnet create --location eastus --name v"),
        "{message}"
    );
    deny(
        &fixture,
        &["Microsoft.Network/virtualNetworks/subnets/read"],
    );
    let message = until(&fixture, "SubnetReady", "Unknown", "SubnetForbidden").await;
    assert!(
        message.contains("lacks Microsoft.Network/virtualNetworks/subnets/read on"),
        "{message}"
    );
    fixture.ready("True", "NodesReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_registered_once_where_the_spec_says_so() {
    let fixture = Fixture::new(
        "registers",
        Config {
            provider_state: "NotRegistered".to_owned(),
            ..Config::default()
        },
    )
    .await;
    let azure = fixture.azure.control();
    azure.change_settings(|settings| settings.register_delay = Duration::from_secs(2));
    let register = "Microsoft.ContainerInstance/register/action";
    deny(&fixture, &[register]);
    fixture.connect(json!({"registerProvider": true})).await;
    let live = fixture.ready("False", "ProviderNotRegistered").await;
    let role = "--role Contributor --scope /subscriptions/00000000-0000-4000-8000-000000000001";
    stalls(&live, &["spec.registerProvider", register, role]);

    deny(&fixture, &[]);
    let live = fixture.ready("False", "Registering").await;
    assert_eq!(summary(&live).1, Some("Reconciling"));
    fixture.ready("True", "NodesReady").await;
    let taken = registrations(&fixture).into_iter().filter(|it| *it == 200);
    assert_eq!(taken.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_azure_does_not_list_stalls_and_another_is_spoken() {
    let fixture = Fixture::new("version", Config::default()).await;
    fixture
        .connect(json!({"containerInstanceAPIVersion": "2030-01-01"}))
        .await;
    let live = fixture.ready("False", "APIVersionNotAvailable").await;
    stalls(
        &live,
        &[
            "spec.containerInstanceAPIVersion to one of",
            "2025-09-01",
            "2023-05-01",
        ],
    );
    let azure = fixture.azure.control();
    assert!(azure.requests().iter().all(|it| it.method != "PUT"));
    assert_eq!(live.status.unwrap().node_summary.as_deref(), Some("0/2"));

    fixture
        .edit(json!({"spec": {"containerInstanceAPIVersion": "2025-09-01"}}))
        .await;
    fixture.ready("True", "NodesReady").await;
    let asked = azure.requests();
    let usages = asked.iter().rev().find(|it| it.path.ends_with("/usages"));
    assert!(usages.unwrap().query.contains("api-version=2025-09-01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn flux_may_ask_for_a_reconcile() {
    let fixture = Fixture::new("flux", Config::default()).await;
    fixture.connect(json!({"osType": "Linux"})).await;
    fixture.ready("True", "NodesReady").await;
    fixture.idle().await;
    let azure = fixture.azure.control();
    azure.remove_resource_group("aci-rg");
    let token = "2026-11-23T13:00:00Z";
    let annotations = json!({"reconcile.fluxcd.io/requestedAt": token});
    fixture
        .edit(json!({"metadata": {"annotations": annotations}}))
        .await;
    eventually("the request is handled", PATIENCE, || async {
        let status = fixture.get().await.status.unwrap();
        if status.last_handled_reconcile_at.as_deref() == Some(token) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    // What is handled is answered.
    let live = fixture.get().await;
    let ready = condition(&live, "Ready").unwrap();
    assert_eq!(ready.reason, "ResourceGroupNotFound", "{}", ready.message);
    azure.add_resource_group("aci-rg", "eastus");
    fixture.ready("True", "NodesReady").await;
}
