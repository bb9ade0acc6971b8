//! One 429 with Retry-After 20 on one GET: who notices?

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::STEP;
use crate::bench::Bench;
use crate::bench::pods::{now, seconds};
use crate::bench::rig::{Rig, Setup, names};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "50 Running pods, ARM at 100 ms, a group takes 1 s to run; a minute and a half to settle. \
    Then 20 s in which a pod exits and a pod is created every 2 s, twice: before, and after one GET of one other pod \
    was answered 429 with Retry-After 20.";

const PODS: usize = 50;
const SETTLE: Duration = Duration::from_secs(100);
/// One round, as long as the Retry-After.
const STEPS: usize = 10;
const STEP_LENGTH: Duration = Duration::from_secs(2);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        latency: 0.1,
        start_delay: 1.0,
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "throttled", &setup).await?;
    let mut pods = names("calm", PODS);
    rig.create(&pods, "Never").await?;
    rig.pods.all_running(&pods, STEP).await?;
    tokio::time::sleep(SETTLE).await;

    let victim = pods.pop().context("no pods")?;
    let later = pods.split_off(STEPS);
    let mut rows = round(&mut rig, "before", &pods).await?;

    let group = rig.groups().await?.remove(&victim);
    let fault = json!({
        "method": "GET", "pathContains": group.context("the victim has no group")?,
        "status": 429, "code": "TooManyRequests", "message": "Too many requests.", "retryAfter": 20, "times": 1,
    });
    rig.emulator.tell("faults", &fault).await?;
    let deadline = Instant::now() + STEP;
    while rig.emulator.ask("faults").await? != Value::Array(Vec::new()) {
        ensure!(
            Instant::now() < deadline,
            "nobody read the group with the fault"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rows.extend(
        round(
            &mut rig,
            "during",
            later.get(..STEPS).context("too few pods")?,
        )
        .await?,
    );
    rig.stop().await?;
    Ok(rows)
}

/// 20 s of changes, then a wait until all of them can be seen.
async fn round(rig: &mut Rig, when: &str, exiting: &[String]) -> Result<Vec<Row>> {
    rig.emulator.forget_requests().await?;
    let groups = rig.groups().await?;
    let begin = Instant::now();
    let (mut exits, mut creates) = (Vec::new(), Vec::new());
    for (step, name) in exiting.iter().enumerate() {
        let due = begin + STEP_LENGTH * u32::try_from(step)?;
        tokio::time::sleep_until(due.into()).await;
        let group = groups
            .get(name)
            .with_context(|| format!("{name} has no group"))?;
        let path = format!("groups/{group}/containers/aci-helloworld/exit");
        let at = now();
        rig.emulator.tell(&path, &json!({ "exitCode": 0 })).await?;
        exits.push((name, at));
        let new = [format!("{when}-{step:04}")];
        creates.extend(rig.create(&new, "Never").await?);
    }
    tokio::time::sleep_until((begin + Duration::from_secs(20)).into()).await;
    let reads = rig.arm_reads().await?;
    let mut stale = Vec::new();
    for (name, at) in exits {
        let shown = rig.pods.time(name, "changed", STEP, |p| p.changed).await?;
        stale.push(seconds(at, shown));
    }
    let mut running = Vec::new();
    for (name, at) in creates {
        let shown = rig.pods.time(&name, "Running", STEP, |p| p.running).await?;
        running.push(seconds(at, shown));
    }
    ensure!(stale.len() == STEPS, "{} changes", number(stale.len()));
    let peer = |row: Row, text| {
        if when == "during" {
            row.peer(text)
        } else {
            row
        }
    };
    Ok(vec![
        Row::new(format!("{when}: create → Running visible"), "s", running),
        Row::new(format!("{when}: exit in Azure → visible"), "s", stale),
        peer(
            Row::one(format!("{when}: ARM reads in 20 s"), "", reads),
            "1 call in 30 s",
        ),
    ])
}
