//! What the removal of a node leaves in Azure, for people: nobody else will ever look for it. PURE.

use crate::agent::AgentSpec;
use crate::api::AzureScope;
use crate::translate::{PodKey, group_name};

/// IDs in one Event: a note has room for 1,024 bytes.
const IDS_IN_A_NOTE: usize = 3;
/// Notes of one node. The rest is told by number, and by the tag that finds all.
const NOTES: usize = 20;

/// Container groups that a node has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    node: String,
    resource_group: String,
    connector_uid: String,
    /// How many there are, as far as that is known.
    pub(super) groups: u32,
    /// ARM IDs of those that can be named.
    ids: Vec<String>,
}

impl Left {
    /// `groups` is what the agent counted, `pods` are those that the node still had: their groups bear names that follow
    /// from them. `None` when nothing is left.
    pub(super) fn new(
        spec: &AgentSpec,
        scope: Option<&AzureScope>,
        groups: Option<u32>,
        pods: &[PodKey],
    ) -> Option<Self> {
        if groups == Some(0) || (groups.is_none() && pods.is_empty()) {
            return None;
        }
        let subscription = scope.map_or("SUBSCRIPTION", |scope| scope.subscription_id.as_str());
        let prefix = format!(
            "/subscriptions/{subscription}/resourceGroups/{}/providers/Microsoft.ContainerInstance/containerGroups",
            spec.resource_group
        );
        let mut ids: Vec<String> = pods
            .iter()
            .map(|pod| format!("{prefix}/{}", group_name(&spec.cluster_uid, pod)))
            .collect();
        ids.sort();
        let named = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        Some(Self {
            node: spec.node.name.clone(),
            resource_group: spec.resource_group.clone(),
            connector_uid: spec.connector_uid.clone(),
            groups: groups.unwrap_or(named),
            ids,
        })
    }

    /// The notes of the Events: one with the number and the way to find them all, then the IDs.
    pub(super) fn notes(&self) -> Vec<String> {
        let Self {
            node,
            resource_group,
            connector_uid,
            groups,
            ids,
        } = self;
        let mut notes = vec![format!(
            "{groups} container groups of node {node} are left in resource group {resource_group} and may cost money; find them by their tag with the connector's UID {connector_uid}: az container list -g {resource_group} --query \"[?tags.\\\"vkc-connector\\\"=='{connector_uid}'].id\""
        )];
        let chunks = ids.chunks(IDS_IN_A_NOTE).take(NOTES);
        notes.extend(chunks.map(|ids| format!("left by node {node}: {}", ids.join(" "))));
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::agent_spec;
    use super::super::plan::tests::identity;
    use super::super::validate::tests::spec;
    use super::*;
    use crate::api::Os;
    use serde_json::json;

    fn agent() -> AgentSpec {
        agent_spec(&identity(), &spec(&json!({})), Os::Linux, true)
    }

    fn pods(count: usize) -> Vec<PodKey> {
        let pod = |index: usize| PodKey {
            namespace: "ns".to_owned(),
            name: format!("pod-{index}"),
            uid: format!("uid-{index}"),
        };
        (0..count).map(pod).collect()
    }

    #[test]
    fn what_is_left_is_named_by_its_arm_id_in_notes_that_fit() {
        let scope = AzureScope {
            subscription_id: "11111111-2222-3333-4444-555555555555".to_owned(),
            ..AzureScope::default()
        };
        let pods = pods(7);
        let left = Left::new(&agent(), Some(&scope), Some(9), &pods).unwrap();
        let notes = left.notes();
        assert_eq!(notes.len(), 1 + 3);
        assert!(notes[0].starts_with("9 container groups of node virtual-kubelet-vk-linux-eastus"));
        assert!(notes[0].contains("uid-1"), "{}", notes[0]);
        for pod in &pods {
            let id = format!(
                "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups/{}",
                group_name("cluster", pod)
            );
            assert!(notes.iter().any(|note| note.contains(&id)), "{id}");
        }
        assert!(notes.iter().all(|note| note.len() <= 1024));
    }

    #[test]
    fn thousands_are_told_in_a_bounded_number_of_notes() {
        let left = Left::new(&agent(), None, None, &pods(5_000)).unwrap();
        assert_eq!((left.groups, left.notes().len()), (5_000, 21));
    }

    #[test]
    fn nothing_left_is_nothing_to_tell() {
        assert_eq!(Left::new(&agent(), None, Some(0), &pods(1)), None);
        assert_eq!(Left::new(&agent(), None, None, &[]), None);
    }
}
