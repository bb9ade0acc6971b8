//! `spec.activeDeadlineSeconds`.

use super::*;

/// A pod that may be active for so long; `status` is what the API server has.
fn timed(uid: &str, seconds: i64, status: &serde_json::Value) -> Box<PodFacts> {
    pod_with(uid, |pod| {
        pod["spec"]["activeDeadlineSeconds"] = json!(seconds);
        pod["status"] = status.clone();
    })
}

fn pending() -> serde_json::Value {
    json!({"phase": "Pending"})
}

/// As the API server has a pod that runs since the world's start.
fn since_start() -> serde_json::Value {
    let start = Timestamp::from_second(START).unwrap().to_string();
    json!({"phase": "Running", "startTime": start})
}

fn reason(effects: &[Effect]) -> Option<&str> {
    written(effects).and_then(|(status, _)| status.reason.as_deref())
}

/// A world with pod `a`, which runs and may do so for a minute.
fn a_minute() -> World {
    let mut world = World::synced();
    world.step(Input::PodApplied(timed("a", 60, &pending())));
    world.step(ensured("a"));
    assert_eq!(phase(&world.step(running("a"))), Some("Running"));
    world
}

#[test]
fn a_pod_that_is_active_for_too_long_fails_when_its_group_is_gone() {
    let mut world = a_minute();
    let effects = world.after(55).step(running("a"));
    let wait = wait_of(&effects);
    assert!(
        wait >= Duration::from_secs(5) && wait < Duration::from_secs(6),
        "{wait:?}"
    );
    let effects = world.after(5).step(running("a"));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    assert_eq!(events(&effects), ["DeadlineExceeded"]);
    assert!(written(&effects).is_none(), "something may still run");
    let last = Deleted::Accepted(Some(group("Running", "Succeeded")));
    let effects = world.step(Input::Deleted(key("a"), Ok(last)));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.step(Input::Observed(key("a"), Ok(None)));
    let (status, _) = written(&effects).unwrap();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
    assert_eq!(
        status.message.as_deref(),
        Some("Pod was active on the node longer than the specified deadline")
    );
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let end = container.state.clone().unwrap().terminated.unwrap();
    assert_eq!(end.exit_code, 137);
    assert!(end.started_at.is_some(), "the last group told");
    assert!(operations(&effects).is_empty());
    assert_eq!(world.engine.counts().pods, 1);
}

#[test]
fn what_ends_in_time_has_ended_so() {
    let mut world = a_minute();
    let done = pod_with("b", |pod| {
        pod["spec"]["activeDeadlineSeconds"] = json!(60);
        pod["spec"]["restartPolicy"] = json!("Never");
    });
    world.step(Input::PodApplied(done));
    world.step(ensured("b"));
    let ended = Ok(Some(group("Terminated", "Succeeded")));
    let effects = world.after(61).step(Input::Observed(key("b"), ended));
    assert_eq!(
        (phase(&effects), reason(&effects)),
        (Some("Succeeded"), None)
    );
}

#[test]
fn the_deadline_may_be_lowered_or_set_on_a_pod_that_runs() {
    for before in [Some(600), None] {
        let mut world = World::synced();
        let facts = |seconds: Option<i64>| {
            pod_with("a", |pod| {
                pod["spec"]["activeDeadlineSeconds"] = json!(seconds);
                pod["status"] = since_start();
            })
        };
        world.step(Input::PodApplied(facts(before)));
        world.step(ensured("a"));
        world.step(running("a"));
        let effects = world.after(20).step(Input::PodApplied(facts(Some(10))));
        assert_eq!(only_operation(&effects), Operation::GetGroup, "a last look");
        assert_eq!(
            only_operation(&world.step(running("a"))),
            Operation::DeleteGroup
        );
    }
}

#[test]
fn a_deadline_that_passed_while_nobody_looked_is_kept_after_a_look() {
    // With a group, in whichever order the lists come, and without one.
    for (listed, groups_first) in [(true, true), (true, false), (false, true)] {
        for (seen, expected) in [("Running", None), ("Terminated", Some("Succeeded"))] {
            let mut world = World::new();
            world.after(100);
            let groups = if listed {
                vec![summary("a")]
            } else {
                Vec::new()
            };
            let facts = pod_with("a", |pod| {
                pod["spec"]["activeDeadlineSeconds"] = json!(60);
                pod["spec"]["restartPolicy"] = json!("Never");
                pod["status"] = since_start();
            });
            let mut effects = Vec::new();
            if groups_first {
                effects.extend(world.step(Input::GroupsListed(Ok(complete(groups)))));
                effects.extend(world.step(Input::PodApplied(facts)));
                effects.extend(world.step(Input::PodsSynced));
            } else {
                effects.extend(world.step(Input::PodApplied(facts)));
                effects.extend(world.step(Input::PodsSynced));
                effects.extend(world.step(Input::GroupsListed(Ok(complete(groups)))));
            }
            assert_eq!(only_operation(&effects), Operation::GetGroup);
            let effects = world.step(Input::Observed(
                key("a"),
                Ok(Some(group(seen, "Succeeded"))),
            ));
            match expected {
                Some(phase) => assert_eq!(super::phase(&effects), Some(phase)),
                None => assert_eq!(only_operation(&effects), Operation::DeleteGroup),
            }
        }
    }
}

#[test]
fn a_pod_without_a_group_fails_at_once() {
    // It waits since the world's start.
    let waits = || {
        let mut status = since_start();
        status["phase"] = json!("Pending");
        status
    };
    // Refused for good.
    let mut world = World::synced();
    world.step(Input::PodApplied(timed("a", 30, &waits())));
    let effects = world.step(Input::Created(key("a"), Err(failure(FailureKind::Refused))));
    assert_eq!(only_operation(&effects), Operation::Timer);
    assert!(wait_of(&effects) >= Duration::from_secs(30));
    let effects = world.after(31).step(Input::Timer(key("a")));
    assert_eq!(reason(&effects), Some("DeadlineExceeded"));
    assert!(operations(&effects).is_empty());
    // Held back.
    let mut world = World::synced();
    world.step(Input::Suspended(true));
    let effects = world.step(Input::PodApplied(timed("a", 30, &waits())));
    assert_eq!(only_operation(&effects), Operation::Timer);
    let effects = world.after(31).step(Input::Timer(key("a")));
    assert_eq!(reason(&effects), Some("DeadlineExceeded"));
}

#[test]
fn nothing_is_made_at_or_after_the_deadline() {
    let mut world = World::synced();
    world.step(Input::PodApplied(timed("a", 3, &pending())));
    let slow = || Input::Created(key("a"), Err(failure(FailureKind::Slow)));
    let effects = world.step(slow());
    assert_eq!(
        only_operation(&effects),
        Operation::Timer,
        "the retry would be later"
    );
    let effects = world.after(4).step(Input::Timer(key("a")));
    // A create that was not heard may have taken effect.
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(reason(&effects), Some("DeadlineExceeded"));
    assert!(operations(&effects).is_empty());
}

#[test]
fn the_delete_is_repeated_until_nothing_runs_and_a_delete_of_the_pod_goes_on() {
    let mut world = a_minute();
    world.after(61).step(running("a"));
    let effects = world.step(Input::Deleted(
        key("a"),
        Err(failure(FailureKind::Transient)),
    ));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let accepted = Input::Deleted(key("a"), Ok(Deleted::Accepted(None)));
    assert_eq!(only_operation(&world.step(accepted)), Operation::GetGroup);
    assert_eq!(
        only_operation(&world.step(running("a"))),
        Operation::GetGroup
    );
    let effects = world.step(Input::PodApplied(deleting("a")));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(phase(&effects), Some("Failed"));
}

#[test]
fn looks_that_are_not_for_the_deadline_keep_their_pace() {
    // A slow delete.
    let mut world = a_minute();
    world.after(61).step(running("a"));
    world.step(Input::Deleted(key("a"), Ok(Deleted::Accepted(None))));
    let waits: Vec<Duration> = (0..8)
        .map(|_| wait_of(&world.after(1).step(running("a"))))
        .collect();
    // Each is spread by a tenth, which shows once they no longer grow.
    let grow = |pair: &[Duration]| pair[1].mul_f64(1.1) >= pair[0].mul_f64(0.9);
    assert!(waits.windows(2).all(grow), "{waits:?}");
    assert!(waits[7] > Duration::from_secs(5), "{waits:?}");
    // A pod that has ended.
    let mut world = World::synced();
    let job = pod_with("a", |pod| {
        pod["spec"]["activeDeadlineSeconds"] = json!(60);
        pod["spec"]["restartPolicy"] = json!("Never");
    });
    world.step(Input::PodApplied(job));
    world.step(ensured("a"));
    let failed = || {
        let mut group = group("Terminated", "Succeeded");
        let view = group.properties.containers[0]
            .properties
            .instance_view
            .as_mut();
        view.unwrap().current_state.as_mut().unwrap().exit_code = Some(1);
        group.properties.instance_view.as_mut().unwrap().state = Some("Failed".to_owned());
        Input::Observed(key("a"), Ok(Some(group)))
    };
    let effects = world.step(failed());
    assert_eq!(phase(&effects), Some("Failed"));
    assert!(wait_of(&world.after(61).step(failed())) > Duration::from_secs(30));
}

#[test]
fn one_look_that_fails_is_not_taken_for_one() {
    let mut world = a_minute();
    let failed = || Input::Observed(key("a"), Err(failure(FailureKind::Transient)));
    for _ in 0..2 {
        let effects = world.after(61).step(failed());
        assert_eq!(only_operation(&effects), Operation::GetGroup);
        assert!(wait_of(&effects) > Duration::from_millis(400));
    }
    // It may bill: no more patience.
    assert_eq!(
        only_operation(&world.step(failed())),
        Operation::DeleteGroup
    );
    // That there is nothing is an answer.
    let mut world = World::synced();
    world.step(Input::PodApplied(timed("a", 10, &pending())));
    world.step(ensured("a"));
    world.after(11).step(failed());
    let effects = world.step(Input::Observed(key("a"), Ok(None)));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}
