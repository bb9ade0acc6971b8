//! A connector stays where its container groups are: cloud, tenant and subscription are pinned at the first success.

use std::time::{Duration, Instant};

use aci_emulator::{Config, Fault};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use vkc::api::Os;

use super::{Fixture, PATIENCE, condition, eventually, summary};

const OTHER: &str = "99999999-8888-7777-6666-555555555555";

async fn set_subscription(fixture: &Fixture, subscription: &str) {
    let patch = json!({"stringData": {"AZURE_SUBSCRIPTION_ID": subscription}});
    fixture
        .secrets()
        .patch(fixture.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_subscription_in_the_secret_moves_nothing() {
    let fixture = Fixture::new("moved", Config::default()).await;
    fixture.connect(json!({})).await;
    let live = fixture.ready("True", "NodesReady").await;
    let scope = live.status.unwrap().azure_scope.unwrap();
    let config = Config::default();
    assert_eq!(scope.subscription_id, config.subscription_id);
    assert_eq!(scope.tenant_id, Some(config.tenant_id));
    assert_eq!(scope.resource_manager_endpoint, fixture.azure.url());

    set_subscription(&fixture, OTHER).await;
    let live = fixture.ready("False", "SubscriptionChanged").await;
    let (message, abnormal) = summary(&live);
    assert_eq!(abnormal, Some("Stalled"), "{message}");
    assert!(
        message.contains(OTHER)
            && message.contains("put the former one back into Secret vkc-system/moved"),
        "{message}"
    );
    let status = live.status.unwrap();
    assert_eq!(status.azure_scope, Some(scope), "the pin stays");
    assert!(
        status.nodes.iter().all(|node| node.ready == Some(true)),
        "{:?}",
        status.nodes
    );
    let control = fixture.azure.control();
    let foreign = control
        .requests()
        .iter()
        .any(|request| request.path.contains(OTHER));
    assert!(
        !foreign,
        "Azure is asked nothing about the other subscription"
    );

    set_subscription(&fixture, &config.subscription_id).await;
    fixture.ready("True", "NodesReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoints_of_a_custom_cloud_can_be_corrected_until_they_worked() {
    let fixture = Fixture::new("pinned", Config::default()).await;
    fixture.connect(json!({"osType": "Linux"})).await;
    fixture.ready("True", "NodesReady").await;
    let patch =
        json!({"spec": {"customCloud": {"resourceManagerEndpoint": "https://127.0.0.1:1"}}});
    let refused = fixture
        .connectors()
        .patch(fixture.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("the endpoints of customCloud are immutable once"),
        "{refused}"
    );
    // The CA and the audience are not where the groups are.
    fixture
        .edit(json!({"spec": {"tags": {"still": "editable"}}}))
        .await;
    fixture.ready("True", "NodesReady").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_that_does_not_answer_for_a_minute_is_a_condition_and_evicts_nothing() {
    let fixture = Fixture::new("away", Config::default()).await;
    fixture.connect(json!({"osType": "Linux"})).await;
    let live = fixture.ready("True", "NodesReady").await;
    assert_eq!(condition(&live, "AzureReachable").unwrap().status, "True");
    let control = fixture.azure.control();
    control.inject(Fault {
        times: u32::MAX,
        drop_connection: true,
        ..Fault::default()
    });
    fixture.ask_again("while Azure is away").await;
    let away = Instant::now();
    let deadline = away + Duration::from_secs(120);
    let told = loop {
        let live = fixture.get().await;
        let condition = condition(&live, "AzureReachable").unwrap();
        if condition.status == "False" {
            break condition.clone();
        }
        assert!(Instant::now() < deadline, "not told: {:?}", live.status);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(
        away.elapsed() >= Duration::from_secs(50),
        "too soon: {told:?}"
    );
    assert!(
        told.message.contains("has not answered since 20"),
        "{}",
        told.message
    );
    let node: Node = fixture.nodes().get(&fixture.node(Os::Linux)).await.unwrap();
    let ready = node.status.unwrap().conditions.unwrap();
    assert_eq!(ready[0].status, "True", "nothing is evicted");

    control.clear_faults();
    eventually("Azure answers again", PATIENCE, || async {
        let live = fixture.get().await;
        let condition = condition(&live, "AzureReachable").unwrap();
        if condition.status == "True" {
            Ok(())
        } else {
            Err(format!("{condition:?}"))
        }
    })
    .await;
    fixture.ready("True", "NodesReady").await;
}
