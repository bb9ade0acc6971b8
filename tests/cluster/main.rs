//! Through real parts: etcd, API server, controllers and scheduler, kubectl, the program `vkc` under the rights of its own
//! service account, and the emulator over TLS as Azure. Each module is a surface; what they share is in `support`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod chaos;
mod chart;
mod commands;
mod connector;
mod copy;
mod crd;
mod credentials;
mod failures;
mod gitops;
mod kubectl;
mod kubelet;
mod node;
mod outage;
mod pods;
mod rights;
mod support;
