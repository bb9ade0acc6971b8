//! The certificate that the kubelet API shows: from files, by a request to the cluster's signer, or signed by itself.

mod self_signed;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::server::Observer;
use super::tls::ServingCertificate;

/// A certificate that could not be had is asked for again after this.
const RETRY: Duration = Duration::from_mins(1);

/// Where serving certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// Signed by itself: for API servers without `--kubelet-certificate-authority`.
    SelfSigned,
}

/// Why a certificate cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not what it should be.
    #[error("{0}")]
    Unusable(String),
}

fn unusable(error: impl std::fmt::Display) -> CertificateError {
    CertificateError::Unusable(error.to_string())
}

/// A certificate with its key, ready to be served.
#[derive(Debug, Clone)]
struct Certified {
    key: Arc<CertifiedKey>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Certified {
    /// From PEM; the leaf comes first. Checks that the key is that of the leaf.
    fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| unusable("the certificate is not PEM"))?;
        // The parser's text could quote what it parsed.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| unusable("the key is not PEM"))?;
        let leaf = chain
            .first()
            .ok_or_else(|| unusable("there is no certificate"))?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|_| unusable("the certificate cannot be read"))?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(unusable);
        let not_before = time(parsed.validity().not_before.timestamp())?;
        let not_after = time(parsed.validity().not_after.timestamp())?;
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(unusable)?;
        Ok(Self {
            key: Arc::new(key),
            not_before,
            not_after,
        })
    }

    /// When it should be replaced: after four fifths of its life.
    fn renewal(&self) -> Timestamp {
        let life = self
            .not_after
            .as_second()
            .saturating_sub(self.not_before.as_second());
        let at = self.not_before.as_second().saturating_add(life / 5 * 4);
        Timestamp::from_second(at).unwrap_or(self.not_after)
    }
}

/// Keeps `certificate` valid, for ever.
pub async fn keep(
    serving: &Serving,
    node: &str,
    ip: IpAddr,
    _client: &Client,
    certificate: &ServingCertificate,
    observer: &dyn Observer,
) {
    match serving {
        Serving::SelfSigned => loop {
            match self_signed::make(node, ip, Timestamp::now()) {
                Ok(made) => {
                    serve(&made, node, certificate, observer);
                    sleep_until(made.renewal()).await;
                }
                Err(error) => {
                    tracing::error!(node, %error, "no serving certificate could be made");
                    tokio::time::sleep(RETRY).await;
                }
            }
        },
    }
}

fn serve(made: &Certified, node: &str, certificate: &ServingCertificate, observer: &dyn Observer) {
    certificate.set(made.key.clone());
    observer.certificate_expiry(node, Some(made.not_after.as_second()));
    tracing::info!(node, until = %made.not_after, "serving a new certificate");
}

/// Sleeps until the wall clock shows `at`; looks at it every hour, so that a clock that was set is noticed.
async fn sleep_until(at: Timestamp) {
    loop {
        let left = at.as_second().saturating_sub(Timestamp::now().as_second());
        let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else {
            return;
        };
        tokio::time::sleep(Duration::from_secs(left).min(Duration::from_hours(1))).await;
    }
}
