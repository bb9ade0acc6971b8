//! Where a pod and its container group are. PURE.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::ending::Ending;
use super::{Now, Operation};
use crate::azure::model::ContainerGroup;
use crate::translate::{containers_have_run, running_containers};

/// Where a record is on its way.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// The two complete lists have not arrived: nothing is decided.
    Unsynced,
    /// The pod cannot run on ACI; only a change of the pod helps.
    Refused,
    /// A group is to be made.
    Creating,
    /// The group exists and does not run yet. `seen` is false until a GET or LIST has shown it.
    Starting {
        since: Duration,
        polls: u32,
        seen: bool,
    },
    /// The group runs, and its status is what it was at `stable_since`.
    Running { stable_since: Duration },
    /// The pod has ended; its group is kept for its logs until the pod is deleted.
    Finished(Afterwards),
    /// The group is being deleted.
    Removing(Removal),
    /// Nothing is left in Azure of a pod that is being deleted: its final status is written, then it is removed.
    Gone,
    /// A group whose pod is not among ours. It is not known yet whether that pod still exists.
    Orphaned(Orphan),
}

impl Stage {
    /// The start of a group, from now on; `seen` when it was shown already.
    pub(super) fn starting(now: Now, seen: bool) -> Self {
        Self::Starting {
            since: now.mono,
            polls: 0,
            seen,
        }
    }
}

/// What is done about the group of a pod that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Nothing: it costs nothing.
    Rest,
    /// Nothing runs but its sidecars. Their `preStop` hooks are run as soon as the pod's last status is in the API server.
    PreStop(Sidecars),
    /// They get SIGTERM then.
    Signal(Sidecars),
    /// They have had it, and until this time to end.
    Drain(Duration),
    /// Something of it runs. It is stopped as soon as the pod's last status is in the API server.
    Stop,
    /// The platform might start it again: it is polled, more and more rarely.
    Poll,
}

/// What goes on in the group of a pod that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sidecars {
    /// Names of those that run.
    pub(super) running: Vec<String>,
    /// They have until this time to end.
    pub(super) until: Duration,
}

/// Why a group is deleted. Each is a fact that justifies the delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing of it has started, and the pod has another image. Another one is made afterwards.
    Replace,
    /// Azure has failed to provision it; it might start late and bill. Another one is made afterwards.
    Unprovisioned,
    /// The pod has been active for too long. It is `Failed` when nothing of it runs any more, as with a kubelet.
    Deadline,
    /// The pod is being deleted.
    PodDeleted,
    /// The pod no longer exists, by a live GET, or it was being deleted when it went.
    PodGone,
}

/// The deletion of a group.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) why: Why,
    /// There was a group, or may have been.
    pub(super) had_group: bool,
    /// Azure has accepted a delete.
    pub(super) accepted: bool,
    /// A delete has failed or waits since the group was last seen: it may have started meanwhile.
    pub(super) unseen: bool,
    /// What the end of the pod waits for before its group is deleted.
    pub(super) ending: Ending,
    /// The delete has to wait for its turn for long: what runs is stopped meanwhile, once.
    pub(super) stop: Stopping,
    /// The last state of the group that is known.
    pub(super) last: Option<Box<ContainerGroup>>,
}

/// Whether a group is stopped because its delete has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopping {
    No,
    Wanted,
    Done,
}

impl Removal {
    pub(super) fn new(why: Why, had_group: bool) -> Self {
        Self {
            why,
            had_group,
            accepted: false,
            unseen: false,
            ending: Ending::Over,
            stop: Stopping::No,
            last: None,
        }
    }

    /// Whether a look comes before the next delete: what has started after all is not run a second time.
    pub(super) fn looks_first(&self) -> bool {
        self.why == Why::Unprovisioned && self.unseen && !self.accepted
    }

    /// Whether the last that was heard of the group is that its containers had started.
    pub(super) fn cut_short(&self) -> bool {
        self.last.as_deref().is_some_and(containers_have_run)
    }

    /// Whether another group is made afterwards.
    pub(super) fn makes_room(&self) -> bool {
        matches!(self.why, Why::Replace | Why::Unprovisioned)
    }

    /// Names of the containers that ran when it was looked last.
    pub(super) fn running(&self) -> Vec<String> {
        self.last
            .as_deref()
            .map(running_containers)
            .unwrap_or_default()
    }
}

/// What is known of a group without a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orphan {
    /// Lists show the group since then.
    Listed { since: Duration, twice: bool },
    /// The watch said at that time that the pod is gone.
    Vanished { at: Duration },
    /// A live GET said that the pod is gone; `at` is when it was first missed.
    Confirmed { at: Duration },
}

/// Who made the group of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Made {
    Here,
    /// A holder of the connector before this one, or nobody knows.
    #[default]
    Before,
    /// A connector of this name that no longer exists.
    Predecessor,
    /// A control plane that is not this one.
    Elsewhere,
}

impl Made {
    /// Whether no holder of the connector has made it.
    pub(super) fn is_strange(self) -> bool {
        matches!(self, Self::Predecessor | Self::Elsewhere)
    }
}

/// Whether Azure has a group of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exists {
    No,
    Maybe,
    Yes,
}

/// An operation on its way, and the epoch of the record in which it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) operation: Operation,
    pub(super) epoch: u32,
    pub(super) began: Timestamp,
}
