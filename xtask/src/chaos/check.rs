//! The invariants: each looks at one [`World`] and says what in it must not be. PURE.
//!
//! A check that cannot fail is worth nothing: `tests` has a world for each that breaks it.

mod around;
#[cfg(test)]
pub(super) mod fixture;
mod groups;
mod runs;
mod status;
#[cfg(test)]
mod tests;

use super::world::World;

/// A promise.
#[derive(Clone, Copy)]
pub(super) struct Invariant {
    pub(super) name: &'static str,
    /// What is promised.
    pub(super) rule: &'static str,
    /// Whether a violation may pass by itself, so that it counts only at the end of the wait for quiet. The others are about
    /// what has happened.
    pub(super) settles: bool,
    check: fn(&World) -> Vec<String>,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) invariant: &'static str,
    pub(super) evidence: String,
    pub(super) settles: bool,
}

const fn now(
    name: &'static str,
    rule: &'static str,
    check: fn(&World) -> Vec<String>,
) -> Invariant {
    Invariant {
        name,
        rule,
        settles: true,
        check,
    }
}

const fn ever(
    name: &'static str,
    rule: &'static str,
    check: fn(&World) -> Vec<String>,
) -> Invariant {
    Invariant {
        name,
        rule,
        settles: false,
        check,
    }
}

/// All of them.
pub(super) const INVARIANTS: [Invariant; 23] = [
    now(
        "groups",
        "each pod that is to run has exactly one container group, by UID",
        groups::of_pods,
    ),
    now(
        "orphans",
        "each container group of ours has a pod, by UID",
        groups::orphans,
    ),
    now(
        "nothing-hangs",
        "no pod and no namespace is stuck, every pod has a node",
        groups::stuck,
    ),
    ever(
        "foreign",
        "a group that is not ours is not touched",
        groups::foreign,
    ),
    ever(
        "deletes",
        "no group of a living pod is deleted",
        groups::deletes,
    ),
    now(
        "status",
        "each pod says what its container group says",
        status::true_to_groups,
    ),
    ever("phases", "no phase goes back", status::phases),
    now(
        "vanished",
        "a pod that ran and lost its group is Failed with ContainerGroupDeleted",
        status::vanished,
    ),
    ever(
        "believed",
        "no pod is given up whose group nobody else has deleted",
        status::believed,
    ),
    now(
        "rest",
        "nothing is written about pods while nothing happens",
        status::rest,
    ),
    ever(
        "ran-once",
        "a pod that is not to be restarted runs once, by UID",
        runs::once,
    ),
    now("jobs", "a Job that nobody touched completes", runs::jobs),
    ever(
        "jobs-once",
        "a Job that nobody touched runs no more often than it was asked to",
        runs::jobs_once,
    ),
    ever(
        "create-once",
        "no group that exists is put, started or restarted again, and none that runs is stopped",
        runs::put_once,
    ),
    now(
        "workloads",
        "Deployments and StatefulSets have the pods they want",
        runs::workloads,
    ),
    now(
        "connector",
        "the connector is Ready and its counts are right",
        around::connector,
    ),
    now(
        "nodes",
        "both nodes are Ready, and none is forgotten",
        around::nodes,
    ),
    ever(
        "stays-ready",
        "a node that was Ready is not NotReady because its operator ended or slept",
        around::stays_ready,
    ),
    now(
        "leases",
        "each node has a Lease that is renewed, and none is forgotten",
        around::leases,
    ),
    now(
        "ownership",
        "a replica that lives owns the connector, and none that died is remembered",
        around::ownership,
    ),
    ever(
        "processes",
        "no operator panics or ends by itself",
        around::processes,
    ),
    now(
        "bounds",
        "memory and open files stay near what they were",
        around::bounds,
    ),
    ever("secrets", "no secret is told", around::secrets),
];

/// Everything in the world that must not be.
pub(super) fn check(world: &World) -> Vec<Violation> {
    INVARIANTS
        .iter()
        .flat_map(|invariant| {
            (invariant.check)(world)
                .into_iter()
                .map(|evidence| Violation {
                    invariant: invariant.name,
                    evidence,
                    settles: invariant.settles,
                })
        })
        .collect()
}

/// All that is known of a pod by its UID, for people.
fn story(world: &World, uid: &str) -> String {
    let pod = world.history.get(uid).map_or_else(
        || "a pod never seen".to_owned(),
        super::world::PodHistory::story,
    );
    let changes: Vec<String> = world
        .changes
        .iter()
        .filter(|change| change.uid() == Some(uid))
        .map(super::world::Change::title)
        .collect();
    format!("UID {uid}: {pod}; its groups: {}", changes.join(", "))
}
