//! One request to the API server: a time-out around it and a class for its failure.

use std::time::Duration;

use crate::causes::chain;
use crate::fence::{self, NotHeld};

/// The time-out of an ordinary request.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a request to the API server did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubeError {
    /// No answer in time.
    #[error("{op}: the API server did not answer in time")]
    Timeout { op: &'static str },
    /// The API server answered with an error.
    #[error("{op}: {message} ({code} {reason})")]
    Api {
        op: &'static str,
        code: u16,
        /// `metav1.Status.reason`, for example `NotFound`.
        reason: String,
        /// `metav1.Status.message`.
        message: String,
    },
    /// It was not sent: this replica may no longer write for the connector.
    #[error("{op}: {message}")]
    NotHeld { op: &'static str, message: String },
    /// The request did not reach the API server, or its answer could not be read.
    #[error("{op}: {message}")]
    Transport {
        op: &'static str,
        /// The chain of causes.
        message: String,
    },
}

impl KubeError {
    /// Classifies an error of kube's.
    pub fn new(op: &'static str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Api {
                op,
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            },
            kube::Error::Service(error) if error.is::<NotHeld>() => Self::NotHeld {
                op,
                message: error.to_string(),
            },
            other => Self::Transport {
                op,
                message: chain(other),
            },
        }
    }

    /// It was not sent, because this replica may no longer write for the connector.
    pub fn is_not_held(&self) -> bool {
        matches!(self, Self::NotHeld { .. })
    }

    /// The HTTP status code, when the API server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api { code, .. } => Some(*code),
            Self::Timeout { .. } | Self::NotHeld { .. } | Self::Transport { .. } => None,
        }
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Somebody else wrote first, or the object exists already.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// We may not do that.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// The API server refuses the object. A patch that names another uid than the live one is answered so, too.
    pub fn is_invalid(&self) -> bool {
        self.code() == Some(422)
    }

    /// One CamelCase word: the server's own, else `Timeout` or `Transport`. For metrics and Event reasons.
    pub fn reason(&self) -> &str {
        match self {
            Self::Timeout { .. } => "Timeout",
            Self::NotHeld { .. } => fence::REASON,
            Self::Transport { .. } => "Transport",
            Self::Api { reason, .. } if reason.is_empty() => "Unknown",
            Self::Api { reason, .. } => reason,
        }
    }
}

/// Runs one request under a time-out.
///
/// # Errors
/// [`KubeError::Timeout`] after `timeout`, else the class of kube's error. `op` names the request in messages:
/// a verb and a thing, for example `patch the Node's status`.
pub async fn call<T>(
    op: &'static str,
    timeout: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, KubeError> {
    match tokio::time::timeout(timeout, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(KubeError::new(op, &error)),
        Err(_) => Err(KubeError::Timeout { op }),
    }
}

/// [`call`], with "there is no such object" as an answer instead of an error.
pub async fn optional<T>(
    op: &'static str,
    timeout: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, KubeError> {
    match call(op, timeout, request).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn api(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status::failure("no", reason).with_code(code)))
    }

    #[test]
    fn classes() {
        let not_found = KubeError::new("get", &api(404, "NotFound"));
        assert!(not_found.is_not_found() && !not_found.is_conflict());
        assert_eq!(not_found.reason(), "NotFound");
        assert!(KubeError::new("put", &api(409, "Conflict")).is_conflict());
        assert!(KubeError::new("get", &api(403, "Forbidden")).is_forbidden());
        assert!(KubeError::new("patch", &api(422, "Invalid")).is_invalid());
        assert_eq!(KubeError::new("get", &api(500, "")).reason(), "Unknown");
        let broken = KubeError::new("get", &kube::Error::Service("connection refused".into()));
        assert_eq!((broken.reason(), broken.code()), ("Transport", None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_a_timeout() {
        let result = call("get", TIMEOUT, std::future::pending::<kube::Result<()>>()).await;
        assert_eq!(result, Err(KubeError::Timeout { op: "get" }));
    }

    #[tokio::test]
    async fn a_missing_object_is_an_answer() {
        let missing = optional("get", TIMEOUT, async { Err::<(), _>(api(404, "NotFound")) }).await;
        assert_eq!(missing, Ok(None));
        let refused = optional("get", TIMEOUT, async {
            Err::<(), _>(api(403, "Forbidden"))
        })
        .await;
        assert!(refused.is_err_and(|e| e.is_forbidden()));
    }
}
