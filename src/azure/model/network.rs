//! Address, subnet and name resolution of a group.

use serde::{Deserialize, Serialize};

use super::null_as_default;

/// A port and its protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// 1-65535, less the ports ACI reserves.
    #[serde(default, deserialize_with = "null_as_default")]
    pub port: i32,
    /// `TCP` or `UDP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpAddress {
    /// `Public` or `Private`.
    #[serde(rename = "type", default, deserialize_with = "null_as_default")]
    pub kind: String,
    /// Ports opened on the address.
    #[serde(default, deserialize_with = "null_as_default")]
    pub ports: Vec<Port>,
    /// The address; absent until provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name_label: Option<String>,
    /// Who may use the label again: `Unsecure`, `TenantReuse`, `SubscriptionReuse`, `ResourceGroupReuse` or `Noreuse`;
    /// only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub auto_generated_domain_name_label_scope: Option<String>,
    /// Public DNS name; only in responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fqdn: Option<String>,
}

/// A subnet by its ARM ID.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetId {
    #[serde(default, deserialize_with = "null_as_default")]
    pub id: String,
}

/// Resolver of a group's containers (`DnsConfiguration`). ACI adds Azure's own server at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsConfig {
    /// Addresses of the servers; the service wants one at least.
    pub name_servers: Vec<String>,
    /// Domains to look in, separated by blanks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_domains: Option<String>,
    /// Options of `resolv.conf`, separated by blanks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<String>,
}
