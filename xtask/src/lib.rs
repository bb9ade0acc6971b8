//! The project's tasks as a library: a real Kubernetes control plane for tests, and the processes around it.
//!
//! The binary `xtask` (`cargo xtask ...`) is the door for people; integration tests use [`control_plane::shared`].
//! This crate does not depend on the product: it runs it as a program.

pub mod control_plane;
pub mod ports;
pub mod process;
pub mod stack;
pub mod workspace;
