//! Phases: of a container group, and of a pod by its containers.

use super::All;
use super::container::{self, Life, Seen};
use crate::azure::model::ContainerGroup;
use crate::translate::policy::RestartPolicy;

/// Where a container group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupPhase {
    Creating,
    /// Its containers run, or are restarted by ACI.
    Running,
    /// Every container ended with 0 and none restarts.
    Succeeded,
    /// A container ended with an error and none restarts.
    Failed,
    /// Azure gave up on making it. The group stays, may start late and bill: it is to be deleted.
    ProvisioningFailed,
    /// Stopped by somebody; nothing runs or bills.
    Stopped,
    /// Azure moves it to another host; it will run again, perhaps with another IP.
    Repairing,
    Deleting,
}

/// Where `group` is in its life, from its provisioning state (the state of the last operation) and its instance view.
/// A group from a LIST has no instance view and counts as `Creating` until it is read by GET.
pub fn group_phase(group: &ContainerGroup) -> GroupPhase {
    let is =
        |text: Option<&str>, word: &str| text.is_some_and(|text| text.eq_ignore_ascii_case(word));
    let operation = group.properties.provisioning_state.as_deref();
    let state = group
        .properties
        .instance_view
        .as_ref()
        .and_then(|view| view.state.as_deref());
    let by_operation = [
        ("Failed", GroupPhase::ProvisioningFailed),
        ("Canceled", GroupPhase::ProvisioningFailed),
        ("Deleting", GroupPhase::Deleting),
        ("Repairing", GroupPhase::Repairing),
        ("Unhealthy", GroupPhase::Repairing),
        ("NotAccessible", GroupPhase::Repairing),
    ];
    match by_operation.iter().find(|(word, _)| is(operation, word)) {
        // The operation has failed because what it started has; the pod has run, and does not run again.
        Some((_, GroupPhase::ProvisioningFailed)) if has_failed_init_container(group) => {
            return GroupPhase::Failed;
        }
        Some((_, phase)) => return *phase,
        None => {}
    }
    let by_state = [
        ("Running", GroupPhase::Running),
        ("Succeeded", GroupPhase::Succeeded),
        ("Failed", GroupPhase::Failed),
    ];
    if let Some((_, phase)) = by_state.iter().find(|(word, _)| is(state, word)) {
        return *phase;
    }
    // While a stopped group is started again its state still says so; only a settled one counts.
    if is(state, "Stopped") && is(operation, "Succeeded") {
        return GroupPhase::Stopped;
    }
    GroupPhase::Creating
}

/// Whether an init container of a group that restarts nothing has ended with an error.
fn has_failed_init_container(group: &ContainerGroup) -> bool {
    let policy = RestartPolicy::parse(group.properties.restart_policy.as_deref());
    let inits = group.properties.init_containers.iter();
    let views = inits.filter_map(|init| init.properties.instance_view.as_ref());
    let mut states = views.flat_map(|view| [&view.current_state, &view.previous_state]);
    policy == RestartPolicy::Never
        && states.any(|state| state.as_ref().is_some_and(container::is_failed_end))
}

/// A kubelet's rule from container states to phase; `ending` when nothing will be restarted whatever the policy says. A
/// sidecar that runs does not keep a pod from ending: a kubelet ends it when the containers have ended, and then the pod.
pub(super) fn phase_of(policy: RestartPolicy, seen: &All<'_>, ending: bool) -> &'static str {
    let containers = &seen.containers;
    let begun = containers.iter().any(Seen::has_started);
    let mut inits = seen.init.iter().filter(|init| !init.is_sidecar());
    if policy == RestartPolicy::Never && inits.clone().any(Seen::failed) {
        return "Failed";
    }
    let mut sidecars = seen.init.iter().filter(|init| init.is_sidecar());
    if !begun && (inits.any(|init| !init.succeeded()) || sidecars.any(|it| !it.has_started())) {
        return "Pending";
    }
    let count = |test: fn(&Seen<'_>) -> bool| {
        containers
            .iter()
            .filter(|container| test(container))
            .count()
    };
    let waiting = count(|container| {
        matches!(container.life, Life::Waiting { .. }) && container.last.is_none()
    });
    let running = count(|container| matches!(container.life, Life::Running { .. }));
    let succeeded =
        count(|container| matches!(&container.life, Life::Ended(end) if end.exit_code == 0));
    if containers.is_empty() || waiting > 0 {
        "Pending"
    } else if running > 0 || (policy == RestartPolicy::Always && !ending) {
        "Running"
    } else if succeeded == containers.len() {
        "Succeeded"
    } else if policy == RestartPolicy::Never || ending {
        "Failed"
    } else {
        "Running"
    }
}
