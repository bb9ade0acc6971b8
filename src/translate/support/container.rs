//! Rows of a container and what it holds.

use super::Row;
use super::Verdict::{Approximated, Ignored, Mapped, NotEnforced, Refused, Shim};
use super::Without;
use super::words::{
    APP_ARMOR, IMAGE_ROOT, INIT, NO_TERMINAL, PROBE, ROOT, SE_LINUX, SECCOMP_DEFAULT, SECCOMP_FILE,
    SIDECAR, SIDECAR_OF_JOB, WIN_INIT, WIN_OPTIONS, WIN_SECURITY, both, linux, per_os,
};
use crate::api::Unenforced;

const SECRET_WORD: &str = "ACI shows a command to whoever may read the container group; let the program or a shell read the variable";
const NO_MESSAGE: &str = "ACI does not show files of an ended container: what is written there reaches nobody, and the message of an end is the \
     end of the log at most (terminationMessagePolicy: FallbackToLogsOnError)";
const NAME: &str =
    "ACI takes 1-63 letters, digits and _ as a name, the first no digit; rename the variable";

pub(super) const ROWS: &[Row] = &[
    // Container
    both("spec.containers[].args", Mapped),
    both(
        "spec.containers[].args: without command, of an image that cannot be read",
        Refused(
            "until the registry answers: ACI's command replaces the image's entry point, so the entry point is read from \
             the registry and put before args; set command as well to do without",
        ),
    ),
    both("spec.containers[].command", Mapped),
    per_os(
        "spec.containers[].command: $(NAME) of a value from a Secret",
        Shim(Without::Refused, SECRET_WORD),
        Refused(SECRET_WORD),
    ),
    both("spec.containers[].env", Mapped),
    both("spec.containers[].envFrom", Mapped),
    both("spec.containers[].image", Mapped),
    both(
        "spec.containers[].image: missing",
        Refused("a container needs an image"),
    ),
    both(
        "spec.containers[].imagePullPolicy",
        Ignored("ACI decides when an image is pulled"),
    ),
    both(
        "spec.containers[].imagePullPolicy: Never",
        Refused(
            "no image is on a virtual node before it is pulled: the container waits with ErrImageNeverPull, as on a node that \
             has not got it",
        ),
    ),
    both("spec.containers[].lifecycle", Mapped),
    both(
        "spec.containers[].lifecycle.postStart",
        Approximated(
            "the hook is run when the container is seen to run, up to some seconds after its start and for five minutes at \
             most; until it has ended the container is not ready, and it is ended when that fails",
        ),
    ),
    per_os(
        "spec.containers[].lifecycle.preStop",
        Mapped,
        Approximated("a command of the hook is run, and how it exits is not known"),
    ),
    both(
        "spec.containers[].lifecycle.stopSignal",
        Approximated("SIGTERM is sent whatever signal is named"),
    ),
    both("spec.containers[].livenessProbe", Mapped),
    both("spec.containers[].name", Mapped),
    both("spec.containers[].ports", Mapped),
    both("spec.containers[].readinessProbe", Mapped),
    both(
        "spec.containers[].readinessProbe: not run by the operator",
        Approximated(
            "ACI probes, and sends traffic only to what is ready, but does not tell the outcome: the container counts as ready \
             while it runs. The operator runs probes by HTTP, TCP and gRPC of pods with an address, and those by command where \
             the connector says so (spec.probes)",
        ),
    ),
    both(
        "spec.containers[].resizePolicy",
        Ignored("a container group cannot be resized"),
    ),
    both("spec.containers[].resources", Mapped),
    both(
        "spec.containers[].restartPolicy",
        Refused("ACI has one restart policy for the group; use spec.restartPolicy"),
    ),
    both(
        "spec.containers[].restartPolicyRules",
        Refused("ACI has one restart policy for the group; use spec.restartPolicy"),
    ),
    both("spec.containers[].securityContext", Mapped),
    both("spec.containers[].startupProbe", Mapped),
    both(
        "spec.containers[].startupProbe: not run by the operator",
        Approximated(
            "ACI has no startup probe: the liveness probe begins when the startup probe would have given up (initialDelaySeconds \
             + periodSeconds × failureThreshold); its handler is not run, and readiness does not wait for it",
        ),
    ),
    both(
        "spec.containers[].startupProbe: not run by the operator, without a livenessProbe",
        NotEnforced(
            Unenforced::Probes,
            "ACI has no startup probe, and without a liveness probe nothing restarts a container that does not come up",
        ),
    ),
    both("spec.containers[].stdin", Mapped),
    per_os(
        "spec.containers[].stdin: true",
        Shim(Without::Refused, NO_TERMINAL),
        Refused(NO_TERMINAL),
    ),
    both(
        "spec.containers[].stdinOnce",
        Ignored("without effect unless stdin is true; then the shim heeds it"),
    ),
    both(
        "spec.containers[].terminationMessagePath",
        Ignored(
            "ACI does not show files of an ended container; where the shim runs for another reason, and may write there, the \
             message is told",
        ),
    ),
    per_os(
        "spec.containers[].terminationMessagePath: another than /dev/termination-log",
        Shim(Without::Approximated, NO_MESSAGE),
        Approximated(NO_MESSAGE),
    ),
    both("spec.containers[].terminationMessagePolicy", Mapped),
    both(
        "spec.containers[].terminationMessagePolicy: FallbackToLogsOnError of a container that is restarted",
        Ignored(
            "ACI shows the log of the current run only: a run has its message when its end is seen before the next one starts",
        ),
    ),
    both(
        "spec.containers[].terminationMessagePolicy: FallbackToLogsOnError of a container that is ended with its pod",
        Ignored("the pod goes without waiting for a log"),
    ),
    both(
        "spec.containers[].terminationMessagePolicy: File",
        Ignored("ACI does not show files of an ended container"),
    ),
    both("spec.containers[].tty", Mapped),
    per_os(
        "spec.containers[].tty: true",
        Shim(Without::Refused, NO_TERMINAL),
        Refused(NO_TERMINAL),
    ),
    both(
        "spec.containers[].volumeDevices",
        Refused("ACI has no block devices; remove it"),
    ),
    both("spec.containers[].volumeMounts", Mapped),
    both(
        "spec.containers[].workingDir: of a container with the shim",
        Ignored("the shim changes the directory, and no shell is needed"),
    ),
    per_os(
        "spec.containers[].workingDir",
        Approximated(
            "ACI starts a container where its image says: /bin/sh of the image, which has to have one, changes the directory \
             and then becomes the command; probes and kubectl exec start where the image says",
        ),
        Refused(
            "ACI starts a container where its image says, and an image for Windows need not have a shell; change the \
             directory in the command",
        ),
    ),
    both(
        "spec.containers[].workingDir: the image's own",
        Ignored("the container starts there"),
    ),
    // Container of spec.initContainers: where it differs
    both("spec.initContainers[].lifecycle", INIT),
    both("spec.initContainers[].livenessProbe", INIT),
    both(
        "spec.initContainers[].ports",
        Ignored("it has ended before the group has an address"),
    ),
    both("spec.initContainers[].readinessProbe", INIT),
    both("spec.initContainers[].resources", Mapped),
    per_os(
        "spec.initContainers[].restartPolicy: Always",
        SIDECAR,
        WIN_INIT,
    ),
    per_os(
        "spec.initContainers[].restartPolicy: Always in a pod that ends",
        SIDECAR_OF_JOB,
        WIN_INIT,
    ),
    both("spec.initContainers[].startupProbe", INIT),
    per_os(
        "spec.initContainers[].startupProbe: of a sidecar, by httpGet, tcpSocket or grpc",
        Shim(
            Without::Approximated,
            "ACI starts a sidecar together with the containers: nobody waits until its startup probe has succeeded",
        ),
        WIN_INIT,
    ),
    // EnvVar
    both("spec.containers[].env[].name", Mapped),
    per_os(
        "spec.containers[].env[].name: not a name for ACI",
        Shim(Without::Refused, NAME),
        Refused(NAME),
    ),
    both("spec.containers[].env[].value", Mapped),
    both("spec.containers[].env[].valueFrom", Mapped),
    // Probe
    both("spec.containers[].*Probe.exec", Mapped),
    both("spec.containers[].*Probe.failureThreshold", Mapped),
    both("spec.containers[].*Probe.grpc", Mapped),
    both(
        "spec.containers[].*Probe.grpc: not run by the operator",
        PROBE,
    ),
    both("spec.containers[].*Probe.httpGet", Mapped),
    both(
        "spec.containers[].*Probe.httpGet.host",
        Refused("ACI probes the container itself only; remove it, or set the header Host"),
    ),
    both("spec.containers[].*Probe.httpGet.httpHeaders", Mapped),
    both("spec.containers[].*Probe.httpGet.path", Mapped),
    both("spec.containers[].*Probe.httpGet.port", Mapped),
    both("spec.containers[].*Probe.httpGet.scheme", Mapped),
    both("spec.containers[].*Probe.initialDelaySeconds", Mapped),
    both("spec.containers[].*Probe.periodSeconds", Mapped),
    both("spec.containers[].*Probe.successThreshold", Mapped),
    both("spec.containers[].*Probe.tcpSocket", Mapped),
    both(
        "spec.containers[].*Probe.tcpSocket: not run by the operator",
        PROBE,
    ),
    both(
        "spec.containers[].*Probe.terminationGracePeriodSeconds",
        Ignored("it holds where the operator runs the probe; ACI documents no grace period"),
    ),
    both("spec.containers[].*Probe.timeoutSeconds", Mapped),
    // ContainerPort
    both("spec.containers[].ports[].containerPort", Mapped),
    both(
        "spec.containers[].ports[].containerPort: of another container too",
        Approximated(
            "the containers of a group share one network; the port is that of the first that declares it",
        ),
    ),
    both(
        "spec.containers[].ports[].containerPort: more than five that are opened",
        Approximated(
            "a group's address opens 5 ports: first those that services of the namespace send to, then in the pod's order",
        ),
    ),
    both(
        "spec.containers[].ports[].containerPort: reserved by ACI",
        Approximated(
            "it is not opened: ACI keeps ports 22, 1025-1027, 3389-3399, 9999, 19000, 19080, 19100, 19390, 20000-30000 and \
             49152-65534 for itself, and a program may not be able to listen there",
        ),
    ),
    both(
        "spec.containers[].ports[].hostIP",
        Refused("there is no host to open a port on; remove it"),
    ),
    both(
        "spec.containers[].ports[].hostPort",
        Refused("there is no host to open a port on; remove it"),
    ),
    both(
        "spec.containers[].ports[].name",
        Ignored("Kubernetes resolves it; ACI knows numbers only"),
    ),
    both("spec.containers[].ports[].protocol", Mapped),
    both(
        "spec.containers[].ports[].protocol: SCTP",
        Refused("ACI speaks TCP and UDP only"),
    ),
    // ResourceRequirements
    both(
        "spec.containers[].resources.claims",
        Refused("there are no devices to claim; remove it"),
    ),
    both("spec.containers[].resources.limits", Mapped),
    both("spec.containers[].resources.requests", Mapped),
    both(
        "spec.containers[].resources: ephemeral-storage",
        NotEnforced(
            Unenforced::EphemeralStorage,
            "ACI does not reserve or bound local storage; a group has 50 GB, and pods that request more are refused",
        ),
    ),
    both(
        "spec.containers[].resources: any other resource",
        Refused("ACI gives cores and memory only; remove it"),
    ),
    // SecurityContext
    both(
        "spec.containers[].securityContext.allowPrivilegeEscalation",
        Mapped,
    ),
    per_os(
        "spec.containers[].securityContext.allowPrivilegeEscalation: false",
        Mapped,
        WIN_SECURITY,
    ),
    both(
        "spec.containers[].securityContext.appArmorProfile",
        APP_ARMOR,
    ),
    both(
        "spec.containers[].securityContext.appArmorProfile: Unconfined",
        Ignored("nothing is asked for"),
    ),
    both("spec.containers[].securityContext.capabilities", Mapped),
    per_os(
        "spec.containers[].securityContext.capabilities.add",
        Mapped,
        WIN_SECURITY,
    ),
    per_os(
        "spec.containers[].securityContext.capabilities.drop",
        Mapped,
        WIN_SECURITY,
    ),
    both("spec.containers[].securityContext.privileged", Mapped),
    per_os(
        "spec.containers[].securityContext.privileged: true",
        Mapped,
        WIN_SECURITY,
    ),
    both("spec.containers[].securityContext.procMount", Mapped),
    both(
        "spec.containers[].securityContext.procMount: Unmasked",
        Refused("ACI masks /proc always; remove it"),
    ),
    both(
        "spec.containers[].securityContext.readOnlyRootFilesystem",
        Mapped,
    ),
    both(
        "spec.containers[].securityContext.readOnlyRootFilesystem: true",
        NotEnforced(
            Unenforced::ReadOnlyRootFilesystem,
            "ACI has no read-only root file system: the containers can write to theirs",
        ),
    ),
    per_os(
        "spec.containers[].securityContext.runAsGroup",
        Mapped,
        WIN_SECURITY,
    ),
    both("spec.containers[].securityContext.runAsNonRoot", Mapped),
    per_os(
        "spec.containers[].securityContext.runAsNonRoot: true",
        Mapped,
        WIN_SECURITY,
    ),
    both(
        "spec.containers[].securityContext.runAsNonRoot: true with runAsUser 0",
        ROOT,
    ),
    both(
        "spec.containers[].securityContext.runAsNonRoot: true without runAsUser, of an image whose user is root or no number",
        IMAGE_ROOT,
    ),
    per_os(
        "spec.containers[].securityContext.runAsUser",
        Mapped,
        WIN_SECURITY,
    ),
    both("spec.containers[].securityContext.seLinuxOptions", SE_LINUX),
    both("spec.containers[].securityContext.seccompProfile", Mapped),
    per_os(
        "spec.containers[].securityContext.seccompProfile: RuntimeDefault",
        SECCOMP_DEFAULT,
        WIN_SECURITY,
    ),
    per_os(
        "spec.containers[].securityContext.seccompProfile: Localhost",
        SECCOMP_FILE,
        WIN_SECURITY,
    ),
    both(
        "spec.containers[].securityContext.seccompProfile: Unconfined",
        Ignored("nothing is asked for"),
    ),
    per_os(
        "spec.containers[].securityContext.windowsOptions",
        Ignored("for Windows containers only, as with a kubelet"),
        WIN_OPTIONS,
    ),
    // VolumeMount
    linux(
        "spec.containers[].volumeMounts[]: Azure Files where runAsUser is not 0",
        Approximated(
            "Azure supports shares in containers that run as root only; the program may not be able to write there",
        ),
    ),
    both("spec.containers[].volumeMounts[].mountPath", Mapped),
    both(
        "spec.containers[].volumeMounts[].mountPath: with a colon",
        Refused("ACI takes no colon in a mount path; mount elsewhere"),
    ),
    both(
        "spec.containers[].volumeMounts[].mountPath: of another mount too",
        Refused("two mounts cannot be in one place; mount one of them elsewhere"),
    ),
    both("spec.containers[].volumeMounts[].mountPropagation", Mapped),
    both(
        "spec.containers[].volumeMounts[].mountPropagation: Bidirectional or HostToContainer",
        Refused("there is no host to share mounts with; remove it"),
    ),
    both("spec.containers[].volumeMounts[].name", Mapped),
    both("spec.containers[].volumeMounts[].readOnly", Mapped),
    both(
        "spec.containers[].volumeMounts[].recursiveReadOnly",
        Ignored("nothing is mounted below a mount"),
    ),
    both("spec.containers[].volumeMounts[].subPath", Mapped),
    linux(
        "spec.containers[].volumeMounts[].subPath: a single file",
        Shim(
            Without::Refused,
            "ACI mounts directories only, and one in the file's place would hide what is beside it in the image; mount the \
             volume on a directory of its own and let the program read the file there",
        ),
    ),
    both(
        "spec.containers[].volumeMounts[].mountPath: of the shim",
        Refused("/.vkc is the place of the operator's shim; mount elsewhere"),
    ),
    both(
        "spec.containers[].volumeMounts[].subPath: of a share or a git repository",
        Refused("ACI mounts them whole only; use one for each path"),
    ),
    linux(
        "spec.containers[].volumeMounts[].subPath: of an emptyDir that is mounted above it too",
        Approximated(
            "ACI mounts whole volumes only: the directory is a volume of its own that is mounted in the other too, so that files \
             are moved into it and out of it by copying, and it cannot be removed",
        ),
    ),
    linux(
        "spec.containers[].volumeMounts[].subPath: of an emptyDir that is mounted above it too, read-only",
        Refused(
            "ACI mounts whole volumes only, and in a read-only one there is no place for the other; mount it writable there",
        ),
    ),
    both("spec.containers[].volumeMounts[].subPathExpr", Mapped),
    both(
        "spec.containers[].volumeMounts[].subPathExpr: with a name whose value is from a Secret",
        Refused(
            "everyone who may read the container group would see the secret; use other variables",
        ),
    ),
];
