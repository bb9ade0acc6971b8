//! The probes that the operator runs: what they show becomes the pod's status, and a container that fails one is ended. PURE.
//!
//! As a kubelet does it (Kubernetes, "Pod Lifecycle: Container probes"): Ready follows the startup and the readiness probe;
//! a container whose startup or liveness probe fails is ended (`condemned`). While a pod ends only its readiness is probed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use super::record::Record;
use super::stage::Stage;
use super::{Effect, Engine, Now};
use crate::api::Probes;
use crate::azure::model::ContainerGroup;
use crate::translate::{
    PodKey, ProbeKind, ProbeTarget, Probed, Probing, probe_target, status_of_group,
};

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
}

impl Record {
    /// What of the pod is to be probed.
    pub(super) fn probe_target(&self) -> Option<Arc<ProbeTarget>> {
        let pod = self.pod.as_ref()?;
        let target = &pod.probed.as_ref()?.target;
        if self.lives() {
            return Some(Arc::clone(target));
        }
        let readiness = target.while_ending(&pod.facts);
        readiness.filter(|_| self.is_ending()).map(Arc::new)
    }

    /// A poll shows the group of a pod that is to end.
    pub(super) fn saw_probed_end(&mut self, now: Now, group: &ContainerGroup) {
        let Some(pod) = &self.pod else { return };
        let status = status_of_group(&pod.facts, group, pod.host_ip(), now.wall);
        self.saw_probed(group, &status);
    }

    /// The pod's status, from what was seen of its group last.
    fn rewrite(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !matches!(self.stage, Stage::Running { .. }) && !self.is_ending() {
            return;
        }
        let Some(pod) = &mut self.pod else { return };
        let Some(probed) = &pod.probed else { return };
        let status = status_of_group(&pod.facts, &probed.group, pod.host_ip(), now.wall);
        pod.write(status, effects);
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
