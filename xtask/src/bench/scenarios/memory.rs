//! Memory of `vkc run`, from `/proc`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use xtask::stack::resident_kib;

use super::thousand::{self, PODS};
use crate::bench::Bench;
use crate::bench::rig::{Rig, Setup};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "VmRSS and VmHWM of /proc, a minute after the last node was Ready, and a minute after \
    1,000 pods on one node were Running (with the emulator's quota and spec.node.capacity raised).";

const SETTLE: Duration = Duration::from_mins(1);
const CONNECTORS: usize = 20;

/// `VmRSS` and `VmHWM` in KiB.
struct Memory {
    now: f64,
    peak: f64,
}

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rig = Rig::start(bench, "rss-1", &thousand::setup()).await?;
    let idle = settled(&mut rig).await?;
    thousand::running(&mut rig, "many").await?;
    let full = settled(&mut rig).await?;
    rig.stop().await?;

    let many = Setup {
        connectors: CONNECTORS,
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "rss-20", &many).await?;
    let wide = settled(&mut rig).await?;
    rig.stop().await?;

    let mib = |kib: f64| kib / 1024.0;
    let further = number(CONNECTORS * 2 - 2);
    Ok(vec![
        Row::one("idle, 1 connector, 2 nodes", "MiB", mib(idle.now))
            .aim(30.0)
            .peer("60–68 MB each node"),
        Row::one("idle, 1 connector: peak so far", "MiB", mib(idle.peak)),
        Row::one("idle, 20 connectors, 40 nodes", "MiB", mib(wide.now)),
        Row::one("idle, 20 connectors: peak so far", "MiB", mib(wide.peak)),
        Row::one(
            "each further node",
            "MiB",
            mib(wide.now - idle.now) / further,
        )
        .aim(1.0)
        .peer("60–68 MB"),
        Row::one("1,000 pods on one node", "MiB", mib(full.now)),
        Row::one("1,000 pods: peak so far", "MiB", mib(full.peak)),
        Row::one("each pod", "KiB", (full.now - idle.now) / number(PODS)),
    ])
}

async fn settled(rig: &mut Rig) -> Result<Memory> {
    tokio::time::sleep(SETTLE).await;
    rig.check()?;
    let (peak, now) = resident_kib(rig.operator.process().id()).context("no VmRSS in /proc")?;
    let kib = |kib: u64| Ok::<_, anyhow::Error>(f64::from(u32::try_from(kib)?));
    Ok(Memory {
        now: kib(now)?,
        peak: kib(peak)?,
    })
}
