//! What the API server makes of our patches, and what ACI may answer: the digest has to survive the first, and the status
//! the second.

use proptest::prelude::*;

use super::*;

/// The status as the API server would return it after `patch` on `pod`: a small model of its strategic merge and of the
/// members that it always writes out.
fn applied(pod: &Pod, patch: &Value) -> Pod {
    let mut pod = serde_json::to_value(pod).unwrap();
    let status = pod["status"].as_object_mut().unwrap();
    for (member, new) in patch["status"].as_object().unwrap() {
        match (member.as_str(), new) {
            (_, Value::Null) => {
                status.remove(member);
            }
            ("conditions", Value::Array(new)) => {
                let have = status["conditions"].as_array_mut().unwrap();
                for change in new {
                    let position = have
                        .iter()
                        .position(|it| it["type"] == change["type"])
                        .unwrap_or_else(|| {
                            // In front, to show that the order is not ours.
                            have.insert(0, json!({"lastProbeTime": null}));
                            0
                        });
                    for (name, value) in change.as_object().unwrap() {
                        if value.is_null() {
                            have[position].as_object_mut().unwrap().remove(name);
                        } else {
                            have[position][name] = value.clone();
                        }
                    }
                }
            }
            ("podIPs" | "hostIPs", Value::Array(new)) => {
                assert_eq!(new[0], json!({"$patch": "replace"}));
                status.insert(member.clone(), json!(new[1..]));
            }
            ("containerStatuses" | "initContainerStatuses", Value::Array(new)) => {
                let mut list = new.clone();
                for container in &mut list {
                    for state in ["state", "lastState"] {
                        let members = container.as_object_mut().unwrap();
                        members.entry(state).or_insert(json!({}));
                        if let Some(end) = members[state].get_mut("terminated") {
                            for time in ["startedAt", "finishedAt"] {
                                end.as_object_mut()
                                    .unwrap()
                                    .entry(time)
                                    .or_insert(Value::Null);
                            }
                        }
                    }
                }
                status.insert(member.clone(), Value::Array(list));
            }
            (_, new) => {
                status.insert(member.clone(), new.clone());
            }
        }
    }
    serde_json::from_value(pod).unwrap()
}

/// Writes `status` and checks that its echo asks for no other write.
pub(super) fn write(pod: &Pod, status: &PodStatus) -> Pod {
    let patch = status_patch(&facts(pod).unwrap(), status);
    assert_eq!(patch["metadata"], json!({"uid": pod.metadata.uid}));
    let after = applied(pod, &patch);
    assert_eq!(
        facts(&after).unwrap().status_digest,
        digest(status),
        "{patch:#}"
    );
    after
}

#[test]
fn an_echo_has_the_digest_of_what_was_written() {
    let crash = json!({"state": "Waiting", "detailStatus": "CrashLoopBackOff: x"});
    let end = json!({"state": "Terminated", "exitCode": 1});
    let groups = [
        group(PENDING, &[]),
        group(RUNNING, &[]),
        group(
            RUNNING,
            &[(STATE, crash), (PREVIOUS, end), (RESTARTS, json!(1))],
        ),
        group(RUNNING, &[("/properties/ipAddress/ip", json!(null))]),
        group(
            TERMINATED,
            &[("/properties/instanceView/state", json!("Stopped"))],
        ),
    ];
    let mut pod = web(&[]);
    for group in &groups {
        let before = facts(&pod).unwrap();
        let status = observed(&before, group);
        assert_ne!(before.status_digest, digest(&status));
        pod = write(&pod, &status);
        // Later, with nothing new: nothing to write, and the first times stay.
        let after = facts(&pod).unwrap();
        let later = status_of_group(&after, group, Some("10.1.2.3"), at("2026-09-01T11:00:00Z"));
        assert_eq!(after.status_digest, digest(&later));
        assert_eq!(later.start_time, status.start_time);
        assert_eq!(
            condition(&later, "Ready").last_transition_time,
            condition(&status, "Ready").last_transition_time
        );
        let scheduled = pod
            .status
            .as_ref()
            .unwrap()
            .conditions
            .iter()
            .flatten()
            .find(|it| it.type_ == "PodScheduled");
        assert_eq!(scheduled.unwrap().status, "True");
    }
}

#[test]
fn an_api_server_that_drops_observed_generation_is_not_asked_twice() {
    let pod = web(&[]);
    let status = observed(&facts(&pod).unwrap(), &group(RUNNING, &[]));
    let mut after = write(&pod, &status);
    after.status.as_mut().unwrap().observed_generation = None;
    let facts = facts(&after).unwrap();
    assert_eq!(facts.generation, None);
    assert_eq!(
        facts.status_digest,
        digest(&observed(&facts, &group(RUNNING, &[])))
    );
}

#[test]
fn what_is_not_ours_does_not_change_the_digest() {
    let before = web_facts(&[]).status_digest;
    let changes = [
        ("/status/qosClass", json!("Guaranteed")),
        (
            "/status/conditions/-",
            json!({"type": "lb/in", "status": "True"}),
        ),
        ("/status/nominatedNodeName", json!("n")),
    ];
    assert_eq!(web_facts(&changes).status_digest, before);
    assert_ne!(
        web_facts(&[("/status/phase", json!("Running"))]).status_digest,
        before
    );
}

/// A JSON value of ACI's instance views: right words, wrong words, wrong order, missing members.
fn view() -> impl Strategy<Value = Value> {
    let word = |words: &'static [&'static str]| {
        prop_oneof![
            4 => proptest::sample::select(words).prop_map(|word| json!(word)),
            1 => Just(Value::Null),
            1 => "\\PC{0,12}".prop_map(|text| json!(text)),
        ]
    };
    let time = word(&[
        "2026-09-01T10:00:00Z",
        "2026-09-01T10:00:00.1234567+00:00",
        "0001-01-01T00:00:00Z",
    ]);
    let code = proptest::option::of(any::<i32>());
    let detail = word(&["", "Completed", "Error", "OOMKilled", "CrashLoopBackOff: x"]);
    let state = (word(&["Running", "Waiting", "Terminated"]), time, code, detail).prop_map(|(state, time, code, detail)| {
        json!({"state": state, "startTime": time, "finishTime": time, "exitCode": code, "detailStatus": detail, "new": 1})
    });
    let event = (
        word(&["Pulling", "Failed", "BackOff"]),
        word(&["Failed to pull", ""]),
    )
        .prop_map(|(name, message)| json!({"name": name, "message": message}));
    let (current, previous) = (
        proptest::option::of(state.clone()),
        proptest::option::of(state),
    );
    (proptest::option::of(any::<i32>()), current, previous, proptest::collection::vec(event, 0..3)).prop_map(
        |(restarts, current, previous, events)| {
            json!({"restartCount": restarts, "currentState": current, "previousState": previous, "events": events})
        },
    )
}

/// The API server's rule: a container that has ended for good stays ended.
pub(super) fn step_is_legal(policy: &str, before: &Pod, after: &PodStatus) -> bool {
    let ended = |status: &PodStatus| {
        first_of(status)
            .and_then(|it| it.state.clone())
            .and_then(|state| state.terminated)
            .map(|end| end.exit_code)
    };
    let before = before.status.as_ref().and_then(ended);
    match (policy, before) {
        ("Never", Some(_)) | ("OnFailure", Some(0)) => ended(after).is_some(),
        _ => true,
    }
}

fn first_of(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.as_ref()?.first()
}

proptest! {
    #[test]
    fn whatever_aci_answers_is_written_once(
        views in proptest::collection::vec((view(), "(Pending|Succeeded|Repairing|X)", "(Pending|Running|Stopped|Failed|)"), 1..4),
        policy in "(Always|OnFailure|Never)",
    ) {
        let mut pod = web(&[("/spec/restartPolicy", json!(policy))]);
        for (view, operation, state) in views {
            let before = facts(&pod).unwrap();
            if before.is_final() {
                break;
            }
            let changes = [
                ("/properties/containers/0/properties/instanceView", view),
                ("/properties/provisioningState", json!(operation)),
                ("/properties/instanceView", json!({"state": state})),
            ];
            let status = observed(&before, &group(RUNNING, &changes));
            let phase = status.phase.as_deref().unwrap();
            prop_assert!(!(before.phase.as_deref() == Some("Running") && phase == "Pending"));
            pod = write(&pod, &status);
        }
    }

    #[test]
    fn a_restart_by_the_platform_never_revives_an_end(code in any::<i32>(), policy in "(OnFailure|Never)", more in 0..3) {
        let end = json!({"state": "Terminated", "exitCode": code, "startTime": "2026-09-01T10:00:00Z"});
        let pod = web(&[("/spec/restartPolicy", json!(policy))]);
        let ended = observed(&facts(&pod).unwrap(), &group(RUNNING, &[(STATE, end.clone())]));
        let before = write(&pod, &ended);
        let revived = group(RUNNING, &[(PREVIOUS, end), (RESTARTS, json!(1 + more))]);
        let after = observed(&facts(&before).unwrap(), &revived);
        prop_assert!(step_is_legal(&policy, &before, &after));
    }
}

#[test]
fn truncated_groups_are_read_or_refused_but_never_panic() {
    for text in [PENDING, RUNNING, TERMINATED] {
        let whole = changed(text, &[]);
        let mut paths = Vec::new();
        collect(&whole, "", &mut paths);
        for path in paths {
            let mut cut = whole.clone();
            let (parent, member) = path.rsplit_once('/').unwrap();
            match cut.pointer_mut(parent).unwrap() {
                Value::Object(members) => {
                    members.remove(member);
                }
                Value::Array(items) => {
                    items.remove(member.parse().unwrap());
                }
                _ => unreachable!("a member's parent has members"),
            }
            if let Ok(group) = serde_json::from_value::<ContainerGroup>(cut) {
                observed(&never(), &group);
            }
        }
    }
}

/// The pointers of every member below `value`.
pub(super) fn collect(value: &Value, at: &str, out: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, value)| (n.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in members {
        let path = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        out.push(path.clone());
        collect(value, &path, out);
    }
}
