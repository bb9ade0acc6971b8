//! Rows of `PodSpec`, all but its containers and volumes.

use super::Row;
use super::Verdict::{Approximated, Ignored, Mapped, NotEnforced, Refused, Rejected, Shim};
use super::Without;
use super::words::{
    APP_ARMOR, HOST, IMAGE_ROOT, MISSING_CLUSTER_DNS, NO_SUBNET, POD_OS_NOT_SUPPORTED, ROOT,
    SCHEDULER, SE_LINUX, SECCOMP_DEFAULT, SECCOMP_FILE, SYSCTL_FORBIDDEN, WIN_DNS, WIN_INIT,
    WIN_OPTIONS, WIN_SECURITY, both, per_os,
};
use crate::api::Unenforced;

pub(super) const ROWS: &[Row] = &[
    // PodSpec
    both("spec.activeDeadlineSeconds", Mapped),
    both("spec.affinity", SCHEDULER),
    both(
        "spec.automountServiceAccountToken",
        Ignored("the API server's admission has acted on it"),
    ),
    both("spec.containers", Mapped),
    per_os("spec.dnsConfig", Mapped, WIN_DNS),
    both("spec.dnsConfig: without a subnet", NO_SUBNET),
    both(
        "spec.dnsConfig: of options only, without a subnet",
        NotEnforced(
            Unenforced::DnsOptions,
            "ACI takes options of a resolver with name servers only, for groups in a subnet; the pod uses Azure's resolver as it is",
        ),
    ),
    per_os("spec.dnsConfig.nameservers", Mapped, WIN_DNS),
    both(
        "spec.dnsConfig.nameservers: an IPv6 address",
        Refused("ACI has no IPv6; remove it"),
    ),
    per_os("spec.dnsConfig.options", Mapped, WIN_DNS),
    both(
        "spec.dnsConfig.options: a name or a value with a blank",
        Refused("blanks separate the options; correct it"),
    ),
    per_os("spec.dnsConfig.searches", Mapped, WIN_DNS),
    both("spec.dnsPolicy", Mapped),
    per_os(
        "spec.dnsPolicy: ClusterFirst or ClusterFirstWithHostNet",
        Mapped,
        Approximated("ACI takes no name servers for Windows containers; they use Azure's DNS"),
    ),
    both(
        "spec.dnsPolicy: ClusterFirst or ClusterFirstWithHostNet without a subnet",
        Ignored(
            "a pod outside the cluster's network cannot reach its DNS; it resolves names with Azure's",
        ),
    ),
    both(
        "spec.dnsPolicy: ClusterFirst or ClusterFirstWithHostNet when the operator was not told --cluster-dns",
        Approximated(MISSING_CLUSTER_DNS),
    ),
    per_os(
        "spec.dnsPolicy: None",
        Approximated("ACI adds Azure's resolver, 168.63.129.16, behind the pod's name servers"),
        WIN_DNS,
    ),
    both("spec.dnsPolicy: None without a subnet", NO_SUBNET),
    both("spec.enableServiceLinks", Mapped),
    both(
        "spec.enableServiceLinks: variables that ACI does not take",
        Approximated(
            "they are left out: ACI takes names of 1-63 letters, digits and _, and a container gets 1000 variables of services \
             at most; name what is needed in env",
        ),
    ),
    both(
        "spec.ephemeralContainers",
        Approximated("ephemeral containers cannot be added to a container group; use kubectl exec"),
    ),
    per_os(
        "spec.hostAliases",
        Shim(
            Without::Refused,
            "ACI cannot add entries to /etc/hosts; use DNS names",
        ),
        Refused("ACI cannot add entries to /etc/hosts; use DNS names"),
    ),
    both("spec.hostIPC", HOST),
    both("spec.hostNetwork", HOST),
    both("spec.hostPID", HOST),
    both("spec.hostUsers", Mapped),
    both(
        "spec.hostUsers: false",
        Approximated(
            "there is no user namespace; a container group has a kernel of its own instead",
        ),
    ),
    per_os(
        "spec.hostname",
        Approximated(
            "the containers see a host name that ACI has made; their variable HOSTNAME has this one",
        ),
        Approximated("the containers see a host name that ACI has made"),
    ),
    both(
        "spec.hostnameOverride",
        Refused("ACI chooses the host name; remove it"),
    ),
    both("spec.imagePullSecrets", Mapped),
    per_os("spec.initContainers", Mapped, WIN_INIT),
    both("spec.nodeName", Mapped),
    both("spec.nodeSelector", SCHEDULER),
    both("spec.os", Mapped),
    both(
        "spec.os: another operating system than the node's",
        Rejected(
            POD_OS_NOT_SUPPORTED,
            "the node runs the other operating system; fix the node selector",
        ),
    ),
    both(
        "spec.overhead",
        Ignored("ACI bills only what the containers request"),
    ),
    both("spec.preemptionPolicy", SCHEDULER),
    both("spec.priority", SCHEDULER),
    both("spec.priorityClassName", SCHEDULER),
    both("spec.readinessGates", Mapped),
    both(
        "spec.resourceClaims",
        Refused("there are no devices to claim; remove it"),
    ),
    per_os(
        "spec.resources",
        Mapped,
        Refused("Kubernetes has no pod-level resources for Windows; set them on the container"),
    ),
    both(
        "spec.resources: other than cpu and memory",
        Refused("ACI gives cores and memory only; remove it"),
    ),
    both("spec.restartPolicy", Mapped),
    both(
        "spec.runtimeClassName",
        Refused("ACI has one runtime; remove it"),
    ),
    both("spec.schedulerName", SCHEDULER),
    both("spec.schedulingGates", SCHEDULER),
    both("spec.schedulingGroup", SCHEDULER),
    both(
        "spec.serviceAccount",
        Ignored("the deprecated spelling of serviceAccountName"),
    ),
    per_os(
        "spec.serviceAccountName",
        Mapped,
        Ignored(
            "Windows container groups have no volumes, so that there is no place for the token",
        ),
    ),
    both("spec.setHostnameAsFQDN", Mapped),
    both(
        "spec.setHostnameAsFQDN: true",
        Refused("ACI chooses the host name; set it to false"),
    ),
    both("spec.shareProcessNamespace", Mapped),
    both(
        "spec.shareProcessNamespace: true",
        Refused("the containers of a group cannot share processes; set it to false"),
    ),
    both(
        "spec.subdomain",
        Approximated("the containers do not see the domain name of a pod"),
    ),
    per_os(
        "spec.terminationGracePeriodSeconds",
        Mapped,
        Approximated(
            "no signal can be sent: what runs goes on for 3 s after the delete, or less where the period is shorter, and is ended \
             with its container group",
        ),
    ),
    both("spec.tolerations", SCHEDULER),
    both("spec.topologySpreadConstraints", SCHEDULER),
    both("spec.volumes", Mapped),
    both("spec.securityContext", Mapped),
    // PodSecurityContext
    both("spec.securityContext.appArmorProfile", APP_ARMOR),
    both(
        "spec.securityContext.appArmorProfile: Unconfined",
        Ignored("nothing is asked for"),
    ),
    both(
        "spec.securityContext.fsGroup",
        NotEnforced(
            Unenforced::FsGroup,
            "ACI does not change the group of a volume's files: they belong to whom ACI gives them",
        ),
    ),
    both(
        "spec.securityContext.fsGroup: of a pod that mounts no volume but its service account's",
        Ignored("there is no file whose group it could change"),
    ),
    both(
        "spec.securityContext.fsGroupChangePolicy",
        Ignored("without effect unless fsGroup is enforced, which it is not"),
    ),
    per_os("spec.securityContext.runAsGroup", Mapped, WIN_SECURITY),
    both("spec.securityContext.runAsNonRoot", Mapped),
    per_os(
        "spec.securityContext.runAsNonRoot: true",
        Mapped,
        WIN_SECURITY,
    ),
    both(
        "spec.securityContext.runAsNonRoot: true with runAsUser 0",
        ROOT,
    ),
    both(
        "spec.securityContext.runAsNonRoot: true without runAsUser, of an image whose user is root or no number",
        IMAGE_ROOT,
    ),
    per_os("spec.securityContext.runAsUser", Mapped, WIN_SECURITY),
    both(
        "spec.securityContext.seLinuxChangePolicy",
        Ignored("without effect unless seLinuxOptions are enforced, which they are not"),
    ),
    both("spec.securityContext.seLinuxOptions", SE_LINUX),
    both("spec.securityContext.seccompProfile", Mapped),
    per_os(
        "spec.securityContext.seccompProfile: RuntimeDefault",
        SECCOMP_DEFAULT,
        WIN_SECURITY,
    ),
    per_os(
        "spec.securityContext.seccompProfile: Localhost",
        SECCOMP_FILE,
        WIN_SECURITY,
    ),
    both(
        "spec.securityContext.seccompProfile: Unconfined",
        Ignored("nothing is asked for"),
    ),
    both(
        "spec.securityContext.supplementalGroups",
        NotEnforced(
            Unenforced::SupplementalGroups,
            "ACI gives processes no groups but the image's",
        ),
    ),
    both(
        "spec.securityContext.supplementalGroupsPolicy",
        Ignored("the images' own groups are all there are"),
    ),
    both(
        "spec.securityContext.sysctls",
        Refused("ACI sets no kernel parameters; remove it"),
    ),
    both(
        "spec.securityContext.sysctls: one that Kubernetes does not count as safe",
        Rejected(
            SYSCTL_FORBIDDEN,
            "a node allows it only where its administrator has named it, and ACI sets no kernel parameters; remove it",
        ),
    ),
    per_os(
        "spec.securityContext.windowsOptions",
        Ignored("for Windows containers only, as with a kubelet"),
        WIN_OPTIONS,
    ),
];
