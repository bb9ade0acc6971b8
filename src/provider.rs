//! Container groups of pods: ensure, observe, delete and list, over `azure` and `translate`.

mod aci;
mod containers;
pub mod exec;
mod failure;
mod images;
mod references;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

pub use aci::{Aci, Scope};
pub use containers::Containers;
pub use failure::{Failure, FailureKind, Row, follows};
pub use images::{Images, RegistryImages};
pub use references::{KubeReferences, References};

use crate::azure::model::ContainerGroup;
use crate::translate::{Note, PodKey};

/// A container group as LIST tells it: existence and owner, no instance view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// ARM name.
    pub name: String,
    /// The pod it was made for, by its tags.
    pub key: PodKey,
    /// State of the last operation, as ARM words it.
    pub provisioning_state: String,
}

/// What an ensure achieved.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensured {
    /// The group as ARM answered it.
    pub group: Box<ContainerGroup>,
    /// What was approximated, to be told once.
    pub notes: Vec<Note>,
}

/// What a delete achieved.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// ARM said that there is no such group.
    Absent,
    /// ARM took the delete; a GET has to confirm it. Carries the group's last state where ARM gave it.
    Accepted(Option<Box<ContainerGroup>>),
}

/// The backend of a virtual node. Calls are bounded in time by the implementation.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Creates the container group of `pod` once. With `look_first` a GET precedes the PUT and an existing group is
    /// adopted, which is needed whenever a group may exist that nobody saw.
    async fn ensure(&self, pod: &Pod, look_first: bool) -> Result<Ensured, Failure>;

    /// The group `name` with its instance view; `None` only when ARM says that the group does not exist.
    async fn observe(&self, name: &str) -> Result<Option<Box<ContainerGroup>>, Failure>;

    /// Deletes the group `name`.
    async fn delete(&self, name: &str) -> Result<Deleted, Failure>;

    /// Stops what runs in the group `name`; the group stays. A group that does not exist is stopped.
    async fn stop(&self, name: &str) -> Result<(), Failure>;

    /// Every group in the resource group that belongs to this node: complete, or an error.
    async fn list(&self) -> Result<Vec<GroupSummary>, Failure>;

    /// The name of the group of `key`.
    fn group_name(&self, key: &PodKey) -> String;
}
