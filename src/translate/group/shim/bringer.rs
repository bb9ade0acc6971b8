//! The first init container: it brings the shim, and fills volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use vkc_shim::spec::{Directory, File, ORDERS, PROGRAMS, Spec, VOLUMES};

use super::{FileBytes, content, mount, orders, programs};
use crate::azure::model::{self, InitContainer, InitContainerProperties, SecretText};
use crate::translate::group::budget::Exceeded;
use crate::translate::group::review::Review;
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

/// Volumes that the first init container fills: with files of their own modes, or with the pod's address in them.
#[derive(Debug, Default)]
pub(in crate::translate::group) struct Fills {
    spec: Spec,
    beside: BTreeMap<String, SecretText>,
    volumes: Vec<String>,
    group: Option<u32>,
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

    /// The group's volume `name` is to be filled.
    pub(in crate::translate::group) fn begin(&mut self, name: &str) {
        // A kubelet's directories pass their group on; those below do as they are made.
        let mode = if self.group.is_some() { 0o2755 } else { 0o755 };
        self.spec.directories.push(Directory {
            path: format!("{VOLUMES}/{name}"),
            mode,
            group: self.group,
        });
        self.volumes.push(name.to_owned());
    }

    /// The file `path` in it.
    pub(in crate::translate::group) fn file(
        &mut self,
        name: &str,
        path: &str,
        bytes: Option<FileBytes<'_>>,
        mode: u32,
        at: &dyn std::fmt::Display,
        review: &mut Review<'_>,
    ) -> Result<(), Exceeded> {
        let content = content(bytes, &mut self.beside, at, review)?;
        self.spec.files.push(File {
            path: format!("{VOLUMES}/{name}/{path}"),
            content,
            mode: mode_for(self.group, mode),
            group: self.group,
        });
        Ok(())
    }
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
    if !with && fills.volumes.is_empty() {
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
    if !fills.volumes.is_empty() {
        let filled = fills.volumes.iter();
        mounts.extend(filled.map(|name| mount(name, &format!("{VOLUMES}/{name}"), false)));
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
