//! Pod to container group (`group`), and container group to pod status (`status`). PURE: no client, no clock.
//!
//! The two rooms do not use each other; what both need is beside them.

mod changing;
mod defaults;
mod fault;
mod group;
mod identity;
mod image;
mod operator_annotations;
mod owner;
mod policy;
mod probes;
mod shim;
mod status;
pub mod support;
#[cfg(test)]
pub(crate) mod testing;
mod time;

pub use defaults::{ClusterDns, GroupDefaults, Largest, Workspace};
pub use fault::ContainerFault;
pub use group::{
    Image, KUBERNETES, KUBERNETES_NAMESPACE, MAX_REQUEST, Note, Object, Reference, Refusal,
    Refusals, Resolved, Service, ServicePort, Translation, container_group, login_for_image,
    registry_server, small_group,
};
pub use identity::{
    Ownership, PodKey, group_name, ownership, restarts_before, short_hash, volumes_of,
};
pub use owner::is_of_daemon_set;
pub use policy::RestartPolicy;
pub use probes::{
    ByProbe, ContainerProbes, Handler, Kinds, Means, Ports, ProbeKind, ProbeSpec, port_number,
};
pub use shim::{VolumeUpdates, has_shim, volume_updates};
pub use status::{
    ConditionFacts, ContainerEnd, ContainerFacts, ContainerResources, Deletion, EndStep, Ended,
    EphemeralContainer, EventCursor, GroupEvent, GroupPhase, MESSAGE_LINES, NO_EPHEMERAL_CONTAINER,
    PodFacts, ProbeTarget, Probed, ProbedContainer, Probing, SHIM_NOT_PULLED, TerminationMessage,
    VolumeSources, VolumesUpdated, container_statuses, containers_have_run, digest,
    ends_without_message, facts, group_phase, has_ended, is_final, newly_running,
    only_sidecars_run, probe_target, provisioning_failure, running_containers, shim_not_pulled,
    shim_of, sidecars_have_ended, status_failed, status_group_gone, status_group_lost,
    status_not_started, status_of_group, status_patch, status_terminated, status_unpulled,
    status_waiting, termination_grace,
};
