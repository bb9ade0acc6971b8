//! A SPDY connection that a client has opened: its streams, and the driver that moves them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::frame::{
    Decoder, Frame, FrameError, put_data, put_goaway, put_ping, put_reset, put_syn_reply, reset,
};
use super::headers::{HeaderWriter, Headers};
use super::parts::{Held, Room, part};
use super::stream::{Control, Entry, Outgoing, Shared, Stream};

/// Bytes read at a time: the largest part in which a stream's data comes.
const READ: usize = 32 * 1024;
/// Parts that wait for a stream's reader before the connection is read no further; of all streams together [`Room`] has some more.
const STREAM_QUEUE: usize = 8;
/// Parts that wait to be written, of 64 KB at most.
const DATA_QUEUE: usize = 4;
/// Control frames that wait to be written. Who makes more wait floods us.
const CONTROL_QUEUE: usize = 1024;
/// Bytes collected for one write.
const WRITE: usize = 64 * 1024;
/// Longest wait for the client to close after our goodbye, while what it still sends is thrown away: closing first
/// could cost it what it has not read yet.
const LINGER: Duration = Duration::from_secs(5);

/// What a session may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams open at once; more are refused.
    pub streams: usize,
    /// A session without a stream's frame for so long ends.
    pub idle: Duration,
    /// How often a ping is sent: a dead connection is found by it.
    pub ping: Duration,
    /// A stream whose reader takes nothing for so long, while the connection waits for it, is reset.
    pub stall: Duration,
}

/// Why a session ended that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client broke the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The client used a stream ID that it may not use.
    #[error("stream {0} was opened out of order")]
    StreamId(u32),
    /// The client makes us send more than can wait.
    #[error("the client asks for more answers than it reads")]
    Flood,
    /// Nothing moved for too long.
    #[error("the connection was idle for too long")]
    Idle,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}

/// The streams of a connection, as the client opens them.
#[derive(Debug)]
pub struct Session {
    incoming: mpsc::Receiver<Stream>,
    control: mpsc::Sender<Control>,
}

impl Session {
    /// The next stream that the client opens; `None` when there will be none.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await
    }

    /// Ends the connection after what was written so far: the driver writes it, says goodbye, and is done when the
    /// client has closed or had its time to.
    pub fn close(&self) {
        // A full queue belongs to a client that does not read; the driver ends such a session itself.
        let _ = self.control.try_send(Control::Goodbye(0));
    }
}

/// Takes over `io`. The session does nothing unless the driver is polled; the driver ends with the connection, and
/// dropping it drops the connection.
pub fn serve<T>(
    io: T,
    limits: Limits,
) -> (
    Session,
    impl Future<Output = Result<(), SessionError>> + Send,
)
where
    T: AsyncRead + AsyncWrite + Send,
{
    let (control, controls) = mpsc::channel(CONTROL_QUEUE);
    let (data, outgoing) = mpsc::channel(DATA_QUEUE);
    let (opened, incoming) = mpsc::channel(limits.streams.max(1));
    let shared = Arc::new(Shared {
        open: Mutex::new(HashMap::new()),
        control: control.clone(),
        data,
    });
    let clock = Clock(Mutex::new(Instant::now()));
    let driver = drive(io, shared, opened, controls, outgoing, limits, clock);
    (Session { incoming, control }, driver)
}

/// When a stream's frame was last seen.
struct Clock(Mutex<Instant>);

impl Clock {
    fn touch(&self) {
        *self.0.lock() = Instant::now();
    }

    fn idle(&self) -> Duration {
        self.0.lock().elapsed()
    }
}

async fn drive<T: AsyncRead + AsyncWrite + Send>(
    io: T,
    shared: Arc<Shared>,
    opened: mpsc::Sender<Stream>,
    controls: mpsc::Receiver<Control>,
    outgoing: mpsc::Receiver<Outgoing>,
    limits: Limits,
    clock: Clock,
) -> Result<(), SessionError> {
    let (input, mut output) = tokio::io::split(io);
    let mut read = std::pin::pin!(
        Reading {
            shared: &shared,
            opened,
            last: 0,
            limits,
            clock: &clock,
            room: Room::new(),
        }
        .run(input)
    );
    let result = {
        let mut write =
            std::pin::pin!(Writing::new(limits, &clock)?.run(&mut output, controls, outgoing));
        tokio::select! {
            result = &mut write => result.map(|()| true),
            result = &mut read => match result {
                Ok(()) => Ok(false),
                Err(error) => {
                    // Say why, if the client still listens.
                    let _ = shared.control.try_send(Control::Goodbye(1));
                    let _ = tokio::time::timeout(LINGER, write).await;
                    Err(error)
                }
            },
        }
    };
    // Whoever still reads a stream sees its end.
    shared.open.lock().clear();
    if let Ok(true) = result {
        let closing = async {
            output.shutdown().await?;
            read.await
        };
        return tokio::time::timeout(LINGER, closing)
            .await
            .unwrap_or(Ok(()));
    }
    result.map(|_| ())
}

struct Reading<'a> {
    shared: &'a Arc<Shared>,
    opened: mpsc::Sender<Stream>,
    last: u32,
    limits: Limits,
    clock: &'a Clock,
    room: Room,
}

impl Reading<'_> {
    /// Until the client closes.
    async fn run(mut self, mut input: impl AsyncRead + Unpin) -> Result<(), SessionError> {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
        loop {
            while let Some(frame) = decoder.decode(&mut buffer)? {
                self.frame(frame).await?;
            }
            buffer.reserve(READ);
            // `take` keeps a part of a stream's data small, however much the buffer has room for.
            let mut room = (&mut input).take(READ as u64);
            if room.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            // TLS hands out record by record: what is there of the next comes along.
            while let Some(read) = room.read_buf(&mut buffer).now_or_never() {
                if read? == 0 {
                    break;
                }
            }
        }
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        match frame {
            Frame::SynStream {
                stream,
                fin,
                headers,
            } => {
                self.clock.touch();
                self.open(stream, fin, headers)
            }
            Frame::Data { stream, bytes, fin } => {
                self.clock.touch();
                self.data(stream, bytes).await?;
                if fin {
                    self.shared.end_reading(stream);
                }
                Ok(())
            }
            Frame::Headers { stream, fin: true } => {
                self.shared.end_reading(stream);
                Ok(())
            }
            Frame::Reset { stream, .. } => {
                self.shared.open.lock().remove(&stream);
                Ok(())
            }
            // Odd pings are the client's; even ones are answers to ours.
            Frame::Ping(id) if id % 2 == 1 => self.control(Control::Ping(id)),
            Frame::Ping(_) | Frame::GoAway | Frame::SynReply { .. } | Frame::Headers { .. } => {
                Ok(())
            }
        }
    }

    fn open(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), SessionError> {
        if id.is_multiple_of(2) || id <= self.last {
            return Err(SessionError::StreamId(id));
        }
        self.last = id;
        let (inbound, parts) = mpsc::channel(STREAM_QUEUE);
        let gone = CancellationToken::new();
        {
            let mut open = self.shared.open.lock();
            if open.len() >= self.limits.streams {
                drop(open);
                return self.control(Control::Reset(id, reset::REFUSED_STREAM));
            }
            let entry = Entry {
                inbound: (!fin).then_some(inbound),
                held: Held::default(),
                writing: true,
                gone: gone.clone().drop_guard(),
            };
            open.insert(id, entry);
        }
        // At once and before any data: clients throw away what comes on a stream without a reply.
        self.control(Control::Reply(id))?;
        let stream = Stream::new(id, headers, parts, gone, Arc::clone(self.shared));
        // Nobody accepts streams any more: dropping the stream resets it.
        let _ = self.opened.try_send(stream);
        Ok(())
    }

    async fn data(&self, id: u32, bytes: Bytes) -> Result<(), SessionError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if id > self.last {
            return self.control(Control::Reset(id, reset::INVALID_STREAM));
        }
        let entry = self.shared.open.lock().get(&id).map(|entry| {
            let inbound = entry.inbound.clone();
            (inbound, entry.held.clone())
        });
        // Without an entry the stream ended a moment ago: the client does not know yet.
        let Some((Some(inbound), held)) = entry else {
            return Ok(());
        };
        let room = loop {
            if let Some(room) = self.room.take(Instant::now() + self.limits.stall).await {
                break room;
            }
            // All that there is waits for readers: the stream that has most of it goes, whichever that is.
            let longest = self.longest().unwrap_or(id);
            self.shared.open.lock().remove(&longest);
            self.control(Control::Reset(longest, reset::FLOW_CONTROL_ERROR))?;
            if longest == id {
                return Ok(());
            }
        };
        let bytes = part(bytes, room, held);
        // A reader that is gone wants no data; that is no fault of the client's.
        if tokio::time::timeout(self.limits.stall, inbound.send(bytes))
            .await
            .is_err()
        {
            self.shared.open.lock().remove(&id);
            return self.control(Control::Reset(id, reset::FLOW_CONTROL_ERROR));
        }
        Ok(())
    }

    /// The stream that has most in memory.
    fn longest(&self) -> Option<u32> {
        let open = self.shared.open.lock();
        let held = open.iter().map(|(id, entry)| (entry.held.count(), *id));
        held.max().map(|(_, id)| id)
    }

    fn control(&self, control: Control) -> Result<(), SessionError> {
        match self.shared.control.try_send(control) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(SessionError::Flood),
            // Closed: our goodbye is on its way.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }
}

struct Writing<'a> {
    headers: HeaderWriter,
    buffer: BytesMut,
    last: u32,
    limits: Limits,
    clock: &'a Clock,
}

impl<'a> Writing<'a> {
    fn new(limits: Limits, clock: &'a Clock) -> Result<Self, FrameError> {
        Ok(Self {
            headers: HeaderWriter::new()?,
            buffer: BytesMut::new(),
            last: 0,
            limits,
            clock,
        })
    }

    /// Until the goodbye is written.
    async fn run(
        mut self,
        output: &mut (impl AsyncWrite + Unpin),
        mut controls: mpsc::Receiver<Control>,
        mut outgoing: mpsc::Receiver<Outgoing>,
    ) -> Result<(), SessionError> {
        let mut pings =
            tokio::time::interval_at(Instant::now() + self.limits.ping, self.limits.ping);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ping = 0_u32;
        loop {
            let mut goodbye = None;
            tokio::select! {
                biased;
                Some(control) = controls.recv() => goodbye = self.control(control)?,
                Some(part) = outgoing.recv() => self.data(&part),
                _ = pings.tick() => {
                    if self.clock.idle() >= self.limits.idle {
                        return Err(SessionError::Idle);
                    }
                    // Ours are even.
                    ping = ping.wrapping_add(2);
                    put_ping(&mut self.buffer, ping);
                }
            }
            // More that waits goes into the same write; a reply always before its stream's data.
            while goodbye.is_none() && self.buffer.len() < WRITE {
                if let Ok(control) = controls.try_recv() {
                    goodbye = self.control(control)?;
                } else if let Ok(part) = outgoing.try_recv() {
                    self.data(&part);
                } else {
                    break;
                }
            }
            if goodbye.is_some() {
                controls.close();
                outgoing.close();
                while let Ok(part) = outgoing.try_recv() {
                    self.data(&part);
                }
            }
            if let Some(status) = goodbye {
                put_goaway(&mut self.buffer, self.last, status);
            }
            let writing = async {
                output.write_all_buf(&mut self.buffer).await?;
                output.flush().await
            };
            tokio::time::timeout(self.limits.idle, writing)
                .await
                .map_err(|_| SessionError::Idle)??;
            if goodbye.is_some() {
                return Ok(());
            }
        }
    }

    fn control(&mut self, control: Control) -> Result<Option<u32>, FrameError> {
        match control {
            Control::Reply(id) => {
                self.last = id;
                let block = self.headers.write(&Headers::default())?;
                put_syn_reply(&mut self.buffer, id, &block);
            }
            Control::Reset(id, status) => put_reset(&mut self.buffer, id, status),
            Control::Ping(id) => put_ping(&mut self.buffer, id),
            Control::Goodbye(status) => return Ok(Some(status)),
        }
        Ok(None)
    }

    fn data(&mut self, part: &Outgoing) {
        self.clock.touch();
        match part {
            Outgoing::Data(id, bytes) => put_data(&mut self.buffer, *id, bytes, false),
            Outgoing::Fin(id) => put_data(&mut self.buffer, *id, &[], true),
        }
    }
}
