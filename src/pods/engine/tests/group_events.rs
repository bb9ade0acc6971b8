//! Which of Azure's events are told.

use super::*;

#[test]
fn what_azure_said_before_our_start_is_told_only_when_something_has_happened() {
    let mut before = World::synced();
    before.step(Input::PodApplied(pod("a")));
    before.step(ensured("a"));
    let effects = before.step(running("a"));
    let runs = serde_json::to_value(written(&effects).unwrap().0).unwrap();
    let waits = json!({"phase": "Pending", "conditions": [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2027-01-15T07:59:55Z"},
    ]});
    // The predecessor knew all; it looked last when the image was there; it is not known when it did.
    for (status, expected) in [
        (&runs, vec![]),
        (&waits, vec!["Started"]),
        (&json!({"phase": "Pending"}), vec!["Pulled", "Started"]),
    ] {
        // Whichever list comes first.
        for groups_first in [true, false] {
            let mut world = World::new();
            world.after(10);
            let listed = Input::GroupsListed(Ok(complete(vec![summary("a")])));
            let applied = pod_with("a", |pod| pod["status"] = status.clone());
            if groups_first {
                world.step(listed);
                world.step(Input::PodApplied(applied));
                world.step(Input::PodsSynced);
            } else {
                world.step(Input::PodApplied(applied));
                world.step(Input::PodsSynced);
                world.step(listed);
            }
            let found = Ensured {
                group: group("Running", "Succeeded"),
                adopted: false,
                notes: Vec::new(),
            };
            world.step(Input::Created(key("a"), Ok(found)));
            let effects = world.step(said_in_time());
            assert_eq!(events(&effects), expected, "{groups_first} {status}");
            assert!(events(&world.step(said_in_time())).is_empty());
        }
    }
}

/// A look at `a` whose container was pulled and started at the world's beginning.
fn said_in_time() -> Input {
    let mut group = group("Running", "Succeeded");
    let said = |name: &str, at: &str| json!({"name": name, "type": "Normal", "count": 1, "message": "m", "lastTimestamp": at});
    group.properties.instance_view.as_mut().unwrap().events = serde_json::from_value(json!([
        said("Pulled", "2027-01-15T07:59:50Z"),
        said("Started", "2027-01-15T08:00:00Z"),
    ]))
    .unwrap();
    Input::Observed(key("a"), Ok(Some(group)))
}
