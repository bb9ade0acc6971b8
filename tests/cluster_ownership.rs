//! Several replicas of the operator at once, as real processes: who runs a connector's agents, and what happens when one of
//! them goes, dies, stands still or joins. What was written is read from the API server's audit log and from the emulator's
//! record of requests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[allow(
    dead_code,
    reason = "made for the tests of pods, which need more of it"
)]
#[path = "cluster_pods/fixture.rs"]
mod fixture;
#[path = "cluster_ownership/operator.rs"]
mod operator;
#[path = "cluster_ownership/replicas.rs"]
mod replicas;
#[allow(
    dead_code,
    reason = "made for the tests of pods, which need more of it"
)]
#[path = "cluster_pods/watching.rs"]
mod watching;
