//! The slim record that a node agent keeps for each of its pods instead of the pod.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::billing::BilledNoted;
use super::digest;
use super::messages::TerminationMessage;
use super::probed::{Probed, Probing};
use super::resources::ContainerResources;
use super::sources::VolumeSources;
use crate::translate::identity::PodKey;
use crate::translate::policy::{RestartPolicy, is_sidecar};
use crate::translate::probes::ContainerProbes;

/// What is needed of a container to write its status.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerFacts {
    pub name: Box<str>,
    /// Image as the pod spells it.
    pub image: Box<str>,
    /// Whether it is an init container that never ends (a native sidecar).
    pub sidecar: bool,
    /// How it ended, by the status in the API server; `None` unless it is `Terminated` there.
    pub ended: Option<Box<Ended>>,
    /// `restartCount` in the API server.
    pub restarts: i32,
    /// Since when it runs, by the status in the API server; `None` unless it is `Running` there.
    pub running: Option<Timestamp>,
    /// Its last run that is known.
    pub last_run: Option<Run>,
    /// `imageID` in the API server; ACI may forget the event that has told it.
    pub image_id: Option<Box<str>>,
    /// Its probes; `None` without any, and for an init container that ends.
    pub probes: Option<Arc<ContainerProbes>>,
    /// What they have shown last.
    pub probed: Option<Probed>,
    /// Whether it has a `lifecycle.postStart` hook; none has an init container that ends.
    pub has_post_start: bool,
    /// `containerID` of the run whose hook is to be run, or is being run.
    pub hook_of: Option<Box<str>>,
    /// What it has asked for, by its status in the API server once it has been started: a group is not resized.
    pub resources: ContainerResources,
    /// Whether the end of its log is its termination message when it fails.
    pub message_from_log: bool,
    /// Its termination messages that were read from its log, the newest last.
    pub messages: Vec<TerminationMessage>,
}

/// Since when the container of `status` runs; 1970 when the API server does not know that.
pub(super) fn running_since(status: &ContainerStatus) -> Option<Timestamp> {
    let running = status.state.as_ref()?.running.as_ref()?;
    let started = running.started_at.as_ref();
    Some(started.map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// A run of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it began, and `restartCount` then.
    pub(super) began: (Timestamp, i32),
    /// A hash of its image.
    pub(super) image: u64,
}

impl Run {
    /// The run that `status` shows.
    pub(super) fn of(status: &ContainerStatus) -> Option<Self> {
        Some(Self {
            began: (running_since(status)?, status.restart_count.max(0)),
            image: hash(&status.image),
        })
    }
}

/// `imageID` of `status`, when it has one.
pub(super) fn image_id(status: &ContainerStatus) -> Option<Box<str>> {
    let id = status.image_id.as_str();
    (!id.is_empty()).then(|| id.into())
}

/// A hash of an image's name.
pub(super) fn hash(image: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    hasher.finish()
}

/// An end that the API server has on record.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub state: ContainerStateTerminated,
    /// `restartCount` then.
    pub restarts: i32,
}

impl Ended {
    /// The end that `status` tells of.
    pub fn of(status: &ContainerStatus) -> Option<Box<Self>> {
        let state = status.state.as_ref()?.terminated.clone()?;
        Some(Box::new(Self {
            state,
            restarts: status.restart_count,
        }))
    }
}

/// A pod that is being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// `metadata.deletionTimestamp`: when the grace period ends, not when the delete was asked.
    pub at: Timestamp,
    /// `metadata.deletionGracePeriodSeconds`, never negative.
    pub grace_seconds: i64,
}

/// How far the graceful end of a pod has come. It is on record in the pod's status, so that whoever goes on after a restart
/// runs no hook and sends no signal twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndStep {
    /// The `preStop` hooks of its containers have been begun.
    PreStop,
    /// SIGTERM has been sent, or is about to be.
    Signalled,
    /// Nothing runs but sidecars, and their `preStop` hooks have been begun.
    SidecarsPreStop,
    /// SIGTERM has been sent to the sidecars, or is about to be.
    SidecarsSignalled,
}

impl EndStep {
    /// Type of the condition that has it on record.
    pub(super) const CONDITION: &'static str = "virtual-kubelet.io/Ending";

    /// Reason of that condition.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::PreStop => "PreStop",
            Self::Signalled => "Signalled",
            Self::SidecarsPreStop => "SidecarsPreStop",
            Self::SidecarsSignalled => "SidecarsSignalled",
        }
    }

    fn of(reason: Option<&str>) -> Option<Self> {
        let steps = [
            Self::PreStop,
            Self::Signalled,
            Self::SidecarsPreStop,
            Self::SidecarsSignalled,
        ];
        steps.into_iter().find(|step| reason == Some(step.reason()))
    }
}

/// A container that somebody wants added to a pod that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralContainer {
    pub name: Box<str>,
    pub image: Box<str>,
}

/// One condition of the pod as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionFacts {
    pub kind: Box<str>,
    /// `True`, `False` or `Unknown`.
    pub status: Box<str>,
    pub reason: Option<Box<str>>,
    /// When `status` last changed.
    pub last_transition: Option<Timestamp>,
}

/// What the agent remembers of a pod: enough to write its status, not enough to create its group.
#[derive(Debug, Clone, PartialEq)]
pub struct PodFacts {
    pub key: PodKey,
    /// `spec.nodeName`.
    pub node_name: Box<str>,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `spec.containers`, in order.
    pub containers: Box<[ContainerFacts]>,
    /// `spec.initContainers`, in order.
    pub init_containers: Box<[ContainerFacts]>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.generation`, to be reported as `status.observedGeneration`; `None` also when the API server has shown
    /// that it does not keep that field (before Kubernetes 1.34), so that no status is written again and again for it.
    pub generation: Option<i64>,
    /// Set when the pod is being deleted.
    pub deletion: Option<Deletion>,
    /// How far its graceful end has come.
    pub ending: Option<EndStep>,
    /// Whether a container or a sidecar has a `lifecycle.preStop` hook.
    pub has_pre_stop: bool,
    /// `spec.terminationGracePeriodSeconds`.
    pub termination_grace: Duration,
    /// `spec.activeDeadlineSeconds`.
    pub active_deadline_seconds: Option<i64>,
    /// `spec.ephemeralContainers`, in order: they are never taken away again.
    pub ephemeral_containers: Box<[EphemeralContainer]>,
    /// Condition types of `spec.readinessGates`.
    pub readiness_gates: Box<[Box<str>]>,
    /// `status.phase` in the API server; `None` when empty.
    pub phase: Option<Box<str>>,
    /// `status.startTime` in the API server.
    pub start_time: Option<Timestamp>,
    /// `status.podIP` in the API server.
    pub pod_ip: Option<IpAddr>,
    /// `status.conditions` in the API server.
    pub conditions: Box<[ConditionFacts]>,
    /// What the pod is told about its group besides its status.
    pub told: BilledNoted,
    /// [`digest`] of the status in the API server.
    pub status_digest: u64,
    /// Which of its probes the operator runs.
    pub probing: Probing,
    /// What the files of its volumes are made of.
    pub volumes: Option<Arc<VolumeSources>>,
}

impl PodFacts {
    /// Whether the API server has the pod as `Succeeded` or `Failed`, which no later status may change.
    pub fn is_final(&self) -> bool {
        matches!(self.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// When the deletion of the pod was asked for.
    pub fn deletion_began(&self) -> Option<Timestamp> {
        let deletion = self.deletion?;
        let grace = SignedDuration::from_secs(deletion.grace_seconds);
        deletion.at.checked_sub(grace).ok()
    }

    /// When the pod has been active for longer than `spec.activeDeadlineSeconds` allows, counted from
    /// `status.startTime` as a kubelet does; `None` without either.
    pub fn deadline(&self) -> Option<Timestamp> {
        let allowed = SignedDuration::from_secs(self.active_deadline_seconds?);
        self.start_time?.checked_add(allowed).ok()
    }

    /// Its containers, init containers first.
    pub fn all(&self) -> impl Iterator<Item = &ContainerFacts> + Clone {
        self.init_containers.iter().chain(&self.containers)
    }

    /// As [`PodFacts::all`].
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut ContainerFacts> {
        self.init_containers.iter_mut().chain(&mut self.containers)
    }

    /// Its container `name`; names of init containers and others are one set.
    pub fn container(&self, name: &str) -> Option<&ContainerFacts> {
        self.all().find(|it| *it.name == *name)
    }

    /// As [`PodFacts::container`].
    pub fn container_mut(&mut self, name: &str) -> Option<&mut ContainerFacts> {
        self.all_mut().find(|it| *it.name == *name)
    }

    /// Names of its sidecars.
    pub fn sidecars(&self) -> impl Iterator<Item = &str> {
        let sidecars = self.init_containers.iter().filter(|it| it.sidecar);
        sidecars.map(|it| &*it.name)
    }

    /// Whether all other containers have ended, and the graceful end of the pod goes on with its sidecars.
    pub fn is_sidecars_turn(&self) -> bool {
        self.ending >= Some(EndStep::SidecarsPreStop)
    }

    /// The greatest `restartCount` of the pod's containers.
    pub fn restarts(&self) -> i32 {
        let restarts = self.all().map(|container| container.restarts);
        restarts.max().unwrap_or(0)
    }

    /// When a condition last changed: up to then somebody has looked after the pod.
    pub fn last_transition(&self) -> Option<Timestamp> {
        let times = self.conditions.iter();
        times
            .filter_map(|condition| condition.last_transition)
            .max()
    }

    /// The condition of type `kind`, when the API server has one.
    pub fn condition(&self, kind: &str) -> Option<&ConditionFacts> {
        self.conditions
            .iter()
            .find(|condition| &*condition.kind == kind)
    }
}

/// `spec.terminationGracePeriodSeconds`, with Kubernetes' default.
pub fn termination_grace(pod: &Pod) -> Duration {
    let spec = pod.spec.as_ref();
    let given = spec.and_then(|spec| spec.termination_grace_period_seconds);
    Duration::from_secs(given.map_or(30, |it| u64::try_from(it).unwrap_or(0)))
}

/// Reads the facts of `pod`; `None` when its UID, name, namespace or node is missing.
pub fn facts(pod: &Pod) -> Option<PodFacts> {
    let key = PodKey::of(pod)?;
    let spec = pod.spec.as_ref()?;
    let node_name = spec.node_name.as_deref().filter(|name| !name.is_empty())?;
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let meta = &pod.metadata;
    let start_time = status.start_time.as_ref().map(|time| time.0);
    let keeps_generation = start_time.is_none() || status.observed_generation.is_some();
    Some(PodFacts {
        key,
        node_name: node_name.into(),
        restart_policy: RestartPolicy::parse(spec.restart_policy.as_deref()),
        containers: spec
            .containers
            .iter()
            .map(|it| {
                let probes = ContainerProbes::of(it);
                container(it, false, probes, status.container_statuses.as_deref())
            })
            .collect(),
        init_containers: spec
            .init_containers
            .iter()
            .flatten()
            .map(|it| {
                let sidecar = is_sidecar(it);
                container(
                    it,
                    sidecar,
                    ContainerProbes::of(it).filter(|_| sidecar),
                    status.init_container_statuses.as_deref(),
                )
            })
            .collect(),
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        generation: meta.generation.filter(|_| keeps_generation),
        deletion: meta.deletion_timestamp.as_ref().map(|time| Deletion {
            at: time.0,
            grace_seconds: meta.deletion_grace_period_seconds.unwrap_or(0).max(0),
        }),
        ending: status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == EndStep::CONDITION)
            .and_then(|condition| EndStep::of(condition.reason.as_deref())),
        has_pre_stop: {
            let inits = spec.init_containers.iter().flatten();
            let sidecars = inits.filter(|init| is_sidecar(init));
            spec.containers.iter().chain(sidecars).any(|container| {
                let hooks = container.lifecycle.as_ref();
                hooks.is_some_and(|hooks| hooks.pre_stop.is_some())
            })
        },
        termination_grace: termination_grace(pod),
        active_deadline_seconds: spec.active_deadline_seconds,
        ephemeral_containers: spec
            .ephemeral_containers
            .iter()
            .flatten()
            .map(|it| EphemeralContainer {
                name: it.name.as_str().into(),
                image: it.image.as_deref().unwrap_or_default().into(),
            })
            .collect(),
        readiness_gates: spec
            .readiness_gates
            .iter()
            .flatten()
            .map(|gate| gate.condition_type.as_str().into())
            .collect(),
        phase: status
            .phase
            .as_deref()
            .filter(|phase| !phase.is_empty())
            .map(Into::into),
        start_time,
        pod_ip: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
        conditions: status.conditions.iter().flatten().map(condition).collect(),
        told: BilledNoted::default(),
        status_digest: digest(status),
        probing: Probing::default(),
        volumes: VolumeSources::of(pod).map(Arc::new),
    })
}

fn container(
    container: &Container,
    sidecar: bool,
    probes: Option<Arc<ContainerProbes>>,
    statuses: Option<&[ContainerStatus]>,
) -> ContainerFacts {
    let status = statuses
        .unwrap_or_default()
        .iter()
        .find(|status| status.name == container.name);
    let mut facts = ContainerFacts {
        name: container.name.as_str().into(),
        image: container.image.as_deref().unwrap_or_default().into(),
        sidecar,
        ended: status.and_then(Ended::of),
        restarts: status.map_or(0, |status| status.restart_count.max(0)),
        running: status.and_then(running_since),
        last_run: status.and_then(Run::of),
        image_id: status.and_then(image_id),
        probed: status.filter(|_| probes.is_some()).and_then(Probed::of),
        has_post_start: {
            let hooks = container.lifecycle.as_ref();
            hooks.is_some_and(|hooks| hooks.post_start.is_some())
        },
        hook_of: None,
        probes,
        resources: status
            .and_then(|status| status.resources.as_ref())
            .or(container.resources.as_ref())
            .map(ContainerResources::of)
            .unwrap_or_default(),
        message_from_log: container.termination_message_policy.as_deref()
            == Some("FallbackToLogsOnError"),
        messages: Vec::new(),
    };
    // The shim's come without a policy that says so.
    if facts.message_from_log || status.is_some() {
        let ends = status.map(|status| [&status.last_state, &status.state]);
        let ends = ends.into_iter().flatten().flatten();
        let messages = ends.filter_map(|end| TerminationMessage::of(end.terminated.as_ref()?));
        for message in messages {
            facts.learn(message);
        }
    }
    facts
}

fn condition(condition: &PodCondition) -> ConditionFacts {
    ConditionFacts {
        kind: condition.type_.as_str().into(),
        status: condition.status.as_str().into(),
        reason: condition
            .reason
            .as_deref()
            .filter(|reason| !reason.is_empty())
            .map(Into::into),
        last_transition: condition.last_transition_time.as_ref().map(|time| time.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{PodFacts, facts};
    use crate::translate::testing::{HELLO, at, pod};

    /// Bytes of the record: itself and what it points at.
    fn bytes(facts: &PodFacts) -> usize {
        let of = |text: &str| text.len() + size_of::<Box<str>>();
        let containers = facts.all();
        let conditions = facts.conditions.iter().map(|it| {
            size_of_val(it)
                + it.kind.len()
                + it.status.len()
                + it.reason.as_deref().map_or(0, str::len)
        });
        size_of_val(facts)
            + [&facts.key.namespace, &facts.key.name, &facts.key.uid]
                .iter()
                .map(|text| text.len())
                .sum::<usize>()
            + facts.node_name.len()
            + containers
                .map(|it| of(&it.name) + of(&it.image) + it.resources.bytes())
                .sum::<usize>()
            + facts
                .readiness_gates
                .iter()
                .map(|gate| of(gate))
                .sum::<usize>()
            + conditions.sum::<usize>()
    }

    #[test]
    fn facts_of_the_walk_through_pod() {
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-09-01T10:00:00Z"});
        let conditions = [
            "PodScheduled",
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
        ];
        let facts = facts(&pod(
            HELLO,
            &[
                ("/metadata/deletionTimestamp", json!("2026-09-01T10:00:30Z")),
                ("/metadata/deletionGracePeriodSeconds", json!(30)),
                ("/spec/readinessGates", json!([{"conditionType": "lb/in"}])),
                (
                    "/status/conditions",
                    conditions.map(condition).as_slice().into(),
                ),
                ("/status/podIP", json!("20.1.2.3")),
            ],
        ))
        .unwrap();
        assert_eq!(
            facts.key.to_string(),
            "default/aci-helloworld-5d6f7c8b9d-x7k2p"
        );
        assert_eq!(&*facts.containers[0].image, "microsoft/aci-helloworld");
        assert!(!facts.is_final());
        let deletion = facts.deletion.unwrap();
        assert_eq!(
            (deletion.at, deletion.grace_seconds),
            (at("2026-09-01T10:00:30Z"), 30)
        );
        assert_eq!(facts.condition("Ready").map(|it| &*it.status), Some("True"));
        assert_eq!(facts.generation, Some(1));
        assert!(bytes(&facts) < 1024, "{} bytes", bytes(&facts));
    }

    #[test]
    fn what_runs_and_since_when() {
        let state = |state: serde_json::Value| {
            json!([{"name": "aci-helloworld", "image": "", "imageID": "",
            "ready": true, "restartCount": 0, "state": state}])
        };
        for (status, since) in [
            (
                json!({"running": {"startedAt": "2026-09-01T10:00:00Z"}}),
                Some("2026-09-01T10:00:00Z"),
            ),
            (json!({"running": {}}), Some("1970-01-01T00:00:00Z")),
            (json!({"waiting": {}}), None),
            (json!({"terminated": {"exitCode": 0}}), None),
        ] {
            let pod = pod(HELLO, &[("/status/containerStatuses", state(status))]);
            let facts = facts(&pod).unwrap();
            assert_eq!(facts.containers[0].running, since.map(at));
            // A write is known before its echo, and not forgotten by a record that is older.
            let mut other = facts.clone();
            other.containers[0].running = None;
            let mut older = other.clone();
            other.remember(pod.status.as_ref().unwrap());
            older.recall(&other);
            assert_eq!(other.containers[0].running, since.map(at));
            assert_eq!(older.containers[0].running, since.map(at));
        }
    }

    #[test]
    fn a_pod_that_is_not_bound_or_has_no_identity_has_no_facts() {
        assert!(facts(&pod(HELLO, &[])).is_some());
        for pointer in [
            "/metadata/uid",
            "/metadata/name",
            "/metadata/namespace",
            "/spec/nodeName",
            "/spec",
        ] {
            assert_eq!(
                facts(&pod(HELLO, &[(pointer, json!(null))])),
                None,
                "{pointer}"
            );
        }
    }
}
