//! Throughput of a forwarded port.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::STEP;
use crate::bench::Bench;
use crate::bench::machine::cpu_seconds;
use crate::bench::rig::{Rig, Setup, names};
use crate::bench::stats::{Row, number, summary};

pub(super) const METHOD: &str = "A server on this machine has the address of a pod. It sends 64 MiB and takes 64 MiB, \
    five times each, one after the other: over a TCP connection straight to it, and through kubectl port-forward, API \
    server and vkc, with kubectl's WebSocket tunnel and with SPDY. Timed from the first byte sent to the last one \
    received. Direct is a copy in this machine's memory without encryption; forwarded is five processes and two TLS \
    connections on the same cores. CPU seconds are those of all forwarded transfers, per GiB.";

const PORT: u16 = 8080;
const MIB: usize = 64;
const BYTES: usize = MIB << 20;
const ROUNDS: usize = 5;
const DOWN: u8 = b'd';
const UP: u8 = b'u';
/// The server's word that it has everything.
const GOT: u8 = b'!';

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rig = Rig::start(bench, "port-forward", &Setup::default()).await?;
    let names = names("port", 1);
    rig.create(&names, "Always").await?;
    rig.pods.all_running(&names, STEP).await?;
    let name = names.first().context("no pod")?;
    let pod = Api::<Pod>::namespaced(rig.client.clone(), "default")
        .get(name)
        .await?;
    let ip = pod.status.and_then(|status| status.pod_ip);
    let ip = ip.context("the pod has no address")?;
    let listener = TcpListener::bind((ip.as_str(), PORT))
        .await
        .with_context(|| format!("cannot listen on {ip}"))?;
    let mut server = JoinSet::new();
    server.spawn(serve(listener));

    let direct = both(&ip, PORT).await?;
    let vkc = rig.operator.process().id();
    let api_server = rig
        .plane
        .processes()
        .into_iter()
        .find(|(name, _, _)| name == "kube-apiserver");
    let (_, api_server, _) = api_server.context("no kube-apiserver")?;
    let cpu = |pid: u32| cpu_seconds(pid).with_context(|| format!("no CPU time of process {pid}"));
    let (vkc_before, api_before) = (cpu(vkc)?, cpu(api_server)?);
    let (idle, _) = rig.usage()?;
    let mut kubectl_cpu = 0.0;
    let mut forwarded = Vec::new();
    for sockets in [true, false] {
        let forward = Forward::start(&rig, name, sockets).await?;
        forwarded.push(both("127.0.0.1", forward.port).await?);
        kubectl_cpu += cpu(forward.kubectl.id().context("kubectl has ended")?)?;
    }
    let (full, _) = rig.usage()?;
    let gib = number(forwarded.len() * 2 * ROUNDS * MIB) / 1024.0;
    let (vkc_cpu, api_cpu) = (cpu(vkc)? - vkc_before, cpu(api_server)? - api_before);
    rig.stop().await?;

    let mut rows = Vec::new();
    let ways = ["WebSocket", "SPDY"].iter().zip(&forwarded);
    for (what, of) in [("from", 0), ("to", 1)] {
        let direct = direct.get(of).context("not measured")?;
        rows.push(Row::new(
            format!("{what} the pod, direct"),
            "MiB/s",
            direct.clone(),
        ));
        for (way, times) in ways.clone() {
            let times = times.get(of).context("not measured")?;
            let median = |samples: &[f64]| summary(samples).map(|said| said.p50);
            let times_slower = median(direct).zip(median(times)).map(|(d, f)| d / f);
            rows.push(Row::new(
                format!("{what} the pod, {way}"),
                "MiB/s",
                times.clone(),
            ));
            rows.push(
                Row::new(
                    format!("{what} the pod, {way}: direct over forwarded"),
                    "times",
                    times_slower,
                )
                .aim(2.0),
            );
        }
    }
    for (who, seconds) in [
        ("vkc", vkc_cpu),
        ("kube-apiserver", api_cpu),
        ("kubectl", kubectl_cpu),
    ] {
        rows.push(Row::one(
            format!("CPU of {who}"),
            "s per GiB",
            seconds / gib,
        ));
    }
    rows.push(Row::one("RSS of vkc before", "MiB", idle));
    rows.push(Row::one("RSS of vkc after", "MiB", full));
    Ok(rows)
}

/// A running `kubectl port-forward`.
struct Forward {
    kubectl: Child,
    port: u16,
    /// kubectl dies of a closed output.
    _printed: Lines<BufReader<ChildStdout>>,
}

impl Forward {
    async fn start(rig: &Rig, pod: &str, sockets: bool) -> Result<Self> {
        let mut kubectl = Command::new(rig.plane.kubectl())
            .args(["port-forward", pod, "--address", "127.0.0.1"])
            .arg(format!(":{PORT}"))
            .env("KUBECONFIG", rig.plane.kubeconfig())
            .env("HOME", rig.plane.dir())
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", sockets.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl")?;
        let output = kubectl.stdout.take().context("kubectl has no output")?;
        let mut printed = BufReader::new(output).lines();
        let line = timeout(STEP, printed.next_line())
            .await
            .context("kubectl says nothing")??
            .context("kubectl has ended")?;
        // Forwarding from 127.0.0.1:41234 -> 8080
        let port = line
            .split_once(" ->")
            .and_then(|(from, _)| from.rsplit_once(':'))
            .and_then(|(_, port)| port.parse().ok());
        Ok(Self {
            kubectl,
            port: port.with_context(|| format!("kubectl says {line:?}"))?,
            _printed: printed,
        })
    }
}

/// Sends and takes as it is told.
async fn serve(listener: TcpListener) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (mut tcp, _) = listener.accept().await?;
        connections.spawn(async move {
            if tcp.read_u8().await? == DOWN {
                return write(&mut tcp).await;
            }
            read(&mut tcp).await?;
            tcp.write_u8(GOT).await
        });
    }
}

/// MiB a second from there and to there.
async fn both(host: &str, port: u16) -> Result<[Vec<f64>; 2]> {
    let mut rates = [Vec::new(), Vec::new()];
    for (rates, verb) in rates.iter_mut().zip([DOWN, UP]) {
        for _ in 0..ROUNDS {
            let took = timeout(STEP, transfer(host, port, verb));
            let took = took.await.context("the transfer took too long")??;
            rates.push(number(MIB) / took.as_secs_f64());
        }
    }
    Ok(rates)
}

async fn transfer(host: &str, port: u16, verb: u8) -> Result<Duration> {
    let mut tcp = TcpStream::connect((host, port)).await?;
    let begin = Instant::now();
    tcp.write_u8(verb).await?;
    if verb == DOWN {
        read(&mut tcp).await?;
    } else {
        write(&mut tcp).await?;
        tcp.read_u8().await?;
    }
    Ok(begin.elapsed())
}

async fn read(tcp: &mut TcpStream) -> std::io::Result<()> {
    let mut from = tcp.take(u64::try_from(BYTES).unwrap_or(u64::MAX));
    let read = tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    if usize::try_from(read) == Ok(BYTES) {
        Ok(())
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

async fn write(tcp: &mut TcpStream) -> std::io::Result<()> {
    let part = vec![7; 64 * 1024];
    for _ in 0..BYTES / part.len() {
        tcp.write_all(&part).await?;
    }
    tcp.flush().await
}
