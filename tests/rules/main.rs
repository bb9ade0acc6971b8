//! What must be so of the repository itself: layers, manifests, generated pages, promises with their tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod layering;
mod manifests;
mod program;
mod promises;
