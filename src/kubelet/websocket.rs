//! `WebSocket`s of clients: an upgraded connection becomes messages (RFC 6455).

mod metered;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

pub(super) use self::metered::NO_ROOM;
use self::metered::{Meter, Metered};
use super::stream_slots::LongMessages;
use super::upgrade::Connection;

/// Longest message that is read; for one that is longer than `kubectl`'s there has to be room. A session holds two of them: one that
/// comes, and one that is handed on.
const MAX_MESSAGE: usize = 2 << 20;

/// Bytes read at a time: a TLS record brings no more. The library fills as many with zeros before each read.
const READ: usize = 16 << 10;

pub(super) type Outgoing = SplitSink<Socket, Message>;
type Socket = WebSocketStream<Metered<Connection>>;

/// What the client sends.
pub(super) struct Incoming {
    messages: SplitStream<Socket>,
    meter: Meter,
}

/// Both halves of the socket on `connection`.
pub(super) async fn accept(connection: Connection, long: LongMessages) -> (Outgoing, Incoming) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let (connection, meter) = Metered::new(connection, long);
    let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    let (outgoing, messages) = socket.split();
    (outgoing, Incoming { messages, meter })
}

impl Incoming {
    /// Tells whether a message was too long for the room that was left.
    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

/// The bytes of the next message, text or binary; `None` when the client has closed or is gone. Pings are answered by
/// reading. The message before has been handed on.
pub(super) async fn next(incoming: &mut Incoming) -> Option<Bytes> {
    loop {
        incoming.meter.begin();
        match incoming.messages.next().await? {
            Ok(Message::Binary(bytes)) => return Some(bytes),
            Ok(Message::Text(text)) => return Some(text.into()),
            Ok(Message::Close(_)) => return None,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the socket of a client broke");
                return None;
            }
        }
    }
}

/// A byte stream in binary messages, whose borders mean nothing.
pub(super) fn tunnel(
    (outgoing, incoming): (Outgoing, Incoming),
) -> impl AsyncRead + AsyncWrite + Send {
    let read = futures::stream::unfold(incoming, |mut incoming| async move {
        let bytes = next(&mut incoming).await?;
        Some((Ok::<_, std::io::Error>(bytes), incoming))
    });
    let write = outgoing
        .sink_map_err(std::io::Error::other)
        .with(|bytes: Bytes| std::future::ready(Ok::<_, std::io::Error>(Message::Binary(bytes))));
    tokio::io::join(
        StreamReader::new(Box::pin(read)),
        SinkWriter::new(CopyToBytes::new(write)),
    )
}
