//! Pod to container group.

use std::fmt;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

mod annotations;
mod budget;
mod command;
mod containers;
mod dns;
mod env;
mod expand;
mod features;
mod fields;
mod init;
mod kubelet;
mod names;
mod network;
mod pod;
mod probes;
mod registry_credentials;
mod resolved;
mod resources;
mod review;
mod security;
mod services;
mod shim;
mod small;
mod volumes;

pub use budget::MAX_REQUEST;
pub use registry_credentials::{login_for_image, registry_server};
pub use resolved::{Image, Object, Reference, Resolved};
pub use services::{KUBERNETES, KUBERNETES_NAMESPACE, Service, ServicePort};

use self::annotations::Asked;
use self::budget::Budget;
use self::features::Features;
use self::fields::Fields;
use self::resources::Need;
use self::review::{EXCEEDS, MAX_REFUSALS, Review};
use self::shim::Needs;
use super::defaults::GroupDefaults;
use super::identity::{OwnTags, Ownership};
use super::image::exchangeable;
use super::policy::RestartPolicy;
use super::support::{POD_OS_NOT_SUPPORTED, SYSCTL_FORBIDDEN};
use crate::azure::json::json_length;
use crate::azure::model::{Container, ContainerGroup, GroupProperties};

/// A pod as ACI runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// The body of the PUT.
    pub group: ContainerGroup,
    /// What differs from Kubernetes, each worth one Event.
    pub notes: Vec<Note>,
    /// What the group carries a copy of.
    pub references: Vec<Reference>,
}

/// A field that ACI honours only nearly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The field, as a path into the pod (`spec.hostname`).
    pub field: String,
    /// `CamelCase` reason for the Event.
    pub reason: &'static str,
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
    /// It lies in something that the pod refers to: a retry succeeds once that has changed.
    pub is_retryable: bool,
}

/// Every refusal of a pod; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl Refusals {
    /// That the pod is too large to be read: for good.
    pub fn too_large(field: &str, message: String) -> Self {
        Self(vec![Refusal {
            reason: EXCEEDS,
            field: field.to_owned(),
            message,
            is_retryable: false,
        }])
    }

    /// The reason for the pod's status: the first refusal's that decides what becomes of the pod, else the first one's that no
    /// kubelet has, else what a kubelet would tell.
    pub fn reason(&self) -> &'static str {
        let decides =
            |refusal: &&Refusal| refusal.reason == DAEMON_SET || REJECTED.contains(&refusal.reason);
        let leading = self.0.iter().find(decides).or_else(|| self.own());
        let leading = leading.or_else(|| self.as_kubelet());
        leading.map_or(NOT_SUPPORTED, |refusal| refusal.reason)
    }

    /// Whether no kubelet of such a node would run the pod: it fails, as there. A pod of a `DaemonSet` would be made again
    /// and again.
    pub fn is_rejection(&self) -> bool {
        REJECTED.contains(&self.reason())
    }

    /// Whether a retry can succeed without a change of the pod.
    pub fn is_retryable(&self) -> bool {
        self.0.iter().all(|refusal| refusal.is_retryable)
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
            more if self.0.len() >= MAX_REFUSALS => write!(f, "; and at least {more} more"),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Refusals {}

/// Reason of a refusal: ACI, or this version of the translation, has no such thing.
const NOT_SUPPORTED: &str = "NotSupportedOnAci";
/// Reasons of refusals that a kubelet has, too.
const REJECTED: [&str; 2] = [POD_OS_NOT_SUPPORTED, SYSCTL_FORBIDDEN];
/// Reason of a refusal: the connector runs no pods of a `DaemonSet`.
const DAEMON_SET: &str = "DaemonSetNotAllowed";

/// The container group of `pod`, or every reason why there can be none.
///
/// The group carries copies of [`Translation::references`]. What `resolved` does not know of them is not looked into, so
/// that a pod can be reviewed with `Resolved::default()` before anything is fetched; such a group must not be sent. What it
/// knows as missing, and is not optional, is a refusal that is worth a retry.
pub fn container_group(
    pod: &Pod,
    defaults: &GroupDefaults,
    ownership: &Ownership,
    resolved: &Resolved,
) -> Result<Translation, Refusals> {
    let mut review = review_of(defaults, resolved);
    let group = build(pod, defaults, ownership, &mut review);
    conclude(group, review)
}

/// As [`container_group`] when `pod` is so small, and what it refers to, that it takes no time worth mentioning; else `None`.
pub fn small_group(
    pod: &Pod,
    defaults: &GroupDefaults,
    ownership: &Ownership,
    resolved: &Resolved,
) -> Option<Result<Translation, Refusals>> {
    if !small::is_small(pod, resolved) {
        return None;
    }
    let mut review = review_of(defaults, resolved);
    review.budget = Budget::small();
    let group = build(pod, defaults, ownership, &mut review);
    // More than a small budget is not more than Azure takes.
    (!review.budget.is_exceeded()).then(|| conclude(group, review))
}

fn review_of<'a>(defaults: &GroupDefaults, resolved: &'a Resolved) -> Review<'a> {
    let mut review = Review::new(defaults.os, resolved);
    review.compatibility = defaults.compatibility;
    review
}

fn conclude(group: ContainerGroup, mut review: Review<'_>) -> Result<Translation, Refusals> {
    // What multiplies was paid for before it was built. The rest grows with the pod, and is counted now, as ARM gets it.
    if let Err(exceeded) = review.budget.whole(json_length(&group)) {
        review.too_much(&exceeded, "the container group", "spec".to_owned());
    }
    let (notes, references) = review.finish()?;
    Ok(Translation {
        group,
        notes,
        references,
    })
}

/// The group of `pod`, as far as `review` lets it be.
fn build(
    pod: &Pod,
    defaults: &GroupDefaults,
    ownership: &Ownership,
    review: &mut Review<'_>,
) -> ContainerGroup {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let policy = annotations::has_policy(pod);
    review.shim = Needs::of(&defaults.shim, defaults.os, policy);
    pod::owner(&pod.metadata, defaults.daemon_sets, review);
    pod::review(spec, review);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    namespace.clone_into(&mut review.namespace);
    let links = spec.enable_service_links != Some(false);
    let fields = Fields::new(pod, defaults, services::variables(namespace, links, review));
    let asked = Asked::read(pod, review);
    let features = Features::read(&asked, &fields, review);
    review.means = network::means(spec, &features.network).within(defaults.probes);
    let sidecars = init::sidecars(spec, defaults.os);
    containers::names(spec, review);
    containers::count(spec.containers.len() + sidecars, review);
    let mut volumes = volumes::volumes(spec, &fields, review);
    let (mut containers, mut needs): (Vec<Container>, Vec<Need>) = spec
        .containers
        .iter()
        .enumerate()
        .take(containers::MAX_CONTAINERS)
        .map(|(index, container)| {
            containers::container(container, index, &fields, &mut volumes, review)
        })
        .unzip();
    let mut places: Vec<String> = (0..containers.len())
        .map(|index| format!("spec.containers[{index}]"))
        .collect();
    let mut inits = init::init(spec, &fields, &mut volumes, review);
    for (index, sidecar, need) in inits.sidecars {
        places.push(format!("spec.initContainers[{index}]"));
        containers.push(sidecar);
        needs.push(need);
    }
    let versions = volumes.versions();
    let shim = volumes.bring_shim(spec, defaults.shim.image(), &mut inits.first, review);
    resources::share(
        resources::of_pod(spec.resources.as_ref(), review),
        &mut needs,
    );
    resources::check_disk(&needs, "spec.containers", review);
    let own = containers.iter_mut();
    let own = own.map(|it| &mut it.properties.volume_mounts);
    let first = inits.first.iter_mut();
    let first = first.map(|it| &mut it.properties.volume_mounts);
    volumes.nest(own.chain(first), review);
    for (container, resources) in containers.iter_mut().zip(resources::size(
        &needs,
        inits.least,
        features.ceiling().within(defaults.largest),
        review,
    )) {
        container.properties.resources = Some(resources);
    }
    network::open_for_probes(spec, &mut containers, &features.network, review);
    network::take_once(&mut containers, &places, review);
    let (ip_address, subnet_ids) =
        network::address(pod, &containers, &places, &features.network, review);
    let dns_config = dns::config(&fields, &asked, &features.network, review);
    let image_registry_credentials = registry_credentials::credentials(
        spec,
        shim.then(|| (defaults.shim.image(), defaults.shim_login.as_ref())),
        defaults.registry_identity_id.as_deref(),
        review,
    );
    let volumes = volumes.finish(review);
    features.add_key_vault_variables(&mut containers, &mut inits.first, review);
    features.check(ip_address.is_some(), review);
    let own = OwnTags {
        not_enforced: review.not_enforced(),
        image: exchangeable(spec).map(str::to_owned),
        volumes: versions,
    };
    let mut group = ContainerGroup {
        location: Some(defaults.region.clone()),
        tags: ownership.tags(&features.tags, &own),
        properties: GroupProperties {
            os_type: defaults.os.arm().to_owned(),
            restart_policy: Some(
                RestartPolicy::parse(spec.restart_policy.as_deref())
                    .as_str()
                    .to_owned(),
            ),
            containers,
            init_containers: inits.first,
            volumes,
            ip_address,
            subnet_ids,
            dns_config,
            image_registry_credentials,
            ..GroupProperties::default()
        },
        ..ContainerGroup::default()
    };
    features.write_into(&mut group);
    group
}

#[cfg(test)]
mod tests;
