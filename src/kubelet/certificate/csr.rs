//! A certificate of the cluster's own signer for kubelets, asked for as the node.
//!
//! Source: Kubernetes' page "Certificates and Certificate Signing Requests", signer `kubernetes.io/kubelet-serving`: the
//! organisation is `system:nodes`, the name that of the node, and nothing in Kubernetes approves it by itself.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use rcgen::KeyPair;
use tokio::time::Instant;

use super::{CertificateError, CertificateSink, Certified, self_signed, sleep_until, unusable};
use crate::kube::backoff::{Backoff, jitter};
use crate::kube::call::{KubeError, TIMEOUT, call};

const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// The request is looked at so often while nobody has decided.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// That nobody has decided is told so often.
const TELL_EVERY: Duration = Duration::from_mins(5);
/// Kubernetes removes requests that were not decided within a day.
const PATIENCE: Duration = Duration::from_hours(24);
/// Waits after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(10));

/// Asks for a certificate and, in time, for the next, for ever.
pub(super) async fn run(sink: &CertificateSink<'_>) {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        match request(sink).await {
            Ok(made) => {
                backoff.reset();
                sink.serve(&made);
                sleep_until(made.renewal()).await;
            }
            Err(error) => {
                sink.report_error(&error);
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

async fn request(sink: &CertificateSink<'_>) -> Result<Certified, CertificateError> {
    let key = KeyPair::generate().map_err(unusable)?;
    let params = self_signed::params(sink.node, sink.ip)?;
    let request = params.serialize_request(&key).map_err(unusable)?;
    let pem = request.pem().map_err(unusable)?;
    let api = Api::<CertificateSigningRequest>::all(sink.client.clone());
    let made = api_request(&pem);
    let post = PostParams::default();
    let made = call(
        "request a serving certificate",
        TIMEOUT,
        api.create(&post, &made),
    )
    .await?;
    let name = made.metadata.name.unwrap_or_default();
    let begun = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let seen = call("look at a certificate request", TIMEOUT, api.get(&name)).await;
        let seen = match seen {
            Ok(seen) => decided(&seen)?,
            Err(error @ KubeError::Api { .. }) => return Err(error.into()),
            // The API server is away for a moment: the request is still there.
            Err(_) => None,
        };
        if let Some(chain) = seen {
            return Certified::from_pem(&chain, key.serialize_pem().as_bytes());
        }
        if begun.elapsed() > PATIENCE {
            let why = "nobody approved it within a day".to_owned();
            return Err(CertificateError::Refused { name, why });
        }
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            tracing::warn!(
                node = sink.node,
                request = name,
                "the kubelet API has no (new) serving certificate until somebody approves the request: kubectl certificate approve {name}"
            );
            sink.warn(
                "ServingCertificatePending",
                format!(
                    "The kubelet API waits for its serving certificate, and kubectl logs and exec with it: approve the request with kubectl certificate approve {name}"
                ),
            );
        }
        tokio::time::sleep(jitter(LOOK_EVERY, 0.2)).await;
    }
}

fn api_request(pem: &str) -> CertificateSigningRequest {
    CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("csr-vkc-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.as_bytes().to_vec()),
            signer_name: SIGNER.to_owned(),
            // An elliptic key enciphers no keys.
            usages: Some(vec![
                "digital signature".to_owned(),
                "server auth".to_owned(),
            ]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

/// The certificate, when it was issued. PURE.
///
/// # Errors
/// It was denied, or the signer failed.
fn decided(request: &CertificateSigningRequest) -> Result<Option<Vec<u8>>, CertificateError> {
    let Some(status) = &request.status else {
        return Ok(None);
    };
    let refusals = status.conditions.iter().flatten();
    let mut refusals =
        refusals.filter(|condition| matches!(condition.type_.as_str(), "Denied" | "Failed"));
    if let Some(refusal) = refusals.next() {
        return Err(CertificateError::Refused {
            name: request.metadata.name.clone().unwrap_or_default(),
            why: format!(
                "{}: {}",
                refusal.type_,
                refusal.message.clone().unwrap_or_default()
            ),
        });
    }
    let chain = status
        .certificate
        .as_ref()
        .map(|certificate| certificate.0.clone());
    Ok(chain.filter(|chain| !chain.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn decisions() {
        let request = |status: serde_json::Value| -> CertificateSigningRequest {
            serde_json::from_value(json!({
                "metadata": {"name": "csr-1"},
                "spec": {"request": "", "signerName": SIGNER},
                "status": status,
            }))
            .unwrap()
        };
        let condition =
            |kind: &str| json!([{"type": kind, "status": "True", "message": "because"}]);
        let is = |status| decided(&request(status)).map_err(|error| error.to_string());
        assert_eq!(is(json!(null)), Ok(None));
        assert_eq!(is(json!({"conditions": condition("Approved")})), Ok(None));
        assert_eq!(
            is(json!({"conditions": condition("Approved"), "certificate": ""})),
            Ok(None)
        );
        assert_eq!(
            is(json!({"conditions": condition("Approved"), "certificate": "YWJj"})),
            Ok(Some(b"abc".to_vec()))
        );
        assert_eq!(
            is(json!({"conditions": condition("Denied")})),
            Err("CertificateSigningRequest csr-1: Denied: because".to_owned())
        );
    }
}
