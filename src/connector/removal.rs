//! The step of a reconcile that removes nodes: of a deleted connector, or of an operating system no longer asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::apply::owed;
use super::dereference;
use super::finalize::{Progress, Situation, finish, retire};
use super::memory::Memory;
use super::plan::{Split, agent_spec};
use super::reconcile::{Core, Subjects};
use super::status::Retiring;
use super::supervisor::View;
use crate::agent::AgentSpec;
use crate::api::{DeletionPolicy, Os, VirtualKubeletConnector};
use crate::kube::call::KubeError;
use crate::kube::events::EventType;

impl Core {
    /// Takes each retiring node one step further. The answer has those that are not gone yet.
    pub(super) async fn remove(
        &self,
        subjects: &Subjects<'_>,
        memory: &mut Memory,
        split: &Split,
        trouble: Option<&str>,
    ) -> Result<BTreeMap<Os, Retiring>, KubeError> {
        memory
            .retiring_since
            .retain(|os, _| split.retiring.contains(os));
        let views = self.supervisor.views(&subjects.identity.uid);
        let mut since = BTreeMap::new();
        for os in &split.retiring {
            since.insert(
                *os,
                memory
                    .retiring_since
                    .entry(*os)
                    .or_insert_with(Instant::now)
                    .elapsed(),
            );
        }
        // One node that cannot be removed does not hold up the other.
        let results = join_all(split.retiring.iter().map(|os| {
            let elapsed = since.get(os).copied().unwrap_or_default();
            let start_error = memory
                .start_errors
                .get(os)
                .map(|(error, _)| error.to_string());
            let trouble = start_error.or_else(|| trouble.map(ToOwned::to_owned));
            let view = views.get(os).cloned();
            async move {
                (
                    *os,
                    self.remove_one(subjects, *os, view, elapsed, trouble).await,
                )
            }
        }))
        .await;
        let mut leaving = BTreeMap::new();
        for (os, result) in results {
            match result {
                Ok(None) => {}
                Ok(Some(retiring)) => {
                    leaving.insert(os, retiring);
                }
                Err(error) => {
                    leaving.insert(
                        os,
                        Retiring {
                            message: error.to_string(),
                            blocked: false,
                        },
                    );
                }
            }
        }
        Ok(leaving)
    }

    async fn remove_one(
        &self,
        subjects: &Subjects<'_>,
        os: Os,
        view: Option<View>,
        elapsed: Duration,
        trouble: Option<String>,
    ) -> Result<Option<Retiring>, KubeError> {
        let Subjects {
            connector,
            identity,
            deleting,
            forced,
            ..
        } = subjects;
        let spec = agent_spec(identity, &connector.spec, os, true);
        // Not the retrying client: 429 is how a disruption budget refuses an eviction.
        let manager = self.clients(&identity.name).lease();
        if view.is_none()
            && !owed(connector, os)
            && !dereference::node_exists(&manager, &spec.node.name).await?
        {
            return Ok(None);
        }
        let situation = Situation {
            // An edit of osType is no deletion: it always drains.
            policy: if *deleting {
                connector.spec.deletion_policy
            } else {
                DeletionPolicy::Drain
            },
            elapsed: deletion_age(connector).unwrap_or(elapsed),
            drain_timeout: connector.spec.drain_timeout(),
            forced: *forced,
            agent: view.as_ref().map(|view| &view.status),
            trouble: trouble.as_deref(),
        };
        match retire(&manager, &spec.node.name, &situation).await? {
            Progress::Waiting(retiring) => Ok(Some(retiring)),
            Progress::Finish { left } => {
                self.supervisor.stop(&(identity.uid.clone(), os)).await;
                finish(&manager, &spec).await?;
                self.tell_what_is_left(connector, &spec, left);
                Ok(None)
            }
        }
    }

    fn tell_what_is_left(&self, connector: &VirtualKubeletConnector, spec: &AgentSpec, left: u32) {
        if left > 0 {
            let note = format!(
                "{left} container groups of node {} are left in resource group {}; find them by their tag with the connector's UID {}",
                spec.node.name, spec.resource_group, spec.connector_uid
            );
            self.emit(
                connector,
                "ContainerGroupsLeft",
                "RemoveNode",
                note,
                EventType::Warning,
            );
        }
    }
}

/// Since when the connector is being deleted, by our clock.
fn deletion_age(connector: &VirtualKubeletConnector) -> Option<Duration> {
    let Time(since) = connector.metadata.deletion_timestamp.as_ref()?;
    Some(
        Timestamp::now()
            .duration_since(*since)
            .try_into()
            .unwrap_or_default(),
    )
}
