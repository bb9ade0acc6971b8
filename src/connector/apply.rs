//! The step of a reconcile that starts, updates and restarts agents.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use tokio::time::Instant;

use super::dereference;
use super::memory::{Arm, Checked, Memory};
use super::plan::{Seen, Split, Step, agent_spec, steps};
use super::reconcile::{Core, Subjects};
use super::supervisor::StartError;
use crate::api::conditions::reason;
use crate::api::{DeletionPolicy, Os, VirtualKubeletConnector};
use crate::kube::call::KubeError;

impl Core {
    /// Starts, updates and restarts agents.
    pub(super) async fn apply(
        &self,
        subjects: &Subjects<'_>,
        memory: &mut Memory,
        split: &Split,
        checked: &Checked,
    ) -> Result<(), KubeError> {
        let Subjects {
            connector,
            identity,
            ..
        } = subjects;
        let manager = self.context.clients.manager();
        let mut running: BTreeMap<Os, Seen> = self
            .supervisor
            .views(&identity.uid)
            .into_iter()
            .map(|(os, view)| (os, view.seen))
            .collect();
        let mut desired = BTreeMap::new();
        let mut may_start = BTreeSet::new();
        let findings = || checked.findings.iter().flatten();
        let clear =
            checked.fresh && checked.findings.is_some() && !findings().any(|found| found.blocks);
        // Another version of the API is spoken only once Azure has said that it knows it.
        let settled =
            checked.fresh && !findings().any(|it| it.reason == reason::API_VERSION_NOT_AVAILABLE);
        if let Some(arm) = memory.arm.as_ref().filter(|_| !settled) {
            for seen in running.values_mut() {
                seen.arm = arm.number;
            }
        }
        for os in split.wanted.iter().chain(&split.retiring) {
            let spec = agent_spec(identity, &connector.spec, *os, split.retiring.contains(os));
            let wanted = split.wanted.contains(os);
            let waits = memory
                .start_errors
                .get(os)
                .is_some_and(|(_, at)| Instant::now() < *at);
            // A Node that exists needs its agent even while Azure is in trouble.
            if !running.contains_key(os)
                && !waits
                && ((wanted && clear)
                    || owed(connector, *os)
                    || dereference::node_exists(&manager, &spec.node.name).await?)
            {
                may_start.insert(*os);
            }
            desired.insert(*os, spec);
        }
        // An orphaning or forced removal needs no agent.
        if subjects.deleting
            && (subjects.forced || connector.spec.deletion_policy == DeletionPolicy::Orphan)
        {
            may_start.clear();
        }
        let arm = memory.arm.clone();
        let steps = steps(
            &desired,
            &running,
            arm.as_ref().map(|arm| arm.number),
            |os| may_start.contains(&os),
        );
        let results = join_all(steps.into_iter().map(|(os, step)| {
            let arm = arm.clone();
            async move { (os, self.take(os, step, arm).await) }
        }))
        .await;
        memory.start_errors.retain(|os, _| desired.contains_key(os));
        for (os, result) in results {
            match result {
                Ok(()) => {
                    memory.start_errors.remove(&os);
                    memory.start_backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(connector = %identity.name, os = os.label(), %error, "the agent did not start");
                    let retry = Instant::now() + memory.start_backoff.next_delay();
                    memory.start_errors.insert(os, (error, retry));
                }
            }
        }
        Ok(())
    }

    async fn take(&self, os: Os, step: Step, arm: Option<Arm>) -> Result<(), StartError> {
        let (spec, restart) = match step {
            Step::Update(spec) => {
                self.supervisor.update(spec);
                return Ok(());
            }
            Step::Start(spec) => (spec, false),
            Step::Restart(spec) => (spec, true),
        };
        let Some(arm) = arm else { return Ok(()) };
        if restart {
            self.supervisor
                .stop(&(spec.connector_uid.clone(), os))
                .await;
        }
        self.supervisor.start(spec, arm.client, arm.number).await
    }
}

/// The status says that the node has pods or container groups: there is something to remove, even without a Node.
pub(super) fn owed(connector: &VirtualKubeletConnector, os: Os) -> bool {
    let nodes = connector.status.iter().flat_map(|status| &status.nodes);
    nodes
        .filter(|node| node.os_type == os)
        .any(|node| node.container_groups.unwrap_or_default() > 0)
}
