//! Whether container groups can be in the connector's subnet. PURE. It tells beforehand what ACI would answer to a create.
//!
//! To run pods the identity needs the right to join the subnet, not to read it: what cannot be read keeps no connector
//! from being Ready, and neither does one full subnet. A subnet that is there and wrong for every pod does.

use super::{ConditionUpdate, Grant, Subject, lacking, reason_of};
use crate::api::conditions::{SUBNET_READY, reason};
use crate::azure::{AzureError, ErrorClass, Subnet, SubnetPath, VirtualNetwork};

/// What ARM said about a subnet and its virtual network.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) subnet: Result<Subnet, AzureError>,
    /// Asked for its region; it takes a right of its own, `Microsoft.Network/virtualNetworks/read`.
    pub(super) network: Result<VirtualNetwork, AzureError>,
}

/// The finding from the answers about the subnet with this ID.
pub(super) fn evaluate(
    answers: &Answers,
    id: &str,
    path: &SubnetPath,
    subject: &Subject,
) -> ConditionUpdate {
    let Subject { region, .. } = subject;
    let SubnetPath {
        subscription,
        virtual_network,
        name,
        ..
    } = path;
    let bad = |reason, message| ConditionUpdate::bad(SUBNET_READY, reason, message);
    let subnet = match &answers.subnet {
        Ok(subnet) => subnet,
        Err(error) => {
            let no_network = answers.network.as_ref().err().is_some_and(is_absent);
            return unreadable(error, no_network, id, path, subject);
        }
    };
    if let Ok(network) = &answers.network
        && !network.location.is_empty()
        && !network.is_in(region)
    {
        let elsewhere = &network.location;
        return bad(
            reason::SUBNET_IN_OTHER_REGION,
            format!(
                "subnet {name} is in region {elsewhere} and the connector in {region}; set spec.subnetID to a subnet in {region} or create a connector in {elsewhere}; list them with: az network vnet list --subscription {subscription} --query \"[?location=='{region}'].subnets[].id\""
            ),
        );
    }
    if !subnet.is_delegated() {
        return bad(
            reason::SUBNET_NOT_DELEGATED,
            format!(
                "subnet {name} is not delegated to container groups; run: az network vnet subnet update --ids {id} --delegations Microsoft.ContainerInstance/containerGroups"
            ),
        );
    }
    // The number of addresses in use moves by itself: only where it is the news is it told.
    let (addresses, used) = (subnet.addresses(), subnet.used_addresses());
    let size = match addresses {
        Some(addresses) if used >= addresses => {
            return told(
                reason::SUBNET_FULL,
                format!(
                    "all {addresses} addresses of subnet {name} are in use, and each container group takes one; new pods wait: delete some, or set spec.subnetID to a larger subnet; list what is there with: az network vnet subnet show --ids {id} --query ipConfigurations[].id"
                ),
            );
        }
        Some(addresses) => format!(" and has room below its {addresses} addresses"),
        None => String::new(),
    };
    let message = format!(
        "subnet {name} of virtual network {virtual_network} exists, is delegated to container groups{size}"
    );
    ConditionUpdate::good(SUBNET_READY, reason::SUBNET_FOUND, message)
}

/// The finding when the subnet cannot be had.
fn unreadable(
    error: &AzureError,
    no_network: bool,
    id: &str,
    path: &SubnetPath,
    subject: &Subject,
) -> ConditionUpdate {
    let region = &subject.region;
    let SubnetPath {
        subscription,
        resource_group,
        virtual_network,
        name,
    } = path;
    match error.class {
        ErrorClass::Forbidden => {
            let grant = Grant {
                what: &format!("subnet {name}"),
                scope: id,
                role: "'Network Contributor'",
            };
            let action = "Microsoft.Network/virtualNetworks/subnets/read";
            let why = lacking(error, action, &grant, subject);
            unknown(
                reason::SUBNET_FORBIDDEN,
                format!("the subnet is not checked, and pods need its join/action, too: {why}"),
            )
        }
        ErrorClass::ResourceGroupNotFound => told(
            reason::SUBNET_NOT_FOUND,
            format!(
                "resource group {resource_group} of subnet {name} does not exist; correct spec.subnetID, or run: az group create --name {resource_group} --location {region} --subscription {subscription}"
            ),
        ),
        _ if is_absent(error) => {
            let (what, command) = if no_network {
                (
                    format!("virtual network {virtual_network}"),
                    format!("az network vnet create --location {region} --name {virtual_network}"),
                )
            } else {
                (
                    format!("subnet {name} of virtual network {virtual_network}"),
                    format!(
                        "az network vnet subnet create --vnet-name {virtual_network} --name {name} --address-prefixes PREFIX --delegations Microsoft.ContainerInstance/containerGroups"
                    ),
                )
            };
            told(
                reason::SUBNET_NOT_FOUND,
                format!(
                    "{what} does not exist; correct spec.subnetID, or run: {command} --resource-group {resource_group} --subscription {subscription}"
                ),
            )
        }
        _ => unknown(
            reason_of(error).unwrap_or(reason::ARM_ERROR),
            format!("subnet {name} could not be read, trying again: {error}"),
        ),
    }
}

/// What is wrong and keeps no connector from being Ready.
fn told(reason: &'static str, message: String) -> ConditionUpdate {
    ConditionUpdate {
        blocks: false,
        stalled: false,
        ..ConditionUpdate::bad(SUBNET_READY, reason, message)
    }
}

/// The network provider says `NotFound` where ARM itself says `ResourceNotFound`.
fn is_absent(error: &AzureError) -> bool {
    error.class == ErrorClass::NotFound || (error.status == Some(404) && error.code == "NotFound")
}

fn unknown(reason: &'static str, message: String) -> ConditionUpdate {
    ConditionUpdate {
        blocks: false,
        ..ConditionUpdate::later(SUBNET_READY, reason, message)
    }
}
