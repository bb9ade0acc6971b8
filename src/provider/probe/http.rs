//! Requests to a container, as a kubelet sends them: any certificate will do, no proxy, no connection is kept, and an answer
//! may lead on within the same host.
//!
//! Whoever answers is somebody's program: what it sends is read no further than the end of a header of bounded size.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use ::http::response::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use azure_core::http::Url;
use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tcp::{NoConnection, connect};
use super::{ProbeAnswer, USER_AGENT as OURS, tls};
use crate::causes::chain;

/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// A pod that has not answered in time gets this long to show that it is there at all.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Longest header of an answer, and its fields: 256 probes of a node run at once.
const HEADER: usize = 32 << 10;
const FIELDS: usize = 100;

const LATE: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";

/// Sends requests to containers.
#[derive(Debug, Clone)]
pub(in crate::provider) struct Client(Result<Arc<ClientConfig>, String>);

/// Why no answer came.
pub(in crate::provider) enum NoAnswer {
    /// Not in time.
    Late,
    /// The system made no connection.
    NoConnection {
        why: String,
        error: io::Error,
    },
    Broken(String),
}

impl NoAnswer {
    fn broken(error: &(dyn Error + 'static)) -> Self {
        Self::Broken(chain(error))
    }
}

impl Client {
    pub(in crate::provider) fn new() -> Self {
        Self(tls::trusting_all().map_err(|error| chain(&error)))
    }

    /// The answer to a GET of `url` without its body; it ends within `time`.
    pub(in crate::provider) async fn get<'h>(
        &self,
        url: &str,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
        time: Duration,
    ) -> Result<Parts, NoAnswer> {
        let mut all = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("*/*")),
            (CONNECTION, HeaderValue::from_static("close")),
            (USER_AGENT, HeaderValue::from_static(OURS)),
        ]);
        for (name, value) in headers {
            let name = HeaderName::try_from(name).map_err(|error| NoAnswer::broken(&error))?;
            let value = HeaderValue::try_from(value).map_err(|error| NoAnswer::broken(&error))?;
            all.insert(name, value);
        }
        let answer = timeout(time, self.follow(url, &all)).await;
        answer.unwrap_or(Err(NoAnswer::Late))
    }

    async fn follow(&self, url: &str, headers: &HeaderMap) -> Result<Parts, NoAnswer> {
        let mut url = Url::parse(url).map_err(|error| NoAnswer::broken(&error))?;
        let mut redirects = 0;
        loop {
            let answer = self.ask(&url, headers).await?;
            match leads_to(&url, &answer) {
                Some(next) if redirects < REDIRECTS => url = next,
                _ => return Ok(answer),
            }
            redirects += 1;
        }
    }

    async fn ask(&self, url: &Url, headers: &HeaderMap) -> Result<Parts, NoAnswer> {
        let no_address = || NoAnswer::Broken(format!("{url} has no address"));
        let host = url.host_str().ok_or_else(no_address)?;
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        let ip: IpAddr = ip.parse().map_err(|_| no_address())?;
        let port = url.port_or_known_default().ok_or_else(no_address)?;
        let stream = TcpStream::connect((ip, port)).await;
        let stream = stream.map_err(|error| NoAnswer::NoConnection {
            why: error.to_string(),
            error,
        })?;
        let request = request(url, headers).map_err(|error| NoAnswer::broken(&error))?;
        if url.scheme() == "https" {
            let config = self.0.clone().map_err(NoAnswer::Broken)?;
            let stream = TlsConnector::from(config).connect(ServerName::from(ip), stream);
            let stream = stream.await.map_err(|error| NoAnswer::broken(&error))?;
            exchange(stream, request).await
        } else {
            exchange(stream, request).await
        }
    }

    /// Whether the container answers with 200 to 399.
    pub(super) async fn probe(
        &self,
        address: SocketAddr,
        https: bool,
        path: &str,
        headers: &[(Box<str>, Box<str>)],
        time: Duration,
    ) -> ProbeAnswer {
        let scheme = if https { "https" } else { "http" };
        let url = format!("{scheme}://{address}{path}");
        let headers = headers.iter().map(|(name, value)| (&**name, &**value));
        let told = |why: &str| format!("Get \"{url}\": {why}");
        let answer = match self.get(&url, headers, time).await {
            Ok(answer) => answer,
            Err(NoAnswer::Late) => {
                let text = told(LATE);
                return match connect(address, time.min(SIGN_OF_LIFE)).await {
                    Ok(_) => ProbeAnswer::Failure(text),
                    Err(none) => none.answer(|_| text),
                };
            }
            Err(NoAnswer::NoConnection { error, .. }) => {
                return NoConnection::of(&error, address).answer(told);
            }
            Err(NoAnswer::Broken(why)) => return ProbeAnswer::Failure(told(&why)),
        };
        let status = answer.status;
        if status.is_redirection() && answer.headers.contains_key(LOCATION) {
            ProbeAnswer::Warning("Probe terminated redirects".to_owned())
        } else if status.is_success() || status.is_redirection() {
            ProbeAnswer::Success
        } else {
            let status = status.as_u16();
            ProbeAnswer::Failure(format!("HTTP probe failed with statuscode: {status}"))
        }
    }
}

fn request(url: &Url, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, ::http::Error> {
    let target = url.query().map_or_else(
        || url.path().to_owned(),
        |query| format!("{}?{query}", url.path()),
    );
    let mut request = Request::get(target).body(Empty::new())?;
    request.headers_mut().clone_from(headers);
    if !headers.contains_key(HOST) {
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let host = HeaderValue::try_from(host)?;
        request.headers_mut().insert(HOST, host);
    }
    Ok(request)
}

/// One request over a connection that ends with its answer's header.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Empty<Bytes>>,
) -> Result<Parts, NoAnswer> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEADER).max_headers(FIELDS);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| NoAnswer::broken(&error))?;
    let (answer, connection) = (pin!(sender.send_request(request)), pin!(connection));
    let answer = match select(answer, connection).await {
        Either::Left((answer, _)) => answer,
        // Whoever waits is told why it has ended.
        Either::Right((_, answer)) => answer.await,
    };
    let answer = answer.map_err(|error| NoAnswer::broken(&error))?;
    Ok(answer.into_parts().0)
}

/// Where an answer leads, if it does within the same host, as a kubelet follows it.
fn leads_to(url: &Url, answer: &Parts) -> Option<Url> {
    const LEADING: [StatusCode; 5] = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !LEADING.contains(&answer.status) {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    let next = url.join(location).ok()?;
    let follows = next.host_str() == url.host_str() && matches!(next.scheme(), "http" | "https");
    follows.then_some(next)
}
