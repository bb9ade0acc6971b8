//! What a group has beside its containers: identity, logs, encryption, confidential computing, extensions. Only sent; what
//! the service answers of them is not read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use super::SecretText;

/// Managed identities of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `SystemAssigned`, `UserAssigned` or `SystemAssigned, UserAssigned`: a closed enum, with that blank.
    #[serde(rename = "type")]
    pub kind: String,
    /// ARM IDs of user-assigned identities; ARM has them as keys of a map whose values have nothing to set.
    #[serde(
        serialize_with = "keys_of_empty_objects",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub user_assigned_identities: BTreeSet<String>,
}

fn keys_of_empty_objects<S: Serializer>(
    keys: &BTreeSet<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Empty {}
    serializer.collect_map(keys.iter().map(|key| (key, Empty {})))
}

/// Where the containers' logs go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostics {
    /// A Log Analytics workspace.
    pub log_analytics: LogAnalytics,
}

/// A Log Analytics workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogAnalytics {
    pub workspace_id: String,
    /// Its key; write-only.
    pub workspace_key: SecretText,
    /// `ContainerInsights` or `ContainerInstanceLogs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_type: Option<String>,
    /// Goes along with each record.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A customer's key in a Key Vault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    pub vault_base_url: String,
    pub key_name: String,
    pub key_version: String,
    /// Identity that may use the key, as an ARM ID; absent means the service's own principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// What may run in a confidential group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Confidential {
    /// Policy of confidential computing enforcement, base64.
    pub cce_policy: String,
}

/// A sidecar of the platform (`DeploymentExtensionSpec`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Extension {
    pub name: String,
    pub properties: ExtensionProperties,
}

/// `properties` of an extension.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionProperties {
    /// `realtime-metrics` or `kube-proxy`.
    pub extension_type: String,
    pub version: String,
}

/// A secret of a Key Vault under a name for its group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name within the group.
    pub name: String,
    /// Identity of the group that reads the secret, as an ARM ID.
    pub identity: String,
    /// URL of the secret.
    pub secret_reference_uri: String,
}
