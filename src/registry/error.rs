//! Why the configuration of an image could not be read.

use std::time::Duration;

use super::manifest::Platform;

/// Why the configuration of an image could not be read. Each message is a part of a sentence, without secrets and
/// without text that the registry wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The name is none.
    #[error("the name is not one of an image: {0}")]
    Reference(&'static str),
    /// The registry wants credentials, refuses those it got, or does not say whether the image exists.
    #[error("{host} {}", refused(*login))]
    Unauthorized {
        /// Registry, or the host that gives out its tokens.
        host: String,
        /// Whether there was a user name.
        login: bool,
    },
    /// The registry has no such image.
    #[error("{host} has no such image")]
    NotFound { host: String },
    /// The image is for other platforms.
    #[error("the image is not for {0}")]
    Platform(Platform),
    /// What the registry sends is no image.
    #[error("{host} sends {what}")]
    Malformed {
        host: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than is read.
    #[error("{host} sends {what} of more than {limit} bytes")]
    TooLarge {
        host: String,
        /// What is too large.
        what: &'static str,
        /// Most that is read.
        limit: usize,
    },
    /// A Windows image whose entry point is one command line, to which words cannot be added.
    #[error("the image's ENTRYPOINT is in the shell form, to which no args can be added")]
    ShellForm,
    /// No answer. Its text is the same whatever the cause is: whoever may name a host must not learn of the operator's
    /// network which addresses and ports answer there.
    #[error("{host} cannot be reached by the operator, whose log says why")]
    Unreachable {
        /// Registry, or a host that it named.
        host: String,
        /// What the network, DNS or TLS said: for the log.
        reason: String,
    },
    /// Too many looks wait already; nobody was asked.
    #[error("too many images wait to be read from registries, {host} among them")]
    Busy { host: String },
    /// No answer in time.
    #[error("{host} cannot be reached by the operator, whose log says why")]
    Timeout {
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The registry cannot answer now, or not so often.
    #[error("{host} answers with HTTP {status}")]
    Unavailable {
        host: String,
        /// 408, 429 or 5xx.
        status: u16,
        /// Wait that it asked for.
        retry_after: Option<Duration>,
    },
    #[error("{host} answers with HTTP {status}, which means nothing here")]
    Unexpected { host: String, status: u16 },
}

fn refused(login: bool) -> &'static str {
    if login {
        "refuses the user name and password of the pull secret, or has no such image"
    } else {
        "asks for a user name and password, for which there is no pull secret, or has no such image"
    }
}

impl RegistryError {
    /// One word for metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Reference(_) => "invalid_reference",
            Self::Unauthorized { .. } => "unauthorized",
            Self::NotFound { .. } => "not_found",
            Self::Platform(_) => "other_platform",
            Self::Malformed { .. } | Self::Unexpected { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::ShellForm => "shell_form",
            Self::Unreachable { .. } => "unreachable",
            Self::Busy { .. } => "busy",
            Self::Timeout { .. } => "timeout",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// Whether it passes by itself.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Unavailable { .. }
                | Self::Busy { .. }
        )
    }

    /// The wait that the registry asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
