//! What pods say against what their groups say.

use chrono::TimeDelta;

use super::story;
use crate::chaos::world::{GroupSeen, PodSeen, State, World, is_final};

const DELETED: &str = "ContainerGroupDeleted";
/// A running pod is looked at every fifteen seconds at least; its status may be so old.
const LAG: TimeDelta = TimeDelta::seconds(20);

/// Pods with the one group they have.
fn pairs(world: &World) -> impl Iterator<Item = (&PodSeen, &GroupSeen)> {
    let pods = world.pods.iter().filter(|pod| pod.deleting.is_none());
    pods.filter_map(|pod| {
        let mut groups = world.groups.iter();
        let group = groups.find(|group| group.uid.as_deref() == Some(&pod.uid))?;
        Some((pod, group))
    })
}

pub(super) fn true_to_groups(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (pod, group) in pairs(world) {
        let lies = if pod.is_final() {
            ended(pod, group)
        } else {
            lives(world, pod, group)
        };
        for lie in lies {
            found.push(format!(
                "{}: {lie}; {}",
                pod.title(),
                story(world, &pod.uid)
            ));
        }
    }
    found
}

/// What has ended stays ended in Azure, too.
fn ended(pod: &PodSeen, group: &GroupSeen) -> Vec<String> {
    let mut lies = Vec::new();
    if group.is_running() {
        lies.push(format!("its group {} still runs", group.name));
    }
    let codes: Vec<i64> = group.containers.iter().filter_map(code).collect();
    let all_ended = codes.len() == group.containers.len();
    let succeeded = codes.iter().all(|code| *code == 0);
    if all_ended && !succeeded && pod.phase == "Succeeded" {
        lies.push(format!("its containers have ended with {codes:?}"));
    }
    lies
}

fn code(container: &crate::chaos::world::ContainerSeen) -> Option<i64> {
    match container.state {
        State::Terminated(code) => Some(code),
        State::Waiting | State::Running => None,
    }
}

fn lives(world: &World, pod: &PodSeen, group: &GroupSeen) -> Vec<String> {
    let mut lies = Vec::new();
    let all = |state: fn(&State) -> bool| group.containers.iter().all(|it| state(&it.state));
    if all(|state| *state == State::Running) && pod.phase != "Running" {
        lies.push("all containers of its group run".to_owned());
    }
    // A container in a crash loop is elsewhere at the next moment.
    let settled = group.changed.is_none_or(|at| world.now - at > LAG);
    if settled && all(|state| matches!(state, State::Terminated(_))) {
        lies.push("all containers of its group have ended".to_owned());
    }
    // A group that was made again begins to count anew, and the pod does not.
    let created = world
        .changes
        .iter()
        .filter(|change| change.kind == "created" && change.uid() == Some(&pod.uid))
        .count();
    for there in &group.containers {
        let Some(here) = pod.containers.iter().find(|here| here.name == there.name) else {
            if pod.phase == "Running" {
                lies.push(format!("no status of container {}", there.name));
            }
            continue;
        };
        if !settled {
            continue;
        }
        if here.state != there.state {
            lies.push(format!(
                "container {} is {:?} and not {:?}",
                there.name, there.state, here.state
            ));
        }
        let same =
            here.restarts == there.restarts || (created > 1 && here.restarts > there.restarts);
        if !same {
            lies.push(format!(
                "container {} was restarted {} times and not {}",
                there.name, there.restarts, here.restarts
            ));
        }
    }
    if group.ip.is_some() && pod.phase == "Running" && pod.ip != group.ip {
        lies.push(format!(
            "its address is {:?} and not {:?}",
            group.ip, pod.ip
        ));
    }
    lies
}

pub(super) fn phases(world: &World) -> Vec<String> {
    let rank = |phase: &str| match phase {
        "Running" => 1,
        "Succeeded" | "Failed" => 2,
        _ => 0,
    };
    let mut found = Vec::new();
    for (uid, pod) in &world.history {
        let phases: Vec<&str> = pod
            .phases
            .iter()
            .map(|(_, phase, _)| phase.as_str())
            .collect();
        let back = phases.windows(2).any(|pair| match pair {
            [before, after] => rank(after) < rank(before) || (is_final(before) && before != after),
            _ => false,
        });
        if back {
            found.push(format!("phases {phases:?}; {}", story(world, uid)));
        }
    }
    found
}

/// What the API server knew to run, and Azure has not any more, has failed; a pod that is always restarted may run again,
/// and counts it.
pub(super) fn vanished(world: &World) -> Vec<String> {
    let changes = world
        .changes
        .iter()
        .filter(|change| change.kind == "vanished");
    changes
        .filter_map(|change| {
            let uid = change.uid()?;
            let pod = world
                .pods
                .iter()
                .find(|pod| pod.uid == uid && pod.deleting.is_none())?;
            let history = world.history.get(uid)?;
            let ran = history.first(&["Running"]).is_some_and(|at| at < change.at);
            let over = history
                .first(&["Succeeded", "Failed"])
                .is_some_and(|at| at < change.at);
            if !ran || over {
                return None;
            }
            let failed = pod.phase == "Failed" && pod.reason == DELETED;
            let restarted = pod.policy == "Always"
                && !pod.is_final()
                && pod
                    .containers
                    .iter()
                    .any(|container| container.restarts > 0);
            // It had ended before it vanished, and the look that tells came too late for this watch, or too early.
            let ended = pod.policy != "Always" && pod.is_final();
            (!failed && !restarted && !ended).then(|| {
                format!(
                    "{} ({}, reason {:?}) has lost its group {}; {}",
                    pod.title(),
                    pod.policy,
                    pod.reason,
                    change.group,
                    story(world, uid)
                )
            })
        })
        .collect()
}

/// One 404 proves nothing, and what we have deleted ourselves was not lost.
pub(super) fn believed(world: &World) -> Vec<String> {
    let given_up = world.history.iter().filter(|(_, pod)| {
        let mut phases = pod.phases.iter();
        phases.any(|(_, _, reason)| reason == DELETED)
    });
    given_up
        .filter(|(uid, _)| {
            let mut changes = world.changes.iter();
            !changes.any(|change| change.uid() == Some(uid) && change.kind == "vanished")
        })
        .map(|(uid, _)| {
            format!(
                "given up, and nobody else had deleted its group; {}",
                story(world, uid)
            )
        })
        .collect()
}

/// But for containers that start and end all the time.
pub(super) fn rest(world: &World) -> Vec<String> {
    let quiet = world.restless.iter().filter(|uid| {
        let mut groups = world.groups.iter();
        let group = groups.find(|group| group.uid.as_deref() == Some(uid));
        let changed = group.and_then(|group| group.changed);
        changed.is_none_or(|at| world.now - at > LAG * 2)
    });
    quiet
        .map(|uid| {
            format!(
                "written again in the quiet at the end; {}",
                story(world, uid)
            )
        })
        .collect()
}
