//! Pod to container group.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::facts::RestartPolicy;
use super::identity::Ownership;
use super::resources::Need;
use super::review::Review;
use super::{GroupDefaults, containers, init, network, pod, resources, security, volumes};
use crate::api::Os;
use crate::azure::model::{Container, ContainerGroup, GroupProperties, Port, SecretText};

/// Something outside the pod that its container group carries a copy of, to be fetched before the PUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A token of the pod's service account, by `TokenRequest` bound to the pod.
    ServiceAccountToken {
        /// Volume the token is a file of.
        volume: String,
        /// The file.
        path: String,
        /// Audience; absent means the API server's own.
        audience: Option<String>,
        /// Wanted lifetime; absent means the API server's default.
        expiration_seconds: Option<i64>,
    },
    /// Entries of a `ConfigMap` in the pod's namespace.
    ConfigMap {
        /// Volume the entries are files of.
        volume: String,
        /// Name of the `ConfigMap`.
        name: String,
        /// Keys and their files; empty means every key under its own name.
        items: Vec<KeyFile>,
        /// Whether the pod runs without it.
        optional: bool,
    },
}

/// A key and the file that holds its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Key.
    pub key: String,
    /// File, relative to the mount.
    pub path: String,
}

/// What the references of a pod hold.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Volume to file to content, plain text: the translation encodes it.
    pub files: BTreeMap<String, BTreeMap<String, SecretText>>,
}

/// A pod as ACI runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// The body of the PUT.
    pub group: ContainerGroup,
    /// What differs from Kubernetes, each worth one Event.
    pub notes: Vec<Note>,
}

/// A field that ACI honours only nearly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The field, as a path into the pod (`spec.hostname`).
    pub field: String,
    /// `CamelCase` reason for the Event.
    pub reason: &'static str,
    /// What is different.
    pub message: String,
}

/// A field that ACI cannot honour at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `CamelCase` reason for the pod's status and Event.
    pub reason: &'static str,
    /// The field, as a path into the pod (`spec.containers[0].lifecycle`).
    pub field: String,
    /// What is not possible and what to do.
    pub message: String,
}

/// Every refusal of a pod; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl Refusals {
    /// The reason for the pod's status: the first refusal's.
    pub fn reason(&self) -> &'static str {
        self.0
            .first()
            .map_or(NOT_SUPPORTED, |refusal| refusal.reason)
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        for (n, refusal) in self.0.iter().take(SHOWN).enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", refusal.field, refusal.message)?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Refusals {}

/// Reason of a refusal: ACI, or this version of the translation, has no such thing.
pub const NOT_SUPPORTED: &str = "NotSupportedOnAci";

/// What must be fetched before a container group for `pod` can be sent to a node of `os`. Nothing on Windows, where a group
/// has no volumes.
pub fn references(pod: &Pod, os: Os) -> Vec<Reference> {
    match (os, &pod.spec) {
        (Os::Linux, Some(spec)) => volumes::references(spec),
        _ => Vec::new(),
    }
}

/// The container group of `pod`, or every reason why there can be none.
///
/// `resolved` holds what [`references`] asked for; a file that is missing and not optional in a volume it knows is a
/// refusal with the reason `MissingReference`. A volume it does not know is not looked into, so that a pod can be reviewed
/// with `Resolved::default()` before anything is fetched; such a group must not be sent.
pub fn container_group(
    pod: &Pod,
    defaults: &GroupDefaults,
    ownership: &Ownership,
    resolved: &Resolved,
) -> Result<Translation, Refusals> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let mut review = Review::new(defaults.os);
    pod::review(spec, &mut review);
    let sidecars = init::sidecars(spec, defaults.os);
    containers::count(spec.containers.len() + sidecars, &mut review);
    let volumes = volumes::volumes(spec, &ownership.key.namespace, resolved, &mut review);
    let (mut containers, mut needs): (Vec<Container>, Vec<Need>) = spec
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| {
            let (mut arm, need) =
                containers::container(container, index, defaults, &volumes, &mut review);
            arm.properties.security_context = security::container(
                container.security_context.as_ref(),
                spec.security_context.as_ref(),
                index,
                &mut review,
            );
            (arm, need)
        })
        .unzip();
    let mut places: Vec<String> = (0..containers.len())
        .map(|index| format!("spec.containers[{index}]"))
        .collect();
    let inits = init::init(spec, defaults, &volumes, &mut review);
    for (index, sidecar, need) in inits.sidecars {
        places.push(format!("spec.initContainers[{index}]"));
        containers.push(sidecar);
        needs.push(need);
    }
    for (container, resources) in
        containers
            .iter_mut()
            .zip(resources::size(&needs, inits.least, &mut review))
    {
        container.properties.resources = Some(resources);
    }
    let ports: Vec<(String, Vec<Port>)> = places
        .into_iter()
        .zip(&containers)
        .map(|(place, container)| (place, container.properties.ports.clone()))
        .collect();
    let (ip_address, subnet_ids) = network::address(&ports, defaults, &mut review);
    let notes = review.finish()?;
    let group = ContainerGroup {
        location: Some(defaults.region.clone()),
        tags: ownership.tags(&defaults.tags),
        zones: defaults.zones.first().cloned().into_iter().collect(),
        properties: GroupProperties {
            os_type: defaults.os.arm().to_owned(),
            sku: Some("Standard".to_owned()),
            restart_policy: Some(
                RestartPolicy::parse(spec.restart_policy.as_deref())
                    .as_str()
                    .to_owned(),
            ),
            containers,
            init_containers: inits.first,
            volumes: volumes.arm,
            ip_address,
            subnet_ids,
            ..GroupProperties::default()
        },
        ..ContainerGroup::default()
    };
    Ok(Translation { group, notes })
}

#[cfg(test)]
mod tests;
