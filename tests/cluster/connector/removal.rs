//! Nodes and connectors on their way out.

use std::time::{Duration, Instant};

use aci_emulator::Config;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use vkc::api::Os;

use super::{Fixture, PATIENCE, condition, eventually, summary};

#[tokio::test(flavor = "multi_thread")]
async fn both_to_linux_drains_exactly_one_node_and_deletion_the_other() {
    let fixture = Fixture::new("shrink", Config::default()).await;
    fixture.connect(json!({})).await;
    fixture.ready("True", "NodesReady").await;
    let linux = fixture.nodes().get(&fixture.node(Os::Linux)).await.unwrap();
    fixture.pod(Os::Windows, "on-windows").await;
    let pods = fixture.pod(Os::Linux, "on-linux").await;

    fixture.edit(json!({"spec": {"osType": "Linux"}})).await;
    eventually("the Windows node is gone", PATIENCE, || async {
        let gone = fixture
            .nodes()
            .get_opt(&fixture.node(Os::Windows))
            .await
            .unwrap()
            .is_none();
        if gone {
            Ok(())
        } else {
            Err(format!("{:?}", fixture.get().await.status))
        }
    })
    .await;
    assert!(
        pods.get_opt("on-windows").await.unwrap().is_none(),
        "drained first"
    );
    let live = eventually("one node is left", PATIENCE, || async {
        let live = fixture.ready("True", "NodesReady").await;
        let one = live.status.as_ref().unwrap().nodes.len() == 1
            && condition(&live, "Reconciling").is_none();
        if one {
            Ok(live)
        } else {
            Err(format!("{:?}", live.status))
        }
    })
    .await;
    assert_eq!(live.status.unwrap().node_summary.as_deref(), Some("1/1"));
    let kept = fixture.nodes().get(&fixture.node(Os::Linux)).await.unwrap();
    assert_eq!(kept.metadata.uid, linux.metadata.uid);
    assert_eq!(
        kept.spec.unwrap().unschedulable,
        None,
        "the other node is not touched"
    );
    assert!(
        pods.get("on-linux")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );

    fixture.delete().await;
    fixture.gone().await;
    assert!(pods.get_opt("on-linux").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disruption_budget_is_respected_until_the_drain_times_out() {
    let fixture = Fixture::new("budget", Config::default()).await;
    fixture
        .connect(json!({"osType": "Linux", "drainTimeout": "6s"}))
        .await;
    fixture.ready("True", "NodesReady").await;
    let pods = fixture.pod(Os::Linux, "guarded").await;
    let labels = json!({"metadata": {"labels": {"app": "guarded"}}});
    pods.patch("guarded", &PatchParams::default(), &Patch::Merge(&labels))
        .await
        .unwrap();
    // A Pending pod is never protected.
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    pods.patch_status("guarded", &PatchParams::default(), &Patch::Merge(&running))
        .await
        .unwrap();
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "guarded"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
    }))
    .unwrap();
    let budgets = Api::<PodDisruptionBudget>::namespaced(fixture.admin.clone(), "budget");
    budgets
        .create(&PostParams::default(), &budget)
        .await
        .unwrap();
    // The disruption controller has to know pod and budget before an eviction is refused for the right reason.
    eventually("the budget is computed", PATIENCE, || async {
        let status = budgets.get("guarded").await.unwrap().status;
        let computed = status
            .as_ref()
            .is_some_and(|status| status.current_healthy == Some(1));
        if computed {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    let start = Instant::now();
    fixture.delete().await;
    eventually("the status names the budget", PATIENCE, || async {
        let live = fixture.get().await;
        let (message, _) = summary(&live);
        if message.contains("a disruption budget protects pod budget/guarded") {
            Ok(())
        } else {
            Err(message)
        }
    })
    .await;
    assert!(
        pods.get("guarded")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_none()
    );
    fixture.gone().await;
    assert!(
        start.elapsed() > Duration::from_secs(5),
        "deleted before the drain timed out"
    );
    assert!(pods.get_opt("guarded").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_never_ran_goes_at_once() {
    let fixture = Fixture::new("stillborn", Config::default()).await;
    fixture
        .connect(json!({"aciResourceGroup": "nowhere"}))
        .await;
    fixture.ready("False", "ResourceGroupNotFound").await;
    fixture.delete().await;
    fixture.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_azure_blocks_says_so_and_can_be_forced() {
    let fixture = Fixture::new("blocked", Config::default()).await;
    // The agent of this test reports groups that never go.
    fixture
        .connect(json!({"osType": "Linux", "tags": {"stuck": "true"}}))
        .await;
    fixture.ready("True", "NodesReady").await;
    fixture
        .secrets()
        .delete("blocked", &DeleteParams::default())
        .await
        .unwrap();
    fixture.ready("False", "SecretNotFound").await;
    fixture.delete().await;
    let live = fixture.ready("False", "DeletionBlocked").await;
    let (message, _) = summary(&live);
    assert!(
        message.contains("Secret vkc-system/blocked does not exist"),
        "{message}"
    );
    let uid = live.metadata.uid.unwrap();
    fixture
        .edit(json!({"metadata": {"annotations": {"virtual-kubelet.io/force-delete": uid}}}))
        .await;
    fixture.gone().await;
}
