//! A small page for every running group with TCP ports, on the group's own loopback address; who speaks gRPC there gets the
//! answers of a health service.
//!
//! One task owns all listeners.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{arm::world::Key, clock::Time, due::Due, shared::Shared};

/// Connections a page serves at the same time.
const CONNECTIONS: usize = 32;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// What a group is to serve.
struct Wanted {
    ip: Ipv4Addr,
    ports: Vec<u16>,
    page: Page,
}

/// What is answered.
#[derive(Clone)]
struct Page {
    status: u16,
    html: Arc<str>,
}

struct Served {
    ip: Ipv4Addr,
    ports: Vec<u16>,
    page: Arc<Mutex<Page>>,
    /// Ends its listeners.
    #[expect(dead_code, reason = "dropped with the rest")]
    stop: DropGuard,
}

/// Runs until the emulator stops.
pub(crate) async fn run(shared: Arc<Shared>, due: Arc<Due>) {
    let mut served: HashMap<Key, Served> = HashMap::new();
    loop {
        let now = shared.clock.now();
        for key in due.take(now, served.keys()) {
            let (wanted, again) = look(&shared, &key, now);
            if let Some(at) = again {
                due.check(key.clone(), at);
            }
            let Some(Wanted { ip, ports, page }) = wanted else {
                served.remove(&key);
                continue;
            };
            if let Some(served) = served.get(&key)
                && served.ip == ip
                && served.ports == ports
            {
                *served.page.lock() = page;
                continue;
            }
            served.remove(&key);
            let (page, stop) = (Arc::new(Mutex::new(page)), shared.stop.child_token());
            for port in &ports {
                listen(&shared, (ip, *port), &page, stop.clone()).await;
            }
            let stop = stop.drop_guard();
            let now_served = Served {
                ip,
                ports,
                page,
                stop,
            };
            served.insert(key, now_served);
        }
        tokio::select! {
            () = due.wait(&shared.clock) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// The page a group has now and when to look again.
fn look(shared: &Shared, key: &Key, now: Time) -> (Option<Wanted>, Option<Time>) {
    let mut world = shared.world.lock();
    let Some(group) = world.group(key, now) else {
        return (None, None);
    };
    if group.life.driver.is_real() {
        return (None, None);
    }
    let ports = group.tcp_ports();
    let again = (!ports.is_empty())
        .then(|| group.life.next_change(now))
        .flatten();
    if ports.is_empty() || !group.life.has_ip(now) || group.life.instance_state() != "Running" {
        return (None, again);
    }
    let containers: String = group
        .life
        .containers
        .iter()
        .map(|life| format!("<li>{} ({})</li>", escape(&life.name), escape(&life.image)))
        .collect::<Vec<_>>()
        .concat();
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>{name}</title></head><body><h1>Container group {name}</h1><p>Served by aci-emulator.</p><ul>{containers}</ul></body></html>\n",
        name = escape(&group.name)
    );
    (
        Some(Wanted {
            ip: group.life.ip,
            ports,
            page: Page {
                status: group.page_status,
                html: page.into(),
            },
        }),
        again,
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

async fn listen(
    shared: &Arc<Shared>,
    (ip, port): (Ipv4Addr, u16),
    page: &Arc<Mutex<Page>>,
    stop: CancellationToken,
) {
    match TcpListener::bind((ip, port)).await {
        Ok(listener) => {
            let page = Arc::clone(page);
            shared
                .tasks
                .spawn(serve(Arc::clone(shared), listener, page, stop));
        }
        Err(error) => {
            tracing::warn!(%ip, port, %error, "no page: the address cannot be bound, so that probes of this port fail");
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    page: Arc<Mutex<Page>>,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Some((Ok((stream, _)), slot)) => {
                let (page, stop) = (page.lock().clone(), stop.clone());
                shared.tasks.spawn(async move {
                    let _slot = slot;
                    tokio::select! {
                        _ = tokio::time::timeout(REQUEST_TIMEOUT, answer(stream, &page)) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
            Some((Err(error), _)) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            None => return,
        }
    }
}

/// The first bytes of every HTTP/2 connection.
const HTTP2: &[u8] = b"PRI";

/// Answers one request, whatever it asks, with the page; over HTTP/2 with the health service.
async fn answer(stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let mut first = [0; HTTP2.len()];
    stream.peek(&mut first).await?;
    if first == HTTP2 {
        health(stream, page.status == 200).await;
        return Ok(());
    }
    write_page(stream, page).await
}

/// The gRPC health service, for one connection.
async fn health(stream: TcpStream, serves: bool) {
    let (reporter, service) = tonic_health::server::health_reporter();
    if !serves {
        let status = tonic_health::ServingStatus::NotServing;
        reporter.set_service_status("", status).await;
    }
    let service = TowerToHyperService::new(service);
    let connection = http2::Builder::new(TokioExecutor::new());
    let connection = connection.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a gRPC connection broke");
    }
}

/// Reads one request's head and answers with the page.
async fn write_page(mut stream: TcpStream, page: &Page) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
        let n = stream.read(&mut chunk).await?;
        if n == 0 {
            return Ok(());
        }
        head.extend_from_slice(chunk.get(..n).unwrap_or_default());
    }
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.status,
        page.html.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(page.html.as_bytes()).await?;
    stream.shutdown().await
}
