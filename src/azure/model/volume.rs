//! Volumes of a container group and their mounts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SecretText, null_as_default};

/// A mount of a group volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Path without a colon.
    #[serde(default, deserialize_with = "null_as_default")]
    pub mount_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// A volume: exactly one source.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// 5-63 characters.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// Files by name, each base64; write-only, answered as `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BTreeMap<String, SecretText>>,
    /// A share of Azure Files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_file: Option<AzureFile>,
    /// A git repository, cloned when the group starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_repo: Option<GitRepo>,
}

/// An empty directory has no settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyDir {}

/// A share of Azure Files, which ACI mounts by SMB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureFile {
    #[serde(default, deserialize_with = "null_as_default")]
    pub share_name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub storage_account_name: String,
    /// Key of the account; write-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_account_key: Option<SecretText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitRepo {
    /// `http://` or `https://` address; shown to everyone who may read the group.
    #[serde(default, deserialize_with = "null_as_default")]
    pub repository: String,
    /// Directory below the mount to clone into, `.` for the mount itself; absent means the repository's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Commit; absent means HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}
