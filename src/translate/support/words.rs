//! How rows are made, and verdicts that several of them share.

use super::Row;
use super::Verdict::{self, Approximated, Ignored, NotEnforced, Refused};
use crate::api::Unenforced;

pub(super) const fn both(field: &'static str, verdict: Verdict) -> Row {
    Row {
        field,
        linux: verdict,
        windows: verdict,
    }
}

/// Of a volume, which no Windows container group has.
pub(super) const fn linux(field: &'static str, verdict: Verdict) -> Row {
    per_os(field, verdict, WIN_VOLUME)
}

pub(super) const fn per_os(field: &'static str, linux: Verdict, windows: Verdict) -> Row {
    Row {
        field,
        linux,
        windows,
    }
}

/// A kubelet's reasons for pods that it does not admit.
pub(in crate::translate) const POD_OS_NOT_SUPPORTED: &str = "PodOSNotSupported";
pub(in crate::translate) const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";

pub(super) const APP_ARMOR: Verdict = NotEnforced(
    Unenforced::AppArmorProfile,
    "the containers run under the profile of ACI's runtime",
);
pub(super) const SE_LINUX: Verdict =
    NotEnforced(Unenforced::SeLinuxOptions, "ACI does not label processes");
pub(super) const WIN_SECURITY: Verdict =
    Refused("ACI has no security context for Windows containers; remove it");
pub(super) const WIN_OPTIONS: Verdict = Refused("ACI has no such options; remove it");
pub(super) const ROOT: Verdict = Refused(
    "container's runAsUser breaks non-root policy: set runAsUser to the number of another user",
);
pub(super) const IMAGE_ROOT: Verdict = Refused(
    "until the image has another user: it is read from the registry, and has to be a number other than 0, as for a kubelet; \
     or set runAsUser to the number of a user that is not root",
);
pub(super) const SECCOMP_DEFAULT: Verdict = Approximated(
    "the container runs under the profile of ACI's runtime, which Azure does not document",
);
pub(super) const SECCOMP_FILE: Verdict =
    Refused("there is no node to read the profile from; use RuntimeDefault");
pub(super) const INIT: Verdict = Refused("an init container of ACI has none; remove it");
pub(super) const PROBE: Verdict = NotEnforced(
    Unenforced::Probes,
    "ACI probes with exec and httpGet only, and the operator only a pod with an address, as long as the connector's \
     spec.probes says so: the container is not probed so, and counts as live and ready while it runs",
);
pub(super) const SIDECAR: Verdict = Approximated(
    "ACI starts a sidecar together with the containers, after the other init containers, and ends it after them",
);
pub(super) const SIDECAR_OF_JOB: Verdict = Approximated(
    "ACI starts a sidecar together with the containers, after the other init containers, and restarts it as restartPolicy of \
     the pod says: never, or on failure. When the containers have ended the pod has: the sidecar's preStop hook is run, it \
     gets SIGTERM, and what still runs at the end of the pod's grace period is stopped with the container group",
);
pub(super) const WIN_INIT: Verdict = Refused(
    "a Windows container group has exactly one container; do their work in the container's command",
);
pub(super) const SCHEDULER: Verdict =
    Ignored("the scheduler has acted on it before the pod reaches the node");
pub(super) const PLATFORM: Verdict =
    Refused("this kind of volume cannot be attached to a container group; use emptyDir");
pub(super) const WIN_VOLUME: Verdict =
    Refused("Windows container groups have no volumes; remove it");
pub(super) const HOST: Verdict =
    Refused("there is no host to share with; remove it or set it to false");
pub(super) const NO_TERMINAL: &str =
    "ACI runs containers without a terminal and with stdin closed; remove it";
pub(super) const WIN_DNS: Verdict = Refused(
    "ACI takes no name servers for Windows containers; use dnsPolicy Default without dnsConfig",
);
pub(super) const NO_SUBNET: Verdict = Refused(
    "ACI takes name servers only for groups in a subnet; use dnsPolicy Default without dnsConfig, or a connector with a subnetID",
);
/// Also the Event's message.
pub(in crate::translate) const MISSING_CLUSTER_DNS: &str = "neither the connector nor the operator names the cluster's DNS (spec.network.clusterDNS, --cluster-dns); the pod uses Azure's, as with dnsPolicy Default";
