//! The streams of the kubelet API against clients of our own: every protocol, broken clients, and what is left behind.
//! What runs behind them is played here; `tests/kubectl_exec.rs` has the real parts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "kubelet_streams/abuse.rs"]
mod abuse;
#[path = "kubelet_streams/forward.rs"]
mod forward;
#[path = "kubelet_streams/remote.rs"]
mod remote;
#[path = "kubelet_streams/server.rs"]
mod server;
#[path = "kubelet_streams/sockets.rs"]
mod sockets;
#[path = "kubelet_streams/spdy.rs"]
mod spdy;
