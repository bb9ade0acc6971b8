//! Counts what is read of a message: a long one needs room, of which there is little.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::kubelet::stream_slots::LongMessages;
use crate::shares::Share;

/// A message of this length needs no room; those of `kubectl` have 32 KiB.
const SHORT: usize = 64 << 10;

/// Said to a client for whose message there is no room.
pub(in crate::kubelet) const NO_ROOM: &str =
    "there is no room for another message of more than 64 KiB: send shorter ones";

/// What is known of the message that is being read.
#[derive(Debug, Clone)]
pub(in crate::kubelet) struct Meter(Arc<Mutex<Message>>);

#[derive(Debug)]
struct Message {
    long: LongMessages,
    read: usize,
    room: Option<Share<String>>,
    refused: bool,
}

impl Meter {
    /// Another message begins; the one before is not kept any more.
    pub(super) fn begin(&self) {
        let mut message = self.0.lock();
        message.read = 0;
        message.room = None;
    }

    /// There was no room for a message.
    pub(in crate::kubelet) fn has_refused(&self) -> bool {
        self.0.lock().refused
    }

    fn read(&self, bytes: usize) -> io::Result<()> {
        let mut message = self.0.lock();
        message.read = message.read.saturating_add(bytes);
        if message.read > SHORT && message.room.is_none() {
            message.room = message.long.room();
            message.refused = message.room.is_none();
        }
        if message.refused {
            return Err(io::Error::other(NO_ROOM));
        }
        Ok(())
    }
}

/// A connection whose messages are measured.
#[derive(Debug)]
pub(in crate::kubelet) struct Metered<S> {
    stream: S,
    meter: Meter,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, long: LongMessages) -> (Self, Meter) {
        let meter = Meter(Arc::new(Mutex::new(Message {
            long,
            read: 0,
            room: None,
            refused: false,
        })));
        let metered = Self {
            stream,
            meter: meter.clone(),
        };
        (metered, meter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        Poll::Ready(self.meter.read(into.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
