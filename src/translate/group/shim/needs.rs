//! Whether the shim may be in a group, and why it is.

use crate::api::{Os, Shim, ShimMode, VolumeUpdates};

/// Fields that are told.
const TOLD: usize = 8;

/// Whether the shim may be in the group of a pod, and what for.
#[derive(Debug, Default)]
pub(in crate::translate::group) struct Needs {
    forbidden: Option<&'static str>,
    pub(super) always: bool,
    /// Whether all Secrets and `ConfigMap`s are to be kept up to date, and not only what is awaited.
    updates: bool,
    /// Whether the group has room for the volumes which that takes.
    pub(in crate::translate::group) update_fits: bool,
    fields: Vec<String>,
    more: usize,
}

impl Needs {
    /// What holds for a pod under `shim`; `policy`: its group is confidential and has a policy of its own.
    pub(in crate::translate::group) fn of(shim: &Shim, os: Os, policy: bool) -> Self {
        let forbidden = if os == Os::Windows {
            Some("it is for Linux")
        } else if shim.mode == ShimMode::Never {
            Some("the connector forbids it (spec.shim.mode: Never)")
        } else if policy {
            Some("the policy of a confidential group names each container, and it is none of them")
        } else {
            None
        };
        let always = forbidden.is_none() && shim.mode == ShimMode::Always;
        Self {
            always,
            updates: always || shim.volume_updates == VolumeUpdates::Always,
            forbidden,
            ..Self::default()
        }
    }

    /// Why it may not be there.
    pub(in crate::translate::group) fn forbidden(&self) -> Option<&'static str> {
        self.forbidden
    }

    /// Whether what needs it, it does.
    pub(in crate::translate::group) fn may(&self) -> bool {
        self.forbidden.is_none()
    }

    /// Whether Secrets and `ConfigMap`s are kept up to date that nothing else needs it for.
    pub(in crate::translate::group) fn updates(&self) -> bool {
        self.updates && self.update_fits && self.may()
    }

    pub(in crate::translate::group) fn advice(&self, why: &str) -> String {
        let because = self.forbidden.unwrap_or_default();
        format!("{why}; the operator's shim would do it, and {because}")
    }

    pub(in crate::translate::group) fn need(&mut self, field: String) {
        if self.fields.contains(&field) {
            return;
        }
        if self.fields.len() < TOLD {
            self.fields.push(field);
        } else {
            self.more += 1;
        }
    }

    /// The first field that it is there for, and what is told.
    pub(in crate::translate::group) fn told(&self) -> Option<(String, String)> {
        let first = self.fields.first()?;
        let others = self.fields.get(1..).unwrap_or_default().join(", ");
        let also = match (others.as_str(), self.more) {
            ("", _) => String::new(),
            (others, 0) => format!(" (also for {others})"),
            (others, more) => format!(" (also for {others} and {more} more)"),
        };
        let message = format!(
            "ACI has no such thing: the operator's shim, a program in the container group, does it{also}; the connector's spec.shim may forbid it"
        );
        Some((first.clone(), message))
    }
}
