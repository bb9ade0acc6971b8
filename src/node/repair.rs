//! What a live Node lacks, and whether it is ours at all. PURE.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};

use super::spec::{CONNECTOR_LABEL, MANAGED_ANNOTATION, Managed, NodeSpec, taint_id};

/// Whose a live Node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Ours, or left by an earlier connector of the same name: keep it.
    Ours,
    /// Somebody else's; the text says whose and what to do.
    Foreign(String),
}

/// Decides whether a Node of our name may be taken over.
///
/// A real kubelet's Node has neither our ownerReference nor our label and is never touched.
pub fn ownership(live: &Node, spec: &NodeSpec) -> Ownership {
    let owners = live
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default();
    if owners.iter().any(|owner| owner.uid == spec.connector_uid) {
        return Ownership::Ours;
    }
    let name = &spec.name;
    match live
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(CONNECTOR_LABEL))
    {
        Some(connector) if *connector == spec.connector => {
            match owners.iter().find(|owner| foreign_owner(owner, spec)) {
                Some(owner) => Ownership::Foreign(format!(
                    "node {name} belongs to {} {}; delete that node or rename the connector",
                    owner.kind, owner.name
                )),
                None => Ownership::Ours,
            }
        }
        Some(connector) => Ownership::Foreign(format!(
            "node {name} belongs to connector {connector}; delete that node or rename the connector"
        )),
        None => Ownership::Foreign(format!(
            "node {name} exists and is not a virtual node; rename the connector, or delete the node if nothing uses it"
        )),
    }
}

/// An owner that is no earlier life of this connector.
fn foreign_owner(owner: &OwnerReference, spec: &NodeSpec) -> bool {
    owner.kind != "VirtualKubeletConnector" || owner.name != spec.connector
}

/// The JSON merge patch that gives `live` what `desired` says, or nothing when there is nothing to do.
///
/// Labels, annotations and taints of others stay, such as `node.kubernetes.io/not-ready`. What an earlier spec put
/// there is taken away (it is listed in an annotation). The patch names the `resourceVersion`, because the list of
/// taints is replaced as a whole; a conflict means: look again.
pub fn needs_repair(live: &Node, desired: &Node) -> Option<Value> {
    let wanted = managed(desired);
    let before = managed(live);
    let mut metadata = Map::new();
    let labels = map_patch(
        live.metadata.labels.as_ref(),
        desired.metadata.labels.as_ref(),
        &before.labels,
    );
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    let annotations = map_patch(
        live.metadata.annotations.as_ref(),
        desired.metadata.annotations.as_ref(),
        &before.annotations,
    );
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    if live
        .metadata
        .owner_references
        .as_deref()
        .unwrap_or_default()
        != desired
            .metadata
            .owner_references
            .as_deref()
            .unwrap_or_default()
    {
        metadata.insert(
            "ownerReferences".to_owned(),
            json!(desired.metadata.owner_references),
        );
    }
    let spec = spec_patch(live, desired, &before, &wanted);
    if metadata.is_empty() && spec.is_empty() {
        return None;
    }
    metadata.insert(
        "resourceVersion".to_owned(),
        json!(live.metadata.resource_version),
    );
    Some(json!({ "metadata": metadata, "spec": spec }))
}

fn spec_patch(
    live: &Node,
    desired: &Node,
    before: &Managed,
    wanted: &Managed,
) -> Map<String, Value> {
    let mut spec = Map::new();
    let live_taints = live
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    let desired_taints = desired
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    let taints = merged_taints(live_taints, desired_taints, &before.taints);
    if !same_taints(&taints, live_taints) {
        spec.insert("taints".to_owned(), json!(taints));
    }
    let cordoned = live
        .spec
        .as_ref()
        .and_then(|s| s.unschedulable)
        .unwrap_or_default();
    if wanted.cordoned && !cordoned {
        spec.insert("unschedulable".to_owned(), Value::Bool(true));
    } else if !wanted.cordoned && before.cordoned && cordoned {
        spec.insert("unschedulable".to_owned(), Value::Null);
    }
    spec
}

fn managed(node: &Node) -> Managed {
    let text = node
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(MANAGED_ANNOTATION));
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Values to set, and `null` for keys that we set once and no longer want.
fn map_patch(
    live: Option<&BTreeMap<String, String>>,
    desired: Option<&BTreeMap<String, String>>,
    before: &[String],
) -> Map<String, Value> {
    let empty = BTreeMap::new();
    let (live, desired) = (live.unwrap_or(&empty), desired.unwrap_or(&empty));
    let set = desired
        .iter()
        .filter(|(key, value)| live.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), Value::String(value.clone())));
    let unset = before
        .iter()
        .filter(|key| live.contains_key(*key) && !desired.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    set.chain(unset).collect()
}

/// Ours first, then what others put there.
fn merged_taints(live: &[Taint], desired: &[Taint], before: &[String]) -> Vec<Taint> {
    let ours: BTreeSet<String> = desired.iter().map(taint_id).collect();
    let foreign = live.iter().filter(|taint| {
        let id = taint_id(taint);
        !ours.contains(&id) && !before.contains(&id)
    });
    desired.iter().chain(foreign).cloned().collect()
}

/// Order does not matter, nor does `timeAdded`, which the API server sets for some effects.
fn same_taints(a: &[Taint], b: &[Taint]) -> bool {
    let set = |taints: &[Taint]| -> BTreeSet<(String, Option<String>)> {
        taints
            .iter()
            .map(|taint| {
                (
                    taint_id(taint),
                    taint.value.clone().filter(|v| !v.is_empty()),
                )
            })
            .collect()
    };
    a.len() == b.len() && set(a) == set(b)
}

#[cfg(test)]
mod tests {
    use super::super::spec::{desired_node, tests::spec};
    use super::*;

    fn live() -> Node {
        let mut node = desired_node(&spec(), "v1");
        node.metadata.resource_version = Some("7".to_owned());
        node.metadata
            .labels
            .as_mut()
            .unwrap()
            .insert("foreign".to_owned(), "stays".to_owned());
        node.spec
            .as_mut()
            .unwrap()
            .taints
            .as_mut()
            .unwrap()
            .push(taint("node.kubernetes.io/not-ready"));
        node
    }

    fn taint(key: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        }
    }

    #[test]
    fn what_others_added_needs_no_repair() {
        assert_eq!(needs_repair(&live(), &desired_node(&spec(), "v1")), None);
    }

    #[test]
    fn drift_is_repaired_and_foreign_things_stay() {
        let mut node = live();
        node.metadata
            .labels
            .as_mut()
            .unwrap()
            .insert("kubernetes.io/role".to_owned(), "other".to_owned());
        node.metadata.owner_references = None;
        node.spec
            .as_mut()
            .unwrap()
            .taints
            .as_mut()
            .unwrap()
            .remove(0);
        let patch = needs_repair(&node, &desired_node(&spec(), "v1")).unwrap();
        assert_eq!(
            patch["metadata"]["labels"],
            json!({"kubernetes.io/role": "agent"})
        );
        assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "uid-1");
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let taints: Vec<_> = patch["spec"]["taints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["key"].clone())
            .collect();
        assert_eq!(
            taints,
            [
                "virtual-kubelet.io/provider",
                "node.kubernetes.io/not-ready"
            ]
        );
    }

    #[test]
    fn what_the_user_takes_out_of_the_spec_goes() {
        let mut new = spec();
        new.labels.clear();
        new.annotations.clear();
        new.taints.clear();
        let patch = needs_repair(&live(), &desired_node(&new, "v1")).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"team": null}));
        assert_eq!(
            patch["metadata"]["annotations"]["example.com/cost"],
            Value::Null
        );
        assert_eq!(
            patch["spec"]["taints"].as_array().unwrap().len(),
            1,
            "not-ready stays"
        );
    }

    #[test]
    fn our_cordon_is_undone_and_a_persons_is_not() {
        let mut cordoned = spec();
        cordoned.unschedulable = true;
        let patch = needs_repair(&live(), &desired_node(&cordoned, "v1")).unwrap();
        assert_eq!(patch["spec"], json!({"unschedulable": true}));

        let mut by_us = live();
        by_us.spec.as_mut().unwrap().unschedulable = Some(true);
        by_us.metadata.annotations = desired_node(&cordoned, "v1").metadata.annotations;
        let patch = needs_repair(&by_us, &desired_node(&spec(), "v1")).unwrap();
        assert_eq!(patch["spec"], json!({"unschedulable": null}));

        let mut by_hand = live();
        by_hand.spec.as_mut().unwrap().unschedulable = Some(true);
        assert_eq!(needs_repair(&by_hand, &desired_node(&spec(), "v1")), None);
    }

    #[test]
    fn nodes_of_others_are_not_taken() {
        let owner = |kind: &str, name: &str, uid: &str| OwnerReference {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        };
        let ours = |label: Option<&str>, owners: Vec<OwnerReference>| {
            let mut node = Node::default();
            node.metadata.labels =
                label.map(|l| BTreeMap::from([(CONNECTOR_LABEL.to_owned(), l.to_owned())]));
            node.metadata.owner_references = Some(owners);
            ownership(&node, &spec()) == Ownership::Ours
        };
        assert!(ours(
            None,
            vec![owner("VirtualKubeletConnector", "vk", "uid-1")]
        ));
        assert!(ours(Some("vk"), vec![]), "left by an orphaning connector");
        assert!(
            ours(
                Some("vk"),
                vec![owner("VirtualKubeletConnector", "vk", "older")]
            ),
            "recreated connector"
        );
        assert!(!ours(Some("vk"), vec![owner("Machine", "m", "x")]));
        assert!(!ours(Some("other"), vec![]));
        assert!(!ours(None, vec![]), "a real kubelet's");
    }
}
