//! What a status that is on its way changes in the record of its pod.
//!
//! Until the echo of a write comes back on the watch, the record must already know it: the next status keeps the
//! transition times and the start time of this one.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::facts::{ConditionFacts, ContainerFacts, Ended, PodFacts, Run, image_id, running_since};

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
        remember_states(&mut self.containers, status.container_statuses.as_deref());
        remember_states(
            &mut self.init_containers,
            status.init_container_statuses.as_deref(),
        );
    }

    /// Keeps what `older` knows and the API server does not tell, or tells late: what the pod was told, how far its end has come,
    /// and what is known of the runs of its containers, their hooks, probes and termination messages.
    pub fn keep_unwritten(&mut self, older: &mut PodFacts) {
        self.told = std::mem::take(&mut older.told);
        self.ending = self.ending.max(older.ending);
        self.probing = older.probing;
        for container in self.all_mut() {
            let Some(known) = older.container_mut(&container.name) else {
                continue;
            };
            let runs = [known.last_run, container.last_run];
            container.last_run = runs.into_iter().flatten().max_by_key(|run| run.began);
            container.hook_of = known.hook_of.take();
            if known.probed.is_some() {
                container.probed = known.probed.take();
            }
            if !known.messages.is_empty() {
                container.messages = std::mem::take(&mut known.messages);
            }
        }
    }

    /// Keeps what `newer` remembers of the status, when this record was read before `newer`'s status was written.
    pub fn recall(&mut self, newer: &PodFacts) {
        self.phase.clone_from(&newer.phase);
        self.start_time = newer.start_time.or(self.start_time);
        self.pod_ip = newer.pod_ip;
        self.conditions.clone_from(&newer.conditions);
        recall_states(&mut self.containers, &newer.containers);
        recall_states(&mut self.init_containers, &newer.init_containers);
    }
}

fn remember_states(containers: &mut [ContainerFacts], statuses: Option<&[ContainerStatus]>) {
    for container in containers {
        let status = statuses
            .unwrap_or_default()
            .iter()
            .find(|status| *status.name == *container.name);
        container.ended = status.and_then(Ended::of);
        container.restarts = status.map_or(0, |status| status.restart_count.max(0));
        container.running = status.and_then(running_since);
        container.last_run = status.and_then(Run::of).or(container.last_run);
        let known = container.image_id.take();
        container.image_id = status.and_then(image_id).or(known);
    }
}

fn recall_states(containers: &mut [ContainerFacts], newer: &[ContainerFacts]) {
    for container in containers {
        let found = newer.iter().find(|it| it.name == container.name);
        container.ended = found.and_then(|it| it.ended.clone());
        container.restarts = found.map_or(0, |it| it.restarts);
        container.running = found.and_then(|it| it.running);
        container.last_run = found.and_then(|it| it.last_run);
        container.image_id = found.and_then(|it| it.image_id.clone());
    }
}
