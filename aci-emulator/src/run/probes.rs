//! Liveness and readiness probes as the service runs them: exec in the container, HTTP from outside of it.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    plan::{Handler, Probe},
    tools::Tools,
};

/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// What is read of an answer's body.
const LONGEST_BODY: usize = 10 * 1024;

/// Consecutive results of a probe. Pure.
#[derive(Debug, Default)]
pub(super) struct Tally {
    failures: u64,
    successes: u64,
}

impl Tally {
    /// Counts a result; what the probe says now, when it says something.
    pub(super) fn count(&mut self, probe: &Probe, good: bool) -> Option<bool> {
        if good {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes >= probe.successes).then_some(true)
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures >= probe.failures).then_some(false)
        }
    }
}

/// Where a container is probed.
pub(super) struct Target<'a> {
    pub(super) tools: &'a Tools,
    pub(super) id: &'a str,
    pub(super) ip: Ipv4Addr,
}

/// What one probe has shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Good,
    /// As good, with something to tell.
    Warning(String),
    /// What a kubelet says.
    Bad(String),
}

/// Probes until the probe has failed for good. What is not just good is told to `tell`.
pub(super) async fn until_failed(probe: &Probe, target: &Target<'_>, mut tell: impl FnMut(&Shown)) {
    tokio::time::sleep(Duration::from_secs(probe.delay)).await;
    let mut tally = Tally::default();
    let mut clock = tokio::time::interval(Duration::from_secs(probe.period));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let shown = once(probe, target).await.unwrap_or_else(Shown::Bad);
        let good = !matches!(shown, Shown::Bad(_));
        if shown != Shown::Good {
            tell(&shown);
        }
        if tally.count(probe, good) == Some(false) {
            return;
        }
    }
}

/// One probe.
async fn once(probe: &Probe, target: &Target<'_>) -> Result<Shown, String> {
    let patience = Duration::from_secs(probe.timeout);
    match &probe.handler {
        Handler::Exec(command) => {
            let said = target
                .tools
                .exec(target.id, command, patience)
                .await
                .map_err(|error| error.to_string())?;
            if said.status.success() {
                Ok(Shown::Good)
            } else {
                Err(said.text.trim().to_owned())
            }
        }
        Handler::Http {
            port,
            path,
            https,
            headers,
        } => {
            let ask = follow(target.ip, *port, path, *https, headers);
            let answer = tokio::time::timeout(patience, ask)
                .await
                .map_err(|_| format!("no answer in {} s", probe.timeout))??;
            Ok(shown(&answer))
        }
    }
}

/// What an answer shows.
fn shown(answer: &Answer) -> Shown {
    match answer.status {
        300..400 if answer.location.is_some() => Shown::Warning(format!(
            "Probe terminated redirects, Response body: {}",
            answer.body
        )),
        200..400 => Shown::Good,
        status => Shown::Bad(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// An answer as far as a probe looks at it.
struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

/// Asks, and goes where redirects lead as long as that is the same host.
async fn follow(
    ip: Ipv4Addr,
    port: u16,
    path: &str,
    https: bool,
    headers: &[(String, String)],
) -> Result<Answer, String> {
    let mut at = (port, path.to_owned(), https);
    for _ in 0..REDIRECTS {
        let answer = http(ip, at.0, &at.1, at.2, headers).await?;
        let next = answer.location.as_deref().and_then(|to| local(to, ip, &at));
        match next {
            Some(next) if (300..400).contains(&answer.status) => at = next,
            _ => return Ok(answer),
        }
    }
    Err(format!("stopped after {REDIRECTS} redirects"))
}

/// Port, path and scheme that a redirect from `at` leads to, when its host is the same.
fn local(to: &str, ip: Ipv4Addr, at: &(u16, String, bool)) -> Option<(u16, String, bool)> {
    let to: http::Uri = to.parse().ok()?;
    let path = to
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let Some(host) = to.host() else {
        return Some((at.0, path.to_owned(), at.2));
    };
    let https = to.scheme_str() == Some("https");
    let port = to.port_u16().unwrap_or(if https { 443 } else { 80 });
    (host == ip.to_string()).then(|| (port, path.to_owned(), https))
}

async fn http(
    ip: Ipv4Addr,
    port: u16,
    path: &str,
    https: bool,
    headers: &[(String, String)],
) -> Result<Answer, String> {
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let mut request = Request::get(&path).header("User-Agent", "kube-probe/1.36");
    let host = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("host");
    if !headers.iter().any(|header| host(&header)) {
        request = request.header("Host", format!("{ip}:{port}"));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let stream = TcpStream::connect((ip, port))
        .await
        .map_err(|error| format!("dial tcp {ip}:{port}: {error}"))?;
    if !https {
        return ask(stream, request).await;
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(anybody()?));
    let name = ServerName::IpAddress(std::net::IpAddr::V4(ip).into());
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    ask(stream, request).await
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, String> {
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(said)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(said)?;
        let location = answer.headers().get(http::header::LOCATION);
        Ok(Answer {
            status: answer.status().as_u16(),
            location: location.and_then(|to| to.to_str().ok()).map(str::to_owned),
            body: beginning(answer.into_body()).await,
        })
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // What has come is still read.
            Ok(()) => answer.await,
            Err(error) => Err(said(error)),
        },
    }
}

/// The first bytes of a body, as a kubelet reads them.
async fn beginning(mut body: hyper::body::Incoming) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST_BODY {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |it| it)),
            _ => break,
        }
    }
    bytes.truncate(LONGEST_BODY);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Probes trust every certificate, as a kubelet's do.
fn anybody() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth())
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_within_the_host() {
        let ip = Ipv4Addr::new(10, 0, 0, 7);
        let lead = |to: &str| local(to, ip, &(8080, "/a".to_owned(), true));
        let to = |port, path: &str, https| Some((port, path.to_owned(), https));
        assert_eq!(lead("/b?c=d"), to(8080, "/b?c=d", true));
        assert_eq!(lead("http://10.0.0.7:81/b"), to(81, "/b", false));
        assert_eq!(lead("https://10.0.0.7"), to(443, "/", true));
        assert_eq!(lead("http://10.0.0.8/b"), None);
    }

    #[test]
    fn a_probe_says_something_after_its_thresholds() {
        let probe = Probe {
            handler: Handler::Exec(vec!["true".to_owned()]),
            delay: 0,
            period: 1,
            timeout: 1,
            failures: 2,
            successes: 2,
        };
        let mut tally = Tally::default();
        let results: Vec<Option<bool>> = [false, true, false, false, true, true, false, false]
            .into_iter()
            .map(|good| tally.count(&probe, good))
            .collect();
        assert_eq!(
            results,
            [
                None,
                None,
                None,
                Some(false),
                None,
                Some(true),
                None,
                Some(false)
            ]
        );
    }
}
