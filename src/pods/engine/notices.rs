//! Events about pods, each recorded once. PURE.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::record::PodRecord;
use super::{Effect, Now, PodEvent};
use crate::azure::model::ContainerGroup;
use crate::kube::events::Origin;
use crate::provider::Failure;
use crate::translate::Note;

/// Tries of a delete or stop that fail for what passes, before an Event is recorded.
const SILENT_TRIES: u32 = 5;
/// API servers keep Events for an hour.
const RECORD_AGAIN: Duration = Duration::from_secs(3000);

impl PodRecord {
    /// An Event about the pod.
    pub(super) fn event(&self, warning: bool, reason: &str, message: String) -> Effect {
        Effect::Emit(PodEvent {
            key: self.facts.key.clone(),
            warning,
            reason: reason.to_owned(),
            message,
            origin: None,
        })
    }

    /// What differs in Azure from what the pod asks for.
    pub(super) fn notes(&self, notes: &[Note]) -> Vec<Effect> {
        let event = |note: &Note| {
            let message = format!("{}: {}", note.field, note.message);
            self.event(false, note.reason, message)
        };
        notes.iter().map(event).collect()
    }

    /// Azure's own events about the group that have not been recorded.
    pub(super) fn record_group_events(
        &mut self,
        group: &ContainerGroup,
        effects: &mut Vec<Effect>,
    ) {
        for event in self.events.news(group) {
            let key = self.facts.key.clone();
            let origin = Origin {
                id: event.id(&key.uid),
                first: event.first,
                last: event.last,
                count: event.count,
            };
            effects.push(Effect::Emit(PodEvent {
                key,
                warning: event.warning,
                reason: event.reason,
                message: event.message,
                origin: Some(origin),
            }));
        }
    }

    /// A failure, as a Warning.
    pub(super) fn record_failure(
        &mut self,
        now: Now,
        failure: &Failure,
        effects: &mut Vec<Effect>,
    ) {
        let (reason, message) = failure.event();
        self.record_trouble(now, reason, &message, effects);
    }

    /// A delete or stop that failed for the `attempts`th time, unless that passes: ACI is often still busy with the group.
    pub(super) fn record_failed_end(
        &mut self,
        now: Now,
        failure: &Failure,
        attempts: u32,
        effects: &mut Vec<Effect>,
    ) {
        if !failure.kind.is_transient() || attempts >= SILENT_TRIES {
            self.record_failure(now, failure, effects);
        }
    }

    /// A Warning, once, and again before the Event of the last time expires.
    pub(super) fn record_trouble(
        &mut self,
        now: Now,
        reason: &str,
        message: &str,
        effects: &mut Vec<Effect>,
    ) {
        let mut hasher = DefaultHasher::new();
        let turn = now.mono.as_secs() / RECORD_AGAIN.as_secs();
        (reason, message, turn).hash(&mut hasher);
        if self.record_once(hasher.finish()) {
            effects.push(self.event(true, reason, message.to_owned()));
        }
    }
}
