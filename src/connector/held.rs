//! The gate before a reconcile: only the replica that holds the connector does any work for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kube::ResourceExt as _;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::reconcile::Reconciler;
use crate::api::VirtualKubeletConnector;
use crate::fence::{Closed, Fence};
use crate::kube::client::Clients;
use crate::ownership::{Ownership, Role};
use crate::tenure::Tenure;

/// Agents may take so long to end and to write their last statuses when another replica waits for the connector. What
/// they still do then is not sent any more.
const HAND_OVER: Duration = Duration::from_millis(3500);
/// The last Leases may take so long to be given away when the process ends.
const LEAVE: Duration = Duration::from_secs(2);

/// What is remembered of the claims that work was begun under.
#[derive(Default)]
pub(super) struct Held {
    /// By name of the connector: the number of a claim and the clients that ask it.
    clients: Mutex<HashMap<String, (u64, Clients)>>,
    /// By UID: the number of the claim under which its agents and its state were made.
    begun: Mutex<HashMap<String, u64>>,
}

impl Reconciler {
    fn ownership(&self) -> &Ownership {
        &self.context.ownership
    }

    /// What every write for the connector asks.
    pub(super) fn fence(&self, connector: &str) -> Arc<dyn Fence> {
        match self.ownership().claim(connector) {
            Some(claim) => Arc::new(claim),
            None => Arc::new(Closed(connector.to_owned())),
        }
    }

    /// Whose time with the connector it is.
    pub(super) fn tenure(&self, connector: &str) -> Option<Arc<Tenure>> {
        self.ownership().claim(connector)?.tenure()
    }

    /// The operator's clients for writes about one connector.
    pub(super) fn clients(&self, connector: &str) -> Clients {
        let Some(claim) = self.ownership().claim(connector) else {
            return self.context.clients.fenced(self.fence(connector));
        };
        let mut all = self.held.clients.lock();
        match all.get(connector) {
            Some((number, clients)) if *number == claim.number() => clients.clone(),
            _ => {
                let number = claim.number();
                let clients = self.context.clients.fenced(Arc::new(claim));
                all.insert(connector.to_owned(), (number, clients.clone()));
                clients
            }
        }
    }

    /// Whether this replica works for the connector. When not, what it had of it is gone afterwards, without a write
    /// unless the connector is being handed over.
    pub(super) async fn admit(&self, connector: &VirtualKubeletConnector) -> bool {
        let (name, uid) = (connector.name_any(), connector.uid().unwrap_or_default());
        match self.ownership().role(&name) {
            Role::Holder(claim) => {
                let before = self.held.begun.lock().insert(uid.clone(), claim.number());
                if before.is_some_and(|before| before != claim.number()) {
                    // Lost and won again: somebody else may have acted in between.
                    self.supervisor.abandon(&uid);
                    self.states.lock().remove(&uid);
                }
                true
            }
            Role::Leaving(_) => {
                if timeout(HAND_OVER, self.supervisor.stop_connector(&uid))
                    .await
                    .is_err()
                {
                    tracing::warn!(connector = %name, "the agents did not end in time; the connector is handed over");
                }
                self.forget(&name, &uid);
                self.ownership().stopped(&name);
                false
            }
            Role::None => {
                self.supervisor.abandon(&uid);
                self.forget(&name, &uid);
                false
            }
        }
    }

    fn forget(&self, name: &str, uid: &str) {
        self.states.lock().remove(uid);
        self.held.begun.lock().remove(uid);
        self.held.clients.lock().remove(name);
    }

    /// Agents of connectors that another replica has taken end at once, and nothing of what they wanted to write is sent.
    pub(super) fn abandon_lost(&self) {
        for (name, uid) in self.supervisor.names() {
            if matches!(self.ownership().role(&name), Role::None) {
                self.supervisor.abandon(&uid);
            }
        }
    }

    /// Forgets connectors that no longer exist.
    pub(super) fn keep_held(&self, uids: &BTreeSet<String>, names: &BTreeSet<String>) {
        self.held.begun.lock().retain(|uid, _| uids.contains(uid));
        self.held
            .clients
            .lock()
            .retain(|name, _| names.contains(name));
    }

    /// Ends all agents, and gives each connector away as soon as its agents have ended. [`Ownership::leave`] comes before.
    pub(super) async fn hand_over_all(&self) {
        let agents: BTreeMap<String, String> = self.supervisor.names().into_iter().collect();
        let peers = self.ownership().has_peers();
        join_all(self.ownership().held().into_iter().map(|name| {
            let uid = agents.get(&name);
            async move {
                if let Some(uid) = uid {
                    let stop = self.supervisor.stop_connector(uid);
                    if peers {
                        let _ = timeout(HAND_OVER, stop).await;
                    } else {
                        stop.await;
                    }
                }
                self.ownership().stopped(&name);
            }
        }))
        .await;
        self.supervisor.stop_all().await;
        if timeout(LEAVE, self.ownership().left()).await.is_err() {
            tracing::warn!("not all Leases were given away in time; they expire by themselves");
        }
    }
}

#[cfg(test)]
mod tests;
