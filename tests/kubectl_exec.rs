//! `kubectl exec`, `attach`, `cp` and `port-forward` through real parts: kubectl, API server, the program `vkc`, and the
//! emulator, whose containers are a real `/bin/sh` on a real terminal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "kubectl_exec/attach.rs"]
mod attach;
#[path = "kubectl_exec/client.rs"]
mod client;
#[path = "kubectl_exec/exec.rs"]
mod exec;
// Shared with tests/cluster_pods.rs, which uses all of it.
#[allow(dead_code)]
#[path = "cluster_pods/fixture.rs"]
mod fixture;
#[allow(dead_code)]
#[path = "cluster_pods/operator.rs"]
mod operator;
#[path = "kubectl_exec/ports.rs"]
mod ports;
