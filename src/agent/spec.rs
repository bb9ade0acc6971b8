//! What decides what an agent does, and what it says of itself. PURE.

use std::sync::Arc;

use crate::api::AllowedNamespaces;
use crate::azure::Reach;
use crate::node::spec::NodeSpec;
use crate::pods::engine::Held;
use crate::tenure::Tenure;
use crate::translate::GroupDefaults;

/// Everything that decides what an agent does. Two equal specs mean the same agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSpec {
    /// Name of the connector.
    pub connector: String,
    pub connector_uid: String,
    /// UID of the `kube-system` namespace: which cluster we are, in ARM tags.
    pub cluster_uid: String,
    /// Resource group of the container groups.
    pub resource_group: String,
    pub node: NodeSpec,
    /// Defaults of the container groups.
    pub groups: GroupDefaults,
    /// True while the connector is suspended: no new container group is made.
    pub suspended: bool,
    /// Groups that no pod claims are deleted, not only counted.
    pub delete_orphans: bool,
    /// A person's approval of the deletion of groups that were held back because they are too many.
    pub approved_orphans: Option<String>,
    /// Which namespaces' pods may run; all without it.
    pub allowed_namespaces: Option<Arc<AllowedNamespaces>>,
    /// Whose time with the connector it is; `None` where no Lease says so.
    pub tenure: Option<Arc<Tenure>>,
}

/// What an agent knows about itself, for the connector's status.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentStatus {
    /// The Node exists as desired and its Ready condition was written.
    pub registered: bool,
    /// The agent is synced and the Node is Ready.
    pub ready: bool,
    /// Both lists, of pods and of container groups, have arrived, so that the counts below mean something.
    pub synced: bool,
    /// The API server does not let the operator act as the node any more: why, and the rule to add.
    pub refused: Option<String>,
    /// Why not, in one sentence, when something is wrong.
    pub problem: Option<String>,
    /// Another process writes the same Node again and again.
    pub contested: bool,
    pub azure: Reach,
    /// Pods bound to the node.
    pub pods: u32,
    /// Container groups in Azure that belong to the node.
    pub container_groups: u32,
    /// Container groups that no pod claims, counted above too.
    pub orphans: u32,
    /// Those of them that are held back because they are too many at once.
    pub held: Option<Held>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn spec() -> AgentSpec {
        let node = crate::node::spec::tests::spec();
        AgentSpec {
            connector: node.connector.clone(),
            connector_uid: node.connector_uid.clone(),
            cluster_uid: "cluster".to_owned(),
            resource_group: "rg".to_owned(),
            groups: GroupDefaults::new(node.os, node.region.clone()),
            node,
            suspended: false,
            delete_orphans: false,
            approved_orphans: None,
            allowed_namespaces: None,
            tenure: None,
        }
    }
}
