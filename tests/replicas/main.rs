//! Several replicas of the operator at once, as real processes: who runs a connector's agents, and what happens when one of
//! them goes, dies, stands still or joins. What was written is read from the API server's audit log and from the emulator's
//! record of requests.
//!
//! In a binary of its own, where nothing else takes their time: what they promise is counted in seconds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod operator;
mod replicas;
#[allow(
    dead_code,
    reason = "made for the tests of clusters, which need more of it"
)]
#[path = "../cluster/support/mod.rs"]
mod support;
