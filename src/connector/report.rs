//! The last step of a reconcile: status and events.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::FIELD_MANAGER;
use super::memory::{Checked, Memory};
use super::plan::Split;
use super::reconcile::{Core, Subjects};
use super::status::{Facts, NodeFacts, Retiring, status};
use super::validate::{Problem, Resolved};
use crate::api::conditions::{READY, STALLED, find};
use crate::api::{Os, VirtualKubeletConnector, VirtualKubeletConnectorStatus, node_name};
use crate::kube::call::{KubeError, TIMEOUT, call};
use crate::kube::events::{Event, EventType};

impl Core {
    pub(super) fn node_facts(
        &self,
        subjects: &Subjects,
        memory: &Memory,
        split: &Split,
        leaving: &BTreeMap<Os, Retiring>,
    ) -> Vec<NodeFacts> {
        let Subjects {
            connector,
            identity,
            ..
        } = subjects;
        let views = self.supervisor.views(&identity.uid);
        let all: BTreeSet<Os> = split.wanted.iter().chain(leaving.keys()).copied().collect();
        all.into_iter()
            .map(|os| NodeFacts {
                name: node_name(&identity.name, os, &connector.spec.region),
                os,
                agent: views.get(&os).map(|view| view.status.clone()),
                start_error: memory.start_errors.get(&os).map(|(error, _)| error.clone()),
                retiring: leaving.get(&os).cloned(),
            })
            .collect()
    }

    /// Writes the status if it says anything new, and an Event when `Ready` has another reason.
    pub(super) async fn write_status(
        &self,
        subjects: &Subjects<'_>,
        memory: &mut Memory,
        resolved: &Result<Resolved, Problem>,
        workspace: Option<&Problem>,
        checked: &Checked,
        nodes: &[NodeFacts],
    ) -> Result<(), KubeError> {
        let Subjects {
            connector,
            identity,
            ..
        } = subjects;
        // The watch may not have brought our own last write yet.
        let seen = version(connector);
        let previous = match &memory.written {
            Some((written, status)) if *written > seen => Some(status),
            _ => connector.status.as_ref(),
        };
        // After a restart of the operator the last word about this very spec stands until Azure has answered.
        let starting = resolved.is_ok() && checked.findings.is_none() && !subjects.deleting;
        let spoken = previous
            .is_some_and(|status| status.observed_generation == connector.metadata.generation);
        if starting && spoken {
            return Ok(());
        }
        let facts = Facts {
            generation: connector.metadata.generation.unwrap_or_default(),
            spec: &connector.spec,
            previous,
            // Both are times, so that the later one is the greater.
            requested_at: subjects.requested_at.iter().flatten().max().cloned(),
            deleting: subjects.deleting,
            resolved: resolved.as_ref().map(|resolved| &resolved.identity),
            workspace,
            findings: checked.findings.as_deref(),
            fresh: checked.fresh,
            region: &checked.region,
            nodes,
        };
        let next = status(&facts, &Time(Timestamp::now()));
        if previous == Some(&next) {
            return Ok(());
        }
        self.announce(connector, previous, &next);
        let body = json!({
            "apiVersion": VirtualKubeletConnector::api_version(&()),
            "kind": VirtualKubeletConnector::kind(&()),
            "metadata": {"name": identity.name, "uid": identity.uid},
            "status": next,
        });
        let api = Api::<VirtualKubeletConnector>::all(self.clients(&identity.name).manager());
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&body);
        let written = call(
            "write the connector's status",
            TIMEOUT,
            api.patch_status(&identity.name, &params, &patch),
        )
        .await?;
        // As the server has it (times have whole seconds there).
        memory.written = written
            .status
            .clone()
            .map(|status| (version(&written), status));
        Ok(())
    }

    fn announce(
        &self,
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
        self.emit(
            connector,
            &ready.reason,
            "Reconcile",
            ready.message.clone(),
            kind,
        );
    }

    pub(super) fn emit(
        &self,
        connector: &VirtualKubeletConnector,
        reason: &str,
        action: &'static str,
        note: String,
        kind: EventType,
    ) {
        self.events.emit(Event {
            origin: None,
            regarding: connector.object_ref(&()),
            related: None,
            reason: reason.to_owned(),
            action,
            note,
            kind,
        });
    }
}

fn version(connector: &VirtualKubeletConnector) -> u64 {
    connector
        .resource_version()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
