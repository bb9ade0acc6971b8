//! What a GET of a group means for its record. Facts only: what follows is for `rules` and `next`.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use super::ending::Ending;
use super::next::MISSING_AGAIN;
use super::on_list::is_settling;
use super::record::{PodRecord, Record};
use super::stage::{Afterwards, Exists, Sidecars, Stage, Why};
use super::{Effect, Engine, Now, cadence};
use crate::azure::model::ContainerGroup;
use crate::provider::Failure;
use crate::translate::{
    GroupPhase, PodKey, RestartPolicy, group_phase, is_final, only_sidecars_run,
    provisioning_failure, running_containers, status_of_group, status_waiting,
};

/// A group may be missing from GET for this long after its PUT.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);
/// Two answers of 404 this far apart are believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(4);
/// Reason of a pod whose group is on its way for too long.
const SLOW_START: &str = "AciProvisioningSlow";

impl Engine {
    /// A GET of a group ended.
    pub(super) fn observed(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<Option<Box<ContainerGroup>>, Failure>,
        effects: &mut Vec<Effect>,
    ) {
        if result.is_ok() {
            self.on_success(now, key);
        }
        let bulk = self.node.bulk_listing;
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        self.touched.push(key.clone());
        let began = record.in_flight.as_ref().map(|flight| flight.began);
        let late = record.land(now);
        match result {
            Ok(group) => {
                record.observed_at = began.or(Some(now.wall));
                if !late {
                    record.poll_now = false;
                    record.not_before = Duration::ZERO;
                }
                match group {
                    Some(group) => record.saw_group(now, group, late, bulk, effects),
                    None if !late => record.saw_nothing(now, effects),
                    // What has happened since is newer.
                    None => {}
                }
            }
            Err(_) if late => {}
            Err(failure) => record.poll_failed(now, &failure, effects),
        }
    }
}

impl Record {
    fn saw_group(
        &mut self,
        now: Now,
        group: Box<ContainerGroup>,
        late: bool,
        bulk: bool,
        effects: &mut Vec<Effect>,
    ) {
        if !late && self.is_ending() {
            self.saw_probed_end(now, &group);
        }
        match &mut self.stage {
            Stage::Removing(removal)
                if removal.looks_first() && !late && has_started(group_phase(&group)) =>
            {
                self.exists = Exists::Yes;
                self.enter(now, Stage::starting(now, true));
                self.saw_active(now, &group, bulk, effects);
            }
            Stage::Removing(removal) => {
                removal.unseen &= late;
                removal.last = Some(group);
                if !late {
                    self.attempts = self.attempts.saturating_add(1);
                    if !self.saw_ending(now, effects) {
                        self.record_slow_deletion(now, effects);
                    }
                }
            }
            // A create has taken effect whose answer was lost.
            Stage::Creating if !late => {
                self.exists = Exists::Yes;
                self.look_first = false;
                self.unheard = false;
                self.enter(now, Stage::starting(now, true));
                self.saw_active(now, &group, bulk, effects);
            }
            Stage::Finished(_) if !late => self.saw_finished(now, group_phase(&group)),
            Stage::Starting { .. } | Stage::Running { .. } => {
                self.exists = Exists::Yes;
                self.missing_since = None;
                self.attempts = 0;
                self.saw_active(now, &group, bulk, effects);
            }
            _ => {}
        }
    }

    /// The group of a pod that should run.
    pub(super) fn saw_active(
        &mut self,
        now: Now,
        group: &ContainerGroup,
        bulk: bool,
        effects: &mut Vec<Effect>,
    ) {
        let name = self.group.clone();
        let Some(pod) = &mut self.pod else { return };
        let phase = group_phase(group);
        if phase == GroupPhase::ProvisioningFailed {
            pod.not_provisioned(now, group, effects);
            self.remove_group(now, Why::Unprovisioned);
            return;
        }
        pod.facts.told.learn(group);
        let mut status = status_of_group(&pod.facts, group, pod.host_ip(), now.wall);
        if pod.sees_starts(&status) {
            status = status_of_group(&pod.facts, group, pod.host_ip(), now.wall);
        }
        if phase == GroupPhase::Running {
            pod.failed_starts = 0;
        }
        if let Stage::Starting { since, .. } = self.stage
            && phase == GroupPhase::Creating
        {
            let age = now.mono.saturating_sub(since);
            pod.record_slow_start(now, age, (&name, group), &mut status, effects);
        }
        let ended = is_final(&status);
        self.saw_probed(group, &status);
        if self.waits_for_logs(now, group, ended) {
            return;
        }
        let Some(pod) = &mut self.pod else { return };
        let changed = pod.write(status, effects);
        pod.events_before = None;
        pod.record_group_events(group, effects);
        if ended {
            self.ended(now, group);
            return;
        }
        self.saw_image(group);
        match &mut self.stage {
            // Still on its way while a list watches many: the list tells when to poll.
            Stage::Starting { polls: 0, seen, .. }
                if phase == GroupPhase::Creating && bulk && settles(group) =>
            {
                *seen = true;
            }
            Stage::Starting { polls, seen, .. } if phase == GroupPhase::Creating => {
                *polls = polls.saturating_add(1);
                *seen = true;
            }
            Stage::Running { .. } if !changed => {}
            _ => {
                self.stage = Stage::Running {
                    stable_since: now.mono,
                }
            }
        }
    }

    /// The pod has ended, and its group is as it is.
    fn ended(&mut self, now: Now, group: &ContainerGroup) {
        let phase = group_phase(group);
        let sidecars = self.facts().filter(|it| only_sidecars_run(it, group));
        let afterwards = if let Some(facts) = sidecars.filter(|_| !is_at_rest(phase)) {
            let sidecars = Sidecars {
                running: running_containers(group),
                until: now.mono + facts.termination_grace,
            };
            if facts.has_pre_stop {
                Afterwards::PreStop(sidecars)
            } else {
                Afterwards::Signal(sidecars)
            }
        } else if !is_at_rest(phase) {
            Afterwards::Stop
        } else if phase == GroupPhase::Stopped || !self.may_be_started_again() {
            Afterwards::Rest
        } else {
            Afterwards::Poll
        };
        self.finish(now, afterwards);
    }

    /// A poll of the group of a pod that has ended. A group whose containers have all ended by themselves bills nothing, and
    /// a stop has no effect on it (Azure: "Manually stop or start containers in Azure Container Instances"). A stopped group
    /// starts only by somebody's hand and costs no poll.
    fn saw_finished(&mut self, now: Now, phase: GroupPhase) {
        match phase {
            GroupPhase::Stopped => self.finish(now, Afterwards::Rest),
            phase if !is_at_rest(phase) && self.drains(now) => {
                self.attempts = self.attempts.saturating_add(1);
            }
            phase if !is_at_rest(phase) => self.finish(now, Afterwards::Stop),
            // Its sidecars have ended in time.
            _ if self.may_be_started_again() && self.is_draining() => {
                self.finish(now, Afterwards::Poll);
            }
            _ if self.may_be_started_again() => self.attempts = self.attempts.saturating_add(1),
            _ => self.finish(now, Afterwards::Rest),
        }
    }

    fn is_draining(&self) -> bool {
        matches!(self.stage, Stage::Finished(Afterwards::Drain(_)))
    }

    /// Whether its sidecars still have time to end.
    fn drains(&self, now: Now) -> bool {
        matches!(self.stage, Stage::Finished(Afterwards::Drain(until)) if now.mono < until)
    }

    /// Whether the platform may start the containers of a pod that has ended (Azure: "Run containerized tasks with restart
    /// policies").
    fn may_be_started_again(&self) -> bool {
        self.facts().is_some_and(|facts| {
            facts.phase.as_deref() == Some("Failed") && facts.restart_policy == RestartPolicy::Never
        })
    }

    /// Azure says that there is no such group.
    fn saw_nothing(&mut self, now: Now, effects: &mut Vec<Effect>) {
        match &mut self.stage {
            // One 404 may be of before the create: the look that precedes the next one is the second.
            Stage::Creating => {
                self.unheard = false;
                self.not_before = now.mono + MISSING_AGAIN;
            }
            Stage::Removing(_) => self.exists = Exists::No,
            Stage::Starting {
                since,
                polls,
                seen: false,
            } => {
                self.attempts = 0;
                if now.mono.saturating_sub(*since) < APPEARS_WITHIN {
                    *polls = polls.saturating_add(1);
                } else {
                    self.look_first = true;
                    self.exists = Exists::Maybe;
                    self.enter(now, Stage::Creating);
                }
            }
            Stage::Starting { .. } | Stage::Running { .. } => {
                self.attempts = 0;
                let since = *self.missing_since.get_or_insert(now.mono);
                if now.mono.saturating_sub(since) >= BELIEVED_AFTER {
                    self.group_lost(now, effects);
                }
            }
            Stage::Finished(_) => {
                self.exists = Exists::No;
                self.finish(now, Afterwards::Rest);
            }
            _ => {}
        }
    }

    fn poll_failed(&mut self, now: Now, failure: &Failure, effects: &mut Vec<Effect>) {
        self.back_off(
            now,
            cadence::after_failure(failure, self.attempts.saturating_add(1)),
        );
        let lasts = !failure.kind.is_transient();
        if let Some(pod) = &mut self.pod {
            pod.refused(failure);
            if lasts {
                pod.record_failure(now, failure, effects);
            }
        }
        // Where no poll is had the delete says as much, and more: all that was in a resource group which is gone is gone.
        if let Stage::Removing(removal) = &mut self.stage
            && lasts
        {
            removal.accepted = false;
            removal.unseen = false;
            // Nor can anything be run or signalled there.
            removal.ending = Ending::Over;
        }
    }

    /// Says that Azure has accepted a delete and does not come to its end.
    fn record_slow_deletion(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.attempts <= cadence::SLOW_DELETION {
            return;
        }
        let message = format!(
            "Azure has taken the delete of container group {} and has not done it; it is asked for again now and then. When it \
             lasts for hours, ask Azure support and name the container group",
            self.group
        );
        if let Some(pod) = &mut self.pod {
            pod.record_trouble(now, "AciDeleteSlow", &message, effects);
        }
    }
}

impl PodRecord {
    /// Azure has failed to provision the group.
    fn not_provisioned(&mut self, now: Now, group: &ContainerGroup, effects: &mut Vec<Effect>) {
        self.record_group_events(group, effects);
        let (reason, message) = provisioning_failure(group);
        let status = status_waiting(&self.facts, &reason, &message, self.host_ip(), now.wall);
        self.write(status, effects);
        effects.push(Effect::Unprovisioned(known_reason(&reason)));
        self.record_trouble(now, &reason, &message, effects);
        self.failed_starts = self.failed_starts.saturating_add(1);
    }

    /// Says in `status` that a group is on its way for too long. What an init container does for long is no fault of Azure's.
    fn record_slow_start(
        &mut self,
        now: Now,
        age: Duration,
        (name, group): (&str, &ContainerGroup),
        status: &mut PodStatus,
        effects: &mut Vec<Effect>,
    ) {
        let inits = status.init_container_statuses.iter_mut().flatten();
        let mut waiting = Vec::new();
        for container in inits.chain(status.container_statuses.iter_mut().flatten()) {
            match container.state.as_mut().and_then(|it| it.waiting.as_mut()) {
                Some(state) => waiting.push(state),
                None => return,
            }
        }
        if !cadence::is_slow_start(age) || has_begun(group) {
            return;
        }
        // Once known it does not move: the same words are written once.
        let begun = now.wall.checked_sub(age).unwrap_or(now.wall);
        let since = *self.slow_since.get_or_insert(begun);
        let operation = group.properties.provisioning_state.as_deref();
        let message = format!(
            "Azure has not provisioned container group {name} at least since {since:.0} (it says {}). It gives up after 30 \
             minutes, and then the pod is tried again; delete the pod to try at once. When it happens again, ask Azure support \
             and name the container group",
            operation.unwrap_or("nothing"),
        );
        for state in waiting {
            state.reason = Some(SLOW_START.to_owned());
            state.message = Some(message.clone());
        }
        self.record_trouble(now, SLOW_START, &message, effects);
    }
}

/// `reason` of a failed provisioning as far as it is one of a few: Azure may find new ones.
fn known_reason(reason: &str) -> &'static str {
    ["AciCapacity", "ErrImagePull", "ImagePullBackOff"]
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("ProvisioningFailed")
}

/// Whether something of the group has run and waits to be started again, which is no matter of provisioning.
fn has_begun(group: &ContainerGroup) -> bool {
    let properties = &group.properties;
    let inits = properties.init_containers.iter();
    let inits = inits.map(|it| it.properties.instance_view.as_ref());
    let containers = properties.containers.iter();
    let containers = containers.map(|it| it.properties.instance_view.as_ref());
    let mut views = inits.chain(containers).flatten();
    views.any(|view| view.previous_state.is_some())
}

fn settles(group: &ContainerGroup) -> bool {
    let state = group.properties.provisioning_state.as_deref();
    state.is_some_and(is_settling)
}

/// Whether a container of a group in this phase has been started.
fn has_started(phase: GroupPhase) -> bool {
    match phase {
        GroupPhase::Running
        | GroupPhase::Succeeded
        | GroupPhase::Failed
        | GroupPhase::Repairing => true,
        GroupPhase::Creating
        | GroupPhase::ProvisioningFailed
        | GroupPhase::Stopped
        | GroupPhase::Deleting => false,
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
