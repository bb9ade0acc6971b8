//! How a group shows that it has the shim.

use vkc_shim::spec::PROGRAM;

/// Name of the init container that brings it.
pub(super) const SHIM_CONTAINER: &str = "vkc-shim";

/// Whether a container of a group with this command has the shim.
pub fn has_shim(command: &[String]) -> bool {
    command.first().is_some_and(|program| program == PROGRAM)
}
