//! Containers that end, and groups that vanish.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use crate::support::fixture::{
    Fixture, PATIENCE, condition, eventually, is_running, lines, merge, text, waiting,
};
use crate::support::site::{run, shared};

fn terminated(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]["state"]["terminated"]
}

async fn only_pod(fixture: &Fixture, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, || async {
        let mut pods = fixture.pods().await;
        pods.retain(|pod| is_so(pod));
        pods.pop().ok_or("no such pod".to_owned())
    })
    .await
}

/// Waits until the Job `name` is complete.
async fn completed(fixture: &Fixture, name: &str) {
    eventually("the Job is complete", PATIENCE, || async {
        let job = fixture.api::<Job>().get(name).await.unwrap();
        let job = serde_json::to_value(job).unwrap();
        if condition(&job, "Complete")["status"] == "True" {
            Ok(())
        } else {
            Err(job["status"].to_string())
        }
    })
    .await;
}

#[test]
fn pods_that_are_never_restarted_end_and_are_left_alone() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "never", "Linux").await;
        let never = json!({"restartPolicy": "Never"});
        fixture
            .create_pod("fails", "example.com/exit:3", never.clone())
            .await;
        let mut spec = fixture.pod_spec("example.com/exit:0");
        merge(&mut spec, &never);
        fixture
            .create::<Job>(&json!({
                "metadata": {"name": "works"},
                "spec": {"backoffLimit": 0, "template": {"spec": spec}},
            }))
            .await;
        let failed = fixture
            .pod_until("fails", "it fails", PATIENCE, |pod| {
                pod["status"]["phase"] == "Failed"
            })
            .await;
        assert_eq!(terminated(&failed)["exitCode"], 3);
        assert_eq!(terminated(&failed)["reason"], "Error");
        assert!(terminated(&failed)["finishedAt"].is_string());
        assert_eq!(condition(&failed, "Ready")["status"], "False");

        completed(&fixture, "works").await;
        let worked = only_pod(&fixture, "the Job's pod succeeded", |pod| {
            pod["status"]["phase"] == "Succeeded"
        })
        .await;
        assert_eq!(terminated(&worked)["exitCode"], 0);
        assert_eq!(terminated(&worked)["reason"], "Completed");

        // A pod that lives is the clock: while it is looked at again and again, the finished ones are not.
        let finished = [fixture.group_of(&failed), fixture.group_of(&worked)];
        let before = finished.clone().map(|group| fixture.count("GET", &group));
        fixture.run_pod("clock").await;
        let ticks = fixture.count("GET", "clock");
        eventually("the clock ticks", PATIENCE, || async {
            let now = fixture.count("GET", "clock");
            if now >= ticks + 4 {
                Ok(())
            } else {
                Err(format!("{now}"))
            }
        })
        .await;
        assert_eq!(
            finished.clone().map(|group| fixture.count("GET", &group)),
            before
        );

        // Their groups stay for their logs until the pods go.
        for (group, pod) in finished.iter().zip([&failed, &worked]) {
            assert!(fixture.control.group(group).is_some(), "{group}");
            fixture.delete_pod(text(&pod["metadata"]["name"])).await;
            let name = text(&pod["metadata"]["name"]).to_owned();
            fixture
                .pod_until(&name, "it is gone", 10, Value::is_null)
                .await;
            // The API server removes a pod that has ended at once: the group follows.
            eventually("its group is gone", 5, || async {
                match fixture.control.group(group) {
                    None => Ok(()),
                    Some(_) => Err(group.clone()),
                }
            })
            .await;
        }
        fixture.finish().await;
    });
}

#[test]
fn the_end_of_a_log_is_the_message_of_a_container_that_failed() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "lastwords", "Linux").await;
        let policy = "FallbackToLogsOnError";
        let containers = json!([
            {"name": "main", "image": "example.com/web", "terminationMessagePolicy": policy},
            {"name": "other", "image": "example.com/web"},
        ]);
        let spec = json!({"restartPolicy": "Never", "containers": containers});
        fixture.create_pod("once", "example.com/web", spec).await;
        let pod = fixture
            .pod_until("once", "it runs", PATIENCE, is_running)
            .await;
        let group = fixture.group_of(&pod);
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}\n")).collect();
        fixture
            .control
            .append_log(&group, "main", &lines.concat())
            .unwrap();
        fixture
            .control
            .finish_container(&group, "other", 1)
            .unwrap();
        fixture.control.finish_container(&group, "main", 3).unwrap();
        let failed = fixture
            .pod_until("once", "it failed", PATIENCE, |pod| {
                pod["status"]["phase"] == "Failed"
            })
            .await;
        // With the phase, not after it.
        let message = text(&terminated(&failed)["message"]);
        assert_eq!(message, lines[20..].concat());
        assert_eq!(terminated(&failed)["exitCode"], 3);
        let other = &failed["status"]["containerStatuses"][1]["state"]["terminated"];
        assert_eq!(other["exitCode"], 1);
        assert_eq!(other["message"], Value::Null);
        fixture.finish().await;
    });
}

#[test]
fn a_job_with_a_sidecar_completes_and_its_sidecar_ends_as_with_a_kubelet() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "sidecarjob", "Linux").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("echo begun >>{}", file.path().display());
        let mut spec = fixture.pod_spec("example.com/exit:0");
        merge(
            &mut spec,
            &json!({
                "restartPolicy": "Never",
                "initContainers": [{
                    "name": "proxy", "image": "example.com/web", "restartPolicy": "Always",
                    "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", script]}}},
                }],
            }),
        );
        fixture
            .create::<Job>(&json!({
                "metadata": {"name": "works"},
                "spec": {"backoffLimit": 0, "template": {"spec": spec}},
            }))
            .await;
        completed(&fixture, "works").await;
        let pod = only_pod(&fixture, "the Job's pod succeeded", |pod| {
            pod["status"]["phase"] == "Succeeded"
        })
        .await;
        assert_eq!(terminated(&pod)["exitCode"], 0);
        let sidecar = &pod["status"]["initContainerStatuses"][0]["state"];
        assert_eq!(sidecar["terminated"]["reason"], "ContainerStatusUnknown");
        let group = fixture.group_of(&pod);
        eventually("the sidecar has ended", PATIENCE, || async {
            let group = fixture.control.group(&group).unwrap();
            let state = &group["properties"]["instanceView"]["state"];
            // Stopped it would have no logs.
            if *state == "Succeeded" {
                Ok(())
            } else {
                Err(state.to_string())
            }
        })
        .await;
        assert_eq!(fixture.control.sigterms(&group, "proxy"), Ok(1));
        assert_eq!(lines(&file), 1, "its hook");
        fixture.finish().await;
    });
}

#[test]
fn what_the_platform_starts_again_is_stopped_and_stays_ended() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "revived", "Linux").await;
        let never = json!({"restartPolicy": "Never"});
        fixture.create_pod("once", "example.com/web", never).await;
        let pod = fixture
            .pod_until("once", "it runs", PATIENCE, is_running)
            .await;
        let group = fixture.group_of(&pod);
        fixture.control.platform_restart(&group).unwrap();
        let failed = fixture
            .pod_until("once", "it failed", PATIENCE, |pod| {
                pod["status"]["phase"] == "Failed"
            })
            .await;
        assert_eq!(terminated(&failed)["exitCode"], 7147);
        assert!(text(&terminated(&failed)["message"]).contains("maintenance"));
        eventually("what runs again is stopped", PATIENCE, || async {
            let group = fixture.control.group(&group).unwrap();
            let state = &group["properties"]["instanceView"]["state"];
            if *state == "Stopped" {
                Ok(())
            } else {
                Err(state.to_string())
            }
        })
        .await;
        assert_eq!(fixture.count("POST", "once"), 1);
        // A pod that comes and goes proves that the node has looked about.
        fixture.run_pod("clock").await;
        assert_eq!(fixture.pod("once").await["status"], failed["status"]);
        fixture.finish().await;
    });
}

#[test]
fn a_group_that_azure_moves_is_not_ready_for_a_while_and_has_another_address() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "moved", "Linux").await;
        let ports = json!({"containers": [
            {"name": "main", "image": "example.com/web", "ports": [{"containerPort": 80}]},
        ]});
        fixture.create_pod("web", "example.com/web", ports).await;
        let before = fixture
            .pod_until("web", "it runs", PATIENCE, is_running)
            .await;
        fixture.control.set_start_delay(Duration::from_secs(4));
        fixture.control.repair(&fixture.group_of(&before)).unwrap();
        let moving = fixture
            .pod_until("web", "it is not ready", PATIENCE, |pod| {
                condition(pod, "Ready")["status"] == "False"
            })
            .await;
        assert_eq!(moving["status"]["phase"], "Running");
        let message = text(&condition(&moving, "Ready")["message"]).to_owned();
        assert!(message.contains("another host"), "{message}");
        let after = fixture
            .pod_until("web", "it runs again", PATIENCE, is_running)
            .await;
        assert!(after["status"]["podIP"].is_string());
        assert_ne!(after["status"]["podIP"], before["status"]["podIP"]);
        assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 1);
        fixture.finish().await;
    });
}

#[test]
fn a_group_stopped_by_hand_fails_its_pod() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "halted", "Linux").await;
        let pod = fixture.run_pod("web").await;
        let group = fixture.group_of(&pod);
        fixture.control.stop_group(&group).unwrap();
        let failed = fixture
            .pod_until("web", "it failed", PATIENCE, |pod| {
                pod["status"]["phase"] == "Failed"
            })
            .await;
        assert_eq!(failed["status"]["reason"], "Stopped");
        assert_eq!(terminated(&failed)["exitCode"], 137);
        assert_eq!(fixture.count("POST", "web"), 0, "it is stopped already");
        fixture.finish().await;
    });
}

#[test]
fn a_crash_loop() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "crash", "Linux").await;
        fixture.control.change_settings(|settings| {
            settings.crash_backoff = Duration::from_secs(1);
            settings.exit_after = Duration::from_millis(100);
        });
        fixture
            .create_pod("loop", "example.com/exit:7", json!({}))
            .await;
        let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
        let pod = fixture
            .pod_until("loop", "it waits to be restarted", PATIENCE, |pod| {
                waiting(pod) == "CrashLoopBackOff" && restarts(pod) >= Some(1)
            })
            .await;
        let container = &pod["status"]["containerStatuses"][0];
        assert_eq!(
            container["lastState"]["terminated"]["exitCode"], 7,
            "{container}"
        );
        assert_eq!(container["ready"], false);
        assert_eq!(pod["status"]["phase"], "Running");
        assert_eq!(condition(&pod, "Ready")["status"], "False");
        let first = restarts(&pod);
        fixture
            .pod_until("loop", "it was restarted again", PATIENCE, |pod| {
                restarts(pod) > first
            })
            .await;
        assert_eq!(fixture.count("PUT", "loop"), 1);
        fixture.finish().await;
    });
}

#[test]
fn a_group_deleted_in_azure_fails_a_pod_that_may_not_run_twice_and_restarts_another() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "vanish", "Linux").await;
        fixture
            .create::<Deployment>(&json!({
                "metadata": {"name": "web"},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {
                        "metadata": {"labels": {"app": "web"}},
                        "spec": fixture.pod_spec("example.com/web"),
                    },
                },
            }))
            .await;
        let first = only_pod(&fixture, "the Deployment's pod runs", is_running).await;
        let group = fixture.group_of(&first);
        fixture
            .create_pod("once", "example.com/web", json!({"restartPolicy": "Never"}))
            .await;
        let once = fixture
            .pod_until("once", "it runs", PATIENCE, is_running)
            .await;
        let once_group = fixture.group_of(&once);
        for group in [&group, &once_group] {
            fixture.control.delete_group(group).unwrap();
        }
        let name = text(&first["metadata"]["name"]).to_owned();
        let again = fixture
            .pod_until(&name, "it runs again", PATIENCE, |pod| {
                is_running(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
            })
            .await;
        assert_eq!(again["metadata"]["uid"], first["metadata"]["uid"]);
        assert_eq!(
            fixture.event(&again, "ContainerGroupDeleted").await["type"],
            "Warning"
        );
        assert_eq!(fixture.count("PUT", &group), 2);
        let failed = fixture
            .pod_until("once", "it failed", PATIENCE, |pod| {
                pod["status"]["phase"] == "Failed"
            })
            .await;
        assert_eq!(failed["status"]["reason"], "ContainerGroupDeleted");
        assert!(!text(&failed["status"]["message"]).is_empty());
        assert!(terminated(&failed).is_object(), "{}", failed["status"]);
        let event = fixture.event(&failed, "ContainerGroupDeleted").await;
        assert_eq!(event["type"], "Warning");
        assert_eq!(fixture.count("PUT", &once_group), 1, "it was made again");
        fixture.finish().await;
    });
}
