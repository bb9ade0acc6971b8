//! What becomes of each field of a pod: one table, which the translation obeys and the documentation shows.

use std::fmt::Write;

use crate::api::{Os, Unenforced};

mod admission;
mod changes;
mod container;
mod env;
mod pod;
mod source;
mod volume;
mod words;

pub use admission::{Form as PolicyForm, policy};
pub(super) use words::{MISSING_CLUSTER_DNS, POD_OS_NOT_SUPPORTED, SYSCTL_FORBIDDEN};

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It means on ACI what it means in Kubernetes.
    Mapped,
    /// Nearly; the pod runs and one Event says what differs.
    Approximated(&'static str),
    /// The shim does it (`spec.shim` of the connector); else what [`Without`] says, for the reason given.
    Shim(Without, &'static str),
    /// Not at all; the pod runs, and one Event and an annotation say what it does without, unless the connector has such pods
    /// refused.
    NotEnforced(Unenforced, &'static str),
    /// The pod is not run: without the field it would do something else, or be weaker. The text says what to do.
    Refused(&'static str),
    /// No kubelet of such a node runs the pod: it fails with this reason, so that its owner can replace it.
    Rejected(&'static str, &'static str),
    /// Without effect on ACI, and the pod cannot tell or was never promised more.
    Ignored(&'static str),
}

/// What becomes of a field where no shim may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    Approximated,
    Refused,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Approximated(_) => "approximated",
            Self::Shim(..) => "by the shim",
            Self::NotEnforced(..) => "not enforced",
            Self::Refused(_) => "refused",
            Self::Rejected(..) => "rejected",
            Self::Ignored(_) => "ignored",
        }
    }

    fn why(self) -> String {
        match self {
            Self::Shim(Without::Refused, why) => format!("without the shim refused: {why}"),
            Self::Shim(Without::Approximated, why) => {
                format!("without the shim approximated: {why}")
            }
            _ => self.reason().to_owned(),
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Mapped => "",
            Self::Approximated(why)
            | Self::Shim(_, why)
            | Self::NotEnforced(_, why)
            | Self::Refused(why)
            | Self::Rejected(_, why)
            | Self::Ignored(why) => why,
        }
    }

    /// The field of the connector's `spec.compatibility` that decides.
    fn decided_by(self) -> Option<&'static str> {
        match self {
            Self::NotEnforced(what, _) => Some(what.as_str()),
            _ => None,
        }
    }
}

/// One field and its verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Path into the pod, `[]` for every item; after `": "` the values that the row is about, when it is not about all.
    pub field: &'static str,
    /// Verdict on a Linux node.
    pub linux: Verdict,
    /// Verdict on a Windows node.
    pub windows: Verdict,
}

/// Every field of a pod's spec with its verdicts, in the order of the documentation page.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let rows = [
        pod::ROWS,
        container::ROWS,
        env::ROWS,
        volume::ROWS,
        source::ROWS,
    ];
    rows.into_iter().flatten()
}

/// The verdict on `field` (a [`Row::field`]) on a node of `os`; `None` when the table has no such row.
pub fn verdict(field: &str, os: Os) -> Option<Verdict> {
    let row = rows().find(|row| row.field == field)?;
    Some(match os {
        Os::Linux => row.linux,
        Os::Windows => row.windows,
    })
}

/// The table as the page `docs/pod-support.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# What becomes of a pod's fields\n\n\
         <!-- Generated from src/translate/support/; VKC_UPDATE=1 cargo test --lib pod_support_page rewrites it. -->\n\n\
         Every field of a pod has a verdict. A field that is not named here does not exist in the Kubernetes version that \
         this release is built with.\n\n\
         - **mapped**: it means on ACI what it means in Kubernetes.\n\
         - **approximated**: nearly; the pod runs, and an Event on the pod says once what differs.\n\
         - **by the shim**: the operator's shim does it, a small program in the container group, unless the connector forbids it \
         (`spec.shim.mode: Never`) or the group is confidential with a policy; an Event says once that it is there \
         ([The shim](shim.md)).\n\
         - **not enforced**: ACI has no such thing, and the restricted Pod Security Standard does not demand it; the pod runs, \
         and one Event (`NotEnforcedOnAci`) and the annotation `virtual-kubelet.io/not-enforced` say what it does without. The \
         connector's `spec.compatibility` may have such pods refused, field by field: the field's name is in brackets.\n\
         - **refused**: the pod is not run, because without the field it would do something else or be weaker. It stays \
         `Pending`, its status names field and reason.\n\
         - **rejected**: no kubelet of such a node would run it either. It is `Failed` at once with a kubelet's reason, so that \
         its owner can replace it.\n\
         - **ignored**: without effect on ACI, for the reason given.\n\n\
         What the text of a pod decides is also said when it, or its template, is applied: a ValidatingAdmissionPolicy warns, \
         where a pod selects virtual nodes or tolerates their taint (`config/policy/unsupported.yaml`, made from this table; \
         `policies.unsupported` of the chart has it warn, deny, or not there).\n\n\
         The fields of an init container have the verdicts of a container's, but for those listed under \
         `spec.initContainers[]`. One with `restartPolicy: Always` is a sidecar, which runs along with the containers.\n",
    );
    let mut section = "";
    for row in rows() {
        let parent = parent(row.field);
        if parent != section {
            section = parent;
            let _ = write!(
                page,
                "\n## `{section}`\n\n| field | Linux | Windows | why |\n|---|---|---|---|\n"
            );
        }
        let rest = row
            .field
            .strip_prefix(section)
            .unwrap_or(row.field)
            .trim_start_matches('.');
        let (name, values) = rest
            .split_once(": ")
            .map_or((rest, None), |(name, values)| (name, Some(values)));
        let name = match (name, values) {
            ("", Some(values)) => values.to_owned(),
            (name, Some(values)) => format!("`{name}`: {values}"),
            (name, None) => format!("`{name}`"),
        };
        let (linux, windows) = (row.linux.why(), row.windows.why());
        let why = match (linux.as_str(), windows.as_str()) {
            (linux, windows) if linux == windows => linux.to_owned(),
            ("", windows) => format!("Windows: {windows}"),
            (linux, "") => format!("Linux: {linux}"),
            (linux, windows) => format!("Linux: {linux}. Windows: {windows}"),
        };
        let decided_by = row.linux.decided_by().or(row.windows.decided_by());
        let why = match decided_by {
            Some(field) => format!("{why} (`{field}`)"),
            None => why,
        };
        let _ = writeln!(
            page,
            "| {name} | {} | {} | {why} |",
            row.linux.word(),
            row.windows.word()
        );
    }
    changes::write(&mut page);
    page
}

/// The section of the page that `field` stands in: the struct it is a member of.
fn parent(field: &str) -> &str {
    let (field, values) = field
        .split_once(": ")
        .map_or((field, None), |(field, values)| (field, Some(values)));
    let sections = [
        "spec.containers[].volumeMounts[]",
        "spec.containers[].securityContext",
        "spec.containers[].resources",
        "spec.containers[].ports[]",
        "spec.containers[].env[].valueFrom",
        "spec.containers[].env[]",
        "spec.containers[].envFrom[]",
        "spec.containers[].*Probe",
        "spec.containers[]",
        "spec.initContainers[]",
        "spec.volumes[].*.items[]",
        "spec.volumes[].azureFile",
        "spec.volumes[].configMap",
        "spec.volumes[].csi",
        "spec.volumes[].downwardAPI",
        "spec.volumes[].emptyDir",
        "spec.volumes[].ephemeral",
        "spec.volumes[].gitRepo",
        "spec.volumes[].persistentVolumeClaim",
        "spec.volumes[].projected.sources[]",
        "spec.volumes[].projected",
        "spec.volumes[].secret",
        "spec.volumes[]",
        "spec.securityContext",
    ];
    // A row about the whole of a field stands with the field's neighbours; all others of a section stand together.
    let starts = |section: &&&str| {
        field.strip_prefix(**section).is_some_and(|rest| {
            rest.starts_with('.')
                || (rest.is_empty() && (values.is_some() || section.ends_with("[]")))
        })
    };
    sections
        .iter()
        .find(starts)
        .map_or("spec", |section| section)
}

#[cfg(test)]
mod tests;
