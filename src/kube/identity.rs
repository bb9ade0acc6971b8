//! The identity of a virtual node at the API server: which way of impersonation works, and does it limit us.

mod kept;

use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use super::call::{KubeError, TIMEOUT, call};
use super::client::{Clients, Impersonation};

pub use self::kept::{Acquire, KeptIdentity, Observer, Source, keep};

/// The group that makes the Node authorizer and `NodeRestriction` look at a request.
const NODES_GROUP: &str = "system:nodes";

/// A client that was proven to act as its node.
#[derive(Clone)]
pub struct NodeIdentity {
    /// Acts as `system:node:<name>`.
    pub client: Client,
    /// The way that worked.
    pub mode: Impersonation,
    /// What the API server does not limit this identity in, if anything: a cluster without the Node authorizer or
    /// `NodeRestriction`, or one whose RBAC gives every node more.
    pub unscoped: Option<Unscoped>,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("mode", &self.mode)
            .field("unscoped", &self.unscoped)
            .finish_non_exhaustive()
    }
}

/// What a node could do although it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unscoped {
    /// The Secrets of pods that are not its own.
    #[error("read any Secret")]
    Secrets,
    #[error("create and change other nodes")]
    Nodes,
}

/// Why we cannot act as a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeIdentityError {
    /// RBAC does not let the operator act as this node.
    #[error("the operator may not act as node {node}; {hint}")]
    Forbidden {
        node: String,
        /// The RBAC rule to add.
        hint: String,
    },
    /// The API server let us act, but as somebody who is not a node.
    #[error("acting as node {node} did not give the group system:nodes, but {groups}")]
    NotANode {
        node: String,
        /// The groups that the API server reported.
        groups: String,
    },
    /// The API server lets every node do more than a node should.
    #[error(
        "the API server does not limit node {node}, which could {what}; run the API server with --authorization-mode=Node,RBAC \
         and --enable-admission-plugins=NodeRestriction and give the group system:nodes no rights, or accept it with \
         --allow-unscoped-nodes"
    )]
    Unscoped {
        node: String,
        /// What it could do.
        what: Unscoped,
    },
    /// The question could not be asked.
    #[error(transparent)]
    Kube(#[from] KubeError),
}

/// The ways to try, best first, for an API server of this version (`v1.36.3`). PURE.
///
/// `ConstrainedImpersonation` is on by default from 1.36 on (Kubernetes feature gates); a gate can be off, and a
/// version can be unreadable, so that the other way always follows.
pub fn modes(server_version: &str) -> [Impersonation; 2] {
    let mut numbers = server_version
        .trim_start_matches('v')
        .split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok());
    match (next(), next()) {
        (Some(major), Some(minor)) if (major, minor) < (1, 36) => {
            [Impersonation::Legacy, Impersonation::Constrained]
        }
        _ => [Impersonation::Constrained, Impersonation::Legacy],
    }
}

/// The rule that lets the operator act as `node`. PURE.
pub fn hint(node: &str, mode: Impersonation) -> String {
    match mode {
        Impersonation::Constrained => format!(
            "add to a ClusterRole of its service account: {{apiGroups: [authentication.k8s.io], resources: [nodes], resourceNames: [{node}], verbs: [\"impersonate:arbitrary-node\"]}}"
        ),
        Impersonation::Legacy => format!(
            "add to a ClusterRole of its service account: {{apiGroups: [\"\"], resources: [users], resourceNames: [\"system:node:{node}\"], verbs: [impersonate]}} and {{apiGroups: [\"\"], resources: [groups], resourceNames: [\"system:nodes\"], verbs: [impersonate]}}"
        ),
    }
}

/// Finds the way of impersonation that makes us `system:node:<node>` in the group `system:nodes`, and checks that it
/// limits us. Three requests on a cluster that is set up well.
///
/// # Errors
/// [`NodeIdentityError::Forbidden`] names the RBAC rule that is missing.
pub async fn acquire(
    clients: &Clients,
    node: &str,
    server_version: &str,
    probe_namespace: &str,
) -> Result<NodeIdentity, NodeIdentityError> {
    let [preferred, other] = modes(server_version);
    let mut refusal = None;
    for mode in [preferred, other] {
        let client = clients.as_node(node, mode)?;
        match whoami(client.clone()).await {
            Ok(groups) if groups.iter().any(|group| group == NODES_GROUP) => {
                let unscoped = unscoped(client.clone(), probe_namespace).await?;
                return Ok(NodeIdentity {
                    client,
                    mode,
                    unscoped,
                });
            }
            Ok(groups) => {
                refusal.get_or_insert(NodeIdentityError::NotANode {
                    node: node.to_owned(),
                    groups: groups.join(", "),
                });
            }
            Err(error) if error.is_forbidden() => {
                refusal.get_or_insert(NodeIdentityError::Forbidden {
                    node: node.to_owned(),
                    hint: hint(node, preferred),
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(refusal.unwrap_or_else(|| NodeIdentityError::Forbidden {
        node: node.to_owned(),
        hint: hint(node, preferred),
    }))
}

/// The groups the API server sees us in.
async fn whoami(client: Client) -> Result<Vec<String>, KubeError> {
    let api = Api::<SelfSubjectReview>::all(client);
    let review = SelfSubjectReview::default();
    let answer = call(
        "ask who the node is",
        TIMEOUT,
        api.create(&PostParams::default(), &review),
    )
    .await?;
    Ok(answer
        .status
        .and_then(|s| s.user_info)
        .and_then(|u| u.groups)
        .unwrap_or_default())
}

/// What the API server lets us do although we are a node, if anything. Nothing is changed by the questions.
async fn unscoped(client: Client, namespace: &str) -> Result<Option<Unscoped>, KubeError> {
    let name = format!(
        "vkc-probe-{:016x}",
        super::backoff::jitter(Duration::from_secs(1_000_000), 1.0).as_nanos()
    );
    // A Secret that does not exist must be refused (403, "no relationship found"), not looked for (404).
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let asked = secrets.get_metadata(&name);
    if !refuses(call("check the node's reach", TIMEOUT, asked).await)? {
        return Ok(Some(Unscoped::Secrets));
    }
    // NodeRestriction: a node makes no other node. Constrained impersonation does not let us try.
    let nodes = Api::<Node>::all(client);
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name),
            ..ObjectMeta::default()
        },
        ..Node::default()
    };
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let asked = nodes.create(&dry_run, &node);
    if !refuses(call("check the node's reach", TIMEOUT, asked).await)? {
        return Ok(Some(Unscoped::Nodes));
    }
    Ok(None)
}

/// Whether the answer is 403. Any other one of the API server's says that it would have done it.
fn refuses<T>(answer: Result<T, KubeError>) -> Result<bool, KubeError> {
    match answer {
        Err(error) if error.is_forbidden() => Ok(true),
        Err(error) if error.is_not_found() || error.is_invalid() => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_follow_the_version() {
        for (version, first) in [
            ("v1.36.3", Impersonation::Constrained),
            ("v1.36.0-rc.1", Impersonation::Constrained),
            ("v1.37.0+k3s1", Impersonation::Constrained),
            ("v1.35.9", Impersonation::Legacy),
            ("v1.29.4-eks-0", Impersonation::Legacy),
            ("unknown", Impersonation::Constrained),
        ] {
            let [got, other] = modes(version);
            assert_eq!(got, first, "{version}");
            assert_ne!(got, other);
        }
    }

    #[test]
    fn hints_are_rules_to_paste() {
        assert!(hint("n1", Impersonation::Constrained).contains("resourceNames: [n1]"));
        assert!(hint("n1", Impersonation::Legacy).contains("resourceNames: [\"system:node:n1\"]"));
    }
}
