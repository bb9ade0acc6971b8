//! The calls of a replica: what is written, and what their answers mean. PURE.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{Action, Answer, Change, Mine, Table};
use crate::ownership::lease::{self, About};

impl Table {
    /// Name of the Lease that a call is about.
    pub(super) fn lease_of(&self, action: &Action) -> String {
        match action {
            Action::Present | Action::Withdraw => lease::replica_lease(&self.me.identity),
            Action::Take(connector) | Action::Renew(connector) | Action::HandOver(connector, _) => {
                lease::connector_lease(connector)
            }
            Action::Delete(name) => name.clone(),
        }
    }

    /// The call begins. Returns the Lease to write (or to delete), and whether there is none yet.
    pub fn begin(&mut self, action: &Action, now: Timestamp) -> (Lease, bool) {
        let name = self.lease_of(action);
        let found = self.leases.get(&name).filter(|seen| !seen.deleted);
        let found = found.map(|seen| &seen.lease);
        let lasts = self.timing.lasts;
        let taken = |about: About| lease::taken(found, &about, &self.me, lasts, now);
        let fresh = found.is_none();
        let lease = match action {
            Action::Present => match found {
                Some(found) => lease::renewed(found, now),
                None => taken(About::Replica(self.me.identity.clone())),
            },
            Action::Renew(connector) => match found {
                Some(found) => lease::renewed(found, now),
                None => taken(About::Connector(connector.clone())),
            },
            Action::Take(connector) => taken(About::Connector(connector.clone())),
            Action::HandOver(connector, to) => {
                let about = About::Connector(connector.clone());
                let mine = found.cloned().unwrap_or_else(|| taken(about));
                lease::left_to(&mine, to.as_deref(), lasts, now)
            }
            Action::Withdraw | Action::Delete(_) => found.cloned().unwrap_or_else(|| Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    ..ObjectMeta::default()
                },
                ..Lease::default()
            }),
        };
        self.busy.insert(name);
        (lease, fresh)
    }

    /// A call has ended that was sent at `sent`. `pause` is how long to wait after a failure.
    pub fn done(
        &mut self,
        action: &Action,
        sent: Instant,
        now: Instant,
        answer: Answer,
        pause: Duration,
    ) -> Vec<Change> {
        let name = self.lease_of(action);
        self.busy.remove(&name);
        self.paused.remove(&name);
        if matches!(answer, Answer::Failed) {
            self.paused.insert(name, now + pause);
            return Vec::new();
        }
        self.heard(now);
        let mut changes = Vec::new();
        let written = match answer {
            Answer::Written(lease) => {
                changes = self.see(*lease, now);
                true
            }
            Answer::Deleted => {
                self.leases.remove(&name);
                true
            }
            Answer::Conflict(Some(lease)) => {
                changes = self.see(*lease, now);
                false
            }
            Answer::Conflict(None) => {
                self.deleted(&name, now);
                false
            }
            Answer::Failed => false,
        };
        if !written {
            // It is tried again on what is known now, if it is still to be done.
            self.paused
                .insert(name, now + pause.min(Duration::from_millis(50)));
            return changes;
        }
        match action {
            Action::Present => self.present_at = Some(sent + self.timing.renew),
            Action::Withdraw => self.present_at = None,
            Action::Take(connector) | Action::Renew(connector) => {
                changes.extend(self.is_mine(connector, sent));
            }
            // What follows from the others is in the Lease.
            Action::HandOver(..) | Action::Delete(_) => {}
        }
        changes
    }

    fn is_mine(&mut self, connector: &str, sent: Instant) -> Option<Change> {
        let handed = self.handed.remove(connector);
        let exists = self
            .connectors
            .as_ref()
            .is_some_and(|all| all.contains_key(connector));
        if !exists {
            // It went meanwhile: `superfluous` deletes the Lease.
            return None;
        }
        let next = sent + self.timing.renew;
        if let Some(mine) = self.mine.get_mut(connector) {
            mine.next = next;
            return Some(Change::Renewed(connector.to_owned(), sent));
        }
        let leaving = self.leaving;
        let mine = Mine {
            next,
            leaving,
            // Nothing of it was started here.
            stopped: leaving,
        };
        self.mine.insert(connector.to_owned(), mine);
        let seen = self.leases.get(&lease::connector_lease(connector));
        let tenure = seen.map(|seen| lease::tenure(&seen.lease));
        let tenure = tenure.unwrap_or_default();
        (!leaving).then(|| Change::Won(connector.to_owned(), sent, handed, tenure))
    }

    /// The API server has answered.
    fn heard(&mut self, now: Instant) {
        let gap = self.gap();
        if self
            .heard_last
            .is_none_or(|last| now.duration_since(last) > gap)
        {
            self.heard_since = Some(now);
        }
        self.heard_last = Some(now);
    }

    /// An answer is due with each renewal of our own presence; so long without one means that it was away, or we were.
    pub(super) fn gap(&self) -> Duration {
        self.timing.renew * 2 + self.timing.call
    }
}
