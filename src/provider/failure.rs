//! Why an operation on a container group failed, as far as the pod state machine must know.

use std::borrow::Cow;
use std::time::Duration;

use crate::azure::error::AzureError;
use crate::azure::throttle::QUEUED;
use crate::translate::{ContainerFault, Refusals};

mod table;

pub use table::{Row, follows};

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The pod cannot run on ACI as it is written; only a change of the pod helps.
    Refused,
    /// No node of this kind runs the pod: it fails, as under a kubelet that does not admit it.
    Rejected,
    /// Something that the pod refers to is missing; heals when it appears.
    Reference,
    Transient,
    /// Try again soon, but look first: the request may have taken effect.
    Uncertain,
    /// Try again slowly: quota, capacity.
    Slow,
    /// It concerns every pod of the connector (rights, locks, a missing resource group): try again about once a minute,
    /// and the others as soon as one has succeeded.
    Shared,
    /// Azure refuses the request itself: try again very slowly, at once when the pod changes.
    Invalid,
    /// Try again slowly: ACI cannot pull an image.
    Image,
    /// ACI is still busy with the group: look in ten seconds, then try again.
    Transitioning,
    /// Nothing was sent: it waits for its turn in the line of creates and deletes.
    Queued,
}

impl FailureKind {
    /// Whether a group may exist that nobody has seen: look before making one.
    pub fn may_have_taken_effect(self) -> bool {
        matches!(self, Self::Uncertain | Self::Transitioning)
    }

    /// Whether it passes by itself, mostly soon.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Transient | Self::Uncertain | Self::Transitioning
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    /// Stable reason for the pod's status and Events, one CamelCase word.
    pub reason: &'static str,
    /// One line for people, without secrets.
    pub message: String,
    /// Wait that the server asked for.
    pub retry_after: Option<Duration>,
    /// What a kubelet shows of the containers for the same; `None` where all of them wait for the failure itself.
    pub faults: Option<Vec<ContainerFault>>,
}

impl Failure {
    /// A missing or unreadable reference of a pod.
    pub fn reference(reason: &'static str, message: String) -> Self {
        Self {
            kind: FailureKind::Reference,
            reason,
            message,
            retry_after: None,
            faults: None,
        }
    }

    /// Something that passes by itself.
    pub fn transient(reason: &'static str, message: String) -> Self {
        Self {
            kind: FailureKind::Transient,
            reason,
            message,
            retry_after: None,
            faults: None,
        }
    }

    /// Reason and message of the Event about it: a kubelet's Event has another reason than the container's state.
    pub fn event(&self) -> (&'static str, Cow<'_, str>) {
        match self.reason {
            "CreateContainerConfigError" => ("Failed", format!("Error: {}", self.message).into()),
            "InvalidImageName" => ("InspectFailed", self.message.as_str().into()),
            reason => (reason, self.message.as_str().into()),
        }
    }
}

impl From<Refusals> for Failure {
    fn from(refusals: Refusals) -> Self {
        let kind = if refusals.is_rejection() {
            FailureKind::Rejected
        } else if refusals.is_retryable() {
            FailureKind::Reference
        } else {
            FailureKind::Refused
        };
        Self {
            kind,
            reason: refusals.reason(),
            message: refusals
                .as_kubelet()
                .map_or_else(|| refusals.to_string(), |it| it.message.clone()),
            retry_after: None,
            faults: refusals.as_kubelet().map(|_| refusals.faults()),
        }
    }
}

impl From<AzureError> for Failure {
    fn from(error: AzureError) -> Self {
        if error.code == QUEUED {
            return Self {
                kind: FailureKind::Queued,
                reason: "WaitingForAzureLimit",
                message: error.message,
                retry_after: error.retry_after,
                faults: None,
            };
        }
        let row = follows(error.class);
        // In full here: what the pod's author reads leaves out what is about the subscription.
        let AzureError {
            code, request_id, ..
        } = &error;
        tracing::debug!(%code, ?request_id, error = %error.message, "a call to Azure failed");
        // Another state than we know of: a group of that name may be the cause.
        let doubt = error.may_have_taken_effect() || row.reason == "AzureConflict";
        let kind = match row.kind {
            FailureKind::Transient if doubt => FailureKind::Uncertain,
            kind => kind,
        };
        // A kubelet's words need no advice, and what passes none.
        let silent = row.remedy.is_empty() || kind == FailureKind::Image || kind.is_transient();
        let said = error.discreet();
        let message = if silent {
            said
        } else {
            format!("{}. {}", said.trim_end_matches('.'), row.remedy)
        };
        let retry_after = error.retry_after.unwrap_or_default().max(row.least);
        Self {
            kind,
            reason: row.reason,
            message,
            retry_after: (!retry_after.is_zero()).then_some(retry_after),
            faults: None,
        }
    }
}

#[cfg(test)]
mod tests;
