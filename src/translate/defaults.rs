//! What a connector says about every container group of one of its nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::api::{Compatibility, ContainerGroupSku, DaemonSets, Os, Priority, Probes, Shim};
use crate::azure::model::SecretText;

use super::Service;

/// What a connector says about every container group of one of its nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDefaults {
    /// Operating system of the node.
    pub os: Os,
    pub region: String,
    /// Subnet for private addresses.
    pub subnet_id: Option<String>,
    /// Whether declared ports get a public address.
    pub public_ip: bool,
    /// Availability zones in order of preference; ACI takes one.
    pub zones: Vec<String>,
    /// Zones that had no capacity lately: another of those that are preferred is taken while there is one.
    pub full_zones: Vec<String>,
    /// The user's ARM tags.
    pub tags: BTreeMap<String, String>,
    /// Cores given to a container that states none.
    pub default_cpu: f64,
    /// Gigabytes (10^9 bytes) given to a container that states none.
    pub default_memory_gb: f64,
    /// SKU, unless a pod says else.
    pub sku: ContainerGroupSku,
    /// Priority, unless a pod says else.
    pub priority: Priority,
    /// User-assigned identities of every group, as ARM IDs; a pod may have fewer, never others.
    pub identity_ids: Vec<String>,
    /// Where the containers' logs go.
    pub log_analytics: Option<Workspace>,
    /// The cluster's DNS, for groups in a subnet.
    pub cluster_dns: ClusterDns,
    /// What containers are told of the API server, where the connector says so.
    pub api_server: Option<Arc<Service>>,
    /// ARM ID of the identity that pulls from Azure Container Registry where no pull secret does.
    pub registry_identity_id: Option<String>,
    /// The largest group that the region takes; `None` where that is not known.
    pub largest: Option<Largest>,
    /// What becomes of pods that ask for what ACI cannot enforce.
    pub compatibility: Compatibility,
    /// What becomes of pods of a `DaemonSet`.
    pub daemon_sets: DaemonSets,
    /// Who runs the probes of containers.
    pub probes: Probes,
    /// Which groups get the shim, and its image.
    pub shim: Shim,
    /// User name and password that its image is pulled with.
    pub shim_login: Option<(String, SecretText)>,
}

impl GroupDefaults {
    /// What holds where a connector says no more than it must: no address, Standard, Regular, containers of 1 core and
    /// 1.5 GB.
    pub fn new(os: Os, region: String) -> Self {
        Self {
            os,
            region,
            subnet_id: None,
            public_ip: false,
            zones: Vec::new(),
            full_zones: Vec::new(),
            tags: BTreeMap::new(),
            default_cpu: 1.0,
            default_memory_gb: 1.5,
            sku: ContainerGroupSku::Standard,
            priority: Priority::Regular,
            identity_ids: Vec::new(),
            log_analytics: None,
            cluster_dns: ClusterDns::default(),
            api_server: None,
            registry_identity_id: None,
            largest: None,
            compatibility: Compatibility::default(),
            daemon_sets: DaemonSets::default(),
            probes: Probes::default(),
            shim: Shim::default(),
            shim_login: None,
        }
    }
}

/// How large a container group may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Largest {
    /// Cores.
    pub cpu: f64,
    /// Gigabytes (10^9 bytes).
    pub memory_gb: f64,
}

/// A Log Analytics workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub id: String,
    /// Key; `None` while the connector's Secret does not give it, and pods wait for it.
    pub key: Option<SecretText>,
}

/// The cluster's DNS, as a kubelet is told it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterDns {
    /// Its servers (`--cluster-dns` of a kubelet); none when nobody has said.
    pub servers: Vec<IpAddr>,
    /// Its domain (`--cluster-domain`).
    pub domain: String,
}
