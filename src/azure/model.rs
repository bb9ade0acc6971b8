//! Container groups as ARM speaks them, api-version 2023-05-01 (`Microsoft.ContainerInstance/containerGroups`). PURE.
//!
//! One set of types serves requests and responses. Members that only responses carry are optional and never sent; what we have
//! sent and Azure answers, such as megabytes of variables, is not read again at each look at a group;
//! unknown members are ignored, because the service returns some that no published schema has. Closed enums of the
//! specification are `modelAsString`, so what Azure answers is kept as text and read by `translate`.
//!
//! Values that are secret are [`SecretText`]: they serialize into the request body and nowhere else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

mod features;
mod network;
mod probe;
mod secret;
mod security;
mod view;
mod volume;

pub use features::{
    Confidential, Diagnostics, Encryption, Extension, ExtensionProperties, Identity, LogAnalytics,
    SecretReference,
};
pub use network::{DnsConfig, IpAddress, Port, SubnetId};
pub use probe::{ContainerExec, ContainerHttpGet, HttpHeader, Probe};
pub use secret::{SecretBytes, SecretText};
pub use security::{Capabilities, SecurityContext};
pub use view::{ContainerState, Event, GroupInstanceView, InstanceView};
pub use volume::{AzureFile, EmptyDir, GitRepo, Volume, VolumeMount};

/// A container group, the unit ACI schedules: one pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerGroup {
    /// ARM resource ID; only in responses, and ARM may change its case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Resource name; only in responses (a request names it in the URL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Region; required by the service on create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// ARM tags: our record of which pod owns the group.
    #[serde(
        default,
        deserialize_with = "tag_map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub tags: BTreeMap<String, String>,
    /// Availability zones; the service takes at most one.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub zones: Vec<String>,
    /// Managed identities; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: GroupProperties,
}

/// `properties` of a container group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupProperties {
    /// State of the last operation, not of the containers; only in responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioning_state: Option<String>,
    /// `Linux` or `Windows`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os_type: String,
    /// `Standard`, `Dedicated` or `Confidential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    /// `Always`, `OnFailure` or `Never`, for every container of the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
    /// Containers that run side by side.
    #[serde(default, deserialize_with = "null_as_default")]
    pub containers: Vec<Container>,
    /// Containers that run first, in order.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub init_containers: Vec<InitContainer>,
    /// Volumes the containers mount; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// The group's address; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<IpAddress>,
    /// The subnet of a private address.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub subnet_ids: Vec<SubnetId>,
    /// How names are resolved; only sent. Absent means Azure's DNS.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<DnsConfig>,
    /// `Regular` or `Spot`; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Where the containers' logs go; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Diagnostics>,
    /// The customer's key; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub encryption_properties: Option<Encryption>,
    /// What may run in a confidential group; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub confidential_compute_properties: Option<Confidential>,
    /// Sidecars of the platform; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
    /// Secrets of a Key Vault, by names for this group; only sent, and from api-version 2025-09-01 on.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub secret_references: Vec<SecretReference>,
    /// Credentials of private registries; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub image_registry_credentials: Vec<RegistryCredential>,
    /// What runs now; only in GET responses, never in LIST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_view: Option<GroupInstanceView>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Unique over containers and init containers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: ContainerProperties,
}

/// `properties` of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProperties {
    #[serde(default, deserialize_with = "null_as_default")]
    pub image: String,
    /// Replaces the image's ENTRYPOINT and CMD both. Of an answer the first word is read: the program.
    #[serde(
        default,
        deserialize_with = "first_word",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub command: Vec<String>,
    /// Ports the container listens on.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ports: Vec<Port>,
    /// Environment, in order; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub environment_variables: Vec<EnvironmentVariable>,
    /// CPU and memory; required by the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Mounts; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Restarts the container when it fails; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Takes the container out of the address's traffic while it fails; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// What its processes may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// What runs now; only in GET responses and absent until the container is scheduled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_view: Option<InstanceView>,
}

/// One init container: no ports, no resources, no probes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitContainer {
    /// Unique over containers and init containers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: InitContainerProperties,
}

/// `properties` of an init container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitContainerProperties {
    #[serde(default, deserialize_with = "null_as_default")]
    pub image: String,
    /// As a container's.
    #[serde(
        default,
        deserialize_with = "first_word",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub command: Vec<String>,
    /// Environment, in order; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub environment_variables: Vec<EnvironmentVariable>,
    /// Mounts; only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// What its processes may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// What ran; only in GET responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_view: Option<InstanceView>,
}

/// One environment variable: exactly one of its three values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentVariable {
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Plain value, readable by everyone who may read the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_value: Option<SecretText>,
    /// Name of one of the group's secret references; only sent, and from api-version 2025-09-01 on.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub secure_value_reference: Option<String>,
}

/// Requests and limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    #[serde(default, deserialize_with = "null_as_default")]
    pub requests: ResourceAmounts,
    /// What may be used; absent means the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// CPU cores and gigabytes of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourceAmounts {
    /// Cores, in steps of 0.01.
    #[serde(default, deserialize_with = "null_as_default")]
    pub cpu: f64,
    /// Gigabytes, in steps of 0.1.
    #[serde(default, deserialize_with = "null_as_default", rename = "memoryInGB")]
    pub memory_in_gb: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RegistryCredential {
    /// Bare host, no scheme.
    #[serde(default, deserialize_with = "null_as_default")]
    pub server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password; write-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretText>,
    /// ARM ID of an identity of the group, instead of user name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// Reads a time as Azure writes it: RFC 3339 with 0 to 7 fraction digits, `Z` or an offset. `None` for anything else.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text.trim())
        .ok()
        .map(|time| time.to_utc())
}

/// The first word of a list, without keeping the others; nothing of `null`.
fn first_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct First;

    impl<'de> Visitor<'de> for First {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of words or null")
        }

        fn visit_unit<E>(self) -> Result<Vec<String>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Vec<String>, A::Error> {
            let first: Option<String> = words.next_element()?;
            while words.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first.into_iter().collect())
        }
    }

    deserializer.deserialize_any(First)
}

/// `null` and an absent member mean the same to the service.
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Tags, where a `null` value is an empty one.
fn tag_map<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let tags: BTreeMap<String, Option<String>> = null_as_default(deserializer)?;
    Ok(tags
        .into_iter()
        .map(|(key, value)| (key, value.unwrap_or_default()))
        .collect())
}

/// An int32 that may come unsigned (a Windows exit code above 2³¹); what fits neither is no value.
fn wide_int<'de, D>(deserializer: D) -> Result<Option<i32>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let value = Option::<i64>::deserialize(deserializer)?;
    Ok(value.and_then(|v| {
        i32::try_from(v)
            .ok()
            .or_else(|| u32::try_from(v).ok().map(u32::cast_signed))
    }))
}

#[cfg(test)]
mod tests;
