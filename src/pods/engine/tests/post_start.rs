//! `postStart` hooks.

use super::*;
use crate::provider::Unreached;

fn hooked(status: serde_json::Value) -> Box<PodFacts> {
    pod_with("a", |pod| {
        pod["spec"]["containers"][0]["lifecycle"] =
            json!({"postStart": {"exec": {"command": ["true"]}}});
        if !status.is_null() {
            pod["status"] = status;
        }
    })
}

/// A world in which the pod has been seen to run, and what that led to.
fn world() -> (World, Vec<Effect>) {
    let mut world = World::synced();
    world.step(Input::PodApplied(hooked(json!(null))));
    world.step(ensured("a"));
    let effects = world.step(running("a"));
    (world, effects)
}

fn run_hook() -> Operation {
    Operation::RunPostStart(vec!["web".to_owned()])
}

fn is_ready(effects: &[Effect]) -> bool {
    let (status, _) = written(effects).unwrap();
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.started, Some(container.ready));
    container.ready
}

/// The status is in the API server.
fn stored(world: &mut World, effects: &[Effect]) -> Vec<Effect> {
    let (_, digest) = written(effects).unwrap();
    world.step(Input::StatusWritten(key("a"), digest))
}

#[test]
fn the_hook_is_run_once_when_the_run_is_on_record_and_the_container_is_ready_after_it() {
    let (mut world, effects) = world();
    assert!(!is_ready(&effects));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = stored(&mut world, &effects);
    assert_eq!(only_operation(&effects), run_hook());
    assert_eq!(world.begin("a"), run_hook());
    let effects = world.step(Input::PostStartEnded(key("a"), Vec::new()));
    assert_eq!(only_operation(&effects), Operation::GetGroup, "at once");
    let effects = world.step(running("a"));
    assert!(is_ready(&effects));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn a_run_that_is_on_record_was_looked_after() {
    let (_, effects) = world();
    let (status, _) = written(&effects).unwrap();
    let mut after = World::new();
    after.step(Input::PodApplied(hooked(
        serde_json::to_value(status).unwrap(),
    )));
    after.step(Input::PodsSynced);
    after.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
    let effects = after.step(running("a"));
    assert!(is_ready(&effects));
    let effects = stored(&mut after, &effects);
    assert_eq!(operations(&effects), [], "no hook");
}

#[test]
fn a_container_whose_hook_fails_is_ended() {
    let (mut world, effects) = world();
    stored(&mut world, &effects);
    assert_eq!(world.begin("a"), run_hook());
    let failed = Unreached::all(&["web".to_owned()], "it exited with 1: no");
    let effects = world.step(Input::PostStartEnded(key("a"), failed));
    let told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(event) => Some((&*event.reason, &*event.message)),
            _ => None,
        })
        .collect();
    let failed = "PostStartHook of container web failed: it exited with 1: no";
    let wanted = [
        ("FailedPostStartHook", failed),
        ("Killing", "FailedPostStartHook"),
    ];
    assert_eq!(told, wanted);
    let signal = Operation::SendSignal(vec!["web".to_owned()]);
    assert_eq!(only_operation(&effects), signal);
}

/// The group whose containers `web` and `other` run.
fn both_run() -> Input {
    let view = json!({"restartCount": 0, "currentState": {"state": "Running", "startTime": "2027-01-15T08:00:00Z"}});
    let container =
        |name: &str| json!({"name": name, "properties": {"image": "i", "instanceView": view}});
    let mut shown = group("Running", "Succeeded");
    shown.properties.containers =
        serde_json::from_value(json!([container("web"), container("other")])).unwrap();
    Input::Observed(key("a"), Ok(Some(shown)))
}

#[test]
fn of_several_hooks_that_fail_each_is_told_and_its_container_ended() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_with("a", |pod| {
        let hook = json!({"postStart": {"exec": {"command": ["false"]}}});
        let container = |name: &str| json!({"name": name, "image": "i", "lifecycle": hook});
        pod["spec"]["containers"] = json!([container("web"), container("other")]);
    })));
    world.step(ensured("a"));
    let effects = world.step(both_run());
    stored(&mut world, &effects);
    let names = vec!["web".to_owned(), "other".to_owned()];
    assert_eq!(world.begin("a"), Operation::RunPostStart(names.clone()));
    let failed = Unreached::all(&names, "it exited with 1");
    let effects = world.step(Input::PostStartEnded(key("a"), failed));
    let wanted = ["FailedPostStartHook", "Killing"].repeat(2);
    assert_eq!(events(&effects), wanted);
    assert_eq!(
        only_operation(&effects),
        Operation::SendSignal(names.clone())
    );
    assert_eq!(
        world.begin("a"),
        Operation::SendSignal(names),
        "both at once"
    );
    // One takes no signal; the other one is waited for all the same.
    let unreached = Unreached::all(&["web".to_owned()], "no shell");
    let effects = world.step(Input::Signalled(key("a"), unreached.clone()));
    let kill = |name: &str| Operation::Kill(vec![name.to_owned()]);
    assert_eq!(only_operation(&effects), kill("web"));
    assert_eq!(world.begin("a"), kill("web"));
    let effects = world.step(Input::Killed(key("a"), unreached));
    assert_eq!(events(&effects), ["FailedKillPod"]);
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(30).step(both_run());
    assert_eq!(only_operation(&effects), kill("other"));
    assert_eq!(world.begin("a"), kill("other"));
    let unreached = Unreached::all(&["other".to_owned()], "no shim");
    let effects = world.step(Input::Killed(key("a"), unreached));
    assert_eq!(events(&effects), ["FailedKillPod"], "it ignored SIGTERM");
}

#[test]
fn a_pod_that_is_deleted_meanwhile_ends() {
    let (mut world, effects) = world();
    stored(&mut world, &effects);
    assert_eq!(world.begin("a"), run_hook());
    world.step(Input::PodApplied(deleting("a")));
    world.step(Input::PostStartEnded(key("a"), Vec::new()));
    let record = &world.engine.records[&key("a")];
    assert!(matches!(record.stage, Stage::Removing(_)));
}
