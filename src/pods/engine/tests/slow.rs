//! What takes long in Azure, or never ends.

use super::*;

/// A look at a group on its way, some time after it was made.
fn still_creating(world: &mut World, after: u64) -> Vec<Effect> {
    let creating = group("Pending", "Creating");
    world
        .after(after)
        .step(Input::Observed(key("a"), Ok(Some(creating))))
}

fn waiting(effects: &[Effect]) -> Option<(String, String)> {
    let (status, _) = written(effects)?;
    let state = status.container_statuses.as_ref()?.first()?.state.clone()?;
    let waiting = state.waiting?;
    Some((waiting.reason?, waiting.message.unwrap_or_default()))
}

#[test]
fn provisioning_that_never_ends_is_said_and_costs_little() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    assert!(waiting(&still_creating(&mut world, 599)).is_none());
    let effects = still_creating(&mut world, 2);
    let (reason, message) = waiting(&effects).unwrap();
    assert_eq!(reason, "AciProvisioningSlow");
    // 1,800,000,000 s of the epoch.
    assert!(message.contains("since 2027-01-15T08:00:00Z"), "{message}");
    assert_eq!(phase(&effects), Some("Pending"));
    assert_eq!(events(&effects), ["AciProvisioningSlow"]);
    let mut looks = 0;
    let mut seconds = 0;
    while seconds < 3600 {
        let effects = still_creating(&mut world, 0);
        assert!(written(&effects).is_none(), "it is written once");
        assert_eq!(
            only_operation(&effects),
            Operation::GetGroup,
            "no end of it"
        );
        let wait = wait_of(&effects).as_secs();
        world.after(wait);
        seconds += wait;
        looks += 1;
    }
    assert!(looks < 150, "{looks} looks in an hour");
    assert_eq!(phase(&world.step(running("a"))), Some("Running"));
}

/// A world with a group of pod `a`, which has an init container.
fn with_init_container() -> World {
    let mut world = World::synced();
    let with_init = pod_with("a", |pod| {
        pod["spec"]["initContainers"] = json!([{"name": "first", "image": "busybox"}]);
    });
    world.step(Input::PodApplied(with_init));
    world.step(ensured("a"));
    world
}

#[test]
fn a_long_init_container_is_no_slow_provisioning() {
    let mut world = with_init_container();
    let mut creating = group("Pending", "Creating");
    creating.properties.init_containers = serde_json::from_value(json!([
        {"name": "first", "properties": {"image": "busybox", "instanceView":
            {"restartCount": 0, "currentState": {"state": "Running", "startTime": "2027-01-15T08:00:00Z"}}}}
    ]))
    .unwrap();
    let effects = world
        .after(1200)
        .step(Input::Observed(key("a"), Ok(Some(creating))));
    assert_eq!(waiting(&effects).unwrap().0, "PodInitializing");
    assert!(events(&effects).is_empty());
}

#[test]
fn an_init_container_that_fails_for_long_is_no_slow_provisioning() {
    let mut world = with_init_container();
    let mut creating = group("Pending", "Creating");
    let view = json!({
        "restartCount": 9,
        "previousState": {"state": "Terminated", "exitCode": 7, "startTime": "2027-01-15T08:00:00Z",
                          "finishTime": "2027-01-15T08:00:01Z"},
        "currentState": {"state": "Waiting", "detailStatus": "CrashLoopBackOff: Back-off 5m0s restarting failed"},
    });
    creating.properties.init_containers = serde_json::from_value(json!([
        {"name": "first", "properties": {"image": "busybox", "instanceView": view}}
    ]))
    .unwrap();
    let effects = world
        .after(1200)
        .step(Input::Observed(key("a"), Ok(Some(creating))));
    let (status, _) = written(&effects).unwrap();
    let first = &status.init_container_statuses.as_ref().unwrap()[0];
    let state = first.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(state.reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(waiting(&effects).unwrap().0, "PodInitializing");
    assert!(events(&effects).is_empty());
}

#[test]
fn a_group_that_is_never_provisioned_is_made_less_and_less_often() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.step(ensured("a"));
        let failed = Ok(Some(group("Pending", "Failed")));
        let effects = world.after(1).step(Input::Observed(key("a"), failed));
        assert_eq!(only_operation(&effects), Operation::DeleteGroup);
        assert!(effects.contains(&Effect::Unprovisioned("ProvisioningFailed")));
        let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
        assert_eq!(only_operation(&effects), create(true));
        waits.push(wait_of(&effects).as_secs_f64());
    }
    for (wait, expected) in waits.iter().zip([5, 8, 16, 32, 64, 128, 256, 300, 300]) {
        let expected = f64::from(expected);
        assert!((wait - expected).abs() <= expected * 0.11, "{waits:?}");
    }
    // Once it has run, it is new.
    world.step(ensured("a"));
    world.step(running("a"));
    let failed = Ok(Some(group("Pending", "Failed")));
    world.step(Input::Observed(key("a"), failed));
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert!(wait_of(&effects) < Duration::from_secs(6));
}

#[test]
fn what_starts_late_while_its_delete_fails_is_not_run_a_second_time() {
    for kind in [FailureKind::Transient, FailureKind::Queued] {
        let mut world = World::synced();
        let once = pod_with("a", |pod| pod["spec"]["restartPolicy"] = json!("Never"));
        world.step(Input::PodApplied(once));
        world.step(ensured("a"));
        let failed = || Input::Observed(key("a"), Ok(Some(group("Pending", "Failed"))));
        let throttled = || Input::Deleted(key("a"), Err(failure(kind)));
        assert_eq!(
            only_operation(&world.step(failed())),
            Operation::DeleteGroup
        );
        // It is as it was: the delete goes on.
        let effects = world.step(throttled());
        assert_eq!(only_operation(&effects), Operation::GetGroup, "{kind:?}");
        assert_eq!(
            only_operation(&world.after(5).step(failed())),
            Operation::DeleteGroup
        );
        world.step(throttled());
        let effects = world.after(5).step(running("a"));
        assert_eq!(phase(&effects), Some("Running"), "{kind:?}");
        assert_eq!(only_operation(&effects), Operation::GetGroup);
    }
}

/// A group whose provisioning has failed is deleted, and the answer says that it had started after all.
fn started_before_its_delete(policy: &str) -> (World, Vec<Effect>) {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!(policy);
    })));
    world.step(ensured("a"));
    let failed = Input::Observed(key("a"), Ok(Some(group("Pending", "Failed"))));
    assert_eq!(only_operation(&world.step(failed)), Operation::DeleteGroup);
    let Input::Observed(_, Ok(last)) = running("a") else {
        panic!("a group that runs");
    };
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Accepted(last))));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(1).step(Input::Observed(key("a"), Ok(None)));
    (world, effects)
}

#[test]
fn what_starts_between_the_last_look_and_the_delete_is_not_run_a_second_time() {
    for policy in ["Never", "OnFailure"] {
        let (_, effects) = started_before_its_delete(policy);
        let (status, _) = written(&effects).unwrap();
        assert_eq!(status.phase.as_deref(), Some("Failed"), "{policy}");
        assert_eq!(status.reason.as_deref(), Some("ProvisioningFailed"));
        let message = status.message.as_deref().unwrap();
        assert!(message.contains("after it had given it up"), "{message}");
        assert_eq!(events(&effects), ["ProvisioningFailed"]);
        assert!(operations(&effects).is_empty(), "{policy}: {effects:?}");
    }
}

#[test]
fn what_is_to_be_restarted_is_made_again_when_it_started_late() {
    let (_, effects) = started_before_its_delete("Always");
    assert_eq!(only_operation(&effects), create(true));
}

#[test]
fn a_delete_that_never_ends_is_said_and_costs_little() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    let mut effects = world.step(Input::PodApplied(deleting("a")));
    let (mut deletes, mut looks, mut told) = (0, 0, 0);
    let end = world.mono + Duration::from_secs(3600);
    while world.mono < end {
        told += events(&effects).len();
        let last = only_operation(&effects[effects.len() - 1..]);
        let input = if last == Operation::DeleteGroup {
            deletes += 1;
            Input::Deleted(key("a"), Ok(Deleted::Accepted(None)))
        } else {
            looks += 1;
            Input::Observed(key("a"), Ok(Some(group("Running", "Deleting"))))
        };
        world.mono += wait_of(&effects);
        effects = world.step(input);
    }
    assert!((5..=8).contains(&deletes), "{deletes} deletes in an hour");
    assert!((60..100).contains(&looks), "{looks} looks in an hour");
    assert!((1..=2).contains(&told), "told {told} times");
}

#[test]
fn a_create_that_meets_a_running_operation_looks_before_it_is_sent_again() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let busy = failure(FailureKind::Transitioning);
    let effects = world.step(Input::Created(key("a"), Err(busy)));
    assert_eq!(
        only_operation(&effects),
        Operation::GetGroup,
        "a second PUT would restart the containers of a group that is there"
    );
    assert!(wait_of(&effects) >= Duration::from_secs(9));
}
