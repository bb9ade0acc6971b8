//! What the kubelet API answers when it does not do what was asked: a status and one line of plain text, which the API
//! server hands on to kubectl.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::azure::{AzureError, ErrorClass};
use crate::kube::call::KubeError;

/// A refusal. `Display` is its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ApiError {
    pub status: StatusCode,
    /// One line for people.
    pub text: String,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// A refusal that says nothing about when to try again.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            retry_after: None,
        }
    }

    /// 400: kubectl shows its text as it is.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// 404.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// Azure refused or failed, while `doing`.
    ///
    /// 400 is for what the pod's user can wait for or change; 502 and 504 say that the fault is on the far side.
    pub fn azure(doing: &str, error: &AzureError) -> Self {
        use ErrorClass as C;
        let status = match error.class {
            C::NotFound => StatusCode::NOT_FOUND,
            _ if error.code == "ContainerNotFound" => StatusCode::NOT_FOUND,
            C::Transitioning | C::Invalid => StatusCode::BAD_REQUEST,
            C::Throttled => StatusCode::TOO_MANY_REQUESTS,
            C::Timeout => StatusCode::GATEWAY_TIMEOUT,
            C::Conflict => StatusCode::CONFLICT,
            C::ResourceGroupNotFound
            | C::ResourceGroupDeleting
            | C::SubscriptionNotFound
            | C::SubscriptionDisabled
            | C::ProviderNotRegistered
            | C::RegionUnavailable
            | C::Unauthenticated
            | C::Forbidden
            | C::Policy
            | C::Locked
            | C::Subnet
            | C::Quota
            | C::Capacity
            | C::Image
            | C::Registry
            | C::Unavailable
            | C::Connection
            | C::BadCredentials
            | C::Identity
            | C::Protocol => StatusCode::BAD_GATEWAY,
        };
        // In full here: who asked may read one namespace.
        tracing::debug!(doing, %error, "a call to Azure failed");
        Self {
            retry_after: error.retry_after.map(|wait| wait.as_secs().max(1)),
            ..Self::new(
                status,
                format!("{doing}: Azure Container Instances: {}", error.told()),
            )
        }
    }

    /// The API server refused or failed.
    pub fn kube(error: &KubeError) -> Self {
        let status = match error {
            KubeError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.text)).into_response();
        if let Some(seconds) = self.retry_after {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::exec::ExecError;

    #[test]
    fn whoever_may_read_a_log_learns_nothing_about_the_subscription() {
        let id = "11111111-2222-3333-4444-55555555abcd";
        let error = AzureError {
            class: ErrorClass::Forbidden,
            status: Some(403),
            code: "AuthorizationFailed".to_owned(),
            message: format!(
                "The client '{id}' has no right over scope '/subscriptions/{id}/resourceGroups/team-rg' \
                 (https://arm.example/subscriptions/{id})"
            ),
            retry_after: None,
            request_id: None,
        };
        let told =
            "AuthorizationFailed: The client '[ID]' has no right over scope '[scope]' ([address])";
        for text in [
            ApiError::azure("logs", &error).text,
            ExecError::Azure(error.clone()).to_string(),
            ExecError::Attach(error).to_string(),
        ] {
            assert!(text.ends_with(told), "{text}");
        }
    }
}
