//! port-forward: each connection of the user's is a pair of SPDY streams, `data` and `error`, and becomes a TCP
//! connection to the pod's address, or a session of the shim in the pod that is one. Over SPDY itself, or over SPDY in a `WebSocket`.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::remote::beside;
use super::spdy::{self, Closed, Headers, Session, Stream};
use super::stream_slots::StreamSlot;
use super::upgrade::{SessionTracker, Times, Upgrade};
use super::websocket;
use crate::provider::exec::{ExecError, Exit, Streams};

const SPDY: &[&str] = &["portforward.k8s.io"];
/// KEP-4006: the same, tunnelled.
const SOCKET: &[&str] = &["SPDY/3.1+portforward.k8s.io"];
/// Streams of one client: two for each connection.
const STREAMS: usize = 512;
/// Streams of one client that wait for their other half.
const HALVES: usize = 32;
/// The pod has this long to take a connection.
const DIAL: Duration = Duration::from_secs(10);
/// A connection that takes nothing for so long, while the others of the client wait for it, is given up.
const STALL: Duration = Duration::from_mins(1);
/// Bytes read from a pod at a time. With the heads of a SPDY frame and a `WebSocket` message they fill four TLS records.
const READ: usize = 4 * 16 * 1024 - 18;
/// Parts from the client that are written to a pod at once.
const PARTS: usize = 8;

/// Where the ports are.
#[derive(Clone)]
pub struct Target {
    /// The pod's address, or why there is none to reach.
    pub address: Result<IpAddr, String>,
    /// Another way, for what cannot be reached by its address.
    pub inside: Option<Arc<dyn Inside>>,
}

/// A way into a pod.
#[async_trait]
pub trait Inside: Send + Sync {
    /// Is a connection to `port` inside of the pod until it ends; [`ExecError::NoShim`] where there is no such way.
    async fn connect(&self, port: u16, streams: Streams) -> Result<Exit, ExecError>;
}

/// Answers `request` and forwards what it becomes to `target`. `pod` names the pod in messages. `slot` is held until
/// the client goes.
pub fn serve(
    request: Request,
    pod: String,
    target: Target,
    sessions: &SessionTracker,
    slot: StreamSlot,
) -> Response {
    let upgrade = match Upgrade::of(request.headers(), SPDY, SOCKET) {
        Ok(upgrade) => upgrade,
        Err(response) => return *response,
    };
    let (times, stop) = (sessions.times, sessions.stop().clone());
    let tunnelled = matches!(upgrade, Upgrade::WebSocket { .. });
    let long = slot.long_messages();
    sessions.start(request, &upgrade, slot, move |connection| async move {
        if tunnelled {
            let tunnel = websocket::tunnel(websocket::accept(connection, long).await);
            forward(tunnel, pod, target, times, stop).await;
        } else {
            forward(connection, pod, target, times, stop).await;
        }
    })
}

async fn forward(
    io: impl AsyncRead + AsyncWrite + Send,
    pod: String,
    target: Target,
    times: Times,
    stop: CancellationToken,
) {
    let (mut session, driver) = spdy::serve(io, times.spdy(STREAMS, STALL));
    let mut driver = pin!(driver);
    tokio::select! {
        result = &mut driver => {
            tracing::debug!(error = result.err().map(tracing::field::display), "the client of a port-forward has gone");
            return;
        }
        () = pairs(&mut session, &pod, &target, times.creation) => {}
        () = stop.cancelled() => {}
    }
    session.close();
    if timeout(times.close, driver).await.is_err() {
        tracing::debug!("a client did not read the end of its port-forward");
    }
}

/// Streams that wait for their other half.
#[derive(Default)]
struct Pairing {
    waiting: HashMap<String, Half>,
}

struct Half {
    kind: Kind,
    stream: Stream,
    port: u16,
    until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

struct Pair {
    port: u16,
    data: Stream,
    error: Stream,
}

impl Pairing {
    /// Adds a stream; the pair that it completes. A stream that cannot be one of a pair is reset by being dropped.
    fn add(&mut self, mut stream: Stream, until: Instant) -> Option<Pair> {
        let kind = match stream.headers.get("streamtype") {
            Some("data") => Kind::Data,
            Some("error") => Kind::Error,
            _ => return None,
        };
        let port = stream.headers.get("port")?.parse().ok();
        let port = port.filter(|port: &u16| *port > 0)?;
        let id = match stream.headers.get("requestid") {
            Some(id) if !id.is_empty() => id.to_owned(),
            // Old clients open the error stream and then, two further, the data stream.
            _ if kind == Kind::Data => stream.id.wrapping_sub(2).to_string(),
            _ => stream.id.to_string(),
        };
        // All has been read of them, and the connection may last.
        stream.headers = Headers::default();
        let Some(half) = self.waiting.remove(&id) else {
            if self.waiting.len() >= HALVES {
                return None;
            }
            let half = Half {
                kind,
                stream,
                port,
                until,
            };
            self.waiting.insert(id, half);
            return None;
        };
        match (half.kind, kind) {
            (Kind::Error, Kind::Data) => Some(Pair {
                port,
                data: stream,
                error: half.stream,
            }),
            (Kind::Data, Kind::Error) => Some(Pair {
                port: half.port,
                data: half.stream,
                error: stream,
            }),
            // Two of a kind: the newer one is no part of anything.
            _ => {
                self.waiting.insert(id, half);
                None
            }
        }
    }

    /// When the first of them has waited long enough.
    fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|half| half.until).min()
    }

    fn expire(&mut self, now: Instant) {
        self.waiting.retain(|_, half| half.until > now);
    }
}

/// Forwards pair after pair, until the client opens no more.
async fn pairs(session: &mut Session, pod: &str, target: &Target, creation: Duration) {
    let mut pairing = Pairing::default();
    // In one task with the client's connection, which all bytes go through: nobody has to be woken on another thread.
    let mut connections = FuturesUnordered::new();
    loop {
        let deadline = pairing
            .deadline()
            .unwrap_or_else(|| Instant::now() + creation);
        tokio::select! {
            stream = timeout_at(deadline, session.accept()) => match stream {
                Ok(Some(stream)) => {
                    if let Some(pair) = pairing.add(stream, Instant::now() + creation) {
                        connections.push(connect(pair, pod.to_owned(), target.clone()));
                    }
                }
                Ok(None) => return,
                Err(_) => pairing.expire(Instant::now()),
            },
            Some(()) = connections.next() => {}
        }
    }
}

/// One connection of the user's, to its end.
async fn connect(pair: Pair, pod: String, target: Target) {
    let Pair {
        port,
        mut data,
        error,
    } = pair;
    let mut gone = pin!(data.writer.gone());
    let Target { address, inside } = target;
    let dialled = tokio::select! {
        dialled = dial(address, port) => dialled,
        () = &mut gone => return,
    };
    let copied = match dialled {
        Ok(tcp) => tokio::select! {
            copied = copy(tcp, &mut data) => copied,
            () = gone => Ok(()),
        },
        Err(failure) => tokio::select! {
            copied = go_inside(inside, port, failure, &mut data) => copied,
            () = gone => Ok(()),
        },
    };
    match copied {
        Ok(()) => {}
        Err(Broken::Target(failure)) => {
            let text = format!("error forwarding port {port} to pod {pod}: {failure}");
            let _ = error.writer.write(Bytes::from(text)).await;
            let _ = data.writer.finish().await;
        }
        Err(failure) => {
            // The connection broke: so does the client's. Dropping the data stream resets it.
            tracing::debug!(port, %failure, "a forwarded connection broke");
            return;
        }
    }
    let _ = error.writer.finish().await;
}

async fn dial(address: Result<IpAddr, String>, port: u16) -> Result<TcpStream, String> {
    let address = address?;
    let unreachable = |why: &dyn std::fmt::Display| {
        format!(
            "port-forward needs an address that the operator can reach: {address} port {port}: {why}"
        )
    };
    let tcp = match timeout(DIAL, TcpStream::connect((address, port))).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(unreachable(&error)),
        Err(_) => {
            let why = format!("no answer within {} s", DIAL.as_secs());
            return Err(unreachable(&why));
        }
    };
    // Forwarded bytes do not wait for company.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

/// Why a forwarded connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Pod(#[from] std::io::Error),
    #[error(transparent)]
    Client(#[from] Closed),
    /// There is no connection to the pod.
    #[error("{0}")]
    Target(String),
    #[error(transparent)]
    Session(ExecError),
}

/// Writes all of `parts`, as many at once as the system takes.
async fn write_all(to: &mut OwnedWriteHalf, parts: &mut VecDeque<Bytes>) -> std::io::Result<()> {
    while !parts.is_empty() {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut written = to.write_vectored(&slices).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while let Some(mut part) = parts.pop_front() {
            if written < part.len() {
                part.advance(written);
                parts.push_front(part);
                break;
            }
            written -= part.len();
        }
    }
    Ok(())
}

/// Both directions, each to its own end.
async fn copy(tcp: TcpStream, data: &mut Stream) -> Result<(), Broken> {
    let (mut from_pod, mut to_pod) = tcp.into_split();
    let Stream { reader, writer, .. } = data;
    let up = async {
        let mut parts = VecDeque::new();
        while let Some(bytes) = reader.read().await {
            parts.push_back(bytes);
            while parts.len() < PARTS
                && let Some(bytes) = reader.read_now()
            {
                parts.push_back(bytes);
            }
            write_all(&mut to_pod, &mut parts).await?;
        }
        to_pod.shutdown().await?;
        Ok::<_, Broken>(())
    };
    let down = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ);
            if from_pod.read_buf(&mut buffer).await? == 0 {
                return Ok(writer.finish().await?);
            }
            writer.write(buffer.split().freeze()).await?;
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}

/// Both directions, by the shim in the pod; `failure` is why its address leads nowhere.
async fn go_inside(
    inside: Option<Arc<dyn Inside>>,
    port: u16,
    failure: String,
    data: &mut Stream,
) -> Result<(), Broken> {
    let Some(inside) = inside else {
        return Err(Broken::Target(failure));
    };
    let (typed, stdin) = mpsc::channel(PARTS);
    let (output, mut shown) = mpsc::channel(PARTS);
    let streams = Streams {
        stdin: Some(stdin),
        output,
        resize: None,
        gone: CancellationToken::new(),
    };
    let Stream { reader, writer, .. } = data;
    let up = async {
        while let Some(bytes) = reader.read().await {
            if typed.send(bytes).await.is_err() {
                break;
            }
        }
        drop(typed);
    };
    let down = async {
        let (mut any, mut taken) = (false, Ok(()));
        while let Some((_, bytes)) = shown.recv().await {
            any = true;
            taken = writer.write(bytes).await;
            if taken.is_err() {
                break;
            }
        }
        drop(shown);
        taken.map(|()| any)
    };
    // Whatever the client still sends, nobody takes it after the end.
    let session = async { tokio::join!(inside.connect(port, streams), down) };
    let (ended, any) = beside(session, up).await;
    match (ended, any?) {
        (Ok(_), _) => Ok(data.writer.finish().await?),
        (Err(ExecError::NoShim(_)), false) => Err(Broken::Target(failure)),
        (Err(error), false) => Err(Broken::Target(format!(
            "{failure}; inside the pod: {error}"
        ))),
        (Err(error), true) => Err(Broken::Session(error)),
    }
}
