//! The kubelet's HTTPS API of a virtual node.

pub mod spdy;
