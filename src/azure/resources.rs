//! What is read besides container groups: the resource provider and the resource group (api-version 2021-04-01), quotas and
//! capabilities of a region (container instance API), the subnet and its virtual network (2023-11-01).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::null_as_default;

/// `Microsoft.ContainerInstance` as the subscription sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// `NotRegistered`, `Registering`, `Registered`, `Unregistering` or `Unregistered`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub registration_state: String,
    /// The types it serves.
    #[serde(default, deserialize_with = "null_as_default")]
    pub resource_types: Vec<ResourceType>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceType {
    /// `containerGroups`, `locations/usages` …
    #[serde(default, deserialize_with = "null_as_default")]
    pub resource_type: String,
    /// API versions the type answers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub api_versions: Vec<String>,
    /// Regions by display name (`East US`) or short name (`eastus`).
    #[serde(default, deserialize_with = "null_as_default")]
    pub locations: Vec<String>,
}

impl Provider {
    /// Whether container groups can be created in the subscription at all.
    pub fn is_registered(&self) -> bool {
        self.registration_state.eq_ignore_ascii_case("Registered")
    }

    /// Whether container groups are served in `region`, by its short or its display name.
    pub fn serves(&self, region: &str) -> bool {
        let wanted = normal_region(region);
        self.container_groups()
            .any(|t| t.locations.iter().any(|l| normal_region(l) == wanted))
    }

    /// Whether it waits for somebody to register it.
    pub fn is_unregistered(&self) -> bool {
        ["", "NotRegistered", "Unregistered"]
            .iter()
            .any(|state| self.registration_state.eq_ignore_ascii_case(state))
    }

    /// Whether container groups answer `api_version`; taken to be so where ARM names no version at all.
    pub fn answers(&self, api_version: &str) -> bool {
        let mut versions = self.api_versions().peekable();
        versions.peek().is_none() || versions.any(|v| v.eq_ignore_ascii_case(api_version))
    }

    /// The versions that container groups answer, as ARM lists them: the newest first.
    pub fn api_versions(&self) -> impl Iterator<Item = &str> {
        self.container_groups()
            .flat_map(|t| t.api_versions.iter().map(String::as_str))
    }

    fn container_groups(&self) -> impl Iterator<Item = &ResourceType> {
        self.resource_types
            .iter()
            .filter(|t| t.resource_type.eq_ignore_ascii_case("containerGroups"))
    }
}

/// A resource group: enough to say that it is there and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroup {
    /// ARM resource ID; ARM may change its case.
    #[serde(default, deserialize_with = "null_as_default")]
    pub id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Region of the group's metadata; its members may be elsewhere.
    #[serde(default, deserialize_with = "null_as_default")]
    pub location: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub tags: BTreeMap<String, String>,
}

/// Quota of container groups.
pub const CONTAINER_GROUPS: &str = "ContainerGroups";
/// Quota of cores of Standard container groups.
pub const STANDARD_CORES: &str = "StandardCores";
/// Quota of cores of Spot container groups.
pub const SPOT_CORES: &str = "StandardSpotCores";

/// What is used of one quota.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: UsageName,
    /// How much is used.
    #[serde(default)]
    pub current_value: Option<f64>,
    /// How much there is.
    #[serde(default)]
    pub limit: Option<f64>,
}

/// Name of a quota.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageName {
    /// `ContainerGroups`, `StandardCores`, `StandardSpotCores` …
    #[serde(default, deserialize_with = "null_as_default")]
    pub value: String,
}

/// What container groups of a kind may have in a region.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    /// `Linux` or `Windows`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os_type: String,
    /// `Public`, `Private` or none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub ip_address_type: String,
    /// Kind of GPU, `None` without.
    #[serde(default, deserialize_with = "null_as_default")]
    pub gpu: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub capabilities: CapabilityAmounts,
}

/// The amounts of a [`Capability`]. Absent where ARM does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapabilityAmounts {
    /// Cores.
    #[serde(default)]
    pub max_cpu: Option<f64>,
    /// Gigabytes.
    #[serde(default, rename = "maxMemoryInGB")]
    pub max_memory_in_gb: Option<f64>,
}

/// The names in a subnet's ARM ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetPath {
    pub subscription: String,
    /// Resource group of the virtual network.
    pub resource_group: String,
    pub virtual_network: String,
    pub name: String,
}

impl SubnetPath {
    /// The names in `id`; `None` when it is not the ID of a subnet. ARM's fixed words are case-insensitive.
    pub fn parse(id: &str) -> Option<Self> {
        const WORDS: [(usize, &str); 5] = [
            (0, "subscriptions"),
            (2, "resourceGroups"),
            (4, "providers"),
            (5, "Microsoft.Network"),
            (6, "virtualNetworks"),
        ];
        let parts: Vec<&str> = id.strip_prefix('/')?.split('/').collect();
        let is =
            |at: usize, word: &str| parts.get(at).is_some_and(|p| p.eq_ignore_ascii_case(word));
        if parts.len() != 10 || !WORDS.iter().all(|(at, word)| is(*at, word)) || !is(8, "subnets") {
            return None;
        }
        let name = |at: usize| {
            let part = parts.get(at).filter(|part| !part.is_empty());
            part.map(|part| (*part).to_owned())
        };
        Some(Self {
            subscription: name(1)?,
            resource_group: name(3)?,
            virtual_network: name(7)?,
            name: name(9)?,
        })
    }
}

/// A subnet: enough to say whether container groups may be in it, and whether they get out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// ARM resource ID; ARM may change its case.
    #[serde(default, deserialize_with = "null_as_default")]
    pub id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: SubnetProperties,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubnetProperties {
    /// The services that have the subnet to themselves.
    #[serde(default, deserialize_with = "null_as_default")]
    pub delegations: Vec<Delegation>,
    /// Its addresses, as a prefix.
    #[serde(default)]
    pub address_prefix: Option<String>,
    /// Its addresses, when it has several prefixes.
    #[serde(default, deserialize_with = "null_as_default")]
    pub address_prefixes: Vec<String>,
    /// What has an address there.
    #[serde(default, deserialize_with = "null_as_default")]
    pub ip_configurations: Vec<serde_json::Value>,
    /// The NAT gateway that its traffic leaves by.
    #[serde(default)]
    pub nat_gateway: Option<serde_json::Value>,
    /// Routes of its own, for example to a firewall.
    #[serde(default)]
    pub route_table: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: DelegationProperties,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DelegationProperties {
    /// `Microsoft.ContainerInstance/containerGroups` and others.
    #[serde(default, deserialize_with = "null_as_default")]
    pub service_name: String,
}

/// Addresses of each prefix that Azure keeps: the first four and the last one ("Virtual network FAQ").
const KEPT: u64 = 5;

impl Subnet {
    /// How many IPv4 addresses it has for us and others; `None` when it names no prefix that can be read.
    pub fn addresses(&self) -> Option<u64> {
        let single = self.properties.address_prefix.iter();
        let several = self.properties.address_prefixes.iter();
        let prefixes: std::collections::BTreeSet<&str> =
            single.chain(several).map(String::as_str).collect();
        let sizes: Vec<u64> = prefixes.into_iter().filter_map(prefix_size).collect();
        let sum = sizes.iter().map(|size| size.saturating_sub(KEPT)).sum();
        (!sizes.is_empty()).then_some(sum)
    }

    /// How many of them are in use.
    pub fn used_addresses(&self) -> u64 {
        self.properties.ip_configurations.len() as u64
    }

    /// Whether container groups in it reach the internet: ACI has no other way out of a subnet than a NAT gateway or routes.
    pub fn has_way_out(&self) -> bool {
        self.properties.nat_gateway.is_some() || self.properties.route_table.is_some()
    }

    /// Whether it is delegated to container groups, which ACI demands.
    pub fn is_delegated(&self) -> bool {
        self.properties.delegations.iter().any(|delegation| {
            delegation
                .properties
                .service_name
                .eq_ignore_ascii_case("Microsoft.ContainerInstance/containerGroups")
        })
    }
}

/// Addresses of an IPv4 prefix: `10.0.0.0/24` has 256. ACI has no IPv6.
fn prefix_size(prefix: &str) -> Option<u64> {
    let (address, length) = prefix.split_once('/')?;
    address.parse::<std::net::Ipv4Addr>().ok()?;
    let length: u32 = length.parse().ok()?;
    1_u64.checked_shl(32_u32.checked_sub(length)?)
}

/// A virtual network: where it is, and its subnets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualNetwork {
    /// Its region, by its short name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub location: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: VirtualNetworkProperties,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualNetworkProperties {
    #[serde(default, deserialize_with = "null_as_default")]
    pub subnets: Vec<Subnet>,
}

impl VirtualNetwork {
    /// Whether it is in `region`, by its short or its display name.
    pub fn is_in(&self, region: &str) -> bool {
        normal_region(&self.location) == normal_region(region)
    }
}

/// `East US` and `eastus` are one region.
pub fn normal_region(region: &str) -> String {
    region
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_found_by_either_name() {
        let provider: Provider = serde_json::from_str(
            r#"{"registrationState":"Registered","resourceTypes":[
                {"resourceType":"locations/usages","locations":["West US"],"apiVersions":null},
                {"resourceType":"ContainerGroups","locations":["East US","West Europe"],"apiVersions":["2023-05-01"]}]}"#,
        )
        .unwrap();
        for (region, served) in [
            ("eastus", true),
            ("East US", true),
            ("EASTUS", true),
            ("westeurope", true),
            ("westus", false),
            ("", false),
        ] {
            assert_eq!(provider.serves(region), served, "{region}");
        }
        assert!(provider.is_registered());
        assert!(provider.answers("2023-05-01"));
        assert!(!provider.answers("2021-10-01"));
    }

    #[test]
    fn the_names_in_the_id_of_a_subnet() {
        let id = "/subscriptions/s/resourcegroups/net/providers/microsoft.network/virtualnetworks/v/subnets/aci";
        let path = SubnetPath::parse(id).unwrap();
        let names = [
            &path.subscription,
            &path.resource_group,
            &path.virtual_network,
            &path.name,
        ];
        assert_eq!(names, ["s", "net", "v", "aci"]);
        for bad in [
            "",
            "/",
            &id[1..],
            &format!("{id}/x"),
            &id.replace("/v/", "//"),
            &id.replace("subnets", "x"),
        ] {
            assert_eq!(SubnetPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_a_subnet() {
        let addresses = |properties: serde_json::Value| {
            let subnet: Subnet =
                serde_json::from_value(serde_json::json!({"properties": properties})).unwrap();
            (subnet.addresses(), subnet.used_addresses())
        };
        for (properties, known) in [
            (
                serde_json::json!({"addressPrefix": "10.0.0.0/24"}),
                (Some(251), 0),
            ),
            (
                serde_json::json!({"addressPrefix": "10.0.0.0/29", "ipConfigurations": [{"id": "a"}]}),
                (Some(3), 1),
            ),
            (
                serde_json::json!({"addressPrefix": "10.0.0.0/29", "addressPrefixes": ["10.0.0.0/29"]}),
                (Some(3), 0),
            ),
            (
                serde_json::json!({"addressPrefixes": ["10.0.0.0/29", "10.1.0.0/28", "fd00::/64"]}),
                (Some(14), 0),
            ),
            (
                serde_json::json!({"addressPrefix": "fd00::/64", "ipConfigurations": null}),
                (None, 0),
            ),
            (
                serde_json::json!({"addressPrefix": "10.0.0.0/33"}),
                (None, 0),
            ),
            (
                serde_json::json!({"addressPrefix": "10.0.0.0/32"}),
                (Some(0), 0),
            ),
            (serde_json::json!({}), (None, 0)),
        ] {
            assert_eq!(addresses(properties.clone()), known, "{properties}");
        }
    }

    #[test]
    fn null_and_absent_lists_are_empty() {
        for body in ["{}", r#"{"registrationState":null,"resourceTypes":null}"#] {
            let provider: Provider = serde_json::from_str(body).unwrap();
            assert!(
                !provider.is_registered() && !provider.serves("eastus"),
                "{body}"
            );
        }
        let group: ResourceGroup =
            serde_json::from_str(r#"{"name":"rg","tags":null,"location":"eastus"}"#).unwrap();
        assert_eq!(group.name, "rg");
    }
}
