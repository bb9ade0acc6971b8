//! What probes have shown, and which containers of a pod are to be probed.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use k8s_openapi::jiff::Timestamp;

use super::facts::{ContainerFacts, PodFacts, Run, running_since};
use super::{container_statuses, ip_of};
use crate::api::{ProbedBy, Probes};
use crate::azure::model::ContainerGroup;
use crate::translate::probes::{ContainerProbes, Kinds, Means, Ports};

/// What the probes of one run of a container have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// `containerID` of the run.
    pub id: Box<str>,
    pub started: bool,
    pub ready: bool,
}

impl Probed {
    /// What the API server has on record of a container that runs: it holds until a probe shows something else.
    pub fn of(status: &ContainerStatus) -> Option<Self> {
        running_since(status)?;
        Some(Self {
            id: status.container_id.as_deref()?.into(),
            started: status.started == Some(true),
            ready: status.ready,
        })
    }
}

/// `containerID` of a run of this container that `status` shows and that is not on record.
pub fn newly_running<'s>(container: &ContainerFacts, status: &'s PodStatus) -> Option<&'s str> {
    let shown = container_statuses(status).find(|status| *status.name == *container.name)?;
    let before = container.last_run.map(|run| run.began);
    let is_new = Some(Run::of(shown)?.began) > before;
    shown.container_id.as_deref().filter(|_| is_new)
}

/// Which of a pod's probes the operator runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// By the connector.
    pub by: Probes,
    /// The pod's address cannot be reached: nothing is known from there.
    pub no_route: bool,
}

impl Default for Probing {
    /// None.
    fn default() -> Self {
        Self::new(Probes {
            network: ProbedBy::Azure,
            exec: ProbedBy::Azure,
        })
    }
}

impl Probing {
    /// By the connector's word, of a pod that can be reached as far as is known.
    pub fn new(by: Probes) -> Self {
        Self {
            by,
            no_route: false,
        }
    }

    /// What the containers of `group` can be asked by.
    pub(super) fn means(self, group: &ContainerGroup) -> Means {
        let network = if self.no_route {
            Ports::None
        } else {
            ports_of(group)
        };
        Means::of(network).within(self.by)
    }
}

/// The ports of the group that can be dialled, as soon as its address is there: until then nothing is ready by a probe that
/// dials it. In a subnet all can.
fn ports_of(group: &ContainerGroup) -> Ports {
    let Some(address) = &group.properties.ip_address else {
        return Ports::None;
    };
    if address.kind.eq_ignore_ascii_case("Private") {
        return Ports::All;
    }
    let ports = address.ports.iter();
    Ports::Some(ports.filter_map(|it| u16::try_from(it.port).ok()).collect())
}

/// A run of a container that is to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbedContainer {
    pub name: Box<str>,
    /// `containerID`.
    pub id: Box<str>,
    /// When it began; 1970 when that is not known.
    pub since: Timestamp,
    pub probes: Arc<ContainerProbes>,
    /// Those that are run.
    pub run: Kinds,
}

/// The containers of a pod that are to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    pub ip: Option<IpAddr>,
    /// Never empty.
    pub containers: Vec<ProbedContainer>,
}

impl ProbeTarget {
    /// What is still probed of it while its pod ends, as by a kubelet: the readiness of containers that have started.
    pub fn while_ending(&self, facts: &PodFacts) -> Option<Self> {
        let has_started = |it: &ProbedContainer| {
            let known = facts.container(&it.name).and_then(|it| it.probed.as_ref());
            !it.run.startup || known.is_some_and(|known| known.id == it.id && known.started)
        };
        let asked = self.containers.iter();
        let asked = asked.filter(|it| it.run.readiness && has_started(it));
        let containers: Vec<_> = asked
            .map(|it| ProbedContainer {
                run: Kinds {
                    readiness: true,
                    ..Kinds::default()
                },
                ..it.clone()
            })
            .collect();
        let ip = self.ip;
        (!containers.is_empty()).then_some(Self { ip, containers })
    }
}

/// What is to be probed of a pod whose `group` shows this `status`; `None` when nothing is. An address that cannot be reached
/// is dialled all the same: that may change.
pub fn probe_target(
    facts: &PodFacts,
    group: &ContainerGroup,
    status: &PodStatus,
) -> Option<ProbeTarget> {
    let mut asked = facts.all().filter(|it| it.probes.is_some()).peekable();
    asked.peek()?;
    let ip = ip_of(group);
    let probing = Probing {
        no_route: ip.is_none(),
        ..Probing::new(facts.probing.by)
    };
    let means = probing.means(group);
    let containers: Vec<_> = asked
        .filter_map(|container| {
            let probes = container.probes.clone()?;
            let run = probes.run_by_operator(&means);
            let mut statuses = container_statuses(status);
            let status = statuses.find(|status| *status.name == *container.name)?;
            run.any().then_some(ProbedContainer {
                name: container.name.clone(),
                id: status.container_id.as_deref()?.into(),
                since: running_since(status)?,
                probes,
                run,
            })
        })
        .collect();
    (!containers.is_empty()).then_some(ProbeTarget { ip, containers })
}
