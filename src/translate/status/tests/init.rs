//! Pods with init containers.

use super::*;

/// Init containers `a` and `b`, and the sidecar `s`.
fn three(policy: &str) -> PodFacts {
    let init = json!([
        {"name": "a", "image": "i"},
        {"name": "s", "image": "p", "restartPolicy": "Always"},
        {"name": "b", "image": "i"},
    ]);
    web_facts(&[
        ("/spec/initContainers", init),
        ("/spec/restartPolicy", json!(policy)),
    ])
}

fn state(word: &str, exit_code: Option<i32>) -> Value {
    json!({"restartCount": 0, "currentState": {
        "state": word, "exitCode": exit_code, "detailStatus": "", "startTime": "2026-09-01T10:00:01Z",
    }})
}

fn shown(a: &Value, b: &Value, s: &Value, web: &Value) -> ContainerGroup {
    let one = |name: &str, view: &Value| json!({"name": name, "properties": {"image": "i", "instanceView": view}});
    group(
        RUNNING,
        &[
            (
                "/properties/initContainers",
                json!([one("a", a), one("b", b)]),
            ),
            (
                "/properties/containers",
                json!([one("web", web), one("s", s)]),
            ),
        ],
    )
}

/// Phase, `Initialized`, reason of the first container's wait, and whether the init containers are ready, in the pod's order.
fn told(status: &PodStatus) -> (&str, &str, Option<&str>, Vec<(&str, bool)>) {
    let waiting = first(status).state.as_ref().unwrap().waiting.as_ref();
    let inits = status.init_container_statuses.iter().flatten();
    (
        status.phase.as_deref().unwrap(),
        &condition(status, "Initialized").status,
        waiting.and_then(|waiting| waiting.reason.as_deref()),
        inits.map(|it| (it.name.as_str(), it.ready)).collect(),
    )
}

#[test]
fn init_containers_hold_the_pod_back() {
    let (waits, runs) = (state("Waiting", None), state("Running", None));
    let (good, bad) = (state("Terminated", Some(0)), state("Terminated", Some(3)));
    let table = [
        (
            "Always",
            [&waits, &waits, &waits, &waits],
            "Pending",
            "False",
            true,
        ),
        (
            "Always",
            [&runs, &waits, &waits, &waits],
            "Pending",
            "False",
            true,
        ),
        (
            "Always",
            [&good, &runs, &waits, &waits],
            "Pending",
            "False",
            true,
        ),
        (
            "Always",
            [&good, &good, &waits, &waits],
            "Pending",
            "False",
            true,
        ),
        (
            "Always",
            [&good, &good, &runs, &waits],
            "Pending",
            "True",
            true,
        ),
        (
            "Always",
            [&good, &good, &runs, &runs],
            "Running",
            "True",
            false,
        ),
        (
            "Always",
            [&good, &good, &waits, &runs],
            "Running",
            "True",
            false,
        ),
        (
            "OnFailure",
            [&bad, &waits, &waits, &waits],
            "Pending",
            "False",
            true,
        ),
        (
            "Never",
            [&bad, &waits, &waits, &waits],
            "Failed",
            "False",
            true,
        ),
        (
            "Never",
            [&good, &bad, &waits, &waits],
            "Failed",
            "False",
            true,
        ),
    ];
    for (policy, [a, b, s, web], phase, initialized, waiting) in table {
        let status = observed(&three(policy), &shown(a, b, s, web));
        let expected = (
            phase,
            initialized,
            waiting.then_some("PodInitializing"),
            vec![("a", *a == good), ("s", *s == runs), ("b", *b == good)],
        );
        assert_eq!(told(&status), expected, "{policy} {a} {b} {s} {web}");
    }
}

#[test]
fn the_pod_is_ready_when_its_sidecars_run_too() {
    let (runs, good) = (state("Running", None), state("Terminated", Some(0)));
    let facts = three("Always");
    for (sidecar, ready) in [(&runs, "True"), (&good, "False")] {
        let status = observed(&facts, &shown(&good, &good, sidecar, &runs));
        assert_eq!(condition(&status, "Ready").status, ready);
        assert_eq!(status.phase.as_deref(), Some("Running"));
    }
    let status = observed(&facts, &shown(&runs, &good, &runs, &state("Waiting", None)));
    assert_eq!(
        condition(&status, "Initialized").reason.as_deref(),
        Some("ContainersNotInitialized")
    );
    let waiting = status_waiting(&facts, "", "", None, at(NOW));
    assert_eq!(told(&waiting).2, Some("PodInitializing"));
}

#[test]
fn an_init_container_that_fails_is_repeated_in_view() {
    let mut again = state("Waiting", None);
    again["restartCount"] = json!(1);
    again["currentState"]["detailStatus"] = json!("CrashLoopBackOff: Back-off");
    again["previousState"] = json!({"state": "Terminated", "exitCode": 3, "detailStatus": "Error"});
    let waits = state("Waiting", None);
    let group = shown(&again, &waits, &waits, &waits);
    for (policy, phase) in [
        ("Always", "Pending"),
        ("OnFailure", "Pending"),
        ("Never", "Failed"),
    ] {
        let status = observed(&three(policy), &group);
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy}");
        let init = &status.init_container_statuses.as_ref().unwrap()[0];
        let state = init.state.as_ref().unwrap();
        assert_eq!(state.waiting.is_some(), policy != "Never", "{policy}");
        assert_eq!(init.restart_count, i32::from(policy != "Never"));
    }
}

#[test]
fn an_init_container_that_fails_ends_a_group_that_restarts_nothing_whatever_arm_says() {
    let (bad, waits) = (state("Terminated", Some(1)), state("Waiting", None));
    for (policy, code, expected) in [
        ("Never", 1, GroupPhase::Failed),
        ("Never", 0, GroupPhase::ProvisioningFailed),
        ("OnFailure", 1, GroupPhase::ProvisioningFailed),
    ] {
        let end = state("Terminated", Some(code));
        let mut group = shown(&end, &waits, &waits, &waits);
        group.properties.provisioning_state = Some("Failed".to_owned());
        group.properties.restart_policy = Some(policy.to_owned());
        assert_eq!(group_phase(&group), expected, "{policy} {code}");
    }
    let mut group = shown(&bad, &waits, &waits, &waits);
    group.properties.provisioning_state = Some("Failed".to_owned());
    group.properties.restart_policy = Some("Never".to_owned());
    let status = observed(&three("Never"), &group);
    let initialized = condition(&status, "Initialized");
    assert_eq!(told(&status).0, "Failed");
    assert_eq!(told(&status).2, Some("PodInitializing"));
    assert_eq!(
        initialized.message.as_deref(),
        Some("containers with incomplete status: [a s b]")
    );
}
