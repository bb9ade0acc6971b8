//! The calls that a connector's conditions need besides the provider and the resource group: quotas, capabilities, the
//! subnet, and the registration of the provider.

use super::super::error::AzureError;
use super::super::permissions::Permission;
use super::super::resources::{Capability, Provider, Subnet, SubnetPath, Usage, VirtualNetwork};
use super::super::throttle::{Class, Urgency};
use super::operations::{RESOURCES_API_VERSION, get};
use super::{ArmClient, Call, parse};
use azure_core::http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Version of the network API (virtual networks and their subnets).
const NETWORK_API_VERSION: &str = "2023-11-01";

/// Version of the authorization API (permissions).
const AUTHORIZATION_API_VERSION: &str = "2022-04-01";

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
        let mut path = self.container_instance();
        path.extend(["locations", region, what]);
        let call = get(operation, self.url(&path, self.api_version())?);
        parse::<All<T>>(&self.send(&call).await?).map(|all| all.value)
    }

    /// What we may do on the resource group: "Permissions - List For Resource Group" of the authorization API.
    ///
    /// # Errors
    /// Also when there is more than one page: a part says nothing about what is missing.
    pub async fn permissions(&self, rg: &str) -> Result<Vec<Permission>, AzureError> {
        let path = [
            "subscriptions",
            self.subscription_id(),
            "resourcegroups",
            rg,
            "providers",
            "Microsoft.Authorization",
            "permissions",
        ];
        let call = get("permissions", self.url(&path, AUTHORIZATION_API_VERSION)?);
        let all: All<Permission> = parse(&self.send(&call).await?)?;
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
        let mut path = self.container_instance();
        path.push("register");
        let call = Call {
            operation: "register_provider",
            class: Class::Write,
            urgency: Urgency::default(),
            method: Method::Post,
            url: self.url(&path, RESOURCES_API_VERSION)?,
            body: None,
        };
        parse(&self.send(&call).await?)
    }

    fn container_instance(&self) -> Vec<&str> {
        vec![
            "subscriptions",
            self.subscription_id(),
            "providers",
            "Microsoft.ContainerInstance",
        ]
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
