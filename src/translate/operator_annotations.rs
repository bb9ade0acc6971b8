//! The annotations that the operator writes to a pod together with its status.

/// The CPU and the memory that Azure bills.
pub(super) const BILLED: &str = "virtual-kubelet.io/billed-resources";
/// The public DNS name.
pub(super) const FQDN: &str = "virtual-kubelet.io/fqdn";
