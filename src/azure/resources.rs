//! What is read besides container groups: the resource provider and the resource group (api-version 2021-04-01).

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

/// One type of a resource provider.
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

    /// Whether container groups answer `api_version`.
    pub fn answers(&self, api_version: &str) -> bool {
        self.container_groups().any(|t| {
            t.api_versions
                .iter()
                .any(|v| v.eq_ignore_ascii_case(api_version))
        })
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
    /// Name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Region of the group's metadata; its members may be elsewhere.
    #[serde(default, deserialize_with = "null_as_default")]
    pub location: String,
    /// ARM tags.
    #[serde(default, deserialize_with = "null_as_default")]
    pub tags: BTreeMap<String, String>,
}

/// `East US` and `eastus` are one region.
fn normal_region(region: &str) -> String {
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
