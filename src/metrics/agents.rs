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

#[derive(Debug, Default)]
pub(super) struct Agents {
    restarts: Family<Part, Counter>,
}

impl Agents {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "agent_part_restarts",
            "Parts of agents that ended without being told to, and were started again",
            self.restarts.clone(),
        );
    }
}

impl agent::Observer for Metrics {
    fn part_restarted(&self, part: &'static str) {
        self.agents.restarts.get_or_create(&Part { part }).inc();
    }
}
