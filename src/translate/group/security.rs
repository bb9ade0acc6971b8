//! Security contexts: what ACI has goes along. What the restricted Pod Security Standard demands is enforced, or the pod
//! refused; what goes beyond it and ACI cannot enforce, the pod does without.

use k8s_openapi::api::core::v1::{
    Capabilities, Pod, PodSecurityContext, SELinuxOptions, SecurityContext,
    WindowsSecurityContextOptions,
};

use super::kubelet::CONFIG_ERROR;
use super::review::{Review, set, some};
use crate::api::Os;
use crate::azure::model;

/// Reviews the pod's own context; what containers inherit of it, [`container`] translates. `has_files`: the pod mounts
/// volumes whose files have a group.
pub(super) fn pod(context: &PodSecurityContext, has_files: bool, review: &mut Review) {
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
    let unsafe_sysctl = sysctls.iter().flatten().any(|it| !is_safe(&it.name));
    let seccomp = seccomp_profile.as_ref().map(|it| it.type_.as_str());
    for (row, present) in [
        (
            "spec.securityContext.appArmorProfile",
            app_armor_profile
                .as_ref()
                .is_some_and(|it| it.type_ != "Unconfined"),
        ),
        (
            "spec.securityContext.fsGroup",
            fs_group.is_some() && has_files,
        ),
        ("spec.securityContext.runAsGroup", run_as_group.is_some()),
        (
            "spec.securityContext.runAsNonRoot: true",
            *run_as_non_root == Some(true),
        ),
        ("spec.securityContext.runAsUser", run_as_user.is_some()),
        (
            "spec.securityContext.seLinuxOptions",
            asks_for_labels(se_linux_options.as_ref()),
        ),
        (
            "spec.securityContext.seccompProfile: RuntimeDefault",
            seccomp == Some("RuntimeDefault"),
        ),
        (
            "spec.securityContext.seccompProfile: Localhost",
            is_own_profile(seccomp),
        ),
        (
            "spec.securityContext.supplementalGroups",
            some(supplemental_groups.as_deref()),
        ),
        (
            "spec.securityContext.sysctls",
            some(sysctls.as_deref()) && !unsafe_sysctl,
        ),
        (
            "spec.securityContext.sysctls: one that Kubernetes does not count as safe",
            unsafe_sysctl,
        ),
        (
            "spec.securityContext.windowsOptions",
            asks_for_windows(windows_options.as_ref()),
        ),
    ] {
        review.field(row, present, &[]);
    }
}

/// Kernel parameters that every node lets a pod set (Kubernetes, "Using sysctls in a Kubernetes Cluster"), in kernels since
/// 4.15.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Whether every node lets a pod set the kernel parameter `name`, written with dots or with slashes.
fn is_safe(name: &str) -> bool {
    SAFE_SYSCTLS.contains(&name.replace('/', ".").as_str())
}

/// The number of the user that a container of `pod` runs as, where it is said.
pub(super) fn user(context: Option<&SecurityContext>, pod: &Pod) -> Option<i64> {
    let spec = pod.spec.as_ref();
    let of_pod = spec.and_then(|spec| spec.security_context.as_ref());
    context
        .and_then(|context| context.run_as_user)
        .or(of_pod.and_then(|context| context.run_as_user))
}

/// ARM's form of the context of container `index`, with what it inherits of the pod's; `None` when nothing is asked for.
pub(super) fn container(
    context: Option<&SecurityContext>,
    pod: Option<&PodSecurityContext>,
    image: &str,
    index: usize,
    review: &mut Review,
) -> Option<model::SecurityContext> {
    let empty = SecurityContext::default();
    let context = context.unwrap_or(&empty);
    review_own(context, index, review);
    if review.os == Os::Windows {
        return None;
    }
    let user = context.run_as_user.or(pod.and_then(|pod| pod.run_as_user));
    let group = context
        .run_as_group
        .or(pod.and_then(|pod| pod.run_as_group));
    let inherited = pod.and_then(|pod| pod.run_as_non_root);
    let own = context.run_as_non_root.is_some();
    let not_root = context.run_as_non_root.or(inherited) == Some(true);
    if not_root && user == Some(0) && own {
        let row = "spec.containers[].securityContext.runAsNonRoot: true with runAsUser 0";
        review.refuse_row(CONFIG_ERROR, row, &[index]);
    } else if not_root && user == Some(0) {
        let row = "spec.securityContext.runAsNonRoot: true with runAsUser 0";
        review.refuse_row(CONFIG_ERROR, row, &[]);
    }
    // ACI does not look whether the image's user is root, and a tag may move before ACI pulls it: what was looked at is said.
    let by_image = if not_root && user.is_none() {
        let at = if own {
            format!("spec.containers[{index}].securityContext.runAsNonRoot")
        } else {
            "spec.securityContext.runAsNonRoot".to_owned()
        };
        user_of_image(image, at, review)
    } else {
        None
    };
    let mut id = |member: &str, own: bool, id: Option<i64>| {
        let id = id?;
        let number = i32::try_from(id).ok().filter(|id| *id >= 0);
        if number.is_none() {
            let path = if own {
                format!("spec.containers[{index}].securityContext.{member}")
            } else {
                format!("spec.securityContext.{member}")
            };
            review.refuse(
                path,
                format!("{id} is not in 0-2147483647, which ACI takes"),
            );
        }
        number
    };
    let Capabilities { add, drop } = context.capabilities.clone().unwrap_or_default();
    let capabilities = model::Capabilities {
        add: add.unwrap_or_default(),
        drop: drop.unwrap_or_default(),
    };
    let arm = model::SecurityContext {
        privileged: context.privileged,
        allow_privilege_escalation: context.allow_privilege_escalation,
        capabilities: (capabilities != model::Capabilities::default()).then_some(capabilities),
        run_as_user: id("runAsUser", context.run_as_user.is_some(), user)
            .or(by_image.map(|(user, _)| user)),
        run_as_group: id("runAsGroup", context.run_as_group.is_some(), group)
            .or(by_image.and_then(|(_, group)| group)),
    };
    (arm != model::SecurityContext::default()).then_some(arm)
}

/// The numbers of the user, and of the group where the image says it, that a container of `image` runs as; `None` while
/// that is not read, and when it is root or a name: a kubelet refuses these in the same words.
fn user_of_image(image: &str, at: String, review: &mut Review) -> Option<(i32, Option<i32>)> {
    const SHOWN: usize = 64;
    if image.is_empty() {
        return None;
    }
    let user = review.image(image)?.user.as_str();
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let message = match user.parse::<i32>() {
        Ok(user) if user > 0 => {
            let group = group.parse().ok().filter(|group: &i32| *group >= 0);
            return Some((user, group));
        }
        Err(_) if !user.is_empty() => {
            let user: String = user.chars().take(SHOWN).collect();
            format!(
                "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
                user.escape_debug()
            )
        }
        _ => "container has runAsNonRoot and image will run as root".to_owned(),
    };
    let message = format!(
        "{message}: set runAsUser to the number of a user that is not root, or change the image"
    );
    review.refuse_until_present(CONFIG_ERROR, at, message);
    None
}

/// Whether `options` name a label: an empty object asks for nothing.
fn asks_for_labels(options: Option<&SELinuxOptions>) -> bool {
    options.is_some_and(|options| {
        let SELinuxOptions {
            level,
            role,
            type_,
            user,
        } = options;
        let all = [level, role, type_, user];
        all.into_iter().any(|label| set(label.as_deref()))
    })
}

/// Whether `options` name one: an empty object asks for nothing.
fn asks_for_windows(options: Option<&WindowsSecurityContextOptions>) -> bool {
    options.is_some_and(|options| *options != WindowsSecurityContextOptions::default())
}

/// Reviews the context of container `index`.
fn review_own(context: &SecurityContext, index: usize, review: &mut Review) {
    let SecurityContext {
        allow_privilege_escalation,
        app_armor_profile,
        capabilities,
        privileged,
        proc_mount,
        read_only_root_filesystem,
        run_as_group,
        run_as_non_root,
        run_as_user,
        se_linux_options,
        seccomp_profile,
        windows_options,
    } = context;
    let (add, drop) = match capabilities {
        Some(Capabilities { add, drop }) => (some(add.as_deref()), some(drop.as_deref())),
        None => (false, false),
    };
    let seccomp = seccomp_profile.as_ref().map(|it| it.type_.as_str());
    for (row, present) in [
        (
            "spec.containers[].securityContext.allowPrivilegeEscalation: false",
            *allow_privilege_escalation == Some(false),
        ),
        (
            "spec.containers[].securityContext.appArmorProfile",
            app_armor_profile
                .as_ref()
                .is_some_and(|it| it.type_ != "Unconfined"),
        ),
        ("spec.containers[].securityContext.capabilities.add", add),
        ("spec.containers[].securityContext.capabilities.drop", drop),
        (
            "spec.containers[].securityContext.privileged: true",
            *privileged == Some(true),
        ),
        (
            "spec.containers[].securityContext.procMount: Unmasked",
            proc_mount.as_deref() == Some("Unmasked"),
        ),
        (
            "spec.containers[].securityContext.readOnlyRootFilesystem: true",
            *read_only_root_filesystem == Some(true),
        ),
        (
            "spec.containers[].securityContext.runAsGroup",
            run_as_group.is_some(),
        ),
        (
            "spec.containers[].securityContext.runAsNonRoot: true",
            *run_as_non_root == Some(true),
        ),
        (
            "spec.containers[].securityContext.runAsUser",
            run_as_user.is_some(),
        ),
        (
            "spec.containers[].securityContext.seLinuxOptions",
            asks_for_labels(se_linux_options.as_ref()),
        ),
        (
            "spec.containers[].securityContext.seccompProfile: RuntimeDefault",
            seccomp == Some("RuntimeDefault"),
        ),
        (
            "spec.containers[].securityContext.seccompProfile: Localhost",
            is_own_profile(seccomp),
        ),
        (
            "spec.containers[].securityContext.windowsOptions",
            asks_for_windows(windows_options.as_ref()),
        ),
    ] {
        review.field(row, present, &[index]);
    }
}

/// Whether `kind` names a profile that would have to come from a node.
fn is_own_profile(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| !matches!(kind, "RuntimeDefault" | "Unconfined"))
}

#[cfg(test)]
mod tests;
