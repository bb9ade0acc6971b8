//! What a look at a group means for its pod, and what is told of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::entry::{Entry, Stage};
use super::{Effect, Now, Operation, PodEvent, cadence};
use crate::azure::model::ContainerGroup;
use crate::kube::events::Origin;
use crate::pods::queue::Weight;
use crate::provider::Failure;
use crate::translate::{
    GroupPhase, group_phase, is_final, provisioning_failure, status_of_group, status_waiting,
};

/// A group that is watched by LIST is looked at by GET this often all the same: only GET shows its events.
pub(super) const BULK_LOOK: Duration = Duration::from_secs(5);

/// What a GET with an instance view means for a pod.
pub(super) fn saw_group(
    entry: &mut Entry,
    now: Now,
    group: &ContainerGroup,
    host_ip: Option<&str>,
    pods: usize,
    bulk: bool,
    fx: &mut Vec<Effect>,
) {
    match &mut entry.stage {
        Stage::Deleting { last } | Stage::Expiring { last } => {
            *last = Some(Box::new(group.clone()));
            fx.push(again(entry));
            return;
        }
        Stage::Clearing => {
            fx.push(again(entry));
            return;
        }
        Stage::Finished { .. } => {
            entry.saw_end(group_phase(group), fx);
            return;
        }
        Stage::Held | Stage::Ensuring | Stage::Refused | Stage::Gone => return,
        Stage::Starting { .. } | Stage::Running { .. } => {}
    }
    let phase = group_phase(group);
    if phase == GroupPhase::ProvisioningFailed {
        emit_group_events(entry, group, fx);
        let (reason, message) = provisioning_failure(group);
        let status = status_waiting(&entry.facts, &reason, &message, host_ip, now.wall);
        entry.write(status, fx);
        if entry.tell_once(fingerprint(&reason, &message)) {
            fx.push(Effect::Emit(PodEvent {
                key: entry.facts.key.clone(),
                warning: true,
                reason,
                message,
                origin: None,
            }));
        }
        entry.stage = Stage::Clearing;
        fx.push(entry.schedule(Operation::Delete, Weight::Change, Duration::ZERO));
        return;
    }
    entry.facts.told.learn(group);
    let status = status_of_group(&entry.facts, group, host_ip, now.wall);
    let ended = is_final(&status);
    let changed = entry.write(status, fx).is_some();
    entry.told_before = None;
    emit_group_events(entry, group, fx);
    if ended {
        entry.finish(phase, changed, fx);
        return;
    }
    let wait = match (&entry.stage, phase) {
        // Still on its way while a list watches many: the list tells when to look again.
        (
            Stage::Starting {
                since, looks: 0, ..
            },
            GroupPhase::Creating,
        ) if bulk && settles(group) => {
            entry.stage = Stage::Starting {
                since: *since,
                looks: 0,
                seen: true,
            };
            BULK_LOOK
        }
        (Stage::Starting { since, looks, .. }, GroupPhase::Creating) => {
            let (since, looks) = (*since, looks.saturating_add(1));
            entry.stage = Stage::Starting {
                since,
                looks,
                seen: true,
            };
            cadence::starting(looks, now.mono.saturating_sub(since))
        }
        (Stage::Running { stable_since }, _) if !changed => {
            cadence::steady(now.mono.saturating_sub(*stable_since), pods)
        }
        _ => {
            entry.stage = Stage::Running {
                stable_since: now.mono,
            };
            cadence::steady(Duration::ZERO, pods)
        }
    };
    let weight = if matches!(entry.stage, Stage::Starting { .. }) {
        Weight::Fresh
    } else {
        Weight::Steady
    };
    fx.push(entry.schedule(Operation::Observe, weight, wait));
}

/// A group that should be gone is still there: look again, and now and then ask again.
fn again(entry: &Entry) -> Effect {
    let operation = if entry.attempts.is_multiple_of(4) {
        Operation::Delete
    } else {
        Operation::Observe
    };
    entry.schedule(operation, Weight::Retry, cadence::deletion(entry.attempts))
}

fn emit_group_events(entry: &mut Entry, group: &ContainerGroup, fx: &mut Vec<Effect>) {
    for event in entry.told_events.news(group) {
        let key = entry.facts.key.clone();
        let origin = Origin {
            id: event.id(&key.uid),
            first: event.first,
            last: event.last,
            count: event.count,
        };
        fx.push(Effect::Emit(PodEvent {
            key,
            warning: event.warning,
            reason: event.reason,
            message: event.message,
            origin: Some(origin),
        }));
    }
}

pub(super) fn tell(entry: &mut Entry, failure: &Failure, fx: &mut Vec<Effect>) {
    if entry.tell_once(fingerprint(failure.reason, &failure.message)) {
        fx.push(Effect::Emit(PodEvent {
            key: entry.facts.key.clone(),
            warning: true,
            reason: failure.reason.to_string(),
            message: failure.message.clone(),
            origin: None,
        }));
    }
}

fn fingerprint(reason: &str, message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (reason, message).hash(&mut hasher);
    hasher.finish()
}

fn settles(group: &ContainerGroup) -> bool {
    group
        .properties
        .provisioning_state
        .as_deref()
        .is_some_and(is_settling)
}

/// True while a provisioning state says that the group is on its way.
pub(super) fn is_settling(state: &str) -> bool {
    [
        "Pending",
        "Creating",
        "Accepted",
        "Updating",
        "PreProvisioned",
        "NotSpecified",
    ]
    .iter()
    .any(|settling| state.eq_ignore_ascii_case(settling))
}
