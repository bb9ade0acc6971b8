//! Termination messages from logs.

use k8s_openapi::api::core::v1::ContainerState;

use super::*;

fn pod_of(policy: &str, fallback: bool) -> Box<PodFacts> {
    pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!(policy);
        if fallback {
            pod["spec"]["containers"][0]["terminationMessagePolicy"] =
                json!("FallbackToLogsOnError");
        }
    })
}

/// The group of a container that has ended with `code` after `restarts`.
fn ended_with(code: i32, restarts: i32) -> Box<ContainerGroup> {
    let mut group = group("Terminated", "Succeeded");
    let view = group.properties.instance_view.as_mut().unwrap();
    view.state = Some(if code == 0 { "Succeeded" } else { "Failed" }.to_owned());
    let container = &mut group.properties.containers[0].properties;
    let view = container.instance_view.as_mut().unwrap();
    view.restart_count = Some(restarts);
    view.current_state.as_mut().unwrap().exit_code = Some(code);
    group
}

/// The same, started again.
fn restarted() -> Box<ContainerGroup> {
    let mut group = ended_with(3, 1);
    group.properties.instance_view.as_mut().unwrap().state = Some("Running".to_owned());
    let container = &mut group.properties.containers[0].properties;
    let view = container.instance_view.as_mut().unwrap();
    view.previous_state = view.current_state.take();
    let running = json!({"state": "Running", "startTime": "2027-01-15T08:00:05Z"});
    view.current_state = serde_json::from_value(running).unwrap();
    group
}

fn observed(group: Box<ContainerGroup>) -> Input {
    Input::Observed(key("a"), Ok(Some(group)))
}

/// A world whose pod has just been seen to end so, and what followed.
fn world(facts: Box<PodFacts>, group: Box<ContainerGroup>) -> (World, Vec<Effect>) {
    let mut world = World::synced();
    world.step(Input::PodApplied(facts));
    world.step(ensured("a"));
    world.step(running("a"));
    let effects = world.step(observed(group));
    (world, effects)
}

/// Reads the logs that are to be read, each with this end, and then the group.
fn read(world: &mut World, log: &str, group: Option<Box<ContainerGroup>>) -> Vec<Effect> {
    let Operation::ReadLogs(ends) = world.begin("a") else {
        panic!("the logs are next");
    };
    let logs = ends.into_iter().map(|end| (end, log.to_owned())).collect();
    world.step(Input::LogsRead(key("a"), Ok(EndLogs { logs, group })))
}

fn unread(world: &mut World) -> Vec<Effect> {
    assert!(matches!(world.begin("a"), Operation::ReadLogs(_)));
    world.step(Input::LogsRead(
        key("a"),
        Err(failure(FailureKind::Transient)),
    ))
}

fn awaits_logs(effects: &[Effect]) -> bool {
    matches!(only_operation(effects), Operation::ReadLogs(ends)
        if ends.len() == 1 && ends[0].container == "web" && ends[0].id.starts_with("aci://"))
}

fn message(state: Option<&ContainerState>) -> Option<&str> {
    state?.terminated.as_ref()?.message.as_deref()
}

/// The message of the state that is written, and of the last one.
fn messages(effects: &[Effect]) -> (Option<&str>, Option<&str>) {
    let (status, _) = written(effects).expect("a status is written");
    let container = &status.container_statuses.as_ref().unwrap()[0];
    (
        message(container.state.as_ref()),
        message(container.last_state.as_ref()),
    )
}

#[test]
fn the_last_status_has_the_end_of_the_log() {
    let (mut world, effects) = world(pod_of("Never", true), ended_with(3, 0));
    assert!(
        written(&effects).is_none(),
        "the end and its message at once"
    );
    assert!(awaits_logs(&effects));
    assert_eq!(wait_of(&effects), Duration::ZERO);
    let effects = read(&mut world, "no such file\n", Some(ended_with(3, 0)));
    assert_eq!(phase(&effects), Some("Failed"));
    assert_eq!(messages(&effects), (Some("no such file\n"), None));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    // Nothing of it changes afterwards.
    let effects = world.after(20).step(observed(ended_with(3, 0)));
    assert!(written(&effects).is_none());
}

#[test]
fn nothing_is_read_of_what_worked_or_does_not_ask_for_it() {
    let (_, effects) = world(pod_of("Never", true), ended_with(0, 0));
    assert_eq!(phase(&effects), Some("Succeeded"));
    assert!(operations(&effects).is_empty());
    let (_, effects) = world(pod_of("Never", false), ended_with(3, 0));
    assert_eq!(phase(&effects), Some("Failed"));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn a_log_that_cannot_be_read_delays_the_last_status_for_seconds() {
    let (mut world, _) = world(pod_of("Never", true), ended_with(3, 0));
    let effects = unread(&mut world);
    assert!(awaits_logs(&effects));
    let mut waited = wait_of(&effects);
    let effects = unread(&mut world);
    waited += wait_of(&effects);
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    let effects = unread(&mut world);
    assert_eq!(phase(&effects), Some("Failed"));
    assert_eq!(messages(&effects), (None, None));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn however_long_a_try_takes_there_is_an_end_to_it() {
    let (mut world, _) = world(pod_of("Never", true), ended_with(3, 0));
    assert!(matches!(world.begin("a"), Operation::ReadLogs(_)));
    let failed = Input::LogsRead(key("a"), Err(failure(FailureKind::Transient)));
    let effects = world.after(11).step(failed);
    assert_eq!(phase(&effects), Some("Failed"));
}

#[test]
fn of_a_group_that_is_gone_the_end_stands_without_a_message() {
    let (mut world, _) = world(pod_of("Never", true), ended_with(3, 0));
    let effects = read(&mut world, "whose is it?\n", None);
    assert_eq!(phase(&effects), Some("Failed"));
    let (status, _) = written(&effects).unwrap();
    assert_eq!(status.reason, None, "it has ended by itself");
    assert_eq!(messages(&effects), (None, None));
}

#[test]
fn a_pod_past_its_deadline_that_has_ended_by_itself_has_ended_so() {
    let facts = pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["activeDeadlineSeconds"] = json!(5);
        pod["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    });
    let mut world = World::synced();
    world.step(Input::PodApplied(facts));
    world.step(ensured("a"));
    world.step(running("a"));
    let effects = world.after(6).step(observed(ended_with(3, 0)));
    assert!(awaits_logs(&effects));
    let effects = read(&mut world, "done\n", Some(ended_with(3, 0)));
    assert_eq!(phase(&effects), Some("Failed"));
    assert_eq!(messages(&effects), (Some("done\n"), None));
    assert!(events(&effects).is_empty(), "no deadline");
}

#[test]
fn the_log_of_another_run_is_nobody_s_message() {
    let (mut world, effects) = world(pod_of("Always", true), ended_with(3, 0));
    assert_eq!(phase(&effects), Some("Running"), "what goes on is written");
    assert!(awaits_logs(&effects));
    // ACI has started it again between the log and the group, or even before the log.
    let effects = read(&mut world, "hello\n", Some(restarted()));
    assert_eq!(messages(&effects), (None, None));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn the_message_of_a_run_stays_its_own() {
    let (mut world, _) = world(pod_of("Always", true), ended_with(3, 0));
    let effects = read(&mut world, "first\n", Some(ended_with(3, 0)));
    assert_eq!(messages(&effects), (Some("first\n"), None));
    let effects = world.after(5).step(observed(restarted()));
    assert_eq!(messages(&effects), (None, Some("first\n")));
    let status = serde_json::to_value(written(&effects).unwrap().0).unwrap();
    // A change of the pod does not make it forgotten, nor does a restart of the operator.
    let told = || {
        pod_with("a", |pod| {
            pod["spec"]["containers"][0]["terminationMessagePolicy"] =
                json!("FallbackToLogsOnError");
            pod["status"] = status.clone();
        })
    };
    world.step(Input::PodApplied(told()));
    assert!(written(&world.after(5).step(observed(restarted()))).is_none());
    let mut successor = World::new();
    successor.step(Input::PodApplied(told()));
    successor.step(Input::PodsSynced);
    successor.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
    let effects = successor.after(20).step(observed(restarted()));
    assert!(written(&effects).is_none(), "{effects:?}");
}

#[test]
fn of_an_empty_log_nothing_comes_and_it_is_read_once() {
    let (mut world, _) = world(pod_of("Always", true), ended_with(3, 0));
    let effects = read(&mut world, "", Some(ended_with(3, 0)));
    assert!(written(&effects).is_none());
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.after(5).step(observed(ended_with(3, 0)));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn a_delete_does_not_wait_for_logs() {
    let (mut world, _) = world(pod_of("Never", true), ended_with(3, 0));
    let Operation::ReadLogs(ends) = world.begin("a") else {
        panic!("the logs are next");
    };
    let killed = pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        pod["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    });
    world.step(Input::PodApplied(killed));
    // The answer is late: it says how the container has ended, and not what is next.
    let logs = vec![(ends[0].clone(), "last words\n".to_owned())];
    let group = Some(ended_with(3, 0));
    let effects = world.step(Input::LogsRead(key("a"), Ok(EndLogs { logs, group })));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(phase(&effects), Some("Failed"));
    assert_eq!(messages(&effects), (Some("last words\n"), None));
    let (status, _) = written(&effects).unwrap();
    let state = status.container_statuses.as_ref().unwrap()[0].state.clone();
    assert_eq!(state.unwrap().terminated.unwrap().exit_code, 3);
}

#[test]
fn an_init_container_that_failed_says_why() {
    let facts = pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!("Never");
        pod["spec"]["initContainers"] = json!([{
            "name": "migrate", "image": "m", "terminationMessagePolicy": "FallbackToLogsOnError"}]);
    });
    let mut group = group("Pending", "Failed");
    group.properties.restart_policy = Some("Never".to_owned());
    let init = json!({"name": "migrate", "properties": {"image": "m", "instanceView": {"restartCount": 0,
        "currentState": {"state": "Terminated", "exitCode": 1, "detailStatus": "Error",
                         "startTime": "2027-01-15T08:00:00Z", "finishTime": "2027-01-15T08:00:01Z"}}}});
    group.properties.init_containers = serde_json::from_value(json!([init])).unwrap();
    let mut world = World::synced();
    world.step(Input::PodApplied(facts));
    world.step(ensured("a"));
    let effects = world.step(observed(group.clone()));
    assert!(
        matches!(only_operation(&effects), Operation::ReadLogs(ends) if ends[0].container == "migrate")
    );
    let effects = read(&mut world, "no database\n", Some(group));
    assert_eq!(phase(&effects), Some("Failed"));
    let (status, _) = written(&effects).unwrap();
    let init = &status.init_container_statuses.as_ref().unwrap()[0];
    assert_eq!(message(init.state.as_ref()), Some("no database\n"));
}

#[test]
fn the_log_of_a_run_that_azure_does_not_count_is_read_too() {
    // Azure has restarted the whole group, and counts from 0 again.
    let again = |mut group: Box<ContainerGroup>| {
        let container = &mut group.properties.containers[0].properties;
        let state = container.instance_view.as_mut().unwrap();
        let state = state.current_state.as_mut().unwrap();
        state.start_time = Some("2027-01-15T08:00:05Z".to_owned());
        if state.finish_time.is_some() {
            state.finish_time = Some("2027-01-15T08:00:09Z".to_owned());
        }
        group
    };
    let (mut world, _) = world(
        pod_of("OnFailure", true),
        again(group("Running", "Succeeded")),
    );
    let effects = world.step(observed(again(ended_with(3, 0))));
    assert!(awaits_logs(&effects));
    let effects = read(&mut world, "why\n", Some(again(ended_with(3, 0))));
    let (status, _) = written(&effects).unwrap();
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.restart_count, 1);
    assert_eq!(message(container.state.as_ref()), Some("why\n"));
}
