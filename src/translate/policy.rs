//! What a pod says about restarts, as both directions of the translation need it.

use k8s_openapi::api::core::v1::Container;

/// What happens when a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    Always,
    /// Restart unless it exited 0.
    OnFailure,
    Never,
}

impl RestartPolicy {
    /// The word of both Kubernetes and ARM.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::OnFailure => "OnFailure",
            Self::Never => "Never",
        }
    }

    /// Reads the word; absent and unknown mean Kubernetes' default, `Always`.
    pub fn parse(word: Option<&str>) -> Self {
        match word {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }
}

/// Whether `container`, one of `spec.initContainers`, is a sidecar.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
