//! The words of the conditions: types and reasons. They are a stable part of the API. The documentation speaks to
//! users: `docs/reference.md` is generated from it.

#![allow(
    clippy::doc_markdown,
    reason = "the documentation goes into the reference as it is"
)]

/// Declares constants with their documentation, and a table of both.
macro_rules! words {
    ($(#[doc = $about:literal])+ $table:ident; $($(#[doc = $doc:literal])+ $name:ident = $word:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $word;)+
        $(#[doc = $about])+
        pub const $table: &[(&str, &str)] = &[$(($word, concat!($($doc),+))),+];
    };
}

words! {
    /// Every condition type with its meaning.
    TYPES;

    /// All wanted nodes are registered, Ready and able to run pods.
    READY = "Ready";
    /// The controller is at work, or will try again by itself. Absent when idle.
    RECONCILING = "Reconciling";
    /// No retry will cure it: somebody has to change something. Absent when all is well.
    STALLED = "Stalled";
    /// Azure accepts the credentials.
    CREDENTIALS_READY = "CredentialsReady";
    /// The resource provider `Microsoft.ContainerInstance` is registered in the subscription and serves the region.
    PROVIDER_REGISTERED = "ProviderRegistered";
    /// The resource group exists and may be read.
    RESOURCE_GROUP_READY = "ResourceGroupReady";
    /// The subnet exists, is in the region, is delegated and has room. Absent without `spec.subnetID`.
    SUBNET_READY = "SubnetReady";
    /// The wanted nodes are registered and Ready.
    NODES_READY = "NodesReady";
    /// The quota of the region has room. Does not feed `Ready`.
    QUOTA_SUFFICIENT = "QuotaSufficient";
    /// Azure Resource Manager and Microsoft Entra ID answer. While they do not, nodes stay Ready and keep new pods away by
    /// the taint virtual-kubelet.io/azure-unreachable. Does not feed `Ready`.
    AZURE_REACHABLE = "AzureReachable";
    /// Container groups of this connector have no pod. Informative.
    ORPHANS_FOUND = "OrphansFound";
    /// `spec.suspend` is set. Absent otherwise.
    SUSPENDED = "Suspended";
}

/// Reasons, one word in `CamelCase` each.
pub mod reason {
    words! {
        /// Every reason with its meaning and, where somebody has to act, what to do.
        ALL;

        /// Nothing has been checked yet. It clears by itself; if it persists, the operator is not running.
        PENDING = "Pending";
        /// All wanted nodes are ready.
        NODES_READY = "NodesReady";
        /// Some wanted node is not ready. The message says which and why.
        NODES_NOT_READY = "NodesNotReady";
        /// The controller is doing what the spec asks for.
        PROGRESSING = "Progressing";
        /// A temporary failure; the controller retries. The message says what failed.
        PROGRESSING_WITH_RETRY = "ProgressingWithRetry";
        /// Pods are being evicted.
        DRAINING = "Draining";
        /// The connector is being deleted.
        DELETING = "Deleting";
        /// Deletion waits for something that is named in the message, such as a deleted Secret. Put it back, or give up the
        /// Azure side with the annotation virtual-kubelet.io/force-delete=UID-of-the-connector. An hour after drainTimeout the
        /// Azure side is given up without it; Events name what is left.
        DELETION_BLOCKED = "DeletionBlocked";
        /// `spec.suspend` is set.
        SUSPENDED = "Suspended";
        /// The spec is wrong in a way that admission cannot see. The message names the field and what to write.
        INVALID_SPEC = "InvalidSpec";
        /// Azure issued a token.
        TOKEN_ACQUIRED = "TokenAcquired";
        /// Azure answers.
        AZURE_ANSWERS = "AzureAnswers";
        /// The credentials lead to another subscription than the one that the container groups are in. Nothing is moved.
        /// Put the former one back, or delete this connector and create another one.
        SUBSCRIPTION_CHANGED = "SubscriptionChanged";
        /// The credentials lead to another tenant than the one that the container groups are in. Nothing is moved. Put the
        /// former ones back, or delete this connector and create another one.
        TENANT_CHANGED = "TenantChanged";
        /// spec.cloud or spec.customCloud leads to another cloud than the one that the container groups are in. Nothing is
        /// moved. Set it back, or delete this connector and create another one.
        CLOUD_CHANGED = "CloudChanged";
        /// The Secret with the credentials does not exist. Create it; it is noticed at once.
        SECRET_NOT_FOUND = "SecretNotFound";
        /// The operator may not read the Secret. Move it to the operator's namespace, or grant get, list and watch there.
        SECRET_FORBIDDEN = "SecretForbidden";
        /// The Secret lacks a key, or a value is malformed. The message names the key.
        SECRET_INVALID = "SecretInvalid";
        /// The operator's pod lacks something that the identity needs. The message names the environment variable.
        IDENTITY_MISSING = "IdentityMissing";
        /// spec.customCloud leads to a host that is not one of Azure's own clouds and that nobody has allowed to see the
        /// credentials. The message says where it can be named: in the Secret, or in --allowed-authority of the operator.
        AUTHORITY_NOT_ALLOWED = "AuthorityNotAllowed";
        /// Microsoft Entra ID refused the credentials. Compare tenant, client ID and secret with the app registration.
        CREDENTIALS_REJECTED = "CredentialsRejected";
        /// The client secret or certificate has expired. Make a new one and put it into the Secret.
        CREDENTIALS_EXPIRED = "CredentialsExpired";
        /// The authority that issues tokens could not be reached, or failed. The controller tries again; check the network
        /// and, with cloud Custom, authorityHost and caBundle.
        TOKEN_UNAVAILABLE = "TokenUnavailable";
        /// Neither the spec nor the credentials name a subscription. Set spec.subscriptionID, or AZURE_SUBSCRIPTION_ID in the
        /// Secret.
        SUBSCRIPTION_UNKNOWN = "SubscriptionUnknown";
        /// The subscription does not exist, or the identity cannot see it. Check its ID and the identity's roles.
        SUBSCRIPTION_NOT_FOUND = "SubscriptionNotFound";
        /// The resource provider is registered (ARM's word).
        REGISTERED = "Registered";
        /// The resource provider is being registered (ARM's word). It takes minutes.
        REGISTERING = "Registering";
        /// The resource provider is not registered (ARM's word). Run
        /// `az provider register --namespace Microsoft.ContainerInstance`.
        NOT_REGISTERED = "NotRegistered";
        /// The subscription cannot run container groups yet. Run
        /// `az provider register --namespace Microsoft.ContainerInstance`.
        PROVIDER_NOT_REGISTERED = "ProviderNotRegistered";
        /// Azure Container Instances are not offered in the region. The region is immutable: create another connector.
        REGION_NOT_AVAILABLE = "RegionNotAvailable";
        /// Azure does not answer spec.containerInstanceAPIVersion. Set it to one of the versions in the message.
        API_VERSION_NOT_AVAILABLE = "APIVersionNotAvailable";
        /// The resource group exists.
        RESOURCE_GROUP_FOUND = "ResourceGroupFound";
        /// The resource group does not exist. Create it with `az group create`; the connector never does.
        RESOURCE_GROUP_NOT_FOUND = "ResourceGroupNotFound";
        /// The identity lacks a role on the resource group. Assign one that may read, write and delete container groups.
        RESOURCE_GROUP_FORBIDDEN = "ResourceGroupForbidden";
        /// The subnet exists, is delegated and has room.
        SUBNET_FOUND = "SubnetFound";
        /// The subnet does not exist. Check subnetID.
        SUBNET_NOT_FOUND = "SubnetNotFound";
        /// The subnet is not delegated. Delegate it to Microsoft.ContainerInstance/containerGroups.
        SUBNET_NOT_DELEGATED = "SubnetNotDelegated";
        /// The subnet is in another region than the connector. Set subnetID to one in the connector's region.
        SUBNET_IN_OTHER_REGION = "SubnetInOtherRegion";
        /// All addresses of the subnet are in use. New pods wait; free some, or set subnetID to a larger subnet.
        SUBNET_FULL = "SubnetFull";
        /// The identity may not read the subnet, which is therefore not checked. Assign a role with
        /// Microsoft.Network/virtualNetworks/subnets/read and, for pods, Microsoft.Network/virtualNetworks/subnets/join/action.
        SUBNET_FORBIDDEN = "SubnetForbidden";
        /// Azure Resource Manager could not be reached, or failed. The controller tries again; check the network and, with
        /// cloud Custom, resourceManagerEndpoint and caBundle.
        ARM_UNREACHABLE = "ARMUnreachable";
        /// Azure Resource Manager throttles the identity. The controller waits as it is told.
        ARM_THROTTLED = "ARMThrottled";
        /// Azure Resource Manager refused a request in a way that has no reason of its own. The message has its code.
        ARM_ERROR = "ARMError";
        /// The Kubernetes API server could not be reached, or failed. The controller tries again.
        API_SERVER_ERROR = "APIServerError";
        /// The operator may not act as the node: the ClusterRole vkc-node-names lacks the node's name. Add the line in the
        /// message.
        NODE_IDENTITY_FORBIDDEN = "NodeIdentityForbidden";
        /// The API server does not limit what a node may do, so that the operator acting as its nodes could read Secrets of
        /// others or change other nodes. The message says which flags of the API server are missing. The operator's flag
        /// --allow-unscoped-nodes accepts it.
        NODE_IDENTITY_UNSCOPED = "NodeIdentityUnscoped";
        /// So many container groups have lost their pods at once that none is deleted: this may be a restored or copied
        /// cluster. The message names them, when they are deleted all the same, and the annotation that agrees to it.
        TOO_MANY = "TooMany";
        /// Another control plane works with the same container groups: this cluster, or the other one, was restored or
        /// copied. Only container groups that this operator has made since are deleted until a person decides. The message
        /// says how.
        ANOTHER_CONTROL_PLANE = "AnotherControlPlane";
        /// Container groups without a pod are left of a connector that had this name before. They are deleted when a
        /// person agrees; the message says how.
        OF_PREDECESSOR = "OfPredecessor";
        /// Another process writes the status of a node as well: a second installation of the operator, or one of an older
        /// version. Stop it; until then both write more and more seldom.
        NODE_STATUS_CONTESTED = "NodeStatusContested";
        /// There is quota left.
        BELOW_LIMIT = "BelowLimit";
        /// The quota is used up. New pods wait; free some, or ask Azure for more.
        LIMIT_REACHED = "LimitReached";
        /// The quota could not be read.
        QUOTA_UNKNOWN = "QuotaUnknown";
        /// Every container group has its pod.
        NO_ORPHANS = "NoOrphans";
        /// Container groups without a pod exist.
        ORPHANS_FOUND = "OrphansFound";
    }
}
