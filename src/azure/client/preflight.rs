//! The calls that a connector's conditions need besides the provider and the resource group: quotas, capabilities, the
//! subnet, and the registration of the provider; and the cluster that a connector is installed into.

use super::super::error::AzureError;
use super::super::managed_cluster::ManagedCluster;
use super::super::permissions::Permission;
use super::super::resources::{Capability, Provider, Subnet, SubnetPath, Usage, VirtualNetwork};
use super::call::{CONTAINER_INSTANCE, Call};
use super::operations::RESOURCES_API_VERSION;
use super::{ArmClient, parse};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Version of the network API (virtual networks and their subnets).
const NETWORK_API_VERSION: &str = "2023-11-01";

/// Version of the authorization API (permissions).
const AUTHORIZATION_API_VERSION: &str = "2022-04-01";

/// Version of the container service API (AKS).
const CONTAINER_SERVICE_API_VERSION: &str = "2024-05-01";

/// A list without pages.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct All<T> {
    /// Required: an answer without it says nothing.
    value: Vec<T>,
    #[serde(default)]
    next_link: Option<String>,
}

impl ArmClient {
    /// What is used of the subscription's quotas in `region` (its short name): "Location - List Usage" of the container
    /// instance API.
    pub async fn usages(&self, region: &str) -> Result<Vec<Usage>, AzureError> {
        self.location("usages", region, "usages").await
    }

    /// How large a container group may be in `region` (its short name): "Location - List Capabilities" of the container
    /// instance API.
    pub async fn capabilities(&self, region: &str) -> Result<Vec<Capability>, AzureError> {
        self.location("capabilities", region, "capabilities").await
    }

    async fn location<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        region: &str,
        what: &str,
    ) -> Result<Vec<T>, AzureError> {
        let path = ["providers", CONTAINER_INSTANCE, "locations", region, what];
        let url = self.subscription_url(&path, self.api_version())?;
        parse::<All<T>>(&self.send(&Call::get(operation, url)).await?).map(|all| all.value)
    }

    /// What we may do on the resource group: "Permissions - List For Resource Group" of the authorization API.
    ///
    /// # Errors
    /// Also when there is more than one page: a part says nothing about what is missing.
    pub async fn permissions(&self, rg: &str) -> Result<Vec<Permission>, AzureError> {
        let path = [
            "resourcegroups",
            rg,
            "providers",
            "Microsoft.Authorization",
            "permissions",
        ];
        let url = self.subscription_url(&path, AUTHORIZATION_API_VERSION)?;
        let all: All<Permission> = parse(&self.send(&Call::get("permissions", url)).await?)?;
        match all.next_link.as_deref() {
            None | Some("") => Ok(all.value),
            Some(_) => Err(AzureError::protocol(
                Some(200),
                "the list of permissions has more than one page",
            )),
        }
    }

    /// Registers `Microsoft.ContainerInstance` in the subscription, which takes ARM minutes: "Providers - Register" of the
    /// resources API. What is registered stays as it is.
    ///
    /// # Errors
    /// [`ErrorClass::Forbidden`](super::super::ErrorClass::Forbidden) without `Microsoft.ContainerInstance/register/action`
    /// on the subscription.
    pub async fn register_provider(&self) -> Result<Provider, AzureError> {
        let path = ["providers", CONTAINER_INSTANCE, "register"];
        let url = self.subscription_url(&path, RESOURCES_API_VERSION)?;
        parse(&self.send(&Call::post("register_provider", url)).await?)
    }

    /// A cluster of AKS: "Managed Clusters - Get" of the container service API.
    pub async fn managed_cluster(
        &self,
        rg: &str,
        name: &str,
    ) -> Result<ManagedCluster, AzureError> {
        let path = [
            "resourceGroups",
            rg,
            "providers",
            "Microsoft.ContainerService",
            "managedClusters",
            name,
        ];
        let url = self.subscription_url(&path, CONTAINER_SERVICE_API_VERSION)?;
        parse(&self.send(&Call::get("managed_cluster", url)).await?)
    }

    /// A subnet: "Subnets - Get" of the network API.
    pub async fn subnet(&self, subnet: &SubnetPath) -> Result<Subnet, AzureError> {
        let mut path = network(subnet);
        path.extend(["subnets", &subnet.name]);
        let url = self.url(&path, NETWORK_API_VERSION)?;
        parse(&self.send(&Call::get("subnet", url)).await?)
    }

    /// The virtual network of a subnet, which knows the region: "Virtual Networks - Get" of the network API.
    pub async fn virtual_network(&self, subnet: &SubnetPath) -> Result<VirtualNetwork, AzureError> {
        let url = self.url(&network(subnet), NETWORK_API_VERSION)?;
        parse(&self.send(&Call::get("virtual_network", url)).await?)
    }
}

fn network(subnet: &SubnetPath) -> Vec<&str> {
    vec![
        "subscriptions",
        &subnet.subscription,
        "resourceGroups",
        &subnet.resource_group,
        "providers",
        "Microsoft.Network",
        "virtualNetworks",
        &subnet.virtual_network,
    ]
}
