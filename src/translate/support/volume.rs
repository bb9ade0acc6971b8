//! Rows of a volume.

use super::Row;
use super::Verdict::{Approximated, Ignored, Mapped, Refused};
use super::words::{LATER, PLATFORM, WIN_VOLUME, both, per_os};

pub(super) const ROWS: &[Row] = &[
    // Volume
    per_os(
        "spec.volumes[]: a file in a directory (a path with a slash)",
        Refused("ACI's volumes of files have no directories; use a volume for each directory"),
        WIN_VOLUME,
    ),
    per_os(
        "spec.volumes[]: file modes other than 0644",
        Approximated("ACI chooses the modes and the owner of a volume's files"),
        WIN_VOLUME,
    ),
    both("spec.volumes[].awsElasticBlockStore", PLATFORM),
    both("spec.volumes[].azureDisk", PLATFORM),
    per_os("spec.volumes[].azureFile", LATER, WIN_VOLUME),
    both("spec.volumes[].cephfs", PLATFORM),
    both("spec.volumes[].cinder", PLATFORM),
    per_os("spec.volumes[].configMap", Mapped, WIN_VOLUME),
    per_os("spec.volumes[].csi", LATER, WIN_VOLUME),
    per_os("spec.volumes[].downwardAPI", Mapped, WIN_VOLUME),
    per_os("spec.volumes[].emptyDir", Mapped, WIN_VOLUME),
    per_os(
        "spec.volumes[].emptyDir.medium",
        Refused("ACI keeps emptyDir on disk, never in memory; leave the medium empty"),
        WIN_VOLUME,
    ),
    per_os(
        "spec.volumes[].emptyDir.sizeLimit",
        Approximated("ACI does not enforce the size limit of an emptyDir"),
        WIN_VOLUME,
    ),
    per_os("spec.volumes[].ephemeral", LATER, WIN_VOLUME),
    both("spec.volumes[].fc", PLATFORM),
    both("spec.volumes[].flexVolume", PLATFORM),
    both("spec.volumes[].flocker", PLATFORM),
    both("spec.volumes[].gcePersistentDisk", PLATFORM),
    per_os("spec.volumes[].gitRepo", LATER, WIN_VOLUME),
    both("spec.volumes[].glusterfs", PLATFORM),
    both("spec.volumes[].hostPath", PLATFORM),
    both("spec.volumes[].image", PLATFORM),
    both("spec.volumes[].iscsi", PLATFORM),
    both("spec.volumes[].name", Mapped),
    both("spec.volumes[].nfs", PLATFORM),
    per_os("spec.volumes[].persistentVolumeClaim", LATER, WIN_VOLUME),
    both("spec.volumes[].photonPersistentDisk", PLATFORM),
    both("spec.volumes[].portworxVolume", PLATFORM),
    per_os("spec.volumes[].projected", Mapped, WIN_VOLUME),
    per_os(
        "spec.volumes[].projected.sources[].clusterTrustBundle",
        Refused("it is not translated yet; use a ConfigMap"),
        WIN_VOLUME,
    ),
    per_os(
        "spec.volumes[].projected.sources[].podCertificate",
        Refused("nothing on ACI could renew the certificate; use a Secret"),
        WIN_VOLUME,
    ),
    per_os(
        "spec.volumes[].projected: the service account's (kube-api-access-*)",
        Mapped,
        Ignored("Windows container groups have no volumes; volume and mounts are left out"),
    ),
    both("spec.volumes[].quobyte", PLATFORM),
    both("spec.volumes[].rbd", PLATFORM),
    both("spec.volumes[].scaleIO", PLATFORM),
    per_os("spec.volumes[].secret", Mapped, WIN_VOLUME),
    both("spec.volumes[].storageos", PLATFORM),
    both("spec.volumes[].vsphereVolume", PLATFORM),
];
