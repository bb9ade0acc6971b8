//! What the API server says about pods, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::changes::Changes;
use super::entry::{Entry, Stage};
use super::orphans::Orphan;
use super::{Effect, Index, Now, Operation, Presence};
use crate::pods::queue::Weight;
use crate::translate::{PodFacts, PodKey, Told, status_terminated};

impl Index {
    pub(super) fn pod_applied(&mut self, now: Now, facts: PodFacts, fx: &mut Vec<Effect>) {
        let key = facts.key.clone();
        let Some(entry) = self.pods.get_mut(&key) else {
            let group: Arc<str> = (self.group_name.0)(&key).into();
            self.orphans.remove(&key);
            let mut entry = Entry::new(facts, group, !self.is_synced());
            if entry.inherited {
                // A predecessor has told what happened before us, or at least before it wrote the status last. ACI's
                // times are whole seconds.
                let told = |time: Option<Timestamp>| time.map(Told::before).unwrap_or_default();
                entry.told_events = told(now.wall.checked_sub(Duration::from_secs(1)).ok());
                entry.told_before = Some(told(entry.facts.last_transition()));
            }
            self.pods.insert(key.clone(), entry);
            self.decide(now, &key, fx);
            return;
        };
        let was_deleting = entry.facts.deletion.is_some();
        let changed = entry.facts.generation != facts.generation;
        let news = Changes::between(&entry.facts, &facts);
        let foreign = entry.refresh(facts);
        if entry.facts.deletion.is_some() && !was_deleting {
            self.begin_deletion(now, &key, fx);
        } else if changed && matches!(entry.stage, Stage::Refused) {
            entry.attempts = 0;
            entry.stage = Stage::Held;
            self.decide(now, &key, fx);
        } else {
            match entry.stage {
                Stage::Starting { .. } | Stage::Running { .. } => {
                    entry.changed(&news, foreign, fx);
                }
                // What it failed for may just have been mended.
                Stage::Ensuring if changed => {
                    let operation = Operation::Ensure { look_first: true };
                    fx.push(entry.schedule(operation, Weight::Retry, Duration::ZERO));
                }
                Stage::Held if changed => self.decide(now, &key, fx),
                // Somebody else has written after us: there is no word of our own to wait for.
                Stage::Finished { stop: true } if foreign => entry.stop(fx),
                _ => {}
            }
        }
    }

    /// Chooses the first step of a pod that is held.
    pub(super) fn decide(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        if !self.is_synced() {
            return;
        }
        let suspended = self.suspended;
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        if !matches!(entry.stage, Stage::Held) {
            return;
        }
        if entry.facts.deletion.is_some() {
            self.begin_deletion(now, key, fx);
        } else if entry.facts.is_final() {
            entry.stage = Stage::Finished { stop: false };
        } else if entry.is_overdue(now) && entry.inherited {
            // It may have ended in time.
            entry.stage = Stage::Starting {
                since: now.mono,
                looks: 0,
                seen: false,
            };
            fx.push(entry.schedule(Operation::Observe, Weight::Change, Duration::ZERO));
        } else if entry.is_overdue(now) {
            self.expire(now, key, fx);
        } else if suspended {
            fx.extend(entry.schedule_deadline(now));
        } else {
            entry.stage = Stage::Ensuring;
            let look_first = entry.inherited;
            fx.push(entry.schedule(
                Operation::Ensure { look_first },
                Weight::Change,
                Duration::ZERO,
            ));
        }
    }

    pub(super) fn begin_deletion(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let synced = self.is_synced();
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        entry.attempts = 0;
        entry.refused_for = None;
        if matches!(entry.stage, Stage::Ensuring) && entry.in_line.is_some() {
            self.leave_line(key, fx);
            return;
        }
        let nothing_made = match entry.stage {
            Stage::Held => synced && !entry.inherited,
            Stage::Refused => true,
            Stage::Gone => return,
            Stage::Ensuring
            | Stage::Starting { .. }
            | Stage::Running { .. }
            | Stage::Finished { .. }
            | Stage::Clearing
            | Stage::Expiring { .. }
            | Stage::Deleting { .. } => false,
        };
        if nothing_made {
            self.group_gone(now, key, fx);
        } else if synced {
            entry.stage = Stage::Deleting { last: None };
            fx.push(entry.schedule(Operation::Delete, Weight::Change, Duration::ZERO));
        }
    }

    /// The group of a pod that is being deleted is gone: last status, then the API object.
    pub(super) fn group_gone(&mut self, now: Now, key: &PodKey, fx: &mut Vec<Effect>) {
        let host_ip = self.host_ip.clone();
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        let ran = entry.has_group();
        let stage = std::mem::replace(&mut entry.stage, Stage::Gone);
        entry.attempts = 0;
        let last = match stage {
            Stage::Deleting { last } => last,
            _ => None,
        };
        let written = if ran && !entry.facts.is_final() {
            let status =
                status_terminated(&entry.facts, last.as_deref(), host_ip.as_deref(), now.wall);
            entry.write(status, fx)
        } else {
            None
        };
        if written.is_none() {
            fx.push(entry.schedule(Operation::Remove, Weight::Change, Duration::ZERO));
        }
        self.room(fx);
    }

    pub(super) fn status_written(&mut self, key: &PodKey, digest: u64, fx: &mut Vec<Effect>) {
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        if !entry.is_current(digest) {
            return;
        }
        match entry.stage {
            Stage::Gone => {
                fx.push(entry.schedule(Operation::Remove, Weight::Change, Duration::ZERO));
            }
            Stage::Finished { stop: true } => entry.stop(fx),
            _ => {}
        }
    }

    pub(super) fn removed(&mut self, key: &PodKey, done: bool, fx: &mut Vec<Effect>) {
        if let Some(entry) = self.pods.get_mut(key)
            && !done
        {
            entry.attempts = entry.attempts.saturating_add(1);
            let wait = super::cadence::retry(entry.attempts, Duration::from_secs(30));
            fx.push(entry.schedule(Operation::Remove, Weight::Retry, wait));
        }
    }

    pub(super) fn pod_gone(&mut self, key: &PodKey, fx: &mut Vec<Effect>) {
        let Some(entry) = self.pods.remove(key) else {
            return;
        };
        match entry.stage {
            Stage::Held | Stage::Refused | Stage::Gone => fx.push(Effect::Forget(key.clone())),
            Stage::Expiring { .. } | Stage::Deleting { .. } => {
                self.orphans
                    .insert(key.clone(), Orphan::deleting(entry.group));
            }
            Stage::Ensuring
            | Stage::Starting { .. }
            | Stage::Running { .. }
            | Stage::Finished { .. }
            | Stage::Clearing => {
                fx.push(entry.schedule(Operation::Confirm, Weight::Change, Duration::ZERO));
                self.orphans
                    .insert(key.clone(), Orphan::confirming(entry.group));
            }
        }
    }

    pub(super) fn pods_synced(&mut self, now: Now, fx: &mut Vec<Effect>) {
        if self.lists.pods {
            return;
        }
        self.lists.pods = true;
        self.decide_all(now, fx);
    }

    pub(super) fn set_suspended(&mut self, now: Now, suspended: bool, fx: &mut Vec<Effect>) {
        self.suspended = suspended;
        if !suspended {
            self.decide_all(now, fx);
        }
    }

    pub(super) fn decide_all(&mut self, now: Now, fx: &mut Vec<Effect>) {
        let held: Vec<PodKey> = self
            .pods
            .iter()
            .filter(|(_, entry)| matches!(entry.stage, Stage::Held))
            .map(|(key, _)| key.clone())
            .collect();
        for key in held {
            self.decide(now, &key, fx);
        }
    }

    pub(super) fn confirmed(&mut self, key: &PodKey, presence: Presence, fx: &mut Vec<Effect>) {
        self.orphan_confirmed(key, presence, fx);
    }
}
