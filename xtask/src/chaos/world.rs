//! What there is at one moment, on both sides, and what is known of before: all that the checks look at. PURE.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) type Time = DateTime<Utc>;

/// Label of pods that no act touches.
pub(super) const TOUCH: &str = "chaos.test/touch";
/// Label with the name of the Job that made a pod.
const JOB: &str = "batch.kubernetes.io/job-name";

/// Everything.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct World {
    pub(super) now: Time,
    /// Pods that exist, on any node.
    pub(super) pods: Vec<PodSeen>,
    /// Pods that were ever seen, by UID.
    pub(super) history: BTreeMap<String, PodHistory>,
    /// Container groups that exist, foreign ones too.
    pub(super) groups: Vec<GroupSeen>,
    /// What happened to container groups.
    pub(super) changes: Vec<Change>,
    /// Names of the groups that are not ours.
    pub(super) foreign: Vec<String>,
    /// Requests to ARM that name a foreign group, as `METHOD path status`.
    pub(super) foreign_calls: Vec<String>,
    pub(super) connector: Value,
    pub(super) nodes: Vec<NodeSeen>,
    /// When nodes became Ready, and when they were not any more.
    pub(super) readiness: Vec<Readiness>,
    /// From when to when the API server, etcd or all operators were ended or paused.
    pub(super) outages: Vec<(Time, Time)>,
    /// Names of the Leases in `kube-node-lease` with their renewal.
    pub(super) leases: BTreeMap<String, Option<Time>>,
    /// Leases by which replicas own connectors.
    pub(super) owners: Vec<Owner>,
    pub(super) workloads: Vec<Workload>,
    /// Namespaces that are being deleted.
    pub(super) ending: Vec<String>,
    pub(super) processes: Vec<ProcessSeen>,
    /// What processes have said of themselves that must not be, as `where: what`.
    pub(super) panics: Vec<String>,
    /// Places where a secret was found, with what stands before it.
    pub(super) leaks: Vec<String>,
    /// Pods whose resource version changed in the last quiet seconds, by UID.
    pub(super) restless: Vec<String>,
}

/// A state of a container, in the words of both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) enum State {
    Waiting,
    Running,
    Terminated(i64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ContainerSeen {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) restarts: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PodSeen {
    pub(super) uid: String,
    /// `namespace/name`.
    pub(super) name: String,
    pub(super) node: Option<String>,
    /// Since when, and with how long a grace period.
    pub(super) deleting: Option<Time>,
    pub(super) phase: String,
    pub(super) reason: String,
    pub(super) policy: String,
    pub(super) containers: Vec<ContainerSeen>,
    pub(super) ip: Option<String>,
    pub(super) job: Option<String>,
    pub(super) untouched: bool,
    pub(super) version: String,
}

impl PodSeen {
    pub(super) fn of(pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let label = |name: &str| {
            metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(name).cloned())
        };
        let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
        let statuses = status.and_then(|status| status.container_statuses.as_deref());
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            name: format!(
                "{}/{}",
                metadata.namespace.as_deref().unwrap_or_default(),
                metadata.name.as_deref().unwrap_or_default()
            ),
            node: spec.and_then(|spec| spec.node_name.clone()),
            deleting: metadata
                .deletion_timestamp
                .as_ref()
                .and_then(|at| time(&at.0.to_string())),
            phase: status
                .and_then(|status| status.phase.clone())
                .unwrap_or_default(),
            reason: status
                .and_then(|status| status.reason.clone())
                .unwrap_or_default(),
            policy: spec
                .and_then(|spec| spec.restart_policy.clone())
                .unwrap_or_else(|| "Always".to_owned()),
            containers: statuses.unwrap_or_default().iter().map(container).collect(),
            ip: status.and_then(|status| status.pod_ip.clone()),
            job: label(JOB),
            untouched: label(TOUCH).as_deref() == Some("no"),
            version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    pub(super) fn is_final(&self) -> bool {
        is_final(&self.phase)
    }

    /// For people.
    pub(super) fn title(&self) -> String {
        format!("{} ({}, {})", self.name, self.uid, self.phase)
    }
}

/// Whether a phase is the last one.
pub(super) fn is_final(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

fn time(text: &str) -> Option<Time> {
    text.parse().ok()
}

fn container(status: &ContainerStatus) -> ContainerSeen {
    let state = status.state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    ContainerSeen {
        name: status.name.clone(),
        state: match ended {
            Some(ended) => State::Terminated(i64::from(ended.exit_code)),
            None if state.is_some_and(|state| state.running.is_some()) => State::Running,
            None => State::Waiting,
        },
        restarts: i64::from(status.restart_count),
    }
}

/// What a watch has seen of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct PodHistory {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) job: Option<String>,
    pub(super) untouched: bool,
    /// Each phase with its reason and when it was first seen.
    pub(super) phases: Vec<(Time, String, String)>,
    /// The last time that it was seen without a deletion under way.
    pub(super) last_alive: Option<Time>,
    /// When its deletion was first seen, by a deletion timestamp or by its absence.
    pub(super) going: Option<Time>,
    /// When it was seen to be gone.
    pub(super) gone: Option<Time>,
}

impl PodHistory {
    /// When it was first seen in one of these phases.
    pub(super) fn first(&self, phases: &[&str]) -> Option<Time> {
        let found = self
            .phases
            .iter()
            .find(|(_, phase, _)| phases.contains(&phase.as_str()));
        found.map(|(at, ..)| *at)
    }

    /// For people.
    pub(super) fn story(&self) -> String {
        let clock = |at: &Time| at.format("%H:%M:%S%.3f").to_string();
        let phases = self.phases.iter().map(|(at, phase, reason)| {
            let reason = if reason.is_empty() {
                String::new()
            } else {
                format!("/{reason}")
            };
            format!("{phase}{reason} {}", clock(at))
        });
        let mut story: Vec<String> = phases.collect();
        story.extend(
            self.going
                .as_ref()
                .map(|at| format!("deletion {}", clock(at))),
        );
        story.extend(self.gone.as_ref().map(|at| format!("gone {}", clock(at))));
        format!("{} [{}]", self.name, story.join(", "))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct GroupSeen {
    pub(super) name: String,
    /// Tag `vkc-uid`.
    pub(super) uid: Option<String>,
    pub(super) provisioning: String,
    pub(super) state: String,
    pub(super) containers: Vec<ContainerSeen>,
    pub(super) ip: Option<String>,
    /// When a container of it last started or ended.
    pub(super) changed: Option<Time>,
}

impl GroupSeen {
    pub(super) fn of(group: &Value) -> Self {
        let text = |path: &str| {
            group
                .pointer(path)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let containers = group
            .pointer("/properties/containers")
            .and_then(Value::as_array);
        Self {
            name: text("/name").unwrap_or_default(),
            uid: text("/tags/vkc-uid"),
            provisioning: text("/properties/provisioningState").unwrap_or_default(),
            state: text("/properties/instanceView/state").unwrap_or_default(),
            containers: containers.into_iter().flatten().map(view).collect(),
            ip: text("/properties/ipAddress/ip"),
            changed: last_change(group),
        }
    }

    /// Whether a container of it has been started.
    pub(super) fn has_run(&self) -> bool {
        self.containers
            .iter()
            .any(|container| container.state != State::Waiting || container.restarts > 0)
    }

    pub(super) fn is_running(&self) -> bool {
        self.containers
            .iter()
            .any(|container| container.state == State::Running)
    }
}

fn last_change(group: &Value) -> Option<Time> {
    let containers = group
        .pointer("/properties/containers")
        .and_then(Value::as_array);
    let times = containers.into_iter().flatten().flat_map(|container| {
        [
            "currentState/startTime",
            "currentState/finishTime",
            "previousState/finishTime",
        ]
        .map(|at| {
            let at = container.pointer(&format!("/properties/instanceView/{at}"));
            at.and_then(Value::as_str).and_then(time)
        })
    });
    times.flatten().max()
}

fn view(container: &Value) -> ContainerSeen {
    let at = |path: &str| container.pointer(&format!("/properties/instanceView{path}"));
    let code = at("/currentState/exitCode").and_then(Value::as_i64);
    ContainerSeen {
        name: container
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        state: match at("/currentState/state").and_then(Value::as_str) {
            Some("Running") => State::Running,
            Some("Terminated") => State::Terminated(code.unwrap_or_default()),
            _ => State::Waiting,
        },
        restarts: at("/restartCount")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
    }
}

/// One change of a container group, as the emulator tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub(super) at: Time,
    /// `created`, `replaced`, `tagged`, `started`, `stopped`, `restarted`, `deleted` or `vanished`.
    pub(super) kind: String,
    pub(super) group: String,
    #[serde(default)]
    pub(super) tags: Value,
    /// Whether a container of it had been started before the change.
    pub(super) ran: bool,
    pub(super) running: bool,
    pub(super) provisioning_state: String,
    /// Its provisioning failed, also when it started late all the same.
    pub(super) no_capacity: bool,
    pub(super) token: Option<u64>,
}

impl Change {
    pub(super) fn uid(&self) -> Option<&str> {
        self.tags.get("vkc-uid").and_then(Value::as_str)
    }

    /// For people.
    pub(super) fn title(&self) -> String {
        let by = self
            .token
            .map_or_else(|| "admin".to_owned(), |token| format!("token {token}"));
        format!("{} {} by {by}", self.at.format("%H:%M:%S%.3f"), self.kind)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct NodeSeen {
    pub(super) name: String,
    pub(super) ready: bool,
    /// Keys of its taints.
    pub(super) taints: Vec<String>,
}

/// A Lease of the operator: of a connector, or of a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Owner {
    pub(super) name: String,
    /// `connector` or `replica`.
    pub(super) about: String,
    pub(super) holder: String,
    pub(super) renewed: Option<Time>,
}

/// A change of a node's condition Ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    pub(super) at: Time,
    pub(super) node: String,
    pub(super) ready: bool,
    pub(super) reason: String,
}

/// Something that makes pods, and how far it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Workload {
    /// `Deployment`, `StatefulSet` or `Job`.
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) wanted: i64,
    /// Ready, or succeeded.
    pub(super) there: i64,
    /// Of a Job: whether it is complete.
    pub(super) complete: bool,
    /// Of a Job: the UIDs of its pods do not tell whose they were once they are gone, its name does.
    pub(super) untouched: bool,
}

/// One process of `vkc` that runs at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct ProcessSeen {
    pub(super) name: String,
    /// Not ended by us, though it has ended.
    pub(super) ended: Option<String>,
    /// Resident KiB and open files soon after the start of the process, and now.
    pub(super) at_start: Option<(u64, u64)>,
    pub(super) now: Option<(u64, u64)>,
}
