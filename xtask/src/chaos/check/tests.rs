//! One world for each way to break each invariant.

use serde_json::json;

use super::fixture::{at, change, group, history, pod, world};
use super::{INVARIANTS, check};
use crate::chaos::world::{Change, NodeSeen, Readiness, State, World};

/// Names of the invariants that are broken in the good world after this change.
fn broken(mut spoil: impl FnMut(&mut World)) -> Vec<&'static str> {
    let mut world = world();
    spoil(&mut world);
    let mut names: Vec<_> = check(&world)
        .iter()
        .map(|violation| violation.invariant)
        .collect();
    names.dedup();
    names
}

#[test]
fn all_is_well_in_the_good_world() {
    assert_eq!(check(&world()), []);
}

#[test]
fn invariants_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = INVARIANTS.iter().map(|it| it.name).collect();
    assert_eq!(names.len(), INVARIANTS.len());
}

#[test]
fn a_pod_without_a_group_and_one_with_two() {
    assert!(
        broken(|world| world.groups.retain(|it| it.uid.as_deref() != Some("a")))
            .contains(&"groups")
    );
    assert!(broken(|world| world.groups.push(group("a"))).contains(&"groups"));
    // One that has ended may have lost its group, and one that is being deleted has none of the rules.
    let ended = |world: &mut World| {
        world.groups.retain(|it| it.uid.as_deref() != Some("j"));
        world.changes.push(change(50, "vanished", "j"));
        world.count();
    };
    assert_eq!(broken(ended), [""; 0]);
}

#[test]
fn a_group_without_a_pod() {
    assert_eq!(broken(|world| world.groups.push(group("x"))), ["orphans"]);
    let untagged = |world: &mut World| {
        let mut other = group("x");
        other.uid = None;
        world.groups.push(other);
    };
    assert_eq!(broken(untagged), ["orphans"]);
}

#[test]
fn what_hangs() {
    assert_eq!(
        broken(|world| world.pod("a").deleting = Some(at(90))),
        ["nothing-hangs"]
    );
    let nowhere = |world: &mut World| {
        world.pods.push(pod("c"));
        world.pod("c").node = None;
    };
    assert!(broken(nowhere).contains(&"nothing-hangs"));
    assert_eq!(
        broken(|world| world.ending.push("gone-1".to_owned())),
        ["nothing-hangs"]
    );
}

#[test]
fn a_foreign_group_that_was_touched() {
    let foreign = |kind: &str| Change {
        group: "foreign".to_owned(),
        tags: json!({}),
        ..change(50, kind, "")
    };
    for kind in ["deleted", "stopped", "replaced", "tagged"] {
        assert_eq!(
            broken(|world| world.changes.push(foreign(kind))),
            ["foreign"],
            "{kind}"
        );
    }
    assert_eq!(
        broken(|world| world.groups.retain(|it| it.name != "foreign")),
        ["foreign"]
    );
    // An attempt that was refused counts, too.
    let call = "DELETE /…/foreign 429".to_owned();
    assert_eq!(
        broken(|world| world.foreign_calls.push(call.clone())),
        ["foreign"]
    );
}

#[test]
fn a_group_of_a_living_pod_that_was_deleted() {
    let deleted = |world: &mut World| {
        world.changes.push(change(50, "deleted", "a"));
        world.changes.push(change(51, "created", "a"));
    };
    assert_eq!(broken(deleted), ["deletes"]);
    let failed = |world: &mut World| {
        deleted(world);
        let change = world
            .changes
            .iter_mut()
            .find(|change| change.kind == "deleted");
        "Failed".clone_into(&mut change.unwrap().provisioning_state);
    };
    assert_eq!(broken(failed), [""; 0]);
    let started_late = |world: &mut World| {
        deleted(world);
        world.changes.push(change(49, "stopped", "a"));
        world
            .changes
            .iter_mut()
            .for_each(|it| it.no_capacity = true);
    };
    assert_eq!(broken(started_late), [""; 0]);
    let in_time = |world: &mut World| {
        deleted(world);
        world.past("a").last_alive = Some(at(53));
    };
    assert_eq!(broken(in_time), [""; 0]);
}

#[test]
fn a_status_that_is_not_true() {
    let restarted = |world: &mut World| world.group("a").containers[0].restarts = 1;
    assert_eq!(broken(restarted), ["status"]);
    let just_now = |world: &mut World| {
        restarted(world);
        world.group("a").changed = Some(at(90));
    };
    assert_eq!(broken(just_now), [""; 0], "the next look is to come");
    let waiting = |world: &mut World| world.pod("a").containers[0].state = State::Waiting;
    assert_eq!(broken(waiting), ["status"]);
    assert_eq!(
        broken(|world| world.pod("a").containers.clear()),
        ["status"]
    );
    assert_eq!(broken(|world| world.pod("a").ip = None), ["status"]);
    assert_eq!(
        broken(|world| "Pending".clone_into(&mut world.pod("a").phase)),
        ["status"]
    );
    let ended = |world: &mut World| {
        world.group("b").containers[0].state = State::Terminated(0);
        world.pod("b").containers[0].state = State::Terminated(0);
    };
    assert_eq!(broken(ended), ["status"]);
    let goes_on = |world: &mut World| world.group("j").containers[0].state = State::Running;
    assert_eq!(broken(goes_on), ["status"]);
    let failed = |world: &mut World| world.group("j").containers[0].state = State::Terminated(3);
    assert_eq!(broken(failed), ["status"]);
}

#[test]
fn a_phase_that_goes_back() {
    let again = |phase: &'static str| {
        move |world: &mut World| {
            let past = world.past("j");
            past.phases.push((at(60), phase.to_owned(), String::new()));
        }
    };
    for phase in ["Running", "Pending", "Failed"] {
        assert_eq!(broken(again(phase)), ["phases"], "{phase}");
    }
}

/// The group of `a` or `b` is gone since the 50th second, and the pod says this.
fn lost(world: &mut World, uid: &str, phase: &str, reason: &str) {
    world.groups.retain(|it| it.uid.as_deref() != Some(uid));
    world.changes.push(change(50, "vanished", uid));
    let pod = world.pod(uid);
    (pod.phase, pod.reason) = (phase.to_owned(), reason.to_owned());
    let past = world.past(uid);
    past.phases
        .push((at(55), phase.to_owned(), reason.to_owned()));
    world.count();
}

#[test]
fn a_pod_that_lost_its_group_and_does_not_say_so() {
    for uid in ["a", "b"] {
        assert_eq!(
            broken(|world| lost(world, uid, "Failed", "ContainerGroupDeleted")),
            [""; 0]
        );
        assert!(broken(|world| lost(world, uid, "Running", "")).contains(&"vanished"));
    }
    let again = |restarts: i64| {
        move |world: &mut World| {
            lost(world, "a", "Running", "");
            world.changes.push(change(60, "created", "a"));
            world.groups.push(group("a"));
            world.pod("a").containers[0].restarts = restarts;
            world.count();
        }
    };
    assert_eq!(broken(again(1)), [""; 0], "a restart that is counted");
    assert_eq!(broken(again(0)), ["vanished"]);
}

#[test]
fn a_pod_given_up_whose_group_was_there() {
    let given_up = |world: &mut World| {
        let pod = world.pod("b");
        (pod.phase, pod.reason) = ("Failed".to_owned(), "ContainerGroupDeleted".to_owned());
        let past = world.past("b");
        past.phases.push((
            at(50),
            "Failed".to_owned(),
            "ContainerGroupDeleted".to_owned(),
        ));
        world.group("b").containers[0].state = State::Waiting;
    };
    assert_eq!(broken(given_up), ["believed"]);
    let by_us = |world: &mut World| {
        given_up(world);
        let mut change = change(49, "deleted", "b");
        "Failed".clone_into(&mut change.provisioning_state);
        world.changes.push(change);
    };
    assert_eq!(broken(by_us), ["believed"], "its provisioning had failed");
}

#[test]
fn pods_that_are_written_without_need() {
    assert_eq!(
        broken(|world| world.restless.push("a".to_owned())),
        ["rest"]
    );
    let crash_loop = |world: &mut World| {
        world.restless.push("a".to_owned());
        world.group("a").changed = Some(at(70));
    };
    assert_eq!(broken(crash_loop), [""; 0]);
}

#[test]
fn a_pod_that_ran_twice() {
    let twice = |world: &mut World| {
        world.changes.push(change(50, "vanished", "b"));
        world.changes.push(change(60, "created", "b"));
    };
    assert!(broken(twice).contains(&"ran-once"));
    let unknown = |world: &mut World| {
        let mut past = history("b");
        "Never".clone_into(&mut past.policy);
        past.phases[1].0 = at(70);
        world.history.insert("b".to_owned(), past);
        twice(world);
    };
    assert_eq!(
        broken(unknown),
        [""; 0],
        "nobody could know that it had run"
    );
    let never_started = |world: &mut World| {
        twice(world);
        world
            .changes
            .iter_mut()
            .for_each(|change| change.ran = false);
        world.past("b").phases.truncate(1);
    };
    assert!(!broken(never_started).contains(&"ran-once"));
}

#[test]
fn a_job_that_ran_twice_or_not_at_all() {
    assert_eq!(
        broken(|world| world.workloads[1].complete = false),
        ["jobs"]
    );
    assert_eq!(broken(|world| world.workloads[1].there = 0), ["jobs"]);
    let other_pod = |world: &mut World| {
        *world = std::mem::take(world).with("k", "Never");
        world.group("k").containers[0].state = State::Terminated(0);
        "Succeeded".clone_into(&mut world.pod("k").phase);
        let past = world.past("k");
        (past.job, past.untouched) = (Some("once".to_owned()), true);
        past.phases
            .push((at(9), "Succeeded".to_owned(), String::new()));
    };
    assert_eq!(broken(other_pod), ["jobs-once"]);
    // Azure started what it had given up while it was being deleted: allowed when the pod says that it has failed.
    let cut_short = |phase: &'static str| {
        move |world: &mut World| {
            other_pod(world);
            world
                .groups
                .retain(|group| group.uid.as_deref() != Some("k"));
            let mut end = change(8, "deleted", "k");
            (end.ran, end.no_capacity) = (true, true);
            world.changes.push(end);
            let past = world.past("k");
            past.phases.pop();
            past.phases.push((at(9), phase.to_owned(), String::new()));
        }
    };
    assert!(broken(cut_short("Succeeded")).contains(&"jobs-once"));
    assert!(!broken(cut_short("Failed")).contains(&"jobs-once"));
    assert_eq!(
        broken(|world| world.changes.retain(|change| change.uid() != Some("j"))),
        ["jobs"]
    );
}

#[test]
fn a_group_that_was_put_or_started_again_or_stopped() {
    for kind in ["replaced", "started", "restarted", "stopped"] {
        assert!(
            broken(|world| world.changes.push(change(50, kind, "a"))).contains(&"create-once"),
            "{kind}"
        );
    }
    assert_eq!(
        broken(|world| world.changes.push(change(50, "stopped", "j"))),
        [""; 0],
        "it has ended"
    );
}

#[test]
fn a_workload_that_lacks_pods() {
    assert_eq!(broken(|world| world.workloads[0].there = 1), ["workloads"]);
}

#[test]
fn a_connector_that_is_not_ready_or_miscounts() {
    for (path, value) in [
        ("/status/conditions/0/status", json!("False")),
        ("/status/observedGeneration", json!(1)),
        ("/status/pods", json!(9)),
        ("/status/nodes/0/pods", json!(9)),
        ("/status/nodes/0/containerGroups", json!(9)),
        ("/status/conditions", json!([])),
    ] {
        let spoil = |world: &mut World| *world.connector.pointer_mut(path).unwrap() = value.clone();
        assert_eq!(broken(spoil), ["connector"], "{path}");
    }
}

#[test]
fn a_group_that_an_ended_pod_has_lost_may_still_be_counted() {
    let lost = |world: &mut World| {
        world.groups.retain(|it| it.uid.as_deref() != Some("j"));
        world.changes.push(change(50, "vanished", "j"));
    };
    assert_eq!(broken(lost), [""; 0]);
    let two = |world: &mut World| {
        lost(world);
        world.groups.retain(|it| it.uid.as_deref() != Some("a"));
    };
    assert_eq!(broken(two), ["groups", "connector"]);
}

#[test]
fn a_node_that_is_not_ready_or_forgotten() {
    assert_eq!(broken(|world| world.nodes[0].ready = false), ["nodes"]);
    let tainted = |world: &mut World| {
        let taint = "node.kubernetes.io/unreachable".to_owned();
        world.nodes[0].taints.push(taint);
    };
    assert_eq!(broken(tainted), ["nodes"]);
    let more = |world: &mut World| {
        let name = "old".to_owned();
        world.leases.insert(name.clone(), Some(at(99)));
        world.nodes.push(NodeSeen {
            name,
            ready: true,
            ..NodeSeen::default()
        });
    };
    assert_eq!(broken(more), ["connector", "nodes"]);
}

#[test]
fn a_node_that_was_ready_and_then_was_not() {
    let spell = |states: &'static [bool]| {
        move |world: &mut World| {
            for (second, ready) in states.iter().enumerate() {
                world.readiness.push(Readiness {
                    at: at(i64::try_from(second).unwrap()),
                    node: "linux".to_owned(),
                    ready: *ready,
                    reason: String::new(),
                });
            }
        }
    };
    assert_eq!(broken(spell(&[true, false, true])), ["stays-ready"]);
    assert_eq!(broken(spell(&[false, true])), [""; 0], "before it was");
    let starts = |world: &mut World| {
        spell(&[true, false])(world);
        "Starting".clone_into(&mut world.readiness[1].reason);
    };
    assert_eq!(broken(starts), [""; 0], "Azure is slow");
    let cases = [
        ("NodeStatusUnknown", 14, vec!["stays-ready"]),
        ("NodeStatusUnknown", 15, vec![]),
        ("NotSynced", 14, vec!["stays-ready"]),
        ("NotSynced", 15, vec![]),
    ];
    for (reason, away, expected) in cases {
        let unknown = |world: &mut World| {
            spell(&[true, false])(world);
            let lost = &mut world.readiness[1];
            lost.at = at(95);
            reason.clone_into(&mut lost.reason);
            // What was before counts from 90 s before.
            world.outages = vec![(at(0), at(10)), (at(80), at(80 + away - 5))];
        };
        assert_eq!(broken(unknown), expected, "{reason}, {away} s");
    }
}

#[test]
fn a_lease_that_is_old_or_of_nobody() {
    let old = |world: &mut World| {
        world.leases.insert("windows".to_owned(), Some(at(10)));
    };
    assert_eq!(broken(old), ["leases"]);
    let nobody = |world: &mut World| {
        world.leases.insert("old".to_owned(), Some(at(99)));
    };
    assert_eq!(broken(nobody), ["leases"]);
}

#[test]
fn a_connector_that_nobody_owns_and_replicas_that_are_not_there() {
    assert_eq!(broken(|world| world.owners.clear()), ["ownership"]);
    assert_eq!(
        broken(|world| "vkc-9-1".clone_into(&mut world.owners[0].holder)),
        ["ownership"]
    );
    assert_eq!(
        broken(|world| world.owners[0].renewed = Some(at(60))),
        ["ownership"]
    );
    let twice = |world: &mut World| world.owners.push(world.owners[0].clone());
    assert_eq!(broken(twice), ["ownership"], "two Leases of connectors");
    let dead = |seconds| {
        move |world: &mut World| {
            let mut other = world.owners[1].clone();
            other.renewed = Some(at(seconds));
            world.owners.push(other);
        }
    };
    assert_eq!(broken(dead(-30)), ["ownership"]);
    assert_eq!(broken(dead(50)), [""; 0], "it has died just now");
}

#[test]
fn a_process_that_ended_panicked_or_grew() {
    assert_eq!(
        broken(|world| world.processes[0].ended = Some("exit 101".to_owned())),
        ["processes"]
    );
    assert_eq!(
        broken(|world| world.panics.push("vkc-0: panicked".to_owned())),
        ["processes"]
    );
    assert_eq!(
        broken(|world| world.processes[0].now = Some((200_000, 40))),
        ["bounds"]
    );
    assert_eq!(
        broken(|world| world.processes[0].now = Some((60_000, 400))),
        ["bounds"]
    );
}

#[test]
fn a_secret_that_is_told() {
    assert_eq!(
        broken(|world| world.leaks.push("the log: …".to_owned())),
        ["secrets"]
    );
}
