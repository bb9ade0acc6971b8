//! The groups of pods that have ended: they are kept for their logs, and must not bill.
//!
//! A group whose containers have all ended by themselves bills nothing, and a stop has no effect on it (Azure: "Manually
//! stop or start containers in Azure Container Instances"), so nothing is called. Two things can still run: a group whose
//! pod has ended by other rules than ACI's, which is stopped at once; and a container that failed under `Never`, which
//! the platform may start again (Azure: "Run containerized tasks with restart policies"). The latter is looked for, rarely
//! and more and more rarely, and stopped when it is seen. A stopped group starts only by somebody's hand and costs no look.

use std::time::Duration;

use super::entry::{Entry, Stage};
use super::looks::tell_end;
use super::{Effect, Index, Now, Operation, cadence};
use crate::pods::queue::Weight;
use crate::provider::Failure;
use crate::translate::{GroupPhase, PodKey, RestartPolicy};

impl Entry {
    /// The pod has ended with its group in `phase`; `writing` while its last status is on its way.
    pub(super) fn finish(&mut self, phase: GroupPhase, writing: bool, fx: &mut Vec<Effect>) {
        self.attempts = 0;
        let stop = !is_at_rest(phase);
        self.stage = Stage::Finished { stop };
        match (stop, writing) {
            // How it ended is only safe in the API server: a stopped group tells nothing any more.
            (true, true) => {}
            (true, false) => self.stop(fx),
            (false, _) if phase == GroupPhase::Stopped => {}
            (false, _) => fx.extend(self.look_at_end()),
        }
    }

    /// Stops the group.
    pub(super) fn stop(&mut self, fx: &mut Vec<Effect>) {
        self.stage = Stage::Finished { stop: false };
        fx.push(self.schedule(Operation::Stop, Weight::Change, Duration::ZERO));
    }

    /// The next look at the group of a pod that has ended, when the platform might start it again.
    pub(super) fn look_at_end(&mut self) -> Option<Effect> {
        let failed = self.facts.phase.as_deref() == Some("Failed");
        if !failed || self.facts.restart_policy != RestartPolicy::Never {
            return None;
        }
        let wait = cadence::ended(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        Some(self.schedule(Operation::Observe, Weight::Steady, wait))
    }

    /// A look at the group of a pod that has ended.
    pub(super) fn saw_end(&mut self, phase: GroupPhase, fx: &mut Vec<Effect>) {
        match phase {
            GroupPhase::Stopped => {}
            phase if is_at_rest(phase) => fx.extend(self.look_at_end()),
            _ => self.stop(fx),
        }
    }
}

impl Index {
    pub(super) fn stopped(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<(), Failure>,
        fx: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        // Stopped because the delete has to wait; whether that went well or not, the delete goes on.
        if matches!(
            entry.stage,
            Stage::Deleting { .. } | Stage::Expiring { .. } | Stage::Clearing
        ) {
            fx.push(entry.schedule(Operation::Delete, Weight::Change, Duration::ZERO));
            return;
        }
        if !matches!(entry.stage, Stage::Finished { .. }) {
            return;
        }
        entry.attempts = entry.attempts.saturating_add(1);
        match result {
            // The answer says that it was taken; one look says that it is so.
            Ok(()) => {
                let wait = cadence::ended(0);
                fx.push(entry.schedule(Operation::Observe, Weight::Steady, wait));
            }
            Err(failure) => {
                tell_end(entry, now, &failure, fx);
                let wait = cadence::after_failure(&failure, entry.attempts);
                fx.push(entry.schedule(Operation::Stop, Weight::Retry, wait));
            }
        }
    }
}

/// Whether nothing of a group in this phase runs.
fn is_at_rest(phase: GroupPhase) -> bool {
    match phase {
        GroupPhase::Succeeded | GroupPhase::Failed | GroupPhase::Stopped | GroupPhase::Deleting => {
            true
        }
        GroupPhase::Creating
        | GroupPhase::Running
        | GroupPhase::ProvisioningFailed
        | GroupPhase::Repairing => false,
    }
}
