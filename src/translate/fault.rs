//! Why a container is not started, as both directions of the translation need it.

/// Why one container is not started, in a kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFault {
    /// Whether it is one of `spec.initContainers`.
    pub init: bool,
    /// Its index there.
    pub index: usize,
    /// Reason of its state.
    pub reason: &'static str,
    pub message: String,
}
