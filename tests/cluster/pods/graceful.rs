//! Pods that end as Kubernetes promises: hooks, SIGTERM, and the time they ask for.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, lines};
use crate::support::site::{alone, run, shared};
use crate::support::watching::{Seen, Watch};

/// What a watch has seen of a pod until it is gone.
async fn until_gone(watch: &mut Watch<Pod>) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let event = watch.next(Duration::from_secs(PATIENCE)).await;
        let event = event.expect("the pod goes");
        let is_last = event.what == "deleted";
        seen.push(event);
        if is_last {
            return seen;
        }
    }
}

fn terminated(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["terminated"]
}

fn hook(file: &tempfile::NamedTempFile, more: &str) -> Value {
    let script = format!("echo begun >>{}; {more}", file.path().display());
    json!({"preStop": {"exec": {"command": ["/bin/sh", "-c", script]}}})
}

#[test]
fn the_hook_runs_then_the_signal_is_sent_and_the_exit_code_is_told() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "graceful", "Linux").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let containers = json!([
            {"name": "main", "image": "example.com/web", "lifecycle": hook(&file, "")},
        ]);
        let pod = fixture
            .create_pod("web", "", json!({"containers": containers}))
            .await;
        fixture
            .pod_until("web", "it runs", PATIENCE, is_running)
            .await;
        let group = fixture.group_of(&pod);
        let end = Some((Duration::from_secs(1), 3));
        fixture.control.on_sigterm(&group, "main", end).unwrap();
        let version = fixture.pods_version().await;
        let mut watch = Watch::start(&fixture.api::<Pod>(), "metadata.name=web", &version).await;
        fixture.delete_pod("web").await;
        let seen = until_gone(&mut watch).await;
        let last = &seen.last().unwrap().object;
        assert_eq!(terminated(last)["exitCode"], 3, "{}", last["status"]);
        assert_eq!(last["status"]["phase"], "Failed");
        assert_eq!(lines(&file), 1);
        // The container ended by itself: the delete came after it.
        let calls = fixture.calls(&group);
        let writes: Vec<&str> = calls
            .iter()
            .filter(|(method, _)| method != "GET")
            .map(|(method, _)| method.as_str())
            .collect();
        assert_eq!(writes, ["PUT", "POST", "POST", "DELETE"], "{calls:?}");
        fixture.finish().await;
    });
}

#[test]
fn an_operator_that_restarts_in_the_middle_runs_no_hook_and_sends_no_signal_twice() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "graceful-restart", "Linux").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let spec = |more: &str| {
            json!({
                "containers": [
                    {"name": "main", "image": "example.com/web", "lifecycle": hook(&file, more)},
                ],
                "terminationGracePeriodSeconds": 12,
            })
        };
        let pod = fixture.create_pod("slow", "", spec("sleep 60")).await;
        fixture
            .pod_until("slow", "it runs", PATIENCE, is_running)
            .await;
        let group = fixture.group_of(&pod);
        fixture.control.on_sigterm(&group, "main", None).unwrap();
        fixture.delete_pod("slow").await;
        eventually("the hook runs", PATIENCE, || async { lines(&file) == 1 }).await;
        operator.kill();
        operator.start().await;
        // It goes on with the signal, which this program does not mind.
        eventually("the signal is sent", PATIENCE, || async {
            fixture.control.sigterms(&group, "main") == Ok(1)
        })
        .await;
        operator.kill();
        operator.start().await;
        eventually("the pod is gone", PATIENCE, || async {
            fixture.pod("slow").await.is_null()
        })
        .await;
        assert_eq!(lines(&file), 1, "hooks that were begun");
        fixture.finish().await;
    });
}

#[test]
fn a_pod_that_is_deleted_by_force_is_not_waited_for() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "graceful-force", "Linux").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let containers = json!([
            {"name": "main", "image": "example.com/web", "lifecycle": hook(&file, "sleep 300")},
        ]);
        let spec = json!({"containers": containers, "terminationGracePeriodSeconds": 600});
        let pod = fixture.create_pod("stuck", "", spec).await;
        fixture
            .pod_until("stuck", "it runs", PATIENCE, is_running)
            .await;
        let group = fixture.group_of(&pod);
        fixture.delete_pod("stuck").await;
        eventually("the hook runs", PATIENCE, || async { lines(&file) == 1 }).await;
        let live = fixture.pod("stuck").await;
        assert!(live["metadata"]["deletionTimestamp"].is_string(), "{live}");
        let force = kube::api::DeleteParams::default().grace_period(0);
        fixture.api::<Pod>().delete("stuck", &force).await.unwrap();
        eventually("the group is gone", PATIENCE, || async {
            fixture.control.group(&group).is_none()
        })
        .await;
        fixture.finish().await;
    });
}

#[test]
fn a_sidecar_serves_until_the_other_containers_have_ended() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "graceful-sidecar", "Linux").await;
        let spec = json!({
            "containers": [{"name": "main", "image": "example.com/web"}],
            "initContainers": [{"name": "proxy", "image": "example.com/proxy", "restartPolicy": "Always"}],
            "restartPolicy": "Never",
        });
        let pod = fixture.create_pod("served", "", spec).await;
        fixture
            .pod_until("served", "it runs", PATIENCE, is_running)
            .await;
        let group = fixture.group_of(&pod);
        // It takes its time, and has what it needs of the proxy until then.
        let slowly = Some((Duration::from_secs(3), 0));
        fixture.control.on_sigterm(&group, "main", slowly).unwrap();
        let at_once = Some((Duration::ZERO, 0));
        fixture
            .control
            .on_sigterm(&group, "proxy", at_once)
            .unwrap();
        let version = fixture.pods_version().await;
        let mut watch = Watch::start(&fixture.api::<Pod>(), "metadata.name=served", &version).await;
        fixture.delete_pod("served").await;
        eventually("its container is told", PATIENCE, || async {
            fixture.control.sigterms(&group, "main") == Ok(1)
        })
        .await;
        assert_eq!(fixture.control.sigterms(&group, "proxy"), Ok(0));
        let seen = until_gone(&mut watch).await;
        let last = &seen.last().unwrap().object["status"];
        let ended = |list: &str| {
            let state = &last[list][0]["state"]["terminated"];
            assert_eq!(state["exitCode"], 0, "{last}");
            state["finishedAt"].as_str().unwrap().to_owned()
        };
        assert!(ended("containerStatuses") <= ended("initContainerStatuses"));
        fixture.finish().await;
    });
}
