//! The pods of one virtual node.
