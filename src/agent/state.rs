//! What an agent wants and says, computed from what is known now. PURE.

use chrono::SecondsFormat;

use super::spec::{AgentSpec, AgentStatus};
use crate::azure::{Cause, Reach};
use crate::node::keeper::{NodeWanted, Registration};
use crate::node::spec::{AZURE_UNREACHABLE_TAINT, azure_unreachable};
use crate::node::status::{AzureInput, Endpoint};
use crate::pods::{Report, Settings};

/// What the pods' loop has to know of the spec.
pub(super) fn settings(spec: &AgentSpec, edits: u64) -> Settings {
    Settings {
        suspended: spec.suspended,
        delete_orphans: spec.delete_orphans,
        approved_orphans: spec.approved_orphans.clone(),
        allowed_namespaces: spec.allowed_namespaces.clone(),
        probes: spec.groups.probes,
        edits,
    }
}

/// What the keeper of the Node has to know. While Azure is away the Node carries a taint of our own and stays Ready: new
/// pods stay away, and nothing that runs is evicted. While the agent is `starting` the Ready condition that the Node has
/// stands.
pub(super) fn wanted(
    spec: &AgentSpec,
    report: &Report,
    azure: &Reach,
    endpoint: Endpoint,
    starting: bool,
) -> NodeWanted {
    let (ready, reason, message) = readiness(report, azure);
    let mut node = spec.node.clone();
    let tainted = node
        .taints
        .iter()
        .any(|taint| taint.key == AZURE_UNREACHABLE_TAINT);
    if matches!(azure, Reach::Away { .. }) && !tainted {
        node.taints.push(azure_unreachable());
    }
    NodeWanted {
        spec: node,
        ready,
        starting: starting && !report.synced,
        reason: reason.to_string(),
        message,
        azure: reachable(azure),
        endpoint,
    }
}

/// What the Ready condition of the node says.
fn readiness(report: &Report, azure: &Reach) -> (bool, &'static str, String) {
    match (report.synced, azure, &report.problem) {
        (true, _, _) => (
            true,
            "VirtualNodeReady",
            "pods run on Azure Container Instances".to_string(),
        ),
        // An agent that starts while Azure is away has a Node with pods that go on running. NotReady would evict them.
        (false, Reach::Away { .. }, _) => (
            true,
            "AzureUnreachable",
            "pods run on Azure Container Instances, which cannot be asked now".to_string(),
        ),
        (false, _, Some(problem)) => (
            false,
            "NotSynced",
            format!("waiting for a first list: {problem}"),
        ),
        (false, _, None) => (
            false,
            "Starting",
            "waiting for the first lists of pods and container groups".to_string(),
        ),
    }
}

/// What the condition of the node says about Azure.
fn reachable(azure: &Reach) -> Option<AzureInput> {
    match azure {
        Reach::Unknown => None,
        Reach::Reachable => Some(AzureInput {
            reachable: true,
            reason: "AzureAnswers".to_owned(),
            message: "Azure Resource Manager answers".to_owned(),
        }),
        Reach::Away {
            since,
            cause,
            error,
        } => {
            let (reason, who) = match cause {
                Cause::ResourceManager => ("ARMUnreachable", "Azure Resource Manager"),
                Cause::Tokens => ("TokenUnavailable", "Microsoft Entra ID"),
            };
            let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
            Some(AzureInput {
                reachable: false,
                reason: reason.to_owned(),
                message: format!(
                    "{who} has not answered since {since} ({error}); what runs goes on, new pods stay away by the taint {AZURE_UNREACHABLE_TAINT}; check the operator's network and Azure's status page"
                ),
            })
        }
    }
}

/// What the agent says of itself.
pub(super) fn status(
    report: &Report,
    registration: &Registration,
    refused: Option<String>,
    azure: Reach,
) -> AgentStatus {
    // A node that may not renew its lease is not Ready for long, whatever its status says.
    let accepted = refused.is_none();
    let works = report.synced || matches!(azure, Reach::Away { .. });
    AgentStatus {
        registered: registration.registered,
        ready: registration.registered && registration.ready && works && accepted,
        refused,
        synced: report.synced,
        contested: registration.contested,
        azure,
        problem: registration
            .problem
            .clone()
            .or_else(|| report.problem.clone()),
        pods: report.pods,
        container_groups: report.groups,
        orphans: report.orphans,
        held: report.held.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::spec::tests::spec;

    fn away() -> Reach {
        Reach::Away {
            since: chrono::DateTime::UNIX_EPOCH,
            cause: Cause::ResourceManager,
            error: "ConnectionFailed: refused".to_owned(),
        }
    }

    #[test]
    fn a_node_is_ready_once_its_lists_arrived_whatever_azure_says_later() {
        let mut report = Report::default();
        let readiness = |report: &Report| readiness(report, &Reach::Reachable);
        assert!(!readiness(&report).0);
        report.problem = Some("ARM is unreachable".into());
        assert!(readiness(&report).2.contains("ARM is unreachable"));
        report.synced = true;
        assert!(readiness(&report).0);
    }

    #[test]
    fn while_azure_is_away_the_node_is_ready_tainted_and_says_since_when() {
        let taints = |wanted: &NodeWanted| {
            let all = wanted.spec.taints.iter();
            all.filter(|taint| taint.key == AZURE_UNREACHABLE_TAINT)
                .map(|taint| taint.effect.clone())
                .collect::<Vec<_>>()
        };
        for synced in [true, false] {
            let report = Report {
                synced,
                ..Report::default()
            };
            let wanted = wanted(&spec(), &report, &away(), Endpoint::default(), true);
            assert!(wanted.ready, "synced: {synced}");
            assert_eq!(taints(&wanted), ["NoSchedule"]);
            let azure = wanted.azure.unwrap();
            assert_eq!(
                (azure.reachable, azure.reason.as_str()),
                (false, "ARMUnreachable")
            );
            assert!(
                azure.message.contains("since 1970-01-01T00:00:00Z"),
                "{}",
                azure.message
            );
            assert!(azure.message.contains("ConnectionFailed: refused"));
        }
        let back = wanted(
            &spec(),
            &Report::default(),
            &Reach::Reachable,
            Endpoint::default(),
            false,
        );
        assert!(taints(&back).is_empty());
        assert!(back.azure.unwrap().reachable);
    }
}
