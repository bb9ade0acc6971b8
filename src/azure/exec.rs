//! The `WebSocket` of an exec or attach session.
//!
//! The address and the password come from ARM. exec: the first message is the password as text; then what is typed
//! goes out in binary messages, and what is shown comes in text or binary ones. The end of the process closes the
//! socket. There is neither a resize nor an exit code (as the Azure CLI uses it).

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use reqwest::header::{
    AUTHORIZATION, CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::error::{AzureError, CONNECTION_FAILED, CONNECTION_LOST, ErrorClass, chain};
use super::model::SecretText;

/// From the request to the first message.
const CONNECT: Duration = Duration::from_secs(15);
/// One message out; a socket that takes none for so long is dead.
const SEND: Duration = Duration::from_secs(60);
/// How often the other side is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// Longest message in. A terminal's are a few kilobytes.
const MAX_MESSAGE: usize = 1 << 20;
/// Messages that wait on their way in or out.
const QUEUE: usize = 16;

/// How a session knows us.
#[derive(Debug)]
pub(super) enum Authentication {
    /// exec: the password is the first message.
    FirstMessage(SecretText),
    /// attach: its documentation says header; its sibling takes the first message. Input of attach goes nowhere, so
    /// that saying it twice does no harm.
    HeaderAndFirstMessage(SecretText),
}

/// A connected session. Dropping `input` closes it.
#[derive(Debug)]
pub struct Socket {
    /// What is typed.
    pub input: mpsc::Sender<Bytes>,
    /// What is shown; its end is the end of the process, or of the connection.
    pub output: mpsc::Receiver<Bytes>,
    /// What moves both; nothing happens unless it is polled.
    pub driver: Driver,
}

/// Moves the messages of a session.
#[derive(Debug)]
pub struct Driver {
    socket: WebSocketStream<reqwest::Upgraded>,
    typed: mpsc::Receiver<Bytes>,
    shown: mpsc::Sender<Bytes>,
}

/// Connects to the session at `uri`.
pub(super) async fn connect(
    client: &reqwest::Client,
    uri: &str,
    authentication: Authentication,
) -> Result<Socket, AzureError> {
    let opening = open(client, uri, authentication);
    let socket = timeout(CONNECT, opening).await.unwrap_or_else(|_| {
        Err(AzureError::timeout(
            "the connection to the container",
            CONNECT,
        ))
    })?;
    let (input, typed) = mpsc::channel(QUEUE);
    let (shown, output) = mpsc::channel(QUEUE);
    let driver = Driver {
        socket,
        typed,
        shown,
    };
    Ok(Socket {
        input,
        output,
        driver,
    })
}

async fn open(
    client: &reqwest::Client,
    uri: &str,
    authentication: Authentication,
) -> Result<WebSocketStream<reqwest::Upgraded>, AzureError> {
    let unusable = |text: &str| AzureError::protocol(Some(200), text);
    // A password travels over it: nothing but TLS will do.
    let address = uri
        .strip_prefix("wss://")
        .map(|rest| format!("https://{rest}"))
        .ok_or_else(|| unusable("webSocketUri does not begin with wss://"))?;
    let failed = |error: reqwest::Error| {
        let text = format!(
            "no connection to the container's session: {} (its port, 19390, must be reachable)",
            chain(&error.without_url())
        );
        AzureError::local(ErrorClass::Connection, CONNECTION_FAILED, &text)
    };
    let key = generate_key();
    let mut request = client
        .get(address)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    let password = match authentication {
        Authentication::FirstMessage(password) => password,
        Authentication::HeaderAndFirstMessage(password) => {
            // A password that cannot be a header can still be a message.
            if let Ok(mut value) = HeaderValue::from_str(password.expose()) {
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            password
        }
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if status != 101
        || accept
            .is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        let text = format!("the container's session was refused with status {status}");
        return Err(AzureError::local(
            ErrorClass::Protocol,
            "SessionRefused",
            &text,
        ));
    }
    let upgraded = response.upgrade().await.map_err(failed)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
    let first = Message::text(password.expose().to_owned());
    socket.send(first).await.map_err(|error| broken(&error))?;
    Ok(socket)
}

impl Driver {
    /// Moves messages until the session ends: well, when the other side closes or nobody types or reads any more.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn run(self) -> Result<(), AzureError> {
        let Self {
            socket,
            mut typed,
            shown,
        } = self;
        let (mut sink, mut stream) = socket.split();
        let reading = async move {
            while let Some(message) = stream.next().await {
                let bytes = match message {
                    Ok(Message::Binary(bytes)) => bytes,
                    Ok(Message::Text(text)) => text.into(),
                    Ok(Message::Close(_))
                    | Err(SocketError::ConnectionClosed | SocketError::AlreadyClosed) => break,
                    Ok(_) => continue,
                    Err(error) => return Err(broken(&error)),
                };
                if !bytes.is_empty() && shown.send(bytes).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let writing = async {
            let mut pings = interval_at(Instant::now() + PING, PING);
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let message = tokio::select! {
                    bytes = typed.recv() => bytes.map_or(Message::Close(None), Message::Binary),
                    _ = pings.tick() => Message::Ping(Bytes::new()),
                };
                let last = matches!(message, Message::Close(_));
                let sent = async {
                    sink.feed(message).await?;
                    // What waits goes into the same write.
                    while let (false, Ok(bytes)) = (last, typed.try_recv()) {
                        sink.feed(Message::Binary(bytes)).await?;
                    }
                    sink.flush().await
                };
                match timeout(SEND, sent).await {
                    Ok(Ok(())) if last => return Ok(()),
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(broken(&error)),
                    Err(_) => {
                        return Err(AzureError::timeout("a message to the container", SEND));
                    }
                }
            }
        };
        tokio::select! {
            result = reading => result,
            result = writing => result,
        }
    }
}

fn broken(error: &SocketError) -> AzureError {
    let text = format!("the container's session broke: {}", chain(error));
    AzureError::local(ErrorClass::Connection, CONNECTION_LOST, &text)
}
