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
use crate::bench::kubelet::{Kubelet, Session};
use crate::bench::machine::cpu_seconds;
use crate::bench::rig::{Rig, Setup, names};
use crate::bench::stats::{Row, number, summary};

pub(super) const METHOD: &str = "A server on this machine has the address of a pod. It sends 64 MiB and takes 64 MiB, \
    five times each, one after the other: over a TCP connection straight to it; through kubectl port-forward, API server \
    and vkc, with kubectl's WebSocket tunnel and with SPDY; and through vkc alone, from a client in the measuring program \
    at the node's kubelet port, with both as well. Timed from the first byte sent to the last one received. Direct is a \
    copy in this machine's memory without encryption; forwarded is four processes and two TLS connections on the same \
    cores, through vkc alone two processes and one TLS connection. At 1 Gbit/s the server sends and takes no faster than \
    such a link carries, as the network to a container group might. CPU seconds are per GiB, of all transfers through \
    kubectl or of those through vkc alone.";

const PORT: u16 = 8080;
const MIB: usize = 64;
const BYTES: usize = MIB << 20;
/// Bytes sent or taken at once.
const PART: usize = 64 * 1024;
const ROUNDS: usize = 5;
/// The server's word that it has everything.
const GOT: u8 = b'!';
/// Bytes a second that a link of 1 Gbit/s carries.
const LINK: f64 = 125e6;
/// kubectl's tunnel, or without it.
const WAYS: [(&str, bool); 2] = [("WebSocket", true), ("SPDY", false)];

/// What is asked of the server: the first byte that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Send,
    Take,
    /// As fast as [`LINK`].
    SendSlowly,
    TakeSlowly,
}

impl Verb {
    const FAST: [Self; 2] = [Self::Send, Self::Take];
    const SLOW: [Self; 2] = [Self::SendSlowly, Self::TakeSlowly];

    const fn byte(self) -> u8 {
        match self {
            Self::Send => b'd',
            Self::Take => b'u',
            Self::SendSlowly => b'D',
            Self::TakeSlowly => b'U',
        }
    }

    fn of(byte: u8) -> Option<Self> {
        let mut all = Self::FAST.into_iter().chain(Self::SLOW);
        all.find(|verb| verb.byte() == byte)
    }

    const fn sends(self) -> bool {
        matches!(self, Self::Send | Self::SendSlowly)
    }

    const fn is_slow(self) -> bool {
        matches!(self, Self::SendSlowly | Self::TakeSlowly)
    }
}

/// MiB a second from the pod, and to it.
type Rates = [Vec<f64>; 2];

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let mut rig = Rig::start(bench, "port-forward", &Setup::default()).await?;
    let names = names("port", 1);
    rig.create(&names, "Always").await?;
    rig.pods.all_running(&names, STEP).await?;
    let pod_name = names.first().context("no pod")?;
    let pod = Api::<Pod>::namespaced(rig.client.clone(), "default")
        .get(pod_name)
        .await?;
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let ip = ip.context("the pod has no address")?;
    let listener = TcpListener::bind((ip.as_str(), PORT))
        .await
        .with_context(|| format!("cannot listen on {ip}"))?;
    let mut server = JoinSet::new();
    server.spawn(serve(listener));

    let direct = both(&ip, PORT, Verb::FAST).await?;
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
    let mut ways = Vec::new();
    for (name, sockets) in WAYS {
        let forward = Forward::start(&rig, pod_name, sockets).await?;
        ways.push(Way {
            name: name.to_owned(),
            rates: both("127.0.0.1", forward.port, Verb::FAST).await?,
            aim: Some(2.0),
        });
        kubectl_cpu += cpu(forward.kubectl.id().context("kubectl has ended")?)?;
    }
    let (full, _) = rig.usage()?;
    let (vkc_cpu, api_cpu) = (cpu(vkc)? - vkc_before, cpu(api_server)? - api_before);

    let kubelet = Kubelet::of(&rig.plane, &rig.client, &pod).await?;
    let before = cpu(vkc)?;
    for (name, socket) in WAYS {
        let mut session = kubelet.forward(pod_name, socket).await?;
        ways.push(Way {
            name: format!("vkc alone, {name}"),
            rates: straight(&mut session).await?,
            aim: None,
        });
    }
    let alone_cpu = cpu(vkc)? - before;
    let slow_direct = both(&ip, PORT, Verb::SLOW).await?;
    let forward = Forward::start(&rig, pod_name, true).await?;
    let slow = Way {
        name: "WebSocket".to_owned(),
        rates: both("127.0.0.1", forward.port, Verb::SLOW).await?,
        aim: None,
    };
    drop(forward);
    rig.stop().await?;

    let mut rows = compared("", &direct, &ways)?;
    rows.extend(compared("at 1 Gbit/s, ", &slow_direct, &[slow])?);
    let gib = number(WAYS.len() * 2 * ROUNDS * MIB) / 1024.0;
    for (who, seconds) in [
        ("vkc", vkc_cpu),
        ("kube-apiserver", api_cpu),
        ("kubectl", kubectl_cpu),
        ("vkc, vkc alone", alone_cpu),
    ] {
        let name = format!("CPU of {who}");
        rows.push(Row::one(name, "s per GiB", seconds / gib));
    }
    rows.push(Row::one("RSS of vkc before", "MiB", idle));
    rows.push(Row::one("RSS of vkc after", "MiB", full));
    Ok(rows)
}

/// A way to the pod.
struct Way {
    name: String,
    rates: Rates,
    /// How many times slower than the direct one it may be.
    aim: Option<f64>,
}

/// The rates of the direct way, and of each other one with how many times slower it is; `link` is what all go over.
fn compared(link: &str, direct: &Rates, ways: &[Way]) -> Result<Vec<Row>> {
    let median = |samples: &[f64]| summary(samples).map(|said| said.p50);
    let mut rows = Vec::new();
    for (what, of) in [("from", 0), ("to", 1)] {
        let direct = direct.get(of).context("not measured")?;
        let name = format!("{what} the pod, {link}direct");
        rows.push(Row::new(name, "MiB/s", direct.clone()));
        for way in ways {
            let rates = way.rates.get(of).context("not measured")?;
            let name = format!("{what} the pod, {link}{}", way.name);
            rows.push(Row::new(name.as_str(), "MiB/s", rates.clone()));
            let slower = median(direct).zip(median(rates)).map(|(d, f)| d / f);
            rows.push(Row {
                aim: way.aim,
                ..Row::new(format!("{name}: direct over forwarded"), "times", slower)
            });
        }
    }
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
            let Some(verb) = Verb::of(tcp.read_u8().await?) else {
                return Ok(());
            };
            if verb.sends() {
                return write(&mut tcp, verb.is_slow()).await;
            }
            read(&mut tcp, verb.is_slow()).await?;
            tcp.write_u8(GOT).await
        });
    }
}

fn rate(took: Duration) -> f64 {
    number(MIB) / took.as_secs_f64()
}

/// From there and to there.
async fn both(host: &str, port: u16, verbs: [Verb; 2]) -> Result<Rates> {
    let mut rates = Rates::default();
    for (rates, verb) in rates.iter_mut().zip(verbs) {
        for _ in 0..ROUNDS {
            let took = timeout(STEP, transfer(host, port, verb)).await;
            rates.push(rate(took.context("the transfer took too long")??));
        }
    }
    Ok(rates)
}

async fn transfer(host: &str, port: u16, verb: Verb) -> Result<Duration> {
    let mut tcp = TcpStream::connect((host, port)).await?;
    let begin = Instant::now();
    tcp.write_u8(verb.byte()).await?;
    if verb.sends() {
        read(&mut tcp, false).await?;
    } else {
        write(&mut tcp, false).await?;
        tcp.read_u8().await?;
    }
    Ok(begin.elapsed())
}

/// As [`both`], through vkc alone.
async fn straight(session: &mut Session) -> Result<Rates> {
    let mut rates = Rates::default();
    let part = vec![7; PART];
    for (rates, verb) in rates.iter_mut().zip(Verb::FAST) {
        for _ in 0..ROUNDS {
            let one = async {
                let stream = session.open(PORT).await?;
                let begin = Instant::now();
                session.write(stream, &[verb.byte()], false).await?;
                if verb.sends() {
                    session.read(stream, BYTES).await?;
                } else {
                    for _ in 0..BYTES / PART {
                        session.write(stream, &part, false).await?;
                    }
                    session.read(stream, 1).await?;
                }
                let took = begin.elapsed();
                session.write(stream, &[], true).await?;
                Ok::<_, anyhow::Error>(took)
            };
            let took = timeout(STEP, one).await;
            rates.push(rate(took.context("the transfer took too long")??));
        }
    }
    Ok(rates)
}

/// Holds back who is faster than [`LINK`].
struct Link {
    begin: tokio::time::Instant,
    bytes: usize,
    slow: bool,
}

impl Link {
    fn new(slow: bool) -> Self {
        Self {
            begin: tokio::time::Instant::now(),
            bytes: 0,
            slow,
        }
    }

    async fn carry(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.slow {
            let time = Duration::from_secs_f64(number(self.bytes) / LINK);
            tokio::time::sleep_until(self.begin + time).await;
        }
    }
}

async fn read(tcp: &mut TcpStream, slow: bool) -> std::io::Result<()> {
    let mut link = Link::new(slow);
    let mut buffer = vec![0; PART];
    while link.bytes < BYTES {
        match tcp.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => link.carry(read).await,
        }
    }
    Ok(())
}

async fn write(tcp: &mut TcpStream, slow: bool) -> std::io::Result<()> {
    let mut link = Link::new(slow);
    let part = vec![7; PART];
    while link.bytes < BYTES {
        tcp.write_all(&part).await?;
        link.carry(part.len()).await;
    }
    tcp.flush().await
}
