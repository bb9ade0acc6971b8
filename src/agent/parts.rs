//! What an agent is made of, and the seam at which tests put something else.

use std::net::IpAddr;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::spec::AgentSpec;
use super::{Observer, Shared};
use crate::azure::Health;
use crate::azure::client::ArmClient;
use crate::kube::events::Events;
use crate::kube::identity::KeptIdentity;
use crate::kubelet;
use crate::node::keeper::{NodeKeeper, NodeWanted, Registration};
use crate::pods::{self, Report, Settings};
use crate::provider::{Aci, GroupOwner, KubeReferences, RegistryImages};
use crate::translate::{GroupDefaults, Service};
use crate::updates;

/// The parts of an agent. Each method makes a future that runs until it is cancelled; it is called again when that
/// future ends without having been told to.
pub(super) trait Parts: Send + Sync + 'static {
    /// Keeps the pods of the node, and reports how they are.
    fn pods(
        &self,
        settings: watch::Receiver<Settings>,
        report: watch::Sender<Report>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()>;

    /// Serves the kubelet API, and tells its port.
    fn kubelet(
        &self,
        port: watch::Sender<Option<u16>>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()>;

    /// Keeps the volumes of the node's pods up to date.
    fn updates(&self, cancel: CancellationToken) -> BoxFuture<'static, ()>;

    /// Keeps the Node and its lease, and tells what became of them.
    fn node(
        &self,
        wanted: watch::Receiver<NodeWanted>,
        registration: watch::Sender<Registration>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()>;

    /// Container groups made from now on follow `defaults`.
    fn set_defaults(&self, defaults: GroupDefaults);

    /// Why the API server does not let us act as the node, if so.
    fn refused(&self) -> watch::Receiver<Option<String>>;

    fn azure(&self) -> watch::Receiver<Health>;

    /// Address at which the API server reaches the node.
    fn node_ip(&self) -> IpAddr;

    fn observer(&self) -> Arc<dyn Observer>;
}

/// The product's parts of one node.
pub(super) struct VirtualNode {
    name: String,
    provider: Arc<Aci>,
    pods: pods::Dependencies,
    kubelet: kubelet::Dependencies,
    updates: updates::Dependencies,
    keeper: NodeKeeper,
    refused: watch::Receiver<Option<String>>,
    azure: watch::Receiver<Health>,
    shared: Shared,
}

impl VirtualNode {
    /// The parts of the node of `spec`. `node` is that node's identity; `arm` reaches its subscription.
    pub(super) fn new(
        spec: &AgentSpec,
        shared: Shared,
        node: &KeptIdentity,
        arm: Arc<ArmClient>,
        events: Events,
    ) -> Self {
        let name = spec.node.name.clone();
        let client = node.client();
        let azure = arm.health();
        let provider = Arc::new(provider(spec, &shared, &client, arm));
        let (snapshot, node_pods) = pods::snapshot::channel();
        let probes = pods::ProbeCounts::default();
        Self {
            updates: updates::Dependencies {
                node: client.clone(),
                provider: provider.clone(),
                pods: node_pods.clone(),
                events: events.clone(),
            },
            pods: pods::Dependencies {
                node: client.clone(),
                manager: shared.clients.operator(),
                provider: provider.clone(),
                refreshes: provider.refreshes(),
                events: events.clone(),
                observer: shared.pods.clone(),
                snapshot: Arc::new(snapshot),
                probes: probes.clone(),
                namespaces: shared.namespaces.clone(),
            },
            kubelet: kubelet::Dependencies {
                node: name.clone(),
                ip: shared.node_ip,
                client: client.clone(),
                containers: provider.clone(),
                node_pods,
                probes,
                events,
                shared: shared.kubelet.clone(),
            },
            keeper: NodeKeeper {
                manager: shared.clients.operator(),
                node: client,
                kubelet_version: shared.kubelet_version.clone(),
            },
            refused: node.refused(),
            azure,
            name,
            provider,
            shared,
        }
    }
}

impl Parts for VirtualNode {
    fn pods(
        &self,
        settings: watch::Receiver<Settings>,
        report: watch::Sender<Report>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let (name, dependencies) = (self.name.clone(), self.pods.clone());
        let host_ip = Some(self.shared.node_ip.to_string());
        async move { pods::run(&name, host_ip, dependencies, settings, report, cancel).await }
            .boxed()
    }

    fn kubelet(
        &self,
        port: watch::Sender<Option<u16>>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        kubelet::run(self.kubelet.clone(), port, cancel).boxed()
    }

    fn updates(&self, cancel: CancellationToken) -> BoxFuture<'static, ()> {
        updates::run(self.updates.clone(), cancel).boxed()
    }

    fn node(
        &self,
        wanted: watch::Receiver<NodeWanted>,
        registration: watch::Sender<Registration>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        self.keeper
            .clone()
            .run(wanted, registration, cancel)
            .boxed()
    }

    fn set_defaults(&self, defaults: GroupDefaults) {
        self.provider.set_defaults(defaults);
    }

    fn refused(&self) -> watch::Receiver<Option<String>> {
        self.refused.clone()
    }

    fn azure(&self) -> watch::Receiver<Health> {
        self.azure.clone()
    }

    fn node_ip(&self) -> IpAddr {
        self.shared.node_ip
    }

    fn observer(&self) -> Arc<dyn Observer> {
        self.shared.observer.clone()
    }
}

fn provider(spec: &AgentSpec, shared: &Shared, node: &kube::Client, arm: Arc<ArmClient>) -> Aci {
    let api_server = shared.api_server.as_ref();
    let api_server = api_server.map(|(host, port)| Arc::new(Service::kubernetes(host, *port)));
    let references = Arc::new(KubeReferences::new(node.clone(), api_server));
    let images = Arc::new(RegistryImages::new(shared.registry.clone()));
    let scope = GroupOwner {
        resource_group: spec.resource_group.clone(),
        cluster_uid: spec.cluster_uid.clone(),
        connector_uid: spec.connector_uid.clone(),
        node: spec.node.name.clone(),
        node_ip: shared.node_ip,
        tenure: spec.tenure.clone(),
    };
    Aci::new(arm, references, images, scope, spec.groups.clone())
}
