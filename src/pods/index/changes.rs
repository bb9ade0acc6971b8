//! Changes of a pod that Kubernetes allows while it runs. A container group is never updated, because an update restarts all
//! of its containers: what cannot be followed is told, and never shown as done.

use std::time::Duration;

use super::entry::{Entry, Stage};
use super::{Effect, Operation, PodEvent};
use crate::pods::queue::Weight;
use crate::translate::{ContainerFacts, PodFacts};

/// What is new in a pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Containers with another image, each with its name, the old and the new image.
    images: Vec<[Box<str>; 3]>,
    ephemeral_container: bool,
    deadline: bool,
}

impl Changes {
    pub(super) fn between(before: &PodFacts, after: &PodFacts) -> Self {
        let all = |facts: &PodFacts| -> Vec<ContainerFacts> {
            let containers = facts.init_containers.iter().chain(&facts.containers);
            containers.cloned().collect()
        };
        let images = if before.generation == after.generation {
            Vec::new()
        } else {
            let pairs = all(before).into_iter().zip(all(after));
            pairs
                .filter(|(old, new)| old.name == new.name && old.image != new.image)
                .map(|(old, new)| [new.name, old.image, new.image])
                .collect()
        };
        Self {
            images,
            ephemeral_container: before.ephemeral_containers < after.ephemeral_containers,
            deadline: before.active_deadline_seconds != after.active_deadline_seconds,
        }
    }
}

impl Entry {
    /// The pod, which has a group, has changed; `foreign` when its status has, too.
    pub(super) fn changed(&mut self, changes: &Changes, foreign: bool, fx: &mut Vec<Effect>) {
        let warn = |reason: &str, message: String| {
            Effect::Emit(PodEvent {
                key: self.facts.key.clone(),
                warning: true,
                reason: reason.to_owned(),
                message,
                origin: None,
            })
        };
        if changes.ephemeral_container {
            let message =
                "A container cannot be added to a container group that exists; use kubectl exec";
            fx.push(warn("EphemeralContainerIgnored", message.to_owned()));
        }
        if !changes.images.is_empty() && !self.has_begun() {
            // Nothing is lost: most often the image was wrong.
            self.stage = Stage::Clearing;
            self.attempts = 0;
            self.failed_starts = 0;
            fx.push(self.schedule(Operation::Delete, Weight::Change, Duration::ZERO));
            return;
        }
        for [container, before, after] in &changes.images {
            let message = format!(
                "Container {container} goes on with image {before}: a container group cannot get {after} without a restart \
                 of all its containers. Delete the pod to have it made anew"
            );
            fx.push(warn("ImageChangeIgnored", message));
        }
        if foreign || changes.deadline {
            fx.push(self.schedule(Operation::Observe, Weight::Fresh, Duration::ZERO));
        }
    }

    /// Whether a container of the pod has been started.
    fn has_begun(&self) -> bool {
        let started = self.facts.condition("PodReadyToStartContainers");
        self.facts.phase.as_deref() != Some("Pending")
            || started.is_some_and(|condition| &*condition.status == "True")
    }
}
