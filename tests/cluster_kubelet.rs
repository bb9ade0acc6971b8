//! The kubelet API of a virtual node through real parts: kubectl and plain HTTPS clients, API server, the program `vkc`
//! under the rights of its own service account, and the emulator over TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "cluster_kubelet/api.rs"]
mod api;
#[path = "cluster_kubelet/certificates.rs"]
mod certificates;
// Shared with tests/cluster_pods.rs, which uses all of it.
#[allow(dead_code)]
#[path = "cluster_pods/fixture.rs"]
mod fixture;
#[path = "cluster_kubelet/follow.rs"]
mod follow;
#[path = "cluster_kubelet/logs.rs"]
mod logs;
#[path = "cluster_kubelet/metrics.rs"]
mod metrics;
#[allow(dead_code)]
#[path = "cluster_pods/operator.rs"]
mod operator;
#[path = "cluster_kubelet/own_metrics.rs"]
mod own_metrics;
#[path = "cluster_kubelet/tools.rs"]
mod tools;
