//! Virtual networks and their subnets: GET, and what a subnet admits.

use std::collections::BTreeMap;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Answer, Call,
    errors::ApiError,
    rules,
    world::{World, normal},
};

/// `api-version`s of the network types.
const VERSIONS: [&str; 6] = [
    "2024-05-01",
    "2024-01-01",
    "2023-11-01",
    "2023-09-01",
    "2022-07-01",
    "2020-11-01",
];
/// What a subnet must be delegated to.
const SERVICE: &str = "Microsoft.ContainerInstance/containerGroups";
/// The right that a PUT needs on its subnet.
const JOIN: &str = "Microsoft.Network/virtualNetworks/subnets/join/action";
/// Addresses of a subnet that Azure keeps.
const KEPT: u64 = 5;

/// A subnet of the emulated subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subnet {
    /// Resource group of the virtual network.
    pub resource_group: String,
    /// Virtual network.
    pub network: String,
    /// Its name.
    pub name: String,
    /// Region of the virtual network.
    pub location: String,
    /// Its addresses.
    #[serde(default = "Subnet::default_prefix")]
    pub prefix: String,
    /// What it is delegated to; empty for nothing.
    #[serde(default = "Subnet::default_service")]
    pub service: String,
    /// Addresses that others have.
    #[serde(default)]
    pub others: u32,
    /// Whether it has a NAT gateway.
    #[serde(default)]
    pub nat_gateway: bool,
}

impl Subnet {
    /// A subnet delegated to container groups, with 251 addresses and nobody there.
    pub fn new(resource_group: &str, network: &str, name: &str, location: &str) -> Self {
        Self {
            resource_group: resource_group.to_owned(),
            network: network.to_owned(),
            name: name.to_owned(),
            location: location.to_owned(),
            prefix: Self::default_prefix(),
            service: Self::default_service(),
            others: 0,
            nat_gateway: false,
        }
    }

    fn default_prefix() -> String {
        "10.0.0.0/24".to_owned()
    }

    fn default_service() -> String {
        SERVICE.to_owned()
    }

    fn size(&self) -> u64 {
        let length = self
            .prefix
            .split_once('/')
            .and_then(|(_, length)| length.parse::<u32>().ok());
        let bits = length.and_then(|length| 32_u32.checked_sub(length));
        bits.and_then(|bits| 1_u64.checked_shl(bits))
            .map_or(0, |all| all.saturating_sub(KEPT))
    }

    fn network_id(&self, subscription: &str) -> String {
        format!(
            "/subscriptions/{subscription}/resourceGroups/{}/providers/Microsoft.Network/virtualNetworks/{}",
            self.resource_group, self.network
        )
    }

    /// Its ARM ID.
    pub(crate) fn id(&self, subscription: &str) -> String {
        format!("{}/subnets/{}", self.network_id(subscription), self.name)
    }
}

/// Subnets by their ARM IDs, lower-cased.
pub(crate) type Subnets = BTreeMap<String, Subnet>;

/// `…/virtualNetworks/{network}`, and `/subnets/{subnet}` below it.
pub(crate) fn get(call: &Call<'_>, group: &str, network: &str, subnet: Option<&str>) -> Answer {
    call.version(&VERSIONS)?;
    let world = call.shared.world.lock();
    world.resource_group(group)?;
    let subscription = &call.shared.config.subscription_id;
    let ours: Vec<&Subnet> = world
        .subnets
        .values()
        .filter(|it| {
            it.resource_group.eq_ignore_ascii_case(group)
                && it.network.eq_ignore_ascii_case(network)
        })
        .collect();
    let Some(first) = ours.first() else {
        return Err(ApiError::new(
            404,
            "ResourceNotFound",
            format!(
                "The Resource 'Microsoft.Network/virtualNetworks/{network}' under resource group '{group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            ),
        ));
    };
    let Some(name) = subnet else {
        return Ok(show_network(&world, first, &ours, subscription));
    };
    let found = ours.iter().find(|it| it.name.eq_ignore_ascii_case(name));
    match found {
        Some(found) => Ok(Json(show(&world, found, subscription)).into_response()),
        // The network provider's own word, unlike ARM's ResourceNotFound.
        None => Err(ApiError::new(
            404,
            "NotFound",
            format!(
                "Resource {}/subnets/{name} not found.",
                first.network_id(subscription)
            ),
        )),
    }
}

fn show_network(world: &World, first: &Subnet, all: &[&Subnet], subscription: &str) -> Response {
    let subnets: Vec<Value> = all
        .iter()
        .map(|subnet| show(world, subnet, subscription))
        .collect();
    Json(json!({
        "id": first.network_id(subscription), "name": first.network, "type": "Microsoft.Network/virtualNetworks",
        "location": first.location,
        "properties": {
            "provisioningState": "Succeeded", "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}, "subnets": subnets,
        },
    }))
    .into_response()
}

fn show(world: &World, subnet: &Subnet, subscription: &str) -> Value {
    let id = subnet.id(subscription);
    let delegations = if subnet.service.is_empty() {
        json!([])
    } else {
        json!([{
            "name": "delegation", "id": format!("{id}/delegations/delegation"),
            "properties": {"serviceName": subnet.service, "provisioningState": "Succeeded"},
        }])
    };
    let used: Vec<Value> = (0..subnet.others)
        .map(|n| format!("other-{n}"))
        .chain(tenants(world, &id))
        .map(|name| json!({"id": format!("/subscriptions/{subscription}/ipConfigurations/{name}")}))
        .collect();
    let gateway = format!(
        "/subscriptions/{subscription}/resourceGroups/{}/providers/Microsoft.Network/natGateways/nat",
        subnet.resource_group
    );
    let gateway = subnet.nat_gateway.then(|| json!({"id": gateway}));
    json!({
        "id": id, "name": subnet.name, "type": "Microsoft.Network/virtualNetworks/subnets",
        "properties": {
            "provisioningState": "Succeeded", "addressPrefix": subnet.prefix, "delegations": delegations,
            "ipConfigurations": used, "natGateway": gateway,
        },
    })
}

/// The container groups in a subnet.
fn tenants(world: &World, id: &str) -> impl Iterator<Item = String> {
    let there = |group: &&super::world::Group| {
        let properties = group.body.get("properties").unwrap_or(&Value::Null);
        rules::items(properties, "subnetIds")
            .iter()
            .any(|it| rules::text(it, "id").is_some_and(|it| it.eq_ignore_ascii_case(id)))
    };
    let groups = world.groups.values().filter(there);
    groups
        .map(|group| group.name.clone())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Refuses a PUT of the group `name` into a subnet that does not take it.
pub(crate) fn admit(
    call: &Call<'_>,
    world: &World,
    name: &str,
    body: &Value,
    is_new: bool,
) -> Result<(), ApiError> {
    let properties = body.get("properties").unwrap_or(&Value::Null);
    let [subnet, ..] = rules::items(properties, "subnetIds") else {
        return Ok(());
    };
    let id = rules::text(subnet, "id").unwrap_or_default();
    let settings = call.shared.settings();
    if let Some(join) = settings
        .denied_actions
        .iter()
        .find(|it| it.eq_ignore_ascii_case(JOIN))
    {
        return Err(ApiError::new(
            403,
            "LinkedAuthorizationFailed",
            format!(
                "The client has permission to perform action 'Microsoft.ContainerInstance/containerGroups/write' on scope '{}', however the current tenant '{}' is not authorized / does not have permission to perform action '{join}' on the linked scope(s) '{id}' or the linked scope(s) are invalid.",
                call.path, call.shared.config.tenant_id
            ),
        ));
    }
    let location = rules::text(body, "location").unwrap_or_default();
    let found = world
        .subnets
        .get(&id.to_lowercase())
        .filter(|it| normal(&it.location) == normal(location));
    let Some(found) = found else {
        return Err(ApiError::bad(
            "InvalidResourceReference",
            format!(
                "Resource {id} referenced by resource {} was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.",
                call.path
            ),
        ));
    };
    if !found.service.eq_ignore_ascii_case(SERVICE) {
        return Err(ApiError::bad(
            "SubnetMissingRequiredDelegation",
            format!(
                "Subnet missing required delegation 'Microsoft.ContainerInstance' for container group '{name}'."
            ),
        ));
    }
    let used = u64::from(found.others) + tenants(world, id).count() as u64;
    if is_new && used >= found.size() {
        return Err(ApiError::bad(
            "SubnetIsFull",
            format!(
                "Subnet {} with address prefix {} is already full.",
                found.name, found.prefix
            ),
        ));
    }
    Ok(())
}
