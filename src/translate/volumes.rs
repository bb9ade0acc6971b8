//! Volumes and mounts.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PodSpec, ProjectedVolumeSource, Volume, VolumeMount,
};

use super::fields::Fields;
use super::names;
use super::review::{Review, set};
use crate::azure::model::{self, EmptyDir, SecretText};

mod files;

/// Volumes that a group may have.
const MAX_VOLUMES: usize = 20;
/// Characters of base64 that the files of a group may have: ARM takes requests of 4 MB.
const MAX_FILES: usize = 3_500_000;
/// How the API server's admission names the volume of a service account.
const SERVICE_ACCOUNT_PREFIX: &str = "kube-api-access-";
const SERVICE_ACCOUNT: &str = "spec.volumes[].projected: the service account's (kube-api-access-*)";

/// The volumes of a group.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// As ARM gets them.
    pub(super) arm: Vec<model::Volume>,
    /// The pod's names of the volumes that are in the group, with ACI's names.
    names: BTreeMap<String, String>,
}

/// The volumes that the containers of `spec` mount.
pub(super) fn volumes(spec: &PodSpec, fields: &Fields<'_>, review: &mut Review<'_>) -> Volumes {
    let mounted = mounted(spec);
    let mut out = Volumes::default();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let mounted = mounted.contains(volume.name.as_str());
        let arm = source(volume, index, mounted, fields, review);
        if let Some(mut arm) = arm.filter(|_| mounted) {
            arm.name = names::volume(&volume.name);
            out.names.insert(volume.name.clone(), arm.name.clone());
            out.arm.push(arm);
        }
    }
    if out.arm.len() > MAX_VOLUMES {
        let message = format!(
            "{} volumes are mounted; a container group has at most {MAX_VOLUMES}",
            out.arm.len()
        );
        review.exceeds("spec.volumes".to_owned(), message);
    }
    let files = out.arm.iter().flat_map(|volume| &volume.secret).flatten();
    let size: usize = files.map(|(_, content)| content.expose().len()).sum();
    if size > MAX_FILES {
        let message = format!(
            "the files of Secrets and ConfigMaps make {size} characters of base64; Azure takes {MAX_FILES} in one request"
        );
        review.exceeds("spec.volumes".to_owned(), message);
    }
    out
}

fn mounted(spec: &PodSpec) -> BTreeSet<&str> {
    let mounts = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.map(|mount| mount.name.as_str()).collect()
}

/// ARM's form of `volume`, still without a name; `None` when it is refused or left out. Content is looked up only for a
/// volume that is mounted.
fn source(
    volume: &Volume,
    index: usize,
    mounted: bool,
    fields: &Fields<'_>,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    refuse_others(volume, index, review);
    let place = [index];
    let files_of = match volume {
        Volume {
            name,
            projected: Some(projected),
            ..
        } if is_service_account(name, projected) => Some(SERVICE_ACCOUNT),
        Volume {
            projected: Some(_), ..
        } => Some("spec.volumes[].projected"),
        Volume {
            secret: Some(_), ..
        } => Some("spec.volumes[].secret"),
        Volume {
            config_map: Some(_),
            ..
        } => Some("spec.volumes[].configMap"),
        Volume {
            downward_api: Some(_),
            ..
        } => Some("spec.volumes[].downwardAPI"),
        _ => None,
    };
    if let Some(row) = files_of {
        if !review.field(row, true, &place) || !mounted {
            return None;
        }
        let files = files::files(volume, index, fields, review);
        return Some(volume_of(files));
    }
    let Volume { empty_dir, .. } = volume;
    if let Some(EmptyDirVolumeSource { medium, size_limit }) = empty_dir {
        if !review.field("spec.volumes[].emptyDir", true, &place) {
            return None;
        }
        let medium = set(medium.as_deref());
        review.field("spec.volumes[].emptyDir.medium", medium, &place);
        review.field(
            "spec.volumes[].emptyDir.sizeLimit",
            size_limit.is_some(),
            &place,
        );
        return Some(model::Volume {
            empty_dir: Some(EmptyDir {}),
            ..model::Volume::default()
        });
    }
    // A volume without any source is an emptyDir to the API server, which writes it out; none is left here unrefused.
    None
}

/// Refuses every source that [`source`] does not handle.
fn refuse_others(volume: &Volume, index: usize, review: &mut Review) {
    let Volume {
        name: _,
        empty_dir: _,
        projected: _,
        aws_elastic_block_store,
        azure_disk,
        azure_file,
        cephfs,
        cinder,
        config_map: _,
        csi,
        downward_api: _,
        ephemeral,
        fc,
        flex_volume,
        flocker,
        gce_persistent_disk,
        git_repo,
        glusterfs,
        host_path,
        image,
        iscsi,
        nfs,
        persistent_volume_claim,
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
        ("spec.volumes[].azureFile", azure_file.is_some()),
        ("spec.volumes[].cephfs", cephfs.is_some()),
        ("spec.volumes[].cinder", cinder.is_some()),
        ("spec.volumes[].csi", csi.is_some()),
        ("spec.volumes[].ephemeral", ephemeral.is_some()),
        ("spec.volumes[].fc", fc.is_some()),
        ("spec.volumes[].flexVolume", flex_volume.is_some()),
        ("spec.volumes[].flocker", flocker.is_some()),
        (
            "spec.volumes[].gcePersistentDisk",
            gce_persistent_disk.is_some(),
        ),
        ("spec.volumes[].gitRepo", git_repo.is_some()),
        ("spec.volumes[].glusterfs", glusterfs.is_some()),
        ("spec.volumes[].hostPath", host_path.is_some()),
        ("spec.volumes[].image", image.is_some()),
        ("spec.volumes[].iscsi", iscsi.is_some()),
        ("spec.volumes[].nfs", nfs.is_some()),
        (
            "spec.volumes[].persistentVolumeClaim",
            persistent_volume_claim.is_some(),
        ),
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

/// Whether `projected` is what the API server's admission adds for the service account.
fn is_service_account(name: &str, projected: &ProjectedVolumeSource) -> bool {
    let sources = projected.sources.as_deref().unwrap_or_default();
    name.starts_with(SERVICE_ACCOUNT_PREFIX)
        && sources
            .iter()
            .any(|source| source.service_account_token.is_some())
        && sources.iter().all(|source| {
            source.secret.is_none()
                && source.cluster_trust_bundle.is_none()
                && source.pod_certificate.is_none()
        })
}

/// A volume of `files`. One without any is an empty directory, which ACI has under another name.
fn volume_of(files: BTreeMap<String, SecretText>) -> model::Volume {
    if files.is_empty() {
        return model::Volume {
            empty_dir: Some(EmptyDir {}),
            ..model::Volume::default()
        };
    }
    model::Volume {
        secret: Some(files),
        ..model::Volume::default()
    }
}

impl Volumes {
    /// The mounts of container `index`; those of a volume that was refused or left out are left out too.
    pub(super) fn mounts(
        &self,
        mounts: &[VolumeMount],
        index: usize,
        review: &mut Review,
    ) -> Vec<model::VolumeMount> {
        let mut out = Vec::with_capacity(mounts.len());
        for (n, mount) in mounts.iter().enumerate() {
            let VolumeMount {
                mount_path,
                mount_propagation,
                name,
                read_only,
                recursive_read_only: _,
                sub_path,
                sub_path_expr,
            } = mount;
            let Some(arm) = self.names.get(name) else {
                continue;
            };
            let shared = mount_propagation
                .as_deref()
                .is_some_and(|mode| !matches!(mode, "" | "None"));
            for (row, present) in [
                (
                    "spec.containers[].volumeMounts[].mountPath: with a colon",
                    mount_path.contains(':'),
                ),
                (
                    "spec.containers[].volumeMounts[].mountPropagation: Bidirectional or HostToContainer",
                    shared,
                ),
                (
                    "spec.containers[].volumeMounts[].subPath",
                    set(sub_path.as_deref()),
                ),
                (
                    "spec.containers[].volumeMounts[].subPathExpr",
                    set(sub_path_expr.as_deref()),
                ),
            ] {
                review.field(row, present, &[index, n]);
            }
            out.push(model::VolumeMount {
                name: arm.clone(),
                mount_path: mount_path.clone(),
                read_only: read_only.filter(|read_only| *read_only),
            });
        }
        out
    }
}
