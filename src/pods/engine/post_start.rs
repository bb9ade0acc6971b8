//! `postStart` hooks: run when a container is first seen to run. PURE.
//!
//! As a kubelet does it (Kubernetes, "Container Lifecycle Hooks"): the container counts as started when its hook has ended, and
//! is ended when that failed. A run that is on record in the pod's status was looked after when it began.

use k8s_openapi::api::core::v1::PodStatus;

use super::next::{Next, at};
use super::record::{PodRecord, Record};
use super::stage::Stage;
use super::{Effect, Engine, Now, Operation};
use crate::provider::Unreached;
use crate::translate::{PodFacts, PodKey, newly_running};

impl Engine {
    /// The `postStart` hooks of a pod have ended; those that `failed`.
    pub(super) fn post_start_ended(
        &mut self,
        now: Now,
        key: &PodKey,
        failed: &[Unreached],
        effects: &mut Vec<Effect>,
    ) {
        let Some((record, _)) = self.land(now, key) else {
            return;
        };
        let Some(pod) = &mut record.pod else { return };
        let mut to_end = Vec::new();
        for container in pod.facts.all_mut() {
            let Some(id) = container.hook_of.take() else {
                continue;
            };
            let why = failed.iter().find(|it| it.container == *container.name);
            if let Some(Unreached { why, .. }) = why {
                to_end.push((container.name.clone(), id, why.clone()));
            }
        }
        if !matches!(record.stage, Stage::Running { .. }) {
            return;
        }
        for (name, id, why) in to_end {
            let message = format!("PostStartHook of container {name} failed: {why}");
            let told = record.pod.as_ref();
            effects.extend(told.map(|pod| pod.event(true, "FailedPostStartHook", message)));
            record.condemn(name, id, "FailedPostStartHook", None, effects);
        }
        record.poll_soon();
    }
}

impl PodRecord {
    /// Takes note of the runs in `status` whose hooks are to be run. True when there are some.
    pub(super) fn sees_starts(&mut self, status: &PodStatus) -> bool {
        let mut any = false;
        for container in self.facts.all_mut().filter(|it| it.has_post_start) {
            if let Some(id) = newly_running(container, status) {
                container.hook_of = Some(id.into());
                any = true;
            }
        }
        any
    }
}

impl Record {
    /// Containers whose hooks are to be run, or are being run.
    pub(super) fn hooks_to_run(&self) -> Vec<String> {
        let all = self.facts().into_iter().flat_map(PodFacts::all);
        let due = all.filter(|it| it.hook_of.is_some());
        due.map(|it| it.name.to_string()).collect()
    }
}

/// The hooks of `record` that are to be run, once its status is in the API server: it has the address that they ask, and says
/// that these runs have been looked after.
pub(super) fn run_hooks(record: &Record) -> Option<Next> {
    let names = record.hooks_to_run();
    let due = !names.is_empty() && !record.is_unwritten();
    due.then(|| at(record, Operation::RunPostStart(names)))
}
