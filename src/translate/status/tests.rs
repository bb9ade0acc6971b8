use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use serde_json::{Value, json};

use super::{
    GroupPhase, digest, group_phase, is_final, status_failed, status_group_gone, status_of_group,
    status_patch, status_terminated, status_waiting,
};
use crate::azure::model::ContainerGroup;
use crate::translate::testing::{HELLO, PENDING, RUNNING, TERMINATED, at, changed, group, pod};
use crate::translate::{PodFacts, facts};

mod echo;

const NOW: &str = "2026-09-01T10:05:00.75Z";
const STATE: &str = "/properties/containers/0/properties/instanceView/currentState";
const PREVIOUS: &str = "/properties/containers/0/properties/instanceView/previousState";
const RESTARTS: &str = "/properties/containers/0/properties/instanceView/restartCount";
const EVENTS: &str = "/properties/containers/0/properties/instanceView/events";

/// The Linux fixture as pod `web`, with `changes`.
fn web(changes: &[(&str, Value)]) -> Pod {
    let mut all = vec![("/spec/containers/0/name", json!("web"))];
    all.extend(changes.iter().cloned());
    pod(HELLO, &all)
}

fn web_facts(changes: &[(&str, Value)]) -> PodFacts {
    facts(&web(changes)).unwrap()
}

fn never() -> PodFacts {
    web_facts(&[("/spec/restartPolicy", json!("Never"))])
}

fn observed(facts: &PodFacts, group: &ContainerGroup) -> PodStatus {
    status_of_group(facts, group, Some("10.1.2.3"), at(NOW))
}

fn first(status: &PodStatus) -> &ContainerStatus {
    &status.container_statuses.as_ref().unwrap()[0]
}

fn condition<'s>(status: &'s PodStatus, kind: &str) -> &'s PodCondition {
    status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == kind)
        .unwrap()
}

/// Phase, state of the first container as JSON, and `Ready`.
fn short(status: &PodStatus) -> (String, Value, String) {
    let state = serde_json::to_value(first(status).state.as_ref().unwrap()).unwrap();
    (
        status.phase.clone().unwrap(),
        state,
        condition(status, "Ready").status.clone(),
    )
}

#[test]
fn a_running_group_is_a_running_pod() {
    let status = observed(&web_facts(&[]), &group(RUNNING, &[]));
    let id = first(&status).container_id.clone().unwrap();
    assert!(
        id.strip_prefix("aci://").is_some_and(|hex| hex.len() == 64),
        "{id}"
    );
    let since = "2026-09-01T10:05:00Z";
    let met = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": since});
    let expected = json!({
        "phase": "Running",
        "startTime": since,
        "observedGeneration": 1,
        "podIP": "13.83.249.21",
        "podIPs": [{"ip": "13.83.249.21"}],
        "hostIP": "10.1.2.3",
        "hostIPs": [{"ip": "10.1.2.3"}],
        "conditions": [
            met("PodReadyToStartContainers"), met("Initialized"), met("Ready"), met("ContainersReady"),
        ],
        "containerStatuses": [{
            "name": "web",
            "image": "microsoft/aci-helloworld",
            "imageID": "",
            "containerID": id,
            "ready": true,
            "started": true,
            "restartCount": 0,
            "state": {"running": {"startedAt": "2019-10-21T11:43:06Z"}},
        }],
    });
    assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    assert!(!is_final(&status));
}

#[test]
fn a_group_without_container_views_is_pending() {
    for operation in ["Pending", "Creating", "Succeeded", "SomethingNew"] {
        let group = group(
            PENDING,
            &[("/properties/provisioningState", json!(operation))],
        );
        let status = observed(&web_facts(&[]), &group);
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(
            short(&status),
            ("Pending".to_owned(), waiting, "False".to_owned())
        );
        assert_eq!(first(&status).container_id, None);
        assert_eq!(status.pod_ip, None);
        assert_eq!(condition(&status, "Initialized").status, "True");
        assert_eq!(
            condition(&status, "PodReadyToStartContainers").status,
            "False"
        );
        let ready = condition(&status, "ContainersReady");
        assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
        assert_eq!(ready.message.as_deref(), Some("not ready: containers web"));
    }
}

#[test]
fn an_end_keeps_its_exit_code() {
    let failed = observed(&never(), &group(TERMINATED, &[]));
    let id = first(&failed).container_id.clone().unwrap();
    let expected = json!({"terminated": {
        "exitCode": 2, "reason": "Error", "containerID": id,
        "startedAt": "2023-05-01T16:57:05Z", "finishedAt": "2023-05-01T16:57:10Z",
    }});
    assert_eq!(
        short(&failed),
        ("Failed".to_owned(), expected, "False".to_owned())
    );
    assert_eq!(
        condition(&failed, "Ready").reason.as_deref(),
        Some("PodFailed")
    );
    assert!(is_final(&failed));

    let table = [
        (json!(0), "Completed", "Completed", None, "Succeeded"),
        (json!(137), "OOMKilled", "OOMKilled", None, "Failed"),
        (json!(137), "Error", "Error", None, "Failed"),
        (
            json!(7147),
            "",
            "Error",
            Some("the container was stopped for maintenance of Azure's platform"),
            "Failed",
        ),
        (
            json!(1),
            "ContainerCannotRun",
            "Error",
            Some("ContainerCannotRun"),
            "Failed",
        ),
        (json!(null), "Completed", "Completed", None, "Succeeded"),
        (json!(null), "", "ContainerStatusUnknown", None, "Failed"),
    ];
    for (code, detail, reason, message, phase) in table {
        let state = json!({"state": "Terminated", "exitCode": code, "detailStatus": detail});
        let status = observed(&never(), &group(TERMINATED, &[(STATE, state)]));
        let end = first(&status).state.clone().unwrap().terminated.unwrap();
        assert_eq!(
            (end.reason.as_deref(), end.message.as_deref()),
            (Some(reason), message),
            "{code} {detail}"
        );
        assert_eq!(status.phase.as_deref(), Some(phase));
        assert_eq!(
            i64::from(end.exit_code),
            code.as_i64()
                .unwrap_or(if phase == "Succeeded" { 0 } else { 137 })
        );
        assert_eq!(end.started_at, None);
    }
}

#[test]
fn the_phase_follows_from_policy_and_states() {
    let (run, done, bad) = ("Running", "Terminated 0", "Terminated 1");
    let table = [
        ("Always", [run, run], "Running"),
        ("Always", [done, bad], "Running"),
        ("Always", [run, "Waiting"], "Pending"),
        ("OnFailure", [done, done], "Succeeded"),
        ("OnFailure", [done, bad], "Running"),
        ("OnFailure", [done, run], "Running"),
        ("Never", [done, done], "Succeeded"),
        ("Never", [done, bad], "Failed"),
        ("Never", [run, bad], "Running"),
        ("Never", ["Waiting", bad], "Pending"),
    ];
    for (policy, states, phase) in table {
        let containers = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
        let changes = [
            ("/spec/restartPolicy", json!(policy)),
            ("/spec/containers", containers),
        ];
        let facts = facts(&pod(HELLO, &changes)).unwrap();
        // In the other order: a pod's containers are found by name.
        let views: Value = [("b", states[1]), ("a", states[0])]
            .iter()
            .map(|(name, state)| {
                let (state, code) = state.split_once(' ').unwrap_or((state, "0"));
                let current = json!({"state": state, "exitCode": code.parse::<i32>().unwrap()});
                json!({"name": name, "properties": {"instanceView": {"currentState": current}}})
            })
            .collect();
        let status = observed(
            &facts,
            &group(RUNNING, &[("/properties/containers", views)]),
        );
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {states:?}");
        let names: Vec<&str> = status
            .container_statuses
            .iter()
            .flatten()
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
    }
}

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

#[test]
fn group_phases() {
    let table = [
        ("Pending", "Pending", GroupPhase::Creating),
        ("Creating", "Running", GroupPhase::Running),
        ("Succeeded", "Running", GroupPhase::Running),
        ("succeeded", "running", GroupPhase::Running),
        ("Succeeded", "Succeeded", GroupPhase::Succeeded),
        ("Succeeded", "Failed", GroupPhase::Failed),
        ("Succeeded", "Stopped", GroupPhase::Stopped),
        ("Updating", "Stopped", GroupPhase::Creating),
        ("Succeeded", "Pending", GroupPhase::Creating),
        ("Succeeded", "", GroupPhase::Creating),
        ("Failed", "Running", GroupPhase::ProvisioningFailed),
        ("Canceled", "", GroupPhase::ProvisioningFailed),
        ("Unhealthy", "Running", GroupPhase::Repairing),
        ("Repairing", "Pending", GroupPhase::Repairing),
        ("Deleting", "Running", GroupPhase::Deleting),
        ("", "", GroupPhase::Creating),
    ];
    for (operation, state, expected) in table {
        let changes = [
            ("/properties/provisioningState", json!(operation)),
            ("/properties/instanceView", json!({"state": state})),
        ];
        assert_eq!(
            group_phase(&group(PENDING, &changes)),
            expected,
            "{operation}/{state}"
        );
    }
    assert_eq!(
        group_phase(&ContainerGroup::default()),
        GroupPhase::Creating
    );
}

#[test]
fn a_stopped_group_is_a_failed_pod() {
    let stopped = [("/properties/instanceView/state", json!("Stopped"))];
    let status = observed(&web_facts(&[]), &group(RUNNING, &stopped));
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("Stopped"))
    );
    let end = first(&status).state.clone().unwrap().terminated.unwrap();
    assert_eq!(
        (end.exit_code, end.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    assert_eq!(end.container_id, first(&status).container_id);
    assert_eq!(
        condition(&status, "Ready").reason.as_deref(),
        Some("PodFailed")
    );
    let status = observed(&never(), &group(TERMINATED, &stopped));
    assert_eq!(
        first(&status)
            .state
            .clone()
            .unwrap()
            .terminated
            .unwrap()
            .exit_code,
        2
    );
}

#[test]
fn a_group_under_repair_runs_but_is_not_ready() {
    let changes = [("/properties/provisioningState", json!("Unhealthy"))];
    let status = observed(&web_facts(&[]), &group(RUNNING, &changes));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(!first(&status).ready);
    let ready = condition(&status, "Ready");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref()),
        ("False", Some("ContainersNotReady"))
    );
    assert!(ready.message.as_deref().unwrap().contains("another host"));
}

#[test]
fn a_pod_never_steps_back() {
    let pending = group(PENDING, &[]);
    for (last, expected) in [
        ("Pending", "Pending"),
        ("Running", "Running"),
        ("Failed", "Failed"),
        ("Succeeded", "Succeeded"),
    ] {
        let facts = web_facts(&[("/status/phase", json!(last))]);
        assert_eq!(observed(&facts, &pending).phase.as_deref(), Some(expected));
        assert_eq!(
            status_waiting(&facts, "R", "m", None, at(NOW))
                .phase
                .as_deref(),
            Some(expected)
        );
        assert_eq!(
            condition(&observed(&facts, &pending), "Ready").status,
            "False"
        );
    }
}

#[test]
fn conditions_keep_their_time_until_their_status_changes() {
    let was = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": "2026-09-01T09:00:00Z"});
    let facts = web_facts(&[(
        "/status/conditions",
        json!([was("Ready", "True"), was("ContainersReady", "False")]),
    )]);
    let status = observed(&facts, &group(RUNNING, &[]));
    let time = |kind: &str| {
        condition(&status, kind)
            .last_transition_time
            .as_ref()
            .unwrap()
            .0
    };
    assert_eq!(time("Ready"), at("2026-09-01T09:00:00Z"));
    assert_eq!(time("ContainersReady"), at("2026-09-01T10:05:00Z"));
    assert!(
        status
            .conditions
            .iter()
            .flatten()
            .all(|condition| condition.type_ != "PodScheduled")
    );
}

#[test]
fn readiness_gates_hold_back_ready_alone() {
    let gate = ("/spec/readinessGates", json!([{"conditionType": "lb/in"}]));
    let closed = observed(
        &web_facts(std::slice::from_ref(&gate)),
        &group(RUNNING, &[]),
    );
    assert_eq!(condition(&closed, "ContainersReady").status, "True");
    let ready = condition(&closed, "Ready");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_deref()),
        ("False", Some("ReadinessGatesNotReady"))
    );
    assert_eq!(
        ready.message.as_deref(),
        Some("not True: readiness gates lb/in")
    );
    let open = (
        "/status/conditions/-",
        json!({"type": "lb/in", "status": "True"}),
    );
    let open = observed(&web_facts(&[gate, open]), &group(RUNNING, &[]));
    assert_eq!(condition(&open, "Ready").status, "True");
}

#[test]
fn waiting_says_why() {
    let status = status_waiting(
        &web_facts(&[]),
        "NotSupportedOnAci",
        "spec.hostPID: no host",
        Some("10.1.2.3"),
        at(NOW),
    );
    let expected =
        json!({"waiting": {"reason": "NotSupportedOnAci", "message": "spec.hostPID: no host"}});
    assert_eq!(
        short(&status),
        ("Pending".to_owned(), expected, "False".to_owned())
    );
    assert_eq!(status.host_ip.as_deref(), Some("10.1.2.3"));
    assert_eq!(status.reason, None);
}

#[test]
fn failed_ends_what_may_have_run() {
    let pending = status_failed(
        &web_facts(&[]),
        "DeadlineExceeded",
        "too late",
        None,
        at(NOW),
    );
    assert_eq!(
        (pending.phase.as_deref(), pending.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
    assert_eq!(pending.message.as_deref(), Some("too late"));
    assert!(first(&pending).state.as_ref().unwrap().waiting.is_some());
    let running = status_failed(
        &web_facts(&[("/status/phase", json!("Running"))]),
        "R",
        "m",
        None,
        at(NOW),
    );
    assert_eq!(
        first(&running)
            .state
            .clone()
            .unwrap()
            .terminated
            .unwrap()
            .exit_code,
        137
    );
}

#[test]
fn a_vanished_group_fails_the_pod_and_keeps_what_was_known() {
    let facts = web_facts(&[("/status/podIP", json!("13.83.249.21"))]);
    let running = observed(&facts, &group(RUNNING, &[]));
    let gone = status_group_gone(&facts, Some(&running), None, at(NOW));
    assert_eq!(
        (gone.phase.as_deref(), gone.reason.as_deref()),
        (Some("Failed"), Some("ContainerGroupDeleted"))
    );
    let end = first(&gone).state.clone().unwrap().terminated.unwrap();
    assert_eq!(
        (end.exit_code, end.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    assert_eq!(end.started_at.unwrap().0, at("2019-10-21T11:43:06Z"));
    assert_eq!(first(&gone).container_id, first(&running).container_id);
    assert_eq!(gone.pod_ip.as_deref(), Some("13.83.249.21"));

    let ended = observed(&never(), &group(TERMINATED, &[]));
    let gone = status_group_gone(&never(), Some(&ended), None, at(NOW));
    assert_eq!(first(&gone).state, first(&ended).state);
    let blind = status_group_gone(&facts, None, None, at(NOW));
    assert_eq!(
        first(&blind)
            .state
            .clone()
            .unwrap()
            .terminated
            .unwrap()
            .exit_code,
        137
    );
}

#[test]
fn the_last_status_of_a_deleted_pod() {
    let now = at(NOW);
    let code = |status: &PodStatus| {
        first(status)
            .state
            .clone()
            .unwrap()
            .terminated
            .map(|end| end.exit_code)
    };
    let running = status_terminated(&web_facts(&[]), Some(&group(RUNNING, &[])), None, now);
    assert_eq!(
        (running.phase.as_deref(), code(&running)),
        (Some("Failed"), Some(137))
    );
    let end = first(&running).state.clone().unwrap().terminated.unwrap();
    assert_eq!(end.finished_at.unwrap().0, at("2026-09-01T10:05:00Z"));
    let failed = status_terminated(&never(), Some(&group(TERMINATED, &[])), None, now);
    assert_eq!(
        (failed.phase.as_deref(), code(&failed)),
        (Some("Failed"), Some(2))
    );
    let zero = json!({"state": "Terminated", "exitCode": 0});
    for facts in [never(), web_facts(&[])] {
        let done = status_terminated(
            &facts,
            Some(&group(TERMINATED, &[(STATE, zero.clone())])),
            None,
            now,
        );
        assert_eq!(
            (done.phase.as_deref(), code(&done)),
            (Some("Succeeded"), Some(0))
        );
    }
    let unstarted = status_terminated(&web_facts(&[]), None, None, now);
    assert_eq!(
        (unstarted.phase.as_deref(), code(&unstarted)),
        (Some("Failed"), None)
    );
    let unseen = status_terminated(
        &web_facts(&[("/status/phase", json!("Running"))]),
        None,
        None,
        now,
    );
    assert_eq!(
        (unseen.phase.as_deref(), code(&unseen)),
        (Some("Failed"), Some(137))
    );
}
