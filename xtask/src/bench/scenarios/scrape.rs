//! The figures of a node with 1,000 pods are read, and what that costs others.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::time::{Instant as Tick, sleep, sleep_until};

use super::thousand;
use crate::bench::Bench;
use crate::bench::audit::{Counts, is_read};
use crate::bench::rig::{Rig, Setup, USER};
use crate::bench::scraper::{RESOURCE, SUMMARY, Scrape, Scraper};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "1,000 Running pods on one node, ARM at 100 ms, two minutes to settle. Two minutes are \
    counted in which nobody scrapes, then two in which /metrics/resource and /stats/summary of the node's kubelet API \
    are each read every 15 s, 7.5 s apart, with the token of a service account that may get nodes/metrics and \
    nodes/stats. Reads of the API server (get, list, watch) are those of the connector's two nodes and of the operator. \
    Of them are the watches, renewed every one to two minutes and counted when they are answered, and the Secret, read \
    by a reconcile that falls into one of the windows; neither has to do with scrapes. Reviews of tokens and of access, \
    whose answers vkc keeps for two and five minutes, are counted apart. A scrape lasts until its last byte; after 7 s \
    vkc answers with what it has. ARM's GET other is that of figures from Azure Monitor.";

const SETTLE: Duration = Duration::from_mins(2);
const WINDOW: Duration = Duration::from_mins(2);
/// metrics-server's own `--metric-resolution`.
const EVERY: Duration = Duration::from_secs(15);
/// Of metrics-server, for a scrape.
const PATIENCE: f64 = 10.0;

/// What was counted in a window.
struct Counted {
    api: Counts,
    arm: HashMap<String, f64>,
    refused: f64,
    /// Seconds of a CPU.
    cpu: f64,
    minutes: f64,
}

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        audit: true,
        latency: 0.1,
        ..thousand::setup()
    };
    let mut rig = Rig::start(bench, "scrape-1000", &setup).await?;
    let names = thousand::running(&mut rig, "scraped").await?;
    let pods = Api::<Pod>::namespaced(rig.client.clone(), "default");
    let pod = pods.get(names.first().context("no pods")?).await?;
    let reader = Scraper::of(&rig.plane, &rig.client, &pod).await?;
    sleep(SETTLE).await;

    let quiet = async {
        sleep(WINDOW).await;
        Ok(())
    };
    let ((), without) = counted(&mut rig, quiet).await?;
    let scraping = scraped(&reader);
    let ((resource, summary), with) = counted(&mut rig, scraping).await?;
    rig.stop().await?;

    let scrapes = number(resource.len() + summary.len());
    let mut rows = read_rows(&without, &with, scrapes);
    rows.extend(review_rows(&with));
    rows.extend(arm_rows(&without, &with));
    for (when, counted) in [("without", &without), ("with", &with)] {
        rows.push(Row::one(
            format!("{when}: CPU of vkc"),
            "% of a core",
            counted.cpu / counted.minutes / 60.0 * 100.0,
        ));
    }
    for (path, scrapes) in [(RESOURCE, resource), (SUMMARY, summary)] {
        let times = scrapes.iter().map(|scrape| scrape.seconds);
        rows.push(Row::new(format!("one scrape of {path}"), "s", times).aim(PATIENCE));
        let last = scrapes.last().map(|scrape| number(scrape.figures));
        rows.push(Row::new(
            format!("containers with figures in the last {path}"),
            "",
            last,
        ));
    }
    Ok(rows)
}

/// What was asked and used while `what` lasted.
async fn counted<T>(rig: &mut Rig, what: impl Future<Output = Result<T>>) -> Result<(T, Counted)> {
    rig.emulator.forget_requests().await?;
    let audit = rig.audit()?;
    let (_, before) = rig.usage()?;
    let begin = Instant::now();
    let done = what.await?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let (_, after) = rig.usage()?;
    let (arm, refused) = rig.arm_counts().await?;
    let counted = Counted {
        api: audit.counts(USER)?,
        arm,
        refused,
        cpu: after - before,
        minutes,
    };
    Ok((done, counted))
}

/// Reads both for [`WINDOW`], each at its own times.
async fn scraped(reader: &Scraper) -> Result<(Vec<Scrape>, Vec<Scrape>)> {
    let begin = Tick::now();
    let resource = every(reader, RESOURCE, begin);
    let summary = every(reader, SUMMARY, begin + EVERY / 2);
    let scrapes = try_join(resource, summary).await?;
    sleep_until(begin + WINDOW).await;
    Ok(scrapes)
}

/// One scrape every [`EVERY`] from `first` on, the last of which begins before [`WINDOW`] is over.
async fn every(reader: &Scraper, path: &str, first: Tick) -> Result<Vec<Scrape>> {
    let mut scrapes = Vec::new();
    let mut next = first;
    while next < first + WINDOW {
        sleep_until(next).await;
        scrapes.push(reader.scrape(path).await?);
        next += EVERY;
    }
    Ok(scrapes)
}

/// Reads of the API server in both windows, side by side; `scrapes`: how many were in the second.
fn read_rows(without: &Counted, with: &Counted, scrapes: f64) -> Vec<Row> {
    let windows = [("without", without), ("with", with)];
    let reads = |counted: &Counted, of: &dyn Fn(&str) -> bool| -> f64 {
        let reads = counted
            .api
            .iter()
            .filter(|(what, _)| is_read(what) && of(what));
        number(reads.map(|(_, count)| count).sum())
    };
    let mut rows = Vec::new();
    for (when, counted) in windows {
        rows.push(Row::one(
            format!("{when}: API-server reads"),
            "per minute",
            reads(counted, &|_| true) / counted.minutes,
        ));
    }
    let kinds: BTreeSet<&String> = windows
        .iter()
        .flat_map(|(_, counted)| counted.api.keys())
        .filter(|what| is_read(what))
        .collect();
    for kind in kinds {
        for (when, counted) in windows {
            rows.push(Row::one(
                format!("{when}: of it {kind}"),
                "per minute",
                reads(counted, &|what| what == kind) / counted.minutes,
            ));
        }
    }
    let asked = |what: &str| !what.contains(" watch ");
    rows.push(Row::one(
        "with: gets and lists",
        "per scrape",
        reads(with, &asked) / scrapes,
    ));
    rows.push(
        Row::one(
            "with: gets and lists of pods, in all",
            "",
            reads(with, &|what| asked(what) && what.ends_with(" pods")),
        )
        .aim(0.0),
    );
    rows
}

/// Questions about who scrapes and whether he may.
fn review_rows(with: &Counted) -> Vec<Row> {
    ["tokenreviews", "subjectaccessreviews"]
        .map(|kind| {
            let asked = with
                .api
                .iter()
                .filter(|(what, _)| what.ends_with(&format!(" {kind}")));
            let asked = asked.map(|(_, count)| count).sum();
            Row::one(format!("with: {kind}, in two minutes"), "", number(asked))
        })
        .into()
}

fn arm_rows(without: &Counted, with: &Counted) -> Vec<Row> {
    let mut rows = Vec::new();
    for (when, counted) in [("without", without), ("with", with)] {
        let mut gets: Vec<_> = counted.arm.iter().collect();
        gets.retain(|(operation, _)| operation.starts_with("GET"));
        gets.sort_by_key(|(operation, _)| *operation);
        let all: f64 = gets.iter().map(|(_, count)| **count).sum();
        let minute = |count: f64| count / counted.minutes;
        rows.push(Row::one(
            format!("{when}: ARM reads"),
            "per minute",
            minute(all),
        ));
        for (operation, count) in gets {
            let name = format!("{when}: ARM {operation}");
            rows.push(Row::one(name, "per minute", minute(*count)));
        }
        rows.push(Row::one(
            format!("{when}: ARM answers 429"),
            "",
            counted.refused,
        ));
    }
    rows
}
