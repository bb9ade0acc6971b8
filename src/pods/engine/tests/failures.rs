//! What Azure refuses, loses and cannot do.

use super::*;
use crate::translate::ContainerFault;

/// A pod that must not run twice.
fn once(uid: &str) -> Box<PodFacts> {
    pod_with(uid, |pod| pod["spec"]["restartPolicy"] = json!("Never"))
}

#[test]
fn a_failed_list_decides_nothing_and_is_repeated() {
    let mut world = World::new();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::PodsSynced);
    let effects = world.step(Input::GroupsListed(Err(failure(FailureKind::Transient))));
    assert!(operations(&effects).is_empty());
    assert!(matches!(effects[..], [Effect::List { .. }]));
    assert!(!world.engine.is_synced());
}

#[test]
fn an_uncertain_create_looks_before_it_creates_again() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(Input::Created(
        key("a"),
        Err(failure(FailureKind::Uncertain)),
    ));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert_eq!(phase(&effects), Some("Pending"));
    assert_eq!(events(&effects), ["Test"]);
    let effects = world.step(Input::Observed(
        key("a"),
        Err(failure(FailureKind::Transient)),
    ));
    assert_eq!(
        only_operation(&effects),
        Operation::GetGroup,
        "uncertainty stays until resolved"
    );
    let effects = world.after(5).step(Input::Observed(key("a"), Ok(None)));
    assert_eq!(only_operation(&effects), create(true), "and then once more");
    assert!(events(&effects).is_empty(), "the same trouble is told once");
}

#[test]
fn what_a_kubelet_would_not_start_either_is_told_as_it_tells_it() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let message = "secret \"login\" not found";
    let fault = ContainerFault {
        init: false,
        index: 0,
        reason: "CreateContainerConfigError",
        message: message.to_owned(),
    };
    let failure = Failure {
        reason: "CreateContainerConfigError",
        message: message.to_owned(),
        faults: Some(vec![fault]),
        ..failure(FailureKind::Reference)
    };
    let effects = world.step(Input::Created(key("a"), Err(failure.clone())));
    let (status, _) = written(&effects).unwrap();
    let state = status.container_statuses.as_ref().unwrap()[0].state.clone();
    let waiting = state.unwrap().waiting.unwrap();
    assert_eq!(
        waiting.reason.as_deref(),
        Some("CreateContainerConfigError")
    );
    assert_eq!(waiting.message.as_deref(), Some(message));
    assert_eq!(events(&effects), ["Failed"]);
    assert!(effects.iter().any(
        |effect| matches!(effect, Effect::Emit(event) if event.message == format!("Error: {message}"))
    ));
    // A volume that cannot be mounted is no container's fault.
    let mount = Failure {
        reason: "FailedMount",
        faults: Some(Vec::new()),
        ..failure
    };
    let effects = world.step(Input::Created(key("a"), Err(mount)));
    let (status, _) = written(&effects).unwrap();
    let state = status.container_statuses.as_ref().unwrap()[0].state.clone();
    let waiting = state.unwrap().waiting.unwrap();
    assert_eq!(
        (waiting.reason.as_deref(), waiting.message),
        (Some("ContainerCreating"), None)
    );
    assert_eq!(events(&effects), ["FailedMount"]);
}

#[test]
fn a_refused_pod_stays_pending_with_one_event_and_no_call() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(Input::Created(key("a"), Err(failure(FailureKind::Refused))));
    assert_eq!(
        (phase(&effects), events(&effects)),
        (Some("Pending"), vec!["Test"])
    );
    assert!(operations(&effects).is_empty());
    assert!(operations(&world.step(Input::PodApplied(pod("a")))).is_empty());
    let changed = pod_with("a", |pod| pod["metadata"]["generation"] = json!(2));
    assert_eq!(
        only_operation(&world.step(Input::PodApplied(changed))),
        create(false)
    );
    world.step(Input::Created(key("a"), Err(failure(FailureKind::Refused))));
    assert_eq!(
        only_operation(&world.step(Input::PodApplied(deleting("a")))),
        Operation::DeletePod
    );
}

#[test]
fn a_group_that_failed_to_provision_is_deleted_and_made_again() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let effects = world.step(Input::Observed(
        key("a"),
        Ok(Some(group("Pending", "Failed"))),
    ));
    assert_eq!(
        (phase(&effects), only_operation(&effects)),
        (Some("Pending"), Operation::DeleteGroup)
    );
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(only_operation(&effects), create(true));
    assert!(wait_of(&effects) >= Duration::from_secs(4));
}

#[test]
fn a_group_deleted_by_somebody_else_fails_the_pod_once() {
    let mut world = World::synced();
    world.step(Input::PodApplied(once("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    let gone = || Input::Observed(key("a"), Ok(None));
    // ARM's first word is not its last.
    let effects = world.step(gone());
    assert_eq!((phase(&effects), events(&effects)), (None, vec![]));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let wait = wait_of(&effects).as_secs_f64();
    assert!((4.5..5.5).contains(&wait), "{wait}");
    world.after(5).step(running("a"));
    world.step(gone());
    let effects = world.after(5).step(gone());
    assert_eq!(
        (phase(&effects), events(&effects)),
        (Some("Failed"), vec!["ContainerGroupDeleted"])
    );
    assert!(operations(&effects).is_empty());
}

#[test]
fn a_group_may_appear_a_little_after_its_create() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    assert_eq!(
        only_operation(&world.step(Input::Observed(key("a"), Ok(None)))),
        Operation::GetGroup
    );
    let effects = world.after(31).step(Input::Observed(key("a"), Ok(None)));
    assert_eq!(only_operation(&effects), create(true));
}

#[test]
fn an_error_of_one_look_delays_that_pod_alone() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    let throttled = Failure {
        retry_after: Some(Duration::from_secs(20)),
        ..failure(FailureKind::Transient)
    };
    let effects = world.step(Input::Observed(key("a"), Err(throttled)));
    assert!(written(&effects).is_none());
    assert!(wait_of(&effects) >= Duration::from_secs(18));
}

#[test]
fn a_refused_pod_is_tried_again_when_its_connector_was_edited() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::Created(key("a"), Err(failure(FailureKind::Refused))));
    let effects = world.step(Input::Edited);
    assert_eq!(only_operation(&effects), create(false));
    assert!(operations(&world.step(Input::Edited)).is_empty());
}

#[test]
fn a_pod_that_no_kubelet_admits_fails_at_once_and_for_good() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(Input::Created(
        key("a"),
        Err(failure(FailureKind::Rejected)),
    ));
    let (status, _) = written(&effects).unwrap();
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref()),
        (Some("Failed"), Some("Test"))
    );
    assert_eq!(events(&effects), ["Test"]);
    assert!(operations(&effects).is_empty());
    let changed = pod_with("a", |pod| pod["metadata"]["generation"] = json!(2));
    assert!(operations(&world.step(Input::PodApplied(changed))).is_empty());
}
