//! What follows from each class of Azure's failures: one table, which the pods obey and `docs/azure-failures.md` shows.

use std::time::Duration;

use super::FailureKind;
use crate::azure::ErrorClass;

/// What follows from a class of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What has happened, with Azure's codes.
    pub what: &'static str,
    /// Reason for the pod's status and Events.
    pub reason: &'static str,
    /// The rule by which it is tried again. [`FailureKind::Transient`] becomes [`FailureKind::Uncertain`] when the call may
    /// have taken effect.
    pub kind: FailureKind,
    /// It is not tried again before this, even when the server asks for less.
    pub least: Duration,
    /// What a person does about it; empty when there is nothing to do.
    pub remedy: &'static str,
}

const fn row(
    reason: &'static str,
    kind: FailureKind,
    what: &'static str,
    remedy: &'static str,
) -> Row {
    Row {
        what,
        reason,
        kind,
        least: Duration::ZERO,
        remedy,
    }
}

impl Row {
    const fn not_before(self, least: Duration) -> Self {
        Self { least, ..self }
    }
}

/// What follows from `class`.
#[expect(clippy::too_many_lines, reason = "a table, a few lines for each class")]
pub const fn follows(class: ErrorClass) -> Row {
    use ErrorClass as C;
    use FailureKind as K;
    match class {
        // A kubelet's reason of the Event.
        C::Image => row(
            "Failed",
            K::Image,
            "An image cannot be pulled, or is for another operating system: `InaccessibleImage`, \
             `ImageOsTypeNotMatchContainerGroup`, `OsVersionNotSupported` (400)",
            "Correct the image's name or the pull secret (`imagePullSecrets`), or push the image; see [images](images.md)",
        ),
        C::Registry => row(
            "Failed",
            K::Image,
            "The image's registry refuses or fails for now, Docker Hub's limit of anonymous pulls for one: \
             `RegistryErrorResponse` (409)",
            "Give the pod a pull secret, or take the image from a registry of your own",
        )
        .not_before(Duration::from_secs(30)),
        C::Quota => row(
            "AciQuotaExceeded",
            K::Slow,
            "A quota of the subscription in this region is used up: `ContainerGroupQuotaReached`, or `ServiceUnavailable` \
             (409) with a text about a quota",
            "Ask Microsoft for a higher quota of Azure Container Instances in this region, or delete pods that are not needed",
        ),
        C::Capacity => row(
            "AciCapacity",
            K::Slow,
            "The region has no capacity now, said at once: `ServiceUnavailable` or `InsufficientCapacity` (409)",
            "Wait, lower the pod's requests, or use a connector in another region",
        ),
        C::Invalid => row(
            "AciRefused",
            K::Invalid,
            "Azure refuses the container group as it is: every other 4xx",
            "Change the pod; the next try then comes at once",
        ),
        C::Transitioning => row(
            "AciTransitioning",
            K::Transitioning,
            "An operation on the group is still running: `ContainerGroupTransitioning` (409)",
            "",
        ),
        C::Throttled => row(
            "AzureThrottled",
            K::Transient,
            "Too many calls, by ARM's count, the provider's or ours: 429 with any code",
            "",
        )
        .not_before(Duration::from_secs(2)),
        C::Policy => row(
            "AzurePolicy",
            K::Shared,
            "An Azure Policy forbids the container group: `RequestDisallowedByPolicy` (403)",
            "Exempt the resource group from the policy that is named, or change the pod or the connector to comply with it",
        ),
        C::Locked => row(
            "AzureLocked",
            K::Shared,
            "A lock forbids it, a create (`ReadOnly`) or a delete (`CanNotDelete`, `ReadOnly`): `ScopeLocked` (409)",
            "Remove the lock that is named (az lock list, az lock delete)",
        ),
        C::Forbidden => row(
            "AzureForbidden",
            K::Shared,
            "The identity lacks a right, also when its role was taken away in the middle: `AuthorizationFailed`, \
             `LinkedAuthorizationFailed` (403), every other 403",
            "Give the connector's identity a role with the action that is named; a new role takes up to ten minutes",
        ),
        C::BadCredentials => row(
            "AzureCredentials",
            K::Shared,
            "Microsoft Entra ID refuses the credentials: `AADSTS…`",
            "Correct the connector's credentials; its condition CredentialsReady says what is wrong",
        ),
        C::Unauthenticated => row(
            "AzureCredentials",
            K::Shared,
            "ARM refuses the token, also a new one: 401. A token that has expired or was revoked in the middle is replaced \
             and the call sent again; no pod notices",
            "See the condition CredentialsReady of the connector",
        ),
        C::ResourceGroupNotFound => row(
            "ResourceGroupNotFound",
            K::Shared,
            "The resource group does not exist (any more): `ResourceGroupNotFound` (404). Pods that ran in it keep their \
             status, because nothing tells what became of them; pods that are deleted go at once",
            "Create the resource group again (az group create); pods whose container group is gone then fail and are replaced",
        ),
        C::ResourceGroupDeleting => row(
            "ResourceGroupBeingDeleted",
            K::Shared,
            "The resource group is being deleted: `ResourceGroupBeingDeleted` (409)",
            "Create it again when it is gone (az group create)",
        ),
        C::SubscriptionDisabled => row(
            "SubscriptionDisabled",
            K::Shared,
            "The subscription is disabled, mostly for billing; reads go on: `ReadOnlyDisabledSubscription` (409)",
            "Enable the subscription again in the Azure portal",
        ),
        C::SubscriptionNotFound => row(
            "SubscriptionNotFound",
            K::Shared,
            "The subscription does not exist, or the identity has no role in it: `SubscriptionNotFound` (404)",
            "See the condition ProviderRegistered of the connector",
        ),
        C::ProviderNotRegistered => row(
            "ProviderNotRegistered",
            K::Shared,
            "The subscription is not registered for Azure Container Instances: `MissingSubscriptionRegistration` (409)",
            "Register it: az provider register --namespace Microsoft.ContainerInstance",
        ),
        C::RegionUnavailable => row(
            "AciRegionNotAvailable",
            K::Shared,
            "The region does not, or no longer, serve container groups: `LocationNotAvailableForResourceType`, \
             `NoRegisteredProviderFound` (400)",
            "Create a connector in another region",
        ),
        C::Subnet => row(
            "AciSubnet",
            K::Shared,
            "The subnet is not delegated to container groups: `SubnetMissingRequiredDelegation` (400)",
            "See the condition SubnetReady of the connector",
        ),
        C::Unavailable => row(
            "AzureUnavailable",
            K::Transient,
            "Azure failed, perhaps after the work was done: 408, 5xx",
            "",
        ),
        C::Timeout => row(
            "AzureUnavailable",
            K::Transient,
            "No answer in 30 s, 60 s for a create: it may have been made",
            "",
        ),
        C::Connection => row(
            "AzureUnavailable",
            K::Transient,
            "The connection was cut, perhaps after the work was done, or was never made",
            "Check the network and the proxy between the operator and Azure when it lasts",
        ),
        C::Protocol => row(
            "AzureUnavailable",
            K::Transient,
            "The answer is not ARM's: a page of HTML from a proxy, cut JSON, a redirect. A 404 of that kind never counts as \
             \"the group is gone\"",
            "Check the proxy between the operator and Azure when it lasts",
        ),
        C::Identity => row(
            "AzureTokenUnavailable",
            K::Transient,
            "The token service does not answer, or not readably",
            "See the condition CredentialsReady of the connector when it lasts",
        ),
        C::Conflict => row(
            "AzureConflict",
            K::Transient,
            "The call collides with another: every other 409",
            "",
        ),
        C::NotFound => row(
            "ResourceNotFound",
            K::Slow,
            "Something that the call needs does not exist: `ResourceNotFound` (404). For a group that was there, see below",
            "",
        ),
    }
}
