//! The desired Node. PURE.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;

use crate::api::Os;

/// The parts of a Node that a connector decides.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// `virtual-kubelet-<connector>-<os>-<region>`.
    pub name: String,
    /// Operating system.
    pub os: Os,
    /// Azure region.
    pub region: String,
    /// Connector that owns the node.
    pub connector: String,
    /// UID of that connector, for the ownerReference.
    pub connector_uid: String,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The user's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Taints, already defaulted.
    pub taints: Vec<Taint>,
    /// Capacity by resource name, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// True while no new pod may be scheduled here (drain, suspend).
    pub unschedulable: bool,
}
