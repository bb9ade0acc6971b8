//! Connections of one node's kubelet API: accepted, encrypted, bounded, and ended when the node's agent ends.

mod idle;
mod read_ahead;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router, middleware};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::idle::{Answers, Limits};
use self::read_ahead::ReadAhead;
use super::client_ca::{self, ClientCas};
use crate::places::{Most, Seat, Seats, network};

/// A client that has not said hello, or has not sent a whole header, is given up after this; one that has asked nothing
/// more, later, as by Go's servers.
const LIMITS: Limits = Limits {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(90),
};
/// Connections at once; each may carry many requests. Who has not shown who he is has little room, and gives up his place to
/// whoever comes next.
const CONNECTIONS: Most = Most {
    strangers: 64,
    known: 448,
    known_of_one: 256,
};
/// What a client may have in memory by what it sends.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// The header of a request in HTTP/1.1, with its first line.
    header: usize,
    /// The header of a request in HTTP/2.
    header_list: u32,
    /// Requests at once in HTTP/2.
    streams: u32,
    /// Of the body of each in HTTP/2.
    window: u32,
    /// Bytes read from a connection at a time; as few as TLS takes with 0.
    read: usize,
}

/// Of one who has not shown who he is: his header and one record of TLS, 32 KB together. A token of a service account has one
/// kilobyte, one of Entra ID with two hundred groups eleven.
const STRANGER: Allowance = Allowance {
    header: 16 << 10,
    header_list: 16 << 10,
    streams: 8,
    window: 16 << 10,
    read: 0,
};
/// Of one with a certificate of the client CA, such as the API server, who sends everything through one connection of HTTP/2, and
/// each exec through one of HTTP/1.1 with its command in the URL. Neither kubectl nor the API server limits that (Go's servers
/// take headers of 1 MB); the longest URL that can be read here has 64 KB.
const KNOWN: Allowance = Allowance {
    header: 80 << 10,
    header_list: 32 << 10,
    streams: 512,
    window: 64 << 10,
    read: 64 << 10,
};
/// Fields of a header.
const HEADERS: usize = 64;
/// What of an answer waits for its reader, for each.
const SEND: usize = 64 << 10;
/// A peer that does not answer a ping has gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What runs when the node ends gets this long to say goodbye.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no port for a node.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Every port of the range is taken.
    #[error("no free port for the kubelet API from {first} to {last}: widen --kubelet-port-range")]
    NoPort {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The address cannot be used at all.
    #[error("cannot listen on {address}: {source}")]
    Unusable {
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The client of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The certificates that he has shown, his own first.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Where he is, as far as he is told from others.
    pub network: IpAddr,
    seat: Arc<Seat>,
}

impl Peer {
    /// He has shown who he is, and that he may be here.
    pub fn prove(&self) {
        self.seat.prove();
    }
}

/// The ports to try for `node`, best first: its own by its name, so that a restart finds the same, then the others.
/// PURE.
fn candidates(node: &str, ports: &RangeInclusive<u16>) -> Vec<u16> {
    let all: Vec<u16> = ports.clone().collect();
    let digest: [u8; 32] = Sha256::digest(node).into();
    let number = digest
        .iter()
        .take(4)
        .fold(0usize, |number, byte| number << 8 | usize::from(*byte));
    let start = number % all.len().max(1);
    all.iter()
        .cycle()
        .skip(start)
        .take(all.len())
        .copied()
        .collect()
}

/// Listens at the address of the node, or everywhere when that is not an address of this machine (an address that a
/// router translates).
///
/// # Errors
/// See [`ListenError`].
pub async fn bind(
    node: &str,
    ip: IpAddr,
    ports: &RangeInclusive<u16>,
) -> Result<TcpListener, ListenError> {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable};
    let everywhere = match ip {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    for port in candidates(node, ports) {
        for ip in [ip, everywhere] {
            let address = SocketAddr::new(ip, port);
            match TcpListener::bind(address).await {
                Ok(listener) => return Ok(listener),
                Err(error) if error.kind() == AddrNotAvailable && ip != everywhere => {}
                Err(error) if error.kind() == AddrInUse => break,
                Err(source) => return Err(ListenError::Unusable { address, source }),
            }
        }
    }
    Err(ListenError::NoPort {
        first: *ports.start(),
        last: *ports.end(),
    })
}

/// Serves until `cancel`; then takes nothing new, and what runs gets a moment to end. Who has a certificate of `cas` may send more
/// than a stranger.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    router: Router,
    cas: ClientCas,
    cancel: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let seats = Seats::new(CONNECTIONS);
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let (stream, address) = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection to the kubelet API was lost");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let seat = Arc::new(seats.take(address.ip()));
        let (acceptor, router, cas) = (acceptor.clone(), router.clone(), cas.clone());
        let (cancel, cut) = (cancel.clone(), cut.clone());
        connections.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = seat.cut() => {}
                () = connection((stream, address.ip(), &seat), acceptor, (router, &cas), LIMITS, cancel) => {}
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait())
        .await
        .is_err()
    {
        cut.cancel();
        connections.wait().await;
    }
}

async fn connection(
    (stream, address, seat): (TcpStream, IpAddr, &Arc<Seat>),
    acceptor: TlsAcceptor,
    (router, cas): (Router, &ClientCas),
    limits: Limits,
    cancel: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let stream = ReadAhead::new(stream);
    let mut stream = match tokio::time::timeout(limits.header, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake with the kubelet API failed");
            return;
        }
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|der| der.clone().into_owned());
    let certificates: Arc<[_]> = certificates.collect();
    let known = client_ca::vouches(cas, &certificates, UnixTime::now());
    let allowed = if known { KNOWN } else { STRANGER };
    stream.get_mut().0.grow(allowed.read);
    let peer = Peer {
        certificates,
        network: network(address),
        seat: seat.clone(),
    };
    let answers = Answers::new();
    let counting = middleware::from_fn_with_state(answers.clone(), idle::count);
    let service = TowerToHyperService::new(router.layer(counting).layer(Extension(peer)));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .max_buf_size(allowed.header)
        .max_headers(HEADERS)
        .header_read_timeout(limits.header);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(allowed.streams)
        .max_header_list_size(allowed.header_list)
        .initial_stream_window_size(allowed.window)
        .initial_connection_window_size(allowed.window)
        .max_send_buf_size(SEND)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = answers.idle(limits) => {
            connection.as_mut().graceful_shutdown();
            let goodbye = tokio::time::timeout(DRAIN_TIMEOUT, connection).await;
            goodbye.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the kubelet API broke");
    }
}

#[cfg(test)]
mod tests;
