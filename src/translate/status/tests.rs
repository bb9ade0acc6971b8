use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use serde_json::{Value, json};

use super::{
    GroupPhase, digest, group_phase, is_final, status_failed, status_group_gone,
    status_not_started, status_of_group, status_patch, status_terminated, status_unpulled,
    status_waiting,
};
use crate::azure::model::ContainerGroup;
use crate::translate::testing::{HELLO, PENDING, RUNNING, TERMINATED, at, changed, group, pod};
use crate::translate::{ContainerFault, PodFacts, facts};

mod discreet;
mod echo;
mod ends;
mod init;
mod probed;
mod recorded;
mod restarts;
mod shim;

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
fn a_container_that_has_started_repeats_what_it_has_asked_for() {
    let asks = json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}});
    let facts = web_facts(&[("/spec/containers/0/resources", asks.clone())]);
    let status = observed(&facts, &group(RUNNING, &[]));
    let shown = |status: &PodStatus| {
        let container = serde_json::to_value(first(status)).unwrap();
        (
            container["resources"].clone(),
            container["allocatedResources"].clone(),
        )
    };
    let expected = (asks.clone(), asks["requests"].clone());
    assert_eq!(shown(&status), expected);
    let waiting = observed(&facts, &group(PENDING, &[]));
    assert_eq!(shown(&waiting), (Value::Null, Value::Null));
    // A group is not resized, and an API server that does not keep it is not written to again and again.
    let more = json!({"requests": {"cpu": "2"}});
    let told = serde_json::to_value(&status.container_statuses).unwrap();
    let resized = web_facts(&[
        ("/spec/containers/0/resources", more),
        ("/status/containerStatuses", told),
    ]);
    assert_eq!(shown(&observed(&resized, &group(RUNNING, &[]))), expected);
    let without = web_facts(&[]);
    let without = observed(&without, &group(RUNNING, &[]));
    assert_eq!(digest(&status), digest(&without));
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
    let met = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": since, "observedGeneration": 1});
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
            // What the group has, whatever the pod has come to say.
            "image": "alpine:latest",
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
    let pinned =
        json!("alpine@sha256:0a4eaa0eecf5f8c050e5bba433f58c052be7587ee8af3e8b3910ef9ab5fbe9f5");
    let image = "/properties/containers/0/properties/image";
    let by_digest = observed(&web_facts(&[]), &group(RUNNING, &[(image, pinned.clone())]));
    assert_eq!(first(&by_digest).image_id, pinned);
    let waiting = observed(&web_facts(&[]), &group(PENDING, &[(image, pinned)]));
    assert_eq!(first(&waiting).image_id, "");
}

#[test]
fn the_digest_that_azure_has_pulled_is_the_image_s_id_also_when_its_event_is_forgotten() {
    let pinned = "alpine@sha256:0a4eaa0eecf5f8c050e5bba433f58c052be7587ee8af3e8b3910ef9ab5fbe9f5";
    let view = "/properties/containers/0/properties/instanceView/events";
    let said =
        json!([{"name": "Pulled", "message": format!("Successfully pulled image \"{pinned}\"")}]);
    let mut facts = web_facts(&[]);
    let status = observed(&facts, &group(RUNNING, &[(view, said)]));
    assert_eq!(first(&status).image_id, pinned);
    facts.remember(&status);
    let forgotten = group(RUNNING, &[(view, json!([]))]);
    assert_eq!(first(&observed(&facts, &forgotten)).image_id, pinned);
    // Of another image nothing is known.
    let image = "/properties/containers/0/properties/image";
    let other = group(RUNNING, &[(view, json!([])), (image, json!("alpine:3"))]);
    assert_eq!(first(&observed(&facts, &other)).image_id, "");
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
        assert_eq!(
            ready.message.as_deref(),
            Some("containers with unready status: [web]")
        );
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
            json!(7148),
            "Error",
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
    // Stopped after its end: it ended as its containers did.
    let status = observed(&never(), &group(TERMINATED, &stopped));
    assert_eq!(status.reason, None);
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
        Some("corresponding condition of pod readiness gate \"lb/in\" does not exist.")
    );
    let open = (
        "/status/conditions/-",
        json!({"type": "lb/in", "status": "True"}),
    );
    let open = observed(&web_facts(&[gate, open]), &group(RUNNING, &[]));
    assert_eq!(condition(&open, "Ready").status, "True");
}

#[test]
fn what_a_group_tells_besides_goes_along_with_the_status() {
    let mut facts = web_facts(&[]);
    let status = status_waiting(&facts, "Creating", "", None, at("2026-11-23T10:00:00Z"));
    let metadata = |facts: &PodFacts| status_patch(facts, &status)["metadata"].clone();
    assert_eq!(metadata(&facts), json!({"uid": facts.key.uid}));
    facts.told.learn(&group(RUNNING, &[]));
    let billed = &metadata(&facts)["annotations"]["virtual-kubelet.io/billed-resources"];
    assert!(
        billed.as_str().is_some_and(|text| text.starts_with("cpu=")),
        "{billed}"
    );
}
