//! What holds whatever happens.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::World;
use super::acts::{Act, act};
use crate::pods::engine::HOLD;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_groups_and_pods_agree_in_the_end(
        acts in prop::collection::vec(act(), 1..60),
        lying in any::<bool>(),
    ) {
        let mut world = World::new();
        world.lying = lying;
        for act in &acts {
            world.act(act);
        }
        world.failing = 0;
        world.trouble.end();
        world.act(&Act::Suspend(false));
        world.act(&Act::Allow(true));
        world.take_back_lies();
        // Long enough for groups that were too many at once.
        world.pass(HOLD + Duration::from_secs(1200));
        for uid in world.probing.keys().cloned().collect::<Vec<_>>() {
            world.probed(&uid, true);
        }

        prop_assert!(world.repeated_puts.is_empty(), "PUT of an existing group: {:?}", world.repeated_puts);
        prop_assert!(world.wrong_deletes.is_empty(), "group of a living pod deleted: {:?}", world.wrong_deletes);
        prop_assert!(
            world.unconfirmed_deletes.is_empty(),
            "group deleted without a live GET of its pod: {:?}", world.unconfirmed_deletes
        );
        prop_assert!(
            world.suspended_creates.is_empty(),
            "created while suspended: {:?}", world.suspended_creates
        );
        prop_assert!(world.wrong_restarts.is_empty(), "restarted: {:?}", world.wrong_restarts);
        prop_assert!(world.cut_short.is_empty(), "not waited for: {:?}", world.cut_short);
        let once: BTreeSet<_> = world.post_starts.iter().collect();
        prop_assert_eq!(once.len(), world.post_starts.len(), "hooks twice: {:?}", world.post_starts);
        for (what, done) in [("hooks", &world.hooks), ("signals", &world.signals)] {
            let once: BTreeSet<_> = done.iter().collect();
            prop_assert_eq!(once.len(), done.len(), "{} twice: {:?}", what, done);
        }
        prop_assert!(world.run_again.is_empty(), "run a second time: {:?}", world.run_again);
        for (uid, pod) in &world.pods {
            prop_assert!(!pod.deleting, "{uid} was never removed");
            let phase = pod.status["phase"].as_str().unwrap_or_default().to_string();
            let rejected = phase == "Failed" && world.trouble.rejected.contains(uid);
            let refused = phase == "Pending" && world.trouble.refused.contains(uid);
            let lost = world.deleted_behind_our_back.contains(uid) || world.started_late.contains(uid);
            if rejected || refused {
                prop_assert!(!world.groups.contains_key(uid), "the group of {uid} was made");
            } else if let Some(code) = pod.job {
                let expected = if code == 0 { "Succeeded" } else { "Failed" };
                prop_assert!(phase == expected || lost && phase == "Failed", "{} is {}", uid, phase);
                let bills = world.begun(uid).is_some_and(|made| {
                    let ends = world.ends_of_job(uid, made);
                    ends.iter().any(|end| end.is_none_or(|end| end > world.now))
                });
                prop_assert!(!bills || world.stopped.contains(uid), "the sidecar of {} bills", uid);
                let message = &pod.status["containerStatuses"][0]["state"]["terminated"]["message"];
                prop_assert!(code == 0 || lost || message.is_null() || message == "last words", "{}", message);
            } else if pod.deadline.is_some() {
                let reason = pod.status["reason"].as_str().unwrap_or_default();
                prop_assert_eq!(phase, "Failed", "{} lives on", uid);
                prop_assert!(
                    reason == "DeadlineExceeded" || lost,
                    "{} failed for {}", uid, reason
                );
                prop_assert!(!world.groups.contains_key(uid), "the group of {} bills", uid);
            } else if phase == "Failed" {
                prop_assert!(pod.once, "{uid} is to run always");
                prop_assert!(lost, "{uid} failed for no reason");
            } else {
                prop_assert_eq!(phase, "Running");
                let container = &pod.status["containerStatuses"][0];
                let target = world.probing.get(uid);
                prop_assert_eq!(target.is_some(), pod.probed, "{} is probed or not", uid);
                if let Some(target) = target {
                    prop_assert_eq!(&container["containerID"], &*target.containers[0].id);
                    prop_assert_eq!(&container["ready"], true, "{} has been ready since", uid);
                } else {
                    prop_assert_eq!(&container["ready"], true);
                }
                prop_assert!(world.groups.contains_key(uid), "{} has no group", uid);
            }
        }
        for uid in world.probing.keys() {
            prop_assert!(world.pods.contains_key(uid), "{uid} is gone and probed");
        }
        for uid in world.groups.keys() {
            prop_assert!(world.pods.contains_key(uid), "the group of {uid} was left behind");
        }
        prop_assert_eq!(world.engine.counts().pods, world.pods.len());
        let only_jobs = world.stopped.iter().all(|uid| world.jobs.contains_key(uid));
        prop_assert!(only_jobs, "stopped: {:?}", world.stopped);
    }

    #[test]
    fn a_restart_of_a_quiet_world_changes_nothing(pods in prop::collection::btree_set(0u8..12, 0..12)) {
        let mut world = World::new();
        for n in &pods {
            world.act(&Act::Create(*n));
        }
        world.pass(Duration::from_secs(60));
        let before: Vec<_> = world.pods.values().map(|pod| pod.status.clone()).collect();
        let groups = world.groups.clone();
        world.act(&Act::KillOperator);
        world.pass(Duration::from_secs(600));
        let after: Vec<_> = world.pods.values().map(|pod| pod.status.clone()).collect();
        prop_assert_eq!(before, after);
        prop_assert_eq!(groups, world.groups);
    }
}

#[test]
fn what_is_condemned_at_its_deadline_may_go_after_its_pod() {
    let mut world = World::new();
    world.act(&Act::Create(2));
    world.act(&Act::Create(0));
    world.act(&Act::Latency(932));
    world.act(&Act::CreateWithDeadline(1, 3));
    world.act(&Act::Queue(11));
    world.act(&Act::Pass(3051));
    world.act(&Act::ForceDelete(1));
    world.pass(Duration::from_secs(60));
    assert!(
        world.unconfirmed_deletes.is_empty(),
        "{:?}",
        world.unconfirmed_deletes
    );
}

/// The pod vanishes while the delete of its group, which was not provisioned, waits for its turn: by then the group may have
/// started, and the watch may be wrong.
#[test]
fn a_pod_that_vanishes_while_its_unprovisioned_group_waits_to_be_deleted_is_asked_for() {
    let mut world = World::new();
    world.act(&Act::Create(2));
    world.act(&Act::Unprovision(1, None));
    world.act(&Act::Pass(1347));
    world.act(&Act::Queue(4));
    world.act(&Act::Pass(3502));
    world.act(&Act::ForceDelete(2));
    world.pass(HOLD);
    let unconfirmed = &world.unconfirmed_deletes;
    assert!(unconfirmed.is_empty(), "{unconfirmed:?}");
    assert!(world.groups.is_empty(), "{:?}", world.groups);
}

/// A watch that has lost a pod gives it back when a list has just shown that its group is gone: the pod has run, and is not run
/// again.
#[test]
fn a_pod_that_comes_back_without_its_group_is_not_run_a_second_time() {
    let mut world = World::new();
    world.act(&Act::Create(3));
    world.pass(Duration::from_secs(8));
    world.act(&Act::DeleteGroupBehindOurBack(3));
    world.act(&Act::WatchLies(3));
    // The list says so at 30 s.
    world.pass(Duration::from_secs(22));
    assert!(world.engine.records.is_empty(), "nothing is known of it");
    world.take_back_lies();
    world.pass(Duration::from_secs(60));
    assert!(world.run_again.is_empty());
    let phase = |pod: &super::Pod| pod.status["phase"].clone();
    assert_eq!(
        world.pods.values().map(phase).collect::<Vec<_>>(),
        ["Failed"]
    );
}
