//! Groups that no pod claims.

use super::*;
use crate::tenure::Maker;

#[test]
fn a_force_deleted_pod_loses_its_group_only_after_a_live_get() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    let effects = world.step(Input::PodGone(key("a")));
    assert_eq!(only_operation(&effects), Operation::GetPod);
    assert_eq!(
        only_operation(&world.step(Input::PodRead(key("a"), Presence::Unknown))),
        Operation::GetPod
    );
    // Those that vanish together are counted together.
    let effects = world.step(Input::PodRead(key("a"), Presence::Gone));
    assert_eq!(only_operation(&effects), Operation::Timer);
    assert_eq!(wait_of(&effects), Duration::from_secs(2));
    assert_eq!(
        only_operation(&world.after(2).step(Input::Timer(key("a")))),
        Operation::DeleteGroup
    );
    world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(world.engine.counts().groups, 0);
}

#[test]
fn an_orphan_is_deleted_after_two_lists_and_a_live_get_and_a_living_pod_is_left_alone() {
    let mut world = World::synced();
    let groups = || Ok(complete(vec![summary("x"), summary("y")]));
    assert!(operations(&world.step(Input::GroupsListed(groups()))).is_empty());
    let asked = operations(&world.after(30).step(Input::GroupsListed(groups())));
    assert_eq!(
        asked,
        [
            ("x".into(), Operation::GetPod),
            ("y".into(), Operation::GetPod)
        ]
    );
    assert!(operations(&world.step(Input::PodRead(key("y"), Presence::Alive))).is_empty());
    assert_eq!(
        only_operation(&world.step(Input::PodRead(key("x"), Presence::Gone))),
        Operation::DeleteGroup
    );
}

#[test]
fn a_pod_that_the_watch_lost_for_a_while_finds_the_group_that_a_list_has_shown() {
    // A predecessor's create may have been on its way: one look that finds nothing would not be believed.
    let mut world = World::new();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::PodsSynced);
    world.step(Input::PodGone(key("a")));
    world.step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
    world.step(Input::PodRead(key("a"), Presence::Alive));
    let effects = world.step(Input::PodApplied(pod("a")));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
}

#[test]
fn the_same_list_twice_is_one_list() {
    let mut world = World::synced();
    let as_it_was = |seconds| {
        let listing = Listing {
            age: Duration::from_secs(seconds),
            ..complete(vec![summary("x")])
        };
        Input::GroupsListed(Ok(listing))
    };
    world.after(100).step(as_it_was(10));
    assert!(operations(&world.after(30).step(as_it_was(40))).is_empty());
    assert_eq!(operations(&world.after(30).step(as_it_was(50))).len(), 1);
}

/// A world in which lists show `orphans` groups without a pod, and `pods` with one that runs.
fn fleet(pods: u32, orphans: u32) -> World {
    let mut world = World::synced();
    let running_pods: Vec<String> = (0..pods).map(|n| format!("p{n}")).collect();
    for uid in &running_pods {
        world.step(Input::PodApplied(pod(uid)));
        world.step(ensured(uid));
        world.step(running(uid));
    }
    let groups: Vec<_> = (0..orphans)
        .map(|n| summary(&format!("o{n}")))
        .chain(running_pods.iter().map(|uid| summary(uid)))
        .collect();
    world.step(Input::GroupsListed(Ok(complete(groups.clone()))));
    let effects = world
        .after(30)
        .step(Input::GroupsListed(Ok(complete(groups))));
    let asked = operations(&effects);
    assert_eq!(asked.len(), usize::try_from(orphans).unwrap());
    assert!(asked.iter().all(|(_, it)| *it == Operation::GetPod));
    world
}

/// How many groups are deleted when the API server says of all orphans that their pods are gone.
fn deleted(world: &mut World, orphans: u32) -> usize {
    let gone = |n| Input::PodRead(key(&format!("o{n}")), Presence::Gone);
    let mut all = Vec::new();
    for n in 0..orphans {
        all.extend(operations(&world.step(gone(n))));
    }
    all.iter()
        .filter(|(_, operation)| *operation == Operation::DeleteGroup)
        .count()
}

#[test]
fn many_orphans_at_once_are_not_touched_until_the_stated_time_or_a_persons_word() {
    let mut world = fleet(50, 10);
    assert_eq!(deleted(&mut world, 10), 10, "a sixth of the fleet");
    assert_eq!(world.engine.held(), None);

    let mut world = fleet(20, 12);
    assert_eq!(deleted(&mut world, 12), 0);
    let held = world.engine.held().unwrap();
    assert_eq!((held.groups.len(), held.groups[0].as_str()), (12, "g-o0"));
    assert_eq!(world.engine.counts().orphans, 12);
    let timers = |world: &mut World| {
        let step = |n| operations(&world.step(Input::Timer(key(&format!("o{n}")))));
        let all: Vec<_> = (0..12).flat_map(step).collect();
        all.iter()
            .filter(|(_, operation)| *operation == Operation::DeleteGroup)
            .count()
    };
    assert_eq!(timers(world.after(1700)), 0, "it does not re-arm");
    assert_eq!(timers(world.after(200)), 12, "after half an hour");

    let mut world = fleet(0, 12);
    assert_eq!(deleted(&mut world, 12), 0);
    let now = world.now();
    assert!(world.engine.approve(now, "another").is_empty());
    let token = world.engine.held().unwrap().token;
    let effects = world.engine.approve(now, &token);
    assert_eq!(operations(&effects).len(), 12);
    assert_eq!(world.engine.held(), None);
}

#[test]
fn pods_that_vanish_from_the_watch_are_counted_like_orphans() {
    let mut world = fleet(12, 0);
    let mut deletes = 0;
    for n in 0..12 {
        let uid = format!("p{n}");
        let asked = world.step(Input::PodGone(key(&uid)));
        assert_eq!(only_operation(&asked), Operation::GetPod);
        world.step(Input::PodRead(key(&uid), Presence::Gone));
    }
    for n in 0..12 {
        let effects = world.after(2).step(Input::Timer(key(&format!("p{n}"))));
        let next = operations(&effects);
        deletes += next
            .iter()
            .filter(|(_, it)| *it == Operation::DeleteGroup)
            .count();
    }
    assert_eq!(deletes, 0);
    assert_eq!(world.engine.held().map(|held| held.groups.len()), Some(12));
    // They come back: it was the watch.
    for n in 0..12 {
        world.step(Input::PodApplied(pod(&format!("p{n}"))));
    }
    assert_eq!(
        (world.engine.counts().orphans, world.engine.held()),
        (0, None)
    );
}

#[test]
fn orphans_are_only_counted_when_told_to_report() {
    let mut world = World::synced();
    world.engine.set_delete_orphans(false);
    world.step(Input::GroupsListed(Ok(complete(vec![summary("x")]))));
    assert!(
        operations(
            &world
                .after(60)
                .step(Input::GroupsListed(Ok(complete(vec![summary("x")]))))
        )
        .is_empty()
    );
    assert_eq!(world.engine.counts().orphans, 1);
}

fn made_by(uid: &str, maker: Maker) -> GroupSummary {
    GroupSummary {
        maker,
        ..summary(uid)
    }
}

#[test]
fn a_group_of_a_connector_that_was_made_again_is_adopted_by_its_pod_and_else_waits_for_a_persons_word()
 {
    let mut world = World::new();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::PodsSynced);
    let groups = ["a", "b"].map(|uid| made_by(uid, Maker::Predecessor));
    let listed = || Input::GroupsListed(Ok(complete(groups.to_vec())));
    let effects = world.step(listed());
    assert_eq!(operations(&effects), [("a".into(), Operation::GetGroup)]);
    world.after(60).step(listed());
    assert!(operations(&world.step(Input::PodRead(key("b"), Presence::Gone))).is_empty());
    for _ in 0..100 {
        let next = operations(&world.after(60).step(listed()));
        assert!(next.iter().all(|(uid, _)| uid == "a"), "{next:?}");
    }
    let held = world.engine.held().unwrap();
    assert_eq!(
        (held.why, held.groups),
        (Hold::Predecessor, vec!["g-b".to_owned()])
    );
    assert_eq!(world.engine.counts().orphans, 1);
    let now = world.now();
    let effects = world.engine.approve(now, &held.token);
    assert_eq!(operations(&effects), [("b".into(), Operation::DeleteGroup)]);

    // Once adopted it is ours like any other.
    world.step(Input::PodGone(key("a")));
    world.step(Input::PodRead(key("a"), Presence::Gone));
    world.after(2).step(Input::Timer(key("a")));
    let deletes = world.engine.held().is_none();
    assert!(deletes, "{:?}", world.engine.held());
}

/// A world with the running pods "mine", which this process has started, and "old", which was there; lists show `strange`
/// besides, whose pod is nowhere.
fn with_a_strange_group(strange: &GroupSummary) -> World {
    let mut world = World::new();
    world.step(Input::PodApplied(pod("old")));
    world.step(Input::PodsSynced);
    let groups = |mine: bool| {
        let mine = mine.then(|| made_by("mine", Maker::Us));
        let groups = [made_by("old", Maker::Former), strange.clone()];
        Input::GroupsListed(Ok(complete(groups.into_iter().chain(mine).collect())))
    };
    world.step(groups(false));
    world.step(running("old"));
    world.step(Input::PodApplied(pod("mine")));
    world.step(ensured("mine"));
    world.step(running("mine"));
    let effects = world.after(30).step(groups(true));
    assert!(
        operations(&effects).contains(&(strange.key.uid.clone(), Operation::GetPod)),
        "{effects:?}"
    );
    world
}

#[test]
fn a_group_of_another_control_plane_stops_every_delete_but_of_what_was_made_here() {
    for maker in [Maker::Other, Maker::Unknown("x".to_owned())] {
        let mut world = with_a_strange_group(&made_by("strange", maker));
        assert_eq!(world.engine.held(), None, "its pod may be on its way to us");
        let gone = Input::PodRead(key("strange"), Presence::Gone);
        assert!(operations(&world.step(gone)).is_empty());
        let held = world.engine.held().unwrap();
        assert_eq!(held.why, Hold::AnotherControlPlane);
        assert_eq!(held.groups, ["g-strange"]);

        // Nobody deletes what may be in use elsewhere, whoever asks for it, and however long it lasts.
        let effects = world.step(Input::PodApplied(deleting("old")));
        assert!(operations(&effects).is_empty(), "{effects:?}");
        let told = |effect: &Effect| matches!(effect, Effect::Emit(event) if event.reason == "AnotherControlPlane");
        assert!(effects.iter().any(told), "{effects:?}");
        for uid in ["old", "strange"] {
            let effects = world.after(7200).step(Input::Timer(key(uid)));
            assert!(operations(&effects).is_empty(), "{effects:?}");
        }
        // What this process has made is its own.
        let effects = world.step(Input::PodApplied(deleting("mine")));
        assert_eq!(only_operation(&effects), Operation::DeleteGroup);

        let now = world.now();
        let mut went: Vec<_> = operations(&world.engine.approve(now, &held.token));
        went.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(
            went,
            [
                ("old".into(), Operation::DeleteGroup),
                ("strange".into(), Operation::DeleteGroup)
            ]
        );
        assert_eq!(world.engine.held(), None);
    }
}

#[test]
fn another_control_plane_that_deletes_its_group_is_not_gone_for_that() {
    let mut world = with_a_strange_group(&made_by("strange", Maker::Other));
    world.step(Input::PodRead(key("strange"), Presence::Gone));
    world.step(Input::PodApplied(deleting("old")));
    world.after(30);
    let left = vec![made_by("mine", Maker::Us), made_by("old", Maker::Former)];
    let effects = world.step(Input::GroupsListed(Ok(complete(left))));
    assert!(operations(&effects).is_empty(), "{effects:?}");
    let held = world.engine.held().unwrap();
    assert_eq!(
        (held.why, held.groups.len()),
        (Hold::AnotherControlPlane, 0)
    );
    let now = world.now();
    let effects = world.engine.approve(now, &held.token);
    assert_eq!(
        operations(&effects),
        [("old".into(), Operation::DeleteGroup)]
    );
    assert_eq!(world.engine.held(), None);
}

#[test]
fn a_process_that_made_groups_of_our_pods_is_no_stranger_though_its_lease_is_lost() {
    let mut world = World::new();
    world.step(Input::PodApplied(pod("old")));
    world.step(Input::PodsSynced);
    let groups = ["old", "left"].map(|uid| made_by(uid, Maker::Unknown("x".to_owned())));
    let listed = || Input::GroupsListed(Ok(complete(groups.to_vec())));
    world.step(listed());
    world.step(running("old"));
    world.after(30).step(listed());
    let effects = world.step(Input::PodRead(key("left"), Presence::Gone));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}
