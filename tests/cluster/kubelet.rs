//! The kubelet API of a virtual node through real parts: kubectl and plain HTTPS clients, API server, the program `vkc`
//! under the rights of its own service account, and the emulator over TLS.

mod api;
mod certificates;
mod follow;
mod logs;
mod metrics;
mod own_metrics;
