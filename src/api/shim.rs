//! The shim: a program of the operator's in a container group, which does there what a kubelet does in a pod and Azure
//! Container Instances do not.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl shows the doc comments as they are, backticks and all"
)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use super::SecretReference;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The image of the shim that is of this version.
pub const SHIM_IMAGE: &str = concat!(
    "ghcr.io/virtual-kubelet-connector/vkc-shim:",
    env!("CARGO_PKG_VERSION")
);

/// A small program that the operator puts into container groups by an init container: it places single files, gives them their
/// modes and brings them up to date, knows the pod's address, writes /etc/hosts, and reads termination messages. Linux only.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shim {
    /// Pods that get it. WhenNeeded: those that ask for what only it can do, and an Event says so on the pod. Always: every pod
    /// on Linux. Never: none; pods that need it are refused, or run without, as the documentation has it field by field.
    #[serde(default)]
    pub mode: ShimMode,

    /// Volumes that pods get it for, to bring their files up to date. WhenNeeded: those with labels or annotations of the pod, or
    /// tokens that end; others that the shim writes are updated, too. Always: also those of Secrets and ConfigMaps, as by a kubelet.
    #[serde(default)]
    pub volume_updates: VolumeUpdates,

    /// Image of the shim, by default the published one of the operator's version. Azure pulls it: name a copy in a registry that
    /// it reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][-A-Za-z0-9._:/@]*$')").message("shim.image must be the name of an image, like registry.example.com/vkc-shim:0.1.0"))]
    pub image: Option<String>,

    /// Secret of type kubernetes.io/dockerconfigjson that the image is pulled with, for pods without an image of their own in
    /// that registry: so no pod can pull images with it. Omit for a public image, or one that registryIdentityID pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<SecretReference>,
}

/// Which volumes the shim is there for, to bring them up to date.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the field")]
pub enum VolumeUpdates {
    #[default]
    WhenNeeded,
    Always,
}

/// Which pods get the shim.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "described on the field")]
pub enum ShimMode {
    #[default]
    WhenNeeded,
    Always,
    Never,
}

impl Shim {
    /// The image that Azure pulls.
    pub fn image(&self) -> &str {
        let own = self.image.as_deref().filter(|image| !image.is_empty());
        own.unwrap_or(SHIM_IMAGE)
    }
}
