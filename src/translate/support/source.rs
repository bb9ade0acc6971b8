//! Rows of what a volume is made of.

use super::Row;
use super::Verdict::{self, Approximated, Ignored, Mapped, NotEnforced, Refused, Shim};
use super::Without;
use super::words::{linux, per_os};
use crate::api::Unenforced;

const MODES: Verdict = Shim(
    Without::Approximated,
    "ACI chooses the modes of a volume's files; for 0644, the default, there is no Event",
);

pub(super) const ROWS: &[Row] = &[
    // KeyToPath, DownwardAPIVolumeFile
    linux("spec.volumes[].*.items[].fieldRef", Mapped),
    linux(
        "spec.volumes[].*.items[].fieldRef: metadata.annotations or metadata.labels",
        Shim(
            Without::Approximated,
            "the file is written when the container group is made, and a change of the pod does not reach it: what waits for one \
             waits for ever",
        ),
    ),
    linux("spec.volumes[].*.items[].key", Mapped),
    linux("spec.volumes[].*.items[].mode", MODES),
    linux("spec.volumes[].*.items[].path", Mapped),
    linux("spec.volumes[].*.items[].resourceFieldRef", Mapped),
    // AzureFileVolumeSource
    linux("spec.volumes[].azureFile.readOnly", Mapped),
    linux("spec.volumes[].azureFile.secretName", Mapped),
    linux("spec.volumes[].azureFile.shareName", Mapped),
    // ConfigMapVolumeSource
    linux("spec.volumes[].configMap.defaultMode", MODES),
    linux("spec.volumes[].configMap.items", Mapped),
    linux("spec.volumes[].configMap.name", Mapped),
    linux("spec.volumes[].configMap.optional", Mapped),
    // CSIVolumeSource
    linux("spec.volumes[].csi.driver", Mapped),
    linux(
        "spec.volumes[].csi.driver: another than file.csi.azure.com",
        Refused("ACI runs no CSI drivers; of their volumes it has the shares of Azure Files"),
    ),
    linux(
        "spec.volumes[].csi.fsType",
        Ignored("the driver of Azure Files ignores it too"),
    ),
    linux("spec.volumes[].csi.nodePublishSecretRef", Mapped),
    linux("spec.volumes[].csi.readOnly", Mapped),
    linux("spec.volumes[].csi.volumeAttributes", Mapped),
    linux(
        "spec.volumes[].csi.volumeAttributes: mountOptions",
        Approximated("ACI mounts a share with options of its own; only ro counts"),
    ),
    linux(
        "spec.volumes[].csi.volumeAttributes: a share by NFS, of a folder, disk or identity, or no share or Secret",
        Refused("ACI mounts whole shares by SMB with the account's key; see docs/volumes.md"),
    ),
    // DownwardAPIVolumeSource
    linux("spec.volumes[].downwardAPI.defaultMode", MODES),
    linux("spec.volumes[].downwardAPI.items", Mapped),
    // EmptyDirVolumeSource
    linux("spec.volumes[].emptyDir.medium", Mapped),
    linux(
        "spec.volumes[].emptyDir.medium: HugePages",
        Refused("ACI has no huge pages; leave the medium empty"),
    ),
    linux(
        "spec.volumes[].emptyDir.medium: Memory",
        NotEnforced(
            Unenforced::MemoryVolumes,
            "ACI keeps emptyDir on disk, never in memory: it is slower, and what is written there touches a disk",
        ),
    ),
    linux(
        "spec.volumes[].emptyDir.sizeLimit",
        NotEnforced(
            Unenforced::EphemeralStorage,
            "ACI does not enforce the size limit of an emptyDir",
        ),
    ),
    // EphemeralVolumeSource
    linux("spec.volumes[].ephemeral.volumeClaimTemplate", Mapped),
    // GitRepoVolumeSource
    linux("spec.volumes[].gitRepo.directory", Mapped),
    linux("spec.volumes[].gitRepo.repository", Mapped),
    linux(
        "spec.volumes[].gitRepo.repository: not http:// or https://, or with a user name",
        Refused(
            "ACI clones from http:// and https:// without credentials, and shows the address to whoever may read the \
             container group; clone in an init container",
        ),
    ),
    linux("spec.volumes[].gitRepo.revision", Mapped),
    // PersistentVolumeClaimVolumeSource
    linux("spec.volumes[].persistentVolumeClaim.claimName", Mapped),
    linux("spec.volumes[].persistentVolumeClaim.readOnly", Mapped),
    linux(
        "spec.volumes[].persistentVolumeClaim: of a volume that is no share of Azure Files",
        Refused("until the claim has another volume: ACI has shares of Azure Files only, by SMB"),
    ),
    linux(
        "spec.volumes[].persistentVolumeClaim: of a volume with mountOptions",
        Approximated("ACI mounts a share with options of its own; only ro counts"),
    ),
    // ProjectedVolumeSource
    linux("spec.volumes[].projected.defaultMode", MODES),
    linux("spec.volumes[].projected.sources", Mapped),
    per_os(
        "spec.volumes[].projected: the service account's (kube-api-access-*)",
        Mapped,
        Ignored("Windows container groups have no volumes; volume and mounts are left out"),
    ),
    // VolumeProjection and its sources
    linux(
        "spec.volumes[].projected.sources[].clusterTrustBundle",
        Refused("trust bundles are not read; put the certificates into a ConfigMap"),
    ),
    linux("spec.volumes[].projected.sources[].configMap", Mapped),
    linux("spec.volumes[].projected.sources[].configMap.items", Mapped),
    linux("spec.volumes[].projected.sources[].configMap.name", Mapped),
    linux(
        "spec.volumes[].projected.sources[].configMap.optional",
        Mapped,
    ),
    linux("spec.volumes[].projected.sources[].downwardAPI", Mapped),
    linux(
        "spec.volumes[].projected.sources[].downwardAPI.items",
        Mapped,
    ),
    linux(
        "spec.volumes[].projected.sources[].podCertificate",
        Refused("nothing on ACI could renew the certificate; use a Secret"),
    ),
    linux("spec.volumes[].projected.sources[].secret", Mapped),
    linux("spec.volumes[].projected.sources[].secret.items", Mapped),
    linux("spec.volumes[].projected.sources[].secret.name", Mapped),
    linux("spec.volumes[].projected.sources[].secret.optional", Mapped),
    linux(
        "spec.volumes[].projected.sources[].serviceAccountToken",
        Mapped,
    ),
    linux(
        "spec.volumes[].projected.sources[].serviceAccountToken.audience",
        Mapped,
    ),
    linux(
        "spec.volumes[].projected.sources[].serviceAccountToken.expirationSeconds",
        Shim(
            Without::Approximated,
            "the token is put into the container group once and ends then: nothing renews it; ask for as long as the pod \
             is to use it",
        ),
    ),
    linux(
        "spec.volumes[].projected.sources[].serviceAccountToken.path",
        Mapped,
    ),
    // SecretVolumeSource
    linux("spec.volumes[].secret.defaultMode", MODES),
    linux("spec.volumes[].secret.items", Mapped),
    linux("spec.volumes[].secret.optional", Mapped),
    linux("spec.volumes[].secret.secretName", Mapped),
];
