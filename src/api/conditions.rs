//! The connector's conditions: their types, their reasons, and the rules by which a new list follows from the old.
//!
//! The rules are those that kstatus (Flux, Helm, `kubectl wait`) reads a status by:
//! `Ready` sums up; `Stalled` and `Reconciling` are present only while True, and never both; a transition time moves
//! only with its status; every condition names the generation it is about.

mod words;

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use words::*;

/// Longest message, in characters, so that `kubectl get -o wide` stays readable.
pub const MAX_MESSAGE: usize = 512;

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Not known.
    Unknown,
}

impl Status {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as this reconcile wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// One of the types above.
    pub type_: Cow<'static, str>,
    /// Its status.
    pub status: Status,
    /// One of [`reason`].
    pub reason: Cow<'static, str>,
    /// What is wrong, on what, and what to do. [`merge`] makes it one line of at most [`MAX_MESSAGE`] characters
    /// without a trailing period. No secrets, and nothing that moves by itself.
    pub message: String,
}

impl Wanted {
    /// A condition with this status.
    pub fn new(
        type_: &'static str,
        status: Status,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_: type_.into(),
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// A condition that holds.
    pub fn yes(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(type_, Status::True, reason, message)
    }

    /// A condition that does not hold.
    pub fn no(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(type_, Status::False, reason, message)
    }

    /// A condition that is not known.
    pub fn unknown(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(type_, Status::Unknown, reason, message)
    }

    /// The condition of this type as it was, to keep it: `Ready` of a suspended connector. `None` if there was none.
    pub fn kept(previous: &[Condition], type_: &str) -> Option<Self> {
        find(previous, type_).map(|old| Self {
            type_: old.type_.clone().into(),
            status: match old.status.as_str() {
                "True" => Status::True,
                "False" => Status::False,
                _ => Status::Unknown,
            },
            reason: old.reason.clone().into(),
            message: old.message.clone(),
        })
    }
}

/// The condition of this type, if there is one.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// The list of conditions to write. It is exactly what is wanted, so a type that is not wanted any more goes away.
///
/// * Sorted: `Ready`, then `Stalled` or `Reconciling`, then the rest by name; so the list never flaps.
/// * `Stalled` and `Reconciling` are kept only while True, and `Stalled` wins over `Reconciling`.
/// * `lastTransitionTime` is `now` for a new or changed status, else the previous one.
/// * `observedGeneration` is `generation` on each.
/// * Of two wanted conditions of one type the first counts.
pub fn merge(
    previous: &[Condition],
    wanted: Vec<Wanted>,
    generation: i64,
    now: &Time,
) -> Vec<Condition> {
    let is_abnormal = |want: &Wanted| want.type_ == STALLED || want.type_ == RECONCILING;
    let stalled = wanted
        .iter()
        .any(|want| want.type_ == STALLED && want.status == Status::True);

    let mut next: Vec<Condition> = Vec::with_capacity(wanted.len());
    for want in wanted {
        let idle = is_abnormal(&want) && want.status != Status::True;
        let outdone = stalled && want.type_ == RECONCILING;
        if idle || outdone || find(&next, &want.type_).is_some() {
            continue;
        }
        let unchanged =
            find(previous, &want.type_).filter(|old| old.status == want.status.as_str());
        next.push(Condition {
            last_transition_time: unchanged
                .map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
            message: message(&want.message),
            observed_generation: Some(generation),
            reason: want.reason.into_owned(),
            status: want.status.as_str().to_owned(),
            type_: want.type_.into_owned(),
        });
    }
    next.sort_by(|a, b| (rank(&a.type_), &a.type_).cmp(&(rank(&b.type_), &b.type_)));
    next
}

fn rank(type_: &str) -> u8 {
    match type_ {
        READY => 0,
        STALLED => 1,
        RECONCILING => 2,
        _ => 3,
    }
}

/// One line, no trailing period, at most [`MAX_MESSAGE`] characters with an ellipsis where it was cut.
fn message(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.');
    if line.chars().count() <= MAX_MESSAGE {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(MAX_MESSAGE - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests;
