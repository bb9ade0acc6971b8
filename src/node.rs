//! The Node object of one virtual node: what it must look like, and the tasks that keep it so.

mod contest;
pub mod keeper;
mod lease;
pub mod repair;
pub mod spec;
pub mod status;

use crate::kube::call::KubeError;

/// Why a Node could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Kube(#[from] KubeError),
    /// Another process writes the Node as well; the next write waits.
    #[error("{0}")]
    Contested(String),
    /// A Node of this name exists and is not ours.
    #[error("{0}")]
    Foreign(String),
}
