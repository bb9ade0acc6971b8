//! The calls that a connector's conditions need besides the provider and the resource group: quotas and the subnet.

use super::super::error::AzureError;
use super::super::resources::{Subnet, SubnetPath, Usage, VirtualNetwork};
use super::operations::{API_VERSION, get};
use super::{ArmClient, parse};
use serde::Deserialize;

/// Version of the network API (virtual networks and their subnets).
const NETWORK_API_VERSION: &str = "2023-11-01";

#[derive(Deserialize)]
struct Usages {
    /// Required: an answer without it says nothing about quotas.
    value: Vec<Usage>,
}

impl ArmClient {
    /// What is used of the subscription's quotas in `region` (its short name): "Location - List Usage" of the container
    /// instance API.
    pub async fn usages(&self, region: &str) -> Result<Vec<Usage>, AzureError> {
        let path = [
            "subscriptions",
            self.subscription_id(),
            "providers",
            "Microsoft.ContainerInstance",
            "locations",
            region,
            "usages",
        ];
        let call = get("usages", self.url(&path, API_VERSION)?);
        parse::<Usages>(&self.send(&call).await?).map(|usages| usages.value)
    }

    /// A subnet: "Subnets - Get" of the network API.
    pub async fn subnet(&self, subnet: &SubnetPath) -> Result<Subnet, AzureError> {
        let mut path = network(subnet);
        path.extend(["subnets", &subnet.name]);
        let call = get("subnet", self.url(&path, NETWORK_API_VERSION)?);
        parse(&self.send(&call).await?)
    }

    /// The virtual network of a subnet, which knows the region: "Virtual Networks - Get" of the network API.
    pub async fn virtual_network(&self, subnet: &SubnetPath) -> Result<VirtualNetwork, AzureError> {
        let url = self.url(&network(subnet), NETWORK_API_VERSION)?;
        parse(&self.send(&get("virtual_network", url)).await?)
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
