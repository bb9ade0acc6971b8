//! Strangers who can open connections, and nothing else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use kube::Config;
use kube::client::ConfigExt as _;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stage::{Running, Stage};

const CONNECTIONS: usize = 512;
const HEADERS: usize = 500;
/// Bytes of a header that never ends, and how many are sent at once.
const HEADER: usize = 400 << 10;
const PART: usize = 15 << 10;
const CLIENTS: usize = 40;
const STREAMS: usize = 450;
const TOKEN: usize = 12 << 10;
/// Whoever is cut off comes again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// One of eight addresses, none of which is that of API server or kubelet.
fn address(number: usize) -> Ipv4Addr {
    let [.., last] = number.to_be_bytes();
    Ipv4Addr::new(127, 66, 0, 1 + last % 8)
}

/// A connection from the address of this number, which takes in no more than `receive` bytes before it is read.
pub(super) async fn dial(to: &str, number: usize, receive: Option<u32>) -> Result<TcpStream> {
    let to: SocketAddr = to.parse().with_context(|| format!("{to} is no address"))?;
    let socket = TcpSocket::new_v4()?;
    if let Some(receive) = receive {
        socket.set_recv_buffer_size(receive)?;
    }
    socket.bind((address(number), 0).into())?;
    Ok(socket.connect(to).await?)
}

/// TLS of somebody who shows nothing.
fn stranger(node: &str) -> Result<TlsConnector> {
    let mut config = Config::new(format!("https://{node}").parse()?);
    config.accept_invalid_certs = true;
    Ok(TlsConnector::from(Arc::new(config.rustls_client_config()?)))
}

async fn encrypted(tls: &TlsConnector, node: &str, number: usize) -> Result<TlsStream<TcpStream>> {
    let stream = dial(node, number, None).await?;
    let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(tls.connect(name, stream).await?)
}

/// One small request each, and then nothing (S9a).
pub(super) fn kept_connections(stage: &Stage<'_>) -> Result<Running> {
    let mut running = Running::default();
    let (tls, node) = (stranger(&stage.doors.node)?, stage.doors.node.clone());
    for number in 0..CONNECTIONS {
        let (tls, node, count) = (tls.clone(), node.clone(), running.count.clone());
        running.again(PAUSE, move || {
            let (tls, node, count) = (tls.clone(), node.clone(), count.clone());
            async move {
                let mut stream = encrypted(&tls, &node, number).await?;
                stream
                    .write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
                    .await?;
                count.add(1);
                until_cut(&mut stream).await
            }
        });
    }
    Ok(running)
}

/// The same with the port that kubelets probe (S10).
pub(super) fn probe_connections(stage: &Stage<'_>) -> Running {
    let mut running = Running::default();
    let port = stage
        .rig
        .operator
        .metrics_url()
        .trim_start_matches("http://")
        .to_owned();
    for number in 0..CONNECTIONS {
        let (port, count) = (port.clone(), running.count.clone());
        running.again(PAUSE, move || {
            let (port, count) = (port.clone(), count.clone());
            async move {
                let mut stream = dial(&port, number, None).await?;
                stream.write_all(b"GET /livez HTTP/1.1\r\n").await?;
                count.add(1);
                until_cut(&mut stream).await
            }
        });
    }
    running
}

/// Headers that never end: as much of them as is taken, and the last of it slowly (S9b).
pub(super) fn unfinished_headers(stage: &Stage<'_>) -> Result<Running> {
    let mut running = Running::default();
    let (tls, node) = (stranger(&stage.doors.node)?, stage.doors.node.clone());
    let part: Arc<[u8]> = vec![b'x'; PART].into();
    for number in 0..HEADERS {
        let (tls, node, count) = (tls.clone(), node.clone(), running.count.clone());
        let part = part.clone();
        running.again(PAUSE, move || {
            let (tls, node, count) = (tls.clone(), node.clone(), count.clone());
            let part = part.clone();
            async move {
                let mut stream = encrypted(&tls, &node, number).await?;
                stream
                    .write_all(b"GET /pods HTTP/1.1\r\nHost: node\r\nX: ")
                    .await?;
                count.add(1);
                for _ in 0..HEADER / PART {
                    stream.write_all(&part).await?;
                    stream.flush().await?;
                    // What was taken so far stays as long as it may.
                    sleep(Duration::from_secs(4)).await;
                }
                until_cut(&mut stream).await
            }
        });
    }
    Ok(running)
}

async fn until_cut(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<()> {
    let mut answer = [0; 512];
    while stream.read(&mut answer).await? > 0 {}
    Ok(())
}

/// Requests over HTTP/2, each with another token that nobody knows (S9c).
pub(super) fn token_reviews(stage: &Stage<'_>) -> Result<Running> {
    let mut running = Running::default();
    let url = format!("https://{}/pods", stage.doors.node);
    let tokens = Arc::new(AtomicUsize::new(0));
    for number in 0..CLIENTS {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .local_address(IpAddr::V4(address(number)))
            .http2_prior_knowledge()
            .no_proxy()
            .build()?;
        let (url, tokens, count) = (url.clone(), tokens.clone(), running.count.clone());
        running.again(PAUSE, move || {
            let (client, url) = (client.clone(), url.clone());
            let (tokens, count) = (tokens.clone(), count.clone());
            async move {
                let ask = |_| {
                    let token = tokens.fetch_add(1, Ordering::Relaxed);
                    let token = format!("{token:0TOKEN$}");
                    let (request, count) = (client.get(&url).bearer_auth(token), count.clone());
                    async move {
                        if let Ok(answer) = request.send().await {
                            count.add(1);
                            drop(answer.bytes().await);
                        }
                    }
                };
                let asking = futures::stream::iter((0..STREAMS).map(ask));
                asking.buffer_unordered(STREAMS).collect::<Vec<()>>().await;
                Ok(())
            }
        });
    }
    Ok(running)
}
