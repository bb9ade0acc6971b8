//! What happens to agents and their nodes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Metrics, Node};
use crate::agent;
use crate::kube::identity;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Connector {
    connector: String,
}

#[derive(Debug, Default)]
pub(super) struct Agents {
    restarts: Family<Part, Counter>,
    groups_left: Family<Connector, Counter>,
    unscoped: Family<Node, Gauge>,
}

impl Agents {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "agent_part_restarts",
            "Parts of agents that ended without being told to, and were started again",
            self.restarts.clone(),
        );
        registry.register(
            "container_groups_left",
            "Container groups that the removal of a node has left in Azure, where they may cost money",
            self.groups_left.clone(),
        );
        registry.register(
            "node_identity_unscoped",
            "1 where the API server does not limit what the node may do",
            self.unscoped.clone(),
        );
    }

    pub(super) fn forget(&self, node: &Node) {
        self.unscoped.remove(node);
    }

    pub(super) fn groups_left(&self, connector: &str, groups: u32) {
        let connector = Connector {
            connector: connector.to_string(),
        };
        self.groups_left
            .get_or_create(&connector)
            .inc_by(u64::from(groups));
    }
}

impl identity::Observer for Metrics {
    fn scoped(&self, node: &str, scoped: bool) {
        let node = Node {
            node: node.to_owned(),
        };
        self.agents
            .unscoped
            .get_or_create(&node)
            .set(i64::from(!scoped));
    }
}

impl agent::Observer for Metrics {
    fn part_restarted(&self, part: &'static str) {
        self.agents.restarts.get_or_create(&Part { part }).inc();
    }
}
