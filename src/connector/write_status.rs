//! The last step of a reconcile: status and events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::FIELD_MANAGER;
use super::left::Left;
use super::plan::NodeSets;
use super::reconcile::ReconcileContext;
use super::scope::scope;
use super::state::{ConnectorState, PreflightResult};
use super::status::{Facts, NodeFacts, Retiring, status};
use super::supervisor::Snapshot;
use super::validate::{Problem, Resolved};
use crate::api::conditions::{READY, STALLED, find};
use crate::api::{Os, VirtualKubeletConnector, VirtualKubeletConnectorStatus, node_name};
use crate::kube::call::{KubeError, TIMEOUT, call};
use crate::kube::events::{Event, EventType, Events};

/// What was said of a node before stands for so long after the start of its agent. The agent itself says nothing about
/// Ready in the first five seconds, while its lists arrive.
pub(super) const SETTLING: Duration = Duration::from_secs(7);

/// What the steps have found, for the status.
pub(super) struct Found<'a> {
    /// What spec and credentials come to.
    pub(super) resolved: &'a Result<Resolved, Problem>,
    /// What is wrong with the key of the Log Analytics workspace.
    pub(super) workspace: Option<&'a Problem>,
    /// What Azure says of it.
    pub(super) checked: &'a PreflightResult,
    pub(super) nodes: &'a [NodeFacts],
    /// What is missing may still come.
    pub(super) arriving: bool,
}

/// The nodes as this reconcile has seen them.
pub(super) fn node_facts(
    cx: &ReconcileContext,
    state: &ConnectorState,
    agents: &Snapshot,
    sets: &NodeSets,
    leaving: &BTreeMap<Os, Retiring>,
) -> Vec<NodeFacts> {
    let ReconcileContext {
        connector,
        identity,
        ..
    } = cx;
    let all: BTreeSet<Os> = sets.wanted.iter().chain(leaving.keys()).copied().collect();
    all.into_iter()
        .map(|os| {
            let view = agents.running.get(&os);
            let young = view.is_some_and(|view| view.age < SETTLING);
            NodeFacts {
                name: node_name(&identity.name, os, &connector.spec.region),
                os,
                agent: view.map(|view| view.status.clone()),
                start_error: state.start_errors.get(&os).map(|(error, _)| error.clone()),
                settling: young || agents.starting.contains(&os),
                retiring: leaving.get(&os).cloned(),
            }
        })
        .collect()
}

/// Writes the status if it says anything new, and an Event when `Ready` has another reason.
///
/// # Errors
/// When the API server does not take it.
pub(super) async fn write_status(
    manager: &Client,
    events: &Events,
    cx: &ReconcileContext<'_>,
    state: &mut ConnectorState,
    found: &Found<'_>,
) -> Result<(), KubeError> {
    let ReconcileContext {
        connector,
        identity,
        ..
    } = cx;
    let Found {
        resolved,
        workspace,
        checked,
        nodes,
        arriving,
    } = found;
    // The watch may not have brought our own last write yet.
    let seen = version(connector);
    let previous = match &state.written {
        Some((written, status)) if *written > seen => Some(status),
        _ => connector.status.as_ref(),
    };
    // After a restart of the operator the last word about this very spec stands until Azure has answered.
    let starting = resolved.is_ok() && checked.findings.is_none() && !cx.deleting;
    let spoken =
        previous.is_some_and(|status| status.observed_generation == connector.metadata.generation);
    if starting && spoken {
        return Ok(());
    }
    let facts = Facts {
        generation: connector.metadata.generation.unwrap_or_default(),
        spec: &connector.spec,
        previous,
        // Both are times, so that the later one is the greater.
        requested_at: cx.requested_at.iter().flatten().max().cloned(),
        deleting: cx.deleting,
        resolved: resolved.as_ref().map(|resolved| &resolved.identity),
        scope: resolved.as_ref().ok().map(scope),
        reach: state.reach(),
        workspace: *workspace,
        findings: checked.findings.as_deref(),
        fresh: checked.fresh,
        region: &checked.region,
        nodes,
        arriving: *arriving,
    };
    let next = status(&facts, &Time(Timestamp::now()));
    if previous == Some(&next) {
        return Ok(());
    }
    announce(events, connector, previous, &next);
    let body = json!({
        "apiVersion": VirtualKubeletConnector::api_version(&()),
        "kind": VirtualKubeletConnector::kind(&()),
        "metadata": {"name": identity.name, "uid": identity.uid},
        "status": next,
    });
    let api = Api::<VirtualKubeletConnector>::all(manager.clone());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&body);
    let written = call(
        "write the connector's status",
        TIMEOUT,
        api.patch_status(&identity.name, &params, &patch),
    )
    .await?;
    // As the server has it (times have whole seconds there).
    state.written = written
        .status
        .clone()
        .map(|status| (version(&written), status));
    Ok(())
}

fn announce(
    events: &Events,
    connector: &VirtualKubeletConnector,
    previous: Option<&VirtualKubeletConnectorStatus>,
    next: &VirtualKubeletConnectorStatus,
) {
    let ready = find(&next.conditions, READY);
    let before = previous.and_then(|status| find(&status.conditions, READY));
    let Some(ready) =
        ready.filter(|ready| before.map(|b| b.reason.as_str()) != Some(ready.reason.as_str()))
    else {
        return;
    };
    tracing::info!(connector = %connector.name_any(), ready = %ready.status, reason = %ready.reason, says = %ready.message, "the connector changed");
    let kind = if find(&next.conditions, STALLED).is_some() {
        EventType::Warning
    } else {
        EventType::Normal
    };
    let note = ready.message.clone();
    events.emit(event(connector, &ready.reason, "Reconcile", note, kind));
}

/// Tells what a node that went has left in Azure.
pub(super) fn announce_left(events: &Events, connector: &VirtualKubeletConnector, left: &Left) {
    for note in left.notes() {
        tracing::warn!(connector = %connector.name_any(), "{note}");
        events.emit(event(
            connector,
            "ContainerGroupsLeft",
            "RemoveNode",
            note,
            EventType::Warning,
        ));
    }
}

fn event(
    connector: &VirtualKubeletConnector,
    reason: &str,
    action: &'static str,
    note: String,
    kind: EventType,
) -> Event {
    Event {
        origin: None,
        regarding: connector.object_ref(&()),
        related: None,
        reason: reason.to_owned(),
        action,
        note,
        kind,
    }
}

fn version(connector: &VirtualKubeletConnector) -> u64 {
    connector
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
