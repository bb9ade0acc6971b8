//! Pods that are changed while they run.

use super::*;

/// The pod `a` in its second generation, changed so; `status` is what the API server has.
fn changed(status: &serde_json::Value, change: fn(&mut serde_json::Value)) -> Input {
    Input::PodApplied(pod_with("a", |pod| {
        pod["metadata"]["generation"] = json!(2);
        pod["status"] = status.clone();
        change(pod);
    }))
}

fn new_image(pod: &mut serde_json::Value) {
    pod["spec"]["containers"][0]["image"] = json!("nginx:2");
}

/// What the API server has when `effects` were carried out.
fn echo(effects: &[Effect]) -> serde_json::Value {
    serde_json::to_value(written(effects).unwrap().0).unwrap()
}

#[test]
fn a_new_image_of_a_running_pod_is_ignored_and_said_to_be() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let status = echo(&world.step(running("a")));
    let effects = world.step(changed(&status, new_image));
    assert_eq!(events(&effects), ["ImageChangeIgnored"]);
    assert!(operations(&effects).is_empty());
    let Some(Effect::Emit(event)) = effects.first() else {
        panic!("{effects:?}")
    };
    assert!(
        event.warning && event.message.contains("nginx:2"),
        "{event:?}"
    );
    // It is shown as it is.
    let effects = world.after(5).step(running("a"));
    let shown = &written(&effects).unwrap().0.container_statuses;
    assert_eq!(shown.as_ref().unwrap()[0].image, "nginx");
    // Once.
    let status = echo(&effects);
    assert!(events(&world.step(changed(&status, new_image))).is_empty());
}

#[test]
fn a_pod_of_which_nothing_has_started_is_made_anew_with_its_new_image() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let status = echo(&world.step(ensured("a")));
    let effects = world.step(changed(&status, new_image));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    assert!(events(&effects).is_empty());
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(only_operation(&effects), create(true));
}

#[test]
fn a_change_while_the_create_fails_is_tried_at_once() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(Input::Created(key("a"), Err(failure(FailureKind::Image))));
    assert!(wait_of(&effects) >= Duration::from_secs(4));
    let effects = world.step(changed(&echo(&effects), new_image));
    assert_eq!(only_operation(&effects), create(true));
    assert_eq!(wait_of(&effects), Duration::ZERO);
}

#[test]
fn an_ephemeral_container_is_said_to_be_impossible() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let status = echo(&world.step(running("a")));
    let effects = world.step(changed(&status, |pod| {
        pod["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "busybox"}]);
    }));
    assert_eq!(events(&effects), ["EphemeralContainerIgnored"]);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert_eq!(wait_of(&effects), Duration::ZERO);
    let effects = world.step(running("a"));
    let (status, _) = written(&effects).unwrap();
    let shown = &status.ephemeral_container_statuses.as_ref().unwrap()[0];
    let end = shown.state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((shown.name.as_str(), end.exit_code), ("debug", 128));
    assert!(end.message.as_ref().unwrap().contains("kubectl exec"));
    assert!(written(&world.step(running("a"))).is_none(), "once");
}

#[test]
fn what_has_no_effect_is_not_talked_about() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let status = echo(&world.step(running("a")));
    let effects = world.step(changed(&status, |pod| {
        pod["metadata"]["labels"] = json!({"a": "b"});
        pod["metadata"]["annotations"] = json!({"a": "b"});
        pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    }));
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn a_running_pod_in_doubt_is_looked_at_now_and_no_other_is() {
    let mut world = World::synced();
    let doubt = || Input::Refresh(key("a"));
    assert!(world.step(doubt()).is_empty(), "nobody knows it");
    world.step(Input::PodApplied(pod("a")));
    assert!(world.step(doubt()).is_empty(), "its create is on its way");
    world.step(ensured("a"));
    world.step(running("a"));
    let effects = world.step(doubt());
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert!(matches!(effects[..], [Effect::Schedule { after, .. }] if after.is_zero()));
    world.step(Input::PodApplied(deleting("a")));
    assert!(world.step(doubt()).is_empty(), "it is on its way out");
}
