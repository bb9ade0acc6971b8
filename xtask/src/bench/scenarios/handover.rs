//! Several replicas of the operator: one ends, dies or stands still; connectors are spread.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, watcher};
use tokio::task::JoinHandle;
use xtask::stack::Operator;

use super::STEP;
use crate::bench::Bench;
use crate::bench::rig::{NAMESPACE, Rig, Setup, names};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "Two replicas, one connector with two nodes and 10 Running pods; the one that holds it \
    gets SIGTERM (10 times), SIGKILL (4) or SIGSTOP (4), each time against a fresh one: from the signal until the other's Lease \
    is accepted and both Nodes name its kubelet API. Then 40 connectors (80 nodes) over three replicas: from the start of the \
    third, and from the SIGKILL of one, until no replica has two more than another and every connector is held. At every \
    change of a Node its Ready condition is looked at; PUTs are counted to the end.";

const PODS: usize = 10;
const FLEET: usize = 40;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = one(bench).await?;
    rows.extend(fleet(bench).await?);
    Ok(rows)
}

async fn one(bench: &Bench) -> Result<Vec<Row>> {
    let mut rig = Rig::start(bench, "handover", &Setup::default()).await?;
    let pods = names("over", PODS);
    rig.create(&pods, "Always").await?;
    rig.pods.all_running(&pods, STEP).await?;
    let ready = NotReady::watch(&rig);
    let mut rows = Vec::new();
    let mut number_of = 0;
    for (signal, rounds, aim) in [("TERM", 10, 5.0), ("KILL", 4, 20.0), ("STOP", 4, 20.0)] {
        let mut samples = Vec::new();
        for _ in 0..rounds {
            number_of += 1;
            let next = rig.start_replica(&format!("over-{number_of}")).await?;
            // It has to be seen by the other one, as it is after its first seconds in a cluster.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = ports(&rig).await?;
            let mut old = rig.replace_operator(next);
            let begun = Instant::now();
            old.process().signal(signal)?;
            taken_over(&mut rig, &before).await?;
            samples.push(begun.elapsed().as_secs_f64());
            if signal == "STOP" {
                old.process().signal("CONT")?;
                old.stop().await?;
            }
            drop(old);
        }
        rows.push(
            Row::new(
                format!("SIG{signal} → the other runs both nodes"),
                "s",
                samples,
            )
            .aim(aim),
        );
    }
    rows.push(Row::one(
        "Nodes seen NotReady",
        "",
        number(ready.count().await),
    ));
    let puts = rig.puts().await?;
    let made = puts.iter().filter(|(_, _, status)| *status == 201).count();
    rows.push(Row::one(
        "PUTs per pod",
        "",
        number(puts.len()) / number(PODS),
    ));
    ensure!(made == PODS, "{made} groups were made for {PODS} pods");
    rig.stop().await?;
    Ok(rows)
}

async fn fleet(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        connectors: FLEET,
        ..Setup::default()
    };
    let rig = Rig::start(bench, "handover-fleet", &setup).await?;
    let ready = NotReady::watch(&rig);
    let second = rig.start_replica("fleet-2").await?;
    let joined = balanced(&rig, 2, Instant::now()).await?;
    let begun = Instant::now();
    let third = rig.start_replica("fleet-3").await?;
    let third_joined = balanced(&rig, 3, begun).await?;
    let mut replicas: Vec<Operator> = vec![second, third];
    let mut lost = replicas.pop().context("no third replica")?;
    let begun = Instant::now();
    lost.process().kill();
    let after_loss = balanced(&rig, 2, begun).await?;
    let begun = Instant::now();
    let fourth = rig.start_replica("fleet-4").await?;
    let joined_again = balanced(&rig, 3, begun).await?;
    replicas.push(fourth);
    let rows = vec![
        Row::one("40 connectors: the second replica → balance", "s", joined),
        Row::one(
            "40 connectors: the third replica → balance",
            "s",
            third_joined,
        ),
        Row::one(
            "40 connectors: SIGKILL of one of three → all held, in balance",
            "s",
            after_loss,
        ),
        Row::one("40 connectors: a third again → balance", "s", joined_again),
        Row::one("of 80 Nodes seen NotReady", "", number(ready.count().await)),
    ];
    for mut replica in replicas {
        replica.stop().await?;
    }
    rig.stop().await?;
    Ok(rows)
}

/// The ports of the Nodes' kubelet APIs.
async fn ports(rig: &Rig) -> Result<BTreeMap<String, i32>> {
    let nodes = Api::<Node>::all(rig.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?.items;
    let port = |node: &Node| {
        let endpoints = node.status.as_ref()?.daemon_endpoints.as_ref()?;
        Some(endpoints.kubelet_endpoint.as_ref()?.port)
    };
    Ok(nodes
        .iter()
        .map(|node| (node.name_any(), port(node).unwrap_or_default()))
        .collect())
}

async fn taken_over(rig: &mut Rig, before: &BTreeMap<String, i32>) -> Result<()> {
    let begun = Instant::now();
    loop {
        rig.check()?;
        let now = ports(rig).await?;
        if before
            .iter()
            .all(|(node, port)| now.get(node).is_some_and(|now| now != port && *now != 0))
        {
            return Ok(());
        }
        ensure!(begun.elapsed() < STEP, "nobody took the nodes over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until so many replicas hold all connectors, none of them two more than another. Seconds since `begun`.
async fn balanced(rig: &Rig, replicas: usize, begun: Instant) -> Result<f64> {
    let leases = Api::<Lease>::namespaced(rig.client.clone(), NAMESPACE);
    let params = ListParams::default().labels("virtual-kubelet.io/lease=connector");
    loop {
        let mut loads: HashMap<String, usize> = HashMap::new();
        for lease in leases.list(&params).await?.items {
            let spec = lease.spec.unwrap_or_default();
            if let (Some(holder), Some(_)) = (spec.holder_identity, spec.acquire_time) {
                *loads.entry(holder).or_default() += 1;
            }
        }
        let (most, least) = (loads.values().max(), loads.values().min());
        let spread = most.zip(least).map_or(FLEET, |(most, least)| most - least);
        if loads.len() == replicas && loads.values().sum::<usize>() == FLEET && spread <= 1 {
            return Ok(begun.elapsed().as_secs_f64());
        }
        ensure!(
            begun.elapsed() < STEP * 2,
            "not balanced over {replicas} replicas: {loads:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Counts Nodes that are ever seen not Ready.
pub(super) struct NotReady {
    nodes: std::sync::Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl NotReady {
    pub(super) fn watch(rig: &Rig) -> Self {
        let nodes =
            std::sync::Arc::<std::sync::Mutex<std::collections::BTreeSet<String>>>::default();
        let seen = nodes.clone();
        let events = watcher(
            Api::<Node>::all(rig.client.clone()),
            watcher::Config::default(),
        );
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(events.default_backoff().applied_objects());
            while let Some(event) = events.next().await {
                let Ok(node) = event else { continue };
                let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref());
                let ready = conditions
                    .unwrap_or_default()
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.status == "True");
                if !ready && let Ok(mut seen) = seen.lock() {
                    seen.insert(node.name_any());
                }
            }
        });
        Self { nodes, task }
    }

    pub(super) async fn count(self) -> usize {
        // What has happened until now has a moment to be told.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.task.abort();
        self.nodes.lock().map_or(0, |nodes| nodes.len())
    }
}
