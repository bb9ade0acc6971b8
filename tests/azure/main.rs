//! The clients of Azure and of registries, against scripted TLS servers and against the emulator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod client;
mod emulator;
mod exec;
mod registry;
mod server;
