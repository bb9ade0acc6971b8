//! Volumes: each of a pod's that is mounted becomes one of the group, or several where its parts are mounted.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, GitRepoVolumeSource, PersistentVolumeClaimVolumeSource, PodSpec, Volume,
};

use super::fields::Fields;
use super::init::MAX_INIT_CONTAINERS;
use super::names;
use super::review::Review;
use super::shim::{self, Fills};
use crate::azure::model::{self, EmptyDir, GitRepo, InitContainer};
use crate::translate::changing::is_service_account;
use files::Files;

mod claim;
mod files;
mod mounts;
mod share;

/// Volumes that a group may have.
const MAX_VOLUMES: usize = 20;
/// Volumes of the init container that brings the shim.
const OF_BRINGER: usize = 2;
const SERVICE_ACCOUNT: &str = "spec.volumes[].projected: the service account's (kube-api-access-*)";
const OVERLAP: &str =
    "spec.containers[].volumeMounts[].subPath: of an emptyDir that is mounted above it too";
const READ_ONLY: &str = "spec.containers[].volumeMounts[].subPath: of an emptyDir that is mounted above it too, read-only";

/// The volumes of a pod, and what its containers mount of them.
#[derive(Debug, Default)]
pub(super) struct Volumes<'a> {
    /// Those that can be mounted, by name; with their index in the pod.
    sources: BTreeMap<String, (usize, Source<'a>)>,
    /// What is mounted: index in the pod and path in the volume, empty for the whole.
    views: BTreeMap<(usize, String), model::Volume>,
    /// What would be mounted if a group could have more volumes.
    others: BTreeSet<(usize, String)>,
    /// Those of the shim's.
    shim: Vec<model::Volume>,
    /// Those that the shim fills.
    fills: Fills,
    /// The group that files belong to which the shim writes.
    group: Option<u32>,
}

/// What a volume is made of.
#[derive(Debug)]
enum Source<'a> {
    /// Nothing: each directory in it can be a volume of its own.
    Empty,
    /// Files that we know: a directory of them can be a volume of its own.
    Files(Files<'a>),
    /// Something that ACI mounts whole.
    Whole(Box<model::Volume>),
}

/// The volumes that the containers of `spec` mount.
pub(super) fn volumes<'a>(
    spec: &PodSpec,
    fields: &Fields<'_>,
    review: &mut Review<'a>,
) -> Volumes<'a> {
    let mounted = mounted(spec);
    let mut out = Volumes {
        fills: Fills::new(fields.shim.group),
        group: fields.shim.group,
        ..Volumes::default()
    };
    review.shim.update_fits = update_fits(spec);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let mut mounted = mounted.contains(volume.name.as_str());
        if mounted && out.sources.len() >= MAX_VOLUMES {
            // Each is mounted, so that there are too many already: what it holds is not looked at any more.
            out.others.insert((index, String::new()));
            mounted = false;
        }
        review.volume = Some(volume.name.clone());
        if let Some(source) = source(volume, index, mounted, fields, review)
            && mounted
        {
            out.sources.insert(volume.name.clone(), (index, source));
        }
    }
    review.volume = None;
    out
}

impl Volumes<'_> {
    /// Adds the volume that says what the shim does in a container.
    pub(super) fn add_orders(&mut self, orders: Option<model::Volume>) {
        self.shim.extend(orders);
    }

    /// What is in those that the shim brings up to date.
    pub(super) fn versions(&self) -> Option<String> {
        self.fills.versions()
    }

    /// Puts the init container that brings the shim, of `image`, before the `others` when a container has it or a volume is filled
    /// by it. Whether it does.
    pub(super) fn bring_shim(
        &mut self,
        spec: &PodSpec,
        image: &str,
        others: &mut Vec<InitContainer>,
        review: &mut Review<'_>,
    ) -> bool {
        let (with, fills) = (!self.shim.is_empty(), std::mem::take(&mut self.fills));
        let Some(brought) = shim::bringer(spec, image, with, fills, review) else {
            return false;
        };
        self.shim.extend(brought.volumes);
        if others.len() >= MAX_INIT_CONTAINERS {
            let message = format!(
                "{} init containers and the one of the shim; a container group has at most {MAX_INIT_CONTAINERS}",
                others.len()
            );
            review.exceeds("spec.initContainers".to_owned(), message);
        }
        others.insert(0, brought.container);
        true
    }

    /// What [`Volumes::mounts`] has mounted, as ARM gets it.
    pub(super) fn finish(self, review: &mut Review<'_>) -> Vec<model::Volume> {
        let (own, of_shim) = (self.views.len() + self.others.len(), self.shim.len());
        if self.others.is_empty() && own + of_shim > MAX_VOLUMES {
            let message = format!(
                "{own} volumes are mounted, and the shim needs {of_shim}; a container group has at most {MAX_VOLUMES}"
            );
            review.exceeds("spec.volumes".to_owned(), message);
        }
        if !self.others.is_empty() {
            let message = format!(
                "{} volumes are mounted; a container group has at most {MAX_VOLUMES}",
                MAX_VOLUMES + self.others.len()
            );
            review.exceeds("spec.volumes".to_owned(), message);
        }
        self.views.into_values().chain(self.shim).collect()
    }

    /// Mounts directories of an emptyDir, which are volumes of their own, also in what is mounted above them: else two
    /// containers that see one file in Kubernetes would see two. `mounts` has those of each container.
    pub(super) fn nest<'m>(
        &self,
        mounts: impl Iterator<Item = &'m mut Vec<model::VolumeMount>>,
        review: &mut Review<'_>,
    ) {
        let nested = self.nested();
        if nested.is_empty() {
            return;
        }
        for mounts in mounts {
            let mut taken: BTreeSet<String> =
                mounts.iter().map(|it| it.mount_path.clone()).collect();
            let mut more = Vec::new();
            for mount in mounts.iter() {
                let Some((index, directories)) = nested.get(mount.name.as_str()) else {
                    continue;
                };
                let at = format!("spec.volumes[{index}].emptyDir");
                if mount.read_only == Some(true) {
                    review.at(READ_ONLY, at);
                    continue;
                }
                review.at(OVERLAP, at.clone());
                for (name, below) in directories {
                    if below.contains(':') {
                        review.at(mounts::COLON, at.clone());
                        continue;
                    }
                    let mount_path = mounts::below(&mount.mount_path, below);
                    if taken.contains(&mount_path) {
                        // Another mount of the pod's hides it.
                        continue;
                    }
                    if mounts::pay(&mount_path, &at, review).is_err() {
                        return;
                    }
                    taken.insert(mount_path.clone());
                    more.push(model::VolumeMount {
                        name: (*name).to_owned(),
                        mount_path,
                        read_only: None,
                    });
                }
            }
            mounts.extend(more);
        }
    }

    /// The mounted parts of emptyDirs that have others in them, by the names of their volumes: the index in the pod, and the
    /// name and the path of each of those.
    fn nested(&self) -> Nested<'_> {
        let mut nested = Nested::new();
        let empty = |(_, source): &&(usize, Source<'_>)| matches!(source, Source::Empty);
        for (index, _) in self.sources.values().filter(empty) {
            let views = || self.views.iter().filter(|((of, _), _)| of == index);
            for ((_, outer), volume) in views() {
                let inner = views().filter_map(|((_, path), inner)| {
                    let rest = path.strip_prefix(outer.as_str())?;
                    let below = if outer.is_empty() {
                        rest
                    } else {
                        rest.strip_prefix('/')?
                    };
                    (!below.is_empty()).then_some((inner.name.as_str(), below))
                });
                let inner: Vec<(&str, &str)> = inner.collect();
                if !inner.is_empty() {
                    nested.insert(volume.name.as_str(), (*index, inner));
                }
            }
        }
        nested
    }
}

/// By the name of a volume: its index in the pod, and the names and paths of those in it.
type Nested<'a> = BTreeMap<&'a str, (usize, Vec<(&'a str, &'a str)>)>;

/// Whether `spec` mounts a volume whose files have a group that a kubelet could change: not only its service account's.
pub(super) fn has_files(spec: &PodSpec) -> bool {
    let mounted = mounted(spec);
    spec.volumes.iter().flatten().any(|volume| {
        let is_account = |projected| is_service_account(&volume.name, projected);
        mounted.contains(volume.name.as_str()) && !volume.projected.as_ref().is_some_and(is_account)
    })
}

/// Whether there is room for the volumes that the shim needs at most beside those that are mounted, and for its init container.
fn update_fits(spec: &PodSpec) -> bool {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let all = || spec.containers.iter().chain(inits);
    let mounts = all().flat_map(|it| it.volume_mounts.iter().flatten());
    let parts = mounts.map(|it| (&it.name, &it.sub_path, &it.sub_path_expr));
    let own = parts.collect::<BTreeSet<_>>().len();
    own + all().count() + OF_BRINGER <= MAX_VOLUMES && inits.len() < MAX_INIT_CONTAINERS
}

fn mounted(spec: &PodSpec) -> BTreeSet<&str> {
    let mounts = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.map(|mount| mount.name.as_str()).collect()
}

/// What `volume` is made of; `None` when it is refused or left out. One that nobody mounts asks for nothing.
fn source<'a>(
    volume: &Volume,
    index: usize,
    mounted: bool,
    fields: &Fields<'_>,
    review: &mut Review<'a>,
) -> Option<Source<'a>> {
    if !mounted {
        return None;
    }
    refuse_others(volume, index, review);
    if !review.field(row(volume)?, true, &[index]) {
        return None;
    }
    let path = format!("spec.volumes[{index}]");
    if let Volume {
        empty_dir: Some(EmptyDirVolumeSource { medium, size_limit }),
        ..
    } = volume
    {
        let medium = medium.as_deref().unwrap_or_default();
        let memory = medium == "Memory";
        review.field("spec.volumes[].emptyDir.medium: Memory", memory, &[index]);
        let huge = !memory && !medium.is_empty();
        review.field("spec.volumes[].emptyDir.medium: HugePages", huge, &[index]);
        let limit = size_limit.is_some();
        review.field("spec.volumes[].emptyDir.sizeLimit", limit, &[index]);
        return Some(Source::Empty);
    }
    if let Volume {
        git_repo: Some(git),
        ..
    } = volume
    {
        return git_repo(git, index, review).map(whole);
    }
    let meta = &fields.pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    if let Some(csi) = &volume.csi
        && !share::is_for_us(csi, &path, review)
    {
        return None;
    }
    match volume {
        Volume {
            azure_file: Some(file),
            ..
        } => share::in_tree(file, &format!("{path}.azureFile"), review).map(whole),
        Volume { csi: Some(csi), .. } => {
            share::inline(csi, namespace, &format!("{path}.csi"), review).map(whole)
        }
        Volume {
            persistent_volume_claim: Some(claim),
            ..
        } => {
            let PersistentVolumeClaimVolumeSource {
                claim_name,
                read_only,
            } = claim;
            let read_only = *read_only == Some(true);
            let path = format!("{path}.persistentVolumeClaim");
            claim::volume(claim_name, read_only, None, &path, review).map(whole)
        }
        Volume {
            name,
            ephemeral: Some(_),
            ..
        } => {
            // The controller manager has made the claim from the template, which nobody reads again.
            let pod = meta.name.as_deref().unwrap_or_default();
            let (claim, path) = (format!("{pod}-{name}"), format!("{path}.ephemeral"));
            let owner = meta.uid.as_deref().unwrap_or_default();
            claim::volume(&claim, false, Some(owner), &path, review).map(whole)
        }
        _ => Some(Source::Files(files::files(volume, index, fields, review))),
    }
}

fn whole<'a>(volume: model::Volume) -> Source<'a> {
    Source::Whole(Box::new(volume))
}

/// The row of the kind that `volume` is of. One without any source is an emptyDir to the API server, which writes it out;
/// what is left is refused already.
fn row(volume: &Volume) -> Option<&'static str> {
    let is_account = |projected| is_service_account(&volume.name, projected);
    let rows = [
        (volume.empty_dir.is_some(), "spec.volumes[].emptyDir"),
        (
            volume.projected.as_ref().is_some_and(is_account),
            SERVICE_ACCOUNT,
        ),
        (volume.projected.is_some(), "spec.volumes[].projected"),
        (volume.secret.is_some(), "spec.volumes[].secret"),
        (volume.config_map.is_some(), "spec.volumes[].configMap"),
        (volume.downward_api.is_some(), "spec.volumes[].downwardAPI"),
        (volume.azure_file.is_some(), "spec.volumes[].azureFile"),
        (volume.csi.is_some(), "spec.volumes[].csi"),
        (
            volume.persistent_volume_claim.is_some(),
            "spec.volumes[].persistentVolumeClaim",
        ),
        (volume.ephemeral.is_some(), "spec.volumes[].ephemeral"),
        (volume.git_repo.is_some(), "spec.volumes[].gitRepo"),
    ];
    rows.into_iter()
        .find_map(|(present, row)| present.then_some(row))
}

/// A git repository, which everyone who may read the group sees the address of.
fn git_repo(
    git: &GitRepoVolumeSource,
    index: usize,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let GitRepoVolumeSource {
        directory,
        repository,
        revision,
    } = git;
    let address = ["https://", "http://"].iter().find_map(|scheme| {
        let (start, rest) = repository.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let host = address.and_then(|rest| rest.split(['/', '?', '#']).next());
    let shown = host.is_some_and(|host| !host.is_empty() && !host.contains('@'));
    let row = "spec.volumes[].gitRepo.repository: not http:// or https://, or with a user name";
    review.field(row, !shown, &[index]);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    shown.then(|| model::Volume {
        git_repo: Some(GitRepo {
            repository: repository.clone(),
            directory: given(directory),
            revision: given(revision),
        }),
        ..model::Volume::default()
    })
}

/// Refuses every source that [`source`] does not handle.
fn refuse_others(volume: &Volume, index: usize, review: &mut Review) {
    let Volume {
        name: _,
        empty_dir: _,
        projected: _,
        aws_elastic_block_store,
        azure_disk,
        azure_file: _,
        cephfs,
        cinder,
        config_map: _,
        csi: _,
        downward_api: _,
        ephemeral: _,
        fc,
        flex_volume,
        flocker,
        gce_persistent_disk,
        git_repo: _,
        glusterfs,
        host_path,
        image,
        iscsi,
        nfs,
        persistent_volume_claim: _,
        photon_persistent_disk,
        portworx_volume,
        quobyte,
        rbd,
        scale_io,
        secret: _,
        storageos,
        vsphere_volume,
    } = volume;
    for (row, present) in [
        (
            "spec.volumes[].awsElasticBlockStore",
            aws_elastic_block_store.is_some(),
        ),
        ("spec.volumes[].azureDisk", azure_disk.is_some()),
        ("spec.volumes[].cephfs", cephfs.is_some()),
        ("spec.volumes[].cinder", cinder.is_some()),
        ("spec.volumes[].fc", fc.is_some()),
        ("spec.volumes[].flexVolume", flex_volume.is_some()),
        ("spec.volumes[].flocker", flocker.is_some()),
        (
            "spec.volumes[].gcePersistentDisk",
            gce_persistent_disk.is_some(),
        ),
        ("spec.volumes[].glusterfs", glusterfs.is_some()),
        ("spec.volumes[].hostPath", host_path.is_some()),
        ("spec.volumes[].image", image.is_some()),
        ("spec.volumes[].iscsi", iscsi.is_some()),
        ("spec.volumes[].nfs", nfs.is_some()),
        (
            "spec.volumes[].photonPersistentDisk",
            photon_persistent_disk.is_some(),
        ),
        ("spec.volumes[].portworxVolume", portworx_volume.is_some()),
        ("spec.volumes[].quobyte", quobyte.is_some()),
        ("spec.volumes[].rbd", rbd.is_some()),
        ("spec.volumes[].scaleIO", scale_io.is_some()),
        ("spec.volumes[].storageos", storageos.is_some()),
        ("spec.volumes[].vsphereVolume", vsphere_volume.is_some()),
    ] {
        review.field(row, present, &[index]);
    }
}

/// ACI's name for what is mounted of the volume `name` of a pod.
fn view_name(name: &str, path: &str) -> String {
    if path.is_empty() {
        return names::volume(name);
    }
    names::volume(&format!("{name}/{path}"))
}

fn empty_dir() -> model::Volume {
    model::Volume {
        empty_dir: Some(EmptyDir {}),
        ..model::Volume::default()
    }
}

#[cfg(test)]
mod tests;
