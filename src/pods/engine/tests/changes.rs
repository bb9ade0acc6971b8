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

/// The group of the pod, made with `image`, whose only container runs since so many seconds.
fn runs(image: &str, since: i64) -> Input {
    let mut shown = group("Running", "Succeeded");
    shown.tags.insert("vkc-image".to_owned(), image.to_owned());
    let container = &mut shown.properties.containers[0].properties;
    image.clone_into(&mut container.image);
    let start = Timestamp::from_second(START + since).unwrap().to_string();
    let view = json!({"restartCount": 0, "currentState": {"state": "Running", "startTime": start}});
    container.instance_view = Some(serde_json::from_value(view).unwrap());
    Input::Observed(key("a"), Ok(Some(shown)))
}

/// A world with the running pod, and what the API server has of it.
fn with_image() -> (World, serde_json::Value) {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let status = echo(&world.step(runs("nginx", 0)));
    (world, status)
}

fn exchanged(adopted: bool) -> Input {
    let ensured = Ensured {
        group: group("Pending", "Pending"),
        adopted,
        notes: Vec::new(),
    };
    Input::ImageExchanged(key("a"), Ok(Some(ensured)))
}

#[test]
fn a_new_image_of_the_only_container_is_put_once_and_counts_as_a_restart() {
    let (mut world, status) = with_image();
    let effects = world.step(changed(&status, new_image));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert_eq!(wait_of(&effects), Duration::ZERO);
    let effects = world.step(runs("nginx", 0));
    assert_eq!(only_operation(&effects), Operation::ExchangeImage);
    assert_eq!(world.begin("a"), Operation::ExchangeImage);
    let effects = world.step(exchanged(false));
    assert_eq!(events(&effects), ["Killing"]);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(5).step(runs("nginx:2", 3));
    assert_eq!(shown(&effects), ("nginx:2".to_owned(), 1));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert!(events(&effects).is_empty());
}

/// Image and `restartCount` in the status that is written.
fn shown(effects: &[Effect]) -> (String, i32) {
    let (status, _) = written(effects).unwrap();
    let shown = &status.container_statuses.as_ref().unwrap()[0];
    (shown.image.clone(), shown.restart_count)
}

#[test]
fn a_restart_for_an_image_counts_once_whatever_azure_shows_meanwhile() {
    let put = || {
        let (mut world, status) = with_image();
        world.step(changed(&status, new_image));
        world.step(runs("nginx", 0));
        assert_eq!(world.begin("a"), Operation::ExchangeImage);
        world.step(exchanged(false));
        world
    };
    // Within the second in which the run before began.
    let mut world = put();
    let effects = world.step(runs("nginx:2", 0));
    assert_eq!(shown(&effects), ("nginx:2".to_owned(), 1));
    assert!(written(&world.step(runs("nginx:2", 0))).is_none());
    // The run before, while Azure is not done.
    let mut world = put();
    let mut old = runs("nginx:2", 0);
    if let Input::Observed(_, Ok(Some(group))) = &mut old {
        group.properties.provisioning_state = Some("Pending".to_owned());
    }
    let effects = world.step(old);
    assert_eq!(shown(&effects), ("nginx:2".to_owned(), 0));
    let effects = world.after(9).step(runs("nginx:2", 8));
    assert_eq!(shown(&effects), ("nginx:2".to_owned(), 1));
}

#[test]
fn whoever_goes_on_after_a_restart_finds_a_new_image_and_puts_none_twice() {
    for (made_with, next) in [
        ("nginx", Operation::ExchangeImage),
        ("nginx:2", Operation::GetGroup),
    ] {
        let (_, status) = with_image();
        let mut world = World::new();
        world.step(changed(&status, new_image));
        world.step(Input::PodsSynced);
        world.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
        let effects = world.step(runs(made_with, 0));
        assert_eq!(only_operation(&effects), next, "{made_with}");
    }
    // The answer was lost; the group is looked at before another try.
    let (mut world, status) = with_image();
    world.step(changed(&status, new_image));
    world.step(runs("nginx", 0));
    assert_eq!(world.begin("a"), Operation::ExchangeImage);
    let lost = Input::ImageExchanged(key("a"), Err(failure(FailureKind::Uncertain)));
    let effects = world.step(lost);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert!(events(&effects).is_empty());
    let effects = world.step(runs("nginx:2", 3));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn an_image_that_azure_refuses_is_told_and_tried_less_and_less_while_the_pod_is_looked_after() {
    let (mut world, status) = with_image();
    world.step(changed(&status, new_image));
    world.step(runs("nginx", 0));
    assert_eq!(world.begin("a"), Operation::ExchangeImage);
    let refused = || Input::ImageExchanged(key("a"), Err(failure(FailureKind::Invalid)));
    let effects = world.step(refused());
    assert_eq!(events(&effects).len(), 1);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.step(runs("nginx", 0));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(20).step(runs("nginx", 0));
    assert_eq!(only_operation(&effects), Operation::ExchangeImage);
    assert_eq!(world.begin("a"), Operation::ExchangeImage);
    assert!(events(&world.step(refused())).is_empty(), "once");
    // The old image again: there is nothing to do.
    let old = |pod: &mut serde_json::Value| pod["metadata"]["generation"] = json!(3);
    world.step(changed(&status, old));
    let effects = world.after(600).step(runs("nginx", 0));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn several_containers_and_what_runs_once_keep_their_images() {
    let several = |pod: &mut serde_json::Value| {
        pod["spec"]["containers"] =
            json!([{"name": "web", "image": "nginx:2"}, {"name": "other", "image": "i"}]);
    };
    let once = |pod: &mut serde_json::Value| {
        pod["spec"]["restartPolicy"] = json!("OnFailure");
        new_image(pod);
    };
    let before = |change: fn(&mut serde_json::Value)| {
        pod_with("a", |pod| {
            change(pod);
            pod["spec"]["containers"][0]["image"] = json!("nginx");
        })
    };
    for change in [several as fn(&mut serde_json::Value), once] {
        let mut world = World::synced();
        world.step(Input::PodApplied(before(change)));
        world.step(ensured("a"));
        let status = echo(&world.step(runs("nginx", 0)));
        let effects = world.step(changed(&status, change));
        assert_eq!(events(&effects), ["ImageChangeIgnored"]);
        let effects = world.step(runs("nginx", 0));
        assert_eq!(only_operation(&effects), Operation::GetGroup);
    }
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
