//! Errors as ARM and the service word them, from their documentation and from public reports.

use super::Fault;

/// Status, code and message. Where the same code comes with several, the most usual one.
const RECORDED: &[(u16, &str, &str)] = &[
    (
        400,
        "InaccessibleImage",
        "The image 'registry.example/app:1' in container group 'cg' is not accessible. Please check the image and registry credential.",
    ),
    (
        400,
        "ImageOsTypeNotMatchContainerGroup",
        "The container image 'registry.example/app:1' doesn't support specified OS 'Linux' for container group 'cg'.",
    ),
    (
        400,
        "OsVersionNotSupported",
        "The OS version of image 'registry.example/app:1' is not supported.",
    ),
    (
        409,
        "RegistryErrorResponse",
        "An error response is received from the docker registry 'index.docker.io'. Please retry later.",
    ),
    (
        400,
        "ContainerGroupQuotaReached",
        "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota 'StandardCores' exceeded in region 'eastus'. Limit: '10', Usage: '10' Requested: '1'.",
    ),
    (
        409,
        "ServiceUnavailable",
        "The requested resource is not available in the location 'eastus' at this moment. Please retry with a different resource request or in another location. Resource requested: '1' CPU '1.5' GB memory 'Linux' OS",
    ),
    (
        409,
        "InsufficientCapacity",
        "The requested resource is not available in the location 'eastus' at this moment.",
    ),
    (
        409,
        "ContainerGroupTransitioning",
        "The container group 'cg' is still transitioning, please retry later.",
    ),
    (
        429,
        "SubscriptionRequestsThrottled",
        "Number of 'write' requests for subscription 'sub' actor 'oid' exceeded. Please try again after '10' seconds.",
    ),
    (
        429,
        "TooManyRequests",
        "The request is being throttled as the limit has been reached for operation type - write_pt5m. For more information, see - https://aka.ms/srpthrottlinglimits",
    ),
    (
        403,
        "RequestDisallowedByPolicy",
        "Resource 'cg' was disallowed by policy. Policy identifiers: '[{\"policyAssignment\":{\"name\":\"No container groups\"}}]'.",
    ),
    (
        409,
        "ScopeLocked",
        "The scope '/subscriptions/sub/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups/cg' cannot perform delete operation because following scope(s) are locked: '/subscriptions/sub/resourceGroups/rg'. Please remove the lock and try again.",
    ),
    (
        401,
        "ExpiredAuthenticationToken",
        "The access token expiry UTC time '2026-01-01 10:00:00 AM' is earlier than current UTC time '2026-01-01 10:00:01 AM'.",
    ),
    (
        401,
        "InvalidAuthenticationToken",
        "The access token is invalid.",
    ),
    (
        403,
        "AuthorizationFailed",
        "The client 'oid' with object id 'oid' does not have authorization to perform action 'Microsoft.ContainerInstance/containerGroups/write' over scope '/subscriptions/sub/resourceGroups/rg' or the scope is invalid. If access was recently granted, please refresh your credentials.",
    ),
    (
        403,
        "LinkedAuthorizationFailed",
        "The client has permission to perform action 'Microsoft.ContainerInstance/containerGroups/write' on scope 'cg', however it does not have permission to perform action 'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) 'subnet' or the linked scope(s) are invalid.",
    ),
    (
        404,
        "ResourceGroupNotFound",
        "Resource group 'rg' could not be found.",
    ),
    (
        409,
        "ResourceGroupBeingDeleted",
        "The resource group 'rg' is in deprovisioning state and cannot perform this operation.",
    ),
    (
        404,
        "SubscriptionNotFound",
        "The subscription 'sub' could not be found.",
    ),
    (
        409,
        "ReadOnlyDisabledSubscription",
        "The subscription 'sub' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled.",
    ),
    (
        409,
        "MissingSubscriptionRegistration",
        "The subscription is not registered to use namespace 'Microsoft.ContainerInstance'. See https://aka.ms/rps-not-found for how to register subscriptions.",
    ),
    (
        400,
        "LocationNotAvailableForResourceType",
        "The provided location 'eastus' is not available for resource type 'Microsoft.ContainerInstance/containerGroups'. List of available regions for the resource type is 'westeurope'.",
    ),
    (
        400,
        "SubnetMissingRequiredDelegation",
        "Subnet missing required delegation 'Microsoft.ContainerInstance' for container group 'cg'.",
    ),
    (
        400,
        "ContainerLimitGreaterThanContainerGroupTotalRequest",
        "The 'Cpu' limit '2' in container 'c' is greater than the total request '0.5' of container group 'cg'.",
    ),
    (
        503,
        "ServerTimeout",
        "The request timed out. Diagnostic information: timestamp '20210209T210703Z', subscription id 'sub', tracking id 't', request correlation id 'r'.",
    ),
];

impl Fault {
    /// The error with this code as it is on record, for one request of any kind; `None` when it is not.
    pub fn recorded(code: &str) -> Option<Self> {
        let (status, code, message) = RECORDED.iter().find(|(_, known, _)| *known == code)?;
        Some(Self {
            status: *status,
            code: (*code).to_owned(),
            message: (*message).to_owned(),
            ..Self::default()
        })
    }
}
