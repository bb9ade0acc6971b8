//! Groups that are gone although nobody here has deleted them.

use super::*;

fn pod_under(policy: &str, status: &serde_json::Value) -> Box<PodFacts> {
    pod_with("a", |pod| {
        pod["spec"]["restartPolicy"] = json!(policy);
        pod["status"] = status.clone();
    })
}

fn gone() -> Input {
    Input::Observed(key("a"), Ok(None))
}

/// A world that has just started and finds pod `a`, which ran, without its group.
fn restarted(policy: &str) -> (World, Vec<Effect>) {
    let status = json!({"phase": "Running", "containerStatuses": [
        {"name": "web", "restartCount": 3, "ready": true, "image": "nginx", "imageID": "",
         "state": {"running": {"startedAt": "2027-01-15T07:00:00Z"}}}]});
    let mut world = World::new();
    world.step(Input::PodApplied(pod_under(policy, &status)));
    world.step(Input::PodsSynced);
    let effects = world.step(Input::GroupsListed(Ok(complete(Vec::new()))));
    (world, effects)
}

#[test]
fn what_ran_before_a_restart_of_ours_is_not_run_a_second_time() {
    for policy in ["Never", "OnFailure"] {
        let (mut world, effects) = restarted(policy);
        assert_eq!(
            only_operation(&effects),
            Operation::GetGroup,
            "a look first"
        );
        assert_eq!(only_operation(&world.step(gone())), Operation::GetGroup);
        let effects = world.after(5).step(gone());
        assert_eq!(phase(&effects), Some("Failed"), "{policy}");
        assert_eq!(events(&effects), ["ContainerGroupDeleted"]);
        assert!(operations(&effects).is_empty());
    }
}

#[test]
fn a_pod_that_always_restarts_is_restarted_and_counted() {
    let (mut world, _) = restarted("Always");
    world.step(gone());
    let effects = world.after(5).step(gone());
    assert_eq!(events(&effects), ["ContainerGroupDeleted"]);
    let (status, _) = written(&effects).unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!((container.restart_count, container.ready), (4, false));
    let next = only_operation(&effects);
    let expected = Operation::CreateGroup {
        look_first: true,
        restarts: 4,
    };
    assert_eq!(next, expected);
    assert!(wait_of(&effects) >= Duration::from_secs(4), "a back-off");
    // The count goes on from there, in the new group and after its own restarts.
    for (in_group, shown) in [(0, 4), (2, 6)] {
        let mut group = group("Running", "Succeeded");
        group.tags.insert("vkc-restarts".to_owned(), "4".to_owned());
        let view = group.properties.containers[0]
            .properties
            .instance_view
            .as_mut();
        view.unwrap().restart_count = Some(in_group);
        let made = Ensured {
            group: group.clone(),
            adopted: false,
            notes: Vec::new(),
        };
        world.step(Input::Created(key("a"), Ok(made)));
        world.step(Input::Observed(key("a"), Ok(Some(group))));
        let facts = world.engine.facts(&key("a")).unwrap();
        assert_eq!(facts.restarts(), shown);
    }
}

#[test]
fn a_group_that_a_later_list_shows_is_not_lost() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_under(
        "Never",
        &json!({"phase": "Pending"}),
    )));
    world.step(ensured("a"));
    world.step(running("a"));
    world.step(gone());
    world
        .after(2)
        .step(Input::GroupsListed(Ok(complete(vec![summary("a")]))));
    let effects = world.after(3).step(gone());
    assert_eq!(phase(&effects), None, "the first 404 was wrong");
    // A list that does not show it either agrees with a 404.
    let listed = Input::GroupsListed(Ok(complete(Vec::new())));
    let effects = world.after(2).step(listed);
    assert_eq!(phase(&effects), Some("Failed"));
}

#[test]
fn a_group_that_goes_before_anything_has_begun_is_made_again_without_a_word() {
    for policy in ["Never", "OnFailure", "Always"] {
        let mut world = World::new();
        world.step(Input::PodApplied(pod_under(
            policy,
            &json!({"phase": "Pending"}),
        )));
        world.step(Input::PodsSynced);
        // A predecessor is deleting it, because Azure has failed to provision it.
        let deleting = GroupSummary {
            provisioning_state: "Deleting".into(),
            ..summary("a")
        };
        world.step(Input::GroupsListed(Ok(complete(vec![deleting]))));
        world.step(gone());
        let effects = world.after(5).step(gone());
        assert_eq!(
            (phase(&effects), events(&effects)),
            (None, vec![]),
            "{policy}"
        );
        assert_eq!(only_operation(&effects), create(true), "{policy}");
    }
}

#[test]
fn a_group_that_somebody_deletes_again_and_again_before_anything_begins_is_made_less_and_less_often()
 {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let mut waits = Vec::new();
    for _ in 0..4 {
        world.step(ensured("a"));
        let starts = Ok(Some(group("Pending", "Pending")));
        world.step(Input::Observed(key("a"), starts));
        world.after(40).step(gone());
        let effects = world.after(5).step(gone());
        assert_eq!(only_operation(&effects), create(true));
        waits.push(wait_of(&effects));
    }
    assert_eq!(waits[0], Duration::ZERO);
    assert!(waits[1] >= Duration::from_secs(4), "{waits:?}");
    assert!(waits[3] > waits[1], "{waits:?}");
}

#[test]
fn the_group_of_a_pod_that_has_ended_is_counted_while_lists_show_it() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod_under(
        "Never",
        &json!({"phase": "Pending"}),
    )));
    world.step(ensured("a"));
    world.step(Input::Observed(
        key("a"),
        Ok(Some(group("Terminated", "Succeeded"))),
    ));
    assert_eq!(world.engine.counts().groups, 1);
    for (listed, expected) in [(vec![], 0), (vec![summary("a")], 1)] {
        world
            .after(30)
            .step(Input::GroupsListed(Ok(complete(listed))));
        assert_eq!(world.engine.counts().groups, expected);
    }
}
