//! What an agent wants and says, computed from what is known now. PURE.

use super::spec::{AgentSpec, AgentStatus};
use crate::node::keeper::{NodeWanted, Registration};
use crate::node::status::Endpoint;
use crate::pods::{Report, Settings};

/// What the pods' loop has to know of the spec.
pub(super) fn settings(spec: &AgentSpec) -> Settings {
    Settings {
        suspended: spec.suspended,
        delete_orphans: spec.delete_orphans,
        approved_orphans: None,
    }
}

/// What the keeper of the Node has to know.
pub(super) fn wanted(spec: &AgentSpec, report: &Report, endpoint: Endpoint) -> NodeWanted {
    let (ready, reason, message) = readiness(report);
    NodeWanted {
        spec: spec.node.clone(),
        ready,
        reason: reason.to_string(),
        message,
        endpoint,
    }
}

/// What the Ready condition of the node says.
fn readiness(report: &Report) -> (bool, &'static str, String) {
    match (report.synced, &report.problem) {
        (true, _) => (
            true,
            "VirtualNodeReady",
            "pods run on Azure Container Instances".to_string(),
        ),
        (false, Some(problem)) => (
            false,
            "NotSynced",
            format!("waiting for a first list: {problem}"),
        ),
        (false, None) => (
            false,
            "Starting",
            "waiting for the first lists of pods and container groups".to_string(),
        ),
    }
}

/// What the agent says of itself.
pub(super) fn status(
    report: &Report,
    registration: &Registration,
    refused: Option<String>,
) -> AgentStatus {
    // A node that may not renew its lease is not Ready for long, whatever its status says.
    let accepted = refused.is_none();
    AgentStatus {
        registered: registration.registered,
        ready: registration.registered && registration.ready && report.synced && accepted,
        refused,
        synced: report.synced,
        contested: registration.contested,
        problem: registration
            .problem
            .clone()
            .or_else(|| report.problem.clone()),
        pods: report.pods,
        container_groups: report.groups,
        orphans: report.orphans,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_once_its_lists_arrived_whatever_azure_says_later() {
        let mut report = Report::default();
        assert!(!readiness(&report).0);
        report.problem = Some("ARM is unreachable".into());
        assert!(readiness(&report).2.contains("ARM is unreachable"));
        report.synced = true;
        assert!(readiness(&report).0);
    }
}
