//! What Azure refuses, and what it takes and does not provision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::World;
use super::azure::{STARTS_AFTER, failure};
use crate::azure::model::ContainerGroup;
use crate::provider::{Failure, FailureKind};

/// Why a create may be refused.
pub(super) const CREATES: [FailureKind; 9] = [
    FailureKind::Transient,
    FailureKind::Slow,
    FailureKind::Shared,
    FailureKind::Image,
    FailureKind::Invalid,
    FailureKind::Transitioning,
    FailureKind::Reference,
    FailureKind::Refused,
    FailureKind::Rejected,
];
/// Why a delete may be.
pub(super) const DELETES: [FailureKind; 4] = [
    FailureKind::Transient,
    FailureKind::Shared,
    FailureKind::Slow,
    FailureKind::Transitioning,
];

#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// So many creates and deletes are refused from now on, for this.
    pub(super) creates: Option<(u8, FailureKind)>,
    pub(super) deletes: Option<(u8, FailureKind)>,
    /// So many groups are made and not provisioned. Azure goes on trying, and may come to it so long after it has given up.
    pub(super) unprovisioned: Option<(u8, Option<Duration>)>,
    /// Groups of which that is so, until another one is made of the same name.
    failed: BTreeMap<String, Option<Duration>>,
    /// Those that the last GET has shown so, with no delete that failed since: such a one may be deleted.
    shown: BTreeSet<String>,
    /// Pods that were refused or rejected for good.
    pub(super) refused: BTreeSet<String>,
    pub(super) rejected: BTreeSet<String>,
}

fn next<T: Copy>(left: &mut Option<(u8, T)>) -> Option<T> {
    let (many, what) = left.take()?;
    *left = many
        .checked_sub(1)
        .filter(|many| *many > 0)
        .map(|many| (many, what));
    Some(what)
}

fn refusal(kind: FailureKind) -> Failure {
    Failure { kind, ..failure() }
}

impl Trouble {
    /// Whether the create of this pod's group is refused.
    pub(super) fn refuses_create(&mut self, uid: &str) -> Option<Failure> {
        let kind = next(&mut self.creates)?;
        match kind {
            FailureKind::Refused => self.refused.insert(uid.to_owned()),
            FailureKind::Rejected => self.rejected.insert(uid.to_owned()),
            _ => false,
        };
        Some(refusal(kind))
    }

    pub(super) fn refuses_delete(&mut self) -> Option<Failure> {
        next(&mut self.deletes).map(refusal)
    }

    /// A group of this name is made.
    pub(super) fn made(&mut self, uid: &str) {
        self.shown.remove(uid);
        match next(&mut self.unprovisioned) {
            Some(late) => self.failed.insert(uid.to_owned(), late),
            None => self.failed.remove(uid),
        };
    }

    /// Nothing is in the way any more.
    pub(super) fn end(&mut self) {
        (self.creates, self.deletes, self.unprovisioned) = (None, None, None);
    }

    /// What was known of the group is old.
    pub(super) fn forget(&mut self, uid: &str) {
        self.shown.remove(uid);
    }

    /// The operator starts again, and knows nothing.
    pub(super) fn forget_all(&mut self) {
        self.shown.clear();
    }

    /// Whether a group of a pod that lives may be deleted.
    pub(super) fn justifies_delete(&self, uid: &str) -> bool {
        self.shown.contains(uid)
    }
}

impl World {
    /// When the start of a group began that came to its end, if it does.
    pub(super) fn begun(&self, uid: &str) -> Option<Duration> {
        let made = *self.groups.get(uid)?;
        match self.trouble.failed.get(uid) {
            None => Some(made),
            Some(late) => late.map(|late| made + late),
        }
    }

    /// Whether Azure has given up on the group, for now.
    pub(super) fn is_unprovisioned(&self, uid: &str) -> bool {
        let gives_up = self.groups.get(uid).map(|made| *made + STARTS_AFTER);
        let starts = self.begun(uid).map(|begun| begun + STARTS_AFTER);
        self.trouble.failed.contains_key(uid)
            && gives_up.is_some_and(|at| at <= self.now)
            && starts.is_none_or(|at| at > self.now)
    }

    /// A GET shows the group.
    pub(super) fn shows(&mut self, uid: &str) -> Option<Box<ContainerGroup>> {
        if self.is_unprovisioned(uid) {
            self.trouble.shown.insert(uid.to_owned());
        } else {
            self.trouble.shown.remove(uid);
        }
        self.group(uid)
    }

    pub(super) fn unprovisioned_group(&self, uid: &str) -> Box<ContainerGroup> {
        let policy = if self.jobs.contains_key(uid) {
            "Never"
        } else {
            "Always"
        };
        let group = json!({"name": format!("g-{uid}"), "properties": {
            "osType": "Linux", "restartPolicy": policy, "provisioningState": "Failed",
            "containers": [{"name": "c", "properties": {"image": "i"}}],
            "instanceView": {"state": "Pending", "events": []},
        }});
        Box::new(serde_json::from_value(group).unwrap())
    }
}
