//! Who keeps a pod.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whether the controlling owner is a `DaemonSet`, which makes a pod for each node and replaces what has ended for ever.
pub fn is_of_daemon_set(meta: &ObjectMeta) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet")
}
