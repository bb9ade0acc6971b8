//! The removal of one virtual node, one step a reconcile: cordon, evict, wait for the container groups, delete the Node.
//!
//! [`decide`] is the rule and pure; [`retire`] looks, acts and returns. Nothing here waits: the next reconcile goes on.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Preconditions};

use super::status::Retiring;
use crate::agent::{AgentSpec, AgentStatus};
use crate::api::DeletionPolicy;
use crate::kube::call::{KubeError, TIMEOUT, call, optional};
use crate::kube::sent::{SmallPod, delete_pod};
use crate::node::NodeError;
use crate::node::keeper;
use crate::translate::{PodKey, is_of_daemon_set};

/// A deletion that waits for something that nobody puts right is given up so long after the drain's own time.
pub const GIVE_UP: Duration = Duration::from_hours(1);
/// After a restart of the operator, when the clock says that the time is long over, it must be seen to be blocked for so
/// long before it is given up: a clock that jumped, or a moment without an answer, ends nothing.
const SEEN_BLOCKED: Duration = Duration::from_mins(5);
/// Pods evicted or deleted in one pass; the next pass takes the next.
const AT_ONCE: usize = 50;
const PAGE: u32 = 50;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePod {
    namespace: String,
    name: String,
    uid: String,
    /// Kept by a `DaemonSet` or mirrored: it would come back after an eviction, so it is deleted and not waited for.
    stays: bool,
    terminating: bool,
    /// It has ended, and needs no eviction.
    over: bool,
}

impl NodePod {
    fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        let mirror = meta
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key("kubernetes.io/config.mirror"));
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            stays: mirror || is_of_daemon_set(meta),
            terminating: meta.deletion_timestamp.is_some(),
            over: is_over(pod),
        }
    }

    fn key(self) -> PodKey {
        PodKey {
            namespace: self.namespace,
            name: self.name,
            uid: self.uid,
        }
    }
}

/// The facts of one pass.
#[derive(Debug, Clone)]
pub struct DrainInputs<'a> {
    pub policy: DeletionPolicy,
    /// How long the removal takes so far, as far as operators have seen it: no clocks of two machines are compared.
    pub elapsed: Duration,
    /// How long this process has seen it blocked, without a break.
    pub blocked: Duration,
    /// The connector itself is being deleted.
    pub deleting: bool,
    /// How long evictions are tried.
    pub drain_timeout: Duration,
    /// The user has ordered to finish the Kubernetes side whatever is left in Azure.
    pub forced: bool,
    /// The agent; without one nobody deletes container groups.
    pub agent: Option<&'a AgentStatus>,
    /// Why there is no agent, or why it cannot work.
    pub trouble: Option<&'a str>,
}

/// What to do in this pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Evict the pods that are not terminating yet.
    Evict,
    Delete,
    Wait,
    /// Stop the agent, delete Node and Lease.
    Finish,
}

/// Whether Azure was out of reach for so long that the Kubernetes side is finished without it. PURE.
pub fn is_given_up(situation: &DrainInputs) -> bool {
    let limit = situation.drain_timeout + GIVE_UP;
    let long = situation.blocked >= limit;
    let over = situation.elapsed >= limit && situation.blocked >= SEEN_BLOCKED;
    situation.deleting && (long || over)
}

pub fn decide(situation: &DrainInputs, pods: &[NodePod]) -> Decision {
    let DrainInputs {
        policy,
        elapsed,
        drain_timeout,
        forced,
        agent,
        ..
    } = situation;
    if *forced || *policy == DeletionPolicy::Orphan || is_given_up(situation) {
        return Decision::Finish;
    }
    // Without an agent nobody would ever finish the pods: they go on running instead.
    let Some(agent) = agent else {
        return Decision::Wait;
    };
    let waited_for = pods.iter().filter(|pod| !pod.stays).count();
    // The agent's count means something only once it has listed both sides.
    if waited_for == 0 && agent.synced && agent.container_groups == 0 {
        return Decision::Finish;
    }
    if pods.iter().all(|pod| pod.terminating) {
        // The connector went together with the right to act as its nodes, as helm and Git take them away, so that the agent can
        // remove its ended pods no more. Nothing of them is left in Azure; those of a Node that is gone are Kubernetes' to remove.
        let is_done = agent.synced && agent.container_groups == 0 && agent.refused.is_some();
        return if is_done {
            Decision::Finish
        } else {
            Decision::Wait
        };
    }
    match policy {
        DeletionPolicy::Drain if elapsed < drain_timeout => Decision::Evict,
        _ => Decision::Delete,
    }
}

/// What came of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The agent can be stopped, then [`finish`] called.
    Finish {
        /// Container groups that are left in Azure; `None` when nobody has counted them.
        groups: Option<u32>,
        /// Pods that are still bound, ended ones too.
        pods: Vec<PodKey>,
    },
    Waiting(Retiring),
}

/// One pass.
///
/// # Errors
/// Only the list of pods can fail; a single eviction or deletion that fails is tried again in the next pass.
pub async fn retire(
    manager: &Client,
    node: &str,
    situation: &DrainInputs<'_>,
) -> Result<Progress, KubeError> {
    let all = pods_of(manager, node).await?;
    let pods: Vec<NodePod> = all.iter().filter(|pod| !pod.over).cloned().collect();
    let decision = decide(situation, &pods);
    let refused = match decision {
        Decision::Finish => {
            return Ok(Progress::Finish {
                groups: situation
                    .agent
                    .filter(|agent| agent.synced)
                    .map(|agent| agent.container_groups),
                pods: all.into_iter().map(NodePod::key).collect(),
            });
        }
        Decision::Wait => None,
        Decision::Evict | Decision::Delete => clear(manager, &pods, &decision).await,
    };
    Ok(Progress::Waiting(waiting(situation, &pods, refused)))
}

/// `1 pod`, `2 pods`. PURE.
fn counted(count: u32, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// The clause for the status. PURE.
fn waiting(situation: &DrainInputs, pods: &[NodePod], refused: Option<String>) -> Retiring {
    let left = pods.iter().filter(|pod| !pod.stays).count();
    // What nobody has counted is not none.
    let groups = match situation.agent.filter(|agent| agent.synced) {
        Some(agent) => counted(agent.container_groups, "container group"),
        None => "an unknown number of container groups".to_owned(),
    };
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    let pods = counted(left, "pod");
    let mut message = format!("{pods} and {groups} left");
    let trouble = situation
        .trouble
        .map(ToOwned::to_owned)
        .or_else(|| situation.agent.and_then(|a| a.problem.clone()));
    if let Some(refused) = refused {
        message = format!("{message}, {refused}");
    }
    if let Some(trouble) = &trouble {
        message = format!("{message}, blocked: {trouble}");
        if situation.deleting {
            let minutes = (situation.drain_timeout + GIVE_UP).as_secs() / 60;
            message = format!(
                "{message}; after {minutes} min without a change Kubernetes is cleared and the container groups are left"
            );
        }
    }
    Retiring {
        message,
        blocked: trouble.is_some(),
        spent: situation.elapsed,
    }
}

async fn pods_of(manager: &Client, node: &str) -> Result<Vec<NodePod>, KubeError> {
    let api = Api::<SmallPod>::all(manager.clone());
    let mut params = ListParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .limit(PAGE);
    let mut pods = Vec::new();
    loop {
        let page = call("list the node's pods", TIMEOUT, api.list(&params)).await?;
        pods.extend(page.items.iter().map(|sent| NodePod::of(&sent.pod)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

/// A finished pod needs no eviction; what it has left in Azure is counted with the agent's container groups.
fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && matches!(phase, Some("Succeeded" | "Failed"))
}

/// Evicts or deletes; the answer says what stands in the way.
async fn clear(manager: &Client, pods: &[NodePod], decision: &Decision) -> Option<String> {
    let mut refused = None;
    for pod in pods.iter().filter(|pod| !pod.terminating).take(AT_ONCE) {
        let api = Api::<Pod>::namespaced(manager.clone(), &pod.namespace);
        let preconditions = Preconditions {
            uid: Some(pod.uid.clone()),
            resource_version: None,
        };
        let delete = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let result = if *decision == Decision::Evict && !pod.stays {
            let params = EvictParams {
                delete_options: Some(delete),
                ..EvictParams::default()
            };
            optional("evict a pod", TIMEOUT, api.evict(&pod.name, &params))
                .await
                .map(drop)
        } else {
            let asked = delete_pod(manager, &pod.namespace, &pod.name, &delete);
            optional("delete a pod", TIMEOUT, asked).await.map(drop)
        };
        match result {
            Ok(()) => {}
            // A disruption budget: the eviction API answers 429 until it allows one.
            Err(error) if error.code() == Some(429) => {
                refused.get_or_insert(format!(
                    "a disruption budget protects pod {}/{}",
                    pod.namespace, pod.name
                ));
            }
            // Another pod of that name by now.
            Err(error) if error.is_conflict() => {}
            Err(error) => {
                refused.get_or_insert(error.to_string());
            }
        }
    }
    refused
}

/// The last step, after the agent was stopped: Node and Lease.
///
/// # Errors
/// As [`keeper::remove`]; a Node that belongs to somebody else is not an error here, it is none of ours to remove.
pub async fn finish(manager: &Client, spec: &AgentSpec) -> Result<(), KubeError> {
    match keeper::remove(manager, &spec.node).await {
        Ok(()) | Err(NodeError::Foreign(_) | NodeError::Contested(_)) => Ok(()),
        Err(NodeError::Kube(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(stays: bool, terminating: bool) -> NodePod {
        NodePod {
            namespace: "ns".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
            stays,
            terminating,
            over: false,
        }
    }

    fn situation(
        policy: DeletionPolicy,
        minutes: u64,
        agent: Option<&AgentStatus>,
    ) -> DrainInputs<'_> {
        DrainInputs {
            policy,
            elapsed: Duration::from_mins(minutes),
            blocked: Duration::ZERO,
            deleting: true,
            drain_timeout: Duration::from_mins(5),
            forced: false,
            agent,
            trouble: None,
        }
    }

    #[test]
    fn a_drain_evicts_then_deletes_then_waits_for_the_groups() {
        use DeletionPolicy::{Delete, Drain, Orphan};
        let busy = AgentStatus {
            synced: true,
            container_groups: 2,
            ..AgentStatus::default()
        };
        let (bound, leaving, daemon) = (pod(false, false), pod(false, true), pod(true, false));
        for (policy, minutes, pods, expected) in [
            (Drain, 1, vec![bound.clone()], Decision::Evict),
            (Drain, 6, vec![bound.clone()], Decision::Delete),
            (Drain, 6, vec![leaving], Decision::Wait),
            (Drain, 1, vec![], Decision::Wait),
            (Drain, 1, vec![daemon], Decision::Evict),
            (Delete, 0, vec![bound.clone()], Decision::Delete),
            (Orphan, 0, vec![bound], Decision::Finish),
        ] {
            assert_eq!(
                decide(&situation(policy, minutes, Some(&busy)), &pods),
                expected,
                "{policy:?} {minutes} {pods:?}"
            );
        }
    }

    #[test]
    fn the_end_needs_a_count_of_zero_that_means_something() {
        let drain = |agent| situation(DeletionPolicy::Drain, 9, agent);
        let empty = AgentStatus {
            synced: true,
            ..AgentStatus::default()
        };
        let starting = AgentStatus::default();
        assert_eq!(decide(&drain(Some(&empty)), &[]), Decision::Finish);
        assert_eq!(
            decide(&drain(Some(&empty)), &[pod(true, false)]),
            Decision::Finish,
            "daemon pods come back for ever"
        );
        assert_eq!(
            decide(&drain(Some(&starting)), &[]),
            Decision::Wait,
            "no count yet"
        );
        assert_eq!(
            decide(&drain(None), &[pod(false, false)]),
            Decision::Wait,
            "no agent, no eviction"
        );
        let forced = DrainInputs {
            forced: true,
            ..drain(None)
        };
        assert_eq!(decide(&forced, &[pod(false, false)]), Decision::Finish);
    }

    #[test]
    fn a_node_that_may_not_be_acted_for_goes_when_nothing_is_left_in_azure() {
        let of = |groups, refused: bool, synced| AgentStatus {
            synced,
            container_groups: groups,
            refused: refused.then(|| "the operator may not act as the node".to_owned()),
            ..AgentStatus::default()
        };
        let (leaving, bound) = ([pod(false, true)], [pod(false, false)]);
        for (agent, pods, expected) in [
            (of(0, true, true), &leaving, Decision::Finish),
            (of(1, true, true), &leaving, Decision::Wait),
            (of(0, true, false), &leaving, Decision::Wait),
            (of(0, false, true), &leaving, Decision::Wait),
            (of(0, true, true), &bound, Decision::Evict),
        ] {
            let situation = situation(DeletionPolicy::Drain, 1, Some(&agent));
            assert_eq!(decide(&situation, pods), expected, "{agent:?}");
        }
    }

    #[test]
    fn a_deletion_that_stays_blocked_is_given_up_an_hour_after_the_drain() {
        let pods = [pod(false, false)];
        let at = |elapsed: u64, blocked: u64, deleting| {
            let situation = DrainInputs {
                blocked: Duration::from_mins(blocked),
                deleting,
                trouble: Some("Secret a/b does not exist"),
                ..situation(DeletionPolicy::Drain, elapsed, None)
            };
            decide(&situation, &pods)
        };
        assert_eq!(at(64, 64, true), Decision::Wait);
        assert_eq!(at(65, 65, true), Decision::Finish);
        assert_eq!(
            at(1, 65, true),
            Decision::Finish,
            "a clock that was set back"
        );
        assert_eq!(
            at(600, 0, true),
            Decision::Wait,
            "a clock that jumped ahead, or a restart"
        );
        assert_eq!(at(600, 5, true), Decision::Finish, "after a restart");
        assert_eq!(
            at(600, 600, false),
            Decision::Wait,
            "an edit of osType is no deletion"
        );
    }

    #[test]
    fn the_clause_names_what_is_in_the_way() {
        let situation = DrainInputs {
            trouble: Some("Secret a/b does not exist"),
            ..situation(DeletionPolicy::Drain, 0, None)
        };
        let retiring = waiting(&situation, &[pod(false, false), pod(true, false)], None);
        assert_eq!(
            retiring.message,
            "1 pod and an unknown number of container groups left, blocked: Secret a/b does not exist; after 65 min without a change Kubernetes is cleared and the container groups are left"
        );
        assert!(retiring.blocked);
        let guarded = DrainInputs {
            trouble: None,
            ..situation
        };
        let retiring = waiting(
            &guarded,
            &[],
            Some("a disruption budget protects pod ns/p".to_owned()),
        );
        assert!(retiring.message.ends_with("protects pod ns/p") && !retiring.blocked);
    }
}
