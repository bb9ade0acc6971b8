//! The product's agents, as the supervisor starts them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::agent::{self, AgentHandle, AgentSpec, AgentStatus, Shared};
use crate::api::HostPort;
use crate::azure::ArmClient;
use crate::connector::supervisor::{AgentFactory, RunningAgent, StartError};
use crate::kube::call;
use crate::kube::client::Clients;
use crate::kube::identity;
use crate::kube::namespaces::Namespaces;
use crate::kubelet;
use crate::metrics::Metrics;
use crate::node::spec::kubelet_version;
use crate::ownership::Ownership;
use crate::registry::Registries;

const CALL: Duration = Duration::from_secs(10);

/// Makes the agents of this process.
pub(super) struct Agents {
    pub(super) clients: Clients,
    pub(super) ownership: Ownership,
    pub(super) namespace: String,
    pub(super) allow_unscoped_nodes: bool,
    pub(super) node_ip: IpAddr,
    pub(super) instance: String,
    pub(super) kubernetes_service: Option<HostPort>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) namespaces: watch::Receiver<Namespaces>,
    pub(super) registries: Registries,
    pub(super) kubelet: kubelet::Shared,
}

#[async_trait]
impl AgentFactory for Agents {
    async fn start(
        &self,
        spec: AgentSpec,
        arm: Arc<ArmClient>,
    ) -> Result<Box<dyn RunningAgent>, StartError> {
        let claim = self.ownership.claim(&spec.connector).ok_or_else(|| {
            StartError::Failed("this replica no longer holds the connector".to_owned())
        })?;
        let clients = self.clients.fenced(Arc::new(claim));
        let manager = clients.operator();
        let version = call::call(
            "get the server's version",
            CALL,
            manager.apiserver_version(),
        )
        .await
        .map_err(|error| StartError::Failed(error.to_string()))?
        .git_version;
        let source = identity::Source {
            clients: clients.clone(),
            node: spec.node.name.clone(),
            server_version: version.clone(),
            probe_namespace: self.namespace.clone(),
            allow_unscoped: self.allow_unscoped_nodes,
            observer: self.metrics.clone(),
        };
        let identity = identity::keep(Arc::new(source), &spec.node.name).await?;
        let registry = self
            .registries
            .get(arm.ca_bundle_pem())
            .map_err(|error| StartError::Failed(error.to_string()))?;
        let shared = Shared {
            clients,
            node_ip: self.node_ip,
            kubelet_version: kubelet_version(&version),
            instance: self.instance.clone(),
            api_server: self
                .kubernetes_service
                .as_ref()
                .map(|address| (address.host.clone(), address.port)),
            namespaces: self.namespaces.clone(),
            registry,
            observer: self.metrics.clone(),
            pods: self.metrics.clone(),
            kubelet: self.kubelet.clone(),
        };
        Ok(Box::new(Agent(agent::start(spec, shared, identity, arm))))
    }
}

struct Agent(AgentHandle);

#[async_trait]
impl RunningAgent for Agent {
    fn status(&self) -> watch::Receiver<AgentStatus> {
        self.0.status()
    }

    fn update(&self, spec: AgentSpec) {
        self.0.update(spec);
    }

    async fn stop(self: Box<Self>) {
        self.0.stop().await;
    }
}
