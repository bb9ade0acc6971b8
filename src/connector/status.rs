//! The connector's status, from what a reconcile found. PURE: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::SecondsFormat;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

mod orphans;

use self::orphans::orphans_condition;
use super::arrival::may_come;
use super::capacity::{Quota, Region};
use super::preflight::ConditionUpdate;
use super::supervisor::StartError;
use super::validate::Problem;
use crate::agent::AgentStatus;
use crate::api::conditions::{
    self, AZURE_REACHABLE, CREDENTIALS_READY, NODES_READY, PROVIDER_REGISTERED, QUOTA_SUFFICIENT,
    READY, RECONCILING, RESOURCE_GROUP_READY, STALLED, SUBNET_READY, SUSPENDED, Status, Wanted,
    reason,
};
use crate::api::{
    AzureScope, CapacitySource, IdentityStatus, Os, VirtualKubeletConnectorSpec,
    VirtualKubeletConnectorStatus, VirtualNodeStatus, parse_quantity,
};
use crate::azure::{Cause, Reach};

/// What is known about one virtual node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    pub name: String,
    pub os: Os,
    /// The agent's status; `None` when none runs.
    pub agent: Option<AgentStatus>,
    /// Why no agent could be started.
    pub start_error: Option<StartError>,
    /// Its agent starts, or has just been started: what was said of the node before stands for these seconds.
    pub settling: bool,
    /// For a node on its way out: how far that is.
    pub retiring: Option<Retiring>,
}

/// How far the removal of a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retiring {
    /// In one clause, for example `2 pods left`.
    pub message: String,
    /// It waits for something that a person has to do.
    pub blocked: bool,
    /// How long it has taken so far.
    pub spent: Duration,
}

/// The time that a removal has taken is written down so often: what a successor does not know of.
const WRITTEN_DOWN: Duration = Duration::from_secs(30);

impl Retiring {
    fn seconds(&self) -> i32 {
        let steps = self.spent.as_secs() / WRITTEN_DOWN.as_secs();
        i32::try_from(steps * WRITTEN_DOWN.as_secs()).unwrap_or(i32::MAX)
    }
}

/// Everything a status is made of.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// `metadata.generation`.
    pub generation: i64,
    pub spec: &'a VirtualKubeletConnectorSpec,
    pub previous: Option<&'a VirtualKubeletConnectorStatus>,
    /// The token of the `requestedAt` annotations.
    pub requested_at: Option<String>,
    /// The connector is being deleted.
    pub deleting: bool,
    /// Identity in use, or what is wrong with spec or Secret.
    pub resolved: Result<&'a IdentityStatus, &'a Problem>,
    /// Where the container groups would be, by spec and credentials; `None` when those do not say.
    pub scope: Option<AzureScope>,
    pub reach: Reach,
    /// What is wrong with the key of the Log Analytics workspace.
    pub workspace: Option<&'a Problem>,
    /// What Azure said; `None` before its first answer.
    pub findings: Option<&'a [ConditionUpdate]>,
    /// The findings are about this generation and this Secret.
    pub fresh: bool,
    /// What Azure said of the region.
    pub region: &'a Region,
    /// Nodes, Linux first; retiring ones included.
    pub nodes: &'a [NodeFacts],
    /// The spec has changed a moment ago: what is missing may still come.
    pub arriving: bool,
}

/// The status to write. Equal to `previous` when there is nothing to write.
pub fn status(facts: &Facts, now: &Time) -> VirtualKubeletConnectorStatus {
    let previous = facts
        .previous
        .map_or(&[][..], |status| status.conditions.as_slice());
    let wanted = conditions(facts);
    let (ready, all) = (
        wanted_nodes(facts)
            .filter(|node| is_ready(facts, node))
            .count(),
        wanted_nodes(facts).count(),
    );
    let nodes: Vec<VirtualNodeStatus> = facts
        .nodes
        .iter()
        .map(|node| node_status(facts, node))
        .collect();
    let pods = nodes.iter().filter_map(|node| node.pods);
    let pods = pods.fold(0, i32::saturating_add);
    VirtualKubeletConnectorStatus {
        observed_generation: Some(facts.generation),
        conditions: conditions::merge(previous, wanted, facts.generation, now),
        nodes,
        node_summary: Some(format!("{ready}/{all}")),
        pods: Some(pods),
        azure_scope: azure_scope(facts),
        capacity: capacity(facts),
        identity: match facts.resolved {
            Ok(identity) => Some(identity.clone()),
            Err(_) => facts.previous.and_then(|status| status.identity.clone()),
        },
        last_handled_reconcile_at: handled(facts),
    }
}

/// The pin: set at the first success, and never changed.
fn azure_scope(facts: &Facts) -> Option<AzureScope> {
    let pinned = facts.previous.and_then(|status| status.azure_scope.clone());
    let success = facts.fresh
        && facts
            .findings
            .is_some_and(|findings| !findings.iter().any(|finding| finding.blocks));
    pinned.or_else(|| facts.scope.clone().filter(|_| success))
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn wanted_nodes<'a>(facts: &'a Facts) -> impl Iterator<Item = &'a NodeFacts> {
    facts.nodes.iter().filter(|node| node.retiring.is_none())
}

/// What was last said of a node whose agent has just been started: the Ready condition of the Node stands for these
/// seconds, too.
fn before<'a>(facts: &'a Facts, node: &NodeFacts) -> Option<&'a VirtualNodeStatus> {
    let refused = node
        .agent
        .as_ref()
        .is_some_and(|agent| agent.refused.is_some());
    if !node.settling || node.start_error.is_some() || refused {
        return None;
    }
    let mut known = facts.previous?.nodes.iter();
    known.find(|before| before.name == node.name && before.ready == Some(true))
}

fn is_ready(facts: &Facts, node: &NodeFacts) -> bool {
    let agent = node.agent.as_ref();
    agent.is_some_and(|agent| agent.registered && agent.ready) || before(facts, node).is_some()
}

fn node_status(facts: &Facts, node: &NodeFacts) -> VirtualNodeStatus {
    let agent = node.agent.as_ref();
    let (pods, container_groups) = match before(facts, node) {
        Some(before) if agent.is_none_or(|agent| !agent.synced) => {
            (before.pods, before.container_groups)
        }
        _ => (
            agent.map(|agent| count(agent.pods)),
            agent.map(|agent| count(agent.container_groups)),
        ),
    };
    VirtualNodeStatus {
        name: node.name.clone(),
        os_type: node.os,
        ready: Some(is_ready(facts, node)),
        pods,
        container_groups,
        drain_seconds: node.retiring.as_ref().map(Retiring::seconds),
    }
}

/// The request that is handled: once Azure's answer is about it, or Azure cannot be asked.
fn handled(facts: &Facts) -> Option<String> {
    let answered = facts.fresh || facts.resolved.is_err();
    let asked = facts.requested_at.clone().filter(|_| answered);
    asked.or_else(|| facts.previous?.last_handled_reconcile_at.clone())
}

/// The capacity of the wanted nodes together, as far as the quota goes.
fn capacity(facts: &Facts) -> BTreeMap<String, String> {
    let none = facts.spec.capacity().into_keys();
    let mut capacity: BTreeMap<String, String> = none.map(|name| (name, "0".to_owned())).collect();
    for node in wanted_nodes(facts) {
        for (name, amount) in facts.spec.on(node.os).capacity() {
            match capacity.get_mut(&name) {
                Some(before) if before != "0" => *before = sum(before, &amount),
                _ => {
                    capacity.insert(name, amount);
                }
            }
        }
    }
    match &facts.region.quota {
        Quota::Left(room) if facts.spec.node.capacity_source == CapacitySource::Quota => {
            room.all.bound(capacity)
        }
        _ => capacity,
    }
}

/// `400Gi` and `400Gi` are `800Gi`: a common unit stays as the user wrote it. What cannot be added in words is a plain number.
fn sum(one: &str, other: &str) -> String {
    let in_words = |text: &str| {
        let unit = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        let number = number.parse::<u64>().ok()?;
        (!unit.starts_with('.')).then(|| (number, unit.to_owned()))
    };
    if let (Some((a, unit)), Some((b, same))) = (in_words(one), in_words(other))
        && unit == same
        && let Some(sum) = a.checked_add(b)
    {
        return format!("{sum}{unit}");
    }
    match (parse_quantity(one), parse_quantity(other)) {
        (Some(a), Some(b)) => format!("{}", a + b),
        _ => one.to_owned(),
    }
}

/// The summary: `Ready`, and whether somebody is at work.
struct Summary {
    ready: Wanted,
    progress: Option<Wanted>,
}

impl Summary {
    fn stalled(reason: &'static str, message: &str) -> Self {
        Self {
            ready: Wanted::no(READY, reason, message),
            progress: Some(Wanted::yes(STALLED, reason, message)),
        }
    }

    fn retrying(reason: &'static str, message: &str) -> Self {
        Self {
            ready: Wanted::no(READY, reason, message),
            progress: Some(Wanted::yes(
                RECONCILING,
                reason::PROGRESSING_WITH_RETRY,
                message,
            )),
        }
    }

    fn problem(problem: &Problem) -> Self {
        if problem.stalled {
            Self::stalled(problem.reason, &problem.message)
        } else {
            Self::retrying(problem.reason, &problem.message)
        }
    }

    /// While things arrive, what is missing is work, and nobody's to put right yet.
    fn while_arriving(mut self) -> Self {
        if let Some(stalled) = &mut self.progress
            && stalled.type_ == STALLED
            && may_come(&stalled.reason)
        {
            stalled.type_ = RECONCILING.into();
        }
        self
    }

    fn working(status: Status, reason: &'static str, message: &str) -> Self {
        Self {
            ready: Wanted::new(READY, status, reason, message),
            progress: Some(Wanted::yes(RECONCILING, reason::PROGRESSING, message)),
        }
    }
}

fn conditions(facts: &Facts) -> Vec<Wanted> {
    let mut summary = summary(facts);
    if facts.arriving {
        summary = summary.while_arriving();
    }
    let mut wanted = azure_conditions(facts);
    wanted.push(nodes_condition(facts));
    wanted.push(reachable_condition(facts));
    wanted.extend(orphans_condition(facts));
    if facts.spec.suspend && !facts.deleting {
        wanted.push(Wanted::yes(
            SUSPENDED,
            reason::SUSPENDED,
            "spec.suspend is set: no new container groups, no changes",
        ));
        // A suspended connector keeps its last word (GitOps tools would otherwise wait for ever).
        let last = facts
            .previous
            .and_then(|status| Wanted::kept(&status.conditions, READY));
        if let Some(last) = last.filter(|last| last.reason != reason::PENDING) {
            summary = Summary {
                ready: last,
                progress: None,
            };
        }
    }
    wanted.push(summary.ready);
    wanted.extend(summary.progress);
    wanted
}

fn summary(facts: &Facts) -> Summary {
    if facts.deleting {
        return deletion(facts);
    }
    if let Err(problem) = facts.resolved {
        return Summary::problem(problem);
    }
    let Some(findings) = facts.findings else {
        return Summary::working(
            Status::Unknown,
            reason::PROGRESSING,
            "asking Azure about credentials, resource provider and resource group",
        );
    };
    if let Some(finding) = findings.iter().find(|finding| finding.blocks) {
        // `Ready` names the provider: its own condition has ARM's bare word.
        let word = if finding.reason == reason::NOT_REGISTERED {
            reason::PROVIDER_NOT_REGISTERED
        } else {
            finding.reason
        };
        return if finding.stalled && facts.fresh {
            Summary::stalled(word, &finding.message)
        } else {
            Summary::retrying(word, &finding.message)
        };
    }
    if let Some(problem) = facts.workspace {
        return Summary::problem(problem);
    }
    let forbidden = reason::NODE_IDENTITY_FORBIDDEN;
    let refused = wanted_nodes(facts).find_map(|node| match (&node.start_error, &node.agent) {
        (Some(StartError::ImpersonationForbidden(message)), _) => Some((forbidden, message)),
        (Some(StartError::IdentityUnscoped(message)), _) => {
            Some((reason::NODE_IDENTITY_UNSCOPED, message))
        }
        (Some(StartError::Failed(_)), _) | (None, None) => None,
        (None, Some(agent)) => agent.refused.as_ref().map(|message| (forbidden, message)),
    });
    if let Some((reason, message)) = refused {
        return Summary::stalled(reason, message);
    }
    let (ready, message) = nodes_message(facts);
    if !ready {
        return Summary::working(Status::False, not_ready(facts), &message);
    }
    let leaving = removal(facts);
    let message = match &leaving {
        Some(leaving) => format!("{message}; {leaving}"),
        None => message,
    };
    let mut summary = Summary {
        ready: Wanted::yes(READY, reason::NODES_READY, message),
        progress: None,
    };
    if let Some(leaving) = leaving {
        summary.progress = Some(Wanted::yes(RECONCILING, reason::DRAINING, leaving));
    } else if !facts.fresh {
        summary.progress = Some(Wanted::yes(
            RECONCILING,
            reason::PROGRESSING,
            "asking Azure about the changed connector",
        ));
    }
    summary
}

fn deletion(facts: &Facts) -> Summary {
    let blocked = facts
        .nodes
        .iter()
        .any(|node| node.retiring.as_ref().is_some_and(|r| r.blocked));
    let word = if blocked {
        reason::DELETION_BLOCKED
    } else {
        reason::DELETING
    };
    let message = removal(facts).unwrap_or_else(|| "removing the nodes".to_owned());
    Summary {
        ready: Wanted::no(READY, word, message.clone()),
        progress: Some(Wanted::yes(RECONCILING, word, message)),
    }
}

/// What the nodes on their way out wait for, by node.
fn removal(facts: &Facts) -> Option<String> {
    let clauses: Vec<String> = facts
        .nodes
        .iter()
        .filter_map(|node| {
            node.retiring
                .as_ref()
                .map(|r| format!("removing {}: {}", node.name, r.message))
        })
        .collect();
    (!clauses.is_empty()).then(|| clauses.join("; "))
}

/// Whether all wanted nodes are ready, and the sentence for it.
fn nodes_message(facts: &Facts) -> (bool, String) {
    let all = wanted_nodes(facts).count();
    let ready = wanted_nodes(facts)
        .filter(|node| is_ready(facts, node))
        .count();
    let mut message = format!("{ready}/{all} nodes are ready in {}", facts.spec.region);
    for node in wanted_nodes(facts).filter(|node| !is_ready(facts, node)) {
        let problem = match (&node.start_error, &node.agent) {
            (Some(error), _) => error.to_string(),
            (None, Some(agent)) => agent
                .problem
                .clone()
                .unwrap_or_else(|| "registering".to_owned()),
            (None, None) => "waiting to be started".to_owned(),
        };
        message = format!("{message}; {}: {problem}", node.name);
    }
    if ready == all && facts.spec.subnet_id.is_none() && !facts.spec.public_ip {
        message.push_str("; pods have no IP address: set spec.subnetID or spec.publicIP in a connector that needs them");
    }
    if let Reach::Away { since, .. } = &facts.reach {
        let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
        message = format!(
            "{message}; Azure has not answered since {since}: what runs goes on, new pods stay away"
        );
    }
    (ready == all, message)
}

/// Why a wanted node is not ready, in one word.
fn not_ready(facts: &Facts) -> &'static str {
    let mut agents = wanted_nodes(facts).filter_map(|node| node.agent.as_ref());
    if agents.any(|agent| agent.contested) {
        reason::NODE_STATUS_CONTESTED
    } else {
        reason::NODES_NOT_READY
    }
}

/// Says since when, and what to do.
fn reachable_condition(facts: &Facts) -> Wanted {
    match &facts.reach {
        Reach::Unknown => facts
            .previous
            .and_then(|status| Wanted::kept(&status.conditions, AZURE_REACHABLE))
            .unwrap_or_else(|| Wanted::unknown(AZURE_REACHABLE, reason::PENDING, "not asked yet")),
        Reach::Reachable => Wanted::yes(
            AZURE_REACHABLE,
            reason::AZURE_ANSWERS,
            "Azure Resource Manager answers",
        ),
        Reach::Away {
            since,
            cause,
            error,
        } => {
            let (word, who) = match cause {
                Cause::ResourceManager => (reason::ARM_UNREACHABLE, "Azure Resource Manager"),
                Cause::Tokens => (reason::TOKEN_UNAVAILABLE, "Microsoft Entra ID"),
            };
            let since = since.to_rfc3339_opts(SecondsFormat::Secs, true);
            let message = format!(
                "{who} has not answered since {since} ({error}); check the operator's network, endpoints and proxy, and Azure's status page; it is noticed when it answers again"
            );
            Wanted::no(AZURE_REACHABLE, word, message)
        }
    }
}

fn nodes_condition(facts: &Facts) -> Wanted {
    match nodes_message(facts) {
        (_, _) if wanted_nodes(facts).count() == 0 => {
            Wanted::no(NODES_READY, reason::DELETING, "the nodes are being removed")
        }
        (true, message) => Wanted::yes(NODES_READY, reason::NODES_READY, message),
        (false, message) => Wanted::no(NODES_READY, not_ready(facts), message),
    }
}

/// `CredentialsReady`, `ProviderRegistered`, `ResourceGroupReady` and `QuotaSufficient`: always; `SubnetReady`: where
/// there is a subnet.
fn azure_conditions(facts: &Facts) -> Vec<Wanted> {
    let pending = |type_| Wanted::unknown(type_, reason::PENDING, "not asked yet");
    let problem = facts.resolved.err();
    [
        CREDENTIALS_READY,
        PROVIDER_REGISTERED,
        RESOURCE_GROUP_READY,
        QUOTA_SUFFICIENT,
    ]
    .into_iter()
    .chain(facts.spec.subnet_id.is_some().then_some(SUBNET_READY))
    .map(|type_| match (problem, facts.findings) {
        (Some(problem), _) if problem.condition == type_ => {
            let status = if problem.stalled {
                Status::False
            } else {
                Status::Unknown
            };
            Wanted::new(type_, status, problem.reason, problem.message.clone())
        }
        (Some(_), _) | (None, None) => pending(type_),
        (None, Some(findings)) => findings
            .iter()
            .find(|f| f.condition == type_)
            .map_or_else(|| pending(type_), ConditionUpdate::wanted),
    })
    .collect()
}

#[cfg(test)]
mod tests;
