//! The first init container: it brings the shim, and fills volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use vkc_shim::spec::{File, ORDERS, PROGRAMS, Spec, VOLUMES, Volume};

use super::{FileBytes, content, mount, orders, programs};
use crate::azure::model::{self, InitContainer, InitContainerProperties, SecretText};
use crate::translate::group::budget::Exceeded;
use crate::translate::group::review::Review;
use crate::translate::identity::short_hash;
use crate::translate::shim::SHIM_CONTAINER;

/// The shim in its own image.
const IN_IMAGE: &str = "/vkc-shim";
/// Bits that a kubelet adds to files of a volume for the group of the pod (`fsGroup`).
const GROUP_READS: u32 = 0o440;

/// What brings the shim into a group.
#[derive(Debug)]
pub(in crate::translate::group) struct Bringer {
    pub(in crate::translate::group) container: InitContainer,
    pub(in crate::translate::group) volumes: Vec<model::Volume>,
}

/// Volumes that the first init container fills: with files of their own modes, with the pod's address in them, or with what is
/// brought up to date.
#[derive(Debug, Default)]
pub(in crate::translate::group) struct Fills {
    spec: Spec,
    beside: BTreeMap<String, SecretText>,
    group: Option<u32>,
    /// What is in those that are brought up to date.
    versions: Vec<String>,
}

impl Fills {
    /// Of a pod whose files belong to `group`.
    pub(in crate::translate::group) fn new(group: Option<u32>) -> Self {
        Self {
            spec: Spec::new(),
            group,
            ..Self::default()
        }
    }

    /// The group's volume `name` is to be filled; with `version`, and brought up to date when that changes.
    pub(in crate::translate::group) fn begin(&mut self, name: &str, version: Option<&[String]>) {
        // A kubelet's directories pass their group on; those below do as they are made.
        let mode = if self.group.is_some() { 0o2755 } else { 0o755 };
        self.spec.volumes.push(Volume {
            name: name.to_owned(),
            mode,
            owner: None,
            group: self.group,
            linked: version.is_some(),
            files: Vec::new(),
        });
        if let Some(version) = version {
            self.versions.push(name.to_owned());
            self.versions.extend_from_slice(version);
        }
    }

    /// The volume `name` belongs to `user`, unless it is another's already: who runs as that brings it up to date.
    pub(in crate::translate::group) fn belongs_to(&mut self, name: &str, user: Option<u32>) {
        let mut volumes = self.spec.volumes.iter_mut();
        if let Some(volume) = volumes.find(|it| it.name == name && it.linked) {
            volume.owner = volume.owner.or(user);
        }
    }

    /// Whether the volume `name` is brought up to date.
    pub(in crate::translate::group) fn is_updated(&self, name: &str) -> bool {
        let mut volumes = self.spec.volumes.iter();
        volumes.any(|it| it.name == name && it.linked)
    }

    /// What is in the volumes that are brought up to date: another text when there is something else. `None` without such volumes.
    pub(in crate::translate::group) fn versions(&self) -> Option<String> {
        (!self.versions.is_empty()).then(|| short_hash(&self.versions))
    }

    /// The file `path` in the volume that was begun last.
    pub(in crate::translate::group) fn file(
        &mut self,
        path: &str,
        bytes: Option<FileBytes<'_>>,
        mode: u32,
        at: &dyn std::fmt::Display,
        review: &mut Review<'_>,
    ) -> Result<(), Exceeded> {
        let content = content(bytes, &mut self.beside, at, review)?;
        if let Some(volume) = self.spec.volumes.last_mut() {
            volume.files.push(File {
                path: path.to_owned(),
                content,
                mode: mode_for(self.group, mode),
                group: self.group,
            });
        }
        Ok(())
    }
}

/// Where the shim finds the volume `name`.
pub(in crate::translate::group) fn place_of(name: &str) -> String {
    format!("{VOLUMES}/{name}")
}

/// The mode of a file that is asked for with `mode`: a kubelet makes it readable for the pod's group.
pub(in crate::translate::group) fn mode_for(group: Option<u32>, mode: u32) -> u32 {
    mode | group.map_or(0, |_| GROUP_READS)
}

/// The first init container, where one of the others has the shim (`with`) or a volume is filled.
pub(in crate::translate::group) fn bringer(
    spec: &PodSpec,
    image: &str,
    with: bool,
    fills: Fills,
    review: &mut Review<'_>,
) -> Option<Bringer> {
    if !with && fills.spec.volumes.is_empty() {
        return None;
    }
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    if all.into_iter().any(|it| it.name == SHIM_CONTAINER) {
        let message = format!(
            "{SHIM_CONTAINER} is the name of the operator's shim; give the container another"
        );
        review.refuse("spec.containers".to_owned(), message);
    }
    let mut volumes = vec![programs()];
    let mut mounts = vec![mount(&programs().name, PROGRAMS, false)];
    if !fills.spec.volumes.is_empty() {
        let filled = fills.spec.volumes.iter();
        mounts.extend(filled.map(|it| mount(&it.name, &place_of(&it.name), false)));
        let volume = orders("vkc-shim/fill", &fills.spec, fills.beside, review)?;
        mounts.push(mount(&volume.name, ORDERS, true));
        volumes.push(volume);
    }
    let properties = InitContainerProperties {
        image: image.to_owned(),
        command: vec![IN_IMAGE.to_owned(), "install".to_owned()],
        environment_variables: Vec::new(),
        volume_mounts: mounts,
        // It writes as root into empty volumes, and nothing of the pod's runs in it.
        security_context: None,
        instance_view: None,
    };
    Some(Bringer {
        container: InitContainer {
            name: SHIM_CONTAINER.to_owned(),
            properties,
        },
        volumes,
    })
}
