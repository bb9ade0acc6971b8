//! Groups that no pod claims.

use super::*;

#[test]
fn a_force_deleted_pod_loses_its_group_only_after_a_live_get() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    let effects = world.step(Input::PodGone(key("a")));
    assert_eq!(only_operation(&effects), Operation::Confirm);
    assert_eq!(
        only_operation(&world.step(Input::Confirmed(key("a"), Presence::Unknown))),
        Operation::Confirm
    );
    assert_eq!(
        only_operation(&world.step(Input::Confirmed(key("a"), Presence::Gone))),
        Operation::Delete
    );
    world.step(Input::Deleted(key("a"), Ok(Deleted::Absent)));
    assert_eq!(world.index.groups(), 0);
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
            ("x".into(), Operation::Confirm),
            ("y".into(), Operation::Confirm)
        ]
    );
    assert!(operations(&world.step(Input::Confirmed(key("y"), Presence::Alive))).is_empty());
    assert_eq!(
        only_operation(&world.step(Input::Confirmed(key("x"), Presence::Gone))),
        Operation::Delete
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

#[test]
fn many_orphans_are_not_touched_in_one_pass() {
    let mut world = World::synced();
    let groups: Vec<_> = (0..60).map(|n| summary(&format!("o{n}"))).collect();
    world.step(Input::GroupsListed(Ok(complete(groups.clone()))));
    let asked = operations(
        &world
            .after(30)
            .step(Input::GroupsListed(Ok(complete(groups)))),
    );
    assert_eq!(asked.len(), 10);
}

#[test]
fn orphans_are_only_counted_when_told_to_report() {
    let mut world = World::synced();
    world.index.set_delete_orphans(false);
    world.step(Input::GroupsListed(Ok(complete(vec![summary("x")]))));
    assert!(
        operations(
            &world
                .after(60)
                .step(Input::GroupsListed(Ok(complete(vec![summary("x")]))))
        )
        .is_empty()
    );
    assert_eq!(world.index.orphaned(), 1);
}
