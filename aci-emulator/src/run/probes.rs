//! Liveness and readiness probes as the service runs them: exec in the container, HTTP from outside of it.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
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

/// Probes until the probe has failed for good. Each failure is told to `tell`.
pub(super) async fn until_failed(probe: &Probe, target: &Target<'_>, mut tell: impl FnMut(String)) {
    tokio::time::sleep(Duration::from_secs(probe.delay)).await;
    let mut tally = Tally::default();
    let mut clock = tokio::time::interval(Duration::from_secs(probe.period));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let result = once(probe, target).await;
        let good = result.is_ok();
        if let Err(why) = result {
            tell(why);
        }
        if tally.count(probe, good) == Some(false) {
            return;
        }
    }
}

/// One probe; the error is what a kubelet says.
async fn once(probe: &Probe, target: &Target<'_>) -> Result<(), String> {
    let patience = Duration::from_secs(probe.timeout);
    match &probe.handler {
        Handler::Exec(command) => {
            let said = target
                .tools
                .exec(target.id, command, patience)
                .await
                .map_err(|error| error.to_string())?;
            if said.status.success() {
                Ok(())
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
            let ask = http(target.ip, *port, path, *https, headers);
            let status = tokio::time::timeout(patience, ask)
                .await
                .map_err(|_| format!("no answer in {} s", probe.timeout))??;
            if (200..400).contains(&status) {
                Ok(())
            } else {
                Err(format!("HTTP probe failed with statuscode: {status}"))
            }
        }
    }
}

async fn http(
    ip: Ipv4Addr,
    port: u16,
    path: &str,
    https: bool,
    headers: &[(String, String)],
) -> Result<u16, String> {
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
) -> Result<u16, String> {
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(said)?;
    tokio::pin!(connection);
    tokio::select! {
        answer = sender.send_request(request) => answer.map(|answer| answer.status().as_u16()).map_err(said),
        ended = &mut connection => Err(ended.err().map_or_else(|| "the connection was closed".to_owned(), said)),
    }
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
