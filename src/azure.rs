//! Azure Resource Manager: the typed model of container groups and the client that moves it.
//!
//! Nothing in here knows Kubernetes.

pub mod model;
