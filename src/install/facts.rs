//! What Azure says of the cluster that a connector is installed into.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::azure::{
    ArmClient, AzureError, ErrorClass, ManagedCluster, Subnet, SubnetPath, VirtualNetwork,
};

/// The Azure CLI needs seconds to start.
const CLI_TIMEOUT: Duration = Duration::from_secs(30);

/// Who is logged in to the Azure CLI.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Login {
    /// Subscription that it uses.
    pub(super) id: String,
    pub(super) tenant_id: String,
}

/// `az account show`; `None` where there is no Azure CLI, or nobody is logged in.
pub(super) async fn login(subscription: Option<&str>) -> Option<Login> {
    let program = if cfg!(windows) { "az.cmd" } else { "az" };
    let mut command = Command::new(program);
    command.args(["account", "show", "--output", "json"]);
    if let Some(subscription) = subscription {
        command.args(["--subscription", subscription]);
    }
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(CLI_TIMEOUT, command.output()).await;
    let output = output.ok()?.ok().filter(|it| it.status.success())?;
    serde_json::from_slice(&output.stdout).ok()
}

/// The cluster and where pods can be in its network.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) cluster: Option<ManagedCluster>,
    /// The subnet that pods get unless the arguments say else.
    pub(super) subnet: Option<Subnet>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

/// Why the cluster could not be read. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FactsError {
    #[error(
        "there is no cluster {name} in resource group {group} of subscription {subscription}; list yours with: az aks list --output table"
    )]
    NotFound {
        name: String,
        group: String,
        subscription: String,
    },
    #[error(
        "cluster {name} may not be read: {error}; the role \"Azure Kubernetes Service Cluster User Role\" is enough"
    )]
    Forbidden { name: String, error: AzureError },
    #[error("cluster {name} could not be read: {error}")]
    Unreadable { name: String, error: AzureError },
}

/// Reads the cluster, and the network of its machines when `wants_subnet`.
pub(super) async fn read(
    arm: &ArmClient,
    group: &str,
    name: &str,
    wants_subnet: bool,
) -> Result<Facts, FactsError> {
    let cluster = arm.managed_cluster(group, name).await.map_err(|error| {
        let name = name.to_owned();
        match error.class {
            ErrorClass::NotFound
            | ErrorClass::ResourceGroupNotFound
            | ErrorClass::SubscriptionNotFound => FactsError::NotFound {
                name,
                group: group.to_owned(),
                subscription: arm.subscription_id().to_owned(),
            },
            ErrorClass::Forbidden => FactsError::Forbidden { name, error },
            _ => FactsError::Unreadable { name, error },
        }
    })?;
    let mut facts = Facts::default();
    if wants_subnet && let Some(path) = cluster.node_subnet().and_then(SubnetPath::parse) {
        match arm.virtual_network(&path).await {
            Ok(network) => facts.look_at(&cluster, &network),
            Err(error) => facts.notes.push(format!(
                "the cluster's network could not be read, so pods get no subnet unless --subnet names one: {error}"
            )),
        }
    }
    facts.cluster = Some(cluster);
    Ok(facts)
}

impl Facts {
    /// ARM ID of the subnet that pods get unless the arguments say else.
    pub(super) fn subnet_id(&self) -> Option<&String> {
        self.subnet.as_ref().map(|subnet| &subnet.id)
    }

    /// Chooses the subnet: that of AKS' own virtual nodes, or the only one that is delegated to container groups.
    fn look_at(&mut self, cluster: &ManagedCluster, network: &VirtualNetwork) {
        let delegated = network
            .properties
            .subnets
            .iter()
            .filter(|it| it.is_delegated());
        let delegated: Vec<&Subnet> = delegated.collect();
        let add_on = cluster.virtual_nodes_subnet();
        let named = delegated
            .iter()
            .find(|it| add_on.is_some_and(|name| it.name.eq_ignore_ascii_case(name)));
        self.subnet = match (named, delegated.as_slice()) {
            (Some(named), _) => Some((*named).clone()),
            (None, [only]) => Some((*only).clone()),
            (None, []) => None,
            (None, several) => {
                let ids: Vec<&str> = several.iter().map(|it| it.id.as_str()).collect();
                self.notes.push(format!(
                    "several subnets of the cluster's network are delegated to container groups, so pods get none unless --subnet names one of {}",
                    ids.join(", ")
                ));
                None
            }
        };
    }
}

/// What to say of a subnet whose pods cannot pull an image.
pub(super) fn no_way_out(subnet: &Subnet) -> Option<String> {
    (!subnet.has_way_out()).then(|| {
        format!(
            "subnet {} has no NAT gateway and no routes: container groups in it reach neither registries nor the internet; give it one with: az network vnet subnet update --nat-gateway",
            subnet.name
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn network(subnets: &[(&str, bool)]) -> VirtualNetwork {
        let subnets: Vec<_> = subnets
            .iter()
            .map(|(name, delegated)| {
                let service = if *delegated { "Microsoft.ContainerInstance/containerGroups" } else { "x" };
                json!({"id": format!("/{name}"), "name": name, "properties": {"delegations": [{"properties": {"serviceName": service}}]}})
            })
            .collect();
        serde_json::from_value(json!({"properties": {"subnets": subnets}})).unwrap()
    }

    #[test]
    fn the_subnet_of_the_pods() {
        let with_add_on: ManagedCluster =
            serde_json::from_value(json!({"properties": {"addonProfiles": {
            "aciConnectorLinux": {"enabled": true, "config": {"SubnetName": "B"}}}}}))
            .unwrap();
        let plain = ManagedCluster::default();
        for (cluster, subnets, wanted, notes) in [
            (&plain, &[("nodes", false), ("a", true)][..], Some("/a"), 0),
            (&plain, &[("nodes", false)], None, 0),
            (&plain, &[("a", true), ("b", true)], None, 1),
            (&with_add_on, &[("a", true), ("b", true)], Some("/b"), 0),
            (&with_add_on, &[("a", true), ("b", false)], Some("/a"), 0),
        ] {
            let mut facts = Facts::default();
            facts.look_at(cluster, &network(subnets));
            assert_eq!(facts.subnet_id().map(String::as_str), wanted, "{subnets:?}");
            assert_eq!(facts.notes.len(), notes, "{subnets:?}");
        }
    }

    #[test]
    fn a_subnet_without_a_way_out() {
        let subnet = |properties: serde_json::Value| -> Subnet {
            serde_json::from_value(json!({"name": "a", "properties": properties})).unwrap()
        };
        assert!(no_way_out(&subnet(json!({}))).is_some_and(|text| text.contains("NAT gateway")));
        assert!(no_way_out(&subnet(json!({"natGateway": null, "routeTable": null}))).is_some());
        assert_eq!(
            no_way_out(&subnet(json!({"natGateway": {"id": "x"}}))),
            None
        );
        assert_eq!(
            no_way_out(&subnet(json!({"routeTable": {"id": "x"}}))),
            None
        );
    }
}
