//! `WebSocket`s of clients: an upgraded connection becomes messages (RFC 6455).

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::upgrade::Connection;

/// Longest message that is read. `kubectl` sends 32 KiB at most, and others much at once. A session holds three of them: one
/// that comes, one that is handed on in parts, and the rest of the one before.
const MAX_MESSAGE: usize = 2 << 20;

/// Bytes read at a time: a TLS record brings no more. The library fills as many with zeros before each read.
const READ: usize = 16 << 10;

pub(super) type Outgoing = SplitSink<WebSocketStream<Connection>, Message>;
/// What the client sends.
pub(super) type Incoming = SplitStream<WebSocketStream<Connection>>;

/// Both halves of the socket on `connection`.
pub(super) async fn accept(connection: Connection) -> (Outgoing, Incoming) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config))
        .await
        .split()
}

/// The bytes of the next message, text or binary; `None` when the client has closed or is gone. Pings are answered by
/// reading.
pub(super) async fn next(incoming: &mut Incoming) -> Option<Bytes> {
    loop {
        match incoming.next().await? {
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
