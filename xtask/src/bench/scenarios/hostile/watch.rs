//! What is looked at while an attack goes on: the operator's probe, and its nodes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::bench::rig::Rig;

const PROBE: Duration = Duration::from_millis(250);
/// The Deployment's `timeoutSeconds`.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Seen {
    /// Probes without a good answer in time.
    pub(super) unanswered: usize,
    /// Seconds.
    pub(super) slowest: f64,
    /// Looks at a node that was not Ready.
    pub(super) not_ready: usize,
    /// Seconds, as far as it was seen.
    pub(super) longest_lease: f64,
}

pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Seen>,
}

impl Watch {
    pub(super) fn start(rig: &Rig) -> Result<Self> {
        // A kubelet opens a connection for each probe.
        let http = reqwest::Client::builder()
            .timeout(PROBE_TIMEOUT)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        let url = format!("{}/livez", rig.operator.metrics_url());
        let client = rig.client.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let (mut probes, mut nodes) = (Seen::default(), Seen::default());
            tokio::select! {
                _ = stopped => {}
                () = probe(&http, &url, &mut probes) => {}
                () = look(&client, &mut nodes) => {}
            }
            Seen {
                not_ready: nodes.not_ready,
                longest_lease: nodes.longest_lease,
                ..probes
            }
        });
        Ok(Self { stop, task })
    }

    pub(super) async fn end(self) -> Result<Seen> {
        let _ = self.stop.send(());
        self.task.await.context("nobody has looked")
    }
}

async fn probe(http: &reqwest::Client, url: &str, seen: &mut Seen) {
    let mut ticks = interval(PROBE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let begin = Instant::now();
        let answer = http.get(url).send().await;
        if !answer.is_ok_and(|answer| answer.status().is_success()) {
            seen.unanswered += 1;
        }
        seen.slowest = seen.slowest.max(begin.elapsed().as_secs_f64());
    }
}

async fn look(client: &Client, seen: &mut Seen) {
    let nodes = Api::<Node>::all(client.clone());
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    let mut renewed: HashMap<String, (Option<Timestamp>, Instant)> = HashMap::new();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // What the API server does not tell now it tells at the next look.
        if let Ok(list) = nodes.list(&ListParams::default()).await {
            seen.not_ready += list.items.iter().filter(|node| !is_ready(node)).count();
        }
        let Ok(list) = leases.list(&ListParams::default()).await else {
            continue;
        };
        for lease in list {
            let name = lease.name_any();
            let at = lease.spec.and_then(|spec| spec.renew_time).map(|at| at.0);
            let known = renewed.entry(name).or_insert((at, Instant::now()));
            seen.longest_lease = seen.longest_lease.max(known.1.elapsed().as_secs_f64());
            if known.0 != at {
                *known = (at, Instant::now());
            }
        }
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|it| it.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}
