//! Every kind of credential through real parts: API server and controllers, the program `vkc` under its service account,
//! the emulator's token endpoint over TLS and its metadata service over plain HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "cluster_credentials/canary.rs"]
mod canary;
#[path = "cluster_credentials/expiry.rs"]
mod expiry;
#[path = "cluster_credentials/kinds.rs"]
mod kinds;
#[path = "cluster_credentials/rotation.rs"]
mod rotation;
#[path = "cluster_credentials/stage.rs"]
mod stage;
