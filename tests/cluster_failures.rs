//! What docs/reliability.md promises, on real parts: API server, controllers and scheduler, the program `vkc` under the
//! rights of its own service account, and the emulator over TLS. Each file is a row of its table, or a few.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "cluster_failures/clusters.rs"]
mod clusters;
#[path = "cluster_failures/compaction.rs"]
mod compaction;
#[path = "cluster_failures/edits.rs"]
mod edits;
// Shared with tests/cluster_pods.rs, which uses all of it.
#[allow(dead_code)]
#[path = "cluster_pods/fixture.rs"]
mod fixture;
#[path = "cluster_failures/lists.rs"]
mod lists;
#[path = "cluster_failures/names.rs"]
mod names;
#[allow(dead_code)]
#[path = "cluster_pods/operator.rs"]
mod operator;
#[path = "cluster_failures/pending.rs"]
mod pending;
#[path = "cluster_failures/still.rs"]
mod still;
#[allow(dead_code)]
#[path = "cluster_kubelet/tools.rs"]
mod tools;
#[allow(dead_code)]
#[path = "cluster_pods/watching.rs"]
mod watching;
