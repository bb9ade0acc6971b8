//! Pod to container group, and container group to pod status. PURE: no client, no clock.

use std::collections::BTreeMap;

use crate::api::Os;

mod containers;
mod env;
mod events;
mod expand;
pub mod facts;
mod fields;
pub mod group;
pub mod identity;
mod init;
mod memory;
mod names;
mod network;
mod pod;
mod probes;
mod pull;
pub mod resolved;
mod resources;
mod review;
mod security;
pub mod services;
pub mod status;
pub mod support;
#[cfg(test)]
mod testing;
pub mod time;
mod volumes;

pub use events::{GroupEvent, Told, provisioning_failure};
pub use facts::{ConditionFacts, ContainerFacts, Deletion, Ended, PodFacts, RestartPolicy, facts};
pub use group::{Note, Refusal, Refusals, Translation, container_group};
pub use identity::{Ownership, PodKey, group_name, ownership};
pub use pull::registry_server;
pub use resolved::{Object, Reference, Resolved};
pub use services::{KUBERNETES, KUBERNETES_NAMESPACE, Service, ServicePort};
pub use status::{
    GroupPhase, digest, group_phase, is_final, status_failed, status_group_gone, status_of_group,
    status_patch, status_terminated, status_unpulled, status_waiting,
};

/// What a connector says about every container group of one of its nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDefaults {
    /// Operating system of the node.
    pub os: Os,
    /// Azure region.
    pub region: String,
    /// Subnet for private addresses.
    pub subnet_id: Option<String>,
    /// Whether declared ports get a public address.
    pub public_ip: bool,
    /// Availability zones in order of preference; ACI takes the first.
    pub zones: Vec<String>,
    /// The user's ARM tags.
    pub tags: BTreeMap<String, String>,
    /// Cores given to a container that states none.
    pub default_cpu: f64,
    /// Gigabytes (10^9 bytes) given to a container that states none.
    pub default_memory_gb: f64,
    /// ARM ID of the identity that pulls from Azure Container Registry where no pull secret does.
    pub registry_identity_id: Option<String>,
}
