//! Changes of a pod that Kubernetes allows while it runs. A container group of several containers is never updated, because an
//! update restarts all of them: what cannot be followed is told, and never shown as done. PURE.

use super::Effect;
use super::record::PodRecord;
use crate::translate::{NO_EPHEMERAL_CONTAINER, PodFacts};

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
        let images = if before.generation == after.generation {
            Vec::new()
        } else {
            let pairs = before.all().zip(after.all());
            pairs
                .filter(|(old, new)| old.name == new.name && old.image != new.image)
                .map(|(old, new)| [&new.name, &old.image, &new.image].map(Clone::clone))
                .collect()
        };
        Self {
            images,
            ephemeral_container: before.ephemeral_containers.len()
                < after.ephemeral_containers.len(),
            deadline: before.active_deadline_seconds != after.active_deadline_seconds,
        }
    }

    pub(super) fn has_images(&self) -> bool {
        !self.images.is_empty()
    }

    pub(super) fn ephemeral_container(&self) -> bool {
        self.ephemeral_container
    }

    pub(super) fn deadline(&self) -> bool {
        self.deadline
    }

    /// An Event for each image that is not followed.
    pub(super) fn images_ignored(&self, pod: &PodRecord) -> Vec<Effect> {
        let why = if pod.facts.all().count() > 1 {
            "a restart of all its containers"
        } else {
            "running again what restartPolicy does not"
        };
        let ignored = |[container, before, after]: &[Box<str>; 3]| {
            let message = format!(
                "Container {container} goes on with image {before}: a container group cannot get {after} without {why}. Delete \
                 the pod to have it made anew"
            );
            pod.event(true, "ImageChangeIgnored", message)
        };
        self.images.iter().map(ignored).collect()
    }
}

impl PodRecord {
    pub(super) fn no_ephemeral_container(&self) -> Effect {
        let message = NO_EPHEMERAL_CONTAINER.to_owned();
        self.event(true, "EphemeralContainerIgnored", message)
    }
}
