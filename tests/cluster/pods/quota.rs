//! A node whose capacity follows the region's quota, with the real scheduler; and the largest pod of a region.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::fixture::{
    Fixture, PATIENCE, condition, eventually, is_running, text, waiting,
};
use crate::support::site::{run, shared};

/// Allocatable cores and pods of the Linux node.
async fn allocatable(fixture: &Fixture) -> (String, String) {
    let node = fixture.nodes().get(&fixture.node_name("linux")).await;
    let all = node.unwrap().status.unwrap().allocatable.unwrap();
    (all["cpu"].0.clone(), all["pods"].0.clone())
}

async fn shows(fixture: &Fixture, cpu: &str, pods: &str) {
    eventually(&format!("{cpu} cores, {pods} pods"), PATIENCE, || async {
        let now = allocatable(fixture).await;
        if now == (cpu.to_owned(), pods.to_owned()) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

/// Lets the operator look again, and waits until it has.
async fn look_again(fixture: &Fixture, token: &str) {
    let edit = json!({"metadata": {"annotations": {"virtual-kubelet.io/requestedAt": token}}});
    let done = fixture
        .connectors()
        .patch(&fixture.name, &PatchParams::default(), &Patch::Merge(&edit))
        .await;
    done.unwrap();
    eventually("Azure was asked", PATIENCE, || async {
        let status = fixture.connector().await["status"].clone();
        if status["lastHandledReconcileAt"] == token {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
}

async fn pod_of(fixture: &Fixture, name: &str, cpu: Option<&str>) -> Value {
    let resources = cpu.map(|cpu| json!({"requests": {"cpu": cpu}}));
    let container = json!({"name": "main", "image": "example.com/web", "resources": resources});
    fixture
        .create_pod(name, "example.com/web", json!({"containers": [container]}))
        .await
}

async fn is_unschedulable(fixture: &Fixture, name: &str, why: &str) {
    let unschedulable = |pod: &Value| {
        let scheduled = condition(pod, "PodScheduled");
        scheduled["reason"] == "Unschedulable" && text(&scheduled["message"]).contains(why)
    };
    fixture.pod_until(name, why, PATIENCE, unschedulable).await;
}

#[test]
fn the_scheduler_stops_before_azure_refuses() {
    run(async {
        let operator = shared().await;
        let patch = json!({"node": {"capacitySource": "Quota"}});
        let fixture = Fixture::start_at(&operator, "quota", "Linux", &patch, |azure| {
            azure.change_settings(|settings| {
                settings.quota_cores = 6.0;
                settings.others_cores = 2.0;
                settings.others_groups = 1;
            });
        })
        .await;
        let node = fixture.nodes().get(&fixture.node_name("linux")).await;
        let capacity = node.unwrap().status.unwrap().capacity.unwrap();
        assert_eq!(capacity["cpu"].0, "100");
        assert_eq!(
            allocatable(&fixture).await,
            ("4".to_owned(), "4".to_owned())
        );
        let status = fixture.connector().await["status"].clone();
        assert_eq!(status["capacity"]["cpu"], "4");

        for name in ["a", "b", "c"] {
            pod_of(&fixture, name, Some("1")).await;
        }
        for name in ["a", "b", "c"] {
            fixture
                .pod_until(name, "it runs", PATIENCE, is_running)
                .await;
        }
        pod_of(&fixture, "two", Some("2")).await;
        is_unschedulable(&fixture, "two", "Insufficient cpu").await;
        // A pod that asks for nothing is a group of one core all the same.
        pod_of(&fixture, "last", None).await;
        fixture
            .pod_until("last", "it runs", PATIENCE, is_running)
            .await;
        pod_of(&fixture, "over", None).await;
        is_unschedulable(&fixture, "over", "Too many pods").await;
        let puts = fixture.calls("");
        let puts = puts.iter().filter(|(method, _)| method == "PUT");
        assert_eq!(
            puts.map(|(_, status)| *status).collect::<Vec<_>>(),
            [201; 4]
        );

        // What we use ourselves is ours, but for the core that the scheduler does not see. Then a look writes nothing.
        look_again(&fixture, "1").await;
        shows(&fixture, "3", "4").await;
        let version = fixture.node_version("linux").await;
        look_again(&fixture, "still").await;
        assert_eq!(fixture.node_version("linux").await, version);

        // More is believed at the second look, less at once.
        fixture.delete_pod("two").await;
        let azure = &fixture.control;
        azure.change_settings(|settings| {
            (settings.others_cores, settings.others_groups) = (0.0, 0);
        });
        look_again(&fixture, "2").await;
        look_again(&fixture, "3").await;
        shows(&fixture, "5", "6").await;
        fixture
            .pod_until("over", "it runs", PATIENCE, is_running)
            .await;
        azure.change_settings(|settings| settings.others_cores = 1.0);
        look_again(&fixture, "4").await;
        shows(&fixture, "3", "5").await;
        let refused = fixture.calls("").into_iter().filter(|(_, it)| *it >= 400);
        assert_eq!(refused.filter(|(method, _)| method == "PUT").count(), 0);
        fixture.finish().await;
    });
}

#[test]
fn a_pod_that_never_fits_the_region_is_refused_at_once() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start_at(&operator, "largest", "Linux", &json!({}), |azure| {
            azure.change_settings(|settings| {
                (settings.max_group_cpu, settings.max_group_memory) = (2.0, 8.0);
            });
        })
        .await;
        pod_of(&fixture, "large", Some("3")).await;
        let is_refused = |pod: &Value| waiting(pod) == "ExceedsAciLimits";
        let pod = fixture
            .pod_until("large", "it is refused", PATIENCE, is_refused)
            .await;
        let message = text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
        assert!(
            message.contains("3 cores and 1.5 GB together")
                && message.contains("of this region has at most 2 cores and 8 GB"),
            "{message}"
        );
        pod_of(&fixture, "fits", Some("2")).await;
        fixture
            .pod_until("fits", "it runs", PATIENCE, is_running)
            .await;
        assert_eq!(fixture.calls("large"), []);
        fixture.finish().await;
    });
}
