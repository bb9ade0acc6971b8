//! exec and attach: `remotecommand`, as `kubectl` and the API server speak it with a kubelet, over SPDY and
//! `WebSocket`s. What runs is somebody else's: it gets [`Streams`] and gives an exit.

mod options;
mod socket;
mod spdy;
mod status;

use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use options::{Options, command};
pub use status::Status;

use super::stream_slots::StreamSlot;
use super::upgrade::{SessionTracker, Upgrade};
use crate::provider::exec::{ExecError, Exit, Output, Streams, TerminalSize};

/// Protocols on SPDY streams (KEP-4006 and its predecessors), newest first. v5 is for `WebSocket`s alone.
const SPDY: &[&str] = &[
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];
/// Subprotocols of a `WebSocket`.
const SOCKET: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];
/// Parts of standard input that wait for the container, of 16 KiB at most over a `WebSocket`, of 32 KiB as kubectl sends them over
/// SPDY.
const STDIN: usize = 8;
/// Parts of output that wait for the client.
const OUTPUT: usize = 16;
/// When the client has gone, or the node ends, what runs has this long to be interrupted and to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Sizes that wait; more than the first have no use.
const SIZES: usize = 4;

/// Answers `request` and runs `backend` on what it becomes. `slot` is held until the session ends; when the client
/// goes away first, the backend is told, and dropped a moment later.
pub fn serve<B, F>(
    request: Request,
    options: Options,
    sessions: &SessionTracker,
    slot: StreamSlot,
    backend: B,
) -> Response
where
    B: FnOnce(Streams) -> F + Send + 'static,
    F: Future<Output = Result<Exit, ExecError>> + Send,
{
    let upgrade = match Upgrade::of(request.headers(), SPDY, SOCKET) {
        Ok(upgrade) => upgrade,
        Err(response) => return *response,
    };
    let (times, stop) = (sessions.times, sessions.stop().clone());
    let chosen = upgrade.clone();
    let long = slot.long_messages();
    sessions.start(request, &upgrade, slot, move |connection| async move {
        let gone = stop.child_token();
        let work = move |streams: Streams| async move {
            let given_up = async {
                stop.cancelled().await;
                tokio::time::sleep(CLOSE_TIMEOUT).await;
            };
            let ended = tokio::select! {
                result = backend(streams) => Some(result),
                () = given_up => None,
            };
            match ended {
                Some(result) if result.is_ok() || !stop.is_cancelled() => Status::of(result),
                _ => Status::ended("the virtual node is being stopped"),
            }
        };
        match chosen {
            Upgrade::Spdy(protocol) => {
                spdy::serve(connection, protocol, options, times, gone, work).await;
            }
            Upgrade::WebSocket { protocol, .. } => {
                socket::serve((connection, long), protocol, options, times, gone, work).await;
            }
        }
    })
}

/// The transport's ends of the [`Streams`].
struct Ends {
    stdin: Option<mpsc::Sender<Bytes>>,
    output: mpsc::Receiver<(Output, Bytes)>,
    resize: Option<mpsc::Sender<TerminalSize>>,
}

fn streams(options: Options, gone: &CancellationToken) -> (Streams, Ends) {
    let (output, written) = mpsc::channel(OUTPUT);
    let (stdin, typed) = mpsc::channel(STDIN);
    let (resize, sizes) = mpsc::channel(SIZES);
    let streams = Streams {
        stdin: options.stdin.then_some(typed),
        output,
        resize: options.tty.then_some(sizes),
        gone: gone.clone(),
    };
    let ends = Ends {
        stdin: options.stdin.then_some(stdin),
        output: written,
        resize: options.tty.then_some(resize),
    };
    (streams, ends)
}

/// `main`, while `side` goes on beside it.
pub(super) async fn beside<T>(main: impl Future<Output = T>, side: impl Future<Output = ()>) -> T {
    let side = async {
        side.await;
        std::future::pending::<()>().await;
    };
    let (mut main, mut side) = (std::pin::pin!(main), std::pin::pin!(side));
    std::future::poll_fn(|context| {
        // Its end is that of the whole.
        let _ = side.as_mut().poll(context);
        main.as_mut().poll(context)
    })
    .await
}
