mod changes;
mod deadline;
mod ending;
mod failures;
mod finished;
mod group_events;
mod late;
mod lost;
mod messages;
mod namespaces;
mod orphans;
mod page;
mod post_start;
mod probing;
mod queued;
mod shared_failures;
mod sidecars;
mod slow;
mod states;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::provider::{FailureKind, GroupSummary};
use crate::translate::facts;

const START: i64 = 1_800_000_000;

struct World {
    engine: Engine,
    mono: Duration,
}

impl World {
    fn new() -> Self {
        let name = NameGroup(Box::new(|key| format!("g-{}", key.uid)));
        Self {
            engine: Engine::new(Some("10.0.0.1".into()), name, true),
            mono: Duration::ZERO,
        }
    }

    fn synced() -> Self {
        let mut world = Self::new();
        world.step(Input::PodsSynced);
        world.step(Input::GroupsListed(Ok(complete(Vec::new()))));
        world
    }

    fn now(&self) -> Now {
        let seconds = i64::try_from(self.mono.as_secs()).unwrap();
        Now {
            wall: Timestamp::from_second(START + seconds).unwrap(),
            mono: self.mono,
        }
    }

    /// Takes an input. An answer to nothing that is on its way is one to an operation that has just begun.
    fn step(&mut self, input: Input) -> Vec<Effect> {
        let now = self.now();
        if let Some((key, operation)) = answered(&input)
            && let Some(record) = self.engine.records.get_mut(key)
            && record.in_flight.is_none()
        {
            record.planned = None;
            record.in_flight = Some(Flight {
                operation,
                epoch: record.epoch,
                began: now.wall,
            });
        }
        self.engine.step(now, input)
    }

    /// Begins what is next for the pod, whenever it is due.
    fn begin(&mut self, uid: &str) -> Operation {
        let now = self.now();
        self.engine.begin(now, &key(uid)).unwrap().operation
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.mono += Duration::from_secs(seconds);
        self
    }
}

fn answered(input: &Input) -> Option<(&PodKey, Operation)> {
    Some(match input {
        Input::Created(key, _) => (key, create(false)),
        Input::Observed(key, _) => (key, Operation::GetGroup),
        Input::Deleted(key, _) => (key, Operation::DeleteGroup),
        Input::Stopped(key, _) => (key, Operation::StopGroup),
        Input::Restarted(key, _) => (key, Operation::RestartGroup),
        Input::LogsRead(key, _) => (key, Operation::ReadLogs(Vec::new())),
        Input::PostStartEnded(key, _) => (key, Operation::RunPostStart(Vec::new())),
        Input::PreStopEnded(key, _) => (key, Operation::RunPreStop(Vec::new())),
        Input::Signalled(key, _) => (key, Operation::SendSignal(Vec::new())),
        Input::Killed(key, _) => (key, Operation::Kill(Vec::new())),
        Input::PodRead(key, _) => (key, Operation::GetPod),
        Input::PodDeleted(key, _) => (key, Operation::DeletePod),
        _ => return None,
    })
}

fn create(look_first: bool) -> Operation {
    Operation::CreateGroup {
        look_first,
        restarts: 0,
    }
}

fn key(uid: &str) -> PodKey {
    PodKey {
        namespace: "default".into(),
        name: format!("pod-{uid}"),
        uid: uid.into(),
    }
}

fn pod_with(uid: &str, change: impl FnOnce(&mut serde_json::Value)) -> Box<PodFacts> {
    let mut pod = json!({
        "metadata": {"namespace": "default", "name": format!("pod-{uid}"), "uid": uid, "generation": 1,
                     "creationTimestamp": "2027-01-01T00:00:00Z"},
        "spec": {"nodeName": "node", "restartPolicy": "Always",
                 "containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}]},
        "status": {"phase": "Pending"},
    });
    change(&mut pod);
    Box::new(facts(&serde_json::from_value(pod).unwrap()).unwrap())
}

fn pod(uid: &str) -> Box<PodFacts> {
    pod_with(uid, |_| {})
}

fn deleting(uid: &str) -> Box<PodFacts> {
    pod_with(uid, |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    })
}

fn group(state: &str, provisioning: &str) -> Box<ContainerGroup> {
    let current = match state {
        "Running" => json!({"state": "Running", "startTime": "2027-01-15T08:00:00Z"}),
        "Terminated" => {
            json!({"state": "Terminated", "exitCode": 0, "startTime": "2027-01-15T08:00:00Z",
                               "finishTime": "2027-01-15T08:00:01Z", "detailStatus": "Completed"})
        }
        _ => serde_json::Value::Null,
    };
    let mut container = json!({"name": "web", "properties": {"image": "nginx"}});
    if !current.is_null() {
        container["properties"]["instanceView"] =
            json!({"restartCount": 0, "currentState": current});
    }
    let group_state = if state == "Terminated" {
        "Succeeded"
    } else {
        state
    };
    Box::new(
        serde_json::from_value(json!({
            "id": "/x", "name": "g", "location": "eastus",
            "properties": {"osType": "Linux", "provisioningState": provisioning, "restartPolicy": "Always",
                           "containers": [container], "ipAddress": {"type": "Public", "ports": [], "ip": "1.2.3.4"},
                           "instanceView": {"state": group_state, "events": []}},
        }))
        .unwrap(),
    )
}

fn ensured(uid: &str) -> Input {
    Input::Created(
        key(uid),
        Ok(Ensured {
            group: group("Pending", "Pending"),
            adopted: false,
            notes: Vec::new(),
        }),
    )
}

fn running(uid: &str) -> Input {
    Input::Observed(key(uid), Ok(Some(group("Running", "Succeeded"))))
}

fn failure(kind: FailureKind) -> Failure {
    Failure {
        kind,
        reason: "Test",
        message: "a test".into(),
        retry_after: None,
        faults: None,
    }
}

fn complete(groups: Vec<GroupSummary>) -> Listing {
    Listing {
        all: groups.len(),
        groups,
        age: Duration::ZERO,
    }
}

fn summary(uid: &str) -> GroupSummary {
    GroupSummary {
        name: format!("g-{uid}"),
        key: key(uid),
        provisioning_state: "Succeeded".into(),
        maker: crate::tenure::Maker::Us,
    }
}

fn operations(effects: &[Effect]) -> Vec<(String, Operation)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Schedule { key, operation, .. } => Some((key.uid.clone(), operation.clone())),
            _ => None,
        })
        .collect()
}

fn only_operation(effects: &[Effect]) -> Operation {
    let operations = operations(effects);
    assert_eq!(operations.len(), 1, "{effects:?}");
    operations[0].1.clone()
}

fn wait_of(effects: &[Effect]) -> Duration {
    effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Schedule { after, .. } => Some(*after),
            _ => None,
        })
        .unwrap()
}

fn written(effects: &[Effect]) -> Option<(&PodStatus, u64)> {
    effects.iter().find_map(|effect| match effect {
        Effect::WriteStatus { status, digest, .. } => Some((&**status, *digest)),
        _ => None,
    })
}

fn phase(effects: &[Effect]) -> Option<&str> {
    written(effects).and_then(|(status, _)| status.phase.as_deref())
}

fn events(effects: &[Effect]) -> Vec<&str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Emit(event) => Some(event.reason.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn nothing_is_created_before_both_lists_arrived() {
    let mut world = World::new();
    assert!(operations(&world.step(Input::PodApplied(pod("a")))).is_empty());
    assert!(operations(&world.step(Input::PodsSynced)).is_empty());
    let effects = world.step(Input::GroupsListed(Ok(complete(Vec::new()))));
    // The pod is older than our lists, so a group of it may exist that the list did not show.
    assert_eq!(operations(&effects), [("a".into(), create(true))]);
}

#[test]
fn a_new_pod_is_created_without_looking_and_reaches_running() {
    let mut world = World::synced();
    let effects = world.step(Input::PodApplied(pod("a")));
    assert_eq!(only_operation(&effects), create(false));
    let effects = world.step(ensured("a"));
    assert_eq!(phase(&effects), Some("Pending"));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert!(wait_of(&effects) < Duration::from_millis(100));
    let effects = world.step(running("a"));
    assert_eq!(phase(&effects), Some("Running"));
    assert_eq!(
        written(&effects).unwrap().0.pod_ip.as_deref(),
        Some("1.2.3.4")
    );
}

#[test]
fn a_group_that_was_there_is_adopted_and_never_created_again() {
    let mut world = World::new();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::PodsSynced);
    let effects = world.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert_eq!(phase(&world.step(running("a"))), Some("Running"));
}

#[test]
fn an_unchanged_observation_writes_nothing() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    for _ in 0..5 {
        let effects = world.after(10).step(running("a"));
        assert!(written(&effects).is_none(), "{effects:?}");
        assert_eq!(only_operation(&effects), Operation::GetGroup);
    }
}

#[test]
fn a_steady_pod_is_looked_at_less_and_less_often() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let first = wait_of(&world.step(running("a")));
    let later = wait_of(&world.after(600).step(running("a")));
    assert!(
        first < Duration::from_secs(2) && later > Duration::from_secs(10),
        "{first:?} {later:?}"
    );
}

#[test]
fn a_delete_waits_for_azure_then_writes_the_last_status_then_removes_the_pod() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    let effects = world.step(Input::PodApplied(deleting("a")));
    assert_eq!(
        operations(&effects).last().unwrap().1,
        Operation::DeleteGroup
    );
    let accepted = Deleted::Accepted(Some(group("Running", "Succeeded")));
    let effects = world.step(Input::Deleted(key("a"), Ok(accepted)));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    let effects = world.step(Input::Observed(key("a"), Ok(None)));
    let (status, digest) = written(&effects).expect("a last status");
    assert!(
        status.container_statuses.as_ref().unwrap()[0]
            .state
            .as_ref()
            .unwrap()
            .terminated
            .is_some()
    );
    assert!(
        operations(&effects).is_empty(),
        "the pod goes after its status"
    );
    let effects = world.step(Input::StatusWritten(key("a"), digest));
    assert_eq!(only_operation(&effects), Operation::DeletePod);
    world.step(Input::PodGone(key("a")));
    assert_eq!(
        (world.engine.counts().pods, world.engine.counts().groups),
        (0, 0)
    );
}

#[test]
fn a_pod_deleted_while_its_group_is_being_created_leaves_nothing_behind() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    assert_eq!(world.begin("a"), create(false));
    let effects = world.step(Input::PodApplied(deleting("a")));
    assert!(operations(&effects).is_empty(), "after the create");
    assert_eq!(
        only_operation(&world.step(ensured("a"))),
        Operation::DeleteGroup,
        "the late create does not revive the pod"
    );
    // What never was is not deleted.
    world.step(Input::PodApplied(pod("b")));
    let effects = world.step(Input::PodApplied(deleting("b")));
    assert_eq!(only_operation(&effects), Operation::DeletePod);
}

#[test]
fn a_finished_pod_costs_no_more_looks_and_keeps_its_group_until_it_is_deleted() {
    let mut world = World::synced();
    let job = |change: fn(&mut serde_json::Value)| {
        pod_with("a", |pod| {
            pod["spec"]["restartPolicy"] = json!("Never");
            change(pod);
        })
    };
    world.step(Input::PodApplied(job(|_| {})));
    world.step(ensured("a"));
    let effects = world.step(Input::Observed(
        key("a"),
        Ok(Some(group("Terminated", "Succeeded"))),
    ));
    assert_eq!(phase(&effects), Some("Succeeded"));
    assert!(operations(&effects).is_empty());
    assert_eq!(world.engine.counts().groups, 1);
    let effects = world.step(Input::PodApplied(job(|pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        pod["status"]["phase"] = json!("Succeeded");
    })));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert!(
        written(&effects).is_none(),
        "a final status is never changed"
    );
    assert_eq!(only_operation(&effects), Operation::DeletePod);
}

#[test]
fn many_pods_in_creation_are_watched_by_list() {
    let mut world = World::synced();
    let mut lists = 0;
    for n in 0..20 {
        let uid = format!("p{n}");
        world.step(Input::PodApplied(pod(&uid)));
        let effects = world.step(ensured(&uid));
        lists += effects
            .iter()
            .filter(|effect| matches!(effect, Effect::List { .. }))
            .count();
    }
    assert_eq!(lists, 1, "one list watches them all");
    let creating = GroupSummary {
        provisioning_state: "Creating".into(),
        ..summary("p0")
    };
    let effects = world.step(Input::GroupsListed(Ok(complete(vec![
        creating,
        summary("p1"),
    ]))));
    assert_eq!(
        operations(&effects),
        [("p1".into(), Operation::GetGroup)],
        "only what has settled is looked at"
    );
    assert!(
        effects
            .iter()
            .any(|e| matches!(e, Effect::List { after } if *after < Duration::from_secs(1)))
    );
}

#[test]
fn many_groups_that_still_start_are_adopted_by_list_too() {
    let mut world = World::new();
    let settling = |uid: &str| GroupSummary {
        provisioning_state: "Creating".into(),
        ..summary(uid)
    };
    let uids: Vec<String> = (0..20).map(|n| format!("p{n}")).collect();
    for uid in &uids {
        world.step(Input::PodApplied(pod(uid)));
    }
    world.step(Input::PodsSynced);
    let all = uids.iter().map(|uid| settling(uid)).collect();
    let effects = world.step(Input::GroupsListed(Ok(complete(all))));
    assert_eq!(operations(&effects).len(), 20);
    assert!(
        wait_of(&effects) > Duration::from_secs(4),
        "no read for each"
    );
    let creating = Some(group("Pending", "Creating"));
    let effects = world.step(Input::Observed(key("p1"), Ok(creating)));
    assert!(
        wait_of(&effects) > Duration::from_secs(4),
        "left to the list"
    );
    let listed = uids.iter().map(|uid| {
        if uid == "p0" {
            summary(uid)
        } else {
            settling(uid)
        }
    });
    let effects = world.step(Input::GroupsListed(Ok(complete(listed.collect()))));
    assert_eq!(
        operations(&effects),
        [("p0".into(), Operation::GetGroup)],
        "only what has settled is read"
    );
}

#[test]
fn a_status_overwritten_by_somebody_else_is_looked_at_again() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    let effects = world.step(running("a"));
    let ours = serde_json::to_value(written(&effects).unwrap().0).unwrap();
    let echo = pod_with("a", |pod| pod["status"] = ours.clone());
    assert!(
        operations(&world.step(Input::PodApplied(echo))).is_empty(),
        "our own echo is no news"
    );
    let foreign = pod_with("a", |pod| {
        pod["status"] = ours;
        for condition in pod["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" {
                condition["status"] = json!("False");
            }
        }
    });
    assert_eq!(
        only_operation(&world.step(Input::PodApplied(foreign))),
        Operation::GetGroup
    );
    assert_eq!(phase(&world.step(running("a"))), Some("Running"));
}

#[test]
fn a_suspended_node_creates_nothing_and_goes_on_afterwards() {
    let mut world = World::synced();
    world.step(Input::Suspended(true));
    assert!(operations(&world.step(Input::PodApplied(pod("a")))).is_empty());
    assert_eq!(
        only_operation(&world.step(Input::Suspended(false))),
        create(false)
    );
}
