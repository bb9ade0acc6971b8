//! What a spec means once its defaults are filled in. The schema sets defaults only for scalars outside lists: a
//! default inside a list would be a permanent difference to the manifest in Git.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use super::{Os, OsType, TaintEffect, VirtualKubeletConnectorSpec, parse_duration, parse_quantity};

/// Key of the taint of nodes whose connector names no taints.
pub const DEFAULT_TAINT_KEY: &str = "virtual-kubelet.io/provider";
/// Value of that taint; its effect is `NoSchedule`.
pub const DEFAULT_TAINT_VALUE: &str = "azure";
/// Key of the second taint of such nodes; its effect is `PreferNoSchedule` and it has no value.
///
/// It is a key of its own because pods commonly tolerate every effect of [`DEFAULT_TAINT_KEY`]: the scheduler gives no
/// marks for a taint that is tolerated.
pub const LAST_RESORT_TAINT_KEY: &str = "virtual-kubelet.io/last-resort";

/// ACI's usual quota of one subscription in one region: 100 container groups and 100 cores (documentation of ACI's
/// service limits); 4 GiB a core is the scheduler's view of its memory, which has no quota of its own, and 50 GB of disk is
/// what each group has.
const DEFAULT_CAPACITY: [(&str, &str); 4] = [
    ("cpu", "100"),
    ("ephemeral-storage", "5T"),
    ("memory", "400Gi"),
    ("pods", "100"),
];

/// What the schema's default and the fallback for an unreadable value are.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_mins(5);

/// Resource requests of a container that states none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContainerRequests {
    /// Cores.
    pub cpu: f64,
    /// Gigabytes (10^9 bytes), ARM's unit.
    pub memory_gb: f64,
}

/// Name of the Node of `connector` for one operating system: `virtual-kubelet-<connector>-<os>-<region>`. At most 63
/// characters for every connector that passed admission.
pub fn node_name(connector: &str, os: Os, region: &str) -> String {
    format!("virtual-kubelet-{connector}-{}-{region}", os.label())
}

impl OsType {
    /// The operating systems of a connector of this type, Linux first.
    pub fn operating_systems(self) -> Vec<Os> {
        match self {
            OsType::Linux => vec![Os::Linux],
            OsType::Windows => vec![Os::Windows],
            OsType::Both => vec![Os::Linux, Os::Windows],
        }
    }
}

impl VirtualKubeletConnectorSpec {
    /// The operating systems to register nodes for, Linux first.
    pub fn operating_systems(&self) -> Vec<Os> {
        self.os_type.operating_systems()
    }

    /// See [`node_name`].
    pub fn node_name(connector: &str, os: Os, region: &str) -> String {
        node_name(connector, os, region)
    }

    /// The taints of the nodes: the user's list, also an empty one, or else two.
    /// `virtual-kubelet.io/provider=azure:NoSchedule` keeps off pods that do not ask for Azure, and
    /// `virtual-kubelet.io/last-resort:PreferNoSchedule` makes the scheduler fill other nodes first with pods that can run
    /// on either; it never keeps a pod off.
    pub fn taints(&self) -> Vec<Taint> {
        match &self.node.taints {
            Some(taints) => taints
                .iter()
                .map(|taint| Taint {
                    key: taint.key.clone(),
                    value: taint.value.clone(),
                    effect: taint.effect.as_str().to_owned(),
                    time_added: None,
                })
                .collect(),
            None => vec![
                Taint {
                    key: DEFAULT_TAINT_KEY.to_owned(),
                    value: Some(DEFAULT_TAINT_VALUE.to_owned()),
                    effect: TaintEffect::NoSchedule.as_str().to_owned(),
                    time_added: None,
                },
                Taint {
                    key: LAST_RESORT_TAINT_KEY.to_owned(),
                    value: None,
                    effect: TaintEffect::PreferNoSchedule.as_str().to_owned(),
                    time_added: None,
                },
            ],
        }
    }

    /// The capacity of each node by resource name, as quantities. Keys the user leaves out are cpu 100, memory 400Gi,
    /// pods 100 and ephemeral-storage 5T.
    pub fn capacity(&self) -> BTreeMap<String, String> {
        let defaults = DEFAULT_CAPACITY
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut capacity: BTreeMap<_, _> = defaults.collect();
        capacity.extend(self.node.capacity.clone());
        capacity
    }

    /// How long a drain waits for evictions. Five minutes when the field cannot be read, which admission prevents.
    pub fn drain_timeout(&self) -> Duration {
        parse_duration(&self.drain_timeout).unwrap_or(DEFAULT_DRAIN_TIMEOUT)
    }

    /// The requests of containers that state none: 1 core and 1.5 GB unless the connector says else.
    pub fn container_requests(&self) -> ContainerRequests {
        let read = |key| {
            self.container_group
                .requests
                .get(key)
                .and_then(|text| parse_quantity(text))
        };
        ContainerRequests {
            cpu: read("cpu").unwrap_or(1.0),
            memory_gb: read("memory").map_or(1.5, |bytes| bytes / 1e9),
        }
    }
}

#[cfg(test)]
mod tests;
