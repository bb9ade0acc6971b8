//! The streams of the kubelet API against clients of our own: every protocol, broken clients, and what is left behind.
//! What runs behind them is played here; `tests/cluster/kubectl.rs` has the real parts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod abuse;
mod before_auth;
mod forward;
mod remote;
mod server;
mod sockets;
mod spdy;
