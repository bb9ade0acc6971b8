//! The verdicts on the fields of a pod's spec that are not its containers or volumes.

use k8s_openapi::api::core::v1::{PodSecurityContext, PodSpec};

use super::review::Review;

/// Reviews `spec`, all but its containers and volumes.
pub(super) fn review(spec: &PodSpec, review: &mut Review) {
    let PodSpec {
        active_deadline_seconds: _,
        affinity: _,
        automount_service_account_token: _,
        containers: _,
        dns_config,
        dns_policy,
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
        resources,
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
            "spec.dnsConfig",
            dns_config
                .as_ref()
                .is_some_and(|config| *config != Default::default()),
        ),
        (
            "spec.dnsPolicy: None",
            dns_policy.as_deref() == Some("None"),
        ),
        ("spec.ephemeralContainers", some(ephemeral_containers)),
        ("spec.hostAliases", some(host_aliases)),
        ("spec.hostIPC", *host_ipc == Some(true)),
        ("spec.hostNetwork", *host_network == Some(true)),
        ("spec.hostPID", *host_pid == Some(true)),
        ("spec.hostUsers: false", *host_users == Some(false)),
        ("spec.hostname", set(hostname)),
        ("spec.hostnameOverride", set(hostname_override)),
        ("spec.imagePullSecrets", some(image_pull_secrets)),
        ("spec.initContainers", some(init_containers)),
        (
            "spec.os: another operating system than the node's",
            other_os,
        ),
        ("spec.resourceClaims", some(resource_claims)),
        (
            "spec.resources",
            resources
                .as_ref()
                .is_some_and(|resources| *resources != Default::default()),
        ),
        ("spec.runtimeClassName", set(runtime_class_name)),
        (
            "spec.setHostnameAsFQDN: true",
            *set_hostname_as_fqdn == Some(true),
        ),
        (
            "spec.shareProcessNamespace: true",
            *share_process_namespace == Some(true),
        ),
        ("spec.subdomain", set(subdomain)),
    ] {
        review.field(row, present, &[]);
    }
    if let Some(context) = security_context {
        security(context, review);
    }
}

fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn set(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

fn security(context: &PodSecurityContext, review: &mut Review) {
    let PodSecurityContext {
        app_armor_profile,
        fs_group,
        fs_group_change_policy: _,
        run_as_group,
        run_as_non_root,
        run_as_user,
        se_linux_change_policy: _,
        se_linux_options,
        seccomp_profile,
        supplemental_groups,
        supplemental_groups_policy: _,
        sysctls,
        windows_options,
    } = context;
    let confined = |kind: Option<&String>| kind.is_some_and(|kind| kind != "Unconfined");
    for (row, present) in [
        (
            "spec.securityContext.appArmorProfile",
            confined(app_armor_profile.as_ref().map(|it| &it.type_)),
        ),
        ("spec.securityContext.fsGroup", fs_group.is_some()),
        ("spec.securityContext.runAsGroup", run_as_group.is_some()),
        (
            "spec.securityContext.runAsNonRoot: true",
            *run_as_non_root == Some(true),
        ),
        ("spec.securityContext.runAsUser", run_as_user.is_some()),
        (
            "spec.securityContext.seLinuxOptions",
            se_linux_options.is_some(),
        ),
        (
            "spec.securityContext.seccompProfile",
            confined(seccomp_profile.as_ref().map(|it| &it.type_)),
        ),
        (
            "spec.securityContext.supplementalGroups",
            some(supplemental_groups),
        ),
        ("spec.securityContext.sysctls", some(sysctls)),
        (
            "spec.securityContext.windowsOptions",
            windows_options.is_some(),
        ),
    ] {
        review.field(row, present, &[]);
    }
}
