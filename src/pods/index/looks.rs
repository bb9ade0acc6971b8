//! What a look at a group means for its pod, and what is told of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use super::entry::{Entry, Stage};
use super::{Effect, Now, Operation, PodEvent, cadence};
use crate::azure::model::ContainerGroup;
use crate::azure::throttle::Pace;
use crate::kube::events::Origin;
use crate::pods::queue::Weight;
use crate::provider::Failure;
use crate::translate::{
    GroupPhase, group_phase, is_final, provisioning_failure, status_of_group, status_waiting,
};

/// A group that is watched by LIST is looked at by GET this often all the same: only GET shows its events.
pub(super) const BULK_LOOK: Duration = Duration::from_secs(5);
/// Reason of a pod whose group is on its way for too long.
const SLOW_START: &str = "AciProvisioningSlow";
/// Tries of a delete or stop that fail for what passes, before the pod's owner is told.
const UNTOLD_TRIES: u32 = 5;
/// API servers keep Events for an hour.
const TELL_AGAIN: Duration = Duration::from_secs(3000);

/// What a GET with an instance view means for a pod.
pub(super) fn saw_group(
    entry: &mut Entry,
    now: Now,
    group: &ContainerGroup,
    host_ip: Option<&str>,
    (pace, bulk): (Pace, bool),
    fx: &mut Vec<Effect>,
) {
    match &mut entry.stage {
        Stage::Deleting { last } | Stage::Expiring { last } => {
            *last = Some(Box::new(group.clone()));
            again(entry, now, fx);
            return;
        }
        Stage::Clearing => {
            again(entry, now, fx);
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
        fx.push(Effect::Unprovisioned(known_reason(&reason)));
        tell_trouble(entry, now, &reason, &message, fx);
        entry.stage = Stage::Clearing;
        entry.failed_starts = entry.failed_starts.saturating_add(1);
        fx.push(entry.schedule(Operation::Delete, Weight::Change, Duration::ZERO));
        return;
    }
    entry.facts.told.learn(group);
    let mut status = status_of_group(&entry.facts, group, host_ip, now.wall);
    if phase == GroupPhase::Running {
        entry.failed_starts = 0;
    }
    if let Stage::Starting { since, .. } = entry.stage
        && phase == GroupPhase::Creating
    {
        let age = now.mono.saturating_sub(since);
        tell_slow_start(entry, now, age, group, &mut status, fx);
    }
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
            cadence::steady(now.mono.saturating_sub(*stable_since), entry.ends(), pace)
        }
        _ => {
            entry.stage = Stage::Running {
                stable_since: now.mono,
            };
            cadence::steady(Duration::ZERO, entry.ends(), pace)
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
fn again(entry: &mut Entry, now: Now, fx: &mut Vec<Effect>) {
    if entry.attempts > cadence::SLOW_DELETION {
        let message = format!(
            "Azure has taken the delete of container group {} and has not done it; it is asked for again now and then. When it \
             lasts for hours, ask Azure support and name the container group",
            entry.group
        );
        tell_trouble(entry, now, "AciDeleteSlow", &message, fx);
    }
    let operation = if cadence::asks_again(entry.attempts) {
        Operation::Delete
    } else {
        Operation::Observe
    };
    fx.push(entry.schedule(operation, Weight::Retry, cadence::deletion(entry.attempts)));
}

/// Says in `status` that a group is on its way for too long. What an init container does for long is no fault of Azure's.
fn tell_slow_start(
    entry: &mut Entry,
    now: Now,
    age: Duration,
    group: &ContainerGroup,
    status: &mut PodStatus,
    fx: &mut Vec<Effect>,
) {
    let inits = status.init_container_statuses.iter_mut().flatten();
    let mut waiting = Vec::new();
    for container in inits.chain(status.container_statuses.iter_mut().flatten()) {
        match container.state.as_mut().and_then(|it| it.waiting.as_mut()) {
            Some(state) => waiting.push(state),
            None => return,
        }
    }
    if !cadence::is_slow_start(age) {
        return;
    }
    // Once known it does not move: the same words are written once.
    let begun = now.wall.checked_sub(age).unwrap_or(now.wall);
    let since = *entry.slow_since.get_or_insert(begun);
    let operation = group.properties.provisioning_state.as_deref();
    let message = format!(
        "Azure has not provisioned container group {} at least since {since:.0} (it says {}). It gives up after 30 minutes, and \
         then the pod is tried again; delete the pod to try at once. When it happens again, ask Azure support and name the \
         container group",
        entry.group,
        operation.unwrap_or("nothing"),
    );
    for state in waiting {
        state.reason = Some(SLOW_START.to_owned());
        state.message = Some(message.clone());
    }
    tell_trouble(entry, now, SLOW_START, &message, fx);
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

/// Tells the pod's owner of a failure.
pub(super) fn tell(entry: &mut Entry, now: Now, failure: &Failure, fx: &mut Vec<Effect>) {
    tell_trouble(entry, now, failure.reason, &failure.message, fx);
}

/// Tells of a delete or stop that failed, unless that passes: ACI is often still busy with the group.
pub(super) fn tell_end(entry: &mut Entry, now: Now, failure: &Failure, fx: &mut Vec<Effect>) {
    if !failure.kind.passes() || entry.attempts >= UNTOLD_TRIES {
        tell(entry, now, failure, fx);
    }
}

/// Tells of a trouble once, and again before the Event of the last time expires.
fn tell_trouble(entry: &mut Entry, now: Now, reason: &str, message: &str, fx: &mut Vec<Effect>) {
    let mut hasher = DefaultHasher::new();
    let turn = now.mono.as_secs() / TELL_AGAIN.as_secs();
    (reason, message, turn).hash(&mut hasher);
    if entry.tell_once(hasher.finish()) {
        fx.push(Effect::Emit(PodEvent {
            key: entry.facts.key.clone(),
            warning: true,
            reason: reason.to_owned(),
            message: message.to_owned(),
            origin: None,
        }));
    }
}

/// `reason` of a failed provisioning as far as it is one of a few: Azure may find new ones.
fn known_reason(reason: &str) -> &'static str {
    ["AciCapacity", "ErrImagePull", "ImagePullBackOff"]
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("ProvisioningFailed")
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
