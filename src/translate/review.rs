//! Collects what the verdicts say about one pod.

use super::group::{NOT_SUPPORTED, Note, Refusal, Refusals};
use super::support::{Verdict, verdict};
use crate::api::Os;

/// Reason of a refusal: more than a container group can have.
const EXCEEDS: &str = "ExceedsAciLimits";
/// Reason of a refusal: a reference was not resolved.
const MISSING: &str = "MissingReference";
/// Reason of a note.
const APPROXIMATED: &str = "ApproximatedOnAci";

/// Refusals and notes of a pod, in the order of its fields.
#[derive(Debug)]
pub(super) struct Review {
    pub(super) os: Os,
    /// Whether what is called a container now stands in `spec.initContainers`: its fields have the same verdicts.
    pub(super) init: bool,
    refusals: Vec<Refusal>,
    notes: Vec<Note>,
}

impl Review {
    pub(super) fn new(os: Os) -> Self {
        Self {
            os,
            init: false,
            refusals: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Applies the verdict of `row` to a field that the pod has when `present`; `place` fills the row's `[]` in order.
    /// Whether the translation may use the field: false when it is absent, refused or ignored.
    pub(super) fn field(&mut self, row: &'static str, present: bool, place: &[usize]) -> bool {
        present && self.at(row, path(row, place))
    }

    /// As [`Review::field`] for a field that is there, under a path that the row cannot spell.
    pub(super) fn at(&mut self, row: &'static str, path: String) -> bool {
        match verdict(row, self.os) {
            // A row that nobody wrote fails closed.
            None => self.refuse(path, "has no verdict; please report it".to_owned()),
            Some(Verdict::Refused(why)) => self.refuse(path, why.to_owned()),
            Some(Verdict::Ignored(_)) => return false,
            Some(Verdict::Mapped) => return true,
            Some(Verdict::Approximated(why)) => {
                self.notes.push(Note {
                    field: self.place(path),
                    reason: APPROXIMATED,
                    message: why.to_owned(),
                });
                return true;
            }
        }
        false
    }

    /// Refuses the field at `path`.
    pub(super) fn refuse(&mut self, path: String, message: String) {
        self.push(NOT_SUPPORTED, path, message);
    }

    /// `path` in the list of containers that is looked at.
    fn place(&self, path: String) -> String {
        match path.strip_prefix("spec.containers[") {
            Some(rest) if self.init => format!("spec.initContainers[{rest}"),
            _ => path,
        }
    }

    /// Refuses the field at `path` because a group cannot have so much.
    pub(super) fn exceeds(&mut self, path: String, message: String) {
        self.push(EXCEEDS, path, message);
    }

    /// Refuses the field at `path` because what it refers to was not fetched.
    pub(super) fn missing(&mut self, path: String, message: String) {
        self.push(MISSING, path, message);
    }

    fn push(&mut self, reason: &'static str, field: String, message: String) {
        let refusal = Refusal {
            reason,
            field: self.place(field),
            message,
        };
        // What containers inherit of the pod, each of them refuses.
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    /// The notes, or the refusals when there is one.
    pub(super) fn finish(self) -> Result<Vec<Note>, Refusals> {
        if self.refusals.is_empty() {
            Ok(self.notes)
        } else {
            Err(Refusals(self.refusals))
        }
    }
}

/// `row` without its condition, its `[]` filled from `place`.
fn path(row: &str, place: &[usize]) -> String {
    let field = row.split_once(": ").map_or(row, |(field, _)| field);
    let mut place = place.iter();
    let mut out = String::with_capacity(field.len() + 4);
    for (n, part) in field.split("[]").enumerate() {
        if n > 0 {
            match place.next() {
                Some(index) => out.extend(["[", &index.to_string(), "]"]),
                None => out.push_str("[]"),
            }
        }
        out.push_str(part);
    }
    out
}

/// Whether a list is there and has items.
pub(super) fn some<T>(list: Option<&[T]>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

/// Whether a text is there and not empty.
pub(super) fn set(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}
