//! Answers that come after something else has happened to their pod.

use super::*;

/// A world with the running pod `a`, whose next look is on its way.
fn looking() -> World {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    assert_eq!(world.begin("a"), Operation::GetGroup);
    world
}

#[test]
fn a_look_that_ends_late_does_not_take_the_place_of_the_delete() {
    let mut world = looking();
    let effects = world.step(Input::PodApplied(deleting("a")));
    assert!(operations(&effects).is_empty(), "one at a time");
    let effects = world.step(running("a"));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    assert_eq!(wait_of(&effects), Duration::ZERO);
}

#[test]
fn a_look_that_ends_late_does_not_take_the_place_of_the_live_get() {
    let mut world = looking();
    let effects = world.step(Input::PodGone(key("a")));
    assert!(operations(&effects).is_empty(), "one at a time");
    let effects = world.step(running("a"));
    assert_eq!(only_operation(&effects), Operation::GetPod);
    for _ in 0..8 {
        let next = operations(&world.step(running("a")));
        assert!(
            next.iter()
                .all(|(_, operation)| *operation != Operation::DeleteGroup),
            "deleted without a live GET"
        );
    }
}

#[test]
fn a_look_that_fails_late_does_not_delay_the_delete() {
    let mut world = looking();
    world.step(Input::PodApplied(deleting("a")));
    let throttled = Failure {
        retry_after: Some(Duration::from_secs(60)),
        ..failure(FailureKind::Transient)
    };
    let effects = world.step(Input::Observed(key("a"), Err(throttled)));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    assert_eq!(wait_of(&effects), Duration::ZERO);
}

#[test]
fn a_group_that_is_made_while_its_pod_is_away_and_back_is_not_made_again() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    assert_eq!(world.begin("a"), create(false));
    world.step(Input::PodGone(key("a")));
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(ensured("a"));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn a_suspended_node_does_not_go_on_creating_what_failed() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::Created(key("a"), Err(failure(FailureKind::Slow))));
    world.step(Input::Suspended(true));
    let effects = world.step(Input::Timer(key("a")));
    assert!(operations(&effects).is_empty(), "{effects:?}");
    // Nor what failed to be provisioned.
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(Input::Observed(
        key("a"),
        Ok(Some(group("Pending", "Failed"))),
    ));
    world.step(Input::Suspended(true));
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert!(operations(&effects).is_empty(), "{effects:?}");
    assert_eq!(
        only_operation(&world.step(Input::Suspended(false))),
        create(true)
    );
}

#[test]
fn a_pod_that_goes_while_its_create_waits_for_a_turn_leaves_nothing() {
    let queued = Failure {
        retry_after: Some(Duration::from_secs(290)),
        ..failure(FailureKind::Queued)
    };
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::Created(key("a"), Err(queued)));
    world.step(Input::PodApplied(deleting("a")));
    world.step(Input::PodGone(key("a")));
    world.step(Input::Timer(key("a")));
    assert_eq!(
        (world.engine.counts().groups, world.engine.counts().orphans),
        (0, 0)
    );
}

#[test]
fn a_404_after_a_create_of_unknown_outcome_is_believed_the_second_time() {
    let unheard = || Input::Created(key("a"), Err(failure(FailureKind::Uncertain)));
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(unheard());
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(5).step(Input::Observed(key("a"), Ok(None)));
    assert_eq!(
        only_operation(&effects),
        create(true),
        "and another look first"
    );
    assert!(wait_of(&effects) >= Duration::from_secs(4));

    // The group is there after all: nothing is made again.
    world.after(10).step(unheard());
    let effects = world.after(5).step(running("a"));
    assert_eq!(phase(&effects), Some("Running"));
    assert!(!operations(&effects).contains(&("a".into(), create(true))));
}
