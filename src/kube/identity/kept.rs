//! The identity of a node for as long as its agent runs: acquired anew when the API server does not accept it any more.
//!
//! An API server from 1.36 on remembers for each user which mode of impersonation it last granted and tries that one
//! first. Once that is another one than ours, our requests are impersonated without the group `system:nodes` and are
//! all forbidden, until the other way of asking is taken. The client given out stays the same; what stands behind it is
//! exchanged, so that nobody who uses it has to be told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{NodeIdentity, NodeIdentityError, acquire};
use crate::kube::backoff::Backoff;
use crate::kube::client::Clients;

/// First and longest pause between two attempts. The longest is well below the 40 s after which a node without
/// heartbeats is given up.
const FIRST: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(10);
/// An identity that was accepted for so long was well: the next pause is the first again.
const STEADY: Duration = Duration::from_mins(1);

/// Finds an identity that works. Tests bring their own.
#[async_trait]
pub trait Acquire: Send + Sync {
    /// As [`acquire`].
    async fn acquire(&self) -> Result<NodeIdentity, NodeIdentityError>;
}

/// The product's way: [`acquire`] with these arguments.
#[derive(Clone)]
pub struct Source {
    pub clients: Clients,
    /// Name of the node.
    pub node: String,
    /// `gitVersion` of the API server.
    pub server_version: String,
    pub probe_namespace: String,
    /// An identity that the API server does not limit is used all the same.
    pub allow_unscoped: bool,
    /// Hears whether it is limited.
    pub observer: Arc<dyn Observer>,
}

/// Sees what becomes of identities, for metrics.
pub trait Observer: Send + Sync {
    /// Whether the API server limits what this node may do.
    fn scoped(&self, node: &str, scoped: bool);
}

#[async_trait]
impl Acquire for Source {
    async fn acquire(&self) -> Result<NodeIdentity, NodeIdentityError> {
        let identity = acquire(
            &self.clients,
            &self.node,
            &self.server_version,
            &self.probe_namespace,
        )
        .await?;
        let node = &self.node;
        self.observer.scoped(node, identity.unscoped.is_none());
        match identity.unscoped {
            Some(what) if !self.allow_unscoped => Err(NodeIdentityError::Unscoped {
                node: node.clone(),
                what,
            }),
            Some(what) => {
                tracing::warn!(
                    node,
                    "the API server does not limit this node: it could {what}"
                );
                Ok(identity)
            }
            None => Ok(identity),
        }
    }
}

/// An identity that is kept. Ends with the last use of it.
pub struct KeptIdentity {
    client: Client,
    refused: watch::Receiver<Option<String>>,
    _task: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for KeptIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptIdentity")
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl KeptIdentity {
    /// A client that acts as the node, whichever way is accepted at the time.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Why the API server does not let us act as the node now; `None` while it does.
    pub fn refused(&self) -> watch::Receiver<Option<String>> {
        self.refused.clone()
    }
}

/// The client in use, and how many there were before it.
type Current = Arc<RwLock<(u64, Client)>>;

/// Acquires the identity of `node` and keeps it.
///
/// # Errors
/// Those of the first [`acquire`]; later ones are told by [`KeptIdentity::refused`].
pub async fn keep(source: Arc<dyn Acquire>, node: &str) -> Result<KeptIdentity, NodeIdentityError> {
    let first = source.acquire().await?;
    let namespace = first.client.default_namespace().to_owned();
    let current: Current = Arc::new(RwLock::new((0, first.client)));
    let (forbidden, seen) = watch::channel(None);
    let (refused, refusals) = watch::channel(None);
    let name = node.to_owned();
    let behind = current.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let essential = is_essential(request.method(), request.uri().path(), &name);
        let (number, client) = behind.read().clone();
        let forbidden = forbidden.clone();
        async move {
            let answer = client.send(request).await;
            if essential
                && let Ok(answer) = &answer
                && answer.status() == StatusCode::FORBIDDEN
            {
                forbidden.send_replace(Some(number));
            }
            answer
        }
    });
    let task = tokio::spawn(renew(source, node.to_owned(), current, seen, refused));
    Ok(KeptIdentity {
        client: Client::new(service, namespace),
        refused: refusals,
        _task: AbortOnDropHandle::new(task),
    })
}

/// Acquires the identity anew whenever the one in use was forbidden what a node must be able to do.
async fn renew(
    source: Arc<dyn Acquire>,
    node: String,
    current: Current,
    mut forbidden: watch::Receiver<Option<u64>>,
    refused: watch::Sender<Option<String>>,
) {
    let mut backoff = Backoff::new(FIRST, CAP);
    let mut number = 0;
    let mut since = Instant::now();
    loop {
        // What a client of before was answered says nothing about this one.
        if forbidden
            .wait_for(|forbidden| forbidden.is_some_and(|it| it >= number))
            .await
            .is_err()
        {
            return;
        }
        if since.elapsed() >= STEADY {
            backoff.reset();
        }
        tracing::warn!(
            node,
            "the API server refuses the node's own requests; acquiring its identity anew"
        );
        loop {
            match source.acquire().await {
                Ok(identity) => {
                    number += 1;
                    tracing::info!(node, mode = ?identity.mode, "acquired the node's identity anew");
                    *current.write() = (number, identity.client);
                    refused.send_if_modified(|known| known.take().is_some());
                    break;
                }
                Err(NodeIdentityError::Kube(error)) => {
                    tracing::warn!(node, %error, "the node's identity could not be acquired anew");
                }
                Err(error) => {
                    tracing::warn!(node, %error, "the node's identity is refused");
                    refused.send_replace(Some(error.to_string()));
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        since = Instant::now();
        // The API server may go on refusing what it has just promised.
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// What a node must be able to do whatever its pods are: its own lease, its own Node and status, the list and watch of
/// its pods. Everything else may be forbidden for a reason of its own. PURE.
fn is_essential(method: &Method, path: &str, node: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [
            "apis",
            "coordination.k8s.io",
            _,
            "namespaces",
            "kube-node-lease",
            "leases",
            rest @ ..,
        ] => rest.first().is_none_or(|name| *name == node),
        ["api", "v1", "nodes", name, ..] => *name == node,
        ["api", "v1", "pods" | "nodes"] => method == Method::GET,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
