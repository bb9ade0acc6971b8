//! The annotations that the operator writes to a pod together with its status.

/// The CPU and the memory that Azure bills.
pub(super) const BILLED: &str = "virtual-kubelet.io/billed-resources";
/// The public DNS name.
pub(super) const FQDN: &str = "virtual-kubelet.io/fqdn";
/// What the pod asks for and ACI does not enforce.
pub(super) const NOT_ENFORCED: &str = "virtual-kubelet.io/not-enforced";
