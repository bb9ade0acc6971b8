//! How a session's end is told to the client. PURE.

use bytes::Bytes;
use serde_json::json;

use crate::provider::exec::{ExecError, Exit};

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The process ended well, or nobody can know.
    Success,
    /// The process ended with this code.
    ExitCode(i32),
    /// There was no end of the process to tell.
    Error(String),
}

impl Status {
    /// The end of a backend.
    pub fn of(result: Result<Exit, ExecError>) -> Self {
        match result {
            Ok(Exit::Code(0) | Exit::Unknown) => Self::Success,
            Ok(Exit::Code(code)) => Self::ExitCode(code),
            Err(error) => {
                tracing::debug!(?error, "a session failed");
                Self::Error(error.to_string())
            }
        }
    }

    /// A session that was ended from our side.
    pub fn ended(why: &str) -> Self {
        Self::Error(why.to_owned())
    }

    /// What goes to the error stream: a `metav1.Status` from protocol v4 on; before, a text that only failures have.
    pub(super) fn bytes(&self, protocol: &str) -> Bytes {
        if matches!(
            protocol,
            "v4.channel.k8s.io" | "v5.channel.k8s.io" | "v4.base64.channel.k8s.io"
        ) {
            return Bytes::from(self.json());
        }
        Bytes::from(self.message().unwrap_or_default())
    }

    fn message(&self) -> Option<String> {
        match self {
            Self::Success => None,
            Self::ExitCode(code) => Some(format!(
                "command terminated with non-zero exit code: {code}"
            )),
            Self::Error(text) => Some(format!(
                "Internal error occurred: error executing command in container: {text}"
            )),
        }
    }

    fn json(&self) -> String {
        let status = match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::ExitCode(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.message(),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Error(text) => json!({
                "metadata": {},
                "status": "Failure",
                "message": self.message(),
                "reason": "InternalError",
                "details": {"causes": [{"message": format!("error executing command in container: {text}")}]},
                "code": 500,
            }),
        };
        status.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_form() {
        let lost = Status::of(Err(ExecError::Lost));
        for (status, protocol, want) in [
            (Status::Success, "channel.k8s.io", ""),
            (
                Status::Success,
                "v4.channel.k8s.io",
                r#"{"metadata":{},"status":"Success"}"#,
            ),
            (
                Status::ExitCode(7),
                "v5.channel.k8s.io",
                r#"{"details":{"causes":[{"message":"7","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: 7","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#,
            ),
            (
                Status::ExitCode(7),
                "v3.channel.k8s.io",
                "command terminated with non-zero exit code: 7",
            ),
            (
                lost.clone(),
                "base64.channel.k8s.io",
                "Internal error occurred: error executing command in container: the connection to the container was lost before the command ended",
            ),
        ] {
            assert_eq!(status.bytes(protocol), want, "{protocol}");
        }
        let json: serde_json::Value =
            serde_json::from_slice(&lost.bytes("v4.base64.channel.k8s.io")).unwrap();
        assert_eq!(
            (&json["reason"], &json["code"]),
            (&json!("InternalError"), &json!(500))
        );
        assert_eq!(Status::of(Ok(Exit::Unknown)), Status::Success);
    }
}
