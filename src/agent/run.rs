//! The agent's loop. Level-triggered: each turn computes what is wanted from what is known now, and then waits for
//! anything to change. No branch of the wait knows what its news is good for, so none can be missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::part::{Owner, supervise};
use super::parts::Parts;
use super::spec::{AgentSpec, AgentStatus};
use super::state;
use crate::azure::Reach;
use crate::node::keeper::Registration;
use crate::node::status::Endpoint;
use crate::pods::Report;
use crate::watched::set_if_changed;

/// A node is told Ready when its pods are synced; an operator that cannot sync says so only after this long, so
/// that the Ready condition of a predecessor stands while we start.
pub(super) const SYNC_GRACE: Duration = Duration::from_secs(5);
/// So long after its start an agent leaves a Node Ready that was: `NotReady` takes its pods out of their Services, and Azure
/// may just be slow with a first list. Controllers wait as long for a kubelet (`node-monitor-grace-period`).
pub(super) const START_GRACE: Duration = Duration::from_secs(40);

/// Runs the parts until `cancel`, then waits for their ends.
pub(super) async fn run(
    mut specs: watch::Receiver<AgentSpec>,
    status: watch::Sender<AgentStatus>,
    parts: Arc<dyn Parts>,
    cancel: CancellationToken,
) {
    let started_until = Instant::now() + START_GRACE;
    let spec = specs.borrow_and_update().clone();
    let owner = Owner {
        node: spec.node.name.clone(),
        observer: parts.observer(),
    };
    let node_ip = parts.node_ip().to_string();
    let (settings, settings_rx) = watch::channel(state::settings(&spec, 0));
    let (report_tx, mut report) = watch::channel(Report::default());
    let (port_tx, mut port) = watch::channel(None);
    let mut refused = parts.refused();
    let mut azure = parts.azure();
    let (registration_tx, mut registration) = watch::channel(Registration::default());
    let stop = CancellationToken::new();

    let (of, token) = (parts.clone(), stop.clone());
    let pods = supervise("pods", owner.clone(), stop.clone(), move || {
        of.pods(settings_rx.clone(), report_tx.clone(), token.clone())
    });
    let (of, token) = (parts.clone(), stop.clone());
    let kubelet = supervise("kubelet API", owner.clone(), stop.clone(), move || {
        of.kubelet(port_tx.clone(), token.clone())
    });
    let mut running = vec![pods, kubelet];

    let cancelled = tokio::select! {
        () = cancel.cancelled() => true,
        () = first_lists(&mut report) => false,
    };
    if !cancelled {
        let want = |spec: &AgentSpec, report: &Report, azure: &Reach, port: Option<u16>| {
            let endpoint = Endpoint {
                ip: node_ip.clone(),
                kubelet_port: port,
            };
            let starting = Instant::now() < started_until;
            state::wanted(spec, report, azure, endpoint, starting)
        };
        let reach = azure.borrow().reach(Instant::now());
        let first = want(&spec, &report.borrow(), &reach, *port.borrow());
        let (wanted, wanted_rx) = watch::channel(first);
        let (of, token) = (parts.clone(), stop.clone());
        running.push(supervise(
            "updates",
            owner.clone(),
            stop.clone(),
            move || of.updates(token.clone()),
        ));
        let (of, token) = (parts.clone(), stop.clone());
        running.push(supervise("node", owner, stop.clone(), move || {
            of.node(wanted_rx.clone(), registration_tx.clone(), token.clone())
        }));
        let (mut defaults, mut edits) = (spec.groups, 0);
        loop {
            let spec = specs.borrow_and_update().clone();
            let report_now = report.borrow_and_update().clone();
            let port_now = *port.borrow_and_update();
            let health = azure.borrow_and_update().clone();
            let now = Instant::now();
            let reach = health.reach(now);
            // Before the pods hear of it.
            if defaults != spec.groups {
                parts.set_defaults(spec.groups.clone());
                defaults.clone_from(&spec.groups);
                edits += 1;
            }
            set_if_changed(&settings, state::settings(&spec, edits));
            set_if_changed(&wanted, want(&spec, &report_now, &reach, port_now));
            set_if_changed(
                &status,
                state::status(
                    &report_now,
                    &registration.borrow_and_update(),
                    refused.borrow_and_update().clone(),
                    reach,
                ),
            );
            let grace = (!report_now.synced && now < started_until).then_some(started_until);
            let due = health.due(now).into_iter().chain(grace).min();
            // The senders of all but the specs are held by the parts.
            tokio::select! {
                () = cancel.cancelled() => break,
                Ok(()) = specs.changed() => {}
                Ok(()) = report.changed() => {}
                Ok(()) = registration.changed() => {}
                Ok(()) = port.changed() => {}
                Ok(()) = refused.changed() => {}
                Ok(()) = azure.changed() => {}
                () = tokio::time::sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
    }
    stop.cancel();
    futures::future::join_all(running).await;
}

/// Returns when there is something to say about Ready.
async fn first_lists(report: &mut watch::Receiver<Report>) {
    let synced = report.wait_for(|report| report.synced);
    let _ = tokio::time::timeout(SYNC_GRACE, synced).await;
}

#[cfg(test)]
mod tests;
