//! Container group to pod status, as a kubelet would write it.

use k8s_openapi::api::core::v1::PodStatus;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::facts::PodFacts;
use crate::azure::model::ContainerGroup;

/// Where a container group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupPhase {
    /// Not running yet.
    Creating,
    /// Its containers run, or are restarted by ACI.
    Running,
    /// Every container ended with 0 and none restarts.
    Succeeded,
    /// A container ended with an error and none restarts.
    Failed,
    /// Azure gave up on making it. The group stays, may start late and bill: it is to be deleted.
    ProvisioningFailed,
    /// Stopped by somebody; nothing runs or bills.
    Stopped,
    /// Azure moves it to another host; it will run again, perhaps with another IP.
    Repairing,
    /// Being deleted.
    Deleting,
}

/// Where `group` is in its life, from its provisioning state and its instance view.
pub fn group_phase(group: &ContainerGroup) -> GroupPhase {
    let _ = group;
    GroupPhase::Creating
}

/// Status of a pod whose group was read with its instance view.
pub fn status_of_group(
    facts: &PodFacts,
    group: &ContainerGroup,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let _ = (facts, group, host_ip, now);
    PodStatus::default()
}

/// Status of a pod that has no running group yet: `Pending`, every container `Waiting` for `reason`.
pub fn status_waiting(
    facts: &PodFacts,
    reason: &str,
    message: &str,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let _ = (facts, reason, message, host_ip, now);
    PodStatus::default()
}

/// Status of a pod that has ended as `Failed` for a reason of ours.
pub fn status_failed(
    facts: &PodFacts,
    reason: &str,
    message: &str,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let _ = (facts, reason, message, host_ip, now);
    PodStatus::default()
}

/// Status of a pod whose group vanished from Azure behind our back: `Failed`, reason `ContainerGroupDeleted`. What `last`
/// knew of ended containers stays.
pub fn status_group_gone(
    facts: &PodFacts,
    last: Option<&PodStatus>,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let _ = (facts, last, host_ip, now);
    PodStatus::default()
}

/// Last status of a deleted pod whose group is gone; `last_group` is the group as it was last read.
pub fn status_terminated(
    facts: &PodFacts,
    last_group: Option<&ContainerGroup>,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let _ = (facts, last_group, host_ip, now);
    PodStatus::default()
}

/// Body of a strategic merge patch of `pods/status` that writes `status` to the pod with the UID of `facts` and to no other.
pub fn status_patch(facts: &PodFacts, status: &PodStatus) -> Value {
    json!({"metadata": {"uid": facts.key.uid}, "status": status})
}

/// Digest of the part of a status that we own. Equal digests mean that nothing needs to be written. The same for a status
/// made here and for its echo from the API server; only good within one process.
pub fn digest(status: &PodStatus) -> u64 {
    let _ = status;
    0
}

/// Whether `status` is the last one: `Succeeded` or `Failed`.
pub fn is_final(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}
