//! Groups that really run: as root, with runc, iproute2, bsdutils, busybox-static. `cargo xtask test` runs these where they can be.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod ends;
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "the other target uses the rest")]
mod harness;
mod images;
mod lives;
mod place;
mod security;
#[path = "../it/socket.rs"]
mod socket;
mod terminal;
