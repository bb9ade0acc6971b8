//! The HTTP client under every call: our own `reqwest::Client`, so that time-outs, trust anchors, redirects and the
//! size of an answer are ours to say.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::Bytes;
use azure_core::error::ErrorKind;
use azure_core::http::response::PinnedStream;
use azure_core::http::{AsyncRawResponse, HttpClient, Request, Url};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::credential::metadata::is_token_request;
use super::error::{AzureError, ErrorClass};

/// What ARM and the token service read about us.
pub(super) const USER_AGENT: &str = concat!("vkc/", env!("CARGO_PKG_VERSION"));
/// Longest answer that is read; a page of a LIST stays far below.
const MAX_BODY_BYTES: usize = 8 << 20;
/// An answer that is longer is long; whoever may create pods makes answers of megabytes.
const LONG: usize = 64 << 10;
/// Long answers that are in memory at once until they are read out, of the whole process.
static LONG_ANSWERS: Semaphore = Semaphore::const_new(8);
/// A host that does not answer is given up after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// ARM closes idle connections after about two minutes; we close them first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// All calls may share one HTTP/2 connection: one that died without a word must be found out before the calls on it
/// time out, or every later call would join it.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// A ping without an answer closes the connection after this.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection pool that trusts the platform's roots and, when given, a private CA.
#[derive(Debug)]
pub(super) struct HttpTransport {
    client: reqwest::Client,
    /// The same for upgrades to a `WebSocket`, which HTTP/1.1 alone has.
    sockets: reqwest::Client,
    /// For the metadata service alone: no TLS, and never through a proxy.
    metadata: reqwest::Client,
}

impl HttpTransport {
    /// `ca_bundle_pem` comes from [`super::Endpoints`], which has checked it.
    pub(super) fn new(ca_bundle_pem: Option<&[u8]>) -> Result<Arc<Self>, AzureError> {
        Ok(Arc::new(Self {
            client: client(ca_bundle_pem, |builder| builder)?,
            sockets: build(ca_bundle_pem, reqwest::ClientBuilder::http1_only)?,
            metadata: build(None, |builder| builder.no_proxy().https_only(false))?,
        }))
    }

    /// Everything but the metadata service has to be https.
    fn client_for(&self, url: &Url) -> &reqwest::Client {
        if is_token_request(url) {
            &self.metadata
        } else {
            &self.client
        }
    }

    /// The client for upgrades to a `WebSocket`.
    pub(super) fn sockets(&self) -> &reqwest::Client {
        &self.sockets
    }
}

/// A client that trusts the platform's roots and, when given, a private CA, speaks https only and follows no redirect.
pub(crate) fn client(
    ca_bundle_pem: Option<&[u8]>,
    more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, AzureError> {
    build(ca_bundle_pem, |builder| {
        more(
            builder
                .http2_keep_alive_interval(PING_INTERVAL)
                .http2_keep_alive_timeout(PING_TIMEOUT),
        )
    })
}

fn build(
    ca_bundle_pem: Option<&[u8]>,
    more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, AzureError> {
    // Without a provider reqwest panics; an error can be reported.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(AzureError::local(
            ErrorClass::Invalid,
            "NoTlsProvider",
            "no TLS provider is installed",
        ));
    }
    let unusable = |error: reqwest::Error| {
        let text = crate::causes::chain(&error);
        AzureError::local(ErrorClass::Invalid, "UnusableTransport", &text)
    };
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_keepalive(PING_INTERVAL)
        .redirect(reqwest::redirect::Policy::none())
        .https_only(true);
    if let Some(pem) = ca_bundle_pem {
        builder =
            builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem).map_err(unusable)?);
    }
    more(builder).build().map_err(unusable)
}

#[async_trait]
impl HttpClient for HttpTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut request = request.clone();
        request.insert_header("user-agent", USER_AGENT);
        let client = self.client_for(request.url());
        let (status, headers, body) = client.execute_request(&request).await?.deconstruct();
        Ok(AsyncRawResponse::new(
            status,
            headers,
            bounded(Box::pin(body)),
        ))
    }
}

/// `body`, failing once it grows past [`MAX_BODY_BYTES`], and waiting at [`LONG`] for its turn.
fn bounded(body: PinnedStream) -> PinnedStream {
    let reading = Reading {
        body,
        seen: 0,
        turn: None,
    };
    Box::pin(futures::stream::unfold(reading, |mut reading| async {
        let chunk = reading.next().await?;
        Some((chunk, reading))
    }))
}

struct Reading {
    body: PinnedStream,
    seen: usize,
    turn: Option<SemaphorePermit<'static>>,
}

impl Reading {
    async fn next(&mut self) -> Option<azure_core::Result<Bytes>> {
        let bytes = match self.body.next().await? {
            Ok(bytes) => bytes,
            error => return Some(error),
        };
        self.seen = self.seen.saturating_add(bytes.len());
        if self.seen > MAX_BODY_BYTES {
            let text = format!("the answer is longer than {MAX_BODY_BYTES} bytes");
            let error = azure_core::Error::with_message(ErrorKind::DataConversion, text);
            return Some(Err(error));
        }
        if self.seen > LONG && self.turn.is_none() {
            // It is never closed; whoever waits has the time-out of its call.
            self.turn = LONG_ANSWERS.acquire().await.ok();
        }
        Some(Ok(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Other tests of this process may have some long ones, too.
    #[tokio::test]
    async fn few_long_answers_are_in_memory_at_once_and_short_ones_do_not_wait() {
        let answer = |length: usize| -> PinnedStream {
            let chunk = Bytes::from(vec![0_u8; 16 << 10]);
            let chunks = (0..length / (16 << 10)).map(move |_| Ok(chunk.clone()));
            bounded(Box::pin(futures::stream::iter(chunks)))
        };
        let (mut begun, mut waiting) = (Vec::new(), 0);
        for _ in 0..20 {
            let mut long = answer(1 << 20);
            let read = async {
                for _ in 0..8 {
                    long.next().await;
                }
            };
            match tokio::time::timeout(Duration::from_millis(20), read).await {
                Ok(()) => begun.push(long),
                Err(_) => waiting += 1,
            }
        }
        assert!((1..=8).contains(&begun.len()) && waiting >= 12);
        let short = answer(64 << 10).count();
        assert_eq!(short.await, 4);
        begun.clear();
        let long = tokio::time::timeout(Duration::from_secs(30), answer(1 << 20).count());
        assert_eq!(long.await, Ok(64));
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let chunk = Bytes::from(vec![0_u8; 1 << 20]);
        let endless: PinnedStream =
            Box::pin(futures::stream::repeat_with(move || Ok(chunk.clone())));
        let read: Vec<_> = bounded(endless).take(9).collect().await;
        assert!(read.iter().take(8).all(Result::is_ok));
        assert!(read.last().is_some_and(Result::is_err));
    }
}
