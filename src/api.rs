//! The `VirtualKubeletConnector` API: types, defaults, conditions and validation. PURE: no client, no clock.

use serde::{Deserialize, Serialize};

/// Operating system of one virtual node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Os {
    /// Linux containers.
    Linux,
    /// Windows containers.
    Windows,
}

impl Os {
    /// ARM's word (`Linux`, `Windows`).
    pub fn arm(self) -> &'static str {
        match self {
            Os::Linux => "Linux",
            Os::Windows => "Windows",
        }
    }

    /// The value of the `kubernetes.io/os` label.
    pub fn label(self) -> &'static str {
        match self {
            Os::Linux => "linux",
            Os::Windows => "windows",
        }
    }
}
