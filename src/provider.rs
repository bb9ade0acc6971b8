//! Container groups of pods: ensure, observe, delete and list, over `azure` and `translate`.

mod aci;
mod containers;
mod doubts;
pub mod exec;
mod failure;
mod images;
mod references;

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

pub use aci::{Aci, Scope};
pub use containers::Containers;
pub use doubts::Doubts;
pub use failure::{Failure, FailureKind, Row, follows};
pub use images::{Images, RegistryImages};
pub use references::{KubeReferences, References};

use crate::azure::model::ContainerGroup;
use crate::azure::throttle::{Pace, Urgency, Wish};
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

/// The groups of a node, as they were `age` ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The node's groups.
    pub groups: Vec<GroupSummary>,
    /// Groups in the whole resource group, which is what a list costs.
    pub all: usize,
    /// Since the reading of the list began.
    pub age: Duration,
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

    /// The failure of an ensure of `key` that waits for Azure's limit of creates; `None` when it is to be tried.
    fn in_line(&self, key: &PodKey) -> Option<Failure>;

    /// Notes what looks at the running pods of this node would cost, and says how often to look: the reads are shared by
    /// all nodes of a subscription and principal.
    fn plan(&self, wish: Wish) -> Pace;

    /// The group `name` with its instance view; `None` only when ARM says that the group does not exist.
    async fn observe(
        &self,
        name: &str,
        urgency: Urgency,
    ) -> Result<Option<Box<ContainerGroup>>, Failure>;

    /// Deletes the group `name`.
    async fn delete(&self, name: &str) -> Result<Deleted, Failure>;

    /// Stops what runs in the group `name`; the group stays. A group that does not exist is stopped.
    async fn stop(&self, name: &str) -> Result<(), Failure>;

    /// Every group in the resource group that belongs to this node, at most `max_age` ago: complete, or an error.
    async fn list(&self, max_age: Duration) -> Result<Listing, Failure>;

    /// The name of the group of `key`.
    fn group_name(&self, key: &PodKey) -> String;
}
