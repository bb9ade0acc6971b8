//! The verdicts on the fields of a pod's spec that are not its containers, its volumes, its resources or its DNS.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::review::{Review, set, some};
use super::{DAEMON_SET, security, volumes};
use crate::api::DaemonSets;
use crate::translate::owner::is_of_daemon_set;

/// Refuses a pod of a `DaemonSet` unless the connector runs them.
pub(super) fn owner(meta: &ObjectMeta, daemon_sets: DaemonSets, review: &mut Review) {
    const PATH: &str = "metadata.ownerReferences";
    const MESSAGE: &str = "a pod of a DaemonSet serves the machine that it runs on, and this node is none; keep the DaemonSet off \
                           virtual nodes by a required node affinity ({key: type, operator: NotIn, values: [virtual-kubelet]}), or \
                           have the connector run such pods (spec.daemonSets: Run)";
    if daemon_sets == DaemonSets::Refuse && is_of_daemon_set(meta) {
        review.refuse_as(DAEMON_SET, PATH.to_owned(), MESSAGE.to_owned());
    }
}

/// Reviews `spec`, all but its containers, volumes, resources and DNS.
pub(super) fn review(spec: &PodSpec, review: &mut Review) {
    let PodSpec {
        active_deadline_seconds: _,
        affinity: _,
        automount_service_account_token: _,
        containers: _,
        dns_config: _,
        dns_policy: _,
        enable_service_links: _,
        ephemeral_containers,
        host_aliases,
        host_ipc,
        host_network,
        host_pid,
        host_users,
        hostname,
        hostname_override,
        image_pull_secrets,
        init_containers,
        node_name: _,
        node_selector: _,
        os,
        overhead: _,
        preemption_policy: _,
        priority: _,
        priority_class_name: _,
        readiness_gates: _,
        resource_claims,
        resources: _,
        restart_policy: _,
        runtime_class_name,
        scheduler_name: _,
        scheduling_gates: _,
        scheduling_group: _,
        security_context,
        service_account: _,
        service_account_name: _,
        set_hostname_as_fqdn,
        share_process_namespace,
        subdomain,
        termination_grace_period_seconds: _,
        tolerations: _,
        topology_spread_constraints: _,
        volumes: _,
    } = spec;
    let other_os = os.as_ref().is_some_and(|os| os.name != review.os.label());
    for (row, present) in [
        (
            "spec.ephemeralContainers",
            some(ephemeral_containers.as_deref()),
        ),
        ("spec.hostAliases", some(host_aliases.as_deref())),
        ("spec.hostIPC", *host_ipc == Some(true)),
        ("spec.hostNetwork", *host_network == Some(true)),
        ("spec.hostPID", *host_pid == Some(true)),
        ("spec.hostUsers: false", *host_users == Some(false)),
        ("spec.hostname", set(hostname.as_deref())),
        ("spec.hostnameOverride", set(hostname_override.as_deref())),
        ("spec.imagePullSecrets", some(image_pull_secrets.as_deref())),
        ("spec.initContainers", some(init_containers.as_deref())),
        (
            "spec.os: another operating system than the node's",
            other_os,
        ),
        ("spec.resourceClaims", some(resource_claims.as_deref())),
        ("spec.runtimeClassName", set(runtime_class_name.as_deref())),
        (
            "spec.setHostnameAsFQDN: true",
            *set_hostname_as_fqdn == Some(true),
        ),
        (
            "spec.shareProcessNamespace: true",
            *share_process_namespace == Some(true),
        ),
        ("spec.subdomain", set(subdomain.as_deref())),
    ] {
        review.field(row, present, &[]);
    }
    if let Some(context) = security_context {
        security::pod(context, volumes::has_files(spec), review);
    }
}
