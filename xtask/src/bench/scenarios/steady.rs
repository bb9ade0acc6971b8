//! 100 running pods: what they cost, and how soon a change shows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Random, STEP};
use crate::bench::Bench;
use crate::bench::audit::is_write;
use crate::bench::machine::cpu_seconds;
use crate::bench::pods::{now, seconds};
use crate::bench::rig::{Rig, Setup, USER, names, reads};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "100 Running pods, ARM at 100 ms; two minutes to settle, then three minutes of \
    counting; then 20 of them change in Azure at random times, half by an exit (restartPolicy Never), half by a crash \
    (Always): from the change to the watch event that shows it. Writes to the API server are those of both nodes and \
    of the operator, leases included.";

const PODS: usize = 100;
const CHANGES: usize = 20;
const SETTLE: Duration = Duration::from_mins(2);
const WINDOW: Duration = Duration::from_mins(3);
const NODES: f64 = 2.0;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        audit: true,
        latency: 0.1,
        start_delay: 1.0,
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "steady-100", &setup).await?;
    let always = names("always", PODS / 2);
    let never = names("never", PODS / 2);
    rig.create(&always, "Always").await?;
    rig.create(&never, "Never").await?;
    rig.pods.all_running(&always, STEP).await?;
    rig.pods.all_running(&never, STEP).await?;
    tokio::time::sleep(SETTLE).await;

    rig.emulator.forget_requests().await?;
    let audit = rig.audit()?;
    let pid = rig.operator.process().id();
    let cpu = cpu_seconds(pid).context("no CPU time of vkc")?;
    let begin = Instant::now();
    tokio::time::sleep(WINDOW).await;
    rig.check()?;
    let (arm, refused) = rig.arm_counts().await?;
    let api = audit.counts(USER)?;
    let cpu = cpu_seconds(pid).context("no CPU time of vkc")? - cpu;
    let window = begin.elapsed().as_secs_f64();
    let reads = reads(&arm);
    let writes = api.iter().filter(|(request, _)| is_write(request));
    let written: usize = writes.clone().map(|(_, count)| count).sum();

    let mut rows = vec![
        Row::one("ARM reads", "per hour", reads / window * 3600.0)
            .aim(29_100.0)
            .peer("29 100"),
        Row::one("ARM answers 429", "", refused),
        Row::one(
            "API-server writes",
            "per node, minute",
            number(written) / NODES / window * 60.0,
        ),
    ];
    for (request, count) in writes {
        rows.push(Row::one(
            format!("of it: {request}"),
            "per node, minute",
            number(*count) / NODES / window * 60.0,
        ));
    }
    rows.push(Row::one("CPU of vkc", "% of a core", cpu / window * 100.0).peer("about 1"));
    let staleness = changes(&mut rig, &always, &never).await?;
    rows.push(
        Row::new("change in Azure → visible", "s", staleness)
            .aim(20.0)
            .peer("9–20"),
    );
    rig.stop().await?;
    Ok(rows)
}

/// Makes pods change and waits until that can be seen.
async fn changes(rig: &mut Rig, always: &[String], never: &[String]) -> Result<Vec<f64>> {
    let mut random = Random::new(100);
    let groups = rig.groups().await?;
    let mut changed = Vec::new();
    let pairs = always
        .iter()
        .zip(never)
        .flat_map(|(a, n)| [(a, "crash"), (n, "exit")]);
    for (name, how) in pairs.take(CHANGES) {
        tokio::time::sleep(Duration::from_secs_f64(1.0 + 4.0 * random.next())).await;
        let group = groups
            .get(name)
            .with_context(|| format!("{name} has no group"))?;
        let path = format!("groups/{group}/containers/aci-helloworld/{how}");
        let at = now();
        rig.emulator.tell(&path, &json!({ "exitCode": 1 })).await?;
        changed.push((name, at));
    }
    let mut staleness = Vec::new();
    for (name, at) in changed {
        let shown = rig.pods.time(name, "changed", STEP, |p| p.changed).await?;
        staleness.push(seconds(at, shown));
    }
    Ok(staleness)
}
