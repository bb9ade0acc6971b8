//! What is asked of a limiter, and the line in which it waits. PURE.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::super::budget::Class;

/// How soon a read is needed. Higher priorities go first; after four of them a lower one has a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallPriority {
    /// Somebody waits: a pod that starts or is being deleted, logs, exec.
    #[default]
    Interactive,
    /// The status of a pod that runs.
    Status,
    /// A list of groups.
    Background,
    /// Metrics for `kubectl top`. They have their turn when the plan has one for them, and then go last.
    Metrics,
}

/// A request for a permit to make one call.
#[derive(Debug, Clone, Copy)]
pub struct PermitRequest<'a> {
    /// What ARM counts the call as.
    pub class: Class,
    /// The connector: tenants take turns.
    pub tenant: u64,
    pub priority: CallPriority,
    /// Of a log or a session that somebody asked for: the namespace of the pod, as a number. Such calls have a share of the
    /// budget, in which namespaces take turns, and wait for that first: a loop of them delays no pod.
    pub asked_by: Option<u64>,
    /// For creates and deletes: the name of the group, under which the position in the queue is kept.
    pub group: &'a str,
}

/// A namespace as a number, for [`PermitRequest::asked_by`].
pub fn asked_by(namespace: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    namespace.hash(&mut hasher);
    hasher.finish()
}

impl PermitRequest<'_> {
    pub(super) fn lane(&self) -> usize {
        match self.class {
            Class::Read => self.priority as usize,
            Class::Create => 1,
            Class::Write | Class::Delete => 0,
        }
    }

    /// What is waited for before the permit.
    pub(super) fn share(&self) -> Option<Place> {
        let line = match self.class {
            Class::Read => Line::Logs,
            Class::Write => Line::Sessions,
            Class::Create | Class::Delete => return None,
        };
        self.asked_by.map(|namespace| Place {
            line,
            lane: 0,
            tenant: namespace,
        })
    }

    pub(super) fn place(&self) -> Place {
        Place {
            line: match self.class {
                Class::Read => Line::Reads,
                _ => Line::Writes,
            },
            lane: self.lane(),
            tenant: self.tenant,
        }
    }
}

/// Where callers wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Reads,
    Writes,
    /// The share of logs in the reads.
    Logs,
    /// The share of sessions in the writes.
    Sessions,
}

impl Line {
    /// What is used up when nobody has a turn there.
    pub(super) fn budget(self) -> &'static str {
        match self {
            Self::Reads => "budget of read calls",
            Self::Writes => "budget of write calls",
            Self::Logs => "share of kubectl logs in the budget of read calls",
            Self::Sessions => "share of kubectl exec and attach in the budget of write calls",
        }
    }
}

/// Where in a line somebody waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) line: Line,
    pub(super) lane: usize,
    pub(super) tenant: u64,
}
