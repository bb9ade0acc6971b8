//! Init containers, and those of them that never end (native sidecars, KEP-753).

use k8s_openapi::api::core::v1::{Container, Lifecycle, PodSpec};

use super::containers;
use super::fields::Fields;
use super::resources::{self, Amounts, Need};
use super::review::Review;
use super::volumes::Volumes;
use crate::api::Os;
use crate::azure::model::{self, ContainerProperties, InitContainer, InitContainerProperties};
use crate::translate::policy::{RestartPolicy, is_sidecar};

/// Init containers that a group may have.
pub(super) const MAX_INIT_CONTAINERS: usize = 59;

/// What becomes of `spec.initContainers`.
#[derive(Debug, Default)]
pub(super) struct Inits {
    /// Those that run before the containers, in order.
    pub(super) first: Vec<InitContainer>,
    /// The sidecars, which run along with the containers: index in the pod, container, need.
    pub(super) sidecars: Vec<(usize, model::Container, Need)>,
    /// The most that one of the former requests: the group is at least as large.
    pub(super) least: Amounts,
}

/// How many sidecars become containers of the group.
pub(super) fn sidecars(spec: &PodSpec, os: Os) -> usize {
    let inits = spec.init_containers.iter().flatten();
    match os {
        Os::Linux => inits.filter(|it| is_sidecar(it)).count(),
        Os::Windows => 0,
    }
}

/// The init containers of `spec`. None on Windows, where they are refused as a whole.
pub(super) fn init(
    spec: &PodSpec,
    fields: &Fields<'_>,
    volumes: &mut Volumes<'_>,
    review: &mut Review<'_>,
) -> Inits {
    let mut out = Inits::default();
    if review.os == Os::Windows {
        return out;
    }
    review.init = true;
    let most = MAX_INIT_CONTAINERS + containers::MAX_CONTAINERS;
    let inits = || spec.init_containers.iter().flatten();
    for (index, container) in inits().enumerate().take(most) {
        let mut plain = container.clone();
        let sidecar = is_sidecar(container);
        review.ends_first = !sidecar;
        if sidecar {
            plain.restart_policy = None;
            review.field(sidecar_row(spec), true, &[index]);
            review.field(STARTUP, fields.shim.waits_for(index), &[index]);
        } else {
            strip(&mut plain, index, review);
        }
        let (arm, need) = containers::container(&plain, index, fields, volumes, review);
        if sidecar {
            out.sidecars.push((index, arm, need));
        } else {
            out.least = out
                .least
                .max(resources::requested(container.resources.as_ref()));
            let place = format!("spec.initContainers[{index}].resources");
            resources::check_disk(&[need], &place, review);
            out.first.push(first(arm));
        }
    }
    (review.init, review.ends_first) = (false, false);
    let first = inits().filter(|it| !is_sidecar(it)).count();
    if first > MAX_INIT_CONTAINERS {
        let message =
            format!("{first} init containers; a container group has at most {MAX_INIT_CONTAINERS}");
        review.exceeds("spec.initContainers".to_owned(), message);
    }
    out
}

const STARTUP: &str =
    "spec.initContainers[].startupProbe: of a sidecar, by httpGet, tcpSocket or grpc";

fn sidecar_row(spec: &PodSpec) -> &'static str {
    match RestartPolicy::parse(spec.restart_policy.as_deref()) {
        RestartPolicy::Always => "spec.initContainers[].restartPolicy: Always",
        RestartPolicy::OnFailure | RestartPolicy::Never => {
            "spec.initContainers[].restartPolicy: Always in a pod that ends"
        }
    }
}

/// Refuses what an init container of a group cannot have, and takes it away.
fn strip(container: &mut Container, index: usize, review: &mut Review) {
    let hooks = container.lifecycle.take();
    container.ports = None;
    for (row, present) in [
        (
            "spec.initContainers[].lifecycle",
            hooks.is_some_and(|hooks| hooks != Lifecycle::default()),
        ),
        (
            "spec.initContainers[].livenessProbe",
            container.liveness_probe.take().is_some(),
        ),
        (
            "spec.initContainers[].readinessProbe",
            container.readiness_probe.take().is_some(),
        ),
        (
            "spec.initContainers[].startupProbe",
            container.startup_probe.take().is_some(),
        ),
    ] {
        review.field(row, present, &[index]);
    }
}

/// `container`, which has neither ports nor probes, as an init container.
fn first(container: model::Container) -> InitContainer {
    let model::Container { name, properties } = container;
    let ContainerProperties {
        image,
        command,
        ports: _,
        environment_variables,
        resources: _,
        volume_mounts,
        liveness_probe: _,
        readiness_probe: _,
        security_context,
        instance_view: _,
    } = properties;
    InitContainer {
        name,
        properties: InitContainerProperties {
            image,
            command,
            environment_variables,
            volume_mounts,
            security_context,
            instance_view: None,
        },
    }
}

#[cfg(test)]
mod tests;
