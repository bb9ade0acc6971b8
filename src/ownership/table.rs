//! What one replica knows of all Leases, and what it does next. PURE: inputs change the table; [`Table::next`] alone chooses
//! the calls. Time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::lease::{self, About};
use super::spread::{self, Loads};
use crate::tenure::Tenure;

/// Who this replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Its name and something that no other process has, not even the one before it.
    pub identity: String,
    /// UID of its pod, or empty. A holder in the same pod is the process before this one, which has ended.
    pub pod_uid: String,
}

/// Durations. The order matters: renewals come several times within the validity of a claim, which ends before the Lease
/// does.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Others may take a Lease that they have seen unchanged for so long.
    pub lasts: Duration,
    /// A claim is valid for so long after its last renewal was sent.
    pub valid: Duration,
    pub renew: Duration,
    /// Longest call, and pause after a failed one.
    pub call: Duration,
    /// The replicas have to be the same ones for so long before a connector moves for balance.
    pub settle: Duration,
    /// Who should take a connector has so long to do it before others do.
    pub yields: Duration,
    /// Leases that nobody needs any more are deleted after so long.
    pub forget: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(15),
            valid: Duration::from_secs(10),
            renew: Duration::from_secs(3),
            call: Duration::from_secs(3),
            settle: Duration::from_secs(5),
            yields: Duration::from_secs(2),
            forget: Duration::from_secs(60),
        }
    }
}

/// One call to the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Says that this replica is there.
    Present,
    /// Says that it is not any more.
    Withdraw,
    /// Takes the connector, or accepts it from who has handed it over.
    Take(String),
    /// Renews the Lease of the connector.
    Renew(String),
    /// Gives the connector to another replica, or to whoever comes.
    HandOver(String, Option<String>),
    /// Deletes the Lease of this name.
    Delete(String),
}

/// What came of a call.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The Lease as it is now.
    Written(Box<Lease>),
    /// There is none any more.
    Deleted,
    /// Somebody else was first; the Lease as it is now, if there is one.
    Conflict(Option<Box<Lease>>),
    /// The API server did not answer, or refused.
    Failed,
}

/// What the connectors' side has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This replica holds the connector since a call that was sent then; true when another one had handed it over.
    Won(String, Instant, bool, Tenure),
    /// The Lease was renewed by a call that was sent then.
    Renewed(String, Instant),
    /// The connector is to be given away: its agents have to end.
    Leave(String),
    /// It was given away: to another replica, or released.
    Left(String, bool),
    /// Somebody else has it.
    Lost(String),
    /// The connector is gone, and its Lease will be.
    Removed(String),
}

/// A Lease, and since when it has been as it is.
#[derive(Debug, Clone)]
struct Seen {
    lease: Lease,
    since: Instant,
    /// Somebody has deleted it. Its holder may still be at work.
    deleted: bool,
}

/// A connector that this replica holds.
#[derive(Debug, Clone)]
struct Mine {
    /// When the next renewal is due.
    next: Instant,
    leaving: bool,
    /// Its agents have ended.
    stopped: bool,
}

#[derive(Debug)]
pub struct Table {
    me: Me,
    timing: Timing,
    leases: BTreeMap<String, Seen>,
    /// The Leases of a list that is under way.
    listing: Option<BTreeSet<String>>,
    listed: bool,
    /// All connectors, and since when they are known.
    connectors: Option<BTreeMap<String, Instant>>,
    /// Connectors that another replica has handed to this one.
    handed: BTreeSet<String>,
    mine: BTreeMap<String, Mine>,
    /// Names of Leases that a call is under way for.
    busy: BTreeSet<String>,
    /// Pauses after failed calls.
    paused: BTreeMap<String, Instant>,
    present_at: Option<Instant>,
    /// The API server has answered without a gap since then. What was not seen before may be because nothing could be seen.
    heard_since: Option<Instant>,
    heard_last: Option<Instant>,
    replicas: BTreeSet<String>,
    replicas_since: Instant,
    leaving: bool,
}

impl Table {
    pub fn new(me: Me, timing: Timing, now: Instant) -> Self {
        Self {
            me,
            timing,
            leases: BTreeMap::new(),
            listing: None,
            listed: false,
            connectors: None,
            handed: BTreeSet::new(),
            mine: BTreeMap::new(),
            busy: BTreeSet::new(),
            paused: BTreeMap::new(),
            present_at: None,
            heard_since: None,
            heard_last: None,
            replicas: BTreeSet::new(),
            replicas_since: now,
            leaving: false,
        }
    }

    pub fn list_begins(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// A list has ended: what it did not have is gone.
    pub fn list_ended(&mut self, now: Instant) {
        self.listed = true;
        if let Some(listed) = self.listing.take() {
            let gone: Vec<String> = self
                .leases
                .keys()
                .filter(|name| !listed.contains(*name))
                .cloned()
                .collect();
            for name in gone {
                self.deleted(&name, now);
            }
        }
    }

    /// A Lease as the API server has it. Older news than what is known are none.
    pub fn see(&mut self, lease: Lease, now: Instant) -> Vec<Change> {
        let (Some(name), Some(about)) = (lease.metadata.name.clone(), lease::about(&lease)) else {
            return Vec::new();
        };
        if let Some(listed) = &mut self.listing {
            listed.insert(name.clone());
        }
        let known = self.leases.get(&name);
        if known.is_some_and(|known| {
            !known.deleted && lease::version(&known.lease) >= lease::version(&lease)
        }) {
            return Vec::new();
        }
        // Somebody's label is no sign of life.
        let same = known.filter(|known| !known.deleted && known.lease.spec == lease.spec);
        let since = same.map_or(now, |known| known.since);
        let holder = lease::holder(&lease).map(ToOwned::to_owned);
        let ours = holder.as_deref() == Some(self.me.identity.as_str());
        let accepted = lease::is_accepted(&lease);
        let seen = Seen {
            lease,
            since,
            deleted: false,
        };
        self.leases.insert(name, seen);
        let About::Connector(connector) = about else {
            return Vec::new();
        };
        if ours {
            if !accepted {
                self.handed.insert(connector);
            }
            return Vec::new();
        }
        self.handed.remove(&connector);
        match self.mine.remove(&connector) {
            // The watch may be faster than the answer to our own write.
            Some(mine) if mine.stopped => vec![Change::Left(connector, holder.is_some())],
            Some(_) => vec![Change::Lost(connector)],
            None => Vec::new(),
        }
    }

    /// A Lease is gone.
    pub fn deleted(&mut self, name: &str, now: Instant) {
        let Some(seen) = self.leases.get_mut(name) else {
            return;
        };
        match lease::about(&seen.lease) {
            // Its holder may not have noticed yet: nobody else takes the connector before it must have.
            Some(About::Connector(connector))
                if lease::holder(&seen.lease).is_some_and(|holder| {
                    holder != self.me.identity || self.mine.contains_key(&connector)
                }) && self
                    .connectors
                    .as_ref()
                    .is_none_or(|all| all.contains_key(&connector)) =>
            {
                if !seen.deleted {
                    seen.deleted = true;
                    seen.since = now;
                }
                if let Some(mine) = self.mine.get_mut(&connector) {
                    mine.next = now;
                }
            }
            _ => {
                self.leases.remove(name);
            }
        }
    }

    /// All connectors that there are.
    pub fn set_connectors(&mut self, connectors: &BTreeSet<String>, now: Instant) -> Vec<Change> {
        let known = self.connectors.get_or_insert_default();
        known.retain(|name, _| connectors.contains(name));
        for name in connectors {
            if !known.contains_key(name) {
                known.insert(name.clone(), now);
            }
        }
        self.handed.retain(|name| connectors.contains(name));
        self.leases.retain(|_, seen| {
            !seen.deleted
                || match lease::about(&seen.lease) {
                    Some(About::Connector(name)) => connectors.contains(&name),
                    _ => false,
                }
        });
        let gone: Vec<String> = self
            .mine
            .keys()
            .filter(|name| !connectors.contains(*name))
            .cloned()
            .collect();
        for name in &gone {
            self.mine.remove(name);
        }
        gone.into_iter().map(Change::Removed).collect()
    }

    /// The agents of a connector that is being given away have ended.
    pub fn stopped(&mut self, connector: &str) {
        if let Some(mine) = self.mine.get_mut(connector).filter(|mine| mine.leaving) {
            mine.stopped = true;
        }
    }

    /// Takes nothing any more, gives everything away.
    pub fn leave(&mut self) -> Vec<Change> {
        if self.leaving {
            return Vec::new();
        }
        self.leaving = true;
        let staying = self.mine.iter_mut().filter(|(_, mine)| !mine.leaving);
        let staying = staying.map(|(name, mine)| {
            mine.leaving = true;
            Change::Leave(name.clone())
        });
        staying.collect()
    }

    /// Everything that was to be given away has been.
    pub fn has_left(&self) -> bool {
        self.leaving
            && self.mine.is_empty()
            && self.handed.is_empty()
            && self.busy.is_empty()
            && self.present_at.is_none()
    }

    /// Other replicas that are there.
    pub fn peers(&self) -> usize {
        let others = self.replicas.iter();
        others.filter(|other| **other != self.me.identity).count()
    }

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

    /// Name of the Lease that a call is about.
    fn lease_of(&self, action: &Action) -> String {
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
                metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                    name: Some(name.clone()),
                    ..Default::default()
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
    fn gap(&self) -> Duration {
        self.timing.renew * 2 + self.timing.call
    }
}
