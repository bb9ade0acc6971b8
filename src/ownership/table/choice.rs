//! What a replica does next, by what the table knows. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::{Action, Change, Seen, Table};
use crate::ownership::lease::{self, About};
use crate::ownership::spread::{self, Loads};

impl Table {
    /// Time has passed: who is there, and whether a connector should move. Returns connectors to be given away.
    pub fn settle(&mut self, now: Instant) -> Vec<Change> {
        let replicas = self.live(now);
        if replicas != self.replicas {
            self.replicas = replicas;
            self.replicas_since = now;
        }
        let Some(connector) = self.next_move(now) else {
            return Vec::new();
        };
        if let Some(mine) = self.mine.get_mut(&connector) {
            mine.leaving = true;
        }
        vec![Change::Leave(connector)]
    }

    /// The connector that this replica should give away now, for balance.
    fn next_move(&self, now: Instant) -> Option<String> {
        let settled = now.duration_since(self.replicas_since) >= self.timing.settle;
        if !settled
            || self.leaving
            || self.mine.values().any(|mine| mine.leaving)
            || self.is_unsettled(now)
        {
            return None;
        }
        let loads = self.loads(now);
        let (from, _) = spread::next_move(&loads)?;
        if from != self.me.identity {
            return None;
        }
        // The one that has been here for the shortest time; of equals the last by name.
        let newest = self.mine.keys().max_by_key(|connector| {
            let seen = self.leases.get(&lease::connector_lease(connector));
            (
                seen.and_then(|seen| lease::acquired(&seen.lease)),
                *connector,
            )
        });
        newest.cloned()
    }

    /// Some connector is held by nobody, or was handed over and is not accepted yet.
    fn is_unsettled(&self, now: Instant) -> bool {
        let mut connectors = self.connectors.iter().flatten();
        connectors.any(|(connector, known)| {
            self.is_free(connector, *known, now).is_some()
                || self
                    .leases
                    .get(&lease::connector_lease(connector))
                    .is_some_and(|seen| !lease::is_accepted(&seen.lease))
        })
    }

    /// The calls to make now.
    pub fn next(&self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.listed {
            return actions;
        }
        if self.leaving {
            if self.present_at.is_some() {
                actions.push(Action::Withdraw);
            }
        } else if self.present_at.is_none_or(|at| at <= now) {
            actions.push(Action::Present);
        }
        let mut loads = self.loads(now);
        loads.remove(&self.me.identity);
        for (connector, mine) in &self.mine {
            if mine.stopped {
                let to = spread::least(&loads);
                if let Some(load) = to.as_ref().and_then(|to| loads.get_mut(to)) {
                    *load += 1;
                }
                // With nobody to take it, it is released; unless this replica goes, it takes it again.
                actions.push(Action::HandOver(connector.clone(), to));
            } else if mine.next <= now {
                actions.push(Action::Renew(connector.clone()));
            }
        }
        actions.extend(self.takes(now).into_iter().map(Action::Take));
        actions.extend(self.superfluous(now).into_iter().map(Action::Delete));
        actions.retain(|action| {
            let name = self.lease_of(action);
            !self.busy.contains(&name) && self.paused.get(&name).is_none_or(|until| *until <= now)
        });
        actions
    }

    /// Connectors that this replica should take now.
    fn takes(&self, now: Instant) -> Vec<String> {
        let handed = self
            .handed
            .iter()
            .filter(|name| !self.mine.contains_key(*name));
        let mut takes: Vec<String> = handed.cloned().collect();
        // Nothing new for one who goes; what is handed to it goes on at once: see `next`, once it is ours.
        let Some(connectors) = self
            .connectors
            .as_ref()
            .filter(|_| self.present_at.is_some() && !self.leaving)
        else {
            return takes;
        };
        let free: BTreeMap<&str, Instant> = connectors
            .iter()
            .filter(|(connector, _)| !self.mine.contains_key(*connector))
            .filter_map(|(connector, known)| {
                Some((connector.as_str(), self.is_free(connector, *known, now)?))
            })
            .collect();
        let assigned = spread::assign(free.keys().copied(), &self.loads(now));
        takes.extend(free.iter().filter_map(|(connector, since)| {
            let ours = assigned.get(connector) == Some(&self.me.identity)
                || self.is_left_by_predecessor(connector);
            // Whoever it should have been does not do it. We may not be alone in that: the first write wins.
            let overdue = now.duration_since(*since) >= self.timing.yields;
            (ours || overdue).then(|| (*connector).to_owned())
        }));
        takes
    }

    /// Since when nobody holds the connector; `None` while somebody does.
    fn is_free(&self, connector: &str, known: Instant, now: Instant) -> Option<Instant> {
        let Some(seen) = self.leases.get(&lease::connector_lease(connector)) else {
            // What a list does not have does not exist.
            return Some(known);
        };
        let Some(holder) = lease::holder(&seen.lease) else {
            return Some(seen.since);
        };
        if holder == self.me.identity {
            return None;
        }
        if self.is_my_predecessor(&seen.lease) {
            return Some(seen.since);
        }
        // A silence counts only while we would have heard.
        if now.duration_since(self.heard_last?) > self.gap() {
            return None;
        }
        let since = seen.since.max(self.heard_since?) + self.lasts(&seen.lease);
        (since <= now).then_some(since)
    }

    fn lasts(&self, lease: &Lease) -> Duration {
        lease::duration(lease, self.timing.lasts)
    }

    /// To everybody else it still is held.
    fn is_left_by_predecessor(&self, connector: &str) -> bool {
        let seen = self.leases.get(&lease::connector_lease(connector));
        seen.is_some_and(|seen| self.is_my_predecessor(&seen.lease))
    }

    fn is_my_predecessor(&self, found: &Lease) -> bool {
        !self.me.pod_uid.is_empty()
            && lease::holder(found) != Some(self.me.identity.as_str())
            && lease::pod_uid(found) == Some(self.me.pod_uid.as_str())
    }

    /// Replicas that are there. This one is while it does not leave.
    fn live(&self, now: Instant) -> BTreeSet<String> {
        let others = self.leases.values().filter_map(|seen| {
            let About::Replica(identity) = lease::about(&seen.lease)? else {
                return None;
            };
            let alive = !seen.deleted
                && now.duration_since(seen.since) < self.lasts(&seen.lease)
                && !self.is_my_predecessor(&seen.lease);
            alive.then_some(identity)
        });
        let mut live: BTreeSet<String> =
            others.filter(|other| *other != self.me.identity).collect();
        if !self.leaving {
            live.insert(self.me.identity.clone());
        }
        live
    }

    /// How many connectors each live replica has, those that were handed to it and not yet accepted included.
    fn loads(&self, now: Instant) -> Loads {
        let live = self.live(now);
        let mut loads: Loads = live.into_iter().map(|replica| (replica, 0)).collect();
        for connector in self.connectors.iter().flat_map(BTreeMap::keys) {
            let seen = self.leases.get(&lease::connector_lease(connector));
            if let Some(holder) = seen.and_then(|seen| lease::holder(&seen.lease))
                && let Some(load) = loads.get_mut(holder)
            {
                *load += 1;
            }
        }
        loads
    }

    /// Leases that nobody needs: of replicas and connectors that are gone. One replica deletes them.
    fn superfluous(&self, now: Instant) -> Vec<String> {
        let live = self.live(now);
        let first = live.first() == Some(&self.me.identity);
        let old = |seen: &Seen| {
            self.heard_since.is_some_and(|heard| {
                now.duration_since(seen.since.max(heard)) >= self.timing.forget
            })
        };
        let superfluous = self.leases.iter().filter(|(_, seen)| {
            if seen.deleted {
                return false;
            }
            match lease::about(&seen.lease) {
                Some(About::Replica(identity)) => {
                    identity != self.me.identity
                        && (self.is_my_predecessor(&seen.lease) || (first && old(seen)))
                }
                Some(About::Connector(connector)) => {
                    let holder = lease::holder(&seen.lease);
                    let ours = holder == Some(self.me.identity.as_str());
                    self.connectors
                        .as_ref()
                        .is_some_and(|all| !all.contains_key(&connector))
                        && (ours || (first && old(seen)))
                }
                None => false,
            }
        });
        superfluous.map(|(name, _)| name.clone()).collect()
    }
}
