//! Container group to pod status, as a kubelet would write it.
//!
//! The functions make the part of a status that a node owns ([`status_patch`] says which); the scheduler's and other
//! controllers' conditions are not in it and survive the patch.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, HostIP, PodIP, PodStatus,
};
use k8s_openapi::jiff::Timestamp;

mod billing;
mod carry_over;
mod conditions;
mod container;
mod events;
mod facts;
mod image;
mod messages;
mod not_started;
mod patch;
mod phase;
mod probed;
mod resources;
mod shim;
mod sources;

pub use events::{EventCursor, GroupEvent, provisioning_failure};
pub use facts::{
    ConditionFacts, ContainerFacts, Deletion, EndStep, Ended, EphemeralContainer, PodFacts, facts,
    termination_grace,
};
pub use messages::{ContainerEnd, MESSAGE_LINES, TerminationMessage, ends_without_message};
pub use not_started::{status_not_started, status_unpulled, status_waiting};
pub use patch::{digest, status_patch};
pub use phase::{GroupPhase, group_phase};
pub use probed::{ProbeTarget, Probed, ProbedContainer, Probing, newly_running, probe_target};
pub use resources::ContainerResources;
pub use shim::{SHIM_NOT_PULLED, shim_not_pulled, shim_of};
pub use sources::{VolumeSources, VolumesUpdated};

use self::conditions::conditions;
use self::container::{Seen, Trouble, is};
use self::events::{line, pull_trouble, pulled};
use self::phase::phase_of;
use super::identity::restarts_before;
use super::policy::RestartPolicy;
use super::time;
use crate::azure::model::{ContainerGroup, Event, GroupProperties, InstanceView};

/// What becomes of an ephemeral container.
pub const NO_EPHEMERAL_CONTAINER: &str =
    "A container cannot be added to a container group that exists; use kubectl exec";

/// Status of a pod whose group was read with its instance view.
///
/// The phase follows from the restart policy and the states of the containers as a kubelet's does, never goes from
/// `Running` back to `Pending`, and never leaves `Succeeded` or `Failed`. A group in [`GroupPhase::ProvisioningFailed`]
/// is shown as it stands; whether the pod fails for it, the caller decides.
pub fn status_of_group(
    facts: &PodFacts,
    group: &ContainerGroup,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    if let Some(trouble) = shim::trouble(group) {
        let (reason, message) = (trouble.reason, trouble.message.as_str());
        if trouble.ended && facts.restart_policy == RestartPolicy::Never {
            return status_failed(facts, Some(group), reason, message, host_ip, now);
        }
        return status_waiting(facts, reason, message, host_ip, now);
    }
    let phase = group_phase(group);
    let mut seen = seen(facts, Some(group));
    let means = facts.probing.means(group);
    for container in seen.init.iter_mut().chain(&mut seen.containers) {
        container.follow_probes(&means);
    }
    let by_containers = phase_of(facts.restart_policy, &seen, false);
    // A group that was stopped after its containers had ended has ended as they did.
    if phase == GroupPhase::Stopped && !matches!(by_containers, "Succeeded" | "Failed") {
        let message = "the container group was stopped in Azure";
        seen.lost(message, now);
        let lives = Lives {
            phase: not_back(facts, "Failed"),
            ready: Ready::Ended,
            seen,
        };
        return lives.status(
            facts,
            Some(("Stopped", message)),
            ip_of(group),
            host_ip,
            now,
        );
    }
    let has_ended = matches!(by_containers, "Succeeded" | "Failed");
    // Until a pod that is being deleted is final its sidecars have their time, and their ends are told.
    let by_containers = if has_ended && facts.is_sidecars_turn() && seen.has_sidecars_at_work() {
        "Running"
    } else {
        by_containers
    };
    if matches!(by_containers, "Succeeded" | "Failed") {
        seen.end_sidecars(now);
    }
    let ready = if phase == GroupPhase::Repairing {
        for container in &mut seen.containers {
            container.ready = false;
        }
        Ready::Not("Azure is moving the container group to another host")
    } else {
        Ready::ByContainers
    };
    let phase = not_back(facts, by_containers);
    Lives { phase, ready, seen }.status(facts, None, ip_of(group), host_ip, now)
}

/// Status of a pod that has ended as `Failed` for a reason of ours; `last_group` is its group as it was last read.
/// Containers that may have run and have not ended are `Terminated` with the kubelet's words for an end that nobody saw.
pub fn status_failed(
    facts: &PodFacts,
    last_group: Option<&ContainerGroup>,
    reason: &str,
    message: &str,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let mut seen = seen(facts, last_group);
    let ran = facts.phase.as_deref() == Some("Running");
    for container in seen.init.iter_mut().chain(&mut seen.containers) {
        if ran || container.has_started() {
            container.lost(message, now);
        }
    }
    let lives = Lives {
        phase: not_back(facts, "Failed"),
        ready: Ready::Ended,
        seen,
    };
    let ip = last_group.and_then(ip_of).or(facts.pod_ip);
    lives.status(facts, Some((reason, message)), ip, host_ip, now)
}

/// Status of a pod whose group vanished from Azure behind our back: `Failed`, reason `ContainerGroupDeleted`. What `last`
/// knew of ended containers stays; no exit code is made up for the others but the kubelet's 137 of an end unseen.
pub fn status_group_gone(
    facts: &PodFacts,
    last: Option<&PodStatus>,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let message = "the container group was deleted in Azure";
    let statuses = |list: fn(&PodStatus) -> Option<&Vec<ContainerStatus>>| {
        last.and_then(list).map(Vec::as_slice).unwrap_or_default()
    };
    let init = statuses(|last| last.init_container_statuses.as_ref());
    let containers = statuses(|last| last.container_statuses.as_ref());
    let mut seen = All::of(facts, |container, kind| {
        let known = if kind == Kind::Init { init } else { containers };
        let status = known.iter().find(|status| *status.name == *container.name);
        Seen::remembered(container, status)
    });
    seen.lost(message, now);
    let lives = Lives {
        phase: "Failed",
        ready: Ready::Ended,
        seen,
    };
    lives.status(
        facts,
        Some(("ContainerGroupDeleted", message)),
        facts.pod_ip,
        host_ip,
        now,
    )
}

/// Status of a pod under `restartPolicy: Always` whose group vanished from Azure behind our back and is made again: its
/// containers wait, with one more restart than the API server has. `facts` learns of it.
pub fn status_group_lost(facts: &mut PodFacts, host_ip: Option<&str>, now: Timestamp) -> PodStatus {
    let restarts = facts.restarts().saturating_add(1);
    for container in facts.all_mut() {
        container.restarts = restarts;
    }
    let message = "the container group was deleted in Azure; another one is made";
    status_waiting(facts, "ContainerGroupDeleted", message, host_ip, now)
}

/// Last status of a deleted pod whose group is gone; `last_group` is the group as it was last read.
///
/// Containers that ran are `Terminated`, those that never started stay `Waiting`; the phase is `Succeeded` when every
/// container had exited 0, else `Failed`, or what the API server has when that is final already (there is nothing to
/// write then: see [`PodFacts::is_final`]).
pub fn status_terminated(
    facts: &PodFacts,
    last_group: Option<&ContainerGroup>,
    host_ip: Option<&str>,
    now: Timestamp,
) -> PodStatus {
    let mut seen = seen(facts, last_group);
    let message = "the container was ended with its pod and its exit code is not known";
    let ran = facts.phase.as_deref() == Some("Running");
    let began = facts.deletion_began().filter(|_| facts.ending.is_some());
    for container in seen.init.iter_mut().chain(&mut seen.containers) {
        if let Some(began) = began {
            container.end_since(began);
        }
        if ran || container.has_started() {
            container.lost(message, now);
        }
    }
    let phase = match phase_of(facts.restart_policy, &seen, true) {
        phase @ ("Succeeded" | "Failed") => phase,
        _ => "Failed",
    };
    let ip = last_group.and_then(ip_of).or(facts.pod_ip);
    let lives = Lives {
        phase: not_back(facts, phase),
        ready: Ready::Ended,
        seen,
    };
    lives.status(facts, None, ip, host_ip, now)
}

/// Whether every container of a pod that is being deleted, sidecars apart, has ended since that was asked for. What ACI has
/// started again meanwhile counts as ended.
pub fn has_ended(facts: &PodFacts, group: &ContainerGroup) -> bool {
    let Some(began) = facts.deletion_began() else {
        return false;
    };
    let mut seen = seen(facts, Some(group));
    seen.containers.iter_mut().all(|container| {
        container.end_since(began);
        container.has_ended()
    })
}

/// The same of its sidecars.
pub fn sidecars_have_ended(facts: &PodFacts, group: &ContainerGroup) -> bool {
    let Some(began) = facts.deletion_began() else {
        return false;
    };
    let mut seen = seen(facts, Some(group));
    let mut sidecars = seen.init.iter_mut().filter(|it| it.is_sidecar());
    sidecars.all(|sidecar| {
        sidecar.end_since(began);
        sidecar.has_ended()
    })
}

/// Whether nothing runs in a group but sidecars of the pod.
pub fn only_sidecars_run(facts: &PodFacts, group: &ContainerGroup) -> bool {
    let running = running_containers(group);
    !running.is_empty()
        && running
            .iter()
            .all(|name| facts.sidecars().any(|it| it == name))
}

/// Names of the containers of a group that run.
pub fn running_containers(group: &ContainerGroup) -> Vec<String> {
    let runs = |container: &&crate::azure::model::Container| {
        let view = container.properties.instance_view.as_ref();
        let state = view.and_then(|view| view.current_state.as_ref());
        state.is_some_and(|state| is(state, "Running"))
    };
    let containers = group.properties.containers.iter();
    containers.filter(runs).map(|it| it.name.clone()).collect()
}

/// Whether a container of a group, init containers apart, has been started as far as its instance view knows.
pub fn containers_have_run(group: &ContainerGroup) -> bool {
    let views = group.properties.containers.iter();
    let mut views = views.filter_map(|it| it.properties.instance_view.as_ref());
    views.any(|view| {
        let current = view.current_state.as_ref();
        let begun = current.is_some_and(|state| is(state, "Running") || is(state, "Terminated"));
        begun || view.previous_state.is_some()
    })
}

/// The statuses of a pod's containers, init containers first.
pub fn container_statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let inits = status.init_container_statuses.iter().flatten();
    inits.chain(status.container_statuses.iter().flatten())
}

/// Whether `status` is the last one: `Succeeded` or `Failed`.
pub fn is_final(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// The phase to report when the API server has that of `facts`: no step back.
fn not_back<'a>(facts: &'a PodFacts, phase: &'a str) -> &'a str {
    match facts.phase.as_deref() {
        Some(last @ ("Succeeded" | "Failed")) => last,
        Some(last @ "Running") if phase == "Pending" => last,
        _ => phase,
    }
}

/// Every container of a pod.
struct All<'a> {
    init: Vec<Seen<'a>>,
    containers: Vec<Seen<'a>>,
}

/// Which list of the pod's spec a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Init,
    Main,
}

impl<'a> All<'a> {
    fn of(facts: &'a PodFacts, see: impl Fn(&'a ContainerFacts, Kind) -> Seen<'a>) -> Self {
        let mut all = Self {
            init: facts
                .init_containers
                .iter()
                .map(|it| see(it, Kind::Init))
                .collect(),
            containers: facts
                .containers
                .iter()
                .map(|it| see(it, Kind::Main))
                .collect(),
        };
        for init in all.init.iter_mut().filter(|init| !init.is_sidecar()) {
            init.ready = init.succeeded();
        }
        if !all.init.is_empty() {
            for container in all.init.iter_mut().chain(&mut all.containers) {
                container.initialising();
            }
        }
        all
    }

    /// Ends the sidecars of a pod that has ended: they are being ended, and no later status says how.
    fn end_sidecars(&mut self, now: Timestamp) {
        let message = "the sidecar is ended with its pod and its exit code is not known";
        let started = |it: &&mut Seen<'_>| it.is_sidecar() && it.has_started();
        for sidecar in self.init.iter_mut().filter(started) {
            sidecar.lost(message, now);
        }
    }

    fn has_sidecars_at_work(&self) -> bool {
        let mut sidecars = self.init.iter().filter(|it| it.is_sidecar());
        sidecars.any(|it| it.has_started() && !it.has_ended())
    }

    /// Ends every container that has not ended, in a way that nobody saw.
    fn lost(&mut self, message: &str, now: Timestamp) {
        for container in self.init.iter_mut().chain(&mut self.containers) {
            container.lost(message, now);
        }
    }
}

/// The containers of `facts` as `group` shows them; all waiting without a group.
fn seen<'a>(facts: &'a PodFacts, group: Option<&ContainerGroup>) -> All<'a> {
    let properties = group.map(|group| &group.properties);
    let trouble =
        properties.and_then(|properties| trouble(&properties.instance_view.as_ref()?.events));
    let before = group.map_or(0, |group| restarts_before(&group.tags));
    let operation = properties.and_then(|properties| properties.provisioning_state.as_deref());
    let is_done = operation.is_some_and(|it| it.eq_ignore_ascii_case("Succeeded"));
    let mut all = All::of(facts, |container, kind| {
        // A sidecar is one of the group's containers.
        let list = if container.sidecar { Kind::Main } else { kind };
        let found = properties.and_then(|properties| find(properties, &container.name, list));
        let (image, view) = found.unzip();
        // ACI restarts an init container only to repeat one that failed, and then only when the policy lets it.
        let policy = match (kind, facts.restart_policy) {
            (Kind::Init, _) if container.sidecar => RestartPolicy::Always,
            (Kind::Init, RestartPolicy::Always) => RestartPolicy::OnFailure,
            (_, policy) => policy,
        };
        let mut seen = Seen::of_view(
            container,
            view.flatten(),
            (policy, before),
            trouble.as_ref(),
        );
        if let Some(image) = image.filter(|it| !it.is_empty()) {
            seen.has_image(image, is_done);
        }
        let pulled = view.flatten().and_then(|view| pulled(&view.events));
        seen.pulled = pulled.map(str::to_owned);
        seen
    });
    for container in all.init.iter_mut().chain(&mut all.containers) {
        container.name_id(&facts.key.uid);
        container.add_messages();
    }
    all
}

/// Image and instance view of a container of the group.
fn find<'g>(
    properties: &'g GroupProperties,
    name: &str,
    kind: Kind,
) -> Option<(&'g str, Option<&'g InstanceView>)> {
    match kind {
        Kind::Init => {
            let mut inits = properties.init_containers.iter();
            let found = &inits.find(|it| it.name == name)?.properties;
            Some((&found.image, found.instance_view.as_ref()))
        }
        Kind::Main => {
            let mut containers = properties.containers.iter();
            let found = &containers.find(|it| it.name == name)?.properties;
            Some((&found.image, found.instance_view.as_ref()))
        }
    }
}

/// The newest event of the group that tells of a failure; ACI marks failures as `Normal` too, so the name decides.
fn trouble(events: &[Event]) -> Option<Trouble> {
    let failure = |event: &&Event| {
        let name = event.name.as_deref().unwrap_or_default();
        name.starts_with("Failed")
            || name.starts_with("Insufficient")
            || name == "BackOff"
            || event.kind.as_deref() == Some("Warning")
    };
    let newest = container::newest(events.iter().filter(failure))?;
    let name = newest
        .name
        .as_deref()
        .unwrap_or_default()
        .trim_end_matches('.');
    let message = newest.message.as_deref().unwrap_or_default();
    let reason = pull_trouble(name, message);
    let message = match (reason, message) {
        (_, "") => name.to_owned(),
        (Some(_), message) => line(message),
        (None, message) => format!("{name}: {}", line(message)),
    };
    Some(Trouble { reason, message })
}

fn ip_of(group: &ContainerGroup) -> Option<IpAddr> {
    group
        .properties
        .ip_address
        .as_ref()?
        .ip
        .as_deref()?
        .parse()
        .ok()
}

/// What decides the `Ready` conditions.
#[derive(Debug, Clone, Copy)]
enum Ready {
    ByContainers,
    /// Not ready whatever the containers say, for this reason.
    Not(&'static str),
    /// The pod has ended.
    Ended,
}

/// The status of an ephemeral container, which has ended before it began: whoever waits for it need not wait longer.
fn impossible(container: &EphemeralContainer) -> ContainerStatus {
    const START_ERROR: i32 = 128;
    let terminated = ContainerStateTerminated {
        exit_code: START_ERROR,
        reason: Some("NotSupportedOnAci".to_owned()),
        message: Some(NO_EPHEMERAL_CONTAINER.to_owned()),
        ..ContainerStateTerminated::default()
    };
    ContainerStatus {
        name: container.name.to_string(),
        image: container.image.to_string(),
        state: Some(ContainerState {
            terminated: Some(terminated),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    }
}

/// A status in the making.
struct Lives<'a> {
    phase: &'a str,
    ready: Ready,
    seen: All<'a>,
}

impl Lives<'_> {
    fn status(
        self,
        facts: &PodFacts,
        reason: Option<(&str, &str)>,
        ip: Option<IpAddr>,
        host_ip: Option<&str>,
        now: Timestamp,
    ) -> PodStatus {
        let conditions = conditions(facts, &self, now);
        let host: Option<IpAddr> = host_ip.and_then(|ip| ip.parse().ok());
        let statuses = |list: Vec<Seen<'_>>| list.into_iter().map(Seen::status).collect::<Vec<_>>();
        let init = statuses(self.seen.init);
        let ephemeral: Vec<_> = facts.ephemeral_containers.iter().map(impossible).collect();
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        PodStatus {
            phase: Some(self.phase.to_owned()),
            reason: reason.and_then(|(reason, _)| text(reason)),
            message: reason.and_then(|(_, message)| text(message)),
            conditions: Some(conditions),
            container_statuses: Some(statuses(self.seen.containers)),
            init_container_statuses: (!init.is_empty()).then_some(init),
            ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
            pod_ip: ip.map(|ip| ip.to_string()),
            pod_ips: ip.map(|ip| vec![PodIP { ip: ip.to_string() }]),
            host_ip: host.map(|ip| ip.to_string()),
            host_ips: host.map(|ip| vec![HostIP { ip: ip.to_string() }]),
            start_time: Some(time::whole(facts.start_time.unwrap_or(now))),
            observed_generation: facts.generation,
            ..PodStatus::default()
        }
    }
}

#[cfg(test)]
mod tests;
