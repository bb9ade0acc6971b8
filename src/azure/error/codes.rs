//! From an error's code, else its status, to its class: one table. PURE.
//!
//! Codes: ARM's common errors (Microsoft Learn, "Resolve common Azure deployment errors"), the troubleshooting page of
//! Azure Container Instances, and answers of the service in public reports.

use super::ErrorClass;
use ErrorClass as C;

/// Codes that mean the same whatever the status is, but for 429, which is always [`C::Throttled`].
pub(super) const CODES: &[(&str, ErrorClass)] = &[
    ("ResourceGroupNotFound", C::ResourceGroupNotFound),
    ("ResourceGroupBeingDeleted", C::ResourceGroupDeleting),
    ("SubscriptionNotFound", C::SubscriptionNotFound),
    ("InvalidSubscriptionId", C::SubscriptionNotFound),
    ("ReadOnlyDisabledSubscription", C::SubscriptionDisabled),
    ("MissingSubscriptionRegistration", C::ProviderNotRegistered),
    ("SubscriptionNotRegistered", C::ProviderNotRegistered),
    ("LocationNotAvailableForResourceType", C::RegionUnavailable),
    ("NoRegisteredProviderFound", C::RegionUnavailable),
    ("AuthorizationFailed", C::Forbidden),
    ("LinkedAuthorizationFailed", C::Forbidden),
    ("RequestDisallowedByPolicy", C::Policy),
    ("ScopeLocked", C::Locked),
    ("SubnetMissingRequiredDelegation", C::Subnet),
    ("ContainerGroupTransitioning", C::Transitioning),
    ("ContainerGroupDeploymentNotReady", C::Transitioning),
    ("ContainerLogNotAvailable", C::Transitioning),
    ("ContainerGroupQuotaReached", C::Quota),
    ("InsufficientCapacity", C::Capacity),
    ("InaccessibleImage", C::Image),
    ("ImageOsTypeNotMatchContainerGroup", C::Image),
    ("OsVersionNotSupported", C::Image),
    ("RegistryErrorResponse", C::Registry),
];

/// The class of an error code, else of the status.
pub(in crate::azure) fn classify(status: u16, code: &str, message: &str) -> ErrorClass {
    if status == 429 {
        return C::Throttled;
    }
    // An event's name, which ends in a full stop, has been seen where a code belongs.
    let name = code.trim_end_matches('.');
    let known = |(known, _): &&(&str, ErrorClass)| known.eq_ignore_ascii_case(name);
    if let Some((_, class)) = CODES.iter().find(known) {
        return *class;
    }
    match (status, code) {
        (404, "ResourceNotFound") => C::NotFound,
        // The same code is capacity and quota; only the text tells them apart.
        (409, "ServiceUnavailable") if message.to_ascii_lowercase().contains("quota") => C::Quota,
        (409, "ServiceUnavailable") => C::Capacity,
        (401, _) => C::Unauthenticated,
        (403, _) => C::Forbidden,
        (408 | 500..=599, _) => C::Unavailable,
        (409, _) => C::Conflict,
        // Without a code it is not ARM that answers, and "not there" would be a lie about the resource.
        (404, "") => C::Protocol,
        (400..=499, _) => C::Invalid,
        _ => C::Protocol,
    }
}
