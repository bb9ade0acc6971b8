//! The connector's conditions: their types, their reasons, and the rules by which a new list follows from the old.
//!
//! The rules are those that kstatus (Flux, Helm, `kubectl wait`) reads a status by:
//! `Ready` sums up; `Stalled` and `Reconciling` are present only while True, and never both; a transition time moves
//! only with its status; every condition names the generation it is about.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// All wanted nodes are registered, Ready and able to run pods.
pub const READY: &str = "Ready";
/// The controller is at work, or will try again by itself. Absent when idle.
pub const RECONCILING: &str = "Reconciling";
/// No retry will cure it: somebody has to change something. Absent when all is well.
pub const STALLED: &str = "Stalled";
/// Azure accepts the credentials.
pub const CREDENTIALS_READY: &str = "CredentialsReady";
/// The resource provider `Microsoft.ContainerInstance` is registered in the subscription and serves the region.
pub const PROVIDER_REGISTERED: &str = "ProviderRegistered";
/// The resource group exists and may be read.
pub const RESOURCE_GROUP_READY: &str = "ResourceGroupReady";
/// The subnet exists and is delegated. Absent without `spec.subnetID`.
pub const SUBNET_READY: &str = "SubnetReady";
/// The wanted nodes are registered and Ready.
pub const NODES_READY: &str = "NodesReady";
/// The quota of the region has room. Does not feed `Ready`.
pub const QUOTA_SUFFICIENT: &str = "QuotaSufficient";
/// A node differs from what the spec wants. Informative.
pub const DRIFTED: &str = "Drifted";
/// Container groups of this connector have no pod. Informative.
pub const ORPHANS_FOUND: &str = "OrphansFound";
/// `spec.suspend` is set. Absent otherwise.
pub const SUSPENDED: &str = "Suspended";

/// Longest message, in characters, so that `kubectl get -o wide` stays readable.
pub const MAX_MESSAGE: usize = 512;

/// Reasons: a stable part of the API. Each has its section in the troubleshooting guide.
pub mod reason {
    /// Nothing was looked at yet.
    pub const PENDING: &str = "Pending";
    /// All wanted nodes are ready.
    pub const NODES_READY: &str = "NodesReady";
    /// Some wanted node is not ready.
    pub const NODES_NOT_READY: &str = "NodesNotReady";
    /// The controller is doing what the spec asks for.
    pub const PROGRESSING: &str = "Progressing";
    /// Something failed that may pass; the controller tries again.
    pub const PROGRESSING_WITH_RETRY: &str = "ProgressingWithRetry";
    /// Pods are being evicted.
    pub const DRAINING: &str = "Draining";
    /// The connector is being deleted.
    pub const DELETING: &str = "Deleting";
    /// Deletion waits for something that is named in the message.
    pub const DELETION_BLOCKED: &str = "DeletionBlocked";
    /// `spec.suspend` is set.
    pub const SUSPENDED: &str = "Suspended";
    /// The spec contradicts itself in a way that admission cannot see.
    pub const INVALID_SPEC: &str = "InvalidSpec";

    /// Azure issued a token.
    pub const TOKEN_ACQUIRED: &str = "TokenAcquired";
    /// The Secret does not exist.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// The operator may not read the Secret.
    pub const SECRET_FORBIDDEN: &str = "SecretForbidden";
    /// The Secret lacks a key, or a value is malformed.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// Microsoft Entra ID refused the credentials.
    pub const CREDENTIALS_REJECTED: &str = "CredentialsRejected";
    /// Microsoft Entra ID says that the secret or certificate has expired.
    pub const CREDENTIALS_EXPIRED: &str = "CredentialsExpired";
    /// The authority could not be reached, or failed.
    pub const TOKEN_UNAVAILABLE: &str = "TokenUnavailable";
    /// Neither the spec nor the credentials name a subscription.
    pub const SUBSCRIPTION_UNKNOWN: &str = "SubscriptionUnknown";
    /// The subscription does not exist, or the identity cannot see it.
    pub const SUBSCRIPTION_NOT_FOUND: &str = "SubscriptionNotFound";

    /// The resource provider is registered (ARM's word).
    pub const REGISTERED: &str = "Registered";
    /// The resource provider is being registered (ARM's word).
    pub const REGISTERING: &str = "Registering";
    /// The resource provider is not registered (ARM's word).
    pub const NOT_REGISTERED: &str = "NotRegistered";
    /// `Ready` is False because the resource provider is not registered.
    pub const PROVIDER_NOT_REGISTERED: &str = "ProviderNotRegistered";
    /// Azure Container Instances are not offered in the region.
    pub const REGION_NOT_AVAILABLE: &str = "RegionNotAvailable";

    /// The resource group exists.
    pub const RESOURCE_GROUP_FOUND: &str = "ResourceGroupFound";
    /// The resource group does not exist.
    pub const RESOURCE_GROUP_NOT_FOUND: &str = "ResourceGroupNotFound";
    /// The identity lacks a role on the resource group.
    pub const RESOURCE_GROUP_FORBIDDEN: &str = "ResourceGroupForbidden";

    /// The subnet exists and is delegated.
    pub const SUBNET_FOUND: &str = "SubnetFound";
    /// The subnet does not exist.
    pub const SUBNET_NOT_FOUND: &str = "SubnetNotFound";
    /// The subnet is not delegated to container groups.
    pub const SUBNET_NOT_DELEGATED: &str = "SubnetNotDelegated";
    /// The identity lacks a role on the subnet.
    pub const SUBNET_FORBIDDEN: &str = "SubnetForbidden";

    /// Azure Resource Manager could not be reached, or failed.
    pub const ARM_UNREACHABLE: &str = "ARMUnreachable";
    /// Azure Resource Manager throttles us.
    pub const ARM_THROTTLED: &str = "ARMThrottled";
    /// Azure Resource Manager refused a request in a way that has no reason of its own.
    pub const ARM_ERROR: &str = "ARMError";
    /// The Kubernetes API server could not be reached, or failed.
    pub const API_SERVER_ERROR: &str = "APIServerError";
    /// The operator may not act as the node: the node's name is missing in the RBAC rules.
    pub const NODE_IDENTITY_FORBIDDEN: &str = "NodeIdentityForbidden";
    /// A Node of that name exists and belongs to something else.
    pub const NODE_NAME_TAKEN: &str = "NodeNameTaken";

    /// There is quota left.
    pub const BELOW_LIMIT: &str = "BelowLimit";
    /// The quota is used up.
    pub const LIMIT_REACHED: &str = "LimitReached";
    /// The quota could not be read.
    pub const QUOTA_UNKNOWN: &str = "QuotaUnknown";

    /// The nodes are as the spec wants them.
    pub const IN_SYNC: &str = "InSync";
    /// A node differs from the spec.
    pub const NODE_DIFFERS: &str = "NodeDiffers";
    /// Every container group has its pod.
    pub const NO_ORPHANS: &str = "NoOrphans";
    /// Container groups without a pod exist.
    pub const ORPHANS_FOUND: &str = "OrphansFound";

    /// Every reason, for tests and documentation.
    pub const ALL: &[&str] = &[
        PENDING,
        NODES_READY,
        NODES_NOT_READY,
        PROGRESSING,
        PROGRESSING_WITH_RETRY,
        DRAINING,
        DELETING,
        DELETION_BLOCKED,
        SUSPENDED,
        INVALID_SPEC,
        TOKEN_ACQUIRED,
        SECRET_NOT_FOUND,
        SECRET_FORBIDDEN,
        SECRET_INVALID,
        CREDENTIALS_REJECTED,
        CREDENTIALS_EXPIRED,
        TOKEN_UNAVAILABLE,
        SUBSCRIPTION_UNKNOWN,
        SUBSCRIPTION_NOT_FOUND,
        REGISTERED,
        REGISTERING,
        NOT_REGISTERED,
        PROVIDER_NOT_REGISTERED,
        REGION_NOT_AVAILABLE,
        RESOURCE_GROUP_FOUND,
        RESOURCE_GROUP_NOT_FOUND,
        RESOURCE_GROUP_FORBIDDEN,
        SUBNET_FOUND,
        SUBNET_NOT_FOUND,
        SUBNET_NOT_DELEGATED,
        SUBNET_FORBIDDEN,
        ARM_UNREACHABLE,
        ARM_THROTTLED,
        ARM_ERROR,
        API_SERVER_ERROR,
        NODE_IDENTITY_FORBIDDEN,
        NODE_NAME_TAKEN,
        BELOW_LIMIT,
        LIMIT_REACHED,
        QUOTA_UNKNOWN,
        IN_SYNC,
        NODE_DIFFERS,
        NO_ORPHANS,
        ORPHANS_FOUND,
    ];
}

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Not known.
    Unknown,
}

impl Status {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as this reconcile wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// One of the types above.
    pub type_: Cow<'static, str>,
    /// Its status.
    pub status: Status,
    /// One of [`reason`].
    pub reason: Cow<'static, str>,
    /// What is wrong, on what, and what to do. [`merge`] makes it one line of at most [`MAX_MESSAGE`] characters
    /// without a trailing period. No secrets, and nothing that moves by itself.
    pub message: String,
}

impl Wanted {
    /// A condition with this status.
    pub fn new(
        type_: &'static str,
        status: Status,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// A condition that holds.
    pub fn yes(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(type_, Status::True, reason, message)
    }

    /// A condition that does not hold.
    pub fn no(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(type_, Status::False, reason, message)
    }

    /// A condition that is not known.
    pub fn unknown(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(type_, Status::Unknown, reason, message)
    }

    /// The condition of this type as it was, to keep it: `Ready` of a suspended connector. `None` if there was none.
    pub fn kept(previous: &[Condition], type_: &str) -> Option<Self> {
        find(previous, type_).map(|old| Self {
            type_: old.type_.clone().into(),
            status: match old.status.as_str() {
                "True" => Status::True,
                "False" => Status::False,
                _ => Status::Unknown,
            },
            reason: old.reason.clone().into(),
            message: old.message.clone(),
        })
    }
}

/// The condition of this type, if there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// The list of conditions to write. It is exactly what is wanted, so a type that is not wanted any more goes away.
///
/// * Sorted: `Ready`, then `Stalled` or `Reconciling`, then the rest by name; so the list never flaps.
/// * `Stalled` and `Reconciling` are kept only while True, and `Stalled` wins over `Reconciling`.
/// * `lastTransitionTime` is `now` for a new or changed status, else the previous one.
/// * `observedGeneration` is `generation` on each.
/// * Of two wanted conditions of one type the first counts.
pub fn merge(
    previous: &[Condition],
    wanted: Vec<Wanted>,
    generation: i64,
    now: &Time,
) -> Vec<Condition> {
    let is_abnormal = |want: &Wanted| want.type_ == STALLED || want.type_ == RECONCILING;
    let stalled = wanted
        .iter()
        .any(|want| want.type_ == STALLED && want.status == Status::True);

    let mut next: Vec<Condition> = Vec::with_capacity(wanted.len());
    for want in wanted {
        let idle = is_abnormal(&want) && want.status != Status::True;
        let outdone = stalled && want.type_ == RECONCILING;
        if idle || outdone || find(&next, &want.type_).is_some() {
            continue;
        }
        let unchanged =
            find(previous, &want.type_).filter(|old| old.status == want.status.as_str());
        next.push(Condition {
            last_transition_time: unchanged
                .map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
            message: message(&want.message),
            observed_generation: Some(generation),
            reason: want.reason.into_owned(),
            status: want.status.as_str().to_owned(),
            type_: want.type_.into_owned(),
        });
    }
    next.sort_by(|a, b| (rank(&a.type_), &a.type_).cmp(&(rank(&b.type_), &b.type_)));
    next
}

fn rank(type_: &str) -> u8 {
    match type_ {
        READY => 0,
        STALLED => 1,
        RECONCILING => 2,
        _ => 3,
    }
}

/// One line, no trailing period, at most [`MAX_MESSAGE`] characters with an ellipsis where it was cut.
fn message(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.');
    if line.chars().count() <= MAX_MESSAGE {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(MAX_MESSAGE - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests;
