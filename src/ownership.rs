//! Which replica runs a connector's agents.
//!
//! All replicas of the operator are active. One Lease for each connector, in the operator's namespace, names the replica
//! that runs its nodes; one Lease for each replica says that it is there. A replica takes a connector that nobody holds, or
//! whose Lease it has seen unchanged for the Lease's duration by its own monotonic clock: clocks of two machines are never
//! compared. Every write names the `resourceVersion` that it is based on, so two replicas never both succeed.
//!
//! * [`lease`] what stands in a Lease; [`spread`] who should have what; [`table`] the state and what follows: all pure.
//! * [`claim`] the holder's proof, asked right before each write ([`crate::fence`]).
//! * [`keeper`] the task: one watch, renewals, hand-overs. [`api`] its calls.

pub mod api;
pub mod claim;
pub mod keeper;
pub mod lease;
pub mod spread;
pub mod table;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, stream};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

pub use self::claim::Claim;
pub use self::table::{Me, Timing};

/// Sees what happens to the Leases. Implemented by the metrics.
pub trait Observer: Send + Sync {
    /// Connectors that this replica holds, replicas that are there (this one included), and the time until the first of
    /// its claims lapses.
    fn state(&self, held: usize, replicas: usize, remaining: Option<Duration>);
    /// A connector was `taken`, `received`, `handed_over`, `released`, `lost` or `removed`.
    fn change(&self, what: &'static str);
    fn renewal(&self, succeeded: bool);
    /// A write was refused.
    fn refused(&self, target: &'static str);
}

impl Observer for () {
    fn state(&self, _: usize, _: usize, _: Option<Duration>) {}
    fn change(&self, _: &'static str) {}
    fn renewal(&self, _: bool) {}
    fn refused(&self, _: &'static str) {}
}

/// What this replica is to a connector.
#[derive(Debug, Clone)]
pub enum Role {
    /// It runs the agents.
    Holder(Claim),
    /// It holds the Lease, and is about to give it away: agents have to end, then [`Ownership::stopped`] is called.
    Leaving(Claim),
    /// Another replica runs them, or nobody does yet.
    None,
}

/// What the connectors' side wants of the keeper. The last word counts.
#[derive(Debug, Default)]
struct Wishes {
    /// Names of all connectors; `None` before the first list.
    connectors: Option<BTreeSet<String>>,
    /// Connectors whose agents have ended.
    stopped: BTreeSet<String>,
    /// Everything is to be given away.
    leaving: bool,
}

#[derive(Debug, Default)]
struct Shared {
    claims: Mutex<HashMap<String, Claim>>,
    wishes: Mutex<Wishes>,
    wished: Notify,
    /// Connectors whose role has changed.
    news: Mutex<BTreeSet<String>>,
    newsworthy: Notify,
    /// Some claim has ended without being given away.
    lost: Notify,
    /// Other replicas that are there.
    peers: AtomicUsize,
    /// Whoever has no keeper holds everything.
    alone: bool,
}

impl Shared {
    fn tell(&self, connector: &str) {
        self.news.lock().insert(connector.to_owned());
        self.newsworthy.notify_one();
    }
}

/// The connectors' side of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ownership {
    shared: Arc<Shared>,
    /// True once the keeper has given everything away and ended.
    ended: watch::Receiver<bool>,
}

impl Ownership {
    /// Holds every connector without any Lease: for programs that are known to be the only one.
    pub fn alone() -> Self {
        let shared = Shared {
            alone: true,
            ..Shared::default()
        };
        Self {
            shared: Arc::new(shared),
            ended: watch::channel(true).1,
        }
    }

    /// What this replica is to `connector`, now.
    pub fn role(&self, connector: &str) -> Role {
        if self.shared.alone {
            let mut claims = self.shared.claims.lock();
            let claim = claims
                .entry(connector.to_owned())
                .or_insert_with(|| Claim::for_ever(connector));
            return Role::Holder(claim.clone());
        }
        match self.shared.claims.lock().get(connector) {
            Some(claim) if claim.is_leaving() => Role::Leaving(claim.clone()),
            Some(claim) => Role::Holder(claim.clone()),
            None => Role::None,
        }
    }

    /// The claim on `connector`, also while it is being given away.
    pub fn claim(&self, connector: &str) -> Option<Claim> {
        match self.role(connector) {
            Role::Holder(claim) | Role::Leaving(claim) => Some(claim),
            Role::None => None,
        }
    }

    /// Names of the connectors that this replica holds.
    pub fn held(&self) -> Vec<String> {
        self.shared.claims.lock().keys().cloned().collect()
    }

    /// Whether another replica is there, who would take over at once.
    pub fn has_peers(&self) -> bool {
        self.shared.peers.load(Ordering::Relaxed) > 0
    }

    /// All connectors that there are.
    pub fn set_connectors(&self, names: BTreeSet<String>) {
        self.wish(|wishes| wishes.connectors = Some(names));
    }

    pub fn add_connector(&self, name: &str) {
        self.wish(|wishes| {
            wishes
                .connectors
                .get_or_insert_default()
                .insert(name.to_owned());
        });
    }

    /// A connector is gone.
    pub fn remove_connector(&self, name: &str) {
        self.wish(|wishes| {
            wishes.connectors.get_or_insert_default().remove(name);
        });
    }

    /// The agents of a connector that is being given away have ended.
    pub fn stopped(&self, connector: &str) {
        self.wish(|wishes| {
            wishes.stopped.insert(connector.to_owned());
        });
    }

    /// Takes nothing any more and wants to give everything away: the process ends. Each connector's agents have to be
    /// stopped, and [`Ownership::stopped`] told.
    pub fn leave(&self) {
        self.wish(|wishes| wishes.leaving = true);
    }

    /// Waits until everything has been given away after [`Ownership::leave`].
    pub async fn left(&self) {
        let mut ended = self.ended.clone();
        // The keeper's end, however it came, is an end.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Returns when a claim has ended that was not given away.
    pub async fn lost(&self) {
        self.shared.lost.notified().await;
    }

    /// Names of connectors to which this replica's role has changed.
    pub fn news(&self) -> impl Stream<Item = String> + Send + 'static {
        stream::unfold(self.shared.clone(), |shared| async move {
            loop {
                let next = shared.news.lock().pop_first();
                if let Some(name) = next {
                    return Some((name, shared));
                }
                shared.newsworthy.notified().await;
            }
        })
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.shared.wishes.lock());
        self.shared.wished.notify_one();
    }
}

/// A keeper whose words are the test's.
#[cfg(test)]
pub(crate) mod scripted {
    use std::time::SystemTime;

    use tokio::time::Instant;

    use super::*;
    use crate::tenure::Tenure;

    impl Ownership {
        pub(crate) fn scripted() -> Self {
            Self {
                shared: Arc::default(),
                ended: watch::channel(true).1,
            }
        }

        pub(crate) fn wins(&self, connector: &str) -> Claim {
            let now = (Instant::now(), SystemTime::now());
            let claim = Claim::new(
                connector,
                Duration::from_secs(10),
                now,
                Tenure::default(),
                Arc::new(()),
            );
            let mut claims = self.shared.claims.lock();
            claims.insert(connector.to_owned(), claim.clone());
            claim
        }

        pub(crate) fn loses(&self, connector: &str) {
            if let Some(claim) = self.shared.claims.lock().remove(connector) {
                claim.end();
            }
        }

        pub(crate) fn is_to_leave(&self, connector: &str) {
            if let Some(claim) = self.shared.claims.lock().get(connector) {
                claim.leave();
            }
        }

        pub(crate) fn has_peer(&self) {
            self.shared.peers.store(1, Ordering::Relaxed);
        }

        /// Connectors whose agents were said to have ended.
        pub(crate) fn told_stopped(&self) -> Vec<String> {
            self.shared.wishes.lock().stopped.iter().cloned().collect()
        }
    }
}
