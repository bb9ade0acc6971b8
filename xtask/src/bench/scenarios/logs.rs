//! 100 followed logs at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::AsyncBufReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Random, STEP};
use crate::bench::Bench;
use crate::bench::rig::{CONTAINER, Rig, Setup, names};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "100 Running pods on one node, ARM at once, a minute to settle. First one log is \
    followed and gets 10 lines, one every 2 to 4 s. Then all 100 are followed, each by a GET …/log?follow=true of its \
    own at the API server, for two minutes in which a pod picked at random gets a line every 0.2 to 0.6 s. A delay is \
    from the sending of the request that makes the emulator write the line to the client's reading of it. RSS is read \
    at the end of the two minutes, with all streams open; CPU and calls are those of the two minutes, beside those of \
    30 s before in which nobody followed.";

const PODS: usize = 100;
const SETTLE: Duration = Duration::from_mins(1);
const BASELINE: Duration = Duration::from_secs(30);
/// For the first looks of all followers.
const OPENING: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_mins(2);
/// A line that has not been seen by then is lost.
const LAST_LINES: Duration = Duration::from_secs(90);
const FEW: usize = 10;

/// The number of a line that was read, and when.
type Read = (usize, Instant);

/// Clients that follow, and what they read.
struct Followers {
    tasks: JoinSet<Result<()>>,
    read: mpsc::Receiver<Read>,
}

impl Followers {
    fn start(client: &Client, pods: &[String]) -> Self {
        let (send, read) = mpsc::channel(10_000);
        let mut tasks = JoinSet::new();
        for pod in pods {
            tasks.spawn(follow(client.clone(), pod.clone(), send.clone()));
        }
        Self { tasks, read }
    }

    /// Fails when a stream has ended.
    fn check(&mut self) -> Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(ended) => ended?.and_then(|()| anyhow::bail!("a followed log has ended")),
        }
    }

    /// What was read of the lines that were written at these times: delays in seconds, and how many were read twice.
    async fn delays(mut self, written: &[Instant]) -> Result<(Vec<f64>, usize)> {
        let mut delays = vec![None; written.len()];
        let mut twice = 0;
        let all = async {
            while delays.iter().any(Option::is_none) {
                let (line, at) = self.read.recv().await.context("nobody follows any more")?;
                match (delays.get_mut(line), written.get(line)) {
                    (Some(delay @ None), Some(from)) => {
                        *delay = Some((at - *from).as_secs_f64());
                    }
                    _ => twice += 1,
                }
            }
            Ok::<_, anyhow::Error>(())
        };
        // Lines that are missing show in the result.
        if let Ok(ended) = timeout(LAST_LINES, all).await {
            ended?;
        }
        self.check()?;
        Ok((delays.into_iter().flatten().collect(), twice))
    }
}

async fn follow(client: Client, pod: String, read: mpsc::Sender<Read>) -> Result<()> {
    let params = LogParams {
        follow: true,
        tail_lines: Some(0),
        ..LogParams::default()
    };
    let log = Api::<Pod>::namespaced(client, "default")
        .log_stream(&pod, &params)
        .await;
    let mut log = log.with_context(|| format!("cannot follow {pod}"))?;
    let mut line = String::new();
    while log.read_line(&mut line).await? > 0 {
        let at = Instant::now();
        let number = line.trim_end().strip_prefix("line ");
        let number = number.with_context(|| format!("{pod} shows {line:?}"))?;
        read.send((number.parse()?, at)).await?;
        line.clear();
    }
    Ok(())
}

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rig = Rig::start(bench, "logs-100", &Setup::default()).await?;
    let names = names("logs", PODS);
    rig.create(&names, "Always").await?;
    rig.pods.all_running(&names, STEP).await?;
    sleep(SETTLE).await;
    let groups = rig.groups().await?;
    let group = |pod: &String| {
        let group = groups.get(pod);
        group.with_context(|| format!("{pod} has no group"))
    };
    let mut random = Random::new(7);

    let (idle, before) = rig.usage()?;
    let begin = Instant::now();
    sleep(BASELINE).await;
    let (_, after) = rig.usage()?;
    let idle_cpu = (after - before) / begin.elapsed().as_secs_f64() * 60.0;

    let one = names.first().context("no pods")?;
    let alone = Followers::start(&rig.client, std::slice::from_ref(one));
    sleep(Duration::from_secs(3)).await;
    let mut written = Vec::new();
    for line in 0..FEW {
        sleep(Duration::from_secs_f64(2.0 + 2.0 * random.next())).await;
        written.push(write(&rig, group(one)?, line).await?);
    }
    let (alone, _) = alone.delays(&written).await?;

    let mut followers = Followers::start(&rig.client, &names);
    sleep(OPENING).await;
    followers.check()?;
    rig.emulator.forget_requests().await?;
    let (_, before) = rig.usage()?;
    let (begin, mut written) = (Instant::now(), Vec::new());
    while begin.elapsed() < WINDOW {
        sleep(Duration::from_secs_f64(0.2 + 0.4 * random.next())).await;
        let pod = pick(&names, random.next()).context("no pods")?;
        written.push(write(&rig, group(pod)?, written.len()).await?);
    }
    let (full, after) = rig.usage()?;
    let (arm, refused) = rig.arm_counts().await?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    followers.check()?;
    let calls = |logs: bool| -> f64 {
        let of = |name: &String| name.starts_with("GET") && name.ends_with("/logs") == logs;
        arm.iter()
            .filter(|(name, _)| of(name))
            .map(|(_, count)| count)
            .sum()
    };
    let (delays, twice) = followers.delays(&written).await?;
    ensure!(!delays.is_empty(), "no line was seen");
    let missing = written.len() - delays.len();
    rig.stop().await?;
    Ok(vec![
        Row::new("1 follower: line written → read", "s", alone),
        Row::new("100 followers: line written → read", "s", delays),
        Row::one("lines written", "", number(written.len())),
        Row::one("lines not read within 90 s", "", number(missing)).aim(0.0),
        Row::one("lines read twice", "", number(twice)).aim(0.0),
        Row::one("ARM GET logs", "per minute", calls(true) / minutes),
        Row::one("other ARM reads", "per minute", calls(false) / minutes),
        Row::one("ARM answers 429", "", refused),
        Row::one("RSS of vkc, nobody follows", "MiB", idle),
        Row::one("RSS of vkc, 100 follow", "MiB", full),
        Row::one("CPU of vkc, nobody follows", "s per minute", idle_cpu),
        Row::one(
            "CPU of vkc, 100 follow",
            "s per minute",
            (after - before) / minutes,
        ),
    ])
}

/// One of them, by a number from 0 to 1.
fn pick(names: &[String], random: f64) -> Option<&String> {
    let place = |index: usize| number(index + 1) / number(names.len());
    let index = (0..names.len()).find(|index| random <= place(*index));
    names.get(index?)
}

/// Writes a line to a group's log; when that began.
async fn write(rig: &Rig, group: &str, line: usize) -> Result<Instant> {
    let at = Instant::now();
    let path = format!("groups/{group}/containers/{CONTAINER}/log");
    let text = json!({ "text": format!("line {line}\n") });
    rig.emulator.tell(&path, &text).await?;
    Ok(at)
}
