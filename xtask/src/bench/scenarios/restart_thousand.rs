//! kill -9 with 1,000 pods running, and how the next process finds its way back.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::future::try_join;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Client};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, watcher};
use xtask::stack::resident_kib;

use super::STEP;
use super::handover::NotReady;
use super::thousand::{self, PODS};
use crate::bench::Bench;
use crate::bench::audit::{Counts, Request, count, is_write};
use crate::bench::pods::{All, now, seconds};
use crate::bench::rig::{Rig, Setup, USER};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "1,000 Running pods on one node (restartPolicy Always), ARM at 100 ms, a minute to \
    settle. vkc is killed (SIGKILL) and started again at once; all times are from that start. The first reconcile is \
    the first GET of the credentials' Secret in the API server's audit log, with which each begins. Synced is the \
    first watch event in which the Node's Ready condition has a heartbeat of the new process and the reason \
    VirtualNodeReady, which is said when the lists of pods and of container groups have both been applied (ARM's comes \
    in 20 pages, one after the other). Calls are those of the connector's two nodes and of the operator, until that \
    event and in the first minute; a watch counts when it is answered.";

const SETTLE: Duration = Duration::from_mins(1);
/// How long calls are counted; whatever would be made a second time is made by then.
const WINDOW: Duration = Duration::from_mins(1);
/// What the Ready condition says when both lists have been applied.
const SYNCED: &str = "VirtualNodeReady";
/// The request of the operator with which a reconcile begins.
const RECONCILE: &str = "operator get secrets";

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        audit: true,
        latency: 0.1,
        ..thousand::setup()
    };
    let mut rig = Rig::start(bench, "restart-1000", &setup).await?;
    let names = thousand::running(&mut rig, "again").await?;
    tokio::time::sleep(SETTLE).await;
    rig.check()?;
    let node = node(&rig, &names).await?;
    let before = heartbeat(&rig.client, &node).await?;
    let not_ready = NotReady::watch(&rig);

    rig.kill_operator();
    rig.emulator.forget_requests().await?;
    let audit = rig.audit()?;
    let client = rig.client.clone();
    let begin = now();
    let ((), synced) =
        try_join(rig.start_operator(), synced(client, &node, before.as_ref())).await?;
    let (until_synced, _) = rig.arm_counts().await?;
    let end = begin + WINDOW;
    tokio::time::sleep((end - now()).to_std().unwrap_or_default()).await;
    rig.check()?;
    let (minute, refused) = rig.arm_counts().await?;
    let mut requests = audit.requests(USER)?;
    // What the old process had asked may have been answered after its end.
    requests.retain(|(at, _)| *at >= begin);
    let (peak, _) = resident_kib(rig.operator.process().id()).context("no VmHWM of vkc")?;

    let mut rows = times(&requests, begin, synced);
    rows.push(Row::one(
        "peak of RSS in the first minute",
        "MiB",
        f64::from(u32::try_from(peak)?) / 1024.0,
    ));
    let calls = [
        (
            "until synced",
            until_synced,
            count(&requests, |at| at <= synced),
        ),
        ("first minute", minute, count(&requests, |at| at <= end)),
    ];
    for (when, arm, api) in calls {
        rows.extend(arm_rows(when, arm));
        rows.extend(api_rows(when, api));
    }
    rows.push(Row::one("first minute: ARM answers 429", "", refused));
    rows.push(Row::one("Nodes seen NotReady", "", number(not_ready.count().await)).aim(0.0));
    rows.extend(correctness(&rig, &names).await?);
    rig.stop().await?;
    Ok(rows)
}

/// The node of the pods.
async fn node(rig: &Rig, names: &[String]) -> Result<String> {
    let name = names.first().context("no pods")?;
    let pods = Api::<Pod>::namespaced(rig.client.clone(), "default");
    let spec = pods.get(name).await?.spec;
    spec.and_then(|spec| spec.node_name)
        .with_context(|| format!("{name} has no node"))
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
}

async fn heartbeat(client: &Client, node: &str) -> Result<Option<Time>> {
    let node = Api::<Node>::all(client.clone()).get(node).await?;
    let ready = ready(&node).context("the node has no condition Ready")?;
    Ok(ready.last_heartbeat_time.clone())
}

/// Waits until the Node is told Ready by somebody who has synced, and has not told so when `before` was its heartbeat.
async fn synced(client: Client, node: &str, before: Option<&Time>) -> Result<DateTime<Utc>> {
    let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let events = watcher(Api::<Node>::all(client), config);
    let waiting = async {
        let mut events = std::pin::pin!(events.default_backoff().applied_objects());
        while let Some(event) = events.next().await {
            let at = now();
            let Ok(node) = event else { continue };
            let told = ready(&node).is_some_and(|ready| {
                ready.status == "True"
                    && ready.reason.as_deref() == Some(SYNCED)
                    && ready.last_heartbeat_time.as_ref() != before
            });
            if told {
                return Ok(at);
            }
        }
        anyhow::bail!("the watch of the Node has ended")
    };
    tokio::time::timeout(STEP, waiting)
        .await
        .with_context(|| format!("{node} was not synced in {} s", STEP.as_secs()))?
}

/// From `begin` to what the new process did for the first time.
fn times(requests: &[Request], begin: DateTime<Utc>, synced: DateTime<Utc>) -> Vec<Row> {
    let first = |of: fn(&str) -> bool| {
        let at = requests
            .iter()
            .filter(|(_, what)| of(what))
            .map(|(at, _)| *at)
            .min();
        at.map(|at| seconds(begin, at))
    };
    vec![
        Row::new(
            "start of vkc → first reconcile (GET of its Secret)",
            "s",
            first(|what| what == RECONCILE),
        ),
        Row::new(
            "start of vkc → first write but of Leases",
            "s",
            first(|what| is_write(what) && !what.ends_with(" leases")),
        ),
        Row::one(
            "start of vkc → synced (Ready renewed)",
            "s",
            seconds(begin, synced),
        ),
    ]
}

fn arm_rows(when: &str, arm: HashMap<String, f64>) -> Vec<Row> {
    let mut arm: Vec<_> = arm.into_iter().collect();
    arm.sort_by(|a, b| a.0.cmp(&b.0));
    let total = arm.iter().map(|(_, count)| count).sum();
    let mut rows = vec![Row::one(format!("{when}: ARM calls"), "", total)];
    for (operation, count) in arm {
        rows.push(Row::one(format!("{when}: ARM {operation}"), "", count));
    }
    rows
}

fn api_rows(when: &str, api: Counts) -> Vec<Row> {
    let total = number(api.values().sum());
    let mut rows = vec![Row::one(format!("{when}: API-server calls"), "", total)];
    for (request, count) in api {
        let name = format!("{when}: API as {request}");
        rows.push(Row::one(name, "", number(count)));
    }
    rows
}

/// What must be as it was.
async fn correctness(rig: &Rig, names: &[String]) -> Result<Vec<Row>> {
    let groups = rig.emulator.group_names().await?;
    let by_pod = rig.groups().await?;
    let without = names.iter().filter(|name| !by_pod.contains_key(*name));
    let all: All = rig.pods.get();
    let not_running = all.values().filter(|pod| pod.phase != "Running");
    let restarts: i32 = all.values().map(|pod| pod.restarts).sum();
    let puts = rig.puts().await?;
    let updated = puts.iter().filter(|(_, _, status)| *status == 200).count();
    Ok(vec![
        Row::one("groups afterwards", "", number(groups.len())).aim(number(PODS)),
        Row::one("pods without a group", "", number(without.count())).aim(0.0),
        Row::one("PUTs of a group that existed", "", number(updated)).aim(0.0),
        Row::one("other PUTs of groups", "", number(puts.len() - updated)).aim(0.0),
        Row::one("restarts of containers", "", f64::from(restarts)).aim(0.0),
        Row::one(
            "pods not Running afterwards",
            "",
            number(not_running.count()),
        )
        .aim(0.0),
    ])
}
