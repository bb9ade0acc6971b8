//! Liveness and readiness probes: by command and by HTTP, as ACI has them; startup probes by waiting. What the operator runs
//! itself needs nothing of ACI.

use k8s_openapi::api::core::v1::{ContainerPort, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::review::{Review, set};
use crate::azure::model::{self, ContainerExec, ContainerHttpGet, HttpHeader};
use crate::translate::probes::{Kinds, port_number};

/// What the API server writes into a probe that leaves these out (Kubernetes API reference, `Probe`). They are sent
/// always, so that ACI's own defaults never count.
const INITIAL_DELAY_SECONDS: i32 = 0;
const TIMEOUT_SECONDS: i32 = 1;
const PERIOD_SECONDS: i32 = 10;
const SUCCESS_THRESHOLD: i32 = 1;
const FAILURE_THRESHOLD: i32 = 3;

/// The row of a startup probe that the operator runs, of another that ACI's liveness probe can stand in for, and of one that
/// nothing can.
const STARTUP: &str = "spec.containers[].startupProbe";
const STARTUP_BY_WAITING: &str = "spec.containers[].startupProbe: not run by the operator";
const STARTUP_ALONE: &str =
    "spec.containers[].startupProbe: not run by the operator, without a livenessProbe";
const READINESS: &str = "spec.containers[].readinessProbe";
const READINESS_UNSEEN: &str = "spec.containers[].readinessProbe: not run by the operator";

/// The probes of a container, as the pod has them.
pub(super) struct Probes<'a> {
    pub(super) startup: Option<&'a Probe>,
    pub(super) liveness: Option<&'a Probe>,
    pub(super) readiness: Option<&'a Probe>,
    /// Those that the operator runs.
    pub(super) run: Kinds,
}

/// ARM's forms of the liveness and the readiness probe of container `index`, which declares `ports`.
///
/// ACI has no startup probe. As long as one may take, the liveness probe is held back: a container that is slow is not
/// killed, and one that never comes up is, only later. Readiness is not held back, because it decides itself, and would
/// be late for every container that starts faster than it may.
pub(super) fn probes(
    given: &Probes<'_>,
    index: usize,
    ports: &[ContainerPort],
    review: &mut Review,
) -> (Option<model::Probe>, Option<model::Probe>) {
    let held_back = |probe: &Probe| probe.exec.is_some() || probe.http_get.is_some();
    let row = if given.run.startup {
        STARTUP
    } else if given.liveness.is_some_and(held_back) {
        STARTUP_BY_WAITING
    } else {
        STARTUP_ALONE
    };
    review.field(row, given.startup.is_some(), &[index]);
    let mut one = |row, member, given: Option<&Probe>, run| {
        let arm = probe(given?, member, (index, run), ports, review)?;
        review.field(row, true, &[index]).then_some(arm)
    };
    let mut liveness = one(
        "spec.containers[].livenessProbe",
        "livenessProbe",
        given.liveness,
        given.run.liveness,
    );
    let row = if given.run.readiness {
        READINESS
    } else {
        READINESS_UNSEEN
    };
    let readiness = one(row, "readinessProbe", given.readiness, given.run.readiness);
    if let (Some(liveness), Some(startup)) = (&mut liveness, given.startup) {
        let delay = &mut liveness.initial_delay_seconds;
        *delay = (*delay).max(Some(window(startup)));
    }
    (liveness, readiness)
}

/// The longest time, in seconds, that a container has to start up before the probe `startup` would kill it.
fn window(startup: &Probe) -> i32 {
    let period = startup.period_seconds.unwrap_or(PERIOD_SECONDS);
    let timeout = startup.timeout_seconds.unwrap_or(TIMEOUT_SECONDS);
    let failures = startup.failure_threshold.unwrap_or(FAILURE_THRESHOLD);
    // A kubelet does not probe again before the last probe has ended.
    let probing = period.max(timeout).max(0).saturating_mul(failures.max(0));
    let delay = startup
        .initial_delay_seconds
        .unwrap_or(INITIAL_DELAY_SECONDS);
    delay.max(0).saturating_add(probing)
}

/// ARM's form of the probe `member` (`livenessProbe` or `readinessProbe`) of container `index`, which declares `ports`;
/// `None` when it is refused, or ACI has none like it. `run`: by the operator.
fn probe(
    probe: &Probe,
    member: &str,
    (index, run): (usize, bool),
    ports: &[ContainerPort],
    review: &mut Review,
) -> Option<model::Probe> {
    let Probe {
        exec,
        failure_threshold,
        grpc,
        http_get,
        initial_delay_seconds,
        period_seconds,
        success_threshold,
        tcp_socket,
        termination_grace_period_seconds: _,
        timeout_seconds,
    } = probe;
    let place = format!("spec.containers[{index}].{member}");
    if grpc.is_some() {
        let row = if run {
            "spec.containers[].*Probe.grpc"
        } else {
            "spec.containers[].*Probe.grpc: not run by the operator"
        };
        review.at(row, format!("{place}.grpc"));
        return None;
    }
    if tcp_socket.is_some() {
        let row = if run {
            "spec.containers[].*Probe.tcpSocket"
        } else {
            "spec.containers[].*Probe.tcpSocket: not run by the operator"
        };
        review.at(row, format!("{place}.tcpSocket"));
        return None;
    }
    let (exec, http_get) = match (exec, http_get) {
        (Some(ExecAction { command }), None) => {
            let command = command.clone().unwrap_or_default();
            if command.is_empty() {
                review.refuse(format!("{place}.exec"), "it has no command".to_owned());
                return None;
            }
            (Some(ContainerExec { command }), None)
        }
        (None, Some(action)) => (
            None,
            Some(http(action, &format!("{place}.httpGet"), ports, review)?),
        ),
        _ => {
            review.refuse(place, "a probe has one of exec and httpGet".to_owned());
            return None;
        }
    };
    Some(model::Probe {
        exec,
        http_get,
        initial_delay_seconds: Some(initial_delay_seconds.unwrap_or(INITIAL_DELAY_SECONDS)),
        period_seconds: Some(period_seconds.unwrap_or(PERIOD_SECONDS)),
        failure_threshold: Some(failure_threshold.unwrap_or(FAILURE_THRESHOLD)),
        success_threshold: Some(success_threshold.unwrap_or(SUCCESS_THRESHOLD)),
        timeout_seconds: Some(timeout_seconds.unwrap_or(TIMEOUT_SECONDS)),
    })
}

fn http(
    action: &HTTPGetAction,
    place: &str,
    ports: &[ContainerPort],
    review: &mut Review,
) -> Option<ContainerHttpGet> {
    let HTTPGetAction {
        host,
        http_headers,
        path,
        port,
        scheme,
    } = action;
    if set(host.as_deref()) {
        let path = format!("{place}.host");
        review.at("spec.containers[].*Probe.httpGet.host", path);
        return None;
    }
    let Some(port) = port_number(port, ports) else {
        let message = match port {
            IntOrString::Int(port) => format!("{port} is no port"),
            IntOrString::String(name) => {
                format!("the container declares no port with the name {name:?}")
            }
        };
        review.refuse(format!("{place}.port"), message);
        return None;
    };
    let scheme = match scheme.as_deref() {
        None | Some("" | "HTTP") => "http",
        Some("HTTPS") => "https",
        Some(other) => {
            let message = format!("{other:?} is neither HTTP nor HTTPS");
            review.refuse(format!("{place}.scheme"), message);
            return None;
        }
    };
    let path = path.as_deref().filter(|path| !path.is_empty());
    Some(ContainerHttpGet {
        path: Some(path.unwrap_or("/").to_owned()),
        port: port.into(),
        scheme: Some(scheme.to_owned()),
        http_headers: http_headers
            .iter()
            .flatten()
            .map(|header| HttpHeader {
                name: header.name.clone(),
                value: header.value.clone(),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests;
