//! Pods that may be active for a while only.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text};
use crate::support::site::{alone, run, shared};

fn started(pod: &Value) -> Timestamp {
    text(&pod["status"]["startTime"]).parse().unwrap()
}

fn has_failed(pod: &Value) -> bool {
    pod["status"]["phase"] == "Failed"
}

/// What a kubelet says of such a pod, and nothing left that bills.
fn is_overdue(fixture: &Fixture, pod: &Value) {
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert_eq!(
        pod["status"]["message"],
        "Pod was active on the node longer than the specified deadline"
    );
    let container = &pod["status"]["containerStatuses"][0];
    assert!(container["state"]["terminated"].is_object(), "{container}");
    assert!(
        fixture.groups_of(pod).is_empty(),
        "its group is still there"
    );
}

#[test]
fn a_pod_past_its_deadline_fails_and_bills_nothing() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "deadline", "Linux").await;
        let deadline = json!({"activeDeadlineSeconds": 4});
        fixture
            .create_pod("late", "example.com/web", deadline)
            .await;
        fixture
            .pod_until("late", "it runs", PATIENCE, is_running)
            .await;
        let pod = fixture
            .pod_until("late", "it failed", PATIENCE, has_failed)
            .await;
        let active = Timestamp::now().duration_since(started(&pod));
        assert!(active.as_secs() >= 4, "failed after {active:#}");
        is_overdue(&fixture, &pod);
        fixture.event(&pod, "DeadlineExceeded").await;
        assert_eq!(fixture.count("PUT", "late"), 1);

        // It may be set and lowered while the pod runs.
        fixture.run_pod("lowered").await;
        for seconds in [600, 1] {
            let patch = json!({"spec": {"activeDeadlineSeconds": seconds}});
            let params = PatchParams::default();
            let api = fixture.api::<Pod>();
            api.patch("lowered", &params, &Patch::Merge(&patch))
                .await
                .unwrap();
        }
        let pod = fixture
            .pod_until("lowered", "it failed", 10, has_failed)
            .await;
        is_overdue(&fixture, &pod);
        fixture.finish().await;
    });
}

#[test]
fn a_deadline_that_passes_while_the_operator_is_away() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "overdue", "Linux").await;
        let limit = json!({"activeDeadlineSeconds": 5, "restartPolicy": "Never"});
        for name in ["late", "in-time"] {
            fixture
                .create_pod(name, "example.com/web", limit.clone())
                .await;
        }
        let late = fixture
            .pod_until("late", "it runs", PATIENCE, is_running)
            .await;
        let in_time = fixture
            .pod_until("in-time", "it runs", PATIENCE, is_running)
            .await;
        operator.kill();
        let group = fixture.group_of(&in_time);
        fixture.control.finish_container(&group, "main", 0).unwrap();
        eventually("the deadline passes", PATIENCE, || async {
            let active = Timestamp::now().duration_since(started(&late));
            if active.as_secs() >= 6 {
                Ok(())
            } else {
                Err(format!("{active:#}"))
            }
        })
        .await;
        assert!(is_running(&fixture.pod("late").await));
        operator.start().await;
        let pod = fixture
            .pod_until("late", "it failed", PATIENCE, has_failed)
            .await;
        is_overdue(&fixture, &pod);
        fixture
            .pod_until("in-time", "it succeeded", PATIENCE, |pod| {
                pod["status"]["phase"] == "Succeeded"
            })
            .await;
        fixture.finish().await;
    });
}
