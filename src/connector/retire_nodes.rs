//! The step of a reconcile that removes nodes: of a deleted connector, or of an operating system no longer asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use tokio::time::Instant;

use super::apply::owed;
use super::dereference;
use super::drain::{DrainInputs, Progress, finish, retire};
use super::left::Left;
use super::plan::{NodeSets, agent_spec};
use super::reconcile::ReconcileContext;
use super::state::ConnectorState;
use super::status::Retiring;
use super::supervisor::{Snapshot, Supervisor, View};
use crate::api::{DeletionPolicy, Os, VirtualKubeletConnector};
use crate::kube::call::KubeError;

/// What came of the step.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// Nodes that are not gone yet.
    pub(super) leaving: BTreeMap<Os, Retiring>,
    /// What nodes that went have left in Azure.
    pub(super) left: Vec<Left>,
}

/// How long the removal of one node has been going on.
#[derive(Debug, Clone, Copy, Default)]
struct Ages {
    retiring: Duration,
    blocked: Duration,
}

/// Takes each retiring node one step further. `plain` does not retry: 429 is how a disruption budget refuses an eviction.
pub(super) async fn remove(
    plain: &Client,
    supervisor: &Supervisor,
    cx: &ReconcileContext<'_>,
    state: &mut ConnectorState,
    agents: &Snapshot,
    sets: &NodeSets,
    trouble: Option<&str>,
) -> Removal {
    let gone = |os: &Os| sets.retiring.contains(os);
    state.retiring_since.retain(|os, _| gone(os));
    state.blocked_since.retain(|os, _| gone(os));
    // One node that cannot be removed does not hold up the other.
    let results = join_all(sets.retiring.iter().map(|os| {
        let since = state.retiring_since.entry(*os);
        let (since, before) =
            since.or_insert_with(|| (Instant::now(), spent_before(cx.connector, *os)));
        let ages = Ages {
            retiring: *before + since.elapsed(),
            blocked: state
                .blocked_since
                .get(os)
                .map_or(Duration::ZERO, Instant::elapsed),
        };
        let start_error = state
            .start_errors
            .get(os)
            .map(|(error, _)| error.to_string());
        let trouble = start_error.or_else(|| trouble.map(ToOwned::to_owned));
        let view = agents.running.get(os);
        async move {
            let result = remove_one(plain, supervisor, cx, *os, view, ages, trouble).await;
            (*os, result)
        }
    }))
    .await;
    let mut removal = Removal::default();
    for (os, result) in results {
        let retiring = match result {
            Ok(Step::Gone(left)) => {
                removal.left.extend(left);
                continue;
            }
            Ok(Step::Leaving(retiring)) => retiring,
            Err(error) => Retiring {
                message: error.to_string(),
                blocked: false,
                spent: state
                    .retiring_since
                    .get(&os)
                    .map(|(since, before)| *before + since.elapsed())
                    .unwrap_or_default(),
            },
        };
        if retiring.blocked {
            state.blocked_since.entry(os).or_insert_with(Instant::now);
        } else {
            state.blocked_since.remove(&os);
        }
        removal.leaving.insert(os, retiring);
    }
    removal
}

enum Step {
    Gone(Option<Left>),
    Leaving(Retiring),
}

async fn remove_one(
    plain: &Client,
    supervisor: &Supervisor,
    cx: &ReconcileContext<'_>,
    os: Os,
    view: Option<&View>,
    ages: Ages,
    trouble: Option<String>,
) -> Result<Step, KubeError> {
    let ReconcileContext {
        connector,
        identity,
        deleting,
        forced,
        ..
    } = cx;
    let spec = agent_spec(identity, &connector.spec, os, true);
    if view.is_none()
        && !owed(connector, os)
        && !dereference::node_exists(plain, &spec.node.name).await?
    {
        return Ok(Step::Gone(None));
    }
    let situation = DrainInputs {
        // An edit of osType is no deletion: it always drains.
        policy: if *deleting {
            connector.spec.deletion_policy
        } else {
            DeletionPolicy::Drain
        },
        elapsed: ages.retiring,
        blocked: ages.blocked,
        deleting: *deleting,
        drain_timeout: connector.spec.drain_timeout(),
        forced: *forced,
        agent: view.map(|view| &view.status),
        trouble: trouble.as_deref(),
    };
    match retire(plain, &spec.node.name, &situation).await? {
        Progress::Waiting(retiring) => Ok(Step::Leaving(retiring)),
        Progress::Finish { groups, pods } => {
            supervisor.stop(&(identity.uid.clone(), os)).await;
            finish(plain, &spec).await?;
            let scope = connector
                .status
                .as_ref()
                .and_then(|status| status.azure_scope.as_ref());
            Ok(Step::Gone(Left::new(&spec, scope, groups, &pods)))
        }
    }
}

/// How long the removal of the node has taken under an operator before this one, as it has written that down.
fn spent_before(connector: &VirtualKubeletConnector, os: Os) -> Duration {
    let nodes = connector.status.iter().flat_map(|status| &status.nodes);
    let seconds = nodes
        .filter(|node| node.os_type == os)
        .find_map(|node| node.drain_seconds)
        .unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
