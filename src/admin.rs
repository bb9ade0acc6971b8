//! The operator's own HTTP servers: `/livez` and `/readyz` for probes, and `/metrics`. They tell no secrets and take no input.
//!
//! Anybody who reaches the port may open connections. So each gets one answer and a few seconds, and when there are too many the
//! oldest of whoever has the most ends: a kubelet that probes always gets through.

pub mod scrapes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::places::{Most, Seats};

const HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection is closed after this long, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS: Most = Most {
    strangers: 64,
    known: 0,
    known_of_one: 0,
};
/// Bytes that are read of a request.
const HEADER: usize = 16 << 10;

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Named gates, all of which must be open for `/readyz`.
#[derive(Debug, Default)]
pub struct Readiness {
    gates: Mutex<BTreeMap<&'static str, bool>>,
}

impl Readiness {
    /// Opens or closes the gate `name`. A gate exists, closed, from the first time it is named.
    pub fn set(&self, name: &'static str, open: bool) {
        self.gates.lock().insert(name, open);
    }

    /// The names of the gates that are closed.
    pub fn closed(&self) -> Vec<&'static str> {
        self.gates
            .lock()
            .iter()
            .filter(|(_, open)| !**open)
            .map(|(name, _)| *name)
            .collect()
    }
}

/// Binds `address`; the returned address has the port that was chosen for port 0.
pub async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let fail = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

/// `/livez` and `/readyz`.
pub fn probes(readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
}

/// `/metrics`.
pub fn metrics(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
}

/// Serves `router` over plain HTTP until `cancel`.
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let seats = Seats::new(CONNECTIONS);
    let connections = TaskTracker::new();
    loop {
        let (stream, address) = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection to the admin server was lost");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let seat = seats.take(address.ip());
        let service = TowerToHyperService::new(router.clone());
        let cancel = cancel.clone();
        connections.spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .keep_alive(false)
                .max_buf_size(HEADER)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = cancel.cancelled() => {}
                () = seat.cut() => {}
                _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection) => {}
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> Response {
    let closed = readiness.closed();
    if closed.is_empty() {
        return "ok\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {}\n", closed.join(", ")),
    )
        .into_response()
}

async fn text(State(metrics): State<Arc<Metrics>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing_and_the_server_ends() {
        let (listener, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let readiness = Arc::new(Readiness::default());
        readiness.set("crd", false);
        let cancel = CancellationToken::new();
        let router = probes(readiness.clone()).merge(metrics(Arc::default()));
        let server = tokio::spawn(serve(listener, router, cancel.clone()));
        assert!(ask(address, "/readyz").await.contains("not ready: crd"));
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
        readiness.set("crd", true);
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/metrics").await.contains("vkc_build_info"));
        cancel.cancel();
        server.await.unwrap();
    }

    /// The liveness probe is answered whatever somebody else does with all the connections he can open.
    #[tokio::test]
    async fn who_keeps_connections_does_not_keep_probes_out() {
        let (listener, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let cancel = CancellationToken::new();
        let router = probes(Arc::new(Readiness::default()));
        let server = tokio::spawn(serve(listener, router, cancel.clone()));
        let mut kept = Vec::new();
        for n in 0..4 * CONNECTIONS.strangers {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            // Some say a part of a request, the others nothing.
            if n % 2 == 0 {
                stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
            }
            kept.push(stream);
            if n % 16 == 15 {
                let probe = tokio::net::TcpSocket::new_v4().unwrap();
                probe.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
                let mut probe = probe.connect(address).await.unwrap();
                probe
                    .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                    .await
                    .unwrap();
                let mut answer = String::new();
                // It ends after the answer, without having been asked to.
                probe.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "after {n}: {answer:?}");
            }
        }
        cancel.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_header_without_end_is_cut_off() {
        let (listener, address) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let cancel = CancellationToken::new();
        let router = probes(Arc::new(Readiness::default()));
        let server = tokio::spawn(serve(listener, router, cancel.clone()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").await;
        let _ = stream.write_all(&vec![b'x'; 2 * HEADER]).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
        cancel.cancel();
        server.await.unwrap();
    }
}
