//! The probes that the operator runs: what they show becomes the pod's status, and a container that fails one is ended. PURE.
//!
//! As a kubelet does it (Kubernetes, "Pod Lifecycle: Container probes"): Ready follows the startup and the readiness probe;
//! a container whose startup or liveness probe fails gets SIGTERM, and is started again by the restart policy. ACI's exec
//! cannot kill process 1 of a container, so that one which ignores the signal is restarted with its group, if it has that for
//! itself.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use super::next::{MARGIN, Next, at, poll};
use super::record::Record;
use super::stage::Stage;
use super::{Effect, Engine, Now, Operation, cadence};
use crate::api::Probes;
use crate::azure::model::ContainerGroup;
use crate::pods::queue::Priority;
use crate::provider::{Failure, Unreached};
use crate::translate::{
    PodKey, ProbeKind, ProbeTarget, Probed, Probing, RestartPolicy, container_statuses,
    probe_target, status_of_group,
};

/// A group that was restarted has this long to show it.
const RESTARTS_WITHIN: Duration = Duration::from_secs(300);

/// What the probes of a pod have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeNews {
    /// A container counts as started or ready from now on, or no longer.
    Container { name: Box<str>, probed: Probed },
    /// A container has failed its startup or liveness probe and is to end.
    Failed {
        name: Box<str>,
        /// `containerID` of the run that failed.
        id: Box<str>,
        kind: ProbeKind,
        /// What it has to end by itself, where the probe says that.
        grace: Option<Duration>,
    },
    /// The pod's address has answered after all, or does not; why.
    Route(Result<(), String>),
}

/// A container that is to end because it failed a probe, or its hook did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condemned {
    name: Box<str>,
    id: Box<str>,
    grace: Duration,
    polls: u32,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// SIGTERM is to be sent.
    Signal,
    /// It has until this time to end by itself.
    Wait(Duration),
    /// The group is to be restarted.
    Restart,
    /// The group was restarted, and should show it by this time.
    Restarted(Duration),
    /// Nothing more can be done.
    Over,
}

/// What the status of a pod that is probed can be made from at any time.
#[derive(Debug)]
pub(super) struct ProbedPod {
    target: Arc<ProbeTarget>,
    group: Box<ContainerGroup>,
}

impl Engine {
    /// Who runs the probes of the node's pods.
    pub(super) fn set_probes(&mut self, now: Now, probes: Probes, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.node.probes, probes) == probes {
            return;
        }
        for record in self.records.values_mut() {
            let Some(pod) = &mut record.pod else { continue };
            pod.facts.probing = Probing::new(probes);
            // What can be known at once; a poll tells the rest.
            record.rewrite(now, effects);
            if matches!(record.stage, Stage::Running { .. }) {
                record.poll_soon();
            }
            self.touched.push(record.key.clone());
        }
    }

    /// What the probes of a pod have shown.
    pub(super) fn probed(
        &mut self,
        now: Now,
        key: &PodKey,
        news: ProbeNews,
        effects: &mut Vec<Effect>,
    ) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        self.touched.push(key.clone());
        let Some(pod) = &mut record.pod else { return };
        match news {
            ProbeNews::Container { name, probed } => {
                // It may be of a run that is over.
                let target = record.told_probes.iter().flat_map(|it| &it.containers);
                if !target.into_iter().any(|it| it.id == probed.id) {
                    return;
                }
                if let Some(container) = pod.facts.container_mut(&name) {
                    container.probed = Some(probed);
                    record.rewrite(now, effects);
                }
            }
            ProbeNews::Route(reached) => {
                pod.facts.probing.no_route = reached.is_err();
                if let Err(why) = reached {
                    let message = format!(
                        "The operator does not reach the pod, so that its probes by HTTP, TCP and gRPC are not run, and its \
                         containers count as started and ready while they run: {why}"
                    );
                    effects.push(pod.event(true, "ProbesNotRun", message));
                }
                record.rewrite(now, effects);
            }
            ProbeNews::Failed {
                name,
                id,
                kind,
                grace,
            } => {
                let word = kind.as_str().to_lowercase();
                let why = format!("Container {name} failed {word} probe, will be restarted");
                record.condemn(name, id, &why, grace, effects);
            }
        }
    }

    /// A restart of a group ended.
    pub(super) fn restarted(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<(), Failure>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        let Some(condemned) = record.condemned.as_mut().filter(|_| !late) else {
            return;
        };
        match result {
            Ok(()) => {
                condemned.step = Step::Restarted(now.mono + RESTARTS_WITHIN);
                record.poll_soon();
            }
            Err(failure) => record.end_later(now, &failure, effects),
        }
    }
}

impl Record {
    /// What of the pod is to be probed.
    pub(super) fn probe_target(&self) -> Option<&Arc<ProbeTarget>> {
        let probed = self.pod.as_ref()?.probed.as_ref()?;
        self.lives().then_some(&probed.target)
    }

    /// Whether its containers are to go on.
    fn lives(&self) -> bool {
        matches!(self.stage, Stage::Running { .. }) && !self.is_deleting()
    }

    /// The pod's status, from what was seen of its group last.
    fn rewrite(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !matches!(self.stage, Stage::Running { .. }) {
            return;
        }
        let Some(pod) = &mut self.pod else { return };
        let Some(probed) = &pod.probed else { return };
        let status = status_of_group(&pod.facts, &probed.group, pod.host_ip(), now.wall);
        pod.write(status, effects);
    }

    /// The run `id` of a container is to end, and its pod's owner is told `why`.
    pub(super) fn condemn(
        &mut self,
        name: Box<str>,
        id: Box<str>,
        why: &str,
        grace: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) {
        // One after the other: the prober tells again what still fails.
        if self.condemned.is_some() || !self.lives() {
            return;
        }
        let Some(pod) = &self.pod else { return };
        effects.push(pod.event(false, "Killing", why.to_owned()));
        self.condemned = Some(Condemned {
            name,
            id,
            grace: grace.unwrap_or(pod.facts.termination_grace),
            polls: 0,
            step: Step::Signal,
        });
    }

    /// The container that failed a probe has been sent SIGTERM, unless it is `unreached`.
    pub(super) fn condemned_signalled(&mut self, now: Now, unreached: &[Unreached]) {
        let Some(condemned) = &mut self.condemned else {
            return;
        };
        if condemned.step != Step::Signal {
            return;
        }
        condemned.step = if unreached.is_empty() {
            Step::Wait(now.mono + condemned.grace)
        } else {
            Step::Restart
        };
        self.poll_soon();
    }

    /// A poll shows `status`: whether the container that failed a probe has ended.
    fn saw_condemned(&mut self, status: &PodStatus) {
        let Some(condemned) = &mut self.condemned else {
            return;
        };
        condemned.polls = condemned.polls.saturating_add(1);
        let stands = container_statuses(status).any(|it| {
            let runs = it.state.as_ref().is_some_and(|it| it.running.is_some());
            runs && *it.name == *condemned.name
                && it.container_id.as_deref() == Some(&*condemned.id)
        });
        if !stands {
            self.condemned = None;
        }
    }

    /// Remembers what the group of a running pod shows, for as long as its probes need that.
    pub(super) fn saw_probed(&mut self, group: &ContainerGroup, status: &PodStatus) {
        self.saw_condemned(status);
        let Some(pod) = &mut self.pod else { return };
        let target = probe_target(&pod.facts, group, status);
        pod.probed = target.map(|target| {
            let target = match pod.probed.take() {
                Some(known) if *known.target == target => known.target,
                _ => Arc::new(target),
            };
            let group = Box::new(shown(group));
            ProbedPod { target, group }
        });
    }

    /// What follows for a container that failed a probe from time alone.
    pub(super) fn judge_condemned(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(condemned) = &self.condemned else {
            return;
        };
        if !self.lives() {
            self.condemned = None;
            return;
        }
        let is_over = |until| now.mono >= until;
        let why = match (condemned.step, self.restarts_more()) {
            (Step::Restart, Some(more)) => format!("it takes no signal, and {more}"),
            (Step::Wait(until), Some(more)) if is_over(until) => {
                format!("it has ignored SIGTERM, and {more}")
            }
            (Step::Wait(until), None) if is_over(until) => return self.go_on(Step::Restart),
            (Step::Restarted(until), _) if is_over(until) => {
                "Azure has been told to restart its group, and has not done it".to_owned()
            }
            _ => return,
        };
        let message = format!("Container {} could not be ended: {why}", condemned.name);
        if let Some(pod) = &self.pod {
            effects.push(pod.event(true, "FailedKillPod", message));
        }
        self.go_on(Step::Over);
    }

    fn go_on(&mut self, step: Step) {
        if let Some(condemned) = &mut self.condemned {
            condemned.step = step;
        }
    }

    /// Why a restart of the group would do more than to restart one container as the pod allows; `None` when it would not.
    fn restarts_more(&self) -> Option<&'static str> {
        let facts = self.facts()?;
        if facts.restart_policy == RestartPolicy::Never {
            return Some("its group is not restarted under restartPolicy Never");
        }
        let is_alone = facts.all().count() == 1;
        (!is_alone).then_some("Azure restarts no single container of a group")
    }
}

/// What is next for the container of `record` that failed a probe; `None` when nothing is.
pub(super) fn end_container(record: &Record) -> Option<Next> {
    let condemned = record.condemned.as_ref()?;
    match condemned.step {
        Step::Signal => {
            let names = vec![condemned.name.to_string()];
            Some(at(record, Operation::SendSignal(names)))
        }
        Step::Restart => Some(at(record, Operation::RestartGroup)),
        Step::Wait(until) | Step::Restarted(until) => {
            let wait = cadence::ending(condemned.polls);
            let next = poll(record, Priority::Transition, wait);
            let due = next.due.min(until + MARGIN);
            Some(Next { due, ..next })
        }
        Step::Over => None,
    }
}

/// The part of `group` that a status is made from.
fn shown(group: &ContainerGroup) -> ContainerGroup {
    let mut shown = group.clone();
    let properties = &mut shown.properties;
    properties.volumes.clear();
    properties.image_registry_credentials.clear();
    properties.diagnostics = None;
    for container in &mut properties.containers {
        let container = &mut container.properties;
        container.environment_variables.clear();
        container.command.clear();
        container.volume_mounts.clear();
        (container.liveness_probe, container.readiness_probe) = (None, None);
    }
    for init in &mut properties.init_containers {
        let init = &mut init.properties;
        init.environment_variables.clear();
        init.command.clear();
        init.volume_mounts.clear();
    }
    shown
}
