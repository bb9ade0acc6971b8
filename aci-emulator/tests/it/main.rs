//! The emulator as a client sees it, over TLS on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod actions;
mod exec;
mod faults;
mod groups;
mod harness;
mod live;
mod network;
mod pages;
mod registry;
mod socket;
mod token;
mod validation;
