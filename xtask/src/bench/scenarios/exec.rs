//! 50 exec sessions at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Random, STEP};
use crate::bench::Bench;
use crate::bench::rig::{Rig, Setup, names};
use crate::bench::sockets::{Azure, Cluster, Terminal};
use crate::bench::stats::{Row, number};

pub(super) const METHOD: &str = "10 Running pods on one node, ARM at once; the emulator runs what exec asks for on this \
    machine, on a terminal. 50 sessions are opened at once, five to a pod, through the API server as kubectl exec -it \
    does (v5.channel.k8s.io), with cat in each; for a minute each types a key every 0.5 to 1.5 s. A round trip is from \
    the sending of the key to its echo. Then the same with 50 sessions of cat at the emulator's own WebSocket, without \
    API server and vkc. The 20 commands run one after another while no session is open; each is timed from the \
    connection to the status with its exit code.";

const PODS: usize = 10;
const SESSIONS: usize = 50;
const COMMANDS: usize = 20;
const SETTLE: Duration = Duration::from_secs(30);
const TYPING: Duration = Duration::from_mins(1);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let setup = Setup {
        host_shell: true,
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "exec-50", &setup).await?;
    let names = names("exec", PODS);
    rig.create(&names, "Always").await?;
    rig.pods.all_running(&names, STEP).await?;
    sleep(SETTLE).await;
    let cluster = Cluster::of(&rig.plane).await?;
    let first = names.first().context("no pods")?;
    let mut commands = Vec::new();
    for _ in 0..COMMANDS {
        let begin = Instant::now();
        let code = cluster.exit_code(first, &["sh", "-c", "exit 7"]).await?;
        ensure!(code == 7, "exit 7 ended with {code}");
        commands.push(begin.elapsed().as_secs_f64());
    }

    let (idle, _) = rig.usage()?;
    rig.emulator.forget_requests().await?;
    let mut opening = JoinSet::new();
    for pod in names.iter().cycle().take(SESSIONS) {
        let (cluster, pod) = (cluster.clone(), pod.clone());
        let begin = Instant::now();
        opening.spawn(async move { timed(cluster.terminal(&pod).await, begin) });
    }
    let (terminals, opened) = all(opening).await?;
    let (_, before) = rig.usage()?;
    let begin = Instant::now();
    let (terminals, through) = keys(terminals).await?;
    let (full, after) = rig.usage()?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let (arm, refused) = rig.arm_counts().await?;
    drop(terminals);

    let groups = rig.groups().await?;
    let azure = Azure::login(&rig.emulator).await?;
    let mut opening = JoinSet::new();
    for pod in names.iter().cycle().take(SESSIONS) {
        let group = groups.get(pod).context("a pod has no group")?.clone();
        let azure = azure.clone();
        let begin = Instant::now();
        opening.spawn(async move { timed(azure.terminal(&group).await, begin) });
    }
    let (terminals, _) = all(opening).await?;
    let (terminals, direct) = keys(terminals).await?;
    drop(terminals);
    let (left, _) = rig.usage()?;
    rig.stop().await?;

    let execs: f64 = arm
        .iter()
        .filter(|(name, _)| name.ends_with("/exec"))
        .map(|(_, count)| count)
        .sum();
    Ok(vec![
        Row::new("key → echo, through API server and vkc", "ms", through),
        Row::new("key → echo, the emulator's own", "ms", direct),
        Row::new("open a session, 50 at once", "s", opened),
        Row::new("exec -- sh -c 'exit 7'", "s", commands),
        Row::one("ARM POST exec", "per session", execs / number(SESSIONS)),
        Row::one("ARM answers 429", "", refused),
        Row::one("RSS of vkc, no session", "MiB", idle),
        Row::one("RSS of vkc, 50 sessions", "MiB", full),
        Row::one("RSS of vkc, a minute after them", "MiB", left),
        Row::one(
            "CPU of vkc, 50 sessions",
            "s per minute",
            (after - before) / minutes,
        ),
    ])
}

fn timed(opened: Result<Terminal>, begin: Instant) -> Result<(Terminal, f64)> {
    Ok((opened?, begin.elapsed().as_secs_f64()))
}

async fn all<T: 'static, U: 'static>(
    mut tasks: JoinSet<Result<(T, U)>>,
) -> Result<(Vec<T>, Vec<U>)> {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (one, other) = done??;
        ones.push(one);
        others.push(other);
    }
    Ok((ones, others))
}

/// Types in all of them; milliseconds until each key was shown.
async fn keys(terminals: Vec<Terminal>) -> Result<(Vec<Terminal>, Vec<f64>)> {
    let mut typing = JoinSet::new();
    for (seed, terminal) in (1..).zip(terminals) {
        typing.spawn(type_keys(terminal, Random::new(seed)));
    }
    let (terminals, times) = all(typing).await?;
    Ok((terminals, times.into_iter().flatten().collect()))
}

async fn type_keys(mut terminal: Terminal, mut random: Random) -> Result<(Terminal, Vec<f64>)> {
    terminal.settle().await?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    for key in (b'a'..=b'z').cycle() {
        sleep(Duration::from_secs_f64(0.5 + random.next())).await;
        if begin.elapsed() > TYPING {
            break;
        }
        times.push(terminal.echo(key).await?.as_secs_f64() * 1000.0);
    }
    Ok((terminal, times))
}
