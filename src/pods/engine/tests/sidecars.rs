//! Pods that end and have sidecars.

use super::*;

fn job() -> Box<PodFacts> {
    pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["initContainers"] =
            json!([{"name": "proxy", "image": "p", "restartPolicy": "Always"}]);
    })
}

fn container(name: &str, code: Option<i32>) -> serde_json::Value {
    let state = match code {
        Some(code) => {
            json!({"state": "Terminated", "exitCode": code, "startTime": "2027-01-15T08:00:00Z",
                   "finishTime": "2027-01-15T08:00:01Z"})
        }
        None => json!({"state": "Running", "startTime": "2027-01-15T08:00:00Z"}),
    };
    json!({"name": name, "properties": {"image": "i", "instanceView": {
        "restartCount": 0, "currentState": state}}})
}

/// The group whose container and sidecar have ended so, or run.
fn shows(web: Option<i32>, proxy: Option<i32>) -> Input {
    let mut shown = group("Running", "Succeeded");
    shown.properties.containers =
        serde_json::from_value(json!([container("web", web), container("proxy", proxy)])).unwrap();
    let state = match (web, proxy) {
        (Some(0), Some(0)) => "Succeeded",
        (Some(_), Some(_)) => "Failed",
        _ => "Running",
    };
    shown.properties.instance_view.as_mut().unwrap().state = Some(state.to_owned());
    Input::Observed(key("a"), Ok(Some(shown)))
}

/// A world with such a pod, which runs.
fn world() -> World {
    let mut world = World::synced();
    world.step(Input::PodApplied(job()));
    world.step(ensured("a"));
    let effects = world.step(shows(None, None));
    assert_eq!(phase(&effects), Some("Running"));
    world
}

fn signalled(world: &mut World, unreached: &[&str]) -> Vec<Effect> {
    let why = |name: &&str| Unreached {
        container: (*name).to_owned(),
        why: "no shell".to_owned(),
    };
    let unreached = unreached.iter().map(why).collect();
    world.step(Input::Signalled(key("a"), unreached))
}

/// What comes after the end of the container, once that is in the API server.
fn ended(world: &mut World, code: i32) -> Vec<Effect> {
    let effects = world.step(shows(Some(code), None));
    let (status, digest) = written(&effects).unwrap();
    let expected = if code == 0 { "Succeeded" } else { "Failed" };
    assert_eq!(status.phase.as_deref(), Some(expected));
    let sidecar = &status.init_container_statuses.as_ref().unwrap()[0];
    let end = sidecar.state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(end.reason.as_deref(), Some("ContainerStatusUnknown"));
    assert!(operations(&effects).is_empty(), "the end is not safe yet");
    world.step(Input::StatusWritten(key("a"), digest))
}

#[test]
fn a_pod_ends_with_its_containers_and_its_sidecars_are_told() {
    let mut world = world();
    let effects = ended(&mut world, 0);
    let signal = Operation::SendSignal(vec!["proxy".to_owned()]);
    assert_eq!(only_operation(&effects), signal);
    assert_eq!(world.begin("a"), signal);
    assert!(
        !world
            .step(Input::Timer(key("a")))
            .contains(&Effect::Abandon(key("a")))
    );
    let effects = signalled(&mut world, &[]);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let wait = wait_of(&effects);
    assert!(wait >= Duration::from_secs(15) && wait < Duration::from_secs(30));
    // It has ended by itself: the group is kept for its logs, and costs nothing.
    let effects = world.after(20).step(shows(Some(0), Some(0)));
    assert!(operations(&effects).is_empty() && written(&effects).is_none());
}

#[test]
fn a_sidecar_that_goes_on_is_stopped_with_the_group() {
    let mut world = world();
    ended(&mut world, 1);
    signalled(&mut world, &[]);
    let effects = world.after(20).step(shows(Some(1), None));
    assert_eq!(only_operation(&effects), Operation::GetGroup, "it has 30 s");
    assert!(wait_of(&effects) <= Duration::from_secs(11));
    let effects = world.after(10).step(shows(Some(1), None));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
    assert!(written(&effects).is_none());
}

/// A world with such a pod whose sidecar has a `preStop` hook and five seconds.
fn hooked() -> World {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["terminationGracePeriodSeconds"] = json!(5);
        pod["spec"]["initContainers"] = json!([{
            "name": "proxy", "image": "p", "restartPolicy": "Always",
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
        }]);
    })));
    world.step(ensured("a"));
    world.step(shows(None, None));
    world
}

#[test]
fn the_hook_of_a_sidecar_is_run_before_its_signal_and_both_within_the_grace_period() {
    let mut world = hooked();
    let effects = ended(&mut world, 0);
    let proxy = vec!["proxy".to_owned()];
    assert_eq!(
        only_operation(&effects),
        Operation::RunPreStop(proxy.clone())
    );
    assert_eq!(world.begin("a"), Operation::RunPreStop(proxy.clone()));
    let abandoned = Effect::Abandon(key("a"));
    assert!(!world.step(Input::Timer(key("a"))).contains(&abandoned));
    let failed = Unreached::all(&proxy, "it exited with 1");
    let effects = world.after(3).step(Input::PreStopEnded(key("a"), failed));
    assert_eq!(events(&effects), ["FailedPreStopHook"]);
    assert_eq!(
        only_operation(&effects),
        Operation::SendSignal(proxy.clone())
    );
    assert_eq!(world.begin("a"), Operation::SendSignal(proxy));
    let effects = signalled(&mut world, &[]);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert!(
        wait_of(&effects) < Duration::from_secs(3),
        "what is left of five"
    );
    let effects = world.after(2).step(shows(Some(0), None));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
}

#[test]
fn polls_of_drained_sidecars_that_fail_are_repeated_after_a_pause() {
    let mut world = hooked();
    ended(&mut world, 0);
    world.step(Input::PreStopEnded(key("a"), Vec::new()));
    signalled(&mut world, &[]);
    world.after(6);
    for _ in 0..3 {
        assert_eq!(world.begin("a"), Operation::GetGroup);
        let failed = Input::Observed(key("a"), Err(failure(FailureKind::Transient)));
        let effects = world.step(failed);
        assert!(wait_of(&effects) >= Duration::from_millis(400));
    }
}

#[test]
fn a_delete_abandons_the_hook_of_a_sidecar() {
    let mut world = hooked();
    ended(&mut world, 0);
    assert!(matches!(world.begin("a"), Operation::RunPreStop(_)));
    let effects = world.step(Input::PodApplied(deleting("a")));
    assert!(effects.contains(&Effect::Abandon(key("a"))));
    assert_eq!(
        operations(&effects).last().unwrap().1,
        Operation::DeleteGroup
    );
}

#[test]
fn where_no_signal_can_be_sent_the_group_is_stopped_at_once() {
    let mut world = world();
    ended(&mut world, 0);
    let effects = signalled(&mut world, &["proxy"]);
    assert_eq!(only_operation(&effects), Operation::StopGroup);
    assert_eq!(wait_of(&effects), Duration::ZERO);
}

#[test]
fn a_sidecar_that_ends_early_does_not_end_the_pod() {
    let mut world = world();
    let effects = world.step(shows(None, Some(7)));
    assert_eq!(phase(&effects), Some("Running"));
    // And does not fail it: all have ended, and nothing is left to be stopped.
    let effects = world.step(shows(Some(0), Some(7)));
    assert_eq!(phase(&effects), Some("Succeeded"));
    assert!(operations(&effects).is_empty());
}

#[test]
fn a_container_that_is_to_be_restarted_has_not_ended() {
    let mut world = World::synced();
    let mut facts = job();
    facts.restart_policy = crate::translate::RestartPolicy::OnFailure;
    world.step(Input::PodApplied(facts));
    world.step(ensured("a"));
    let effects = world.step(shows(Some(1), None));
    assert_eq!(phase(&effects), Some("Running"));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn a_delete_goes_before_the_signal() {
    let mut world = world();
    ended(&mut world, 0);
    assert!(matches!(world.begin("a"), Operation::SendSignal(_)));
    let deleting = pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["status"]["phase"] = json!("Succeeded");
        pod["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
    });
    let effects = world.step(Input::PodApplied(deleting));
    assert!(effects.contains(&Effect::Abandon(key("a"))));
    assert_eq!(
        operations(&effects).last().unwrap().1,
        Operation::DeleteGroup
    );
}

#[test]
fn after_a_restart_of_the_operator_a_sidecar_is_not_forgotten() {
    let mut world = World::new();
    let mut facts = job();
    facts.phase = Some("Succeeded".into());
    world.step(Input::PodApplied(facts));
    world.step(Input::PodsSynced);
    let effects = world.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(20).step(shows(Some(0), None));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
}
