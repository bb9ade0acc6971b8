//! Which containers have the shim: sessions in them begin with it, so that they have the rights of the container's program.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::azure::model::ContainerGroup;
use crate::translate::has_shim;

/// Of the groups of a node, by name; as long as they exist.
#[derive(Debug, Default)]
pub(super) struct Shims(RwLock<HashMap<String, Arc<[String]>>>);

impl Shims {
    /// Takes note of what Azure says of the group `name`.
    pub(super) fn note(&self, name: &str, group: &ContainerGroup) {
        let containers = &group.properties.containers;
        if containers.is_empty() {
            return;
        }
        let with = containers
            .iter()
            .filter(|it| has_shim(&it.properties.command));
        let with: Arc<[String]> = with.map(|it| it.name.clone()).collect();
        let known = self.0.read().get(name).is_some_and(|known| *known == with);
        if !known {
            self.0.write().insert(name.to_owned(), with);
        }
    }

    /// The group is gone.
    pub(super) fn forget(&self, name: &str) {
        self.0.write().remove(name);
    }

    /// Whether `container` has it; `None` of a group that was not seen yet.
    pub(super) fn has(&self, name: &str, container: &str) -> Option<bool> {
        let with = self.0.read().get(name).cloned()?;
        Some(with.iter().any(|it| it == container))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_is_known_until_it_is_gone() {
        let group =
            serde_json::from_value(json!({"properties": {"osType": "Linux", "containers": [
                {"name": "a", "properties": {"command": ["/.vkc/bin/vkc-shim", "run", "--", "x"]}},
                {"name": "b", "properties": {"command": ["sh", "/.vkc/bin/vkc-shim"]}},
            ]}}))
            .unwrap();
        let shims = Shims::default();
        assert_eq!(shims.has("g", "a"), None);
        shims.note("g", &group);
        // An answer without containers says nothing.
        shims.note("g", &ContainerGroup::default());
        assert_eq!(shims.has("g", "a"), Some(true));
        assert_eq!(shims.has("g", "b"), Some(false));
        shims.forget("g");
        assert_eq!(shims.has("g", "a"), None);
    }
}
