//! The chart, by the real helm: it says what `config/` says, renders every value that matters into what a real API server accepts,
//! refuses what it should, and an operator under the rights that it grants runs its connectors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "cluster_chart/helm.rs"]
mod helm;
#[path = "cluster_chart/kustomize.rs"]
mod kustomize;
#[path = "cluster_chart/life.rs"]
mod life;
#[path = "cluster_chart/refusals.rs"]
mod refusals;
#[path = "cluster_chart/values.rs"]
mod values;
