//! Collects what the verdicts say about one pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::budget::{Amount, Budget, Exceeded, Of};
use super::resolved::{Found, Image, Object, Reference, Resolved};
use super::shim::{Needs, SHIM};
use super::{NOT_SUPPORTED, Note, Refusal, Refusals};
use crate::api::{Compatibility, Os, Treatment, Unenforced};
use crate::azure::model::SecretBytes;
use crate::translate::probes::Means;
use crate::translate::support::{Verdict, Without, verdict};

/// Reason of a refusal: more than a container group can have.
pub(super) const EXCEEDS: &str = "ExceedsAciLimits";
/// Reason of a refusal that lies in what the pod refers to.
pub(super) const NOT_FOR_ACI: &str = "ReferenceNotSupportedOnAci";
/// Reason of a note.
const APPROXIMATED: &str = "ApproximatedOnAci";
/// Reason of the one note about all that ACI does not enforce.
const NOT_ENFORCED: &str = "NotEnforcedOnAci";

/// Refusals that are kept of a pod: its status shows a few, and each is compared with those before it.
pub(super) const MAX_REFUSALS: usize = 100;
/// Notes that are kept of a pod: each is an Event.
const MAX_NOTES: usize = 100;

/// Refusals and notes of a pod, in the order of its fields, and what it refers to.
#[derive(Debug)]
pub(super) struct Review<'a> {
    pub(super) os: Os,
    pub(super) resolved: &'a Resolved,
    wanted: BTreeSet<Reference>,
    /// Whether one of them is not fetched.
    unknown: bool,
    pub(super) budget: Budget,
    /// Whether what is called a container now stands in `spec.initContainers`: its fields have the same verdicts.
    pub(super) init: bool,
    /// Whether that container ends before the others begin.
    pub(super) ends_first: bool,
    /// Namespace of the pod.
    pub(super) namespace: String,
    /// Name of the pod's volume that is looked at.
    pub(super) volume: Option<String>,
    /// What becomes of pods that ask for what ACI cannot enforce.
    pub(super) compatibility: Compatibility,
    /// How the operator can ask the containers.
    pub(super) means: Means,
    /// Whether the shim may be in the group, and what for.
    pub(super) shim: Needs,
    /// What this one asks for of that: why, the first field, and how many more there are.
    not_enforced: BTreeMap<(Unenforced, &'static str), (String, usize)>,
    refusals: Vec<Refusal>,
    notes: Vec<Note>,
    /// Notes that are not kept.
    untold: usize,
}

impl<'a> Review<'a> {
    pub(super) fn new(os: Os, resolved: &'a Resolved) -> Self {
        Self {
            os,
            resolved,
            wanted: BTreeSet::new(),
            unknown: false,
            budget: Budget::full(),
            init: false,
            ends_first: false,
            namespace: String::new(),
            volume: None,
            compatibility: Compatibility::default(),
            means: Means::default(),
            shim: Needs::default(),
            not_enforced: BTreeMap::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            untold: 0,
        }
    }

    /// Takes `amount` of the pod's budget for `what`, which stands at `path`. The first that there is not enough for refuses
    /// the pod; it and what comes after must not be built.
    pub(super) fn spend(
        &mut self,
        of: Of,
        amount: Amount,
        what: &str,
        path: &dyn fmt::Display,
    ) -> Result<(), Exceeded> {
        let taken = self.budget.take(of, amount);
        if let Err(exceeded) = &taken
            && exceeded.first
        {
            self.too_much(exceeded, what, path.to_string());
        }
        taken
    }

    /// Refuses `what` because it is more than there may be.
    pub(super) fn too_much(&mut self, exceeded: &Exceeded, what: &str, path: String) {
        // There are few of these, and they are kept whatever else there is.
        self.refusals.push(Refusal {
            reason: EXCEEDS,
            field: self.place(path),
            message: format!("{what} would be {exceeded}"),
            is_retryable: exceeded.is_retryable,
        });
    }

    /// What the pod refers to at `path`. That it is missing is told once when it is `optional`, else refused until it
    /// appears.
    pub(super) fn object(
        &mut self,
        reference: &Reference,
        optional: bool,
        path: &str,
    ) -> Found<'a, Object> {
        let found = self.look(reference);
        if matches!(found, Found::Absent) {
            self.absent(reference, optional, path);
        }
        found
    }

    /// The claim `name` that the pod refers to at `path`; that it is missing is refused until it appears.
    pub(super) fn claim(&mut self, name: &str, path: &str) -> Found<'a, PersistentVolumeClaim> {
        let reference = Reference::Claim(name.to_owned());
        let found = Found::of(self.resolved.claims.get(name));
        if matches!(found, Found::Absent) {
            self.absent(&reference, false, path);
        }
        self.want(reference);
        found
    }

    /// As [`Review::claim`], a volume.
    pub(super) fn volume(&mut self, name: &str, path: &str) -> Found<'a, PersistentVolume> {
        let reference = Reference::Volume(name.to_owned());
        let found = Found::of(self.resolved.volumes.get(name));
        if matches!(found, Found::Absent) {
            self.absent(&reference, false, path);
        }
        self.want(reference);
        found
    }

    /// Whether everything that the pod refers to, as far as it was looked at, is fetched.
    pub(super) fn all_known(&self) -> bool {
        !self.unknown
    }

    fn absent(&mut self, reference: &Reference, optional: bool, path: &str) {
        let [reason, _] = reference.optional();
        if optional {
            let message = format!("{reference} does not exist; the pod runs without it");
            self.note(reason, path, message);
        } else {
            self.refuse_missing(reference, None, path);
        }
    }

    /// The pod refers to this.
    pub(super) fn want(&mut self, reference: Reference) {
        if self.wanted.contains(&reference) {
            return;
        }
        let what = "what the pod refers to";
        if self
            .spend(Of::References, Amount::own(1), what, &"spec")
            .is_ok()
        {
            self.unknown |= !self.resolved.knows(&reference);
            self.wanted.insert(reference);
        }
    }

    /// As [`Review::object`], in silence.
    pub(super) fn look(&mut self, reference: &Reference) -> Found<'a, Object> {
        self.want(reference.clone());
        Found::of(self.resolved.objects.get(reference))
    }

    /// What the image called `name` says about itself; `None` while that is not read.
    pub(super) fn image(&mut self, name: &str) -> Option<&'a Image> {
        self.want(Reference::Image(name.to_owned()));
        self.resolved.images.get(name).map(AsRef::as_ref)
    }

    /// The entry `key` of what the pod refers to at `path`, as [`Review::object`]; `binary` entries count for files.
    pub(super) fn entry(
        &mut self,
        reference: &Reference,
        key: &str,
        optional: bool,
        binary: bool,
        path: &str,
    ) -> Found<'a, SecretBytes> {
        let object = match self.object(reference, optional, path) {
            Found::Here(object) => object,
            Found::Unknown => return Found::Unknown,
            Found::Absent => return Found::Absent,
        };
        self.key(object, reference, key, optional, binary, path)
            .map_or(Found::Absent, Found::Here)
    }

    /// As [`Review::entry`] of an `object` that is there.
    pub(super) fn key(
        &mut self,
        object: &'a Object,
        reference: &Reference,
        key: &str,
        optional: bool,
        binary: bool,
        path: &str,
    ) -> Option<&'a SecretBytes> {
        let binary = object.binary.get(key).filter(|_| binary);
        let found = object.data.get(key).or(binary);
        if found.is_some() {
            return found;
        }
        if optional {
            let [_, reason] = reference.optional();
            let message = format!("{reference} has no key {key}; the pod runs without it");
            self.note(reason, path, message);
        } else {
            self.refuse_missing(reference, Some(key), path);
        }
        None
    }

    /// One Event; what was told already is not told again for another field.
    pub(super) fn note(&mut self, reason: &'static str, path: &str, message: String) {
        let told = |note: &Note| note.reason == reason && note.message == message;
        if !self.notes.iter().any(told) {
            self.tell(Note {
                field: self.place(path.to_owned()),
                reason,
                message,
            });
        }
    }

    fn tell(&mut self, note: Note) {
        if self.notes.contains(&note) {
            return;
        }
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        } else {
            self.untold += 1;
        }
    }

    /// As [`Review::field`], with the name of what it is about before the verdict's words.
    pub(super) fn named(&mut self, row: &'static str, name: &str, place: &[usize]) {
        match verdict(row, self.os) {
            Some(Verdict::Refused(why)) => self.refuse(path(row, place), format!("{name}: {why}")),
            Some(Verdict::Shim(Without::Refused, why)) if self.shim.forbidden().is_some() => {
                let message = format!("{name}: {}", self.shim.advice(why));
                self.refuse(path(row, place), message);
            }
            _ => {
                self.field(row, true, place);
            }
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
            Some(Verdict::Rejected(reason, why)) => {
                self.refuse_as(reason, path, why.to_owned());
            }
            Some(Verdict::Ignored(_)) => return false,
            Some(Verdict::Mapped) => return true,
            Some(Verdict::Shim(..)) if self.shim.forbidden().is_none() => {
                let field = self.place(path);
                self.shim.need(field);
                return true;
            }
            Some(Verdict::Shim(Without::Refused, why)) => {
                let message = self.shim.advice(why);
                self.refuse(path, message);
            }
            Some(Verdict::Approximated(why) | Verdict::Shim(Without::Approximated, why)) => {
                let note = Note {
                    field: self.place(path),
                    reason: APPROXIMATED,
                    message: why.to_owned(),
                };
                self.tell(note);
                return true;
            }
            Some(Verdict::NotEnforced(what, why)) => match self.compatibility.treatment(what) {
                Treatment::Approximate => {
                    let field = self.place(path);
                    self.not_enforced
                        .entry((what, why))
                        .and_modify(|(_, more)| *more += 1)
                        .or_insert((field, 0));
                    return true;
                }
                Treatment::Refuse => {
                    let message = format!(
                        "{why}, and the connector has such pods refused (spec.compatibility.{}); remove it",
                        what.as_str()
                    );
                    self.refuse(path, message);
                }
            },
        }
        false
    }

    /// As [`Review::at`], of something that changes while the pod runs: whether the shim keeps up with it.
    pub(super) fn updated(&mut self, row: &'static str, path: String) -> bool {
        if !self.shim.may() || self.shim.update_fits {
            return self.at(row, path) && self.shim.may();
        }
        if let Some(Verdict::Shim(_, why)) = verdict(row, self.os) {
            let message =
                format!("{why}; the shim would, and a container group has no room for its volumes");
            self.note(APPROXIMATED, &path, message);
        }
        false
    }

    /// Refuses the field at `path`.
    pub(super) fn refuse(&mut self, path: String, message: String) {
        self.push(NOT_SUPPORTED, path, message);
    }

    /// Refuses the field at `path` for a reason of its own.
    pub(super) fn refuse_as(&mut self, reason: &'static str, path: String, message: String) {
        self.push(reason, path, message);
    }

    /// Refuses a field that is there as its row says, with a kubelet's reason.
    pub(super) fn refuse_row(&mut self, reason: &'static str, row: &'static str, place: &[usize]) {
        if let Some(Verdict::Refused(why)) = verdict(row, self.os) {
            self.refuse_as(reason, path(row, place), why.to_owned());
        } else {
            self.field(row, true, place);
        }
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

    /// Refuses the field at `path` until what it refers to changes.
    pub(super) fn refuse_until_present(
        &mut self,
        reason: &'static str,
        field: String,
        message: String,
    ) {
        let refusal = Refusal {
            reason,
            field: self.place(field),
            message,
            is_retryable: true,
        };
        if self.refusals.len() < MAX_REFUSALS {
            self.refusals.push(refusal);
        }
    }

    fn push(&mut self, reason: &'static str, field: String, message: String) {
        let refusal = Refusal {
            reason,
            field: self.place(field),
            message,
            is_retryable: false,
        };
        // What containers inherit of the pod, each of them refuses.
        if self.refusals.contains(&refusal) {
            return;
        }
        if self.refusals.len() >= MAX_REFUSALS {
            // One that a retry may pass makes room, so that nobody waits for a pod that only a change of it can help.
            if !self.refusals.iter().all(|refusal| refusal.is_retryable) {
                return;
            }
            self.refusals.pop();
        }
        self.refusals.push(refusal);
    }

    /// What the pod asks for and ACI does not enforce, as a list; `None` when there is nothing.
    pub(super) fn not_enforced(&self) -> Option<String> {
        let mut all: Vec<&str> = self
            .not_enforced
            .keys()
            .map(|(it, _)| it.as_str())
            .collect();
        all.dedup();
        (!all.is_empty()).then(|| all.join(","))
    }

    /// The notes and what the pod refers to, or the refusals when there is one.
    pub(super) fn finish(mut self) -> Result<(Vec<Note>, Vec<Reference>), Refusals> {
        if !self.refusals.is_empty() {
            return Err(Refusals(self.refusals));
        }
        let mut all = self.not_enforced.into_iter();
        let named =
            |((_, why), (field, more)): ((Unenforced, &'static str), (String, usize))| match more {
                0 => (field, why),
                more => (format!("{field} (and {more} more)"), why),
            };
        if let Some((field, why)) = all.next().map(named) {
            let mut message = why.to_owned();
            for (field, why) in all.map(named) {
                let _ = write!(message, "; {field}: {why}");
            }
            self.notes.push(Note {
                field,
                reason: NOT_ENFORCED,
                message,
            });
        }
        if let Some((field, message)) = self.shim.told() {
            self.notes.push(Note {
                field,
                reason: SHIM,
                message,
            });
        }
        if self.untold > 0 {
            let message = format!(
                "{} more are not told one by one; docs/pod-support.md has every field",
                self.untold
            );
            self.notes.push(Note {
                field: "spec".to_owned(),
                reason: APPROXIMATED,
                message,
            });
        }
        Ok((self.notes, self.wanted.into_iter().collect()))
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
