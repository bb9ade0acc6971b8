//! Container groups of pods: ensure, observe, delete and list, over `azure` and `translate`.

mod aci;
mod containers;
mod end_logs;
mod exchange;
pub mod exec;
mod failure;
mod hook;
mod image_names;
mod images;
mod probe;
mod references;
mod refresh;
mod shims;
mod volumes;
mod zones;

use std::time::Duration;

use async_trait::async_trait;

pub use aci::{Aci, GroupOwner};
pub use containers::{Containers, LogPart};
pub use end_logs::EndLogs;
pub use failure::{Failure, FailureKind, Row, follows};
pub use hook::Unreached;
pub use images::{Images, RegistryImages};
pub use probe::{ProbeAnswer, ProbeCall};
pub use references::{KubeReferences, References};
pub use refresh::RefreshRequests;
pub use shims::MadeWith;
pub use volumes::{UpdateWanted, VolumesBrought};

use crate::azure::model::ContainerGroup;
use crate::tenure::Maker;
use crate::translate::{Note, PodKey};

/// A container group as LIST tells it: existence and owner, no instance view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    pub name: String,
    /// The pod it was made for, by its tags.
    pub key: PodKey,
    /// State of the last operation, as ARM words it.
    pub provisioning_state: String,
    pub maker: Maker,
}

/// The groups of a node, as they were `age` ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub groups: Vec<GroupSummary>,
    /// Groups in the whole resource group, which is what a list costs.
    pub all: usize,
    /// Since the reading of the list began.
    pub age: Duration,
}

/// A place among the operations of a node: given back while an operation waits for something outside of Azure and of the
/// cluster.
#[async_trait]
pub trait Slot: std::fmt::Debug + Send + Sync {
    /// Gives the place to others.
    fn leave(&self);
    /// Waits for a place again.
    async fn again(&self);
}

/// Of who has no place to give back.
#[async_trait]
impl Slot for () {
    fn leave(&self) {}

    async fn again(&self) {}
}

/// What an ensure achieved.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensured {
    /// The group as ARM answered it.
    pub group: Box<ContainerGroup>,
    /// It was there before, and nothing was made.
    pub adopted: bool,
    /// What was approximated, to be told once.
    pub notes: Vec<Note>,
}

impl Ensured {
    /// A group that was there, as it should be.
    pub(crate) fn adopted(group: ContainerGroup) -> Self {
        Self {
            group: Box::new(group),
            adopted: true,
            notes: Vec::new(),
        }
    }
}

/// What a delete achieved.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// ARM said that there is no such group.
    Absent,
    /// ARM took the delete; a GET has to confirm it. Carries the group's last state where ARM gave it.
    Accepted(Option<Box<ContainerGroup>>),
}
