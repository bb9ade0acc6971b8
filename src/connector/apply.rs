//! The step of a reconcile that starts, updates and restarts agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::Client;
use tokio::time::Instant;

use super::dereference;
use super::plan::{NodeSets, RunningAgentSnapshot, Step, agent_spec, steps};
use super::reconcile::ReconcileContext;
use super::state::{ConnectorState, PreflightResult};
use super::supervisor::{Snapshot, Supervisor};
use crate::api::conditions::reason;
use crate::api::{DeletionPolicy, Os, VirtualKubeletConnector};
use crate::kube::call::KubeError;

/// Starts, updates and restarts agents, and notes in `agents` which are being started. Waits for none of them: who is
/// being started has news when it runs.
///
/// # Errors
/// When the API server does not say whether a Node exists.
pub(super) async fn apply(
    manager: &Client,
    supervisor: &Arc<Supervisor>,
    cx: &ReconcileContext<'_>,
    state: &ConnectorState,
    agents: &mut Snapshot,
    sets: &NodeSets,
    checked: &PreflightResult,
) -> Result<(), KubeError> {
    let ReconcileContext {
        connector,
        identity,
        ..
    } = cx;
    let mut running: BTreeMap<Os, RunningAgentSnapshot> = agents
        .running
        .iter()
        .map(|(os, view)| (*os, view.seen.clone()))
        .collect();
    let mut desired = BTreeMap::new();
    let mut may_start = BTreeSet::new();
    let findings = || checked.findings.iter().flatten();
    let clear =
        checked.fresh && checked.findings.is_some() && !findings().any(|found| found.blocks);
    // Another version of the API is spoken only once Azure has said that it knows it.
    let settled =
        checked.fresh && !findings().any(|it| it.reason == reason::API_VERSION_NOT_AVAILABLE);
    if let Some(arm) = state.arm.as_ref().filter(|_| !settled) {
        for seen in running.values_mut() {
            seen.arm = arm.number;
        }
    }
    let all = sets.wanted.iter().chain(&sets.retiring);
    for os in all.filter(|os| !agents.starting.contains(os)) {
        let spec = agent_spec(identity, &connector.spec, *os, sets.retiring.contains(os));
        let wanted = sets.wanted.contains(os);
        let waits = state
            .start_errors
            .get(os)
            .is_some_and(|(_, at)| Instant::now() < *at);
        // A Node that exists needs its agent even while Azure is in trouble.
        if !running.contains_key(os)
            && !waits
            && ((wanted && clear)
                || owed(connector, *os)
                || dereference::node_exists(manager, &spec.node.name).await?)
        {
            may_start.insert(*os);
        }
        desired.insert(*os, spec);
    }
    // An orphaning or forced removal needs no agent.
    if cx.deleting && (cx.forced || connector.spec.deletion_policy == DeletionPolicy::Orphan) {
        may_start.clear();
    }
    let number = state.arm.as_ref().map(|arm| arm.number);
    for (os, step) in steps(&desired, &running, number, |os| may_start.contains(&os)) {
        match (step, &state.arm) {
            (Step::Update(spec), _) => supervisor.update(spec),
            (Step::Start(spec) | Step::Restart(spec), Some(arm)) => {
                agents.starting.insert(os);
                supervisor.begin(spec, arm.client.clone(), arm.number);
            }
            (Step::Start(_) | Step::Restart(_), None) => {}
        }
    }
    Ok(())
}

/// The status says that the node has pods or container groups: there is something to remove, even without a Node.
pub(super) fn owed(connector: &VirtualKubeletConnector, os: Os) -> bool {
    let nodes = connector.status.iter().flat_map(|status| &status.nodes);
    nodes
        .filter(|node| node.os_type == os)
        .any(|node| node.container_groups.unwrap_or_default() > 0)
}
