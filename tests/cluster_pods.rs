//! Pods on virtual nodes through real parts: API server, controllers and scheduler, the program `vkc` under the rights
//! of its own service account, and the emulator over TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "cluster_pods/away.rs"]
mod away;
#[path = "cluster_pods/changes.rs"]
mod changes;
#[path = "cluster_pods/classes.rs"]
mod classes;
#[path = "cluster_pods/deadlines.rs"]
mod deadlines;
#[path = "cluster_pods/ends.rs"]
mod ends;
#[path = "cluster_pods/failures.rs"]
mod failures;
#[path = "cluster_pods/features.rs"]
mod features;
#[path = "cluster_pods/fixture.rs"]
mod fixture;
#[path = "cluster_pods/gallery.rs"]
mod gallery;
#[path = "cluster_pods/images.rs"]
mod images;
#[path = "cluster_pods/last_resort.rs"]
mod last_resort;
#[path = "cluster_pods/lasting.rs"]
mod lasting;
#[path = "cluster_pods/life.rs"]
mod life;
#[path = "cluster_pods/limits.rs"]
mod limits;
#[path = "cluster_pods/not_enforced.rs"]
mod not_enforced;
#[path = "cluster_pods/operator.rs"]
mod operator;
#[path = "cluster_pods/quiet.rs"]
mod quiet;
#[path = "cluster_pods/quota.rs"]
mod quota;
#[path = "cluster_pods/references.rs"]
mod references;
#[path = "cluster_pods/refusals.rs"]
mod refusals;
#[path = "cluster_pods/restart.rs"]
mod restart;
#[path = "cluster_pods/secrets.rs"]
mod secrets;
#[path = "cluster_pods/shapes.rs"]
mod shapes;
#[path = "cluster_pods/unreachable.rs"]
mod unreachable;
#[path = "cluster_pods/volumes.rs"]
mod volumes;
#[path = "cluster_pods/watching.rs"]
mod watching;
