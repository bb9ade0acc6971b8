//! What Azure says about groups, and what follows from it.

use std::time::Duration;

use super::entry::Stage;
use super::looks::{BULK_LOOK, is_settling, saw_group, tell, tell_end};
use super::{BULK_THRESHOLD, Effect, Index, Now, Operation, PodEvent, cadence};
use crate::azure::model::ContainerGroup;
use crate::pods::queue::Weight;
use crate::provider::{Deleted, Ensured, Failure, FailureKind, Listing};
use crate::translate::{
    PodKey, status_group_gone, status_of_group, status_unpulled, status_waiting,
};

/// The first lists look for orphans soon after the start, later ones rarely.
const EARLY_SWEEP: Duration = Duration::from_secs(30);
const EARLY: Duration = Duration::from_secs(90);
const SWEEP: Duration = Duration::from_secs(300);
/// A group may be missing from GET for this long after its PUT.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

impl Index {
    pub(super) fn groups_listed(&mut self, now: Now, listing: &Listing, fx: &mut Vec<Effect>) {
        let groups = &listing.groups;
        self.list_failures = 0;
        let first = !self.lists.groups;
        self.lists.groups = true;
        self.note_orphans(now.mono.saturating_sub(listing.age), groups, fx);
        for summary in groups {
            let Some(entry) = self.pods.get_mut(&summary.key) else {
                continue;
            };
            match entry.stage {
                // A group that was there before us: adopt it under the name it has.
                Stage::Held if entry.facts.deletion.is_none() => {
                    entry.group = summary.name.as_str().into();
                    let finished = entry.facts.is_final();
                    if finished {
                        entry.stage = Stage::Finished { stop: false };
                        fx.extend(entry.look_at_end());
                    } else {
                        entry.stage = Stage::Starting {
                            since: now.mono,
                            looks: 0,
                            seen: true,
                        };
                        // Of many that still start, the next list tells which have come further.
                        let settling = is_settling(&summary.provisioning_state);
                        let wait = if settling && groups.len() > BULK_THRESHOLD {
                            BULK_LOOK
                        } else {
                            Duration::ZERO
                        };
                        fx.push(entry.schedule(Operation::Observe, Weight::Fresh, wait));
                    }
                }
                Stage::Starting { looks: 0, .. } if !is_settling(&summary.provisioning_state) => {
                    fx.push(entry.schedule(Operation::Observe, Weight::Fresh, Duration::ZERO));
                }
                _ => {}
            }
        }
        if first {
            self.decide_all(now, fx);
        }
        self.plan_next_list(now, listing.all, fx);
    }

    fn plan_next_list(&mut self, now: Now, groups: usize, fx: &mut Vec<Effect>) {
        let many = self.starting_unseen() > BULK_THRESHOLD;
        if self.bulk_listing && !many {
            for entry in self.pods.values() {
                if let Stage::Starting {
                    since, looks: 0, ..
                } = entry.stage
                {
                    let wait = cadence::starting(0, now.mono.saturating_sub(since));
                    fx.push(entry.schedule(Operation::Observe, Weight::Fresh, wait));
                }
            }
        }
        self.bulk_listing = many;
        let after = if many {
            cadence::bulk(groups)
        } else if now.mono < EARLY || self.orphaned() > 0 {
            EARLY_SWEEP
        } else {
            SWEEP
        };
        fx.push(Effect::List { after });
    }

    fn starting_unseen(&self) -> usize {
        self.pods
            .values()
            .filter(|entry| matches!(entry.stage, Stage::Starting { looks: 0, .. }))
            .count()
    }

    pub(super) fn list_failed(&mut self, failure: &Failure, fx: &mut Vec<Effect>) {
        self.list_failures = self.list_failures.saturating_add(1);
        fx.push(Effect::List {
            after: cadence::after_failure(failure, self.list_failures),
        });
    }

    pub(super) fn ensured(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<Ensured, Failure>,
        fx: &mut Vec<Effect>,
    ) {
        if self.orphan_ensured(key) {
            return;
        }
        if result.is_ok() {
            self.accepted(key, fx);
        }
        let host_ip = self.host_ip.clone();
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        let waits = matches!(&result, Err(failure) if failure.kind == FailureKind::InLine);
        if !matches!(entry.stage, Stage::Ensuring) {
            // A create that was on its way when the pod's end began: there may be a group now.
            if !waits {
                entry.in_line = None;
            }
            return;
        }
        if !waits {
            entry.in_line = None;
        }
        match result {
            Ok(ensured) => {
                entry.attempts = 0;
                entry.slow_since = None;
                entry.inherited = false;
                for note in &ensured.notes {
                    fx.push(Effect::Emit(PodEvent {
                        key: key.clone(),
                        warning: false,
                        reason: note.reason.to_string(),
                        message: format!("{}: {}", note.field, note.message),
                        origin: None,
                    }));
                }
                entry.stage = Stage::Starting {
                    since: now.mono,
                    looks: 0,
                    seen: false,
                };
                entry.facts.told.learn(&ensured.group);
                let status =
                    status_of_group(&entry.facts, &ensured.group, host_ip.as_deref(), now.wall);
                entry.write(status, fx);
                if self.starting_unseen() > BULK_THRESHOLD {
                    if !self.bulk_listing {
                        self.bulk_listing = true;
                        fx.push(Effect::List {
                            after: cadence::bulk(0),
                        });
                    }
                    if let Some(entry) = self.pods.get(key) {
                        fx.push(entry.schedule(Operation::Observe, Weight::Fresh, BULK_LOOK));
                    }
                } else if let Some(entry) = self.pods.get(key) {
                    fx.push(entry.schedule(
                        Operation::Observe,
                        Weight::Fresh,
                        cadence::starting(0, Duration::ZERO),
                    ));
                }
            }
            Err(failure) if waits => entry.wait_in_line(now, &failure, host_ip.as_deref(), fx),
            Err(failure) => self.not_ensured(now, key, &failure, fx),
        }
    }

    fn not_ensured(&mut self, now: Now, key: &PodKey, failure: &Failure, fx: &mut Vec<Effect>) {
        let host_ip = self.host_ip.clone();
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        entry.attempts = entry.attempts.saturating_add(1);
        entry.refused(failure);
        let (facts, message, host_ip) = (&entry.facts, &failure.message, host_ip.as_deref());
        let status = if failure.kind == FailureKind::Image {
            status_unpulled(facts, entry.attempts > 1, message, host_ip, now.wall)
        } else {
            status_waiting(facts, failure.reason, message, host_ip, now.wall)
        };
        entry.write(status, fx);
        tell(entry, now, failure, fx);
        if failure.kind == FailureKind::Refused {
            entry.stage = Stage::Refused;
            fx.extend(entry.schedule_deadline(now));
            return;
        }
        let look_first = entry.inherited || failure.kind.leaves_doubt();
        entry.inherited = look_first;
        let crowd = self.crowd(failure.reason);
        if let Some(entry) = self.pods.get(key) {
            let wait = cadence::after_refusal(failure, entry.attempts, crowd);
            fx.push(entry.schedule(Operation::Ensure { look_first }, Weight::Retry, wait));
        }
    }

    pub(super) fn observed(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<Option<Box<ContainerGroup>>, Failure>,
        fx: &mut Vec<Effect>,
    ) {
        let exists = result.as_ref().ok().map(Option::is_some);
        if self.orphan_observed(key, exists, fx) {
            return;
        }
        if exists.is_some() {
            self.accepted(key, fx);
        }
        let pace = self.pace;
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        match result {
            Ok(Some(group)) => {
                entry.attempts = match entry.stage {
                    Stage::Deleting { .. } | Stage::Expiring { .. } | Stage::Clearing => {
                        entry.attempts.saturating_add(1)
                    }
                    Stage::Finished { .. } => entry.attempts,
                    _ => 0,
                };
                let bulk = self.bulk_listing;
                let host_ip = self.host_ip.as_deref();
                saw_group(entry, now, &group, host_ip, (pace, bulk), fx);
            }
            Ok(None) => {
                if matches!(entry.stage, Stage::Starting { .. } | Stage::Running { .. }) {
                    entry.attempts = 0;
                }
                self.saw_nothing(now, key, fx);
            }
            Err(failure) => {
                entry.attempts = entry.attempts.saturating_add(1);
                entry.refused(&failure);
                let lasts = !failure.kind.passes();
                if lasts {
                    tell(entry, now, &failure, fx);
                }
                let operation = match entry.stage {
                    // Where no look is had the delete says as much, and more: all that was in a resource group which is
                    // gone is gone.
                    Stage::Deleting { .. } | Stage::Expiring { .. } | Stage::Clearing if lasts => {
                        Operation::Delete
                    }
                    _ => Operation::Observe,
                };
                let wait = cadence::after_failure(&failure, entry.attempts);
                fx.push(entry.schedule(operation, Weight::Retry, wait));
            }
        }
    }

    fn saw_nothing(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let host_ip = self.host_ip.clone();
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        match entry.stage {
            Stage::Deleting { .. } => self.group_gone(now, key, fx),
            Stage::Expiring { .. } => self.expired(now, key, fx),
            Stage::Clearing => {
                entry.stage = Stage::Ensuring;
                entry.attempts = 0;
                let wait = cadence::provision(entry.failed_starts);
                fx.push(entry.schedule(
                    Operation::Ensure { look_first: true },
                    Weight::Retry,
                    wait,
                ));
            }
            Stage::Starting {
                since,
                looks,
                seen: false,
            } => {
                let age = now.mono.saturating_sub(since);
                if age < APPEARS_WITHIN {
                    entry.stage = Stage::Starting {
                        since,
                        looks: looks.saturating_add(1),
                        seen: false,
                    };
                    fx.push(entry.schedule(
                        Operation::Observe,
                        Weight::Fresh,
                        cadence::starting(looks, age),
                    ));
                } else {
                    entry.stage = Stage::Ensuring;
                    fx.push(entry.schedule(
                        Operation::Ensure { look_first: true },
                        Weight::Retry,
                        Duration::ZERO,
                    ));
                }
            }
            Stage::Starting { seen: true, .. } | Stage::Running { .. } => {
                entry.stage = Stage::Finished { stop: false };
                let status = status_group_gone(&entry.facts, None, host_ip.as_deref(), now.wall);
                entry.write(status, fx);
                fx.push(Effect::Emit(PodEvent {
                    key: key.clone(),
                    warning: true,
                    reason: "ContainerGroupDeleted".to_string(),
                    message:
                        "The container group of this pod was deleted in Azure by somebody else"
                            .to_string(),
                    origin: None,
                }));
            }
            Stage::Held
            | Stage::Ensuring
            | Stage::Refused
            | Stage::Finished { .. }
            | Stage::Gone => {}
        }
    }

    pub(super) fn deleted(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<Deleted, Failure>,
        fx: &mut Vec<Effect>,
    ) {
        if self.orphan_deleted(key, &result, fx) {
            return;
        }
        if result.is_ok() {
            self.accepted(key, fx);
        }
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        match result {
            Ok(Deleted::Absent) => self.saw_nothing(now, key, fx),
            Ok(Deleted::Accepted(group)) => {
                if let Stage::Deleting { last } | Stage::Expiring { last } = &mut entry.stage {
                    *last = group.or(last.take());
                }
                fx.push(entry.schedule(Operation::Observe, Weight::Change, Duration::ZERO));
            }
            Err(failure) if failure.kind == FailureKind::InLine => {
                entry.wait_to_delete(now, &failure, fx);
            }
            Err(failure) => {
                entry.attempts = entry.attempts.saturating_add(1);
                entry.refused(&failure);
                tell_end(entry, now, &failure, fx);
                let wait = cadence::after_failure(&failure, entry.attempts);
                fx.push(entry.schedule(Operation::Delete, Weight::Retry, wait));
            }
        }
    }
}
