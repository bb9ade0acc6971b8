//! 1,000 pods whose readiness is probed every 10 s: what that costs, and how soon it shows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Random, STEP, thousand};
use crate::bench::Bench;
use crate::bench::pods::{now, seconds};
use crate::bench::rig::{Rig, Setup};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "1,000 Running pods on one node, each with a readiness probe by HTTP every 10 s of which one \
    failure counts, answered by the emulator at an address for each pod; ARM at 100 ms. A minute to settle, then two minutes \
    are counted. Then the answers of 50 pods become 503 at random times: from that to the watch event that shows the pod not \
    Ready, which is up to the period and the probe. Then the connector leaves the probes to Azure (spec.probes.network: Azure), \
    and after another minute the same pods are counted for two minutes without probes.";

const SETTLE: Duration = Duration::from_mins(1);
const WINDOW: Duration = Duration::from_mins(2);
const CHANGES: usize = 50;
const PERIOD: u32 = 10;

/// What was used in a window.
struct Used {
    /// % of a core.
    cpu: f64,
    mib: f64,
    /// Per minute.
    reads: f64,
}

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        latency: 0.1,
        pages: true,
        readiness: Some(json!({
            "httpGet": {"port": 80, "path": "/"},
            "periodSeconds": PERIOD,
            "failureThreshold": 1,
            "timeoutSeconds": 5,
        })),
        ..thousand::setup()
    };
    let mut rig = Rig::start(bench, "probes-1000", &setup).await?;
    let names = thousand::running(&mut rig, "probed").await?;
    let what = "all pods Ready";
    rig.pods
        .wait(what, STEP, |all| {
            let ready = |name: &String| all.get(name).is_some_and(|seen| seen.ready.is_some());
            names.iter().all(ready).then_some(())
        })
        .await?;
    tokio::time::sleep(SETTLE).await;
    let with = used(&mut rig).await?;

    let groups = rig.groups().await?;
    let mut random = Random::new(1000);
    let mut changed = Vec::new();
    for name in names.iter().step_by(names.len() / CHANGES).take(CHANGES) {
        tokio::time::sleep(Duration::from_secs_f64(random.next())).await;
        let group = groups
            .get(name)
            .with_context(|| format!("{name} has no group"))?;
        let at = now();
        let path = format!("groups/{group}/page");
        rig.emulator.tell(&path, &json!({ "status": 503 })).await?;
        changed.push((name, at));
    }
    let mut staleness = Vec::new();
    for (name, at) in changed {
        let shown = rig
            .pods
            .time(name, "not Ready", STEP, |p| p.unready)
            .await?;
        staleness.push(seconds(at, shown));
    }

    let patch = json!({"spec": {"probes": {"network": "Azure"}}}).to_string();
    let args = [
        "patch",
        "vkc",
        "virtual-kubelet",
        "--type=merge",
        "-p",
        &patch,
    ];
    rig.plane.kubectl_run(&args).await?.ok()?;
    tokio::time::sleep(SETTLE).await;
    let without = used(&mut rig).await?;
    rig.stop().await?;

    let mut rows = Vec::new();
    for (when, used) in [("with", &with), ("without", &without)] {
        rows.push(Row::one(
            format!("{when}: CPU of vkc"),
            "% of a core",
            used.cpu,
        ));
        rows.push(Row::one(format!("{when}: RSS of vkc"), "MiB", used.mib));
        rows.push(Row::one(
            format!("{when}: ARM reads"),
            "per minute",
            used.reads,
        ));
    }
    let per_second = number(thousand::PODS) / f64::from(PERIOD);
    rows.push(Row::one(
        "CPU of one probe",
        "ms",
        (with.cpu - without.cpu) / 100.0 / per_second * 1000.0,
    ));
    rows.push(Row::new("answer fails → not Ready", "s", staleness).aim(f64::from(PERIOD) + 1.0));
    Ok(rows)
}

async fn used(rig: &mut Rig) -> Result<Used> {
    rig.emulator.forget_requests().await?;
    let (_, before) = rig.usage()?;
    let begin = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let (mib, after) = rig.usage()?;
    let seconds = begin.elapsed().as_secs_f64();
    let reads = rig.arm_reads().await?;
    Ok(Used {
        cpu: (after - before) / seconds * 100.0,
        mib,
        reads: reads / seconds * 60.0,
    })
}
