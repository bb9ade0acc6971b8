//! Groups that the operator's shim is in.

use super::*;
use crate::translate::{ends_without_message, status_of_group};

fn with_shim(view: &Value, web: &Value) -> ContainerGroup {
    let shim = json!({"name": "vkc-shim", "properties": {"image": "r.io/vkc-shim:1", "instanceView": view}});
    let command = json!(["/.vkc/bin/vkc-shim", "run", "--", "x"]);
    let web = json!({"name": "web", "properties": {"image": "i", "command": command, "instanceView": web}});
    group(
        RUNNING,
        &[
            ("/properties/initContainers", json!([shim])),
            ("/properties/containers", json!([web])),
        ],
    )
}

fn view(word: &str, exit_code: Option<i32>) -> Value {
    json!({"restartCount": 0, "currentState": {
        "state": word, "exitCode": exit_code, "detailStatus": "", "startTime": "2026-09-01T10:00:01Z",
        "finishTime": exit_code.map(|_| "2026-09-01T10:00:05Z"),
    }})
}

fn of(policy: &str, group: &ContainerGroup) -> PodStatus {
    let facts = web_facts(&[("/spec/restartPolicy", json!(policy))]);
    status_of_group(&facts, group, None, at(NOW))
}

#[test]
fn the_pod_waits_for_the_image_of_the_shim_and_says_that_it_is_that() {
    let mut waits = view("Waiting", None);
    waits["events"] = json!([
        {"name": "Pulling", "message": "pulling image \"r.io/vkc-shim:1\"", "count": 1},
        {"name": "Failed", "message": "Failed to pull image \"r.io/vkc-shim:1\": denied", "count": 1},
    ]);
    let status = of("Always", &with_shim(&waits, &view("Waiting", None)));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let waiting = first(&status)
        .state
        .as_ref()
        .unwrap()
        .waiting
        .clone()
        .unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ShimImageNotPulled"));
    let message = waiting.message.unwrap();
    assert!(
        message.contains("r.io/vkc-shim:1") && message.contains("denied"),
        "{message}"
    );
    assert_eq!(status.init_container_statuses, None);
}

#[test]
fn a_shim_that_fails_fails_the_pod_that_is_run_once() {
    let group = with_shim(&view("Terminated", Some(128)), &view("Waiting", None));
    let status = of("Never", &group);
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("ShimFailed"))
    );
    let status = of("Always", &group);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let waiting = first(&status)
        .state
        .as_ref()
        .unwrap()
        .waiting
        .clone()
        .unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ShimFailed"));
}

#[test]
fn a_shim_that_has_done_its_work_is_not_seen() {
    let group = with_shim(&view("Terminated", Some(0)), &view("Running", None));
    let status = of("Always", &group);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.init_container_statuses, None);
    // Also when its first try has failed, or Azure runs it again on another host.
    let group = with_shim(&view("Terminated", Some(1)), &view("Running", None));
    assert_eq!(of("Always", &group).phase.as_deref(), Some("Running"));
}

#[test]
fn the_message_of_an_end_is_what_the_shim_has_put_behind_the_log() {
    let line = vkc_shim::message::frame(b"done").unwrap();
    for (policy, code, log, message) in [
        ("File", 0, format!("log\n{line}"), Some("done")),
        ("File", 1, format!("log\n{line}"), Some("done")),
        ("File", 1, "log\n".to_owned(), None),
        (
            "FallbackToLogsOnError",
            1,
            format!("log\n{line}"),
            Some("done"),
        ),
        (
            "FallbackToLogsOnError",
            1,
            "log\n".to_owned(),
            Some("log\n"),
        ),
        ("FallbackToLogsOnError", 0, "log\n".to_owned(), None),
    ] {
        let changes = [
            ("/spec/restartPolicy", json!("Never")),
            ("/spec/containers/0/terminationMessagePolicy", json!(policy)),
        ];
        let mut facts = web_facts(&changes);
        let group = with_shim(
            &view("Terminated", Some(0)),
            &view("Terminated", Some(code)),
        );
        let ends = ends_without_message(&facts, &group);
        assert_eq!(ends.len(), 1, "{policy} {code}");
        facts.learn_message(&ends[0], &log);
        let status = status_of_group(&facts, &group, None, at(NOW));
        let end = first(&status)
            .state
            .as_ref()
            .unwrap()
            .terminated
            .clone()
            .unwrap();
        assert_eq!(end.message.as_deref(), message, "{policy} {code} {log}");
        assert!(ends_without_message(&facts, &group).is_empty());
    }
}

#[test]
fn an_init_container_with_the_shim_has_its_message_too() {
    let changes = [
        ("/spec/restartPolicy", json!("Never")),
        (
            "/spec/initContainers",
            json!([{"name": "first", "image": "i"}]),
        ),
    ];
    let mut facts = web_facts(&changes);
    let mut group = with_shim(&view("Terminated", Some(0)), &view("Waiting", None));
    let first = json!({"name": "first", "properties": {
        "image": "i", "command": ["/.vkc/bin/vkc-shim", "run", "--", "x"], "instanceView": view("Terminated", Some(1)),
    }});
    let inits = &mut group.properties.init_containers;
    inits.push(serde_json::from_value(first).unwrap());
    let ends = ends_without_message(&facts, &group);
    assert_eq!(ends.len(), 1);
    let line = vkc_shim::message::frame(b"why").unwrap();
    facts.learn_message(&ends[0], &line);
    let status = status_of_group(&facts, &group, None, at(NOW));
    let init = &status.init_container_statuses.as_ref().unwrap()[0];
    let end = init.state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(end.message.as_deref(), Some("why"));
}
