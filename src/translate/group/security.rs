//! Security contexts: what ACI has goes along; where leaving one out would weaken the pod, the pod is refused.

use k8s_openapi::api::core::v1::{Capabilities, Pod, PodSecurityContext, SecurityContext};

use super::review::{Review, some};
use crate::api::Os;
use crate::azure::model;

/// Reviews the pod's own context; what containers inherit of it, [`container`] translates.
pub(super) fn pod(context: &PodSecurityContext, review: &mut Review) {
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
    let seccomp = seccomp_profile.as_ref().map(|it| it.type_.as_str());
    for (row, present) in [
        (
            "spec.securityContext.appArmorProfile",
            app_armor_profile
                .as_ref()
                .is_some_and(|it| it.type_ != "Unconfined"),
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
        ("spec.securityContext.sysctls", some(sysctls.as_deref())),
        (
            "spec.securityContext.windowsOptions",
            windows_options.is_some(),
        ),
    ] {
        review.field(row, present, &[]);
    }
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
    index: usize,
    review: &mut Review,
) -> Option<model::SecurityContext> {
    let empty = SecurityContext::default();
    let context = context.unwrap_or(&empty);
    own(context, index, review);
    if review.os == Os::Windows {
        return None;
    }
    let user = context.run_as_user.or(pod.and_then(|pod| pod.run_as_user));
    let group = context
        .run_as_group
        .or(pod.and_then(|pod| pod.run_as_group));
    // ACI does not look whether the image's user is root: only a number says that it is not.
    let not_root = user.is_some_and(|user| user != 0);
    let inherited = pod.and_then(|pod| pod.run_as_non_root);
    match context.run_as_non_root {
        Some(true) if !not_root => {
            let row = "spec.containers[].securityContext.runAsNonRoot: true without a runAsUser that is not 0";
            review.field(row, true, &[index]);
        }
        None if !not_root && inherited == Some(true) => {
            let row = "spec.securityContext.runAsNonRoot: true without a runAsUser that is not 0";
            review.field(row, true, &[]);
        }
        _ => {}
    }
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
        run_as_user: id("runAsUser", context.run_as_user.is_some(), user),
        run_as_group: id("runAsGroup", context.run_as_group.is_some(), group),
    };
    (arm != model::SecurityContext::default()).then_some(arm)
}

/// Reviews the context of container `index`.
fn own(context: &SecurityContext, index: usize, review: &mut Review) {
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
            se_linux_options.is_some(),
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
            windows_options.is_some(),
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
