//! The order in which sidecars start: a kubelet starts nothing before the startup probe of the sidecar before it has succeeded, and
//! ACI starts all at once. So the shim of a container that comes later asks them itself (KEP-753).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use vkc_shim::spec::Wait;

use crate::translate::group::review::Review;
use crate::translate::policy::is_sidecar;
use crate::translate::probes::{ContainerProbes, Handler, ProbeKind};

/// What asks the sidecars of a pod that are waited for, with their places among the init containers.
#[derive(Debug, Default)]
pub(super) struct Sidecars(Vec<(usize, Wait)>);

impl Sidecars {
    pub(super) fn of(spec: &PodSpec) -> Self {
        let inits = spec.init_containers.iter().flatten().enumerate();
        let sidecars = inits.filter(|(_, container)| is_sidecar(container));
        Self(
            sidecars
                .filter_map(|(index, container)| Some((index, wait_for(container)?)))
                .collect(),
        )
    }

    /// Whether init container `index` is among them.
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.iter().any(|(at, _)| *at == index)
    }

    /// What has to have started before container `index`: the sidecars before it. Init containers that end run before them all.
    pub(super) fn before(&self, index: usize, review: &Review<'_>) -> Vec<Wait> {
        let comes_later = |at: usize| !review.ends_first && (!review.init || at < index);
        let sidecars = self.0.iter().filter(|(at, _)| comes_later(*at));
        sidecars.map(|(_, wait)| wait.clone()).collect()
    }
}

/// What asks whether a sidecar has started, where that can be asked from another container of its group: by HTTP as its probe does, by
/// a connection for the other kinds.
fn wait_for(sidecar: &Container) -> Option<Wait> {
    let probes = ContainerProbes::of(sidecar)?;
    let probe = probes.get(ProbeKind::Startup)?;
    let seconds = |it: Duration| u32::try_from(it.as_secs()).unwrap_or(u32::MAX);
    let mut wait = Wait {
        port: probe.handler.port()?,
        path: None,
        headers: Vec::new(),
        delay: seconds(probe.initial_delay),
        timeout: seconds(probe.timeout),
    };
    if let Handler::Http {
        https: false,
        path,
        headers,
        ..
    } = &probe.handler
    {
        let can_be_sent = |text: &str| !text.contains(char::is_control);
        wait.path = Some(path.to_string()).filter(|path| can_be_sent(path));
        let headers = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        wait.headers = headers
            .filter(|(name, value)| can_be_sent(name) && can_be_sent(value))
            .collect();
    }
    Some(wait)
}
