//! Groups that no pod claims.

use super::*;

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

#[test]
fn a_group_of_a_connector_that_was_made_again_is_adopted_by_its_pod_and_else_left_alone() {
    let predecessors = |uid: &str| GroupSummary {
        of_predecessor: true,
        ..summary(uid)
    };
    let mut world = World::new();
    world.step(Input::PodApplied(pod("a")));
    world.step(Input::PodsSynced);
    let listed = || Input::GroupsListed(Ok(complete(vec![predecessors("a"), predecessors("b")])));
    let effects = world.step(listed());
    assert_eq!(operations(&effects), [("a".into(), Operation::GetGroup)]);
    for _ in 0..5 {
        let next = operations(&world.after(60).step(listed()));
        assert!(next.iter().all(|(uid, _)| uid == "a"), "{next:?}");
    }
    assert_eq!(world.engine.counts().orphans, 0);
}
