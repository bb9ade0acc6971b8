//! 1,000 running pods that share one budget of reads.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Random;
use super::thousand::{self, PODS};
use crate::bench::Bench;
use crate::bench::pods::{now, seconds};
use crate::bench::rig::{Rig, Setup};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "1,000 Running pods (restartPolicy Always) of 10 connectors, 20 nodes, on one \
    subscription, principal and resource group; ARM at 100 ms, its buckets as Azure's (reads 250 and 25 a second), the \
    provider's counters raised. Three minutes to settle, then five of counting; then 40 containers crash in Azure at \
    random times: from the crash to the watch event that shows it.";

const CONNECTORS: usize = 10;
const CRASHES: usize = 40;
const SETTLE: Duration = Duration::from_mins(3);
const WINDOW: Duration = Duration::from_mins(5);
/// Twice the time between two looks at an idle pod, and more.
const SHOWN_LIMIT: Duration = Duration::from_mins(4);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        latency: 0.1,
        connectors: CONNECTORS,
        capacity: PODS / CONNECTORS + 20,
        ..thousand::setup()
    };
    let mut rig = Rig::start(bench, "fleet-1000", &setup).await?;
    let begin = Instant::now();
    let names = thousand::running(&mut rig, "fleet").await?;
    let all_running = begin.elapsed().as_secs_f64();
    let (_, refused_before) = rig.arm_counts().await?;
    tokio::time::sleep(SETTLE).await;

    rig.emulator.forget_requests().await?;
    let (_, cpu) = rig.usage()?;
    let begin = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let (memory, cpu_after) = rig.usage()?;
    let (arm, refused) = rig.arm_counts().await?;
    let window = begin.elapsed().as_secs_f64();
    let reads: f64 = gets(&arm).map(|(_, count)| count).sum();

    let mut rows = vec![
        Row::one("all 1,000 Running", "s", all_running),
        Row::one("ARM answers 429 until then", "", refused_before),
        Row::one("steady: ARM answers 429", "", refused).aim(0.0),
        Row::one(
            "steady: ARM reads",
            "per pod, minute",
            reads / number(PODS) / window * 60.0,
        ),
        Row::one("steady: all ARM reads", "per second", reads / window).aim(25.0),
    ];
    for (operation, count) in gets(&arm) {
        rows.push(Row::one(
            format!("steady: ARM {operation}"),
            "per minute",
            count / window * 60.0,
        ));
    }
    rows.push(Row::one(
        "steady: CPU of vkc",
        "% of a core",
        (cpu_after - cpu) / window * 100.0,
    ));
    rows.push(Row::one("steady: memory of vkc", "MiB", memory));
    rows.push(Row::new(
        "crash in Azure → visible",
        "s",
        crashes(&mut rig, &names).await?,
    ));
    rig.stop().await?;
    Ok(rows)
}

fn gets(arm: &HashMap<String, f64>) -> impl Iterator<Item = (&str, f64)> {
    arm.iter()
        .filter(|(operation, _)| operation.starts_with("GET"))
        .map(|(operation, count)| (operation.as_str(), *count))
}

/// Makes containers crash and waits until that can be seen.
async fn crashes(rig: &mut Rig, names: &[String]) -> Result<Vec<f64>> {
    let mut random = Random::new(1000);
    let groups = rig.groups().await?;
    let mut crashed = Vec::new();
    for name in names.iter().step_by(PODS / CRASHES) {
        tokio::time::sleep(Duration::from_secs_f64(1.0 + 3.0 * random.next())).await;
        let group = groups
            .get(name)
            .with_context(|| format!("{name} has no group"))?;
        let path = format!("groups/{group}/containers/aci-helloworld/crash");
        let at = now();
        rig.emulator.tell(&path, &json!({ "exitCode": 1 })).await?;
        crashed.push((name, at));
    }
    let mut shown = Vec::new();
    for (name, at) in crashed {
        let seen = rig
            .pods
            .time(name, "changed", SHOWN_LIMIT, |p| p.changed)
            .await?;
        shown.push(seconds(at, seen));
    }
    Ok(shown)
}
