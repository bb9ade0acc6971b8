//! Groups of pods that have ended.

use super::*;

fn job(policy: &str) -> Box<PodFacts> {
    pod_with("a", |pod| pod["spec"]["restartPolicy"] = json!(policy))
}

/// The group of a container that ended with `code` and, when `again`, was started anew by the platform.
fn after_end(code: i32, again: bool, state: &str) -> Input {
    let mut group = group("Terminated", "Succeeded");
    let view = group.properties.instance_view.as_mut().unwrap();
    view.state = Some(state.to_owned());
    let container = &mut group.properties.containers[0].properties;
    let view = container.instance_view.as_mut().unwrap();
    view.current_state.as_mut().unwrap().exit_code = Some(code);
    if again {
        view.previous_state = view.current_state.take();
        view.current_state = serde_json::from_value(json!({"state": "Running"})).unwrap();
        view.restart_count = Some(1);
    }
    Input::Observed(key("a"), Ok(Some(group)))
}

/// A world with a pod that has just ended so, and what followed.
fn ended(policy: &str, code: i32) -> (World, Vec<Effect>) {
    let mut world = World::synced();
    world.step(Input::PodApplied(job(policy)));
    world.step(ensured("a"));
    let state = if code == 0 { "Succeeded" } else { "Failed" };
    let effects = world.step(after_end(code, false, state));
    (world, effects)
}

fn stopped(world: &mut World) -> Vec<Effect> {
    world.step(Input::Stopped(key("a"), Ok(())))
}

#[test]
fn what_succeeded_costs_no_call() {
    for policy in ["Never", "OnFailure"] {
        let (_, effects) = ended(policy, 0);
        assert_eq!(phase(&effects), Some("Succeeded"));
        assert!(operations(&effects).is_empty(), "{policy}");
    }
}

#[test]
fn what_failed_for_good_is_looked_at_more_and_more_rarely() {
    let (mut world, mut effects) = ended("Never", 3);
    assert_eq!(phase(&effects), Some("Failed"));
    let mut last = Duration::ZERO;
    for look in 0..9 {
        assert_eq!(only_operation(&effects), Operation::GetGroup);
        let wait = wait_of(&effects);
        assert!(
            wait > last || wait > Duration::from_secs(800),
            "look {look}: {wait:?}"
        );
        last = wait;
        effects = world
            .after(wait.as_secs())
            .step(after_end(3, false, "Failed"));
        assert!(written(&effects).is_none());
    }
}

#[test]
fn a_restart_by_the_platform_is_stopped_and_does_not_change_the_pod() {
    let (mut world, effects) = ended("Never", 3);
    let (_, digest) = written(&effects).unwrap();
    world.step(Input::StatusWritten(key("a"), digest));
    let effects = world.after(20).step(after_end(3, true, "Running"));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
    assert!(written(&effects).is_none());
    let failed = Err(failure(FailureKind::Transitioning));
    let effects = world.step(Input::Stopped(key("a"), failed));
    assert_eq!(only_operation(&effects), Operation::StopGroup, "again");
    assert!(wait_of(&effects) >= Duration::from_secs(9));
    assert_eq!(only_operation(&stopped(&mut world)), Operation::GetGroup);
    let effects = world.step(after_end(3, true, "Stopped"));
    assert!(
        effects.is_empty(),
        "a stopped group costs nothing: {effects:?}"
    );
}

#[test]
fn what_still_runs_is_stopped_once_the_end_is_on_record() {
    let mut world = World::synced();
    world.step(Input::PodApplied(job("Never")));
    world.step(ensured("a"));
    // Nobody saw the end before the platform started the container again.
    let effects = world.step(after_end(3, true, "Running"));
    let (status, digest) = written(&effects).unwrap();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert!(operations(&effects).is_empty(), "the end is not safe yet");
    let effects = world.step(Input::StatusWritten(key("a"), digest));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
    let effects = world.step(Input::StatusWritten(key("a"), digest));
    assert!(operations(&effects).is_empty(), "once");
    // Or somebody else writes, so that our word is not the last.
    let mut world = World::synced();
    world.step(Input::PodApplied(job("Never")));
    world.step(ensured("a"));
    world.step(after_end(3, true, "Running"));
    let foreign = pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["status"] = json!({"phase": "Failed", "reason": "Other"});
    });
    let effects = world.step(Input::PodApplied(foreign));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
}

#[test]
fn a_pod_that_somebody_else_failed_is_stopped() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let effects = world.step(running("a"));
    let mut ours = serde_json::to_value(written(&effects).unwrap().0).unwrap();
    ours["phase"] = json!("Failed");
    ours["reason"] = json!("Evicted");
    let evicted = pod_with("a", |pod| pod["status"] = ours);
    let effects = world.step(Input::PodApplied(evicted));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.step(running("a"));
    let digest = written(&effects).map(|(_, digest)| digest).unwrap();
    let effects = world.step(Input::StatusWritten(key("a"), digest));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
}

#[test]
fn a_stopped_group_is_left_alone() {
    let (_, effects) = {
        let mut world = World::synced();
        world.step(Input::PodApplied(job("Never")));
        world.step(ensured("a"));
        let effects = world.step(after_end(3, false, "Stopped"));
        (world, effects)
    };
    assert_eq!(phase(&effects), Some("Failed"));
    assert!(operations(&effects).is_empty());
}

#[test]
fn after_a_restart_only_what_may_run_again_is_looked_at() {
    for (policy, phase, looks) in [
        ("Never", "Failed", 1),
        ("Never", "Succeeded", 0),
        ("OnFailure", "Succeeded", 0),
    ] {
        let mut world = World::new();
        world.step(Input::PodApplied(pod_with("a", |pod| {
            pod["spec"]["restartPolicy"] = json!(policy);
            pod["status"]["phase"] = json!(phase);
        })));
        world.step(Input::PodsSynced);
        let effects = world.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
        let operations = operations(&effects);
        assert_eq!(operations.len(), looks, "{policy} {phase}");
        if looks > 0 {
            assert!(wait_of(&effects) >= Duration::from_secs(15));
        }
    }
}

#[test]
fn an_init_container_that_fails_is_not_run_again_where_the_pod_says_never() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["initContainers"] = json!([{"name": "first", "image": "busybox"}]);
    })));
    world.step(ensured("a"));
    let mut failed = group("Waiting", "Failed");
    failed.properties.restart_policy = Some("Never".to_owned());
    failed.properties.init_containers = serde_json::from_value(json!([
        {"name": "first", "properties": {"image": "busybox", "instanceView": {
            "restartCount": 0, "currentState": {"state": "Terminated", "exitCode": 1}}}},
    ]))
    .unwrap();
    let effects = world.step(Input::Observed(key("a"), Ok(Some(failed))));
    assert_eq!(phase(&effects), Some("Failed"));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}
