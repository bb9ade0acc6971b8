//! The observed state, written by the operator alone.

#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Observed state of the connector.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualKubeletConnectorStatus {
    /// Generation of the spec that was last read and acted on, with success or without. -1 before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions of the connector: Ready, and those it sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// Virtual nodes of the connector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub nodes: Vec<VirtualNodeStatus>,

    /// Ready nodes out of wanted nodes, such as 2/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_summary: Option<String>,

    /// Number of pods bound to the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<i32>,

    /// Capacity of the connector: what all nodes advertise together or, with capacitySource Quota, what the region's
    /// quota leaves to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: BTreeMap<String, String>,

    /// Identity in use towards Azure. It never holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityStatus>,

    /// Where the container groups are, as of the first success. Another cloud, tenant or subscription is refused from then
    /// on: nothing is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_scope: Option<AzureScope>,

    /// Value of the annotation virtual-kubelet.io/requestedAt or reconcile.fluxcd.io/requestedAt that was last acted on:
    /// Azure has been asked since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// One virtual node of a connector.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualNodeStatus {
    /// Name of the Node object.
    #[schemars(length(max = 253))]
    pub name: String,

    /// Operating system of the node.
    #[schemars(schema_with = "schema::os")]
    pub os_type: super::Os,

    /// Whether the node is registered and Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,

    /// Number of pods bound to the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<i32>,

    /// Number of container groups in Azure that belong to the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_groups: Option<i32>,

    /// For a node on its way out: how many seconds that has taken, written down every half minute. It is measured, not
    /// computed from times of day: a clock that is wrong neither skips a drain nor prolongs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<i32>,
}

/// Identity in use towards Azure.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// Kind of identity: one of spec.credentials.type, or Operator for the identity of the operator's own pod.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,

    /// Client (application) ID of the identity.
    #[serde(rename = "clientID", default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,

    /// Microsoft Entra tenant of the identity.
    #[serde(rename = "tenantID", default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,

    /// Resource version of the Secret in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_resource_version: Option<String>,
}

/// Where the container groups of a connector are.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureScope {
    /// Address of Azure Resource Manager.
    #[schemars(length(max = 2048))]
    pub resource_manager_endpoint: String,

    /// Address of the token service.
    #[schemars(length(max = 2048))]
    pub authority_host: String,

    /// Microsoft Entra tenant, where the identity names one.
    #[serde(rename = "tenantID", default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,

    /// Azure subscription.
    #[serde(rename = "subscriptionID")]
    #[schemars(length(max = 36))]
    pub subscription_id: String,
}
