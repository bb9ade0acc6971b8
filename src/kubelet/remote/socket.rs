//! remotecommand over a `WebSocket`: the first byte of each message is its channel.

use std::pin::pin;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::SinkExt as _;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::options::Sizes;
use super::{CLOSE_TIMEOUT, Options, Status, streams};
use crate::kubelet::stream_slots::LongMessages;
use crate::kubelet::upgrade::{Connection, Times};
use crate::kubelet::websocket::{self, Incoming, Outgoing};
use crate::provider::exec::{Output, Streams};

/// Bytes of standard input that are handed on at once.
const PART: usize = 16 << 10;

/// Channels, as the kubelet numbers them.
mod channel {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const ERROR: u8 = 3;
    pub(super) const RESIZE: u8 = 4;
    /// v5: the channel named next has ended (KEP-4006).
    pub(super) const CLOSE: u8 = 255;
}

/// How a subprotocol writes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Codec {
    /// Text: a digit and base64.
    base64: bool,
    /// Channels can be closed one by one.
    close: bool,
}

impl Codec {
    fn of(protocol: &str) -> Self {
        Self {
            base64: protocol.contains("base64"),
            close: protocol == "v5.channel.k8s.io",
        }
    }

    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{channel}{}", STANDARD.encode(bytes)));
        }
        let mut message = Vec::with_capacity(1 + bytes.len());
        message.push(channel);
        message.extend_from_slice(bytes);
        Message::binary(message)
    }

    /// Channel and content; `None` for a message that means nothing.
    fn decode(self, message: &Bytes) -> Option<(u8, Bytes)> {
        let first = *message.first()?;
        let rest = message.slice(1..);
        if !self.base64 {
            return Some((first, rest));
        }
        let channel = first.checked_sub(b'0').filter(|channel| *channel < 10)?;
        Some((channel, Bytes::from(STANDARD.decode(&rest).ok()?)))
    }
}

pub(super) async fn serve<W, F>(
    (connection, long): (Connection, LongMessages),
    protocol: Option<&'static str>,
    options: Options,
    times: Times,
    gone: CancellationToken,
    work: W,
) where
    W: FnOnce(Streams) -> F,
    F: Future<Output = Status>,
{
    // A client that names no protocol speaks the first one.
    let protocol = protocol.unwrap_or("channel.k8s.io");
    let codec = Codec::of(protocol);
    let (mut outgoing, mut incoming) = websocket::accept(connection, long).await;
    let meter = incoming.meter();
    let (streams, ends) = streams(options, &gone);
    let moved = Arc::new(Mutex::new(Instant::now()));
    let read = read(&mut incoming, codec, ends.stdin, ends.resize, &moved);
    let idle = idle(&moved, times.idle);
    let mut output = ends.output;
    let mut work = pin!(work(streams));
    let mut status = None;
    let talk = async {
        // Says that the session is there, as the kubelet does.
        let first = match options {
            Options { stdout: true, .. } => channel::STDOUT,
            Options { stderr: true, .. } => channel::STDERR,
            _ => channel::ERROR,
        };
        send(&mut outgoing, codec.encode(first, &[]), times).await?;
        let mut pings = interval_at(Instant::now() + times.ping, times.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                // All output comes before the status: the channel ends when the work has.
                part = output.recv() => match part {
                    Some((to, bytes)) => {
                        *moved.lock() = Instant::now();
                        match to {
                            Output::Stdout if options.stdout => codec.encode(channel::STDOUT, &bytes),
                            Output::Stderr if options.stderr => codec.encode(channel::STDERR, &bytes),
                            _ => continue,
                        }
                    }
                    None => break,
                },
                ended = &mut work, if status.is_none() => {
                    status = Some(ended);
                    continue;
                }
                _ = pings.tick() => Message::Ping(Bytes::new()),
            };
            send(&mut outgoing, message, times).await?;
        }
        let ended = match status.take() {
            Some(ended) => ended,
            None => work.as_mut().await,
        };
        let last = codec.encode(channel::ERROR, &ended.bytes(protocol));
        status = Some(ended);
        send(&mut outgoing, last, times).await?;
        // Without a code, clients take the end for an accident.
        let end = CloseFrame {
            code: CloseCode::Normal,
            reason: Utf8Bytes::default(),
        };
        send(&mut outgoing, Message::Close(Some(end)), times).await
    };
    let told = tokio::select! {
        told = talk => told,
        () = read => Err(Error::ConnectionClosed),
        () = idle => Err(Error::AlreadyClosed),
    };
    match told {
        // The client closes when it has read all.
        Ok(()) => {
            let closed = async { while websocket::next(&mut incoming).await.is_some() {} };
            if timeout(times.close, closed).await.is_err() {
                tracing::debug!("a client did not close its session");
            }
        }
        Err(error) => {
            tracing::debug!(%error, "the client of a session has gone");
            gone.cancel();
            drop(output);
            if meter.has_refused() {
                refuse(&mut outgoing, codec, protocol, times).await;
            }
            if status.is_none() {
                let _ = timeout(CLOSE_TIMEOUT, work).await;
            }
        }
    }
}

/// Hands on what the client sends, until it has gone.
async fn read(
    incoming: &mut Incoming,
    codec: Codec,
    mut stdin: Option<tokio::sync::mpsc::Sender<Bytes>>,
    resize: Option<tokio::sync::mpsc::Sender<crate::provider::exec::TerminalSize>>,
    moved: &Mutex<Instant>,
) {
    let mut sizes = Sizes::default();
    while let Some(message) = websocket::next(incoming).await {
        *moved.lock() = Instant::now();
        match codec.decode(&message) {
            Some((channel::STDIN, mut bytes)) => {
                while let Some(sender) = &stdin
                    && !bytes.is_empty()
                {
                    // A copy: a part that waits would keep all of the message.
                    let part = Bytes::copy_from_slice(&bytes.split_to(bytes.len().min(PART)));
                    if sender.send(part).await.is_err() {
                        stdin = None;
                    }
                }
            }
            Some((channel::RESIZE, bytes)) => {
                if let Some(resize) = &resize {
                    for size in sizes.feed(&bytes) {
                        // Only the first is of use, and it finds room.
                        let _ = resize.try_send(size);
                    }
                }
            }
            Some((channel::CLOSE, which)) if codec.close && which[..] == [channel::STDIN] => {
                stdin = None;
            }
            _ => {}
        }
    }
}

/// Tells a client why he is not heard any more, if he listens.
async fn refuse(outgoing: &mut Outgoing, codec: Codec, protocol: &str, times: Times) {
    let status = Status::ended(websocket::NO_ROOM).bytes(protocol);
    let end = CloseFrame {
        code: CloseCode::Size,
        reason: Utf8Bytes::default(),
    };
    let told = async {
        send(outgoing, codec.encode(channel::ERROR, &status), times).await?;
        send(outgoing, Message::Close(Some(end)), times).await
    };
    if !matches!(timeout(times.close, told).await, Ok(Ok(()))) {
        tracing::debug!("a client was not told that its message is too long");
    }
}

async fn send(outgoing: &mut Outgoing, message: Message, times: Times) -> Result<(), Error> {
    // A client that reads nothing may be a paused pager.
    timeout(times.idle, outgoing.send(message))
        .await
        .unwrap_or(Err(Error::ConnectionClosed))
}

/// Until nothing has moved for `limit`.
async fn idle(moved: &Mutex<Instant>, limit: Duration) {
    loop {
        let end = *moved.lock() + limit;
        if Instant::now() >= end {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_each_protocol() {
        let (plain, text) = (
            Codec::of("v5.channel.k8s.io"),
            Codec::of("v4.base64.channel.k8s.io"),
        );
        assert!(plain.close && !plain.base64 && text.base64 && !text.close);
        assert!(!Codec::of("v4.channel.k8s.io").close);
        assert_eq!(plain.encode(1, b"hi"), Message::binary(b"\x01hi".to_vec()));
        assert_eq!(text.encode(1, b"hi"), Message::text("1aGk="));
        for (codec, message, want) in [
            (plain, &b"\0hi"[..], Some((0, &b"hi"[..]))),
            (plain, b"\xff\0", Some((255, b"\0"))),
            (plain, b"", None),
            (text, b"0aGk=", Some((0, b"hi"))),
            (text, b"0", Some((0, b""))),
            (text, b"0a", None),
            (text, b"xaGk=", None),
            (text, b"", None),
        ] {
            let decoded = codec.decode(&Bytes::from_static(message));
            let want = want.map(|(channel, bytes)| (channel, Bytes::from_static(bytes)));
            assert_eq!(decoded, want, "{message:?}");
        }
    }
}
