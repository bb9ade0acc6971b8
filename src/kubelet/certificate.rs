//! The certificate that the kubelet API shows: from files, by a request to the cluster's signer, or signed by itself.
//! It is replaced in time, under connections that go on.

mod csr;
mod files;
mod self_signed;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::server::Observer;
use super::tls::ServingCertificate;
use crate::kube::call::KubeError;
use crate::kube::events::{Event, EventType, Events};

/// A certificate that could not be had is asked for again after this.
const RETRY: Duration = Duration::from_mins(1);

/// Where serving certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// Signed by itself: for API servers without `--kubelet-certificate-authority`.
    SelfSigned,
    /// Asked for as the node from the signer `kubernetes.io/kubelet-serving`; somebody has to approve it.
    Csr,
    /// `tls.crt` and `tls.key` in this directory, as a mounted Secret has them; followed while they change.
    Files(PathBuf),
}

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not what it should be.
    #[error("{0}")]
    Unusable(String),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The request was not granted.
    #[error("CertificateSigningRequest {name}: {why}")]
    Refused {
        name: String,
        /// What the approver or the signer says.
        why: String,
    },
    /// The API server could not be asked.
    #[error(transparent)]
    Kube(#[from] KubeError),
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
    /// From PEM; the leaf comes first. The key must be that of the leaf.
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
        let life = self.not_after.as_second() - self.not_before.as_second();
        let at = self.not_before.as_second() + life / 5 * 4;
        Timestamp::from_second(at).unwrap_or(self.not_after)
    }
}

/// Whose certificate it is, and where it goes.
pub struct CertificateSink<'a> {
    pub node: &'a str,
    pub ip: IpAddr,
    /// Acts as the node.
    pub client: &'a Client,
    pub certificate: &'a ServingCertificate,
    pub observer: &'a dyn Observer,
    /// What a person should know of the node.
    pub events: &'a Events,
}

impl CertificateSink<'_> {
    fn serve(&self, made: &Certified) {
        self.certificate.set(made.key.clone());
        let until = made.not_after;
        self.observer
            .certificate_expiry(self.node, Some(until.as_second()));
        tracing::info!(node = self.node, %until, "serving a new certificate");
    }

    fn report_error(&self, error: &CertificateError) {
        tracing::error!(
            node = self.node,
            %error,
            "no new serving certificate for the kubelet API; trying again"
        );
        self.warn(
            "NoServingCertificate",
            format!("No new serving certificate for the kubelet API: {error}"),
        );
    }

    /// Tells who looks at the node.
    fn warn(&self, reason: &str, note: String) {
        self.events.emit(Event {
            regarding: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(self.node.to_owned()),
                // As a kubelet refers to its node; kubectl describe looks for it.
                uid: Some(self.node.to_owned()),
                ..ObjectReference::default()
            },
            related: None,
            reason: reason.to_owned(),
            action: "RequestCertificate",
            note,
            kind: EventType::Warning,
            origin: None,
        });
    }
}

/// Keeps the certificate valid, for ever.
pub async fn run(serving: &Serving, sink: &CertificateSink<'_>) {
    match serving {
        Serving::Files(directory) => files::run(directory, sink).await,
        Serving::Csr => csr::run(sink).await,
        Serving::SelfSigned => loop {
            match self_signed::make(sink.node, sink.ip, Timestamp::now()) {
                Ok(made) => {
                    sink.serve(&made);
                    sleep_until(made.renewal()).await;
                }
                Err(error) => {
                    sink.report_error(&error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        },
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_its_own_names_the_node_and_lasts_a_year() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let ip = IpAddr::from([10, 0, 0, 1]);
        let made = self_signed::make("virtual-kubelet-a-linux-eastus", ip, now).unwrap();
        assert_eq!(made.not_before.to_string(), "2026-01-02T02:04:05Z");
        assert_eq!(made.not_after.to_string(), "2027-01-02T02:04:05Z");
        assert_eq!(made.renewal().to_string(), "2026-10-21T02:04:05Z");
        let leaf = made.key.cert.first().unwrap();
        let (_, parsed) = X509Certificate::from_der(leaf).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
        assert!(
            parsed
                .subject()
                .to_string()
                .contains("system:node:virtual-kubelet-a-linux-eastus")
        );
    }

    #[test]
    fn a_key_of_another_certificate_and_rubbish_are_refused() {
        let make = || rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        let (one, two) = (make(), make());
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert!(Certified::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
        let other = two.signing_key.serialize_pem();
        for (chain, key) in [
            (chain.as_str(), other.as_str()),
            ("", &key),
            ("x", &key),
            (&chain, "x"),
        ] {
            let error = Certified::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("PRIVATE"), "{error}");
        }
    }
}
