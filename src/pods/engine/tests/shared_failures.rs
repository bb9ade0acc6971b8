//! Pods that Azure refuses, and what heals them.

use super::*;
use crate::azure::ErrorClass;
use crate::provider::follows;

fn refused(class: ErrorClass) -> Failure {
    let row = follows(class);
    Failure {
        reason: row.reason,
        ..failure(row.kind)
    }
}

/// Creates of `uids` that are all refused for `class`, `times` times each.
fn crowd(uids: &[&str], class: ErrorClass, times: u32) -> World {
    let mut world = World::synced();
    for uid in uids {
        world.step(Input::PodApplied(pod(uid)));
        for _ in 0..times {
            world.step(Input::Created(key(uid), Err(refused(class))));
        }
    }
    world
}

fn retried(effects: &[Effect], but: &str) -> Vec<String> {
    let mut uids: Vec<String> = operations(effects)
        .into_iter()
        .filter(|(uid, operation)| uid != but && matches!(operation, Operation::CreateGroup { .. }))
        .map(|(uid, _)| uid)
        .collect();
    uids.sort();
    uids
}

#[test]
fn what_heals_for_one_is_tried_at_once_for_the_others() {
    let mut world = crowd(&["a", "b", "c", "d"], ErrorClass::Forbidden, 6);
    world.step(Input::PodApplied(pod("x")));
    assert!(
        retried(&world.step(ensured("x")), "x").is_empty(),
        "it was never refused: nothing has healed"
    );
    let effects = world.step(ensured("a"));
    assert_eq!(retried(&effects, "a"), ["b", "c", "d"]);
    for effect in &effects {
        if let Effect::Schedule { after, .. } = effect {
            assert!(*after < Duration::from_secs(1), "{effect:?}");
        }
    }
    assert!(retried(&world.step(ensured("b")), "b").len() == 2);
    assert!(retried(&world.step(ensured("b")), "b").is_empty(), "once");
}

#[test]
fn of_those_that_wait_for_room_some_follow_the_one_that_got_it() {
    let mut world = crowd(&["a", "b", "c", "d"], ErrorClass::Quota, 6);
    assert_eq!(retried(&world.step(ensured("a")), "a"), ["b", "c"]);
    // A group that goes leaves room.
    world.step(running("a"));
    world.step(Input::PodApplied(deleting("a")));
    let effects = world
        .after(1)
        .step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(retried(&effects, "a"), ["b", "c"]);
    // What was refused for another reason has nothing to do with it.
    let mut world = crowd(&["a", "b"], ErrorClass::Policy, 1);
    world.step(Input::PodApplied(pod("q")));
    world.step(Input::Created(key("q"), Err(refused(ErrorClass::Quota))));
    assert_eq!(retried(&world.step(ensured("a")), "a"), ["b"]);
}

#[test]
fn a_crowd_is_refused_no_more_often_than_one_pod() {
    let uids: Vec<String> = (0..60).map(|n| format!("p{n}")).collect();
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    for class in [ErrorClass::Locked, ErrorClass::Quota, ErrorClass::Image] {
        let mut world = crowd(&uids, class, 1);
        let effects = world.step(Input::Created(key("p7"), Err(refused(class))));
        assert!(
            wait_of(&effects) >= Duration::from_secs(60 * 5 * 9 / 10),
            "{class:?}: {:?}",
            wait_of(&effects)
        );
    }
}

#[test]
fn a_role_that_is_taken_away_and_given_back() {
    let mut world = World::synced();
    for uid in ["a", "b"] {
        world.step(Input::PodApplied(pod(uid)));
        world.step(ensured(uid));
        world.step(running(uid));
    }
    let forbidden = || Err(refused(ErrorClass::Forbidden));
    for uid in ["a", "b"] {
        let effects = world.step(Input::Observed(key(uid), forbidden()));
        assert!(written(&effects).is_none(), "what ran goes on");
        assert_eq!(events(&effects), ["AzureForbidden"]);
        assert_eq!(only_operation(&effects), Operation::GetGroup);
    }
    for _ in 0..20 {
        let effects = world.after(60).step(Input::Observed(key("a"), forbidden()));
        assert!(wait_of(&effects) <= Duration::from_secs(66));
    }
    let effects = world.step(running("a"));
    let looked: Vec<_> = operations(&effects);
    assert!(
        looked.contains(&("b".into(), Operation::GetGroup)),
        "{looked:?}"
    );
}

#[test]
fn a_delete_goes_on_when_looks_are_refused() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    world.step(Input::PodApplied(deleting("a")));
    world.step(Input::Deleted(key("a"), Ok(Deleted::Accepted(None))));
    // The resource group has gone meanwhile: only the delete says that nothing is left.
    let gone = refused(ErrorClass::ResourceGroupNotFound);
    let effects = world.step(Input::Observed(key("a"), Err(gone)));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert!(written(&effects).is_some(), "the last status");
}

#[test]
fn a_lasting_trouble_is_told_again_before_its_event_expires() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    world.step(Input::PodApplied(deleting("a")));
    let mut told = Vec::new();
    for minute in 0..125 {
        let locked = refused(ErrorClass::Locked);
        let effects = world.step(Input::Deleted(key("a"), Err(locked)));
        assert_eq!(only_operation(&effects), Operation::DeleteGroup);
        if events(&effects) == ["AzureLocked"] {
            told.push(minute);
        }
        world.after(60);
    }
    assert_eq!(told, [0, 50, 100]);
}

#[test]
fn what_passes_is_told_only_when_it_does_not() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    world.step(Input::PodApplied(deleting("a")));
    let mut told = 0;
    for attempt in 1..=8 {
        let busy = refused(ErrorClass::Transitioning);
        let effects = world.after(10).step(Input::Deleted(key("a"), Err(busy)));
        told += events(&effects).len();
        assert_eq!(told, usize::from(attempt >= 5));
    }
}
