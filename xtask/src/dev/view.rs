//! One look at the cluster and at the emulator.

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt as _};
use xtask::stack::Emulator;

use super::session::CONNECTOR;
use super::show::connector_resource;

/// The two halves of the walk-through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Os {
    Linux,
    Windows,
}

impl Os {
    /// The node's name, as the predecessor made it.
    pub(super) fn node(self) -> &'static str {
        match self {
            Self::Linux => "virtual-kubelet-virtual-kubelet-linux-eastus",
            Self::Windows => "virtual-kubelet-virtual-kubelet-windows-eastus",
        }
    }

    pub(super) fn deployment(self) -> &'static str {
        match self {
            Self::Linux => "aci-helloworld",
            Self::Windows => "nanoserver-iis",
        }
    }
}

/// Everything that the checks look at, read at about one time.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) connector: Option<DynamicObject>,
    pub(super) nodes: Vec<Node>,
    pub(super) pods: Vec<Pod>,
    pub(super) leases: Vec<Lease>,
    pub(super) groups: Vec<String>,
}

impl View {
    pub(super) async fn fetch(client: &Client, emulator: &Emulator) -> Result<Self> {
        let all = ListParams::default();
        let connectors = Api::<DynamicObject>::all_with(client.clone(), &connector_resource());
        Ok(Self {
            connector: connectors
                .get_opt(CONNECTOR)
                .await
                .context("cannot read the connector")?,
            nodes: Api::all(client.clone())
                .list(&all)
                .await
                .context("cannot list nodes")?
                .items,
            pods: Api::namespaced(client.clone(), "default")
                .list(&all)
                .await
                .context("cannot list pods")?
                .items,
            leases: Api::namespaced(client.clone(), "kube-node-lease")
                .list(&all)
                .await
                .context("cannot list leases")?
                .items,
            groups: emulator.group_names().await?,
        })
    }

    pub(super) fn node(&self, os: Os) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name_any() == os.node())
    }

    /// The pods of one of the two Deployments, by the names that a Deployment gives.
    pub(super) fn pods(&self, os: Os) -> impl Iterator<Item = &Pod> {
        let prefix = format!("{}-", os.deployment());
        self.pods
            .iter()
            .filter(move |pod| pod.name_any().starts_with(&prefix))
    }

    pub(super) fn pod_ip(&self, os: Os) -> Option<String> {
        self.pods(os)
            .find_map(|pod| pod.status.as_ref()?.pod_ip.clone())
    }

    pub(super) fn pod_uid(&self, os: Os) -> Option<String> {
        self.pods(os).find_map(Pod::uid)
    }

    pub(super) fn node_uid(&self, os: Os) -> Option<String> {
        self.node(os).and_then(Node::uid)
    }
}
