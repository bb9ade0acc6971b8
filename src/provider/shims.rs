//! What is known of the shim in groups: which containers have it, because sessions in them begin with it, so that they have the
//! rights of the container's program; and what was in the volumes that it brings up to date.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::azure::model::ContainerGroup;
use crate::translate::{has_shim, volumes_of};

/// Of the groups of a node, by name; as long as they exist.
#[derive(Debug, Default)]
pub(super) struct Shims(RwLock<HashMap<String, Known>>);

/// What was in the volumes of a group when it was made, by what is known of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeWith {
    /// The group was not seen yet.
    Unseen,
    /// It has no volumes that can be brought up to date.
    Without,
    With(Arc<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// Names of the containers that begin with it.
    with: Arc<[String]>,
    /// What was in its volumes when the group was made; `None` without such volumes.
    volumes: Option<Arc<str>>,
}

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
        let known = Known {
            with: with.map(|it| it.name.clone()).collect(),
            volumes: volumes_of(&group.tags).map(Into::into),
        };
        if self.0.read().get(name) != Some(&known) {
            self.0.write().insert(name.to_owned(), known);
        }
    }

    /// The group is gone.
    pub(super) fn forget(&self, name: &str) {
        self.0.write().remove(name);
    }

    /// Names of the containers that have it; `None` of a group that was not seen yet.
    pub(super) fn with(&self, name: &str) -> Option<Arc<[String]>> {
        Some(self.0.read().get(name)?.with.clone())
    }

    /// What was in the volumes of a group that can be brought up to date.
    pub(super) fn volumes(&self, name: &str) -> MadeWith {
        match self.0.read().get(name) {
            None => MadeWith::Unseen,
            Some(Known { volumes: None, .. }) => MadeWith::Without,
            Some(Known {
                volumes: Some(made),
                ..
            }) => MadeWith::With(Arc::clone(made)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_group_is_known_until_it_is_gone() {
        let group = serde_json::from_value(
            json!({"tags": {"vkc-volumes": "1"}, "properties": {"osType": "Linux", "containers": [
                {"name": "a", "properties": {"command": ["/.vkc/bin/vkc-shim", "run", "--", "x"]}},
                {"name": "b", "properties": {"command": ["sh", "/.vkc/bin/vkc-shim"]}},
            ]}}),
        )
        .unwrap();
        let shims = Shims::default();
        assert_eq!(
            (shims.with("g"), shims.volumes("g")),
            (None, MadeWith::Unseen)
        );
        shims.note("g", &group);
        // An answer without containers says nothing.
        shims.note("g", &ContainerGroup::default());
        assert_eq!(shims.with("g").unwrap()[..], ["a"]);
        assert_eq!(shims.volumes("g"), MadeWith::With("1".into()));
        shims.forget("g");
        assert_eq!(shims.with("g"), None);
    }
}
