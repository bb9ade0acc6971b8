//! The right to write. Whoever sends a write for a connector asks its fence right before the request leaves the process, so
//! that nothing that waited (for a turn, for a token, for a retry, or because the whole process was stopped) goes out after
//! another replica may have taken the connector.
//!
//! The rule is the owner's ([`crate::ownership`]); the clients of Azure and of the API server only know this trait. PURE.

use std::fmt;

/// Stable reason of a write that was not sent.
pub const REASON: &str = "ConnectorNotHeld";

/// Whom a write would have gone to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    Azure,
    ApiServer,
}

impl Target {
    /// The word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::ApiServer => "api_server",
        }
    }
}

/// Why a write was not sent. It passes: either the claim becomes valid again, or another replica does the work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// The Lease was not renewed in time. Nothing is written until it is.
    #[error(
        "not sent: the Lease of connector {connector} was not renewed in time, so another replica may run it"
    )]
    Lapsed { connector: String },
    /// Another replica holds the Lease, or this one has given it away.
    #[error("not sent: this replica no longer holds the Lease of connector {connector}")]
    Ended { connector: String },
}

/// The fence of a connector that is not held at all.
#[derive(Debug, Clone)]
pub struct Closed(pub String);

impl Fence for Closed {
    fn allow(&self, _: Target) -> Result<(), NotHeld> {
        Err(NotHeld::Ended {
            connector: self.0.clone(),
        })
    }
}

/// Asked before each write.
pub trait Fence: fmt::Debug + Send + Sync {
    /// Whether a write to `target` may be sent now.
    ///
    /// # Errors
    /// [`NotHeld`]: it must not be sent.
    fn allow(&self, target: Target) -> Result<(), NotHeld>;
}
