//! Rows of a volume.

use super::Row;
use super::Verdict::{Approximated, Ignored, Mapped, Shim};
use super::Without;
use super::words::{PLATFORM, both, linux};

pub(super) const ROWS: &[Row] = &[
    // Volume
    linux(
        "spec.volumes[]: a file in a directory (a path with a slash)",
        Mapped,
    ),
    both(
        "spec.volumes[]: of any kind, which no container mounts",
        Ignored("it is not attached"),
    ),
    linux(
        "spec.volumes[]: a file both in a volume and in a directory of it",
        Approximated(
            "each directory is a volume of ACI's of its own, mounted in the other, which is therefore not mounted read-only",
        ),
    ),
    linux(
        "spec.volumes[]: file modes other than 0644",
        Shim(
            Without::Approximated,
            "ACI chooses the modes and the owner of a volume's files",
        ),
    ),
    both("spec.volumes[].awsElasticBlockStore", PLATFORM),
    both("spec.volumes[].azureDisk", PLATFORM),
    linux("spec.volumes[].azureFile", Mapped),
    both("spec.volumes[].cephfs", PLATFORM),
    both("spec.volumes[].cinder", PLATFORM),
    linux("spec.volumes[].configMap", Mapped),
    linux("spec.volumes[].csi", Mapped),
    linux("spec.volumes[].downwardAPI", Mapped),
    linux("spec.volumes[].emptyDir", Mapped),
    linux("spec.volumes[].ephemeral", Mapped),
    both("spec.volumes[].fc", PLATFORM),
    both("spec.volumes[].flexVolume", PLATFORM),
    both("spec.volumes[].flocker", PLATFORM),
    both("spec.volumes[].gcePersistentDisk", PLATFORM),
    linux("spec.volumes[].gitRepo", Mapped),
    both("spec.volumes[].glusterfs", PLATFORM),
    both("spec.volumes[].hostPath", PLATFORM),
    both("spec.volumes[].image", PLATFORM),
    both("spec.volumes[].iscsi", PLATFORM),
    both("spec.volumes[].name", Mapped),
    both("spec.volumes[].nfs", PLATFORM),
    linux("spec.volumes[].persistentVolumeClaim", Mapped),
    both("spec.volumes[].photonPersistentDisk", PLATFORM),
    both("spec.volumes[].portworxVolume", PLATFORM),
    linux("spec.volumes[].projected", Mapped),
    both("spec.volumes[].quobyte", PLATFORM),
    both("spec.volumes[].rbd", PLATFORM),
    both("spec.volumes[].scaleIO", PLATFORM),
    linux("spec.volumes[].secret", Mapped),
    both("spec.volumes[].storageos", PLATFORM),
    both("spec.volumes[].vsphereVolume", PLATFORM),
];
