//! The `WebSocket` of an exec or attach session.
//!
//! The address and the password come from ARM. exec: the first message is the password as text; then what is typed
//! goes out in binary messages, and what is shown comes in text or binary ones. The end of the process closes the
//! socket. There is neither a resize nor an exit code (as the Azure CLI uses it).

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use reqwest::Upgraded;
use reqwest::header::{
    AUTHORIZATION, CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use self::frames::{Frame, Kind};
use super::error::{AzureError, CONNECTION_FAILED, CONNECTION_LOST, ErrorClass};
use super::model::SecretText;
use crate::causes::chain;

mod frames;

/// From the request to the first message.
const CONNECT: Duration = Duration::from_secs(15);
/// One message out; a socket that takes none for so long is dead.
const SEND: Duration = Duration::from_secs(60);
/// How often the other side is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// Bytes read at a time.
const READ: usize = 16 * 1024;
/// Bytes collected for one write.
const WRITE: usize = 16 * 1024;
/// Answers to pings that wait; what asks for more is no server but a flood.
const ANSWERS: usize = 16;
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
    pub input: mpsc::Sender<Bytes>,
    /// What is shown; its end is the end of the process, or of the connection.
    pub output: mpsc::Receiver<Bytes>,
    /// What moves both; nothing happens unless it is polled.
    pub driver: Driver,
}

/// Moves the messages of a session.
#[derive(Debug)]
pub struct Driver {
    socket: Upgraded,
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
) -> Result<Upgraded, AzureError> {
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
    // A nonce, not a secret: it proves that the answer was made for this request.
    let key = STANDARD.encode([random(), random()].concat());
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
    let mut socket = response.upgrade().await.map_err(failed)?;
    let mut first = BytesMut::new();
    frames::put(&mut first, Kind::Text, password.expose().as_bytes(), mask());
    let sent = async {
        socket.write_all(&first).await?;
        socket.flush().await
    };
    let sent = sent.await;
    // The copy is masked, not hidden.
    first.fill(0);
    sent.map_err(|error| broken(&error))?;
    Ok(socket)
}

fn random() -> [u8; 8] {
    // A hasher with random keys is all the randomness a mask needs.
    RandomState::new().hash_one(0).to_be_bytes()
}

fn mask() -> [u8; 4] {
    let [a, b, c, d, ..] = random();
    [a, b, c, d]
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
        let (mut input, mut output) = tokio::io::split(socket);
        let (answer, mut answers) = mpsc::channel::<Bytes>(ANSWERS);
        let reading = async move {
            let mut buffer = BytesMut::new();
            loop {
                while let Some(frame) =
                    frames::decode(&mut buffer).map_err(|error| broken(&error))?
                {
                    match frame {
                        Frame::Data(bytes) if bytes.is_empty() => {}
                        Frame::Data(bytes) => {
                            if shown.send(bytes).await.is_err() {
                                return Ok(());
                            }
                        }
                        Frame::Ping(bytes) => {
                            // A ping that came before its predecessors were answered needs no answer of its own.
                            let _ = answer.try_send(bytes);
                        }
                        Frame::Pong => {}
                        Frame::Close => return Ok(()),
                    }
                }
                buffer.reserve(READ);
                match input.read_buf(&mut buffer).await {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return Err(broken(&error)),
                }
            }
        };
        let writing = async {
            let mut pings = interval_at(Instant::now() + PING, PING);
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut buffer = BytesMut::new();
            loop {
                let (kind, bytes) = tokio::select! {
                    Some(bytes) = answers.recv() => (Kind::Pong, bytes),
                    bytes = typed.recv() => match bytes {
                        Some(bytes) => (Kind::Binary, bytes),
                        None => (Kind::Close, Bytes::new()),
                    },
                    _ = pings.tick() => (Kind::Ping, Bytes::new()),
                };
                frames::put(&mut buffer, kind, &bytes, mask());
                // What waits goes into the same write.
                while kind != Kind::Close
                    && buffer.len() < WRITE
                    && let Ok(bytes) = typed.try_recv()
                {
                    frames::put(&mut buffer, Kind::Binary, &bytes, mask());
                }
                let sent = async {
                    output.write_all_buf(&mut buffer).await?;
                    output.flush().await
                };
                match timeout(SEND, sent).await {
                    Ok(Ok(())) if kind == Kind::Close => return Ok(()),
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

fn broken(error: &(dyn std::error::Error + 'static)) -> AzureError {
    let text = format!("the container's session broke: {}", chain(error));
    AzureError::local(ErrorClass::Connection, CONNECTION_LOST, &text)
}
