//! The task that keeps our Leases: one watch of all of them, and the calls that the table chooses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube_runtime::watcher::Event;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::api::Leases;
use super::claim::Claim;
use super::table::{Action, Answer, Change, Me, Table, Timing};
use super::{Observer, Ownership, Shared};
use crate::kube::backoff::jitter;
use crate::kube::call::KubeError;

/// Time passes in steps of this: what is due, who is there.
const TICK: Duration = Duration::from_millis(200);
/// Pause after a call that failed. Short: a claim lives only for seconds.
const RETRY: Duration = Duration::from_millis(500);

/// A call that has ended: what it was, when it was sent by both clocks, what came of it.
type Done = (Action, (Instant, SystemTime), Answer);

/// Starts the keeper. Dropping the handle ends it without giving anything away; [`Ownership::leave`] ends it well.
pub fn start(
    leases: Arc<dyn Leases>,
    me: Me,
    timing: Timing,
    observer: Arc<dyn Observer>,
) -> (Ownership, AbortOnDropHandle<()>) {
    let shared = Arc::new(Shared::default());
    let (ended_sender, ended) = watch::channel(false);
    let keeper = Keeper {
        leases,
        table: Table::new(me, timing, Instant::now()),
        timing,
        shared: shared.clone(),
        observer,
    };
    let task = tokio::spawn(async move {
        keeper.run().await;
        ended_sender.send_replace(true);
    });
    (Ownership { shared, ended }, AbortOnDropHandle::new(task))
}

struct Keeper {
    leases: Arc<dyn Leases>,
    table: Table,
    timing: Timing,
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
}

impl Keeper {
    async fn run(mut self) {
        let mut events = self.leases.watch();
        let mut calls: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = self.shared.clone();
        loop {
            self.take_wishes();
            let changes = self.table.settle(Instant::now());
            self.apply(changes, SystemTime::now());
            for action in self.table.next(Instant::now()) {
                let (lease, fresh) = self.table.begin(&action, Timestamp::now());
                let limit = self.timing.call;
                calls.push(Box::pin(send(
                    self.leases.clone(),
                    action,
                    lease,
                    fresh,
                    limit,
                )));
            }
            self.observe();
            if self.table.has_left() {
                return;
            }
            tokio::select! {
                Some((action, (sent, wall), answer)) = calls.next() => {
                    let now = Instant::now();
                    if matches!((&action, &answer), (Action::Renew(_), Answer::Failed)) {
                        self.observer.renewal(false);
                    }
                    let changes = self.table.done(&action, sent, now, answer, jitter(RETRY, 0.5));
                    self.apply(changes, wall);
                }
                event = events.next() => match event {
                    Some(Ok(event)) => self.see(event),
                    Some(Err(error)) => tracing::debug!(%error, "the watch of the Leases was interrupted"),
                    // A watch that ends is none of the API server's: begin another.
                    None => events = self.leases.watch(),
                },
                () = shared.wished.notified() => {}
                _ = ticks.tick() => {}
            }
        }
    }

    fn take_wishes(&mut self) {
        let now = Instant::now();
        let (connectors, stopped, leaving) = {
            let mut wishes = self.shared.wishes.lock();
            (
                wishes.connectors.clone(),
                std::mem::take(&mut wishes.stopped),
                wishes.leaving,
            )
        };
        let mut changes = Vec::new();
        if let Some(connectors) = connectors {
            changes.extend(self.table.set_connectors(&connectors, now));
        }
        for connector in stopped {
            self.table.stopped(&connector);
        }
        if leaving {
            changes.extend(self.table.leave());
        }
        self.apply(changes, SystemTime::now());
    }

    fn see(&mut self, event: Event<Lease>) {
        let now = Instant::now();
        let changes = match event {
            Event::Init => {
                self.table.list_begins();
                Vec::new()
            }
            Event::InitApply(lease) | Event::Apply(lease) => self.table.see(lease, now),
            Event::InitDone => {
                self.table.list_ended(now);
                Vec::new()
            }
            Event::Delete(lease) => {
                if let Some(name) = &lease.metadata.name {
                    self.table.deleted(name, now);
                }
                Vec::new()
            }
        };
        self.apply(changes, SystemTime::now());
    }

    /// Passes on what has changed. `wall` is when the call was sent that brought it, by the wall clock.
    fn apply(&self, changes: Vec<Change>, wall: SystemTime) {
        for change in changes {
            let mut claims = self.shared.claims.lock();
            match change {
                Change::Won(connector, sent, handed, tenure) => {
                    let (valid, observer) = (self.timing.valid, self.observer.clone());
                    let claim = Claim::new(&connector, valid, (sent, wall), tenure, observer);
                    claims.insert(connector.clone(), claim);
                    self.observer.renewal(true);
                    self.observer
                        .change(if handed { "received" } else { "taken" });
                    tracing::info!(%connector, handed, "holding the Lease of the connector");
                    self.shared.tell(&connector);
                }
                Change::Renewed(connector, sent) => {
                    if let Some(claim) = claims.get(&connector) {
                        if claim.check().is_err() {
                            tracing::info!(%connector, "the Lease is renewed after a gap; nobody else had taken it");
                        }
                        claim.renewed((sent, wall));
                    }
                    self.observer.renewal(true);
                }
                Change::Leave(connector) => {
                    if let Some(claim) = claims.get(&connector) {
                        claim.leave();
                    }
                    self.shared.tell(&connector);
                }
                Change::Left(connector, handed) => {
                    end(claims.remove(&connector));
                    self.observer
                        .change(if handed { "handed_over" } else { "released" });
                    tracing::info!(%connector, handed, "gave the Lease of the connector away");
                    self.shared.tell(&connector);
                }
                Change::Lost(connector) => {
                    end(claims.remove(&connector));
                    self.observer.change("lost");
                    tracing::warn!(%connector, "another replica has taken the connector");
                    self.shared.tell(&connector);
                    self.shared.lost.notify_one();
                }
                Change::Removed(connector) => {
                    end(claims.remove(&connector));
                    self.observer.change("removed");
                    self.shared.lost.notify_one();
                }
            }
        }
    }

    fn observe(&self) {
        let claims = self.shared.claims.lock();
        let remaining = claims.values().filter_map(Claim::remaining).min();
        let peers = self.table.peers();
        self.shared.peers.store(peers, Ordering::Relaxed);
        self.observer.state(claims.len(), peers + 1, remaining);
    }
}

fn end(claim: Option<Claim>) {
    if let Some(claim) = claim {
        claim.end();
    }
}

/// One call, and after a conflict a look at what is there instead.
async fn send(
    leases: Arc<dyn Leases>,
    action: Action,
    lease: Lease,
    fresh: bool,
    limit: Duration,
) -> Done {
    let sent = (Instant::now(), SystemTime::now());
    let call = async {
        let name = lease.metadata.name.clone().unwrap_or_default();
        let written = match &action {
            Action::Withdraw | Action::Delete(_) => {
                leases.delete(&lease).await.map(|()| Answer::Deleted)
            }
            _ if fresh => leases.create(&lease).await.map(written),
            _ => leases.replace(&lease).await.map(written),
        };
        match written {
            Err(error) if error.is_conflict() || error.is_not_found() => leases
                .get(&name)
                .await
                .map(|found| Answer::Conflict(found.map(Box::new))),
            other => other,
        }
    };
    let answer = match tokio::time::timeout(limit * 2, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => failed(&action, &error),
        Err(_) => failed(&action, &KubeError::Timeout { op: "keep a Lease" }),
    };
    (action, sent, answer)
}

fn written(lease: Lease) -> Answer {
    Answer::Written(Box::new(lease))
}

fn failed(action: &Action, error: &KubeError) -> Answer {
    tracing::warn!(?action, %error, "a Lease was not written");
    Answer::Failed
}

#[cfg(test)]
mod tests;
