//! `/metrics` for those who may read it: HTTPS, and the API server says who calls and whether he may, as it does for any
//! component of Kubernetes (`TokenReview` or a client certificate, then `SubjectAccessReview` on the path).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use http::{StatusCode, header};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReviewSpec};
use kube::Client;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::kubelet::authn::{Authenticator, AuthnError};
use crate::kubelet::client_ca::ClientCas;
use crate::kubelet::listener::{self, Peer};
use crate::kubelet::reviews::{Kept, Reviews};
use crate::kubelet::tls::{ServingCertificate, server_config};

/// How long the API server's word counts.
const KEPT: Kept = Kept {
    allowed: Duration::from_mins(1),
    denied: Duration::from_secs(10),
    answers: 64,
};

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It could not be signed.
    #[error("no serving certificate for /metrics: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS does not take it.
    #[error("no TLS for /metrics: {0}")]
    Tls(#[from] rustls::Error),
    /// Its key cannot be read.
    #[error("no serving certificate for /metrics: {0}")]
    Key(&'static str),
}

pub struct Access {
    authenticator: Authenticator,
    /// There is one thing to ask for.
    reviews: Reviews<()>,
}

impl Access {
    /// Certificates are checked against `cas`; `client` may create `tokenreviews` and `subjectaccessreviews`.
    pub fn new(cas: ClientCas, client: Client) -> Self {
        Self {
            authenticator: Authenticator::new(cas, client.clone()),
            reviews: Reviews::new("review access to the metrics", client, KEPT),
        }
    }

    async fn admit(&self, peer: &Peer, authorization: Option<&str>) -> Result<(), StatusCode> {
        let Peer {
            network,
            certificates,
            ..
        } = peer;
        let known = self
            .authenticator
            .authenticate(*network, certificates, authorization);
        let user = known.await.map_err(|error| match error {
            AuthnError::Busy => StatusCode::TOO_MANY_REQUESTS,
            AuthnError::Kube(_) => StatusCode::INTERNAL_SERVER_ERROR,
        })?;
        let user = user.ok_or(StatusCode::UNAUTHORIZED)?;
        match self.reviews.allows(&user, (), read_metrics).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StatusCode::FORBIDDEN),
            Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

fn read_metrics() -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        non_resource_attributes: Some(NonResourceAttributes {
            path: Some("/metrics".to_owned()),
            verb: Some("get".to_owned()),
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

/// Serves `router` to those who may read, until `cancel`.
///
/// # Errors
/// There is no certificate.
pub async fn serve(
    listener: TcpListener,
    names: (&str, IpAddr),
    router: Router,
    access: Access,
    cancel: CancellationToken,
) -> Result<(), TlsError> {
    let certificate = Arc::new(ServingCertificate::default());
    certificate.set(Arc::new(certified(names)?));
    let tls = server_config(certificate)?;
    let cas = access.authenticator.cas();
    let guarded = router.layer(middleware::from_fn_with_state(Arc::new(access), guard));
    listener::serve(listener, tls, guarded, cas, cancel).await;
    Ok(())
}

async fn guard(
    State(access): State<Arc<Access>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    match access.admit(&peer, authorization.as_deref()).await {
        Ok(()) => {
            peer.prove();
            next.run(request).await
        }
        Err(status) => status.into_response(),
    }
}

/// A certificate that the replica signs itself, as it lives in memory and no longer than the process: whoever has to verify it
/// scrapes through something that has one of the cluster's.
fn certified((name, ip): (&str, IpAddr)) -> Result<CertifiedKey, TlsError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.subject_alt_names.push(SanType::IpAddress(ip));
    let made = params.self_signed(&key)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(TlsError::Key)?;
    let provider = rustls::crypto::ring::default_provider();
    Ok(CertifiedKey::from_der(
        vec![made.der().clone()],
        der,
        &provider,
    )?)
}
