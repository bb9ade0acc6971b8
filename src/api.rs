//! The `VirtualKubeletConnector` API: types, defaults, conditions and validation. PURE: no client, no clock.
//!
//! The types are the source of the CRD ([`crd`]); what the API server can check is in its schema and CEL rules, what
//! it cannot is in [`validate`].
#![warn(missing_docs)]

mod compatibility;
pub mod conditions;
mod crd;
mod defaults;
mod duration;
pub mod names;
mod namespaces;
mod network;
mod per_os;
mod probes;
mod quantity;
mod schema;
mod shim;
mod spec;
mod status;
mod validate;

use serde::{Deserialize, Serialize};

pub use compatibility::{Compatibility, Treatment, Unenforced};
#[cfg(test)]
use crd::default_status;
pub use crd::{crd, crd_yaml};
pub use defaults::{
    ContainerRequests, DEFAULT_TAINT_KEY, DEFAULT_TAINT_VALUE, LAST_RESORT_TAINT_KEY, node_name,
};
pub use duration::parse_duration;
pub use namespaces::{AllowedNamespaces, LabelOperator, LabelRequirement};
pub use network::{HostPort, Network};
pub use per_os::{OsContainerGroup, OsNode, OsSettings};
pub use probes::{ProbedBy, Probes};
pub use quantity::parse_quantity;
pub use shim::{SHIM_IMAGE, Shim, ShimMode, VolumeUpdates};
pub use spec::{
    CapacitySource, Cloud, ContainerGroupSku, ContainerGroupTemplate, Credentials, CredentialsType,
    CustomCloud, DaemonSets, DeletionPolicy, LogAnalytics, NodeTaint, NodeTemplate, OrphanPolicy,
    OsType, Priority, SecretReference, TaintEffect, VirtualKubeletConnector,
    VirtualKubeletConnectorSpec,
};
pub use status::{AzureScope, IdentityStatus, VirtualKubeletConnectorStatus, VirtualNodeStatus};
pub use validate::{Problem, certificates, is_guid, subnet_problem, validate};

/// Operating system of one virtual node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Os {
    /// Linux containers.
    Linux,
    /// Windows containers.
    Windows,
}

impl Os {
    /// ARM's word (`Linux`, `Windows`).
    pub fn arm(self) -> &'static str {
        match self {
            Os::Linux => "Linux",
            Os::Windows => "Windows",
        }
    }

    /// The value of the `kubernetes.io/os` label.
    pub fn label(self) -> &'static str {
        match self {
            Os::Linux => "linux",
            Os::Windows => "windows",
        }
    }
}
