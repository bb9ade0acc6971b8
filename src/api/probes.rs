//! Who runs the probes of containers.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl shows the doc comments as they are, backticks and all"
)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who runs the probes of containers: the operator, as a kubelet does, or Azure, which runs liveness probes by HTTP and by
/// command and does not tell what readiness probes show.
#[derive(KubeSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probes {
    /// Probes by HTTP, TCP and gRPC. Operator dials the pod's address: Ready follows the readiness and startup probes, and a
    /// container that fails a probe which Azure does not have is ended. A pod that it cannot reach is treated as with Azure.
    #[serde(default = "operator")]
    pub network: ProbedBy,

    /// Probes by command. Operator runs them through Azure's exec, each container's at most every 10 s: every run is a call
    /// of the subscription's budget.
    #[serde(default)]
    pub exec: ProbedBy,
}

/// Who runs a probe.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the struct")]
pub enum ProbedBy {
    Operator,
    #[default]
    Azure,
}

fn operator() -> ProbedBy {
    ProbedBy::Operator
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            network: ProbedBy::Operator,
            exec: ProbedBy::Azure,
        }
    }
}
