//! Whether the image of a container may change while its pod runs.
//!
//! A container group that is PUT again has all of its containers restarted (Azure, "Update containers in Azure Container
//! Instances"). Where there is one container that is just what a kubelet does. What has run under `restartPolicy` Never or
//! `OnFailure` is not run again.

use k8s_openapi::api::core::v1::PodSpec;

use super::policy::RestartPolicy;

/// Whether the group of a pod with so many containers can get another image.
pub(super) fn may_change(containers: usize, inits: usize, policy: RestartPolicy) -> bool {
    containers == 1 && inits == 0 && policy == RestartPolicy::Always
}

/// The image of the only container of a pod, where it may change.
pub(super) fn exchangeable(spec: &PodSpec) -> Option<&str> {
    let inits = spec.init_containers.as_ref().map_or(0, Vec::len);
    let policy = RestartPolicy::parse(spec.restart_policy.as_deref());
    let only = spec.containers.first()?.image.as_deref();
    only.filter(|_| may_change(spec.containers.len(), inits, policy))
}
