//! Rows of where the value of an environment variable comes from.

use super::Row;
use super::Verdict::{Approximated, Ignored, Mapped, Refused, Shim};
use super::Without;
use super::words::{both, per_os};

const LEFT_OUT: &str = "it is left out, and an Event names it: ACI takes 1-63 letters, digits and _ as a name, the first no digit; give what is \
     needed another name in env[].valueFrom";
const LATE: &str = "the address is known only after the container group is made; let the program ask its network interface";

pub(super) const ROWS: &[Row] = &[
    // EnvFromSource
    per_os(
        "spec.containers[].envFrom[]: a key that is a name for Kubernetes, not for ACI",
        Shim(Without::Approximated, LEFT_OUT),
        Approximated(LEFT_OUT),
    ),
    both("spec.containers[].envFrom[].configMapRef", Mapped),
    both("spec.containers[].envFrom[].configMapRef.name", Mapped),
    both("spec.containers[].envFrom[].configMapRef.optional", Mapped),
    both("spec.containers[].envFrom[].prefix", Mapped),
    both("spec.containers[].envFrom[].secretRef", Mapped),
    both("spec.containers[].envFrom[].secretRef.name", Mapped),
    both("spec.containers[].envFrom[].secretRef.optional", Mapped),
    // EnvVarSource
    both("spec.containers[].env[].valueFrom.configMapKeyRef", Mapped),
    both(
        "spec.containers[].env[].valueFrom.configMapKeyRef.key",
        Mapped,
    ),
    both(
        "spec.containers[].env[].valueFrom.configMapKeyRef.name",
        Mapped,
    ),
    both(
        "spec.containers[].env[].valueFrom.configMapKeyRef.optional",
        Mapped,
    ),
    both("spec.containers[].env[].valueFrom.fieldRef", Mapped),
    both(
        "spec.containers[].env[].valueFrom.fieldRef.apiVersion",
        Ignored("there is one version of a pod"),
    ),
    both(
        "spec.containers[].env[].valueFrom.fieldRef.fieldPath",
        Mapped,
    ),
    per_os(
        "spec.containers[].env[].valueFrom.fieldRef: status.podIP or status.podIPs",
        Shim(Without::Refused, LATE),
        Refused(LATE),
    ),
    both(
        "spec.containers[].env[].valueFrom.fileKeyRef",
        Refused("no container writes files before another starts; use a ConfigMap or Secret"),
    ),
    both("spec.containers[].env[].valueFrom.resourceFieldRef", Mapped),
    both(
        "spec.containers[].env[].valueFrom.resourceFieldRef.containerName",
        Mapped,
    ),
    both(
        "spec.containers[].env[].valueFrom.resourceFieldRef.divisor",
        Mapped,
    ),
    both(
        "spec.containers[].env[].valueFrom.resourceFieldRef.resource",
        Mapped,
    ),
    both(
        "spec.containers[].env[].valueFrom.resourceFieldRef: limits of a container that has none",
        Ignored(
            "a kubelet gives the node's capacity; here it is what the container asks ACI for: its request, else the \
             connector's default",
        ),
    ),
    both(
        "spec.containers[].env[].valueFrom.resourceFieldRef: other than cpu, memory and ephemeral-storage",
        Refused("ACI gives cores, memory and 50 GB of disk only; remove it"),
    ),
    both("spec.containers[].env[].valueFrom.secretKeyRef", Mapped),
    both("spec.containers[].env[].valueFrom.secretKeyRef.key", Mapped),
    both(
        "spec.containers[].env[].valueFrom.secretKeyRef.name",
        Mapped,
    ),
    both(
        "spec.containers[].env[].valueFrom.secretKeyRef.optional",
        Mapped,
    ),
];
