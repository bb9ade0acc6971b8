//! One controller for all tests of this binary, as there is one in a cluster, in a runtime of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use vkc::agent::{AgentSpec, AgentStatus};
use vkc::api::VirtualKubeletConnector;
use vkc::azure::{ArmClient, Limiters};
use vkc::connector::trust::AllowedAuthorities;
use vkc::connector::{self, AgentFactory, Context, PreflightIntervals, RunningAgent, StartError};
use vkc::kube::client::Clients;
use vkc::kube::identity;
use vkc::node::keeper::{NodeKeeper, NodeWanted, Registration};
use vkc::node::spec::kubelet_version;
use vkc::node::status::Endpoint;
use vkc::ownership::Ownership;
use vkc::translate::ClusterDns;
use xtask::control_plane::{Assets, ControlPlane, Options, stderr_progress};

use crate::support::site::path;
use crate::support::tools::clients;
use crate::support::wait::eventually;

/// A control plane of its own: the controller works with every connector there is.
pub(crate) async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    let start = || async {
        let assets = Assets::resolve(stderr_progress).unwrap();
        let options = Options::default();
        ControlPlane::start(&assets, options).await.unwrap()
    };
    PLANE.get_or_init(start).await
}

/// Installs the CRD and starts the controller, once. Returns a client of the administrator.
pub(crate) async fn running() -> Client {
    static STARTED: OnceCell<()> = OnceCell::const_new();
    STARTED
        .get_or_init(|| async {
            for args in [
                vec![
                    "apply",
                    "--server-side",
                    "-f",
                    &path("config/manager/namespace.yaml"),
                ],
                vec!["apply", "--server-side", "-k", &path("config/crd")],
            ] {
                plane()
                    .await
                    .kubectl_run(&args)
                    .await
                    .unwrap()
                    .ok()
                    .unwrap();
            }
            // The kind is served a moment after the CRD is there.
            let connectors =
                Api::<VirtualKubeletConnector>::all(plane().await.client().await.unwrap());
            eventually("the kind is served", super::PATIENCE, || async {
                connectors
                    .list(&ListParams::default())
                    .await
                    .map_err(|error| error.to_string())
            })
            .await;
            let kubeconfig = plane().await.kubeconfig().to_owned();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(operate(&kubeconfig));
            });
        })
        .await;
    plane().await.client().await.unwrap()
}

async fn operate(kubeconfig: &Path) {
    let clients = clients(kubeconfig).await;
    let context = Context {
        clients: clients.clone(),
        namespace: super::NAMESPACE.to_owned(),
        // The emulator, which every connector here names as its cloud.
        environment: vkc::connector::identity::Environment::default()
            .with_allowed(AllowedAuthorities::new(["127.0.0.1".to_owned()])),
        cluster_dns: ClusterDns::default(),
        ownership: Ownership::alone(),
        agents: Arc::new(Agents(clients)),
        limiters: Limiters::new(),
        arm_observer: Arc::new(()),
        observer: Arc::new(()),
        // What is missing is told at once: nobody here brings it.
        arrival: Duration::ZERO,
        pace: PreflightIntervals {
            wanting: Duration::from_millis(700),
            ..PreflightIntervals::default()
        },
        instance: "test".to_owned(),
        ready: Arc::new(|| {}),
    };
    connector::run(context, CancellationToken::new())
        .await
        .unwrap();
}

/// Agents that keep their Node for real. A pod counts as one container group and goes as soon as it is deleted; with
/// the tag `stuck` there is a group that never goes.
struct Agents(Clients);

struct Agent {
    wanted: watch::Sender<NodeWanted>,
    status: watch::Receiver<AgentStatus>,
    cancel: CancellationToken,
    task: AbortOnDropHandle<()>,
}

fn wanted(spec: &AgentSpec) -> NodeWanted {
    NodeWanted {
        starting: false,
        spec: spec.node.clone(),
        ready: true,
        reason: "Synced".to_owned(),
        message: "synced".to_owned(),
        azure: None,
        endpoint: Endpoint {
            ip: "127.0.0.1".to_owned(),
            kubelet_port: None,
        },
    }
}

#[async_trait]
impl AgentFactory for Agents {
    async fn start(
        &self,
        spec: AgentSpec,
        _arm: Arc<ArmClient>,
    ) -> Result<Box<dyn RunningAgent>, StartError> {
        let node = identity::acquire(&self.0, &spec.node.name, "v1.36.3", super::NAMESPACE)
            .await?
            .client;
        let keeper = NodeKeeper {
            manager: self.0.operator(),
            node: node.clone(),
            kubelet_version: kubelet_version("v1.36.3"),
        };
        let (wanted, wanted_rx) = watch::channel(wanted(&spec));
        let (registration, registered) = watch::channel(Registration::default());
        let (status_tx, status) = watch::channel(AgentStatus::default());
        let cancel = CancellationToken::new();
        let stuck = u32::from(spec.groups.tags.contains_key("stuck"));
        let work = {
            let cancel = cancel.clone();
            async move {
                tokio::join!(
                    keeper.run(wanted_rx, registration, cancel.clone()),
                    cancel.run_until_cancelled(pods(
                        node,
                        spec.node.name,
                        stuck,
                        registered,
                        status_tx
                    )),
                );
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(work));
        Ok(Box::new(Agent {
            wanted,
            status,
            cancel,
            task,
        }))
    }
}

async fn pods(
    node: Client,
    name: String,
    stuck: u32,
    registered: watch::Receiver<Registration>,
    status: watch::Sender<AgentStatus>,
) {
    let params = ListParams::default().fields(&format!("spec.nodeName={name}"));
    loop {
        let pods = Api::<Pod>::all(node.clone())
            .list(&params)
            .await
            .unwrap()
            .items;
        for pod in pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some())
        {
            let api =
                Api::<Pod>::namespaced(node.clone(), pod.metadata.namespace.as_deref().unwrap());
            let _ = api
                .delete(
                    pod.metadata.name.as_deref().unwrap(),
                    &DeleteParams::default().grace_period(0),
                )
                .await;
        }
        let count = u32::try_from(pods.len()).unwrap();
        let registration = registered.borrow().clone();
        status.send_if_modified(|status| {
            let now = AgentStatus {
                registered: registration.registered,
                ready: registration.registered && registration.ready,
                synced: true,
                problem: registration.problem,
                contested: registration.contested,
                pods: count,
                container_groups: count + stuck,
                orphans: 0,
                ..AgentStatus::default()
            };
            let changed = *status != now;
            *status = now;
            changed
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[async_trait]
impl RunningAgent for Agent {
    fn status(&self) -> watch::Receiver<AgentStatus> {
        self.status.clone()
    }

    fn update(&self, spec: AgentSpec) {
        self.wanted.send_replace(wanted(&spec));
    }

    async fn stop(self: Box<Self>) {
        self.cancel.cancel();
        let Self { task, .. } = *self;
        let _ = task.await;
    }
}
