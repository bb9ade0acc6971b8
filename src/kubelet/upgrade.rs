//! Requests that become streams: what they may become, the answer that says so, and who owns them afterwards.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api_error::ApiError;
use super::spdy;
use super::stream_slots::StreamSlot;

/// What a SPDY client can speak on the streams, and what was chosen.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// What we could have spoken.
const ACCEPTED_PROTOCOLS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");
/// The client has this long to take up the upgrade that it has asked for.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Times of a session. The defaults are the kubelet's (`streaming-connection-idle-timeout`, stream creation).
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// A session on which nothing moves for so long ends.
    pub idle: Duration,
    /// The client has this long to open the streams it needs.
    pub creation: Duration,
    /// How often a session asks whether its client is still there.
    pub ping: Duration,
    /// From the end of the command until the client has its last words.
    pub close: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(4),
            creation: Duration::from_secs(30),
            ping: Duration::from_secs(30),
            close: Duration::from_secs(10),
        }
    }
}

impl Times {
    /// The limits of a SPDY session with so many streams.
    pub(super) fn spdy(&self, streams: usize, stall: Duration) -> spdy::Limits {
        spdy::Limits {
            streams,
            idle: self.idle,
            ping: self.ping,
            stall,
        }
    }
}

/// The sessions of one node: each is a task in here, and all of them end when the node does.
#[derive(Debug, Clone)]
pub struct SessionTracker {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Times of each session.
    pub times: Times,
}

/// A connection that was a request.
pub type Connection = TokioIo<Upgraded>;

impl SessionTracker {
    /// Sessions that end when `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            tasks: TaskTracker::new(),
            stop,
            times: Times::default(),
        }
    }

    /// Cancelled when sessions have to end.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until all sessions have ended, after their `stop` was cancelled.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Answers `request` with `upgrade` and runs `session` on the connection. `slot` is held as long as it runs.
    pub(super) fn start<F>(
        &self,
        mut request: Request,
        upgrade: &Upgrade,
        slot: StreamSlot,
        session: impl FnOnce(Connection) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send,
    {
        let upgraded = hyper::upgrade::on(&mut request);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _slot = slot;
            let upgraded = tokio::select! {
                upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, upgraded) => upgraded,
                () = stop.cancelled() => return,
            };
            match upgraded {
                Ok(Ok(upgraded)) => session(TokioIo::new(upgraded)).await,
                Ok(Err(error)) => tracing::debug!(%error, "a client did not take its upgrade"),
                Err(_) => tracing::debug!("a client did not take its upgrade in time"),
            }
        });
        upgrade.response()
    }
}

/// What a request becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upgrade {
    /// SPDY/3.1 with this protocol on its streams.
    Spdy(&'static str),
    /// A `WebSocket` with this protocol, if the client named any.
    WebSocket {
        protocol: Option<&'static str>,
        /// The proof that we have read the request (RFC 6455, section 4.2.2).
        accept: String,
    },
}

impl Upgrade {
    /// What `headers` ask for, out of these stream protocols and subprotocols. The client's order counts. PURE.
    ///
    /// # Errors
    /// The answer to give: 400 for what is no such request, 403 when no protocol is common to both sides.
    pub fn of(
        headers: &HeaderMap,
        spdy: &[&'static str],
        websocket: &[&'static str],
    ) -> Result<Self, Box<Response>> {
        let bad = |text: &str| Box::new(ApiError::bad_request(text).into_response());
        let upgrade = words(headers, &UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket"));
        if !words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
            return Err(bad("unable to upgrade: missing upgrade headers in request"));
        }
        if upgrade {
            return Self::websocket(headers, websocket);
        }
        if !words(headers, &UPGRADE).any(|word| word.eq_ignore_ascii_case("SPDY/3.1")) {
            return Err(bad("unable to upgrade: missing upgrade headers in request"));
        }
        let mut wanted = words(headers, &STREAM_PROTOCOL).peekable();
        if wanted.peek().is_none() {
            return Err(bad(
                "unable to upgrade: X-Stream-Protocol-Version is required",
            ));
        }
        if let Some(protocol) = common(wanted, spdy) {
            return Ok(Self::Spdy(protocol));
        }
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: server accepts {}",
            spdy.join(", ")
        );
        let mut response = ApiError::new(StatusCode::FORBIDDEN, text).into_response();
        for protocol in spdy {
            let value = HeaderValue::from_static(protocol);
            response.headers_mut().append(ACCEPTED_PROTOCOLS, value);
        }
        Err(Box::new(response))
    }

    fn websocket(headers: &HeaderMap, known: &[&'static str]) -> Result<Self, Box<Response>> {
        let bad = |text: &str| Box::new(ApiError::bad_request(text).into_response());
        if headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != "13")
        {
            return Err(bad("unable to upgrade: Sec-WebSocket-Version must be 13"));
        }
        let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
            return Err(bad("unable to upgrade: Sec-WebSocket-Key is required"));
        };
        let mut wanted = words(headers, &SEC_WEBSOCKET_PROTOCOL).peekable();
        let protocol = if wanted.peek().is_some() {
            let Some(protocol) = common(wanted, known) else {
                let text = format!(
                    "unable to upgrade: no subprotocol in common: server accepts {}",
                    known.join(", ")
                );
                return Err(Box::new(
                    ApiError::new(StatusCode::FORBIDDEN, text).into_response(),
                ));
            };
            Some(protocol)
        } else {
            None
        };
        Ok(Self::WebSocket {
            protocol,
            accept: derive_accept_key(key.as_bytes()),
        })
    }

    fn response(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::Spdy(protocol) => {
                headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
                headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
            }
            Self::WebSocket { protocol, accept } => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                if let Ok(accept) = HeaderValue::from_str(accept) {
                    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
                }
                if let Some(protocol) = protocol {
                    let protocol = HeaderValue::from_static(protocol);
                    headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
                }
            }
        }
        response
    }
}

/// The words of a header, however many lines they are on.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// The first of `wanted` that is `known`.
fn common<'a>(
    mut wanted: impl Iterator<Item = &'a str>,
    known: &[&'static str],
) -> Option<&'static str> {
    wanted.find_map(|word| known.iter().copied().find(|known| *known == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPDY: &[&str] = &["v4.channel.k8s.io", "channel.k8s.io"];
    const SOCKET: &[&str] = &["v5.channel.k8s.io", "base64.channel.k8s.io"];

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn of(lines: &[(&'static str, &str)]) -> Result<Upgrade, Box<Response>> {
        Upgrade::of(&headers(lines), SPDY, SOCKET)
    }

    #[test]
    fn the_client_s_first_choice_that_we_speak() {
        let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let mut five = spdy.to_vec();
        for version in ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"] {
            five.push(("x-stream-protocol-version", version));
        }
        assert_eq!(of(&five).unwrap(), Upgrade::Spdy("v4.channel.k8s.io"));
        let one_line = [
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "spdy/3.1"),
            (
                "x-stream-protocol-version",
                "channel.k8s.io, v4.channel.k8s.io",
            ),
        ];
        assert_eq!(of(&one_line).unwrap(), Upgrade::Spdy("channel.k8s.io"));
        // Key and proof of RFC 6455, section 1.3.
        let socket = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        let mut named = socket.to_vec();
        named.push(("sec-websocket-protocol", "other, base64.channel.k8s.io"));
        for (lines, protocol) in [
            (&socket[..], None),
            (&named[..], Some("base64.channel.k8s.io")),
        ] {
            let accept = accept.clone();
            assert_eq!(of(lines).unwrap(), Upgrade::WebSocket { protocol, accept });
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_right_status() {
        let spdy = ("upgrade", "SPDY/3.1");
        let socket = ("upgrade", "websocket");
        let upgrade = ("connection", "Upgrade");
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (lines, status) in [
            (&[][..], 400),
            (&[spdy][..], 400),
            (&[upgrade, ("upgrade", "h2c")], 400),
            (&[upgrade, spdy], 400),
            (&[upgrade, spdy, ("x-stream-protocol-version", "v9")], 403),
            (&[upgrade, socket, key], 400),
            (&[upgrade, socket, ("sec-websocket-version", "13")], 400),
            (
                &[
                    upgrade,
                    socket,
                    key,
                    ("sec-websocket-version", "13"),
                    ("sec-websocket-protocol", "chat"),
                ],
                403,
            ),
        ] {
            let response = of(lines).unwrap_err();
            assert_eq!(response.status().as_u16(), status, "{lines:?}");
            let accepted = response
                .headers()
                .get_all(ACCEPTED_PROTOCOLS)
                .iter()
                .count();
            assert_eq!(
                accepted,
                if lines.contains(&spdy) && status == 403 {
                    2
                } else {
                    0
                }
            );
        }
    }
}
