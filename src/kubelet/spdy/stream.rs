//! One stream of a session, and what the session keeps of it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::frame::reset;
use super::headers::Headers;
use super::parts::Held;

/// The stream, or its connection, is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is closed")]
pub struct Closed;

/// A small frame that may be sent at any time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control {
    Reply(u32),
    Reset(u32, u32),
    Ping(u32),
    /// Write what waits, then say goodbye with this status and end.
    Goodbye(u32),
}

/// Something that keeps its place behind the data before it.
#[derive(Debug)]
pub(super) enum Outgoing {
    Data(u32, Bytes),
    Fin(u32),
}

/// What the session keeps of an open stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// `None` once the client has sent its end.
    pub(super) inbound: Option<mpsc::Sender<Bytes>>,
    /// What of it is in memory.
    pub(super) held: Held,
    /// False once we have sent ours.
    pub(super) writing: bool,
    /// Tells the stream's holders when the entry goes before both ends were sent.
    pub(super) gone: DropGuard,
}

/// What a session and its streams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) open: Mutex<HashMap<u32, Entry>>,
    pub(super) control: mpsc::Sender<Control>,
    pub(super) data: mpsc::Sender<Outgoing>,
}

impl Shared {
    /// Ends our side of `stream`.
    fn end_writing(&self, stream: u32) {
        let mut open = self.open.lock();
        if let Some(entry) = open.get_mut(&stream) {
            entry.writing = false;
            if entry.inbound.is_none() {
                ended_well(open.remove(&stream));
            }
        }
    }

    /// Ends the client's side of `stream`: its reader sees the end after what is still in its buffer.
    pub(super) fn end_reading(&self, stream: u32) {
        let mut open = self.open.lock();
        if let Some(entry) = open.get_mut(&stream) {
            entry.inbound = None;
            if !entry.writing {
                ended_well(open.remove(&stream));
            }
        }
    }

    fn is_open(&self, stream: u32) -> bool {
        self.open
            .lock()
            .get(&stream)
            .is_some_and(|entry| entry.writing)
    }
}

/// Nobody has to be told: what was received may still be in use.
fn ended_well(entry: Option<Entry>) {
    if let Some(entry) = entry {
        entry.gone.disarm();
    }
}

/// A stream that the client has opened. Dropping both halves resets it, unless our end was sent: then the client may
/// read on, and what it still sends is thrown away.
#[derive(Debug)]
pub struct Stream {
    /// Its ID: odd, and higher than that of any stream before it.
    pub id: u32,
    pub headers: Headers,
    /// What the client sends.
    pub reader: StreamReader,
    pub writer: StreamWriter,
}

impl Stream {
    pub(super) fn new(
        id: u32,
        headers: Headers,
        inbound: mpsc::Receiver<Bytes>,
        gone: CancellationToken,
        shared: Arc<Shared>,
    ) -> Self {
        let guard = Arc::new(Guard { id, gone, shared });
        Self {
            id,
            headers,
            reader: StreamReader {
                inbound,
                _guard: Arc::clone(&guard),
            },
            writer: StreamWriter { guard },
        }
    }
}

/// Resets the stream when both halves are gone before our end was sent. A reset after it would overtake it.
#[derive(Debug)]
struct Guard {
    id: u32,
    gone: CancellationToken,
    shared: Arc<Shared>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        if open.get(&self.id).is_some_and(|entry| entry.writing) {
            open.remove(&self.id);
            // A full queue means that the session is ending anyway.
            let _ = self
                .shared
                .control
                .try_send(Control::Reset(self.id, reset::CANCEL));
        }
    }
}

/// The client's side of a stream.
#[derive(Debug)]
pub struct StreamReader {
    inbound: mpsc::Receiver<Bytes>,
    _guard: Arc<Guard>,
}

impl StreamReader {
    /// The next bytes; `None` after the client's end, and when the stream or the connection is gone.
    pub async fn read(&mut self) -> Option<Bytes> {
        self.inbound.recv().await
    }

    /// As [`StreamReader::read`], when they are there already.
    pub fn read_now(&mut self) -> Option<Bytes> {
        self.inbound.try_recv().ok()
    }
}

/// Our side of a stream.
#[derive(Debug)]
pub struct StreamWriter {
    guard: Arc<Guard>,
}

impl StreamWriter {
    /// Sends `bytes`, waiting while too much waits already.
    ///
    /// # Errors
    /// [`Closed`] when the client has reset the stream, the connection is gone, or our end was sent.
    pub async fn write(&self, bytes: Bytes) -> Result<(), Closed> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Guard { id, shared, .. } = &*self.guard;
        if !shared.is_open(*id) {
            return Err(Closed);
        }
        let data = shared.data.send(Outgoing::Data(*id, bytes));
        data.await.map_err(|_| Closed)
    }

    /// Waits until the stream is over before its time: reset by the client, or lost with its connection.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        self.guard.gone.clone().cancelled_owned()
    }

    /// Sends our end, behind all that was written.
    ///
    /// # Errors
    /// [`Closed`] as for [`StreamWriter::write`].
    pub async fn finish(&self) -> Result<(), Closed> {
        let Guard { id, shared, .. } = &*self.guard;
        if !shared.is_open(*id) {
            return Err(Closed);
        }
        let sent = shared.data.send(Outgoing::Fin(*id)).await;
        shared.end_writing(*id);
        sent.map_err(|_| Closed)
    }
}
