//! Namespaces that the connector does not allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::kube::namespaces::Namespaces;

const REASON: &str = "NamespaceNotAllowed";

/// The connector allows namespaces with the label `aci=yes`, and the pods' namespace carries `label`.
fn labelled(label: Option<&str>) -> Input {
    let labels = label.map(|value| BTreeMap::from([("aci".to_owned(), value.to_owned())]));
    let namespaces = labels.map(|labels| ("default".to_owned(), labels));
    Input::Tenants(Tenants::Selected {
        selector: Arc::new(
            serde_json::from_value(json!({"matchExpressions": [
                {"key": "aci", "operator": "In", "values": ["yes"]}
            ]}))
            .unwrap(),
        ),
        namespaces: namespaces.into_iter().collect::<Namespaces>(),
    })
}

fn world(label: Option<&str>) -> World {
    let mut world = World::synced();
    world.step(labelled(label));
    world
}

fn waits_for(effects: &[Effect]) -> Option<(String, String)> {
    let status = effects.iter().rev().find_map(|effect| match effect {
        Effect::WriteStatus { status, .. } => Some(status),
        _ => None,
    })?;
    let container = status.container_statuses.as_ref()?.first()?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.clone()?, waiting.message.clone()?))
}

#[test]
fn a_pod_of_a_namespace_that_is_not_allowed_waits_and_costs_no_call() {
    let mut world = world(Some("no"));
    let effects = world.step(Input::PodApplied(pod("a")));
    assert!(operations(&effects).is_empty(), "{effects:?}");
    assert_eq!(phase(&effects), Some("Pending"));
    let (reason, message) = waits_for(&effects).unwrap();
    assert_eq!((reason.as_str(), events(&effects)), (REASON, vec![REASON]));
    assert!(
        message.contains("aci in (yes)") && message.contains("default"),
        "{message}"
    );
    // Told once, however often something happens.
    let effects = world.after(100).step(Input::PodApplied(pod("a")));
    assert!(written(&effects).is_none() && events(&effects).is_empty());
    // Nothing has to be deleted either.
    let effects = world.step(Input::PodApplied(deleting("a")));
    assert_eq!(only_operation(&effects), Operation::DeletePod);
}

#[test]
fn a_namespace_that_becomes_allowed_starts_its_pods_at_once() {
    let mut world = world(Some("no"));
    world.step(Input::PodApplied(pod("a")));
    let effects = world.after(500).step(labelled(Some("yes")));
    assert_eq!(only_operation(&effects), create(false));
    assert!(wait_of(&effects).is_zero());
    // And one that is not allowed any more before the call is made stops it.
    let effects = world.step(labelled(Some("no")));
    assert!(operations(&effects).is_empty());
    assert_eq!(events(&effects), [REASON], "told again");
}

#[test]
fn what_runs_goes_on_and_is_told() {
    let mut world = world(Some("yes"));
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    let effects = world.after(60).step(labelled(Some("no")));
    assert_eq!(events(&effects), [REASON]);
    assert!(written(&effects).is_none());
    let effects = world.after(60).step(running("a"));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert!(events(&effects).is_empty());
    // When Azure loses it no other one is made in its place.
    world.step(Input::Observed(key("a"), Ok(None)));
    let effects = world.after(5).step(Input::Observed(key("a"), Ok(None)));
    assert!(operations(&effects).is_empty(), "{effects:?}");
    assert_eq!(waits_for(&effects).unwrap().0, REASON);
    let effects = world.after(60).step(labelled(Some("yes")));
    assert!(matches!(
        only_operation(&effects),
        Operation::CreateGroup { .. }
    ));
}

#[test]
fn a_create_whose_outcome_is_unknown_is_looked_up_all_the_same() {
    let mut world = world(Some("yes"));
    world.step(Input::PodApplied(pod("a")));
    world.begin("a");
    world.step(labelled(Some("no")));
    let effects = world.step(Input::Created(
        key("a"),
        Err(failure(FailureKind::Uncertain)),
    ));
    assert_eq!(only_operation(&effects), Operation::GetGroup);
    assert_eq!(phase(&world.after(60).step(running("a"))), Some("Running"));
}

#[test]
fn labels_that_are_not_known_allow_nothing_and_are_no_refusal() {
    let mut world = world(None);
    let effects = world.step(Input::PodApplied(pod("a")));
    assert!(operations(&effects).is_empty());
    assert!(written(&effects).is_none() && events(&effects).is_empty());
    let effects = world.step(labelled(Some("yes")));
    assert_eq!(only_operation(&effects), create(false));
    let effects = world.step(Input::Tenants(Tenants::All));
    assert!(operations(&effects).is_empty(), "nothing is new");
}
