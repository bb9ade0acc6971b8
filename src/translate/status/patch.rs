//! The part of a status that a node owns: as a patch, and as a digest.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::conditions::OWNED;
use crate::translate::status::facts::{EndStep, PodFacts};

/// Body of a strategic merge patch of `pods/status` that writes `status` to the pod with the UID of `facts` and to no
/// other: the API server answers 409 or 422 when the pod was recreated.
///
/// Lists without a merge key are replaced whole. Conditions merge by type, so that those of others stay; IPs would merge by
/// address, hence the `$patch: replace`. Members that a status no longer has are sent as null, or they would stay.
pub fn status_patch(facts: &PodFacts, status: &PodStatus) -> Value {
    let ips = |ips: Vec<&str>| {
        let items = ips.into_iter().map(|ip| json!({"ip": ip}));
        std::iter::once(json!({"$patch": "replace"}))
            .chain(items)
            .collect::<Vec<Value>>()
    };
    let conditions: Vec<Value> = status
        .conditions
        .iter()
        .flatten()
        .filter(|it| owned(it))
        .map(condition)
        .collect();
    json!({
        "metadata": metadata(facts),
        "status": {
            "phase": status.phase,
            "reason": status.reason,
            "message": status.message,
            "startTime": status.start_time,
            "observedGeneration": status.observed_generation,
            "conditions": conditions,
            "containerStatuses": status.container_statuses,
            "initContainerStatuses": status.init_container_statuses,
            "ephemeralContainerStatuses": status.ephemeral_container_statuses,
            "podIP": status.pod_ip,
            "podIPs": ips(status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect()),
            "hostIP": status.host_ip,
            "hostIPs": ips(status.host_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect()),
        }
    })
}

/// The UID, and the annotations that the pod gets along with its status. `NodeRestriction` lets a node write them so, and
/// labels not.
fn metadata(facts: &PodFacts) -> Value {
    let mut metadata = json!({"uid": facts.key.uid});
    let annotations: BTreeMap<&str, &str> = facts.told.annotations().collect();
    if !annotations.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.insert("annotations".to_owned(), json!(annotations));
    }
    metadata
}

fn owned(condition: &PodCondition) -> bool {
    OWNED.contains(&condition.type_.as_str())
}

fn condition(condition: &PodCondition) -> Value {
    json!({
        "type": condition.type_,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
        "observedGeneration": condition.observed_generation,
    })
}

/// Digest of the part of a status that we own. Equal digests mean that nothing needs to be written. The same for a status
/// made here and for its echo from the API server; only good within one process.
///
/// Left out: `startTime` and the transition times of conditions, which never change by themselves, so that a status made
/// before the echo of the last one arrives is equal to it; the generation of conditions, which is the status's own; and what
/// containers ask for, which does not change either, and which not every API server keeps.
pub fn digest(status: &PodStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    let into = &mut hasher;
    text(status.phase.as_deref()).hash(into);
    text(status.reason.as_deref()).hash(into);
    text(status.message.as_deref()).hash(into);
    status.observed_generation.unwrap_or(0).hash(into);
    status.start_time.is_some().hash(into);
    text(status.pod_ip.as_deref()).hash(into);
    text(status.host_ip.as_deref()).hash(into);
    for kind in OWNED {
        let found = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == kind);
        // Most pods never have it.
        if kind == EndStep::CONDITION && found.is_none() {
            continue;
        }
        found
            .map(|it| {
                (
                    &it.status,
                    text(it.reason.as_deref()),
                    text(it.message.as_deref()),
                )
            })
            .hash(into);
    }
    for list in [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ] {
        let list = list.as_deref().unwrap_or_default();
        list.len().hash(into);
        for container in list {
            hash_container(container, into);
        }
    }
    hasher.finish()
}

/// Absent and empty are one to the API server.
fn text(text: Option<&str>) -> &str {
    text.unwrap_or_default()
}

fn hash_container(container: &ContainerStatus, into: &mut DefaultHasher) {
    container.name.hash(into);
    container.image.hash(into);
    container.image_id.hash(into);
    text(container.container_id.as_deref()).hash(into);
    container.ready.hash(into);
    container.started.unwrap_or(false).hash(into);
    container.restart_count.hash(into);
    hash_state(container.state.as_ref(), into);
    hash_state(container.last_state.as_ref(), into);
}

fn hash_state(state: Option<&ContainerState>, into: &mut DefaultHasher) {
    let empty = ContainerState::default();
    let ContainerState {
        running,
        terminated,
        waiting,
    } = state.unwrap_or(&empty);
    let second = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_second());
    running.as_ref().map(|it| second(&it.started_at)).hash(into);
    waiting
        .as_ref()
        .map(|it| (text(it.reason.as_deref()), text(it.message.as_deref())))
        .hash(into);
    let terminated = terminated.as_ref().map(|it| {
        (
            it.exit_code,
            it.signal.unwrap_or(0),
            text(it.reason.as_deref()),
            text(it.message.as_deref()),
            second(&it.started_at),
            second(&it.finished_at),
            text(it.container_id.as_deref()),
        )
    });
    terminated.hash(into);
}
