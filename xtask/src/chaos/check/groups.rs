//! Groups against pods.

use chrono::TimeDelta;

use super::story;
use crate::chaos::world::World;

/// The watch of the pods may be this late.
const LATE: TimeDelta = TimeDelta::seconds(5);

pub(super) fn of_pods(world: &World) -> Vec<String> {
    let pods = world.pods.iter();
    let wanted = pods.filter(|pod| pod.node.is_some() && pod.deleting.is_none());
    wanted
        .filter_map(|pod| {
            let groups: Vec<&str> = world
                .groups
                .iter()
                .filter(|group| group.uid.as_deref() == Some(&pod.uid))
                .map(|group| group.name.as_str())
                .collect();
            // The group of a pod that has ended is kept for its logs, but may be gone.
            let right = groups.len() == 1 || (groups.is_empty() && pod.is_final());
            (!right).then(|| {
                format!(
                    "{} has {} groups {groups:?}; {}",
                    pod.title(),
                    groups.len(),
                    story(world, &pod.uid)
                )
            })
        })
        .collect()
}

pub(super) fn orphans(world: &World) -> Vec<String> {
    let groups = world.groups.iter();
    let ours = groups.filter(|group| !world.foreign.contains(&group.name));
    ours.filter_map(|group| {
        let Some(uid) = &group.uid else {
            return Some(format!("group {} has no tag vkc-uid", group.name));
        };
        let has_pod = world.pods.iter().any(|pod| pod.uid == *uid);
        (!has_pod).then(|| {
            format!(
                "group {} ({}) has no pod; {}",
                group.name,
                group.state,
                story(world, uid)
            )
        })
    })
    .collect()
}

pub(super) fn stuck(world: &World) -> Vec<String> {
    let pods = world.pods.iter();
    let mut found: Vec<String> = pods
        .filter_map(|pod| {
            if pod.deleting.is_some() {
                Some(format!(
                    "{} is still Terminating; {}",
                    pod.title(),
                    story(world, &pod.uid)
                ))
            } else if pod.node.is_none() {
                Some(format!("{} has no node", pod.title()))
            } else {
                None
            }
        })
        .collect();
    let ending = world.ending.iter();
    found.extend(ending.map(|namespace| format!("namespace {namespace} is still Terminating")));
    found
}

/// Nobody of ours has called it by name, and it is there.
pub(super) fn foreign(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for name in &world.foreign {
        if !world
            .groups
            .iter()
            .any(|group| group.name == *name && group.is_running())
        {
            found.push(format!("the foreign group {name} is gone or does not run"));
        }
        let changes = world.changes.iter().filter(|change| change.group == *name);
        // Its maker's own PUT is the first.
        found.extend(
            changes
                .skip(1)
                .map(|change| format!("the foreign group {name} was changed: {}", change.title())),
        );
    }
    let calls = world.foreign_calls.iter();
    found.extend(calls.map(|call| format!("a foreign group was written to: {call}")));
    found
}

/// A group is deleted because its pod is: or because its provisioning failed, or the pod's deadline is over.
pub(super) fn deletes(world: &World) -> Vec<String> {
    let deleted = world
        .changes
        .iter()
        .filter(|change| change.kind == "deleted");
    deleted
        .filter(|change| change.provisioning_state != "Failed" && !change.no_capacity)
        .filter_map(|change| {
            let uid = change.uid()?;
            let pod = world.history.get(uid)?;
            let expired = pod
                .phases
                .iter()
                .any(|(_, _, reason)| reason == "DeadlineExceeded");
            let alive = pod.last_alive.is_some_and(|at| at > change.at + LATE);
            (alive && !expired).then(|| {
                format!(
                    "group {} was deleted although its pod lived; {}",
                    change.group,
                    story(world, uid)
                )
            })
        })
        .collect()
}
