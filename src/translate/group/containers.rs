//! Containers: image, command, environment, and the verdicts on the rest.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Lifecycle, PodSpec};

use super::fields::Fields;
use super::kubelet::NEVER_PULL;
use super::probes::Probes;
use super::resources::{Need, need};
use super::review::{Review, some};
use super::shim::{self, Who};
use super::volumes::Volumes;
use super::{command, env, names, network, probes, security};
use crate::azure::model::{self, ContainerProperties};
use crate::translate::probes::ContainerProbes;

/// Containers that a group may have.
pub(super) const MAX_CONTAINERS: usize = 60;

/// Container `index` as ARM takes it, still without resources, and what it needs.
pub(super) fn container(
    container: &Container,
    index: usize,
    fields: &Fields<'_>,
    volumes: &mut Volumes<'_>,
    review: &mut Review,
) -> (model::Container, Need) {
    let Container {
        args: _,
        command: _,
        env: _,
        env_from: _,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy: _,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once: _,
        termination_message_path: _,
        termination_message_policy: _,
        tty,
        volume_devices,
        volume_mounts: _,
        working_dir: _,
    } = container;
    let place = [index];
    let image = image.as_deref().unwrap_or_default();
    for (row, present) in [
        ("spec.containers[].image: missing", image.is_empty()),
        ("spec.containers[].restartPolicy", restart_policy.is_some()),
        (
            "spec.containers[].restartPolicyRules",
            some(restart_policy_rules.as_deref()),
        ),
        ("spec.containers[].stdin: true", *stdin == Some(true)),
        ("spec.containers[].tty: true", *tty == Some(true)),
        (
            "spec.containers[].volumeDevices",
            some(volume_devices.as_deref()),
        ),
    ] {
        review.field(row, present, &place);
    }
    if image_pull_policy.as_deref() == Some("Never") && !image.is_empty() {
        let message = format!("Container image {image:?} is not present with pull policy of Never");
        let field = format!("spec.containers[{index}].imagePullPolicy");
        review.refuse_as(NEVER_PULL, field, message);
    }
    review_hooks(lifecycle.as_ref(), index, review);
    let mut part = fields.shim.part(container, index, review);
    let environment = env::environment(container, index, fields, review);
    let user = security::user(security_context.as_ref(), fields.pod);
    let volume_mounts = volumes.mounts(container, index, &environment, (user, &mut part), review);
    if environment.needs_shim() {
        part.need();
    }
    let command = command::command(container, index, &environment, &mut part, review);
    let ports = ports.as_deref().unwrap_or_default();
    let given = Probes {
        startup: startup_probe.as_ref(),
        liveness: liveness_probe.as_ref(),
        readiness: readiness_probe.as_ref(),
        run: ContainerProbes::of(container)
            .map(|probes| probes.run_by_operator(&review.means))
            .unwrap_or_default(),
    };
    let (liveness_probe, readiness_probe) = probes::probes(&given, index, ports, review);
    let mut properties = ContainerProperties {
        image: image.to_owned(),
        command,
        ports: network::ports(ports, index, review),
        volume_mounts,
        environment_variables: environment.into_variables(&mut part),
        liveness_probe,
        readiness_probe,
        security_context: None,
        resources: None,
        instance_view: None,
    };
    let need = need(resources.as_ref(), index, fields.defaults, review);
    let spec = fields.pod.spec.as_ref();
    let context = spec.and_then(|spec| spec.security_context.as_ref());
    properties.security_context =
        security::container(security_context.as_ref(), context, image, index, review);
    let who = Who::of(container, spec, &part, review);
    let orders = part.put_before(name, &mut properties, &who, &fields.shim, review);
    volumes.add_orders(orders);
    shim::mount_programs(&mut properties);
    (
        model::Container {
            name: name.clone(),
            properties,
        },
        need,
    )
}

/// Reviews what is to happen after the start and before the end of container `index`.
fn review_hooks(hooks: Option<&Lifecycle>, index: usize, review: &mut Review) {
    let Some(Lifecycle {
        post_start,
        pre_stop,
        stop_signal,
    }) = hooks
    else {
        return;
    };
    for (row, present) in [
        (
            "spec.containers[].lifecycle.postStart",
            post_start.is_some(),
        ),
        ("spec.containers[].lifecycle.preStop", pre_stop.is_some()),
        (
            "spec.containers[].lifecycle.stopSignal",
            stop_signal.is_some(),
        ),
    ] {
        review.field(row, present, &[index]);
    }
}

/// Refuses names that ACI does not take, or takes only once. The API server has looked already; who translates a pod that
/// it never saw is answered as clearly.
pub(super) fn names(spec: &PodSpec, review: &mut Review) {
    let mut seen = BTreeSet::new();
    for (list, containers) in [
        ("containers", spec.containers.as_slice()),
        (
            "initContainers",
            spec.init_containers.as_deref().unwrap_or_default(),
        ),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let at = || format!("spec.{list}[{index}].name");
            if !names::is_container(&container.name) {
                let message =
                    "ACI takes 1-63 lower-case letters, digits and hyphens, no hyphen at an end";
                review.refuse(at(), message.to_owned());
            } else if !seen.insert(container.name.as_str()) {
                review.refuse(
                    at(),
                    format!("{} is the name of another container", container.name),
                );
            }
        }
    }
}

/// Refuses more containers than a group can have.
pub(super) fn count(containers: usize, review: &mut Review) {
    if containers == 0 {
        review.refuse(
            "spec.containers".to_owned(),
            "a container group needs a container".to_owned(),
        );
    }
    if review.os == crate::api::Os::Windows && containers > 1 {
        let message = format!(
            "{containers} containers; a Windows container group has exactly one: split the pod"
        );
        review.exceeds("spec.containers".to_owned(), message);
    } else if containers > MAX_CONTAINERS {
        let message = format!(
            "{containers} containers; a container group has at most {MAX_CONTAINERS}: split the pod"
        );
        review.exceeds("spec.containers".to_owned(), message);
    }
}
