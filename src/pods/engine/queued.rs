//! Pods whose create or delete waits for Azure's limit.
//!
//! The rate limiter keeps the queue; the engine asks again, writes the queue position into the pod's status, once a minute
//! at most, and calls nothing for what was never sent. A group that is to be deleted and has to wait for long is stopped
//! meanwhile: that does not count as a create or delete, and what is stopped bills nothing (Azure: "Manually stop or start
//! containers in Azure Container Instances").

use std::time::Duration;

use super::record::Record;
use super::stage::{Stage, Stopping};
use super::{Effect, Now, cadence};
use crate::provider::Failure;
use crate::translate::status_waiting;

/// Who waits for less is not told.
const WORTH_TELLING: Duration = Duration::from_secs(10);
/// The queue position is written again after this long, spread by a tenth either way.
const WRITE_AGAIN: Duration = Duration::from_secs(67);
/// A group whose delete has to wait for longer is stopped meanwhile.
const WORTH_STOPPING: Duration = Duration::from_secs(30);

impl Record {
    /// A create waits for its turn.
    pub(super) fn create_queued(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        let wait = failure.retry_after.unwrap_or_default();
        // Not spread: the queue says whose turn it is, and when.
        self.not_before = now.mono + cadence::in_line(wait);
        let seed = self.seed();
        let Some(pod) = &mut self.pod else { return };
        let written_until = pod.queued.unwrap_or_default();
        pod.queued = Some(written_until);
        if wait < WORTH_TELLING || now.mono < written_until {
            return;
        }
        pod.queued = Some(now.mono + cadence::jitter(WRITE_AGAIN, seed));
        let (message, host_ip) = (&failure.message, pod.host_ip.clone());
        let host_ip = host_ip.as_deref();
        let status = status_waiting(&pod.facts, failure.reason, message, host_ip, now.wall);
        pod.write(status, effects);
        if written_until.is_zero() {
            pod.record_failure(now, failure, effects);
        }
    }

    /// A delete waits for its turn.
    pub(super) fn delete_queued(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        let wait = failure.retry_after.unwrap_or_default();
        self.not_before = now.mono + cadence::in_line(wait);
        let Stage::Removing(removal) = &mut self.stage else {
            return;
        };
        if wait >= WORTH_STOPPING && removal.stop == Stopping::No {
            removal.stop = Stopping::Wanted;
            self.not_before = Duration::ZERO;
            if let Some(pod) = &mut self.pod {
                pod.record_failure(now, failure, effects);
            }
        }
    }
}
