//! Whether the group of a pod has the image that the pod has. The image that a group was made with is one of its tags: ACI may
//! spell images in its own way.

use super::facts::PodFacts;
use crate::azure::model::ContainerGroup;
use crate::translate::identity::{clip, image_of};
use crate::translate::image::may_change;

impl PodFacts {
    /// Whether its group can get another image.
    pub fn may_change_image(&self) -> bool {
        let (containers, inits) = (self.containers.len(), self.init_containers.len());
        may_change(containers, inits, self.restart_policy)
    }

    /// Whether `group` is to get another image: it was made with one that the pod no longer has.
    pub fn has_new_image(&self, group: &ContainerGroup) -> bool {
        let only = self.containers.first().filter(|_| self.may_change_image());
        let made_with = image_of(&group.tags);
        made_with
            .zip(only)
            .is_some_and(|(before, now)| before != clip(&now.image))
    }
}
