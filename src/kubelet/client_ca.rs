//! The CA whose client certificates are believed: that of a file, or the one the API server publishes for its
//! extensions. Followed while it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, watcher};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::watch;

use crate::kube::watches::steady;

/// Where the API server publishes its CA (Kubernetes' page "Configure the aggregation layer").
const NAMESPACE: &str = "kube-system";
const CONFIG_MAP: &str = "extension-apiserver-authentication";
const KEY: &str = "client-ca-file";
/// A watch that says nothing is renewed after so many seconds, so that a dead connection is noticed.
const WATCH_SECONDS: u32 = 90;
/// A file is looked at so often.
const FILE_EVERY: Duration = Duration::from_secs(10);

/// The CA as it is now; `None` while there is none, and then no certificate is believed.
pub type ClientCas = watch::Receiver<Option<Arc<dyn ClientCertVerifier>>>;
/// The side of [`follow`].
pub type Sender = watch::Sender<Option<Arc<dyn ClientCertVerifier>>>;

/// Where the CA comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of PEM certificates.
    File(PathBuf),
    /// The `ConfigMap` that every API server with a client CA keeps.
    Cluster,
}

/// Why a text is not a CA.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientCaError {
    /// Not PEM, or without a certificate.
    #[error("it holds no PEM certificate")]
    NotPem,
    /// A certificate that cannot anchor anything.
    #[error("a certificate in it cannot be used: {0}")]
    Unusable(String),
}

/// What checks certificates against the CAs in `pem`. PURE.
fn verifier(pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, ClientCaError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| ClientCaError::NotPem)?;
        roots
            .add(certificate)
            .map_err(|error| ClientCaError::Unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(ClientCaError::NotPem);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier
        .map(|verifier| verifier as _)
        .map_err(|error| ClientCaError::Unusable(error.to_string()))
}

/// A place for the CA, empty at first, and what [`follow`] fills it through.
pub fn channel() -> (Sender, ClientCas) {
    watch::channel(None)
}

/// Whether the CA says at `now` that the certificate is its holder's: `chain` begins with it.
pub fn vouches(cas: &ClientCas, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
    let Some((own, intermediates)) = chain.split_first() else {
        return false;
    };
    let Some(cas) = cas.borrow().clone() else {
        tracing::debug!("a client certificate was shown, but the client CA is not known (yet)");
        return false;
    };
    match cas.verify_client_cert(own, intermediates, now) {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(%error, "a client certificate is not of the client CA");
            false
        }
    }
}

/// Keeps the CA up to date, for ever. A CA that becomes unreadable stays as it was.
pub async fn follow(source: Source, client: Client, sender: Sender) {
    match source {
        Source::File(path) => follow_file(&path, &sender).await,
        Source::Cluster => follow_cluster(client, &sender).await,
    }
}

async fn follow_file(path: &Path, sender: &Sender) {
    let mut known = Vec::new();
    let mut interval = tokio::time::interval(FILE_EVERY);
    loop {
        interval.tick().await;
        match tokio::fs::read(path).await {
            Ok(pem) if pem == known => {}
            Ok(pem) => {
                set(sender, &pem, &path.display().to_string());
                known = pem;
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the client CA cannot be read");
            }
        }
    }
}

async fn follow_cluster(client: Client, sender: &Sender) {
    let config = watcher::Config::default()
        .fields(&format!("metadata.name={CONFIG_MAP}"))
        .timeout(WATCH_SECONDS);
    let maps = Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let mut maps = steady(watcher(maps, config)).applied_objects().boxed();
    let mut known = String::new();
    while let Some(seen) = maps.next().await {
        match seen {
            Ok(map) => {
                let pem = map.data.unwrap_or_default().remove(KEY).unwrap_or_default();
                if pem != known {
                    set(sender, pem.as_bytes(), "the ConfigMap");
                    known = pem;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the client CA of the cluster cannot be read; set --client-ca-file, or see docs/kubelet-api.md");
            }
        }
    }
}

fn set(sender: &Sender, pem: &[u8], origin: &str) {
    match verifier(pem) {
        Ok(verifier) => {
            tracing::info!(origin, "client certificates of this CA are believed");
            sender.send_replace(Some(verifier));
        }
        Err(error) => tracing::warn!(origin, %error, "the client CA cannot be used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_followed_and_rubbish_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.crt");
        let ca = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            made.cert.pem()
        };
        std::fs::write(&path, ca("one")).unwrap();
        let (sender, mut cas) = channel();
        let file = path.clone();
        let task = tokio::spawn(async move { follow_file(&file, &sender).await });
        cas.changed().await.unwrap();
        assert!(cas.borrow_and_update().is_some());
        std::fs::write(&path, "rubbish").unwrap();
        tokio::time::sleep(FILE_EVERY * 3).await;
        assert!(!cas.has_changed().unwrap() && cas.borrow().is_some());
        std::fs::write(&path, ca("two")).unwrap();
        cas.changed().await.unwrap();
        task.abort();
    }

    #[test]
    fn a_ca_is_pem_with_a_certificate() {
        for (text, error) in [
            ("", ClientCaError::NotPem),
            ("rubbish", ClientCaError::NotPem),
            (
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
                ClientCaError::NotPem,
            ),
        ] {
            assert_eq!(verifier(text.as_bytes()).unwrap_err(), error, "{text}");
        }
    }
}
