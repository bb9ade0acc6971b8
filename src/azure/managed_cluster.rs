//! A managed cluster of AKS, as far as it says where and how its connectors run. PURE.
//!
//! "Managed Clusters - Get" of the container service API.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::model::null_as_default;

/// What ARM says of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedCluster {
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// Region, by its short name.
    #[serde(default, deserialize_with = "null_as_default")]
    pub location: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub properties: ManagedClusterProperties,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedClusterProperties {
    /// Host of the API server; absent for a private cluster.
    #[serde(default, deserialize_with = "null_as_default")]
    pub fqdn: String,
    /// Host of the API server of a private cluster.
    #[serde(default, rename = "privateFQDN", deserialize_with = "null_as_default")]
    pub private_fqdn: String,
    /// The resource group of the nodes, `MC_…`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub node_resource_group: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub network_profile: NetworkProfile,
    #[serde(default, deserialize_with = "null_as_default")]
    pub service_principal_profile: ServicePrincipalProfile,
    /// Identities by what they are for; the nodes' is `kubeletidentity`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub identity_profile: BTreeMap<String, ClusterIdentity>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub oidc_issuer_profile: OidcIssuerProfile,
    #[serde(default, deserialize_with = "null_as_default")]
    pub agent_pool_profiles: Vec<AgentPool>,
    /// Add-ons by name; the one that we replace is `aciConnectorLinux`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub addon_profiles: BTreeMap<String, AddOn>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct NetworkProfile {
    /// Address of the cluster's DNS.
    #[serde(default, rename = "dnsServiceIP", deserialize_with = "null_as_default")]
    pub dns_service_ip: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePrincipalProfile {
    /// Application ID, or `msi` where the cluster has a managed identity.
    #[serde(default, deserialize_with = "null_as_default")]
    pub client_id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    #[serde(default, deserialize_with = "null_as_default")]
    pub client_id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct OidcIssuerProfile {
    /// Issuer of the cluster's service account tokens.
    #[serde(default, rename = "issuerURL", deserialize_with = "null_as_default")]
    pub issuer_url: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AgentPool {
    /// ARM ID of the subnet of its nodes; absent where AKS made the network.
    #[serde(default, rename = "vnetSubnetID", deserialize_with = "null_as_default")]
    pub vnet_subnet_id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AddOn {
    #[serde(default)]
    pub enabled: bool,
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: BTreeMap<String, String>,
}

impl ManagedCluster {
    /// The service principal of the cluster; `None` where it has a managed identity.
    pub fn service_principal(&self) -> Option<&str> {
        let client_id = self.properties.service_principal_profile.client_id.as_str();
        (!client_id.is_empty() && !client_id.eq_ignore_ascii_case("msi")).then_some(client_id)
    }

    /// Client ID of the identity of its machines.
    pub fn kubelet_identity(&self) -> Option<&str> {
        let identity = self.properties.identity_profile.get("kubeletidentity")?;
        (!identity.client_id.is_empty()).then_some(identity.client_id.as_str())
    }

    /// ARM ID of a subnet of its machines, by which their virtual network is found.
    pub fn node_subnet(&self) -> Option<&str> {
        let pools = self.properties.agent_pool_profiles.iter();
        let subnets = pools.map(|pool| pool.vnet_subnet_id.as_str());
        subnets.into_iter().find(|id| !id.is_empty())
    }

    /// The subnet that AKS' own virtual nodes are in, by its name.
    pub fn virtual_nodes_subnet(&self) -> Option<&str> {
        let add_on = self.properties.addon_profiles.iter();
        let add_on = add_on
            .filter(|(name, _)| name.eq_ignore_ascii_case("aciConnectorLinux"))
            .find_map(|(_, add_on)| add_on.enabled.then_some(add_on))?;
        add_on.config.get("SubnetName").map(String::as_str)
    }

    /// The hosts that its API server is known by.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        let hosts = [&self.properties.fqdn, &self.properties.private_fqdn];
        hosts
            .into_iter()
            .map(String::as_str)
            .filter(|host| !host.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(properties: &serde_json::Value) -> ManagedCluster {
        let body = json!({"name": "aks", "location": "eastus", "properties": properties});
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_cluster_with_a_managed_identity() {
        let cluster = cluster(&json!({
            "fqdn": "aks-1.hcp.eastus.azmk8s.io", "privateFQDN": null, "nodeResourceGroup": "MC_rg_aks_eastus",
            "networkProfile": {"dnsServiceIP": "10.0.0.10"},
            "servicePrincipalProfile": {"clientId": "msi"},
            "identityProfile": {"kubeletidentity": {"clientId": "k", "objectId": "o"}},
            "oidcIssuerProfile": {"enabled": true, "issuerURL": "https://issuer/"},
            "agentPoolProfiles": [{"vnetSubnetID": null}, {"vnetSubnetID": "/subnet"}],
            "addonProfiles": {"ACIConnectorLinux": {"enabled": true, "config": {"SubnetName": "virtual"}}},
        }));
        assert_eq!(cluster.service_principal(), None);
        assert_eq!(cluster.kubelet_identity(), Some("k"));
        assert_eq!(cluster.node_subnet(), Some("/subnet"));
        assert_eq!(cluster.virtual_nodes_subnet(), Some("virtual"));
        assert_eq!(
            cluster.hosts().collect::<Vec<_>>(),
            ["aks-1.hcp.eastus.azmk8s.io"]
        );
        assert_eq!(
            cluster.properties.oidc_issuer_profile.issuer_url,
            "https://issuer/"
        );
    }

    #[test]
    fn an_old_cluster_and_one_that_says_nothing() {
        let old = cluster(&json!({
            "servicePrincipalProfile": {"clientId": "sp"}, "identityProfile": null,
            "addonProfiles": {"aciConnectorLinux": {"enabled": false, "config": null}},
        }));
        assert_eq!(old.service_principal(), Some("sp"));
        assert_eq!(old.kubelet_identity(), None);
        assert_eq!(old.virtual_nodes_subnet(), None);
        let silent = cluster(&serde_json::Value::Null);
        assert_eq!(silent.service_principal(), None);
        assert_eq!(silent.hosts().count(), 0);
    }
}
