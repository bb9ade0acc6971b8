//! What happened to container groups: one entry for each change that took effect, whatever its caller was answered.
//!
//! The record of requests tells what was asked and answered; a fault may hide there that a PUT worked. A test that wants
//! to know whether something ran twice reads this.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::arm::lifecycle::Outcome;
use crate::arm::world::Group;

/// Changes kept; older ones are forgotten.
const KEPT: usize = 100_000;

/// What a change did to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A PUT made it.
    Created,
    /// A PUT of a group that was there: everything in it starts anew.
    Replaced,
    /// Its tags were changed.
    Tagged,
    /// The start action.
    Started,
    /// The stop action.
    Stopped,
    /// The restart action.
    Restarted,
    /// A DELETE was accepted.
    Deleted,
    /// The admin endpoint took it away, or its resource group.
    Vanished,
}

/// One change of one container group. The members that describe the group say how it was before the change, but for
/// [`Kind::Created`], where there was none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub kind: Kind,
    /// Name of the resource group.
    pub resource_group: String,
    /// Name of the container group.
    pub group: String,
    /// Its tags.
    pub tags: serde_json::Value,
    /// Whether a container of it (no init container) had been started.
    pub ran: bool,
    /// Whether one was running.
    pub running: bool,
    /// Its `provisioningState`.
    pub provisioning_state: String,
    /// Whether its provisioning failed, also when it started late all the same.
    pub no_capacity: bool,
    /// Number of the token that the change came with; `None` for the admin endpoint.
    pub token: Option<u64>,
}

/// The last changes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Journal(VecDeque<Change>);

impl Journal {
    /// Adds a change; `group` is as it was before, or as it was made.
    pub(crate) fn note(
        &mut self,
        at: DateTime<Utc>,
        kind: Kind,
        group: &Group,
        token: Option<u64>,
    ) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        let created = kind == Kind::Created;
        self.0.push_back(Change {
            at,
            kind,
            resource_group: group.resource_group.clone(),
            group: group.name.clone(),
            tags: group.echo.get("tags").cloned().unwrap_or_default(),
            ran: !created && group.life.has_run(),
            running: !created && group.life.is_running(),
            provisioning_state: group.life.provisioning_state(at).to_owned(),
            no_capacity: matches!(group.life.outcome, Outcome::NoCapacity { .. }),
            token,
        });
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        self.0.iter().cloned().collect()
    }
}
