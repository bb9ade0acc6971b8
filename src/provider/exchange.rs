//! Another image for the only container of a group that exists.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{Aci, Ensured, Failure, Slot};
use crate::azure::model::ContainerGroup;
use crate::translate::{facts, restarts_before};

impl Aci {
    /// Gives the group `name` the image that `pod` has by now, which restarts its only container. `None` when there is no such
    /// group. One that has it already is left alone: it may have got it by a call whose answer was lost.
    pub async fn exchange_image(
        &self,
        name: &str,
        pod: &Arc<Pod>,
        slot: &dyn Slot,
    ) -> Result<Option<Ensured>, Failure> {
        let Some(facts) = facts(pod) else {
            return Ok(None);
        };
        let Some(group) = self.existing(name, &facts.key).await? else {
            return Ok(None);
        };
        if !facts.has_new_image(&group) {
            return Ok(Some(Ensured::adopted(group)));
        }
        let before = restarts_before(&group.tags);
        let owner = self.scope.ownership(facts.key, before);
        let defaults = self.defaults.read().clone();
        let mut translation = self.line_up_with(name, pod, &defaults, owner, slot).await?;
        stay_put(&mut translation.group, &group);
        self.put(name, translation).await.map(Some)
    }
}

/// Gives `group`, which is to take the place of `before`, what an update cannot change and the connector may have changed since
/// (Azure, "Update containers in Azure Container Instances").
fn stay_put(group: &mut ContainerGroup, before: &ContainerGroup) {
    group.zones.clone_from(&before.zones);
    let (new, old) = (&mut group.properties, &before.properties);
    new.subnet_ids.clone_from(&old.subnet_ids);
    for (new, old) in new.containers.iter_mut().zip(&old.containers) {
        new.properties
            .resources
            .clone_from(&old.properties.resources);
    }
}
