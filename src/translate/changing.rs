//! What of a pod's volumes changes while it runs.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, ProjectedVolumeSource};

/// How the API server's admission names the volume of a service account.
const SERVICE_ACCOUNT_PREFIX: &str = "kube-api-access-";

/// Whether `projected` is what the API server's admission adds for the service account: nobody changes it.
pub(super) fn is_service_account(name: &str, projected: &ProjectedVolumeSource) -> bool {
    let sources = projected.sources.as_deref().unwrap_or_default();
    name.starts_with(SERVICE_ACCOUNT_PREFIX)
        && sources
            .iter()
            .any(|source| source.service_account_token.is_some())
        && sources.iter().all(|source| {
            source.secret.is_none()
                && source.cluster_trust_bundle.is_none()
                && source.pod_certificate.is_none()
        })
}

/// Whether a file shows labels or annotations of the pod.
pub(super) fn shows_metadata(items: &[DownwardAPIVolumeFile]) -> bool {
    let fields = items.iter().filter_map(|item| item.field_ref.as_ref());
    let mut paths = fields.map(|field| field.field_path.as_str());
    paths.any(|path| {
        ["metadata.annotations", "metadata.labels"]
            .iter()
            .any(|it| path.starts_with(it))
    })
}
