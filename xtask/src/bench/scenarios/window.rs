//! A burst of creates under the provider's own counters.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::bench::Bench;
use crate::bench::pods::{now, seconds};
use crate::bench::rig::{Rig, Setup, USER, names};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "300 pods created at once on one connector, ARM at 100 ms, with the provider's \
    counters as Azure sets them: 100 creates and deletes in five minutes and 300 in an hour. The emulator counts in \
    sliding windows, so the least possible is 100 at once, 100 after 300 s and 100 after 600 s. From the sending of \
    the first create to the last PUT that was accepted. Writes of pods' status are counted for three minutes from the \
    second on, when some 200 pods wait.";

const PODS: usize = 300;
const PER_FIVE_MINUTES: usize = 100;
const PER_HOUR: usize = 300;
/// Two windows of five minutes have to pass.
const LEAST: f64 = 600.0;
const LIMIT: Duration = Duration::from_mins(14);
const CROWDED: Duration = Duration::from_mins(1);
const COUNTING: Duration = Duration::from_mins(3);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        audit: true,
        latency: 0.1,
        start_delay: 1.0,
        capacity: PODS + 20,
        provider_requests: Some((PER_FIVE_MINUTES, PER_HOUR)),
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "create-window", &setup).await?;
    let names = names("burst", PODS);
    let begin = now();
    rig.create(&names, "Always").await?;

    tokio::time::sleep(CROWDED).await;
    let (waiting, saying) = waiting(&rig).await?;
    let audit = rig.audit()?;
    tokio::time::sleep(COUNTING).await;
    let writes = audit.counts(USER)?;
    let writes = writes.get("node patch pods/status").copied();

    rig.pods.all_running(&names, LIMIT).await?;
    let last = rig
        .puts()
        .await?
        .into_iter()
        .filter(|(_, _, status)| (200..300).contains(status))
        .map(|(_, at, _)| at)
        .max()
        .context("no PUT was accepted")?;
    let took = seconds(begin, last);
    let (arm, refused) = rig.arm_counts().await?;
    let puts = arm
        .get("PUT containerGroups/{name}")
        .copied()
        .unwrap_or_default();
    rig.stop().await?;
    Ok(vec![
        Row::one("burst → last PUT accepted", "s", took).aim(LEAST * 1.1),
        Row::one("of the arithmetic least, 600 s", "×", took / LEAST).aim(1.1),
        Row::one("ARM PUT containerGroups/{name}", "", puts),
        Row::one("ARM answers 429", "", refused),
        Row::one("a minute later: pods without a group", "", number(waiting)),
        Row::one("of them: say so in their status", "", number(saying)),
        Row::one(
            "writes of pods' status",
            "per waiting pod, minute",
            number(writes.unwrap_or_default())
                / number(waiting.max(1))
                / (COUNTING.as_secs_f64() / 60.0),
        )
        .aim(1.0),
    ])
}

/// Pods that are not Running, and those of them whose container says that it waits for Azure's limit.
async fn waiting(rig: &Rig) -> Result<(usize, usize)> {
    let pods = Api::<Pod>::namespaced(rig.client.clone(), "default");
    let list = pods.list(&ListParams::default()).await?;
    let mut waiting = 0;
    let mut saying = 0;
    for status in list.items.into_iter().filter_map(|pod| pod.status) {
        if status.phase.as_deref() != Some("Pending") {
            continue;
        }
        waiting += 1;
        let containers = status.container_statuses.unwrap_or_default();
        let reason = |c: k8s_openapi::api::core::v1::ContainerStatus| c.state?.waiting?.reason;
        if containers
            .into_iter()
            .filter_map(reason)
            .any(|reason| reason == "WaitingForAzureLimit")
        {
            saying += 1;
        }
    }
    Ok((waiting, saying))
}
