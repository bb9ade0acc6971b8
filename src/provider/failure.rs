//! Why an operation on a container group failed, as far as the pod state machine must know.

use std::time::Duration;

use crate::azure::error::{AzureError, ErrorClass};
use crate::translate::Refusals;

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The pod cannot run on ACI as it is written; only a change of the pod helps.
    Refused,
    /// Something that the pod refers to is missing; heals when it appears.
    Reference,
    /// Try again soon.
    Transient,
    /// Try again soon, but look first: the request may have taken effect.
    Uncertain,
    /// Try again slowly: quota, capacity, permissions, configuration.
    Slow,
    /// Try again slowly: ACI cannot pull an image.
    Image,
    /// ACI is still busy with the group: try again in ten seconds.
    Transitioning,
}

/// A failed operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to do.
    pub kind: FailureKind,
    /// Stable reason for the pod's status and Events, one CamelCase word.
    pub reason: &'static str,
    /// One line for people, without secrets.
    pub message: String,
    /// Wait that the server asked for.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A missing or unreadable reference of a pod.
    pub fn reference(reason: &'static str, message: String) -> Self {
        Self {
            kind: FailureKind::Reference,
            reason,
            message,
            retry_after: None,
        }
    }

    /// Something that passes by itself.
    pub fn transient(reason: &'static str, message: String) -> Self {
        Self {
            kind: FailureKind::Transient,
            reason,
            message,
            retry_after: None,
        }
    }
}

impl From<Refusals> for Failure {
    fn from(refusals: Refusals) -> Self {
        let kind = if refusals.heal() {
            FailureKind::Reference
        } else {
            FailureKind::Refused
        };
        Self {
            kind,
            reason: refusals.reason(),
            message: refusals.to_string(),
            retry_after: None,
        }
    }
}

impl From<AzureError> for Failure {
    fn from(error: AzureError) -> Self {
        let (kind, reason) = match error.class {
            ErrorClass::Transitioning => (FailureKind::Transitioning, "AciTransitioning"),
            ErrorClass::Quota => (FailureKind::Slow, "AciQuotaExceeded"),
            ErrorClass::Capacity => (FailureKind::Slow, "AciCapacity"),
            // A kubelet's reason of the Event.
            ErrorClass::Image => (FailureKind::Image, "Failed"),
            ErrorClass::Invalid => (FailureKind::Slow, "AciRefused"),
            ErrorClass::Forbidden => (FailureKind::Slow, "AzureForbidden"),
            ErrorClass::BadCredentials | ErrorClass::Unauthenticated => {
                (FailureKind::Slow, "AzureCredentials")
            }
            ErrorClass::NotFound
            | ErrorClass::ResourceGroupNotFound
            | ErrorClass::SubscriptionNotFound
            | ErrorClass::ProviderNotRegistered => (FailureKind::Slow, error.reason()),
            ErrorClass::Throttled => (FailureKind::Transient, "AzureThrottled"),
            ErrorClass::Conflict
            | ErrorClass::Unavailable
            | ErrorClass::Timeout
            | ErrorClass::Connection
            | ErrorClass::Identity
            | ErrorClass::Protocol => {
                let kind = if error.may_have_taken_effect() {
                    FailureKind::Uncertain
                } else {
                    FailureKind::Transient
                };
                (kind, "AzureUnavailable")
            }
        };
        Self {
            kind,
            reason,
            message: error.message,
            retry_after: error.retry_after,
        }
    }
}
