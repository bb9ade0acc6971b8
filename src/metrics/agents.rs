//! What happens to agents and their nodes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Metrics;
use crate::agent;

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

impl agent::Observer for Metrics {
    fn part_restarted(&self, part: &'static str) {
        self.agents.restarts.get_or_create(&Part { part }).inc();
    }
}
