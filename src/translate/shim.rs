//! How a group shows that it has the shim.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vkc_shim::spec::{Content, FILE, ORDERS, PROGRAM, Part, Spec, Text, VOLUMES, Volume};
use zeroize::Zeroizing;

use crate::azure::model::{ContainerGroup, SecretText};

/// Name of the init container that brings it.
pub(super) const SHIM_CONTAINER: &str = "vkc-shim";

/// Whether a container of a group with this command has the shim.
pub fn has_shim(command: &[String]) -> bool {
    command.first().is_some_and(|program| program == PROGRAM)
}

/// What a container is to bring up to date.
#[derive(Debug, PartialEq, Eq)]
pub struct VolumeUpdate {
    /// Name of the container.
    pub container: String,
    /// Names of the group's volumes.
    pub volumes: BTreeSet<String>,
}

/// The volumes of a group that can be brought up to date, as its first init container fills them.
#[derive(Debug, Default)]
pub struct VolumeUpdates {
    volumes: BTreeMap<String, Volume>,
    /// Containers that can write them, in their order.
    pub by: Vec<VolumeUpdate>,
}

/// The volumes of `group`, which was translated just now, that can be brought up to date; `None` when there are none.
pub fn volume_updates(group: &ContainerGroup) -> Option<VolumeUpdates> {
    let properties = &group.properties;
    let mut inits = properties.init_containers.iter();
    let init = inits.find(|init| init.name == SHIM_CONTAINER)?;
    let mut mounts = init.properties.volume_mounts.iter();
    let orders = &mounts.find(|mount| mount.mount_path == ORDERS)?.name;
    let mut volumes = properties.volumes.iter();
    let beside = volumes.find(|it| it.name == *orders)?.secret.as_ref()?;
    let bytes = Zeroizing::new(STANDARD.decode(beside.get(FILE)?.expose()).ok()?);
    let spec = Spec::parse(&bytes).ok()?;
    let linked = spec.volumes.into_iter().filter(|volume| volume.linked);
    let volumes: BTreeMap<String, Volume> = linked
        .map(|mut volume| {
            for file in &mut volume.files {
                inline(&mut file.content, beside);
            }
            (volume.name.clone(), volume)
        })
        .collect();
    let by = properties.containers.iter().filter_map(|container| {
        let mounts = container.properties.volume_mounts.iter();
        let ours = mounts.filter(|it| it.mount_path.starts_with(VOLUMES));
        let volumes: BTreeSet<String> = ours.map(|it| it.name.clone()).collect();
        let container = container.name.clone();
        (!volumes.is_empty()).then_some(VolumeUpdate { container, volumes })
    });
    let by = by.collect();
    (!volumes.is_empty()).then_some(VolumeUpdates { volumes, by })
}

/// Puts what is beside the orders into them.
fn inline(content: &mut Content, beside: &BTreeMap<String, SecretText>) {
    if let Content::From(name) = content {
        let bytes = beside.get(name).map(|it| it.expose().to_owned());
        let bytes = Zeroizing::new(bytes.unwrap_or_default());
        *content = Content::Base64(Text(vec![Part::Text(bytes)]));
    }
}

impl VolumeUpdates {
    /// Names of all.
    pub fn names(&self) -> BTreeSet<String> {
        self.volumes.keys().cloned().collect()
    }

    /// What the shim is told for those of these `names`.
    ///
    /// # Errors
    /// None that is known.
    pub fn orders(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let volumes = names.iter().filter_map(|name| self.volumes.get(name));
        let spec = Spec {
            volumes: volumes.cloned().collect(),
            ..Spec::new()
        };
        spec.write()
    }
}
