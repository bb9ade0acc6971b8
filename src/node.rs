//! The Node object of one virtual node.

pub mod spec;
