//! What can go wrong between us and ARM, sorted by what a caller has to do about it.
//!
//! The classes follow ARM's error codes where there is one, else the HTTP status. Messages are one line, bounded, and
//! free of control characters, so that they fit a condition, an event or a log line.

use std::time::Duration;

use azure_core::error::ErrorKind;

use crate::causes::{causes, chain};

pub(super) mod body;
mod codes;
mod discreet;
pub(super) mod entra;
mod lacking;

pub use discreet::without_scopes;
pub use lacking::Lacking;

/// Longest message kept, in characters.
const MAX_MESSAGE: usize = 512;
/// Longest `Retry-After` believed; resource providers have been seen to ask for half an hour.
pub const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// ARM says that this resource does not exist (`ResourceNotFound`, nothing else).
    NotFound,
    /// The resource group does not exist.
    ResourceGroupNotFound,
    /// The resource group is being deleted, with all that is in it.
    ResourceGroupDeleting,
    /// The subscription does not exist or is not visible.
    SubscriptionNotFound,
    /// The subscription is disabled: nothing can be written in it.
    SubscriptionDisabled,
    /// The subscription is not registered for `Microsoft.ContainerInstance`.
    ProviderNotRegistered,
    /// The region is not, or no longer, one of container groups.
    RegionUnavailable,
    /// ARM refuses the token (401), also after it was renewed.
    Unauthenticated,
    /// The principal may not do this (403).
    Forbidden,
    /// An Azure Policy forbids it.
    Policy,
    /// A lock on the resource, its group or its subscription forbids it.
    Locked,
    /// The subnet cannot be used for container groups.
    Subnet,
    /// Too many requests (429), or our own limiter had no turn in time.
    Throttled,
    /// An operation on the same resource is still running.
    Transitioning,
    /// A quota of the subscription is used up.
    Quota,
    /// The region has no capacity now.
    Capacity,
    /// The image cannot be pulled.
    Image,
    /// The image's registry refuses or fails for now.
    Registry,
    /// Any other refusal of the request itself; the same request will fail again.
    Invalid,
    /// The request collides with another state (409).
    Conflict,
    /// ARM or the resource provider failed (408, 5xx).
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The connection could not be made, or broke.
    Connection,
    /// Entra ID refuses the credential (`AADSTS…`).
    BadCredentials,
    /// No token could be had for another reason: the token service is unreachable, failing or unreadable.
    Identity,
    /// The answer cannot be read or is not one ARM gives.
    Protocol,
}

impl ErrorClass {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 26] = [
        Self::Image,
        Self::Registry,
        Self::Quota,
        Self::Capacity,
        Self::Invalid,
        Self::Transitioning,
        Self::Throttled,
        Self::Policy,
        Self::Locked,
        Self::Forbidden,
        Self::BadCredentials,
        Self::Unauthenticated,
        Self::ResourceGroupNotFound,
        Self::ResourceGroupDeleting,
        Self::SubscriptionDisabled,
        Self::SubscriptionNotFound,
        Self::ProviderNotRegistered,
        Self::RegionUnavailable,
        Self::Subnet,
        Self::Unavailable,
        Self::Timeout,
        Self::Connection,
        Self::Protocol,
        Self::Identity,
        Self::Conflict,
        Self::NotFound,
    ];
}

/// A failed call. `Display` is `code: message`, without secrets, for administrators; [`AzureError::told`] is for everybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AzureError {
    /// What to do about it.
    pub class: ErrorClass,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// ARM's code, `AADSTS…`, or our own CamelCase word when there was no answer.
    pub code: String,
    /// One line of at most 512 characters, without control characters and without secrets.
    pub message: String,
    /// How long the server asks to wait, at most [`MAX_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
    /// ARM's ID of the request, for a support ticket.
    pub request_id: Option<String>,
}

/// The request was written, the answer was not read to its end.
pub(super) const CONNECTION_LOST: &str = "ConnectionLost";
/// The request was never written.
pub(super) const CONNECTION_FAILED: &str = "ConnectionFailed";

impl AzureError {
    /// Whether the same call may succeed later without anybody changing anything. Quota, capacity and image errors
    /// count: they deserve a slow retry.
    pub fn is_retryable(&self) -> bool {
        use ErrorClass as C;
        match self.class {
            C::Throttled
            | C::Transitioning
            | C::Quota
            | C::Capacity
            | C::Image
            | C::Registry
            | C::Conflict
            | C::Unavailable
            | C::Timeout
            | C::Connection
            | C::Identity
            | C::Protocol => true,
            C::NotFound
            | C::ResourceGroupNotFound
            | C::ResourceGroupDeleting
            | C::SubscriptionNotFound
            | C::SubscriptionDisabled
            | C::ProviderNotRegistered
            | C::RegionUnavailable
            | C::Unauthenticated
            | C::Forbidden
            | C::Policy
            | C::Locked
            | C::Subnet
            | C::Invalid
            | C::BadCredentials => false,
        }
    }

    /// Whether a write may have happened all the same: look (GET) before doing it again.
    pub fn may_have_taken_effect(&self) -> bool {
        match self.class {
            ErrorClass::Timeout | ErrorClass::Unavailable => true,
            ErrorClass::Connection => self.code == CONNECTION_LOST,
            ErrorClass::Protocol => self
                .status
                .is_none_or(|status| (200..300).contains(&status)),
            _ => false,
        }
    }

    /// The message for people with rights on one namespace: without subscription, resource group, principal and address.
    pub fn discreet(&self) -> String {
        discreet::discreet(&self.message)
    }

    /// The code, and the message as in [`AzureError::discreet`].
    pub fn told(&self) -> String {
        format!("{}: {}", self.code, self.discreet())
    }

    /// The right that is missing, when that is what ARM says.
    pub fn lacking(&self) -> Option<Lacking<'_>> {
        (self.class == ErrorClass::Forbidden)
            .then(|| Lacking::read(&self.message))
            .flatten()
    }

    /// A `CamelCase` word for a condition or an event.
    pub fn reason(&self) -> &'static str {
        match self.class {
            ErrorClass::NotFound => "ResourceNotFound",
            ErrorClass::ResourceGroupNotFound => "ResourceGroupNotFound",
            ErrorClass::ResourceGroupDeleting => "ResourceGroupBeingDeleted",
            ErrorClass::SubscriptionDisabled => "SubscriptionDisabled",
            ErrorClass::RegionUnavailable => "RegionNotAvailable",
            ErrorClass::Policy => "DisallowedByPolicy",
            ErrorClass::Locked => "Locked",
            ErrorClass::Subnet => "SubnetNotUsable",
            ErrorClass::Registry => "RegistryError",
            ErrorClass::SubscriptionNotFound => "SubscriptionNotFound",
            ErrorClass::ProviderNotRegistered => "ProviderNotRegistered",
            ErrorClass::Unauthenticated => "Unauthenticated",
            ErrorClass::Forbidden => "Forbidden",
            ErrorClass::Throttled => "Throttled",
            ErrorClass::Transitioning => "OperationInProgress",
            ErrorClass::Quota => "QuotaExceeded",
            ErrorClass::Capacity => "InsufficientCapacity",
            ErrorClass::Image => "ImageInaccessible",
            ErrorClass::Invalid => "InvalidRequest",
            ErrorClass::Conflict => "Conflict",
            ErrorClass::Unavailable => "AzureUnavailable",
            ErrorClass::Timeout => "AzureTimeout",
            ErrorClass::Connection => "AzureUnreachable",
            ErrorClass::BadCredentials => "InvalidCredentials",
            ErrorClass::Identity => "TokenUnavailable",
            ErrorClass::Protocol => "UnexpectedAnswer",
        }
    }

    /// An error that comes without an answer of ARM.
    pub(crate) fn local(class: ErrorClass, code: &str, message: &str) -> Self {
        Self {
            class,
            status: None,
            code: code.to_owned(),
            message: one_line(message),
            retry_after: None,
            request_id: None,
        }
    }

    /// An answer of ARM that cannot be used although its status says success.
    pub(super) fn protocol(status: Option<u16>, message: &str) -> Self {
        Self {
            status,
            ..Self::local(ErrorClass::Protocol, "UnexpectedAnswer", message)
        }
    }

    /// No answer within `limit`.
    pub(super) fn timeout(operation: &str, limit: Duration) -> Self {
        let text = format!("no answer to {operation} within {} s", limit.as_secs());
        Self::local(ErrorClass::Timeout, "NoAnswer", &text)
    }

    /// A failure of the HTTP pipeline: no answer, or no token to ask with.
    pub(super) fn from_pipeline(error: &azure_core::Error) -> Self {
        if let Some(token) = entra::token_error(error) {
            return token;
        }
        let text = chain(error);
        match deepest_kind(error) {
            ErrorKind::Connection => Self::local(ErrorClass::Connection, CONNECTION_FAILED, &text),
            ErrorKind::Io => Self::local(ErrorClass::Connection, CONNECTION_LOST, &text),
            _ => Self::protocol(None, &text),
        }
    }
}

#[cfg(any(test, fuzzing))]
impl AzureError {
    /// An answer of failure, to a request with the body `sent`.
    pub fn from_answer(answer: &azure_core::http::RawResponse, sent: &[u8]) -> Self {
        body::from_response(answer, sent, chrono::DateTime::UNIX_EPOCH)
    }
}

/// The kind of the innermost error that says more than "other".
fn deepest_kind(error: &azure_core::Error) -> &ErrorKind {
    let inner = causes(error).filter_map(|cause| cause.downcast_ref::<azure_core::Error>());
    let kinds = inner.map(azure_core::Error::kind);
    let telling = kinds.filter(|kind| !matches!(kind, ErrorKind::Other));
    telling.last().unwrap_or(error.kind())
}

/// `text` on one line, without control characters, cut after [`MAX_MESSAGE`] characters.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .take(MAX_MESSAGE)
        .collect();
    let line = words.join(" ");
    if line.chars().count() <= MAX_MESSAGE {
        return line;
    }
    let mut cut: String = line.chars().take(MAX_MESSAGE - 1).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests;
