//! What attackers have: a namespace with a pod in it, the doors of API server, node and operator, and a count of their blows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::STEP;
use crate::bench::kubelet;
use crate::bench::rig::Rig;
use crate::bench::sockets::Cluster;
use xtask::stack::apply;

/// The tenant's own.
pub(super) const NAMESPACE: &str = "attacker";
/// A pod of his that runs.
pub(super) const POD: &str = "attacker";

/// What does not change while the rig does.
pub(super) struct Doors {
    pub(super) cluster: Cluster,
    /// `host:port` of the kubelet API of the node that has the pods.
    pub(super) node: String,
}

/// What an attack begins with.
pub(super) struct Stage<'a> {
    pub(super) rig: &'a Rig,
    pub(super) doors: &'a Doors,
}

impl Stage<'_> {
    /// Makes the namespace and runs the pod.
    pub(super) async fn of(rig: &Rig) -> Result<Doors> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE },
        });
        apply(&rig.plane, &namespace).await?;
        let accounts = Api::<ServiceAccount>::namespaced(rig.client.clone(), NAMESPACE);
        until("its ServiceAccount", async || {
            accounts.get_opt("default").await.ok()?
        })
        .await?;
        let pods = pods(&rig.client);
        pods.create(&PostParams::default(), &rig.pod(POD, "Always"))
            .await?;
        let runs = |pod: &Pod| {
            pod.status
                .as_ref()?
                .phase
                .as_deref()
                .map(|it| it == "Running")
        };
        let pod = until("its pod Running", async || {
            pods.get(POD)
                .await
                .ok()
                .filter(|pod| runs(pod) == Some(true))
        })
        .await?;
        Ok(Doors {
            cluster: Cluster::of(&rig.plane).await?,
            node: kubelet::address(&rig.client, &pod).await?,
        })
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        pods(&self.rig.client)
    }
}

impl Doors {
    pub(super) fn on<'a>(&'a self, rig: &'a Rig) -> Stage<'a> {
        Stage { rig, doors: self }
    }
}

fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Deletes a pod at once, if it is there.
pub(super) async fn remove(pods: &Api<Pod>, name: &str) {
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    // Who attacks does not care for errors.
    let _ = pods.delete(name, &now).await;
}

async fn until<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + STEP;
    loop {
        if let Some(found) = check().await {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "the attacker has not got {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Counts what was done.
#[derive(Clone, Default)]
pub(super) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

/// An attack that goes on until it is ended.
#[derive(Default)]
pub(super) struct Running {
    tasks: JoinSet<()>,
    pub(super) count: Count,
}

impl Running {
    /// One more who attacks, again and again: `once` has a pause after it.
    pub(super) fn again<F: Future<Output = Result<()>> + Send>(
        &mut self,
        pause: Duration,
        once: impl Fn() -> F + Send + Sync + 'static,
    ) {
        self.tasks.spawn(async move {
            loop {
                // To be refused, or cut off, is what an attacker has to expect.
                let _ = once().await;
                sleep(pause).await;
            }
        });
    }

    /// Something that goes on beside it.
    pub(super) fn beside(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Ends it: how much was done.
    pub(super) fn end(self) -> usize {
        self.count.0.load(Ordering::Relaxed)
    }
}

/// The name of the group of the attacker's pod.
pub(super) async fn group(rig: &Rig) -> Result<String> {
    let groups = rig.groups().await?;
    groups
        .get(POD)
        .cloned()
        .context("the attacker's pod has no group")
}
