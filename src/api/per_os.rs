//! Settings of the node of one operating system, where a connector has both.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl shows the doc comments as they are, backticks and all"
)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::spec::is_default;
use super::{
    ContainerGroupSku, NodeTaint, Os, Priority, VirtualKubeletConnectorSpec, quantity, schema,
};

/// Settings of the node of one operating system and of its container groups. Each stands where it stands in spec, and wins
/// over that; what is omitted is as in spec.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OsSettings {
    /// Availability zones for the container groups, in order of preference, instead of those of spec.zones. An empty list
    /// lets Azure choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::zones")]
    pub zones: Option<Vec<String>>,

    /// Template of the node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: OsNode,

    /// Defaults for its container groups.
    #[serde(default, skip_serializing_if = "is_default")]
    pub container_group: OsContainerGroup,
}

/// What may differ from spec.node.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OsNode {
    /// Taints of the node, instead of those of spec.node.taints. An empty list means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into(), "effect".into()]))]
    #[x_kube(validation = Rule::new("self.all(t, !t.key.startsWith('node.kubernetes.io/') && !t.key.startsWith('node.cloudprovider.kubernetes.io/'))").message("taints under node.kubernetes.io/ and node.cloudprovider.kubernetes.io/ belong to Kubernetes"))]
    pub taints: Option<Vec<NodeTaint>>,

    /// Capacity that the node advertises: cpu, memory, pods and ephemeral-storage. Each key wins over that of
    /// spec.node.capacity.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "quantity::map"
    )]
    #[schemars(schema_with = "schema::capacity")]
    pub capacity: BTreeMap<String, String>,
}

/// What may differ from spec.containerGroup.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OsContainerGroup {
    /// SKU of the container groups, instead of that of spec.containerGroup.sku.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::sku")]
    pub sku: Option<ContainerGroupSku>,

    /// Priority of the container groups, instead of that of spec.containerGroup.priority. Spot is for Linux, without an IP
    /// address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::priority")]
    pub priority: Option<Priority>,

    /// Resource requests of containers that state none: cpu and memory. Each key wins over that of
    /// spec.containerGroup.requests.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "quantity::map"
    )]
    #[schemars(schema_with = "schema::requests")]
    pub requests: BTreeMap<String, String>,
}

impl VirtualKubeletConnectorSpec {
    /// The spec as it holds for the node of `os`: that node's own settings are in their places, and there are no others.
    #[must_use]
    pub fn on(&self, os: Os) -> Self {
        let mut spec = self.clone();
        let linux = std::mem::take(&mut spec.linux);
        let windows = std::mem::take(&mut spec.windows);
        let own = match os {
            Os::Linux => linux,
            Os::Windows => windows,
        };
        if let Some(zones) = own.zones {
            spec.zones = zones;
        }
        if own.node.taints.is_some() {
            spec.node.taints = own.node.taints;
        }
        spec.node.capacity.extend(own.node.capacity);
        let (group, of_os) = (&mut spec.container_group, own.container_group);
        group.sku = of_os.sku.unwrap_or(group.sku);
        group.priority = of_os.priority.unwrap_or(group.priority);
        group.requests.extend(of_os.requests);
        spec
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(more: &serde_json::Value) -> VirtualKubeletConnectorSpec {
        let mut spec = json!({
            "osType": "Both", "region": "eastus", "aciResourceGroup": "rg", "zones": ["1"],
            "node": {"capacity": {"cpu": "10", "pods": "20"}, "taints": [{"key": "shared", "effect": "NoSchedule"}]},
            "containerGroup": {"requests": {"cpu": "2", "memory": "3G"}},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn without_settings_of_its_own_a_node_is_as_the_spec_says() {
        let spec = spec(&json!({}));
        for os in [Os::Linux, Os::Windows] {
            assert_eq!(spec.on(os), spec, "{os:?}");
        }
    }

    #[test]
    fn what_a_node_has_of_its_own_wins_and_reaches_the_other_in_nothing() {
        let spec = spec(&json!({
            "linux": {
                "zones": ["3", "2"],
                "node": {"capacity": {"cpu": 64}, "taints": []},
                "containerGroup": {"priority": "Spot", "requests": {"cpu": "500m"}},
            },
            "windows": {"containerGroup": {"sku": "Dedicated"}},
        }));
        let (linux, windows) = (spec.on(Os::Linux), spec.on(Os::Windows));
        assert_eq!(
            (&linux.zones[..], &windows.zones[..]),
            (&["3".to_owned(), "2".to_owned()][..], &["1".to_owned()][..])
        );
        assert_eq!(
            (
                linux.capacity()["cpu"].as_str(),
                linux.capacity()["pods"].as_str()
            ),
            ("64", "20")
        );
        assert_eq!(windows.capacity()["cpu"], "10");
        assert_eq!((linux.taints().len(), windows.taints().len()), (0, 1));
        assert_eq!(linux.container_group.priority, Priority::Spot);
        assert_eq!(windows.container_group.priority, Priority::Regular);
        assert_eq!(windows.container_group.sku, ContainerGroupSku::Dedicated);
        assert_eq!(linux.container_group.requests["cpu"], "500m");
        assert_eq!(linux.container_group.requests["memory"], "3G");
        assert_eq!(windows.container_group.requests["cpu"], "2");
    }
}
