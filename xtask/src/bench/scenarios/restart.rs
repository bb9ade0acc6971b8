//! kill -9 in the middle of a burst.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::STEP;
use crate::bench::Bench;
use crate::bench::pods::{now, seconds};
use crate::bench::rig::{Rig, Setup, names};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "100 pods created at once; a group takes 3 s to run, ARM 100 ms to answer. vkc is \
    killed (SIGKILL) when 30 groups exist, and started again at once. From the start to all 100 Running; then each pod must \
    have its one group, and no group may have been PUT a second time.";

const PODS: usize = 100;
const KILL_AT: usize = 30;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        latency: 0.1,
        start_delay: 3.0,
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "restart", &setup).await?;
    let names = names("crash", PODS);
    rig.emulator.forget_requests().await?;
    rig.create(&names, "Always").await?;
    let deadline = Instant::now() + STEP;
    while rig.emulator.group_names().await?.len() < KILL_AT {
        ensure!(Instant::now() < deadline, "no {KILL_AT} groups came to be");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.kill_operator();
    let groups_at_kill = rig.emulator.group_names().await?.len();
    let running_at_kill = rig
        .pods
        .get()
        .values()
        .filter(|p| p.running.is_some())
        .count();
    let begin = now();
    rig.start_operator().await?;
    let seen = rig.pods.all_running(&names, STEP).await?;
    let last = seen.values().filter_map(|seen| seen.running).max();
    // Whatever would still be made a second time is made by then.
    tokio::time::sleep(Duration::from_secs(15)).await;
    rig.check()?;

    let groups = rig.emulator.group_names().await?;
    let by_pod = rig.groups().await?;
    let without = names
        .iter()
        .filter(|name| !by_pod.contains_key(*name))
        .count();
    let all = rig.pods.get();
    let not_running = all.values().filter(|p| p.phase != "Running").count();
    let restarts: i32 = all.values().map(|p| p.restarts).sum();
    let mut puts: HashMap<String, Vec<u64>> = HashMap::new();
    for (pod, _, status) in rig.puts().await? {
        puts.entry(pod).or_default().push(status);
    }
    let made_twice = puts
        .values()
        .filter(|statuses| statuses.iter().filter(|status| **status == 201).count() > 1)
        .count();
    let updated = puts
        .values()
        .flatten()
        .filter(|status| **status == 200)
        .count();
    rig.stop().await?;
    Ok(vec![
        Row::one("groups at the kill", "", number(groups_at_kill)),
        Row::one("pods Running at the kill", "", number(running_at_kill)),
        Row::new(
            "start of vkc → all 100 Running",
            "s",
            last.map(|last| seconds(begin, last)),
        ),
        Row::one("groups afterwards", "", number(groups.len())).aim(number(PODS)),
        Row::one("pods without a group", "", number(without)).aim(0.0),
        Row::one("pods not Running afterwards", "", number(not_running)).aim(0.0),
        Row::one("restarts of containers", "", f64::from(restarts)).aim(0.0),
        Row::one("pods with two groups made", "", number(made_twice)).aim(0.0),
        Row::one("PUTs of a group that existed", "", number(updated)).aim(0.0),
    ])
}
