//! The desired state. Doc comments become the descriptions that `kubectl explain` shows, so they speak to the user.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl shows the doc comments as they are, backticks and all"
)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AllowedNamespaces, Compatibility, Network, OsSettings, Probes, Shim, quantity, schema,
};

/// Desired state of the connector: which virtual nodes to register and where their pods run in Azure.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "virtual-kubelet.io",
    version = "v1alpha1",
    kind = "VirtualKubeletConnector",
    shortname = "vkc",
    category = "virtual-kubelet",
    status = "super::VirtualKubeletConnectorStatus",
    derive = "PartialEq",
    doc = "Registers virtual nodes whose pods run as Azure Container Instances container groups. One object makes one \
           node for each operating system it asks for.",
    label("app.kubernetes.io/part-of", "virtual-kubelet-connector"),
    selectable = ".spec.region",
    selectable = ".spec.osType",
    printcolumn(name = "OS", type_ = "string", json_path = ".spec.osType", description = "Operating systems of the nodes."),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region", description = "Azure region."),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodeSummary", description = "Ready nodes out of wanted nodes."),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.pods", description = "Pods bound to the nodes."),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether all wanted nodes are registered and Ready."),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Reason of the Ready condition."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since creation."),
    printcolumn(name = "Resource Group", type_ = "string", json_path = ".spec.aciResourceGroup", priority = 1, description = "Resource group of the container groups."),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend", priority = 1, description = "Whether reconciliation is suspended."),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1, description = "Message of the Ready condition."),
    validation = Rule::new("size(self.metadata.name) + size(self.spec.region) <= 38")
        .message("name and region together must be at most 38 characters: node names are virtual-kubelet-NAME-OS-REGION and limited to 63"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.azureScope) || self.spec.cloud == oldSelf.spec.cloud")
        .message("cloud is immutable once container groups could be made there; create another connector and drain this one"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.azureScope) || !has(self.spec.customCloud) || !has(oldSelf.spec.customCloud) || (self.spec.customCloud.resourceManagerEndpoint == oldSelf.spec.customCloud.resourceManagerEndpoint && self.spec.customCloud.authorityHost == oldSelf.spec.customCloud.authorityHost)")
        .message("the endpoints of customCloud are immutable once container groups could be made there; create another connector and drain this one"),
    validation = Rule::new("!self.metadata.name.contains('.')")
        .message("name must consist of lower-case letters, digits and hyphens: it becomes a part of node names")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.region == oldSelf.region")
    .message("region is immutable; create another connector and drain this one").field_path(".region"))]
#[x_kube(validation = Rule::new("self.aciResourceGroup == oldSelf.aciResourceGroup")
    .message("aciResourceGroup is immutable; create another connector and drain this one").field_path(".aciResourceGroup"))]
#[x_kube(validation = Rule::new("has(self.subscriptionID) == has(oldSelf.subscriptionID) && (!has(self.subscriptionID) || self.subscriptionID == oldSelf.subscriptionID)")
    .message("subscriptionID is immutable; create another connector and drain this one").field_path(".subscriptionID"))]
#[x_kube(validation = Rule::new("(self.cloud == 'Custom') == has(self.customCloud)")
    .message("customCloud is required for cloud Custom and forbidden for the other clouds").field_path(".customCloud"))]
#[x_kube(validation = Rule::new("!(has(self.subnetID) && self.publicIP)")
    .message("publicIP cannot be combined with subnetID: container groups in a subnet have private addresses only").field_path(".publicIP"))]
#[x_kube(validation = Rule::new("!has(self.containerGroup) || self.containerGroup.priority != 'Spot' || self.osType == 'Linux'")
    .message("priority Spot is for osType Linux only").field_path(".containerGroup.priority"))]
#[x_kube(validation = Rule::new("!has(self.containerGroup) || self.containerGroup.priority != 'Spot' || (!has(self.subnetID) && !self.publicIP)")
    .message("priority Spot allows neither subnetID nor publicIP: Spot container groups have no IP address").field_path(".containerGroup.priority"))]
#[x_kube(validation = Rule::new("!has(self.linux) || !has(self.linux.containerGroup) || !has(self.linux.containerGroup.priority) || self.linux.containerGroup.priority != 'Spot' || (!has(self.subnetID) && !self.publicIP)")
    .message("priority Spot of the Linux node allows neither subnetID nor publicIP: Spot container groups have no IP address").field_path(".linux.containerGroup.priority"))]
#[x_kube(validation = Rule::new("!has(self.linux) || !has(self.linux.containerGroup) || !has(self.linux.containerGroup.priority) || self.linux.containerGroup.priority != 'Spot' || self.osType == 'Linux' || !has(self.node) || self.node.capacitySource != 'Quota'")
    .message("capacitySource Quota cannot follow two quotas: Spot container groups have one of their own; make a connector for each operating system").field_path(".node.capacitySource"))]
#[x_kube(validation = Rule::new("!has(self.windows) || !has(self.windows.containerGroup) || !has(self.windows.containerGroup.priority) || self.windows.containerGroup.priority != 'Spot'")
    .message("priority Spot is for Linux only").field_path(".windows.containerGroup.priority"))]
#[x_kube(validation = Rule::new("!has(self.windows) || !has(self.windows.containerGroup) || !has(self.windows.containerGroup.sku) || self.windows.containerGroup.sku != 'Confidential'")
    .message("the SKU Confidential is for Linux only").field_path(".windows.containerGroup.sku"))]
pub struct VirtualKubeletConnectorSpec {
    /// Operating system of the virtual node. Both registers one node for Linux and one for Windows.
    #[serde(default)]
    pub os_type: OsType,

    /// Azure cloud that runs the containers. Custom takes its endpoints from customCloud.
    #[serde(default)]
    pub cloud: Cloud,

    /// Endpoints of a cloud that is not one of the public ones, such as Azure Stack Hub. Only with cloud Custom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_cloud: Option<CustomCloud>,

    /// Version of Azure's container instance API that is spoken. Azure must list it for the subscription.
    #[serde(
        rename = "containerInstanceAPIVersion",
        default = "default_api_version"
    )]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?$')").message("containerInstanceAPIVersion must be a version of the container instance API, like 2023-05-01"))]
    pub container_instance_api_version: String,

    /// Whether the operator registers the resource provider Microsoft.ContainerInstance in the subscription where it is
    /// not. The identity needs Microsoft.ContainerInstance/register/action on the subscription for that.
    #[serde(default)]
    pub register_provider: bool,

    /// Azure subscription of the container groups, a GUID. Defaults to the subscription of the credentials.
    /// Immutable.
    #[serde(
        rename = "subscriptionID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 36))]
    #[x_kube(validation = Rule::new(schema::GUID).message("subscriptionID must be a GUID, like 11111111-2222-3333-4444-555555555555"))]
    pub subscription_id: Option<String>,

    /// Azure region of the container groups in its short form, such as eastus. Immutable.
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]+$')").message("region must be the short name of an Azure region, like eastus or westeurope"))]
    pub region: String,

    /// Availability zones for the container groups, in order of preference. Omit to let Azure choose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::zones")]
    pub zones: Vec<String>,

    /// Resource group that the container groups are created in. It must exist; the connector never creates one.
    /// Immutable.
    #[schemars(length(max = 90))]
    #[x_kube(validation = Rule::new(r"self.matches('^[-\\w.()]*[-\\w()]$')").message("aciResourceGroup must be the name of a resource group: letters, digits, underscores, hyphens, parentheses and dots, not ending in a dot"))]
    pub aci_resource_group: String,

    /// Subnet that gives pods private addresses, as an ARM ID. It must be delegated to
    /// Microsoft.ContainerInstance/containerGroups, in the same subscription and region.
    #[serde(rename = "subnetID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new(schema::SUBNET_ID).message("subnetID must be the ARM ID of a subnet: /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Network/virtualNetworks/NAME/subnets/NAME"))]
    pub subnet_id: Option<String>,

    /// Whether pods get a public IP address for the ports their containers declare. Without it and without subnetID
    /// a pod has no address.
    #[serde(rename = "publicIP", default)]
    pub public_ip: bool,

    /// What containers are told of the cluster's network, where that is not what the operator was started with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,

    /// Identity used towards Azure Resource Manager. Omit to use the identity of the operator's own pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// Template of the virtual nodes: labels, annotations, taints and capacity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: NodeTemplate,

    /// Namespaces whose pods may run on the nodes, by their labels. Omit to allow all. A pod of another one stays Pending
    /// and makes no container group; what runs already goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,

    /// Defaults for every container group. Annotations of a pod win over them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub container_group: ContainerGroupTemplate,

    /// Settings of the Linux node that win over those of spec.
    #[serde(default, skip_serializing_if = "is_default")]
    pub linux: OsSettings,

    /// Settings of the Windows node that win over those of spec.
    #[serde(default, skip_serializing_if = "is_default")]
    pub windows: OsSettings,

    /// Treatment of pods that ask for what Azure Container Instances cannot enforce, field by field. Approximate runs them
    /// without it, and says so on the pod; Refuse keeps them Pending. Pods cannot change it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compatibility: Compatibility,

    /// Treatment of pods of DaemonSets. Refuse keeps them Pending, because such a pod serves the machine that it runs on and
    /// would bill here; Run runs them.
    #[serde(default)]
    pub daemon_sets: DaemonSets,

    /// Who runs the probes of containers. Omit to have those by HTTP, TCP and gRPC run by the operator, and those by command
    /// by Azure.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probes: Probes,

    /// A small program in container groups that does what Azure Container Instances cannot, for pods that need it. Omit to give
    /// it to them, and to no others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shim: Shim,

    /// ARM tags added to every container group. Eleven of the fifty tags Azure allows are left to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::tags")]
    pub tags: BTreeMap<String, String>,

    /// Whether the connector stops reconciling. The nodes are cordoned; running container groups go on and keep
    /// reporting status.
    #[serde(default)]
    pub suspend: bool,

    /// Treatment of the container groups when the connector is deleted. Drain evicts their pods first, Delete removes
    /// them at once, Orphan leaves them in Azure.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Time that a drain waits for evictions before it deletes the remaining pods, as a duration such as 90s, 5m or
    /// 1h30m.
    #[serde(default = "default_drain_timeout")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]{1,5}(\\.[0-9]{1,3})?(ms|s|m|h)){1,4}$') && duration(self) <= duration('24h')").message("drainTimeout must be a duration of at most 24h, like 90s, 5m or 1h30m"))]
    pub drain_timeout: String,

    /// Treatment of container groups tagged as this connector's that no pod claims. Delete removes them after a grace
    /// period, Report only counts them.
    #[serde(default)]
    pub orphan_policy: OrphanPolicy,
}

fn default_api_version() -> String {
    crate::azure::API_VERSION.to_owned()
}

fn default_drain_timeout() -> String {
    "5m".to_owned()
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What becomes of pods of DaemonSets.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the field")]
pub enum DaemonSets {
    #[default]
    Refuse,
    Run,
}

/// Operating systems of a connector.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the words are the documentation; variant docs would bloat the field's description"
)]
pub enum OsType {
    #[default]
    Linux,
    Windows,
    Both,
}

/// Azure clouds, in the words of Cluster API's Azure provider.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(
    missing_docs,
    clippy::enum_variant_names,
    reason = "the words are Azure's own names"
)]
pub enum Cloud {
    #[default]
    AzurePublicCloud,
    AzureUSGovernmentCloud,
    AzureChinaCloud,
    Custom,
}

/// What happens to container groups when their connector is deleted.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the field")]
pub enum DeletionPolicy {
    #[default]
    Drain,
    Delete,
    Orphan,
}

/// What happens to container groups that no pod claims.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the field")]
pub enum OrphanPolicy {
    #[default]
    Delete,
    Report,
}

/// Endpoints of a cloud that is not one of the public ones. All of them are https.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomCloud {
    /// URL of Azure Resource Manager, https only.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new(schema::HTTPS_URL).message("resourceManagerEndpoint must be an https URL without query, like https://management.example.com"))]
    pub resource_manager_endpoint: String,

    /// URL of the authority that issues tokens (Microsoft Entra ID or AD FS), https only and without the tenant.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new(schema::HTTPS_URL).message("authorityHost must be an https URL without query, like https://login.example.com"))]
    pub authority_host: String,

    /// Audience of the tokens for Azure Resource Manager. Defaults to resourceManagerEndpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub audience: Option<String>,

    /// Certificates of the authorities that signed the endpoints' certificates, as PEM in base64. They are trusted
    /// besides the usual ones, also for exec into containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9+/]+={0,2}$')").message("caBundle must be PEM certificates encoded as one line of base64"))]
    pub ca_bundle: Option<String>,
}

/// Identity used towards Azure Resource Manager.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type != 'ServicePrincipal' || has(self.secretRef)")
    .message("secretRef is required for type ServicePrincipal").field_path(".secretRef"))]
#[x_kube(validation = Rule::new("self.type == 'ServicePrincipal' || !has(self.secretRef)")
    .message("secretRef is for type ServicePrincipal only").field_path(".secretRef"))]
#[x_kube(validation = Rule::new("self.type != 'WorkloadIdentity' || (has(self.clientID) && has(self.tenantID))")
    .message("clientID and tenantID are required for type WorkloadIdentity"))]
#[x_kube(validation = Rule::new("self.type != 'ManagedIdentity' || !has(self.tenantID)")
    .message("tenantID is not for type ManagedIdentity: a managed identity knows its tenant").field_path(".tenantID"))]
pub struct Credentials {
    /// Kind of identity. ServicePrincipal reads its secret or certificate from secretRef.
    #[serde(rename = "type")]
    pub type_: CredentialsType,

    /// Microsoft Entra tenant of the identity, a GUID. A service principal may have it in the Secret instead.
    #[serde(rename = "tenantID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    #[x_kube(validation = Rule::new(schema::GUID).message("tenantID must be a GUID, like 11111111-2222-3333-4444-555555555555"))]
    pub tenant_id: Option<String>,

    /// Client (application) ID of the identity, a GUID. A service principal may have it in the Secret instead; a
    /// managed identity without it is the system-assigned one.
    #[serde(rename = "clientID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    #[x_kube(validation = Rule::new(schema::GUID).message("clientID must be a GUID, like 11111111-2222-3333-4444-555555555555"))]
    pub client_id: Option<String>,

    /// Secret of a service principal, with the keys AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE (and
    /// AZURE_CLIENT_CERTIFICATE_PASSWORD), AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_SUBSCRIPTION_ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// Kinds of identity.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words are Azure's own names")]
pub enum CredentialsType {
    WorkloadIdentity,
    ManagedIdentity,
    ServicePrincipal,
}

impl CredentialsType {
    /// The word used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkloadIdentity => "WorkloadIdentity",
            Self::ManagedIdentity => "ManagedIdentity",
            Self::ServicePrincipal => "ServicePrincipal",
        }
    }
}

/// Reference to a Secret.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("secretRef.name must be the name of a Secret: lower-case letters, digits, hyphens and dots"))]
    pub name: String,

    /// Namespace of the Secret. Defaults to the namespace the operator runs in, the only one it may read by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("secretRef.namespace must be the name of a namespace: lower-case letters, digits and hyphens"))]
    pub namespace: Option<String>,
}

/// Template of the virtual nodes of a connector.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTemplate {
    /// Labels added to the nodes. The ones the operator sets itself are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::node_labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations added to the nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::node_annotations")]
    pub annotations: BTreeMap<String, String>,

    /// Taints of the nodes. Omitted, there are virtual-kubelet.io/provider=azure:NoSchedule and, so that other nodes are
    /// filled first, virtual-kubelet.io/last-resort:PreferNoSchedule. A list replaces both; an empty list means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into(), "effect".into()]))]
    #[x_kube(validation = Rule::new("self.all(t, !t.key.startsWith('node.kubernetes.io/') && !t.key.startsWith('node.cloudprovider.kubernetes.io/'))").message("taints under node.kubernetes.io/ and node.cloudprovider.kubernetes.io/ belong to Kubernetes"))]
    pub taints: Option<Vec<NodeTaint>>,

    /// Capacity that each node advertises: cpu, memory, pods and ephemeral-storage. Omitted keys are cpu 100, memory
    /// 400Gi, pods 100 and ephemeral-storage 5T, after the usual quota of 100 cores and 100 container groups in a region,
    /// each with 50 GB of disk.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "quantity::map"
    )]
    #[schemars(schema_with = "schema::capacity")]
    pub capacity: BTreeMap<String, String>,

    /// Source of the advertised capacity. Static is the capacity field with its defaults; Quota follows the region's
    /// free quota, with the capacity field as upper bound.
    #[serde(default)]
    pub capacity_source: CapacitySource,
}

/// Where the advertised capacity comes from.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the field")]
pub enum CapacitySource {
    #[default]
    Static,
    Quota,
}

/// Taint of a virtual node, as in a Node's spec.taints.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeTaint {
    /// Key of the taint.
    #[schemars(length(max = 317))]
    #[x_kube(validation = Rule::new(schema::QUALIFIED_NAME).message("a taint key must be a name with an optional DNS prefix, like example.com/dedicated"))]
    pub key: String,

    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new(schema::LABEL_VALUE).message("a taint value must consist of letters, digits, hyphens, underscores and dots, and begin and end with a letter or digit"))]
    pub value: Option<String>,

    /// Effect on pods that do not tolerate the taint.
    pub effect: TaintEffect,
}

/// Effects of a taint, as in a Node.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words are Kubernetes' own")]
pub enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl TaintEffect {
    /// The word used in a Node.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// Defaults for the container groups of a connector.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerGroupTemplate {
    /// SKU of the container groups.
    #[serde(default)]
    pub sku: ContainerGroupSku,

    /// Priority of the container groups. Spot is cheaper and may be interrupted; Linux only, without an IP address.
    #[serde(default)]
    pub priority: Priority,

    /// User-assigned identities that pods may ask for by the annotation virtual-kubelet.io/identity, as ARM IDs. A pod that
    /// asks for none has none.
    #[serde(rename = "identityIDs", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::identity_ids")]
    pub identity_ids: Vec<String>,

    /// Identity that pulls images from Azure Container Registry, as an ARM ID. Azure attaches it to the container groups
    /// whose images it pulls; pods cannot ask for it unless it is one of identityIDs, too.
    #[serde(
        rename = "registryIdentityID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new(schema::IDENTITY_ID).message("registryIdentityID must be the ARM ID of a user-assigned identity: /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME"))]
    pub registry_identity_id: Option<String>,

    /// Log Analytics workspace that receives the containers' logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_analytics: Option<LogAnalytics>,

    /// Resource requests of containers that state none: cpu and memory. Omitted keys are cpu 1 and memory 1500M.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "quantity::map"
    )]
    #[schemars(schema_with = "schema::requests")]
    pub requests: BTreeMap<String, String>,
}

/// SKUs of container groups.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words are Azure's own")]
pub enum ContainerGroupSku {
    #[default]
    Standard,
    Dedicated,
    Confidential,
}

impl ContainerGroupSku {
    /// Azure's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Dedicated => "Dedicated",
            Self::Confidential => "Confidential",
        }
    }
}

/// Priorities of container groups.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words are Azure's own")]
pub enum Priority {
    #[default]
    Regular,
    Spot,
}

/// Log Analytics workspace that receives containers' logs.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogAnalytics {
    /// ID of the workspace, a GUID.
    #[serde(rename = "workspaceID")]
    #[schemars(length(max = 36))]
    #[x_kube(validation = Rule::new(schema::GUID).message("workspaceID must be a GUID, like 11111111-2222-3333-4444-555555555555"))]
    pub workspace_id: String,

    /// Secret with the workspace's key under the key workspaceKey.
    pub secret_ref: SecretReference,
}
