//! The probes that the operator runs.

use super::*;
use crate::api::{ProbedBy, Probes};
use crate::provider::Unreached;
use crate::translate::{Deletion, ProbeKind, Probed};

/// A pod with these probes, by TCP.
fn probed(kinds: &[&str]) -> Box<PodFacts> {
    pod_with("a", |pod| {
        for kind in kinds {
            pod["spec"]["containers"][0][format!("{kind}Probe")] =
                json!({"tcpSocket": {"port": 80}});
        }
        pod["spec"]["terminationGracePeriodSeconds"] = json!(20);
    })
}

/// Its group, which runs since `start` seconds after the beginning at an address of `kind`.
fn seen(start: i64, restarts: i32, kind: &str) -> Input {
    let mut group = group("Running", "Succeeded");
    let view = json!({"restartCount": restarts, "currentState": {"state": "Running",
        "startTime": Timestamp::from_second(START + start).unwrap().to_string()}});
    group.properties.containers[0].properties.instance_view =
        Some(serde_json::from_value(view).unwrap());
    let address = json!({"type": kind, "ip": "10.0.0.7", "ports": [{"port": 80}]});
    group.properties.ip_address = Some(serde_json::from_value(address).unwrap());
    Input::Observed(key("a"), Ok(Some(group)))
}

/// A world in which the pod with these probes has been seen to run, and what that led to.
fn world(kinds: &[&str]) -> (World, Vec<Effect>) {
    let mut world = World::synced();
    world.step(Input::PodApplied(probed(kinds)));
    world.step(ensured("a"));
    let effects = world.step(seen(0, 0, "Private"));
    (world, effects)
}

#[expect(
    clippy::option_option,
    reason = "nothing was told, or that nothing is to be probed"
)]
fn target(effects: &[Effect]) -> Option<Option<Arc<ProbeTarget>>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Probe { target, .. } => Some(target.clone()),
        _ => None,
    })
}

/// `started`, `ready` and the condition Ready of the status that is written.
fn shown(effects: &[Effect]) -> (bool, bool, String) {
    let (status, _) = written(effects).unwrap();
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let mut conditions = status.conditions.as_ref().unwrap().iter();
    let ready = conditions.find(|it| it.type_ == "Ready").unwrap();
    let word = match &ready.message {
        Some(message) => format!("{}: {message}", ready.status),
        None => ready.status.clone(),
    };
    (container.started.unwrap(), container.ready, word)
}

fn id(effects: &[Effect]) -> Box<str> {
    target(effects).unwrap().unwrap().containers[0].id.clone()
}

fn news(id: &str, started: bool, ready: bool) -> Input {
    let probed = Probed {
        id: id.into(),
        started,
        ready,
    };
    let name = "web".into();
    Input::Probed(key("a"), ProbeNews::Container { name, probed })
}

fn failed(id: &str) -> Input {
    let news = ProbeNews::Failed {
        name: "web".into(),
        id: id.into(),
        kind: ProbeKind::Liveness,
        grace: None,
    };
    Input::Probed(key("a"), news)
}

const UNREADY: &str = "False: containers with unready status: [web]";

#[test]
fn a_pod_is_ready_when_its_probes_say_so_and_no_poll_is_needed() {
    let (mut world, effects) = world(&["startup", "readiness"]);
    assert_eq!(shown(&effects), (false, false, UNREADY.into()));
    let id = id(&effects);
    let effects = world.step(news(&id, true, false));
    assert_eq!(shown(&effects), (true, false, UNREADY.into()));
    let effects = world.step(news(&id, true, true));
    assert_eq!(shown(&effects), (true, true, "True".into()));
    // The next poll is no sooner for it.
    assert!(wait_of(&effects) >= Duration::from_millis(900));
    let effects = world.step(news(&id, true, false));
    assert_eq!(shown(&effects), (true, false, UNREADY.into()));
    // What is told of a run that is over says nothing.
    let effects = world.step(news("aci://other", true, true));
    assert_eq!(written(&effects), None);
    // A poll does not forget it.
    world.step(news(&id, true, true));
    let effects = world.step(seen(0, 0, "Private"));
    assert_eq!((written(&effects), target(&effects)), (None, None));
}

#[test]
fn another_run_begins_unready() {
    let (mut world, effects) = world(&["readiness"]);
    let first = id(&effects);
    world.step(news(&first, true, true));
    let effects = world.step(seen(9, 1, "Private"));
    assert_eq!(shown(&effects), (true, false, UNREADY.into()));
    assert_ne!(id(&effects), first);
}

#[test]
fn what_the_api_server_has_on_record_holds_after_a_restart_of_the_operator() {
    let (mut world, effects) = world(&["readiness"]);
    let id = id(&effects);
    let effects = world.step(news(&id, true, true));
    let (status, _) = written(&effects).unwrap();
    let on_record = pod_with("a", |pod| {
        pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 80}});
        pod["status"] = serde_json::to_value(status).unwrap();
    });
    let mut after = World::new();
    after.step(Input::PodApplied(on_record));
    after.step(Input::PodsSynced);
    after.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
    let effects = after.step(seen(0, 0, "Private"));
    assert_eq!(written(&effects), None, "it stays ready");
    assert!(target(&effects).unwrap().is_some());
}

#[test]
fn without_an_open_port_or_by_the_connectors_word_a_container_is_ready_while_it_runs() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_with("a", |pod| {
        pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 81}});
    })));
    world.step(ensured("a"));
    let effects = world.step(seen(0, 0, "Public"));
    assert_eq!(target(&effects), None);
    assert_eq!(shown(&effects), (true, true, "True".into()));
    let (mut world, _) = self::world(&["readiness"]);
    let azure = Probes {
        network: ProbedBy::Azure,
        exec: ProbedBy::Azure,
    };
    let effects = world.step(Input::Probes(azure));
    assert_eq!(shown(&effects), (true, true, "True".into()));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.step(seen(0, 0, "Private"));
    assert_eq!(target(&effects), Some(None));
}

#[test]
fn a_pod_that_cannot_be_reached_is_ready_while_it_runs_and_is_told_so_once() {
    let (mut world, _) = world(&["readiness"]);
    let lost = |reached| Input::Probed(key("a"), ProbeNews::Route(reached));
    let effects = world.step(lost(Err("i/o timeout".to_owned())));
    assert_eq!(shown(&effects), (true, true, "True".into()));
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Emit(event) => Some((event.reason.as_str(), event.message.clone())),
        _ => None,
    });
    let (reason, message) = told.unwrap();
    assert_eq!(reason, "ProbesNotRun");
    assert!(
        message.ends_with("while they run: i/o timeout"),
        "{message}"
    );
    // It is dialled on, and when it answers it counts.
    let effects = world.step(seen(0, 0, "Private"));
    assert_eq!(target(&effects), None);
    let effects = world.step(lost(Ok(())));
    assert_eq!(shown(&effects), (true, false, UNREADY.into()));
}

fn signal() -> Operation {
    Operation::SendSignal(vec!["web".to_owned()])
}

#[test]
fn a_container_that_fails_its_probe_gets_sigterm_and_is_counted_as_restarted() {
    let (mut world, effects) = world(&["liveness"]);
    assert_eq!(shown(&effects), (true, true, "True".into()));
    let id = id(&effects);
    let effects = world.step(failed(&id));
    assert_eq!(only_operation(&effects), signal());
    let told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(event) => Some((event.warning, &*event.reason, &*event.message)),
            _ => None,
        })
        .collect();
    let killing = "Container web failed liveness probe, will be restarted";
    assert_eq!(told, [(false, "Killing", killing)]);
    // Once is enough.
    assert_eq!(world.step(failed(&id)), []);
    assert_eq!(world.begin("a"), signal());
    let effects = world.step(Input::Signalled(key("a"), Vec::new()));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    world.step(seen(0, 0, "Private"));
    let effects = world.after(2).step(seen(2, 1, "Private"));
    let (status, _) = written(&effects).unwrap();
    assert_eq!(
        status.container_statuses.as_ref().unwrap()[0].restart_count,
        1
    );
    assert_eq!(world.engine.records[&key("a")].condemned, []);
}

fn kill() -> Operation {
    Operation::Kill(vec!["web".to_owned()])
}

/// The containers have no shim.
fn not_killed() -> Input {
    Input::Killed(key("a"), Unreached::all(&["web".to_owned()], "no shim"))
}

#[test]
fn one_that_ignores_the_signal_is_killed_where_the_shim_can() {
    let (mut world, effects) = world(&["liveness"]);
    world.step(failed(&id(&effects)));
    assert_eq!(world.begin("a"), signal());
    world.step(Input::Signalled(key("a"), Vec::new()));
    let effects = world.after(20).step(seen(0, 0, "Private"));
    assert_eq!(only_operation(&effects), kill());
    assert_eq!(world.begin("a"), kill());
    let effects = world.step(Input::Killed(key("a"), Vec::new()));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(2).step(seen(22, 1, "Private"));
    let (status, _) = written(&effects).unwrap();
    let restarts = status.container_statuses.as_ref().unwrap()[0].restart_count;
    assert_eq!(restarts, 1);
    assert_eq!(world.engine.records[&key("a")].condemned, []);
}

#[test]
fn one_that_was_killed_and_does_not_end_is_told() {
    let (mut world, effects) = world(&["liveness"]);
    world.step(failed(&id(&effects)));
    world.begin("a");
    world.step(Input::Signalled(key("a"), Vec::new()));
    world.after(20).step(seen(0, 0, "Private"));
    world.begin("a");
    world.step(Input::Killed(key("a"), Vec::new()));
    let effects = world.after(61).step(seen(0, 0, "Private"));
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Emit(event) => Some((&*event.reason, &*event.message)),
        _ => None,
    });
    let (reason, message) = told.unwrap();
    assert_eq!(reason, "FailedKillPod");
    assert!(message.contains("does not show its end"), "{message}");
}

#[test]
fn one_that_ignores_the_signal_is_restarted_with_its_group_after_the_grace_period() {
    for unreached in [Vec::new(), Unreached::all(&["web".to_owned()], "no shell")] {
        let (mut world, effects) = world(&["liveness"]);
        world.step(failed(&id(&effects)));
        assert_eq!(world.begin("a"), signal());
        let waits = unreached.is_empty();
        let mut effects = world.step(Input::Signalled(key("a"), unreached));
        if waits {
            world.after(19).step(seen(0, 0, "Private"));
            effects = world.after(1).step(seen(0, 0, "Private"));
        }
        assert_eq!(only_operation(&effects), kill());
        assert_eq!(world.begin("a"), kill());
        let effects = world.step(not_killed());
        assert_eq!(only_operation(&effects), Operation::RestartGroup);
        assert_eq!(world.begin("a"), Operation::RestartGroup);
        let busy = failure(FailureKind::Transitioning);
        world.step(Input::Restarted(key("a"), Err(busy)));
        assert_eq!(world.begin("a"), Operation::RestartGroup, "tried again");
        world.step(Input::Restarted(key("a"), Ok(())));
        // Azure counts from 0 again; the pod does not, and nobody saw how the container ended.
        let effects = world.after(30).step(seen(50, 0, "Private"));
        let (status, _) = written(&effects).unwrap();
        let container = &status.container_statuses.as_ref().unwrap()[0];
        assert_eq!(container.restart_count, 1);
        let last = container.last_state.as_ref().unwrap();
        assert_eq!(last.terminated.as_ref().unwrap().exit_code, 137);
        let effects = world.after(30).step(seen(50, 0, "Private"));
        assert_eq!(written(&effects), None, "one restart is counted once");
    }
}

#[test]
fn of_several_containers_none_is_restarted_by_itself_and_that_is_said() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_with("a", |pod| {
        let containers = json!([
            {"name": "web", "image": "i", "livenessProbe": {"tcpSocket": {"port": 80}}},
            {"name": "other", "image": "i"},
        ]);
        pod["spec"]["containers"] = containers;
    })));
    world.step(ensured("a"));
    let effects = world.step(seen(0, 0, "Private"));
    world.step(failed(&id(&effects)));
    assert_eq!(world.begin("a"), signal());
    world.step(Input::Signalled(key("a"), Vec::new()));
    let effects = world.after(30).step(seen(0, 0, "Private"));
    assert_eq!(only_operation(&effects), kill());
    assert_eq!(world.begin("a"), kill());
    let effects = world.step(not_killed());
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Emit(event) => Some(&*event.reason),
        _ => None,
    });
    assert_eq!(told, Some("FailedKillPod"));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn a_deleted_pods_container_is_not_restarted() {
    let (mut world, effects) = world(&["liveness"]);
    world.step(failed(&id(&effects)));
    world.step(Input::PodApplied(deleting("a")));
    let record = &world.engine.records[&key("a")];
    assert!(matches!(record.stage, Stage::Removing(_)));
    assert_eq!(record.condemned, []);
}

#[test]
fn while_a_pod_ends_its_readiness_is_probed_and_nothing_else() {
    let (mut world, effects) = world(&["startup", "liveness", "readiness"]);
    let id = id(&effects);
    world.step(news(&id, true, true));
    let ending = |grace: i64| {
        let mut facts = probed(&["startup", "liveness", "readiness"]);
        let at = Timestamp::from_second(START + grace).unwrap();
        facts.deletion = Some(Deletion {
            at,
            grace_seconds: grace,
        });
        facts.phase = Some("Running".into());
        Input::PodApplied(facts)
    };
    let effects = world.step(ending(20));
    let told = target(&effects).unwrap().unwrap();
    let run = told.containers[0].run;
    assert_eq!(
        (run.startup, run.liveness, run.readiness),
        (false, false, true)
    );
    // On its way to the end, which is on record.
    let effects = world.step(seen(0, 0, "Private"));
    let (_, digest) = written(&effects).unwrap();
    world.step(Input::StatusWritten(key("a"), digest));
    let effects = world.step(news(&id, true, false));
    assert_eq!(shown(&effects), (true, false, UNREADY.into()));
    let (_, digest) = written(&effects).unwrap();
    let effects = world.step(Input::StatusWritten(key("a"), digest));
    let signal = Operation::SendSignal(vec!["web".to_owned()]);
    assert_eq!(only_operation(&effects), signal, "goes on");
    let effects = world.step(ending(0));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup, "by force");
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Accepted(None))));
    assert_eq!(target(&effects), Some(None));
}

#[test]
fn a_container_that_has_not_started_is_not_probed_while_its_pod_ends() {
    let (mut world, _) = world(&["startup", "readiness"]);
    let mut facts = probed(&["startup", "readiness"]);
    facts.deletion = Some(Deletion {
        at: Timestamp::from_second(START + 20).unwrap(),
        grace_seconds: 20,
    });
    let effects = world.step(Input::PodApplied(facts));
    assert_eq!(target(&effects), Some(None));
}
