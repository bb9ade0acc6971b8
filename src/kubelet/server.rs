//! The kubelet API of one node, from its port to its end.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authn::Authenticator;
use super::authz::Authorizer;
use super::certificate::{self, CertificateSink, Serving};
use super::client_ca::ClientCas;
use super::listener;
use super::logs::{Logs, Texts};
use super::pods::Pods;
use super::routes::{self, Kubelet};
use super::stats::Stats;
use super::stream_slots::StreamSlots;
use super::tls::{self, ServingCertificate};
use super::upgrade::SessionTracker;
use crate::kube::backoff::Backoff;
use crate::kube::events::Events;
use crate::pods::ProbeCounts;
use crate::pods::snapshot::Receiver;
use crate::provider::Containers;

/// Sessions of a node that ends get this long to tell their clients.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What is observed of a kubelet API, for metrics.
pub trait Observer: Send + Sync {
    /// A request was answered.
    fn request(&self, route: &'static str, status: u16, elapsed: Duration);
    /// The serving certificate of `node` ends at this second of the epoch; `None`: the node is not served any more.
    fn certificate_expiry(&self, node: &str, seconds: Option<i64>);
    /// The agent of `node` has ended: what was measured of the node is over.
    fn node_ended(&self, node: &str) {
        let _ = node;
    }
}

impl Observer for () {
    fn request(&self, _: &'static str, _: u16, _: Duration) {}
    fn certificate_expiry(&self, _: &str, _: Option<i64>) {}
}

/// Tells its observer, when it goes out of scope, that the agent of a node has ended.
#[must_use = "the node ends when this is dropped"]
pub struct Alive {
    node: String,
    observer: Arc<dyn Observer>,
}

impl Alive {
    /// The agent of `node` begins.
    pub fn new(node: String, shared: &Shared) -> Self {
        Self {
            node,
            observer: shared.observer.clone(),
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.observer.node_ended(&self.node);
    }
}

/// What the kubelet APIs of a process share.
#[derive(Clone)]
pub struct Shared {
    /// Ports to choose from, one for each node; `0..=0` for any.
    pub ports: RangeInclusive<u16>,
    /// Where serving certificates come from.
    pub serving: Serving,
    /// Whose client certificates are believed.
    pub client_cas: ClientCas,
    /// Room for the texts of logs.
    pub texts: Texts,
    pub observer: Arc<dyn Observer>,
}

/// What the kubelet API of one node needs.
#[derive(Clone)]
pub struct Dependencies {
    pub node: String,
    pub ip: IpAddr,
    /// Acts as the node: reads its pods, asks who calls and what he may.
    pub client: Client,
    pub containers: Arc<dyn Containers>,
    /// The pods that run, as the pods' loop publishes them.
    pub node_pods: Receiver,
    /// How their probes go.
    pub probes: ProbeCounts,
    /// What happens to the node's serving certificate is told here.
    pub events: Events,
    /// What all nodes share.
    pub shared: Shared,
}

/// Serves until `cancel`. The port is told to `port` while there is one; a node without a port goes on trying.
pub async fn run(
    dependencies: Dependencies,
    port: watch::Sender<Option<u16>>,
    cancel: CancellationToken,
) {
    let node = dependencies.node.as_str();
    let certificate = Arc::new(ServingCertificate::default());
    let tls = match tls::server_config(certificate.clone()) {
        Ok(tls) => tls,
        Err(error) => {
            tracing::error!(node, %error, "the kubelet API cannot speak TLS");
            return cancel.cancelled().await;
        }
    };
    let Some(listener) = listen(&dependencies, &cancel).await else {
        return;
    };
    match listener.local_addr() {
        Ok(address) => {
            tracing::info!(node, %address, "serving the kubelet API");
            port.send_replace(Some(address.port()));
        }
        Err(error) => tracing::error!(node, %error, "the port of the kubelet API is not known"),
    }
    let sessions = SessionTracker::new(cancel.clone());
    let router = routes::router(Arc::new(kubelet(&dependencies, &sessions, &cancel)));
    let cas = dependencies.shared.client_cas.clone();
    let observer = dependencies.shared.observer.clone();
    let sink = CertificateSink {
        node,
        ip: dependencies.ip,
        client: &dependencies.client,
        certificate: &certificate,
        observer: observer.as_ref(),
        events: &dependencies.events,
    };
    let keeper = certificate::run(&dependencies.shared.serving, &sink);
    tokio::select! {
        () = listener::serve(listener, tls, router, cas, cancel.clone()) => {}
        () = keeper => {}
    }
    if tokio::time::timeout(DRAIN_TIMEOUT, sessions.ended())
        .await
        .is_err()
    {
        tracing::warn!(node, "sessions of the kubelet API did not end in time");
    }
    port.send_replace(None);
    observer.certificate_expiry(node, None);
}

fn kubelet(
    dependencies: &Dependencies,
    sessions: &SessionTracker,
    cancel: &CancellationToken,
) -> Kubelet {
    let client = &dependencies.client;
    let node = dependencies.node.clone();
    let pods = Pods::new(client.clone(), node.clone());
    Kubelet {
        authenticator: Authenticator::new(dependencies.shared.client_cas.clone(), client.clone()),
        authorizer: Authorizer::new(node.clone(), client.clone()),
        logs: Logs::new(
            pods.clone(),
            dependencies.containers.clone(),
            dependencies.shared.texts.clone(),
            cancel.clone(),
        ),
        stats: Stats::new(
            node.clone(),
            dependencies.node_pods.clone(),
            dependencies.containers.clone(),
        ),
        node_pods: dependencies.node_pods.clone(),
        probes: dependencies.probes.clone(),
        pods,
        containers: dependencies.containers.clone(),
        sessions: sessions.clone(),
        streams: StreamSlots::of_node(),
        observer: dependencies.shared.observer.clone(),
        ip: dependencies.ip,
        node,
    }
}

async fn listen(dependencies: &Dependencies, cancel: &CancellationToken) -> Option<TcpListener> {
    let (node, ip) = (dependencies.node.as_str(), dependencies.ip);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    loop {
        match listener::bind(node, ip, &dependencies.shared.ports).await {
            Ok(listener) => return Some(listener),
            Err(error) => {
                tracing::error!(node, %error, "no kubelet API: kubectl logs and exec do not work");
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}
