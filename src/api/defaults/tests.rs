use serde_json::{Value, json};

use super::*;
use crate::api::{CapacitySource, Cloud, DeletionPolicy, OrphanPolicy, Priority};

fn spec(patch: &Value) -> VirtualKubeletConnectorSpec {
    let mut spec = json!({"region": "eastus", "aciResourceGroup": "aci-rg"});
    for (key, value) in patch.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

#[test]
fn a_minimal_spec_means_linux_in_the_public_cloud() {
    let spec = spec(&json!({}));
    assert_eq!(spec.operating_systems(), [Os::Linux]);
    assert_eq!(spec.cloud, Cloud::AzurePublicCloud);
    assert_eq!(spec.deletion_policy, DeletionPolicy::Drain);
    assert_eq!(spec.orphan_policy, OrphanPolicy::Delete);
    assert_eq!(spec.node.capacity_source, CapacitySource::Static);
    assert_eq!(spec.container_group.priority, Priority::Regular);
    assert_eq!(spec.drain_timeout(), Duration::from_mins(5));
    assert!(!spec.public_ip && !spec.suspend);
    assert_eq!(
        spec.container_requests(),
        ContainerRequests {
            cpu: 1.0,
            memory_gb: 1.5
        }
    );
}

#[test]
fn linux_comes_first() {
    for (os_type, expected) in [
        ("Linux", vec![Os::Linux]),
        ("Windows", vec![Os::Windows]),
        ("Both", vec![Os::Linux, Os::Windows]),
    ] {
        assert_eq!(
            spec(&json!({"osType": os_type})).operating_systems(),
            expected
        );
    }
}

#[test]
fn node_names_are_the_predecessors() {
    assert_eq!(
        node_name("virtual-kubelet", Os::Linux, "eastus"),
        "virtual-kubelet-virtual-kubelet-linux-eastus"
    );
    assert_eq!(
        node_name("virtual-kubelet", Os::Windows, "eastus"),
        "virtual-kubelet-virtual-kubelet-windows-eastus"
    );
    // The longest pair that admission lets through.
    assert_eq!(
        node_name(&"c".repeat(18), Os::Windows, &"r".repeat(20)).len(),
        63
    );
}

#[test]
fn omitted_taints_and_no_taints_differ() {
    let default = spec(&json!({})).taints();
    let default: Vec<_> = default
        .iter()
        .map(|taint| {
            (
                taint.key.as_str(),
                taint.value.as_deref(),
                taint.effect.as_str(),
            )
        })
        .collect();
    assert_eq!(
        default,
        [
            ("virtual-kubelet.io/provider", Some("azure"), "NoSchedule"),
            ("virtual-kubelet.io/last-resort", None, "PreferNoSchedule"),
        ]
    );
    assert_eq!(spec(&json!({"node": {"taints": []}})).taints(), []);
    let own = spec(&json!({"node": {"taints": [{"key": "azure.com/aci", "effect": "NoExecute"}]}}))
        .taints();
    assert_eq!(own.len(), 1, "a list replaces the default");
    assert_eq!(
        (
            own[0].key.as_str(),
            own[0].value.as_deref(),
            own[0].effect.as_str()
        ),
        ("azure.com/aci", None, "NoExecute")
    );
}

#[test]
fn capacity_is_the_users_over_the_usual_quota() {
    let text = |spec: &VirtualKubeletConnectorSpec| {
        spec.capacity()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        text(&spec(&json!({}))),
        "cpu=100 ephemeral-storage=5T memory=400Gi pods=100"
    );
    assert_eq!(
        text(&spec(
            &json!({"node": {"capacity": {"cpu": 200, "ephemeral-storage": "1Ti"}}})
        )),
        "cpu=200 ephemeral-storage=1Ti memory=400Gi pods=100"
    );
}

#[test]
fn requests_are_read_in_arms_units() {
    let requests = spec(&json!({"containerGroup": {"requests": {"cpu": "500m", "memory": "2Gi"}}}))
        .container_requests();
    assert_eq!(
        requests,
        ContainerRequests {
            cpu: 0.5,
            memory_gb: 2.147_483_648
        }
    );
}
