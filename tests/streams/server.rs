//! A server with the handlers under test, and a backend that does what its command says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vkc::kubelet::portforward::{self, Target};
use vkc::kubelet::remote::{self, Options};
use vkc::kubelet::stream_slots::StreamSlots;
use vkc::kubelet::upgrade::{SessionTracker, Times};
use vkc::provider::exec::{ExecError, Exit, Output, Streams};

pub(crate) const SLOTS: usize = 2000;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) sessions: SessionTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) slots: StreamSlots,
    /// Backends that run now.
    pub(crate) running: Arc<AtomicUsize>,
    /// Backends that were told that their client has gone.
    pub(crate) told: Arc<AtomicUsize>,
    target: Target,
}

/// Counts a backend as long as it lives.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Times::default(), Ok(Ipv4Addr::LOCALHOST.into())).await
    }

    pub(crate) async fn start_with(times: Times, address: Result<IpAddr, String>) -> Self {
        let inside = None;
        Self::start_for(times, Target { address, inside }).await
    }

    pub(crate) async fn start_for(times: Times, target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let mut sessions = SessionTracker::new(stop.clone());
        sessions.times = times;
        let server = Self {
            address: listener.local_addr().unwrap(),
            sessions,
            stop,
            slots: StreamSlots::new(SLOTS, SLOTS),
            running: Arc::default(),
            told: Arc::default(),
            target,
        };
        let router = Router::new()
            .route("/exec", any(exec))
            .route("/portForward", any(forward))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    /// Nothing of any session is left.
    pub(crate) async fn is_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = (
                self.sessions.count(),
                self.running.load(Ordering::SeqCst),
                self.slots.taken(),
            );
            if left == (0, 0, 0) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "sessions, backends, slots: {left:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// This many backends run.
    pub(crate) async fn runs(&self, number: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.running.load(Ordering::SeqCst) != number {
            assert!(
                Instant::now() < deadline,
                "{} run",
                self.running.load(Ordering::SeqCst)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn exec(State(server): State<Server>, request: Request) -> Response {
    let options = match Options::of(request.uri()) {
        Ok(options) => options,
        Err(refusal) => return refusal.into_response(),
    };
    let argv = remote::command(request.uri()).unwrap();
    let slot = server.slots.take("ns", "web", None).unwrap();
    let (running, told) = (server.running.clone(), server.told.clone());
    remote::serve(
        request,
        options,
        &server.sessions,
        slot,
        |streams| async move {
            running.fetch_add(1, Ordering::SeqCst);
            let _running = Running(running);
            backend(&argv, streams, &told).await
        },
    )
}

async fn forward(State(server): State<Server>, request: Request) -> Response {
    let slot = server.slots.take("ns", "web", None).unwrap();
    let target = server.target.clone();
    portforward::serve(request, "ns/web".to_owned(), target, &server.sessions, slot)
}

async fn backend(
    argv: &[String],
    mut streams: Streams,
    told: &AtomicUsize,
) -> Result<Exit, ExecError> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let say = async |to, text: String| {
        streams.output.send((to, Bytes::from(text))).await.unwrap();
    };
    match words[..] {
        ["exit", code] => {
            say(Output::Stdout, "out".to_owned()).await;
            say(Output::Stderr, "err".to_owned()).await;
            Ok(Exit::Code(code.parse().unwrap()))
        }
        ["copy"] => {
            let stdin = streams.stdin.as_mut().unwrap();
            while let Some(bytes) = stdin.recv().await {
                streams.output.send((Output::Stdout, bytes)).await.unwrap();
            }
            Ok(Exit::Code(0))
        }
        ["size"] => {
            let size = streams.resize.as_mut().unwrap().recv().await.unwrap();
            say(Output::Stdout, format!("{}x{}", size.rows, size.columns)).await;
            Ok(Exit::Unknown)
        }
        ["fail"] => Err(ExecError::Lost),
        ["wait"] => std::future::pending().await,
        ["watch"] => {
            streams.gone.cancelled().await;
            told.fetch_add(1, Ordering::SeqCst);
            Err(ExecError::Lost)
        }
        _ => panic!("{words:?}"),
    }
}
