//! The desired Node. PURE.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSpec as ApiNodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sha2::{Digest, Sha256};

use crate::api::Os;

pub use crate::api::names::LABEL_CONNECTOR as CONNECTOR_LABEL;
/// Annotation with the hash of the spec that the Node was last made from.
pub const HASH_ANNOTATION: &str = "virtual-kubelet.io/node-hash";
/// Annotation with the keys that the user's spec put on the Node, so that they can be taken away again.
pub const MANAGED_ANNOTATION: &str = "virtual-kubelet.io/node-managed";
/// Key of the taint that keeps new pods away while Azure does not answer. Nothing is evicted by it.
pub const AZURE_UNREACHABLE_TAINT: &str = "virtual-kubelet.io/azure-unreachable";
/// Processor architecture of ACI's machines.
const ARCH: &str = "amd64";

/// The parts of a Node that a connector decides.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// `virtual-kubelet-<connector>-<os>-<region>`.
    pub name: String,
    pub os: Os,
    pub region: String,
    /// Connector that owns the node.
    pub connector: String,
    /// UID of that connector, for the ownerReference.
    pub connector_uid: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Capacity by resource name, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// What of it pods may use now; `None` when that is not known, and the Node stays as it is.
    pub allocatable: Option<BTreeMap<String, String>>,
    /// True while no new pod may be scheduled here (drain, suspend).
    pub unschedulable: bool,
}

/// The taint [`AZURE_UNREACHABLE_TAINT`].
pub fn azure_unreachable() -> Taint {
    Taint {
        key: AZURE_UNREACHABLE_TAINT.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

/// `v<API server>-vkc-v<ours>` from the API server's `gitVersion`. A vendor's suffix (`-eks-…`, `+k3s1`) is left out, so
/// that the result stays one pre-release of a plain version and sorts as such.
pub fn kubelet_version(server_git_version: &str) -> String {
    let plain = server_git_version
        .trim_start_matches('v')
        .split(['-', '+'])
        .next()
        .unwrap_or_default();
    let plain = if plain.is_empty() { "0.0.0" } else { plain };
    format!("v{plain}-vkc-v{}", env!("CARGO_PKG_VERSION"))
}

/// The keys that the user's part of a spec put on the Node, as the text of [`MANAGED_ANNOTATION`].
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(super) struct Managed {
    pub(super) labels: Vec<String>,
    pub(super) annotations: Vec<String>,
    /// `key:effect`.
    pub(super) taints: Vec<String>,
    /// We made the Node unschedulable; a person's `kubectl cordon` is not ours to undo.
    pub(super) cordoned: bool,
}

/// `key:effect` of a taint: what identifies it on a Node.
pub(super) fn taint_id(taint: &Taint) -> String {
    format!("{}:{}", taint.key, taint.effect)
}

/// The Node as its first write has it: labels, taints, ownerReference, capacity and node info, so that no observer ever
/// sees it without them. Conditions and addresses are added by [`super::status::node_status`].
pub fn desired_node(spec: &NodeSpec, kubelet_version: &str) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(spec.name.clone()),
            labels: Some(labels(spec)),
            annotations: Some(annotations(spec)),
            owner_references: Some(vec![owner(spec)]),
            ..ObjectMeta::default()
        },
        spec: Some(ApiNodeSpec {
            taints: Some(spec.taints.clone()),
            unschedulable: spec.unschedulable.then_some(true),
            ..ApiNodeSpec::default()
        }),
        status: Some(NodeStatus {
            capacity: Some(quantities(&spec.capacity)),
            allocatable: Some(quantities(
                spec.allocatable.as_ref().unwrap_or(&spec.capacity),
            )),
            node_info: Some(node_info(spec, kubelet_version)),
            ..NodeStatus::default()
        }),
    }
}

/// The user's labels under ours: a key that we own cannot be changed.
fn labels(spec: &NodeSpec) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    for (key, value) in [
        ("type", "virtual-kubelet"),
        ("kubernetes.io/role", "agent"),
        ("kubernetes.io/os", spec.os.label()),
        ("beta.kubernetes.io/os", spec.os.label()),
        ("kubernetes.io/arch", ARCH),
        ("kubernetes.io/hostname", &spec.name),
        ("topology.kubernetes.io/region", &spec.region),
        ("kubernetes.azure.com/managed", "false"),
        (
            "node.kubernetes.io/exclude-from-external-load-balancers",
            "true",
        ),
        (CONNECTOR_LABEL, &spec.connector),
        ("virtual-kubelet.io/os", spec.os.label()),
        ("app.kubernetes.io/managed-by", "virtual-kubelet-connector"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn annotations(spec: &NodeSpec) -> BTreeMap<String, String> {
    let mut annotations = spec.annotations.clone();
    annotations.insert(HASH_ANNOTATION.to_owned(), hash(spec));
    let managed = Managed {
        labels: spec.labels.keys().cloned().collect(),
        annotations: spec.annotations.keys().cloned().collect(),
        taints: spec.taints.iter().map(taint_id).collect(),
        cordoned: spec.unschedulable,
    };
    if let Ok(text) = serde_json::to_string(&managed) {
        annotations.insert(MANAGED_ANNOTATION.to_owned(), text);
    }
    annotations
}

/// `controller: true`, because exactly one connector keeps this Node. Not `blockOwnerDeletion`: it needs a right on the
/// connector's finalizers that nobody needs otherwise.
fn owner(spec: &NodeSpec) -> OwnerReference {
    OwnerReference {
        api_version: "virtual-kubelet.io/v1alpha1".to_owned(),
        kind: "VirtualKubeletConnector".to_owned(),
        name: spec.connector.clone(),
        uid: spec.connector_uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

fn quantities(amounts: &BTreeMap<String, String>) -> BTreeMap<String, Quantity> {
    amounts
        .iter()
        .map(|(name, amount)| (name.clone(), Quantity(amount.clone())))
        .collect()
}

fn node_info(spec: &NodeSpec, kubelet_version: &str) -> NodeSystemInfo {
    NodeSystemInfo {
        architecture: ARCH.to_owned(),
        container_runtime_version: "aci://2023-05-01".to_owned(),
        kubelet_version: kubelet_version.to_owned(),
        operating_system: spec.os.label().to_owned(),
        os_image: "Azure Container Instances".to_owned(),
        ..NodeSystemInfo::default()
    }
}

/// Sixteen hex digits over everything a connector decides about the Node, cordons and what is allocatable apart.
pub fn hash(spec: &NodeSpec) -> String {
    let NodeSpec {
        name,
        os,
        region,
        connector,
        connector_uid,
        labels,
        annotations,
        taints,
        capacity,
        allocatable: _,
        unschedulable: _,
    } = spec;
    let text = serde_json::json!([
        name,
        os,
        region,
        connector,
        connector_uid,
        labels,
        annotations,
        taints,
        capacity
    ])
    .to_string();
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn spec() -> NodeSpec {
        NodeSpec {
            name: crate::api::node_name("vk", Os::Linux, "eastus"),
            os: Os::Linux,
            region: "eastus".to_owned(),
            connector: "vk".to_owned(),
            connector_uid: "uid-1".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "platform".to_owned())]),
            annotations: BTreeMap::from([("example.com/cost".to_owned(), "4711".to_owned())]),
            taints: vec![Taint {
                key: "virtual-kubelet.io/provider".to_owned(),
                value: Some("azure".to_owned()),
                effect: "NoSchedule".to_owned(),
                time_added: None,
            }],
            capacity: BTreeMap::from([
                ("cpu".to_owned(), "200".to_owned()),
                ("pods".to_owned(), "250".to_owned()),
            ]),
            allocatable: None,
            unschedulable: false,
        }
    }

    #[test]
    fn the_contract_of_the_node() {
        let node = desired_node(&spec(), &kubelet_version("v1.36.3"));
        let labels = node.metadata.labels.unwrap();
        for (key, value) in [
            ("type", "virtual-kubelet"),
            ("kubernetes.io/role", "agent"),
            ("kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("kubernetes.io/hostname", "virtual-kubelet-vk-linux-eastus"),
            ("topology.kubernetes.io/region", "eastus"),
            ("kubernetes.azure.com/managed", "false"),
            (
                "node.kubernetes.io/exclude-from-external-load-balancers",
                "true",
            ),
            ("virtual-kubelet.io/connector", "vk"),
            ("team", "platform"),
        ] {
            assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
        }
        let owner = &node.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (owner.uid.as_str(), owner.controller),
            ("uid-1", Some(true))
        );
        assert_eq!(node.spec.unwrap().taints.unwrap(), spec().taints);
        let status = node.status.unwrap();
        assert_eq!(status.capacity, status.allocatable);
        let info = status.node_info.unwrap();
        assert_eq!(
            info.kubelet_version,
            format!("v1.36.3-vkc-v{}", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(
            (info.operating_system.as_str(), info.architecture.as_str()),
            ("linux", "amd64")
        );
    }

    #[test]
    fn a_label_of_ours_cannot_be_overridden() {
        let mut spec = spec();
        spec.labels.insert("type".to_owned(), "other".to_owned());
        let node = desired_node(&spec, "v1");
        assert_eq!(node.metadata.labels.unwrap()["type"], "virtual-kubelet");
    }

    #[test]
    fn versions_of_vendors() {
        for (server, prefix) in [
            ("v1.30.4-eks-abc", "v1.30.4-vkc-v"),
            ("v1.31.1+k3s1", "v1.31.1-vkc-v"),
            ("", "v0.0.0-vkc-v"),
        ] {
            assert!(kubelet_version(server).starts_with(prefix), "{server}");
        }
    }

    #[test]
    fn the_hash_sees_the_spec_but_not_a_cordon() {
        let mut other = spec();
        other.unschedulable = true;
        assert_eq!(hash(&other), hash(&spec()));
        other.capacity.insert("cpu".to_owned(), "100".to_owned());
        assert_ne!(hash(&other), hash(&spec()));
        assert_eq!(hash(&other).len(), 16);
    }
}
