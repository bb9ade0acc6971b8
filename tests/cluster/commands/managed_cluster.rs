//! `-n CLUSTER -g GROUP`: what the cluster says are the defaults.

use aci_emulator::{ManagedCluster, Subnet};
use serde_json::json;

use super::Fixture;
use crate::support::site;

/// A cluster whose API server has this host.
fn cluster(fixture: &Fixture, host: &str) {
    let subscription = &fixture.config.subscription_id;
    let control = fixture.azure.control();
    for subnet in ["nodes", "aci"] {
        let service = if subnet == "aci" {
            "Microsoft.ContainerInstance/containerGroups"
        } else {
            ""
        };
        control.set_subnet(Subnet {
            service: service.to_owned(),
            ..Subnet::new("net", "v", subnet, "eastus")
        });
    }
    control.add_resource_group("MC_rg_aks_eastus", "eastus");
    let nodes = format!(
        "/subscriptions/{subscription}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/nodes"
    );
    control.set_managed_cluster(ManagedCluster {
        resource_group: "rg".to_owned(),
        name: "aks".to_owned(),
        location: "eastus".to_owned(),
        properties: json!({
            "fqdn": host, "nodeResourceGroup": "MC_rg_aks_eastus", "networkProfile": {"dnsServiceIP": "10.0.0.10"},
            "servicePrincipalProfile": {"clientId": "msi"},
            "identityProfile": {"kubeletidentity": {"clientId": "22222222-2222-4222-8222-222222222222"}},
            "agentPoolProfiles": [{"vnetSubnetID": nodes}],
        }),
    });
}

#[test]
fn the_cluster_says_region_group_and_subnet() {
    site::run(async {
        let fixture = Fixture::new("cmd-aks").await;
        cluster(&fixture, "127.0.0.1");
        let ran = fixture
            .vkc("install-connector -n aks -g rg", &fixture.flags())
            .await;
        ran.ok();
        let wanted = "subnet aci has no NAT gateway";
        assert!(ran.err.contains(wanted), "{}", ran.err);
        let spec = fixture.spec().await;
        assert_eq!(spec["region"], "eastus");
        assert_eq!(spec["aciResourceGroup"], "MC_rg_aks_eastus");
        assert!(
            spec["subnetID"].as_str().unwrap().ends_with("/subnets/aci"),
            "{spec}"
        );
        assert_eq!(spec["publicIP"], false);
        assert_eq!(
            spec["network"],
            json!({"clusterDNS": ["10.0.0.10"], "kubernetesServiceHost": "127.0.0.1"})
        );
        let name = fixture.name_flag();
        fixture.vkc("remove-connector", &name).await.ok();
    });
}

#[test]
fn another_cluster_than_the_kubeconfigs_is_refused() {
    site::run(async {
        let fixture = Fixture::new("cmd-other").await;
        cluster(&fixture, "aks-1.hcp.eastus.azmk8s.io");
        fixture
            .vkc("install-connector -n aks -g rg", &fixture.flags())
            .await
            .refused(&[
                "the kubeconfig's server is 127.0.0.1",
                "aks-1.hcp.eastus.azmk8s.io",
                "--any-server",
            ]);
        fixture.nothing_is_there("the refusal").await;
        // Without the secret the identity of the cluster's machines is used, which a dry run shows.
        let mut flags = fixture.flags();
        flags.push("--dry-run".to_owned());
        let ran = fixture
            .vkc("install-connector -n aks -g rg --any-server", &flags)
            .await;
        assert!(ran.ok().contains("region: eastus"), "{}", ran.out);
    });
}
