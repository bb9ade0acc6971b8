//! What a status that is on its way changes in the record of its pod.
//!
//! Until the echo of a write comes back on the watch, the record must already know it: the next status keeps the
//! transition times and the start time of this one.

use k8s_openapi::api::core::v1::PodStatus;

use super::facts::{ConditionFacts, PodFacts};

impl PodFacts {
    /// Takes over what `status` says, as if the API server had it.
    pub fn remember(&mut self, status: &PodStatus) {
        self.phase = status.phase.as_deref().map(Into::into);
        if let Some(start) = &status.start_time {
            self.start_time = Some(start.0);
        }
        self.pod_ip = status.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
        let mut conditions: Vec<ConditionFacts> = self.conditions.to_vec();
        for written in status.conditions.iter().flatten() {
            conditions.retain(|condition| *condition.kind != *written.type_);
            conditions.push(ConditionFacts {
                kind: written.type_.as_str().into(),
                status: written.status.as_str().into(),
                reason: written.reason.as_deref().map(Into::into),
                last_transition: written.last_transition_time.as_ref().map(|time| time.0),
            });
        }
        self.conditions = conditions.into();
    }

    /// Keeps what `newer` remembers of the status, when this record was read before `newer`'s status was written.
    pub fn recall(&mut self, newer: &PodFacts) {
        self.phase.clone_from(&newer.phase);
        self.start_time = newer.start_time.or(self.start_time);
        self.pod_ip = newer.pod_ip;
        self.conditions.clone_from(&newer.conditions);
    }
}
