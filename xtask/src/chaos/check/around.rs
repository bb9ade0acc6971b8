//! Connector, nodes, processes, secrets.

use chrono::TimeDelta;
use serde_json::Value;

use crate::chaos::world::{Owner, PodSeen, World};

/// A node whose Lease is older is `NotReady` for Kubernetes.
const LEASE: TimeDelta = TimeDelta::seconds(40);
/// A replica that has not renewed its Lease for this long is not there.
const CLAIM: TimeDelta = TimeDelta::seconds(15);
/// The Lease of a replica that has died is deleted after a minute.
const FORGOTTEN: TimeDelta = TimeDelta::seconds(120);
/// Kubernetes waits 50 s for a renewal of a node's Lease, which takes an API server and an operator. When they were away
/// for this much of that time and the takeover before it, the rest may be too short: a replica that takes over from one
/// that sleeps has to see its Lease unchanged for 15 s without a gap.
const GRACE: TimeDelta = TimeDelta::seconds(90);
const AWAY: TimeDelta = TimeDelta::seconds(15);
/// What Kubernetes says of a node whose Lease was not renewed.
const UNKNOWN: &str = "NodeStatusUnknown";
/// What an operator says of its node that had no first list in its first 40 s.
const UNSYNCED: &str = "NotSynced";
/// Why a node is not Ready whose operator starts and waits for Azure's first list for more than five seconds.
const STARTING: &str = "Starting";
/// What a process may have more at the end than at its start: what it keeps of pods, connections and caches.
const KIB: u64 = 64 * 1024;
const FILES: u64 = 64;

pub(super) fn connector(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let status = world.connector.get("status").unwrap_or(&Value::Null);
    let list = |name: &str| {
        status
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let ready = list("conditions")
        .into_iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    let ready = ready.unwrap_or_default();
    if ready.get("status").and_then(Value::as_str) != Some("True") {
        found.push(format!("Ready is {ready}"));
    }
    let generation = world.connector.pointer("/metadata/generation");
    if status.get("observedGeneration") != generation {
        found.push(format!("generation {generation:?} is not the observed one"));
    }
    let nodes = list("nodes");
    if nodes.len() != world.nodes.len() {
        found.push(format!(
            "its status has {} nodes of {}",
            nodes.len(),
            world.nodes.len()
        ));
    }
    let has_group = |pod: &PodSeen| {
        let mut groups = world.groups.iter();
        groups.any(|group| group.uid.as_deref() == Some(&pod.uid))
    };
    let mut all = 0;
    for node in &nodes {
        let name = node.get("name").and_then(Value::as_str).unwrap_or_default();
        let pods = world.pods.iter();
        let pods: Vec<&PodSeen> = pods
            .filter(|pod| pod.node.as_deref() == Some(name))
            .collect();
        all += pods.len();
        let groups = pods.iter().filter(|pod| has_group(pod)).count();
        // Nobody looks at a pod that has ended: that its group has vanished shows with the next list.
        let ended = pods.iter().filter(|pod| pod.is_final() && !has_group(pod));
        let perhaps = groups + ended.count();
        for (what, right) in [
            ("pods", pods.len()..=pods.len()),
            ("containerGroups", groups..=perhaps),
        ] {
            let told = node.get(what).and_then(Value::as_u64);
            let told = told.and_then(|told| usize::try_from(told).ok());
            if told.is_none_or(|told| !right.contains(&told)) {
                found.push(format!(
                    "{name}: {what} is {told:?} and should be {right:?}"
                ));
            }
        }
    }
    let told = status.get("pods").and_then(Value::as_u64);
    if told != u64::try_from(all).ok() {
        found.push(format!("pods is {told:?} and should be {all}"));
    }
    found
}

pub(super) fn nodes(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let status = world
        .connector
        .pointer("/status/nodes")
        .and_then(Value::as_array);
    let known: Vec<&str> = status
        .into_iter()
        .flatten()
        .filter_map(|node| node.get("name")?.as_str())
        .collect();
    for node in &world.nodes {
        if !known.contains(&node.name.as_str()) {
            found.push(format!("node {} belongs to no connector", node.name));
        }
        if !node.ready {
            found.push(format!("node {} is not Ready", node.name));
        }
        let taints = node
            .taints
            .iter()
            .filter(|taint| taint.starts_with("node.kubernetes.io/"));
        found.extend(taints.map(|taint| format!("node {} has the taint {taint}", node.name)));
    }
    // osType is Both.
    if world.nodes.len() != 2 {
        found.push(format!("{} nodes, not 2", world.nodes.len()));
    }
    found
}

/// How long the API server or all operators were away in the time before `at`.
fn away(world: &World, at: chrono::DateTime<chrono::Utc>) -> TimeDelta {
    let outages = world.outages.iter();
    outages
        .map(|(from, to)| (*to).min(at) - (*from).max(at - GRACE))
        .filter(|length| *length > TimeDelta::zero())
        .sum()
}

/// An operator that is away for longer than Kubernetes waits is none of the acts: nothing here lasts that long by itself.
pub(super) fn stays_ready(world: &World) -> Vec<String> {
    let mut was = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for change in &world.readiness {
        if change.ready {
            was.insert(&change.node);
        } else if was.contains(&change.node)
            && change.reason != STARTING
            && !([UNKNOWN, UNSYNCED].contains(&change.reason.as_str())
                && away(world, change.at) >= AWAY)
        {
            found.push(format!(
                "node {} was not Ready from {} on: {}",
                change.node,
                change.at.format("%H:%M:%S%.3f"),
                change.reason
            ));
        }
    }
    found
}

pub(super) fn leases(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for node in &world.nodes {
        let renewed = world.leases.get(&node.name).copied().flatten();
        if renewed.is_none_or(|at| world.now - at > LEASE) {
            found.push(format!(
                "the Lease of node {} was renewed at {renewed:?}",
                node.name
            ));
        }
    }
    let forgotten = world
        .leases
        .keys()
        .filter(|name| !world.nodes.iter().any(|node| node.name == **name));
    found.extend(forgotten.map(|name| format!("Lease {name} is of no node")));
    found
}

pub(super) fn ownership(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let of = |about: &str| -> Vec<&Owner> {
        let owners = world.owners.iter();
        owners.filter(|lease| lease.about == about).collect()
    };
    let age = |lease: &Owner| lease.renewed.map(|at| world.now - at);
    let fresh = |lease: &Owner| age(lease).is_some_and(|age| age <= CLAIM);
    let replicas = of("replica");
    let live: Vec<&str> = replicas
        .iter()
        .filter(|lease| fresh(lease))
        .map(|lease| lease.holder.as_str())
        .collect();
    let running = world.processes.iter().filter(|it| it.now.is_some());
    let running = running.count();
    if live.len() != running {
        found.push(format!("{running} replicas run, and {live:?} say so"));
    }
    match of("connector").as_slice() {
        [one] if fresh(one) && live.contains(&one.holder.as_str()) => {}
        all => found.push(format!(
            "the connector's Leases are {all:?}, replicas {live:?}"
        )),
    }
    let old = replicas
        .iter()
        .filter(|lease| age(lease).is_none_or(|age| age > FORGOTTEN));
    found.extend(
        old.map(|lease| format!("the Lease {} of a replica that is not there", lease.name)),
    );
    found
}

pub(super) fn processes(world: &World) -> Vec<String> {
    let ended = world.processes.iter().filter_map(|process| {
        let how = process.ended.as_ref()?;
        Some(format!("{} ended by itself: {how}", process.name))
    });
    ended.chain(world.panics.iter().cloned()).collect()
}

pub(super) fn bounds(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for process in &world.processes {
        let (Some((kib, files)), Some((kib_now, files_now))) = (process.at_start, process.now)
        else {
            continue;
        };
        if kib_now > kib + kib / 2 + KIB {
            found.push(format!(
                "{}: {kib_now} KiB resident, {kib} at its start",
                process.name
            ));
        }
        if files_now > files + FILES {
            found.push(format!(
                "{}: {files_now} open files, {files} at its start",
                process.name
            ));
        }
    }
    found
}

pub(super) fn secrets(world: &World) -> Vec<String> {
    world.leaks.clone()
}
