//! What a pod may ask for and Azure Container Instances cannot enforce: the pod runs without it, or an administrator has it
//! refused.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl shows the doc comments as they are, backticks and all"
)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Treatment of pods that ask for what Azure Container Instances cannot enforce, field by field. Approximate runs the
/// pod, and an Event and the annotation virtual-kubelet.io/not-enforced say what it does without. Refuse keeps it
/// Pending. What the restricted Pod Security Standard demands is enforced, or the pod refused, in any case.
#[derive(KubeSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compatibility {
    /// AppArmor profiles. The containers run under the profile of Azure's runtime.
    #[serde(default)]
    pub app_armor_profile: Treatment,

    /// Options of dnsConfig, such as ndots, of pods without a subnet. They use Azure's resolver as it is.
    #[serde(default)]
    pub dns_options: Treatment,

    /// Requests and limits of ephemeral-storage, and sizeLimit of emptyDir volumes. Nothing is reserved or bounded.
    #[serde(default)]
    pub ephemeral_storage: Treatment,

    /// Group of the files in volumes. The files belong to whom Azure gives them.
    #[serde(default)]
    pub fs_group: Treatment,

    /// Volumes of kind emptyDir in memory. They are on disk.
    #[serde(default)]
    pub memory_volumes: Treatment,

    /// Probes by TCP and gRPC, and startup probes, that the operator does not run: see spec.probes. The containers are not
    /// probed so, and are ready when they run.
    #[serde(default)]
    pub probes: Treatment,

    /// Read-only root file systems. The containers can write to theirs.
    #[serde(default)]
    pub read_only_root_filesystem: Treatment,

    /// SELinux labels. Processes have none.
    #[serde(default)]
    pub se_linux_options: Treatment,

    /// Further groups of the processes. They have those that the image gives them.
    #[serde(default)]
    pub supplemental_groups: Treatment,
}

/// What becomes of a pod that asks for it.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the struct")]
pub enum Treatment {
    #[default]
    Approximate,
    Refuse,
}

/// One of the fields of [`Compatibility`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "described on the fields of Compatibility")]
pub enum Unenforced {
    AppArmorProfile,
    DnsOptions,
    EphemeralStorage,
    FsGroup,
    MemoryVolumes,
    Probes,
    ReadOnlyRootFilesystem,
    SeLinuxOptions,
    SupplementalGroups,
}

impl Unenforced {
    /// Name of the field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AppArmorProfile => "appArmorProfile",
            Self::DnsOptions => "dnsOptions",
            Self::EphemeralStorage => "ephemeralStorage",
            Self::FsGroup => "fsGroup",
            Self::MemoryVolumes => "memoryVolumes",
            Self::Probes => "probes",
            Self::ReadOnlyRootFilesystem => "readOnlyRootFilesystem",
            Self::SeLinuxOptions => "seLinuxOptions",
            Self::SupplementalGroups => "supplementalGroups",
        }
    }
}

impl Compatibility {
    /// What becomes of a pod that asks for `what`.
    pub fn treatment(&self, what: Unenforced) -> Treatment {
        match what {
            Unenforced::AppArmorProfile => self.app_armor_profile,
            Unenforced::DnsOptions => self.dns_options,
            Unenforced::EphemeralStorage => self.ephemeral_storage,
            Unenforced::FsGroup => self.fs_group,
            Unenforced::MemoryVolumes => self.memory_volumes,
            Unenforced::Probes => self.probes,
            Unenforced::ReadOnlyRootFilesystem => self.read_only_root_filesystem,
            Unenforced::SeLinuxOptions => self.se_linux_options,
            Unenforced::SupplementalGroups => self.supplemental_groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_is_what_its_name_says() {
        use Unenforced as U;
        let all = [
            U::AppArmorProfile,
            U::DnsOptions,
            U::EphemeralStorage,
            U::FsGroup,
            U::MemoryVolumes,
            U::Probes,
            U::ReadOnlyRootFilesystem,
            U::SeLinuxOptions,
            U::SupplementalGroups,
        ];
        let fields = serde_json::to_value(Compatibility::default()).unwrap();
        assert_eq!(fields.as_object().unwrap().len(), all.len());
        for what in all {
            let only: Compatibility =
                serde_json::from_value(json!({what.as_str(): "Refuse"})).unwrap();
            for other in all {
                let refused = only.treatment(other) == Treatment::Refuse;
                assert_eq!(refused, other == what, "{what:?} {other:?}");
            }
        }
    }
}
