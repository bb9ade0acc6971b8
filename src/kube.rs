//! Clients of the Kubernetes API: the factory, the identity of a node, time-outs, error classes.
