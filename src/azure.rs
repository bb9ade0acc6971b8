//! Azure Resource Manager: the typed model of container groups and the client that moves it.
//!
//! Nothing in here knows Kubernetes.

pub mod client;
pub mod cloud;
pub mod credential;
pub mod error;
pub mod exec;
pub(crate) mod health;
pub(crate) mod json;
pub mod listing;
pub mod managed_cluster;
pub mod model;
pub mod monitor;
pub mod permissions;
mod redact;
pub mod resources;
pub mod throttle;
pub(crate) mod transport;

pub use client::{ArmClient, Deletion, Observer};
pub use cloud::{API_VERSION, CloudError, Endpoints};
pub use credential::{Certificate, CertificateError, Credential, MetadataHost, NotLocal};
pub use error::{AzureError, ErrorClass, Lacking};
pub use health::{Cause, Health, Reach};
pub use managed_cluster::ManagedCluster;
pub use permissions::Permission;
pub use resources::{
    Capability, Provider, ResourceGroup, ResourceType, Subnet, SubnetPath, Usage, VirtualNetwork,
};
pub use throttle::{Limiter, Limiters};
