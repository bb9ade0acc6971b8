//! What one replica knows of all Leases, and what it does next. PURE: inputs change the table; [`Table::next`] alone chooses
//! the calls. Time is an argument.

mod calls;
mod choice;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::lease::{self, About};
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
}
