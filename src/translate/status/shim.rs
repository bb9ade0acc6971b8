//! The shim's own init container: the pod has none of that name, and its containers wait for it.

use super::events::{line, pull_trouble};
use super::running_containers;
use crate::azure::model::{ContainerGroup, InitContainer};
use crate::translate::shim::SHIM_CONTAINER;

/// Azure cannot pull the image of the shim.
pub const SHIM_NOT_PULLED: &str = "ShimImageNotPulled";
/// The shim could not prepare the group.
const FAILED: &str = "ShimFailed";

/// Why the containers of `group` do not start, when that is the shim's doing.
pub(super) struct ShimTrouble {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether it has ended, and not well.
    pub(super) ended: bool,
}

/// The init container that brings the shim, when `group` has it.
pub fn shim_of(group: &ContainerGroup) -> Option<&InitContainer> {
    let mut inits = group.properties.init_containers.iter();
    inits.find(|init| init.name == SHIM_CONTAINER)
}

/// What to tell of an image of the shim that is not pulled, as Azure says it.
pub fn shim_not_pulled(image: &str, said: &str) -> String {
    format!(
        "the image of the operator's shim, {image}, which the pod needs besides its own, cannot be pulled: {}. Name a copy that Azure \
         reaches in spec.shim.image of the connector, or have pods run without it (spec.shim.mode: Never)",
        line(said).trim_end_matches('.')
    )
}

pub(super) fn trouble(group: &ContainerGroup) -> Option<ShimTrouble> {
    let init = shim_of(group)?;
    if !running_containers(group).is_empty() {
        return None;
    }
    let view = init.properties.instance_view.as_ref()?;
    let state = view.current_state.as_ref();
    let code = state.and_then(|state| state.exit_code);
    let ended = state.is_some_and(|state| super::is(state, "Terminated"));
    if ended {
        return code.filter(|code| *code != 0).map(|code| ShimTrouble {
            reason: FAILED,
            message: format!(
                "the operator's shim could not prepare the container group: it ended with exit code {code}"
            ),
            ended: true,
        });
    }
    let failing = view.events.iter().rev().find_map(|event| {
        let message = event.message.as_deref().unwrap_or_default();
        pull_trouble(event.name.as_deref().unwrap_or_default(), message).map(|_| message)
    })?;
    Some(ShimTrouble {
        reason: SHIM_NOT_PULLED,
        message: shim_not_pulled(&init.properties.image, failing),
        ended: false,
    })
}
