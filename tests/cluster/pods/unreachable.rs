//! Azure does not answer for minutes: new pods stay away, and nothing that runs is touched.

use aci_emulator::Fault;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, condition, eventually, is_running};
use crate::support::site::{run, shared};

const TAINT: &str = "virtual-kubelet.io/azure-unreachable";

/// Whether the Node has the taint, and its conditions `AzureReachable` and `Ready`.
async fn look(fixture: &Fixture) -> (bool, String, String, Value) {
    let node = fixture.nodes().get(&fixture.node_name("linux")).await;
    let node = json!(node.unwrap());
    let taints = node["spec"]["taints"].as_array().cloned();
    let taints = taints.unwrap_or_default();
    let tainted = taints
        .iter()
        .any(|taint| taint["key"] == TAINT && taint["effect"] == "NoSchedule");
    let status = |kind| {
        condition(&node, kind)["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (tainted, status("AzureReachable"), status("Ready"), node)
}

#[test]
fn while_azure_does_not_answer_new_pods_stay_away_and_running_ones_run() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "unreachable", "Linux").await;
        let before = fixture.run_pod("before").await;
        let (tainted, reachable, _, node) = look(&fixture).await;
        assert!(!tainted && reachable == "True", "{node}");
        fixture.control.inject(Fault {
            times: u32::MAX,
            drop_connection: true,
            ..Fault::default()
        });
        eventually("the node says so and is tainted", 150, || async {
            let (tainted, reachable, ready, node) = look(&fixture).await;
            assert_eq!(ready, "True", "{node}");
            if tainted && reachable == "False" {
                Ok(())
            } else {
                Err(format!("{reachable} {}", node["spec"]["taints"]))
            }
        })
        .await;
        let (_, _, _, node) = look(&fixture).await;
        let message = condition(&node, "AzureReachable")["message"].to_string();
        assert!(message.contains("has not answered since 20"), "{message}");
        let connector = fixture.connector().await;
        assert_eq!(condition(&connector, "AzureReachable")["status"], "False");

        fixture
            .create_pod("after", "example.com/web", json!({}))
            .await;
        let waiting = fixture
            .pod_until("after", "the scheduler has looked at it", PATIENCE, |pod| {
                condition(pod, "PodScheduled")["status"] == "False"
            })
            .await;
        let message = condition(&waiting, "PodScheduled")["message"].to_string();
        // It tolerates all but ours; the scheduler does not name them.
        assert!(message.contains("untolerated taint"), "{message}");
        let now = fixture.pod("before").await;
        assert!(is_running(&now) && now["metadata"]["uid"] == before["metadata"]["uid"]);
        assert_eq!(now["status"], before["status"], "its last status stands");

        fixture.control.clear_faults();
        eventually("the taint is gone", 60, || async {
            let (tainted, reachable, ready, node) = look(&fixture).await;
            assert_eq!(ready, "True", "{node}");
            if !tainted && reachable == "True" {
                Ok(())
            } else {
                Err(format!("{reachable} {}", node["spec"]["taints"]))
            }
        })
        .await;
        fixture
            .pod_until("after", "it runs", PATIENCE, is_running)
            .await;
        fixture.finish().await;
    });
}
