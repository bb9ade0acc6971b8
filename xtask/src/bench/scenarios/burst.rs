//! 100 pods at once.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};

use super::STEP;
use crate::bench::Bench;
use crate::bench::pods::{Seen, seconds};
use crate::bench::rig::{Rig, Setup, USER, names};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "100 pods created at once; a group takes 3 s to run, ARM 100 ms to answer. The \
    provider's limit of 100 PUT and DELETE in five minutes is raised (it would stop the burst), ARM's token buckets \
    are on. Calls are counted until all pods are Running, divided by 100; the API server's from its audit log, with \
    those for nodes and leases.";

const PODS: usize = 100;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        audit: true,
        latency: 0.1,
        start_delay: 3.0,
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "burst-100", &setup).await?;
    let names = names("burst", PODS);
    rig.emulator.forget_requests().await?;
    let audit = rig.audit()?;
    let sent = rig.create(&names, "Always").await?;
    let seen = rig.pods.all_running(&names, STEP).await?;

    let (arm, refused) = rig.arm_counts().await?;
    let api = audit.counts(USER)?;
    let first = sent.values().min().context("no pod was created")?;
    let each = |from: fn(&Seen) -> Option<DateTime<Utc>>, to: &HashMap<String, DateTime<Utc>>| {
        let one = |(name, seen): (&String, &Seen)| Some(seconds(from(seen)?, *to.get(name)?));
        seen.iter().filter_map(one).collect::<Vec<_>>()
    };
    let running = seen
        .iter()
        .filter_map(|(name, seen)| Some((name.clone(), seen.running?)))
        .collect::<HashMap<_, _>>();
    let last = running.values().max().context("no pod is Running")?;
    let put = rig.puts().await?;
    let put = put.into_iter().map(|(name, at, _)| (name, at)).collect();
    let since_create = running
        .iter()
        .filter_map(|(name, at)| Some(seconds(*sent.get(name)?, *at)));
    let mut rows = vec![
        Row::one("all 100 Running", "s", seconds(*first, *last))
            .aim(5.0)
            .peer("38"),
        Row::new("create → Running visible, each", "s", since_create),
        Row::new("pod bound → PUT at ARM", "s", each(|seen| seen.bound, &put)),
        Row::new(
            "pod bound → Running visible",
            "s",
            each(|seen| seen.bound, &running),
        ),
    ];
    let mut arm: Vec<_> = arm.into_iter().collect();
    arm.sort_by(|a, b| a.0.cmp(&b.0));
    let total: f64 = arm.iter().map(|(_, count)| count).sum();
    rows.push(Row::one("ARM calls", "per pod", total / number(PODS)));
    for (operation, count) in arm {
        let name = format!("ARM {operation}");
        rows.push(Row::one(name, "per pod", count / number(PODS)));
    }
    rows.push(Row::one("ARM answers 429", "", refused));
    let total: usize = api.values().sum();
    rows.push(Row::one(
        "API-server calls",
        "per pod",
        number(total) / number(PODS),
    ));
    for (request, count) in api {
        let name = format!("API as {request}");
        rows.push(Row::one(name, "per pod", number(count) / number(PODS)));
    }
    rig.stop().await?;
    Ok(rows)
}
