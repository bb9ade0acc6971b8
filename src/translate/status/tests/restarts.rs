//! Waiting and restarted containers.

use super::*;

#[test]
fn a_crash_loop_shows_the_last_end_and_a_new_id() {
    let facts = web_facts(&[]);
    let end = json!({"state": "Terminated", "exitCode": 3, "detailStatus": "Error", "startTime": "2026-09-01T10:00:00Z",
                     "finishTime": "2026-09-01T10:00:01.1234567+00:00"});
    let waiting = json!({"state": "Waiting", "detailStatus": "CrashLoopBackOff: Back-off restarting failed",
                         "startTime": null, "exitCode": null, "finishTime": null});
    let loops = group(
        RUNNING,
        &[
            (STATE, waiting),
            (PREVIOUS, end.clone()),
            (RESTARTS, json!(2)),
        ],
    );
    let status = observed(&facts, &loops);
    let expected =
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "Back-off restarting failed"}});
    assert_eq!(
        short(&status),
        ("Running".to_owned(), expected, "False".to_owned())
    );
    let container = first(&status);
    let last = container.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, container.restart_count), (3, 2));
    assert_eq!(last.finished_at.unwrap().0, at("2026-09-01T10:00:01Z"));
    assert_eq!(container.container_id, last.container_id);

    let again = json!({"state": "Running", "startTime": "2026-09-01T10:00:20Z"});
    let runs = observed(
        &facts,
        &group(
            RUNNING,
            &[(STATE, again), (PREVIOUS, end), (RESTARTS, json!(2))],
        ),
    );
    assert_ne!(first(&runs).container_id, container.container_id);
    assert_eq!(first(&runs).last_state, container.last_state);
    let first_life = observed(&facts, &group(RUNNING, &[]));
    assert_eq!(first(&first_life).last_state, None);
}

#[test]
fn why_a_container_waits_comes_from_detail_events_or_the_group() {
    let event = |name: &str, message: &str, at: &str| json!({"name": name, "message": message, "lastTimestamp": at});
    let pulling = event("Pulling", "pulling image \"x\"", "2026-09-01T10:00:00Z");
    let failed = event(
        "Failed",
        "Failed to pull image \"x\": not found",
        "2026-09-01T10:00:02Z",
    );
    let backoff = event(
        "BackOff",
        "Back-off pulling image \"x\"",
        "2026-09-01T10:00:03Z",
    );
    let mount = json!([{"name": "FailedMount", "message": "permission denied", "type": "Normal"}]);
    let table = [
        ("", json!([pulling]), json!([]), "ContainerCreating", None),
        (
            "",
            json!([failed, pulling]),
            json!([]),
            "ErrImagePull",
            Some("Failed to pull image \"x\": not found"),
        ),
        (
            "",
            json!([backoff, pulling, failed]),
            json!([]),
            "ImagePullBackOff",
            Some("Back-off pulling image \"x\""),
        ),
        (
            "",
            json!([event("BackOff", "Back-off restarting", "")]),
            json!([]),
            "CrashLoopBackOff",
            Some("Back-off restarting"),
        ),
        (
            "",
            json!([event("Failed", "no such file", "")]),
            json!([]),
            "RunContainerError",
            Some("no such file"),
        ),
        (
            "ImagePullBackOff",
            json!(null),
            json!([]),
            "ImagePullBackOff",
            None,
        ),
        (
            "waiting for a while",
            json!([]),
            json!([]),
            "ContainerCreating",
            Some("waiting for a while"),
        ),
        (
            "",
            json!([]),
            mount,
            "ContainerCreating",
            Some("FailedMount: permission denied"),
        ),
    ];
    for (detail, events, of_group, reason, message) in table {
        let waiting = json!({"state": "Waiting", "detailStatus": detail});
        let changes = [
            (STATE, waiting),
            (EVENTS, events.clone()),
            ("/properties/instanceView/events", of_group),
        ];
        let status = observed(&web_facts(&[]), &group(RUNNING, &changes));
        let waiting = first(&status).state.clone().unwrap().waiting.unwrap();
        assert_eq!(
            (waiting.reason.as_deref(), waiting.message.as_deref()),
            (Some(reason), message),
            "{events}"
        );
    }
}

#[test]
fn what_is_wrong_with_the_group_holds_a_container_without_a_view() {
    for (name, message, reason) in [
        (
            "Failed",
            "Failed to pull image \"x\": denied",
            "ErrImagePull",
        ),
        (
            "BackOff",
            "Back-off pulling image \"x\"",
            "ImagePullBackOff",
        ),
    ] {
        let events = json!([{"name": name, "message": message}]);
        let changes = [("/properties/instanceView/events", events)];
        let status = observed(&web_facts(&[]), &group(PENDING, &changes));
        let expected = json!({"waiting": {"reason": reason, "message": message}});
        assert_eq!(
            short(&status),
            ("Pending".to_owned(), expected, "False".to_owned())
        );
    }
}

/// Azure's documentation: a container may be restarted even under `Never`. The API server refuses such a step.
#[test]
fn the_first_end_wins_when_aci_restarts_what_kubernetes_would_not() {
    let end = |code: i32| json!({"state": "Terminated", "exitCode": code, "startTime": "2026-09-01T10:00:00Z"});
    let table = [
        ("Never", 5, Some(5)),
        ("Never", 0, Some(0)),
        ("OnFailure", 0, Some(0)),
        ("OnFailure", 5, None),
        ("Always", 0, None),
    ];
    for (policy, code, expected) in table {
        let facts = web_facts(&[("/spec/restartPolicy", json!(policy))]);
        let ended = observed(
            &facts,
            &group(RUNNING, &[(STATE, end(code)), (RESTARTS, json!(0))]),
        );
        let restarted = observed(
            &facts,
            &group(RUNNING, &[(PREVIOUS, end(code)), (RESTARTS, json!(1))]),
        );
        let got = first(&restarted)
            .state
            .clone()
            .unwrap()
            .terminated
            .map(|end| end.exit_code);
        assert_eq!(got, expected, "{policy} {code}");
        if expected.is_some() {
            assert_eq!(
                restarted.container_statuses, ended.container_statuses,
                "{policy} {code}"
            );
            assert_eq!(digest(&restarted), digest(&ended));
        }
    }
}
