//! The graceful end of a pod.

use super::*;
use crate::provider::Unreached;

/// The pod, whose deletion was asked for at the start with 30 seconds of grace, and how far that is on record.
fn ending(hook: bool, record: Option<&str>, grace: i64) -> Box<PodFacts> {
    pod_with("a", |pod| {
        let ends = Timestamp::from_second(START + grace).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!(ends.to_string());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if hook {
            pod["spec"]["containers"][0]["lifecycle"] =
                json!({"preStop": {"sleep": {"seconds": 3}}});
        }
        pod["status"] = json!({"phase": "Running"});
        if let Some(reason) = record {
            pod["status"]["conditions"] = json!([
                {"type": "virtual-kubelet.io/Ending", "status": "True", "reason": reason}
            ]);
        }
    })
}

/// A group whose container ended `finish` seconds after the start, and was started again by ACI.
fn ended(finish: i64) -> Box<ContainerGroup> {
    let time = |seconds| Timestamp::from_second(START + seconds).unwrap().to_string();
    let mut group = group("Running", "Succeeded");
    let view = json!({
        "restartCount": 1,
        "previousState": {"state": "Terminated", "exitCode": 7, "startTime": time(0), "finishTime": time(finish)},
        "currentState": {"state": "Running", "startTime": time(finish + 1)},
    });
    group.properties.containers[0].properties.instance_view =
        Some(serde_json::from_value(view).unwrap());
    group
}

fn seen(group: Box<ContainerGroup>) -> Input {
    Input::Observed(key("a"), Ok(Some(group)))
}

/// A world with the running pod, five seconds after its start.
fn world() -> World {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    world.after(5);
    world
}

/// The reason on record in the status that is written, after which it is in the API server.
fn on_record(world: &mut World, effects: &[Effect]) -> (String, Vec<Effect>) {
    let (status, digest) = written(effects).unwrap();
    let conditions = status.conditions.as_ref().unwrap();
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "virtual-kubelet.io/Ending");
    let reason = condition.unwrap().reason.clone().unwrap();
    (reason, world.step(Input::StatusWritten(key("a"), digest)))
}

fn containers() -> Vec<String> {
    vec!["web".to_owned()]
}

#[test]
fn the_hook_then_the_signal_then_the_delete_when_all_has_ended() {
    let mut world = world();
    let effects = world.step(Input::PodApplied(ending(true, None, 30)));
    assert_eq!(only_operation(&effects), Operation::GetGroup, "what runs?");
    assert_eq!(wait_of(&effects), Duration::ZERO);
    let effects = world.step(running("a"));
    // On record first; until then nothing is done but to wait for the end of the grace period.
    assert_eq!(only_operation(&effects), Operation::Timer);
    let (reason, effects) = on_record(&mut world, &effects);
    assert_eq!(reason, "PreStop");
    assert_eq!(
        only_operation(&effects),
        Operation::RunPreStop(containers())
    );
    assert_eq!(world.begin("a"), Operation::RunPreStop(containers()));
    let failed = Unreached {
        container: "web".to_owned(),
        why: "it exited with 1: no".to_owned(),
    };
    let effects = world
        .after(3)
        .step(Input::PreStopEnded(key("a"), vec![failed]));
    assert_eq!(events(&effects), ["FailedPreStopHook"]);
    let (reason, effects) = on_record(&mut world, &effects);
    assert_eq!(reason, "Signalled");
    assert_eq!(
        only_operation(&effects),
        Operation::SendSignal(containers())
    );
}

#[test]
fn what_has_ended_since_is_not_waited_for_and_its_exit_code_is_kept() {
    let mut world = world();
    world.step(Input::PodApplied(ending(false, None, 30)));
    let effects = world.step(running("a"));
    let (reason, effects) = on_record(&mut world, &effects);
    assert_eq!(reason, "Signalled");
    assert_eq!(
        only_operation(&effects),
        Operation::SendSignal(containers())
    );
    world.begin("a");
    let effects = world.step(Input::Signalled(key("a"), Vec::new()));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    // It ended before the delete, and ACI started it again: that is not this end.
    let effects = world.after(1).step(seen(ended(-10)));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(1).step(seen(ended(6)));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    let (status, _) = written(&effects).unwrap();
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let state = container.state.as_ref().unwrap().terminated.as_ref();
    assert_eq!(state.unwrap().exit_code, 7);
    assert_eq!(container.restart_count, 0);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
}

#[test]
fn whoever_goes_on_after_a_restart_does_nothing_twice() {
    for (record, next) in [
        (Some("PreStop"), "Signalled"),
        (Some("Signalled"), ""),
        (None, "PreStop"),
    ] {
        let mut world = World::new();
        world.step(Input::PodApplied(ending(true, record, 30)));
        world.step(Input::PodsSynced);
        let effects = world.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
        assert_eq!(only_operation(&effects), Operation::GetGroup);
        let effects = world.step(running("a"));
        if next.is_empty() {
            assert_eq!(only_operation(&effects), Operation::GetGroup, "waits on");
        } else {
            assert_eq!(on_record(&mut world, &effects).0, next);
        }
    }
}

#[test]
fn at_the_end_of_the_grace_period_the_group_is_deleted_whatever_is_awaited() {
    let mut world = world();
    world.step(Input::PodApplied(ending(true, None, 30)));
    world.step(running("a"));
    // The status was never written.
    let effects = world.after(26).step(Input::Timer(key("a")));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}

#[test]
fn a_shorter_grace_period_abandons_what_is_under_way() {
    let mut world = world();
    world.step(Input::PodApplied(ending(true, None, 30)));
    let effects = world.step(running("a"));
    on_record(&mut world, &effects);
    assert_eq!(world.begin("a"), Operation::RunPreStop(containers()));
    let effects = world.step(Input::PodApplied(ending(true, Some("PreStop"), 0)));
    assert!(
        effects.contains(&Effect::Abandon(key("a"))),
        "force: {effects:?}"
    );
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}

#[test]
fn where_nothing_can_be_signalled_requests_get_some_seconds() {
    let mut world = world();
    world.step(Input::PodApplied(ending(false, None, 30)));
    let effects = world.step(running("a"));
    on_record(&mut world, &effects);
    world.begin("a");
    let unreached = Unreached::all(&["web".to_owned()], "no shell");
    let effects = world.step(Input::Signalled(key("a"), unreached));
    assert_eq!(events(&effects), ["NotSignalled"]);
    // Three seconds after the delete was asked for, which was five seconds ago.
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}

#[test]
fn a_pod_that_does_not_run_is_deleted_at_once() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let effects = world.step(Input::PodApplied(ending(true, None, 30)));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}

#[test]
fn where_no_poll_is_had_for_long_the_group_is_deleted_as_it_is() {
    for (kind, next) in [
        (FailureKind::Shared, Operation::DeleteGroup),
        (FailureKind::Transient, Operation::GetGroup),
    ] {
        let mut world = world();
        world.step(Input::PodApplied(ending(true, None, 30)));
        assert_eq!(world.begin("a"), Operation::GetGroup);
        let effects = world.step(Input::Observed(key("a"), Err(failure(kind))));
        assert_eq!(only_operation(&effects), next, "{kind:?}");
    }
}

/// The pod `a` with a sidecar, being deleted.
fn with_sidecar(hook: bool, record: Option<&str>) -> Box<PodFacts> {
    pod_with("a", |pod| {
        let ends = Timestamp::from_second(START + 30).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!(ends.to_string());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        pod["spec"]["initContainers"] =
            json!([{"name": "proxy", "image": "p", "restartPolicy": "Always"}]);
        if hook {
            pod["spec"]["initContainers"][0]["lifecycle"] =
                json!({"preStop": {"sleep": {"seconds": 3}}});
        }
        pod["status"] = json!({"phase": "Running"});
        if let Some(reason) = record {
            pod["status"]["conditions"] = json!([
                {"type": "virtual-kubelet.io/Ending", "status": "True", "reason": reason}
            ]);
        }
    })
}

/// Its group: whether its container and its sidecar have ended since the delete and were started again.
fn both(web_ended: bool, proxy_ended: bool) -> Input {
    let container = |has_ended: bool, name: &str| {
        let mut group = match running("a") {
            Input::Observed(_, Ok(Some(group))) if !has_ended => group,
            _ => ended(6),
        };
        let mut container = group.properties.containers.remove(0);
        name.clone_into(&mut container.name);
        container
    };
    let mut group = group("Running", "Succeeded");
    group.properties.containers =
        vec![container(web_ended, "web"), container(proxy_ended, "proxy")];
    seen(group)
}

#[test]
fn sidecars_are_told_when_the_other_containers_have_ended() {
    for hook in [false, true] {
        let mut world = world();
        world.step(Input::PodApplied(with_sidecar(hook, None)));
        let mut effects = world.step(both(false, false));
        let (web, proxy) = (vec!["web".to_owned()], vec!["proxy".to_owned()]);
        if hook {
            let (reason, next) = on_record(&mut world, &effects);
            assert_eq!(reason, "PreStop");
            assert_eq!(only_operation(&next), Operation::RunPreStop(web.clone()));
            world.begin("a");
            effects = world.step(Input::PreStopEnded(key("a"), Vec::new()));
        }
        let (reason, next) = on_record(&mut world, &effects);
        assert_eq!(reason, "Signalled");
        assert_eq!(only_operation(&next), Operation::SendSignal(web));
        world.begin("a");
        world.step(Input::Signalled(key("a"), Vec::new()));
        let effects = world.after(1).step(both(false, false));
        assert_eq!(only_operation(&effects), Operation::GetGroup, "web goes on");
        let mut effects = world.after(1).step(both(true, false));
        if hook {
            let (reason, next) = on_record(&mut world, &effects);
            assert_eq!(reason, "SidecarsPreStop");
            assert_eq!(only_operation(&next), Operation::RunPreStop(proxy.clone()));
            world.begin("a");
            effects = world.step(Input::PreStopEnded(key("a"), Vec::new()));
        }
        let (reason, next) = on_record(&mut world, &effects);
        assert_eq!(reason, "SidecarsSignalled");
        assert_eq!(only_operation(&next), Operation::SendSignal(proxy));
        world.begin("a");
        let effects = world.step(Input::Signalled(key("a"), Vec::new()));
        assert_eq!(only_operation(&effects), Operation::GetGroup);
        let effects = world.after(1).step(both(true, false));
        assert_eq!(only_operation(&effects), Operation::GetGroup, "it has time");
        let effects = world.after(1).step(both(true, true));
        assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    }
}

#[test]
fn sidecars_are_told_although_the_other_containers_could_not_be() {
    let mut world = world();
    world.step(Input::PodApplied(with_sidecar(true, Some("PreStop"))));
    let effects = world.step(both(false, false));
    on_record(&mut world, &effects);
    world.begin("a");
    let unreached = Unreached::all(&["web".to_owned()], "no shell");
    let effects = world.step(Input::Signalled(key("a"), unreached));
    assert_eq!(events(&effects), ["NotSignalled"]);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(1).step(both(false, false));
    let (reason, next) = on_record(&mut world, &effects);
    assert_eq!(reason, "SidecarsPreStop");
    let proxy = vec!["proxy".to_owned()];
    assert_eq!(only_operation(&next), Operation::RunPreStop(proxy.clone()));
    world.begin("a");
    let effects = world.step(Input::PreStopEnded(key("a"), Vec::new()));
    let (_, next) = on_record(&mut world, &effects);
    assert_eq!(only_operation(&next), Operation::SendSignal(proxy));
    world.begin("a");
    let effects = world.step(Input::Signalled(key("a"), Vec::new()));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(1).step(both(false, true));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}

#[test]
fn after_a_restart_sidecars_are_told_once() {
    for (record, web_ended, next) in [
        (None, true, "SidecarsPreStop"),
        (Some("Signalled"), false, ""),
        (Some("Signalled"), true, "SidecarsPreStop"),
        (Some("SidecarsPreStop"), true, "SidecarsSignalled"),
        (Some("SidecarsSignalled"), true, ""),
    ] {
        let mut world = World::new();
        world.step(Input::PodApplied(with_sidecar(true, record)));
        world.step(Input::PodsSynced);
        world.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
        let effects = world.after(8).step(both(web_ended, false));
        if next.is_empty() {
            assert_eq!(only_operation(&effects), Operation::GetGroup, "{record:?}");
        } else {
            assert_eq!(on_record(&mut world, &effects).0, next, "{record:?}");
        }
    }
}
