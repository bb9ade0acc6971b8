//! What becomes of changes of a pod that has a container group.

use std::fmt::Write;

use super::Verdict::{self, Approximated, Ignored, Mapped};

/// The fields that Kubernetes lets change, each with the verdict on a change of it.
const CHANGES: &[(&str, Verdict)] = &[
    ("metadata.annotations", COPIED),
    ("metadata.labels", COPIED),
    ("spec.activeDeadlineSeconds", Mapped),
    ("spec.containers[].image", ONLY_IMAGE),
    (
        "spec.containers[].resources",
        Ignored("a container group cannot be resized; delete the pod to have it made anew"),
    ),
    (
        "spec.ephemeralContainers",
        Ignored(
            "a container cannot be added to a container group that exists, and an Event `EphemeralContainerIgnored` and its \
             status, which has ended, say so; use kubectl exec",
        ),
    ),
    ("spec.initContainers[].image", IMAGE),
    ("spec.terminationGracePeriodSeconds", Mapped),
    ("spec.tolerations", Mapped),
];

const COPIED: Verdict = Ignored(
    "Kubernetes acts on it as ever; the tags of the container group, and what the downward API has copied into variables, stay as \
     they were when the group was made. Files are kept up to date by the shim, and without it stay as well",
);
const ONLY_IMAGE: Verdict = Approximated(
    "the only container of a pod under `restartPolicy: Always` is restarted with it, which counts as a restart: its container \
     group is PUT again, and ACI ends the container in its own way, without its preStop hook. Of several containers, and under \
     Never and OnFailure, they go on with the image they have, which the status shows, and an Event `ImageChangeIgnored` says so; \
     delete the pod to have it made anew. A pod of which nothing has started yet is made with its new image",
);
const IMAGE: Verdict = Ignored(
    "a container group cannot get another image without a restart of all its containers: the containers go on with the image they \
     have, which the status shows, and an Event `ImageChangeIgnored` says so; delete the pod to have it made anew. A pod of which \
     nothing has started yet is made with its new image",
);

/// Appends the section about changes.
pub(super) fn write(page: &mut String) {
    page.push_str(
        "\n## Changes of a running pod\n\n\
         Kubernetes lets some fields of a pod change while it runs. A container group of several containers is never updated, \
         because ACI then restarts all of them. The verdicts hold for Linux and Windows.\n\n\
         | change of | verdict | why |\n|---|---|---|\n",
    );
    for (field, verdict) in CHANGES {
        let _ = writeln!(
            page,
            "| `{field}` | {} | {} |",
            verdict.word(),
            verdict.why()
        );
    }
}
