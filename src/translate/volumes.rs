//! Volumes and mounts.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, EmptyDirVolumeSource,
    PodSpec, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};

use super::group::{KeyFile, Reference, Resolved};
use super::names;
use super::review::{Review, set};
use crate::azure::model::{self, EmptyDir, SecretText};

/// Volumes that a group may have.
const MAX_VOLUMES: usize = 20;
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
pub(super) fn volumes(
    spec: &PodSpec,
    namespace: &str,
    resolved: &Resolved,
    review: &mut Review,
) -> Volumes {
    let mounted = mounted(spec);
    let mut out = Volumes::default();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let mounted = mounted.contains(volume.name.as_str());
        let arm = source(volume, index, mounted, namespace, resolved, review);
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
    namespace: &str,
    resolved: &Resolved,
    review: &mut Review,
) -> Option<model::Volume> {
    refuse_others(volume, index, review);
    let place = [index];
    let Volume {
        name,
        empty_dir,
        projected,
        ..
    } = volume;
    if let Some(projected) = projected {
        let Some(files) = service_account(name, projected) else {
            review.field("spec.volumes[].projected", true, &place);
            return None;
        };
        let used = review.field(SERVICE_ACCOUNT, true, &place);
        return (used && mounted)
            .then(|| secret_volume(name, index, &files, namespace, resolved, review));
    }
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
        config_map,
        csi,
        downward_api,
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
        secret,
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
        ("spec.volumes[].configMap", config_map.is_some()),
        ("spec.volumes[].csi", csi.is_some()),
        ("spec.volumes[].downwardAPI", downward_api.is_some()),
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
        ("spec.volumes[].secret", secret.is_some()),
        ("spec.volumes[].storageos", storageos.is_some()),
        ("spec.volumes[].vsphereVolume", vsphere_volume.is_some()),
    ] {
        review.field(row, present, &[index]);
    }
}

/// One source of the service account's volume.
enum Projection<'a> {
    Token(&'a ServiceAccountTokenProjection),
    ConfigMap(&'a ConfigMapProjection),
    Namespace(&'a str),
}

/// The sources of `projected` when it is what the API server's admission adds for the service account: a token, entries
/// of `ConfigMaps` and the namespace, each a file without a directory.
fn service_account<'a>(
    name: &str,
    projected: &'a ProjectedVolumeSource,
) -> Option<Vec<Projection<'a>>> {
    let ProjectedVolumeSource {
        default_mode: _,
        sources,
    } = projected;
    if !name.starts_with(SERVICE_ACCOUNT_PREFIX) {
        return None;
    }
    let plain = |path: &str| !path.is_empty() && !path.contains('/');
    let mut out = Vec::new();
    for projection in sources.iter().flatten() {
        match projection {
            VolumeProjection {
                service_account_token: Some(token),
                config_map: None,
                downward_api: None,
                cluster_trust_bundle: None,
                pod_certificate: None,
                secret: None,
            } if plain(&token.path) => out.push(Projection::Token(token)),
            VolumeProjection {
                service_account_token: None,
                config_map: Some(config_map),
                downward_api: None,
                cluster_trust_bundle: None,
                pod_certificate: None,
                secret: None,
            } if config_map
                .items
                .iter()
                .flatten()
                .all(|item| plain(&item.path)) =>
            {
                out.push(Projection::ConfigMap(config_map));
            }
            VolumeProjection {
                service_account_token: None,
                config_map: None,
                downward_api: Some(DownwardAPIProjection { items }),
                cluster_trust_bundle: None,
                pod_certificate: None,
                secret: None,
            } => {
                for item in items.iter().flatten() {
                    match item {
                        DownwardAPIVolumeFile {
                            field_ref: Some(field),
                            mode: _,
                            path,
                            resource_field_ref: None,
                        } if field.field_path == "metadata.namespace" && plain(path) => {
                            out.push(Projection::Namespace(path));
                        }
                        _ => return None,
                    }
                }
            }
            _ => return None,
        }
    }
    Some(out)
}

/// A secret volume of the files of `projections`.
fn secret_volume(
    name: &str,
    index: usize,
    projections: &[Projection<'_>],
    namespace: &str,
    resolved: &Resolved,
    review: &mut Review,
) -> model::Volume {
    let empty = BTreeMap::new();
    let known = resolved.files.get(name);
    let fetched = known.unwrap_or(&empty);
    let mut files: BTreeMap<String, SecretText> = fetched
        .iter()
        .map(|(path, text)| (path.clone(), encode(text.expose())))
        .collect();
    for (source, projection) in projections.iter().enumerate() {
        let mut wanted: Vec<&str> = match projection {
            Projection::Token(token) => vec![&token.path],
            Projection::ConfigMap(map) if map.optional == Some(true) => Vec::new(),
            Projection::ConfigMap(map) => map
                .items
                .iter()
                .flatten()
                .map(|item| item.path.as_str())
                .collect(),
            Projection::Namespace(path) => {
                files.insert((*path).to_owned(), encode(namespace));
                Vec::new()
            }
        };
        // Before anything was fetched there is nothing to miss.
        wanted.retain(|path| known.is_some() && !fetched.contains_key(*path));
        for path in wanted {
            let field = format!("spec.volumes[{index}].projected.sources[{source}]");
            review.missing(
                field,
                format!("the content of file {path:?} could not be fetched"),
            );
        }
    }
    model::Volume {
        secret: Some(files),
        ..model::Volume::default()
    }
}

fn encode(text: &str) -> SecretText {
    SecretText::new(STANDARD.encode(text))
}

/// What the mounted volumes of `spec` need from outside the pod.
pub(super) fn references(spec: &PodSpec) -> Vec<Reference> {
    let mounted = mounted(spec);
    let mut out = Vec::new();
    for volume in spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| mounted.contains(volume.name.as_str()))
    {
        let projections = volume
            .projected
            .as_ref()
            .and_then(|projected| service_account(&volume.name, projected));
        for projection in projections.into_iter().flatten() {
            match projection {
                Projection::Token(ServiceAccountTokenProjection {
                    audience,
                    expiration_seconds,
                    path,
                }) => {
                    out.push(Reference::ServiceAccountToken {
                        volume: volume.name.clone(),
                        path: path.clone(),
                        audience: audience.clone().filter(|audience| !audience.is_empty()),
                        expiration_seconds: *expiration_seconds,
                    });
                }
                Projection::ConfigMap(ConfigMapProjection {
                    items,
                    name,
                    optional,
                }) => {
                    out.push(Reference::ConfigMap {
                        volume: volume.name.clone(),
                        name: name.clone(),
                        items: items
                            .iter()
                            .flatten()
                            .map(|item| KeyFile {
                                key: item.key.clone(),
                                path: item.path.clone(),
                            })
                            .collect(),
                        optional: *optional == Some(true),
                    });
                }
                Projection::Namespace(_) => {}
            }
        }
    }
    out
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
