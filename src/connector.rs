//! The `VirtualKubeletConnector` controller: dereference → validate → plan → apply → status.
//!
//! * [`validate`], [`plan`] and [`status`] are pure, and so are the rules of [`preflight`] and [`drain`].
//! * No reconcile waits for Azure: questions to it run in a task of their own and trigger the next reconcile, so that a
//!   connector in trouble never delays another.
//! * An idle connector writes nothing; see [`status::status`].

mod apply;
mod arrival;
pub mod capacity;
mod controller;
mod dereference;
pub mod drain;
mod expiry;
mod held;
pub mod identity;
mod left;
pub mod plan;
pub mod preflight;
mod reconcile;
mod retire_nodes;
mod scope;
mod shim_login;
mod state;
pub mod status;
pub mod supervisor;
pub mod trust;
pub mod validate;
pub mod workspace;
mod write_status;

use std::sync::Arc;
use std::time::Duration;

use crate::azure;
use crate::kube::client::Clients;
use crate::ownership::Ownership;
use crate::translate::ClusterDns;

pub use arrival::ARRIVAL;
pub use controller::run;
pub use expiry::Observer;
pub use state::PreflightIntervals;
pub use supervisor::{AgentFactory, RunningAgent, StartError};

pub use crate::api::names::{
    ANNOTATION_DELETE_ORPHANS as DELETE_ORPHANS, ANNOTATION_FLUX_REQUESTED_AT as FLUX_REQUESTED_AT,
    ANNOTATION_FORCE_DELETE as FORCE_DELETE, ANNOTATION_REQUESTED_AT as REQUESTED_AT, FINALIZER,
};
/// Field manager of all our server-side applies.
pub const FIELD_MANAGER: &str = "virtual-kubelet-connector";

/// What the controller needs.
pub struct Context {
    /// Clients of the API server.
    pub clients: Clients,
    /// The operator's namespace: default of Secret references, and where Secrets are watched.
    pub namespace: String,
    /// The operator's own identity, for connectors without credentials and for workload identity.
    pub environment: identity::Environment,
    /// The cluster's DNS, for pods in a subnet.
    pub cluster_dns: ClusterDns,
    /// Which connectors this replica works for.
    pub ownership: Ownership,
    pub agents: Arc<dyn AgentFactory>,
    /// ARM's budgets, shared by all connectors.
    pub limiters: azure::Limiters,
    /// Sees every call to ARM.
    pub arm_observer: Arc<dyn azure::Observer>,
    /// Sees what is known of the connectors.
    pub observer: Arc<dyn Observer>,
    /// How often Azure is asked about a connector.
    pub pace: PreflightIntervals,
    /// How long after a change of a connector what it lacks may still come.
    pub arrival: Duration,
    /// `reportingInstance` of events: the name of the operator's pod.
    pub instance: String,
    /// Called once the connectors are listed and watched: a gate of `/readyz`.
    pub ready: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its stream of work ended although nobody asked for it.
    #[error("the controller ended by itself")]
    Ended,
}
