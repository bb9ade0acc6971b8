//! Everything a connector refers to in the API server.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use kube::api::ListParams;
use kube::{Api, Client};

use super::capacity::{Requests, request};
use super::validate::SecretState;
use crate::kube::call::{KubeError, TIMEOUT, call, optional};
use crate::kube::sent::{SmallPod, each};

/// A Secret that a connector names. Every failure is a state, because each has its own message for the user.
pub(super) async fn secret(manager: &Client, reference: Option<&(String, String)>) -> SecretState {
    let Some((namespace, name)) = reference else {
        return SecretState::NotNamed;
    };
    let api = Api::<Secret>::namespaced(manager.clone(), namespace);
    match optional("get a Secret of the connector", TIMEOUT, api.get(name)).await {
        Ok(Some(secret)) => SecretState::Found(Box::new(secret)),
        Ok(None) => SecretState::Missing,
        Err(error) if error.is_forbidden() => SecretState::Forbidden,
        Err(error) => SecretState::Unreadable(error.to_string()),
    }
}

/// UID of the namespace `kube-system`: the identity of the cluster, by convention.
pub(super) async fn cluster_uid(manager: &Client) -> Result<String, KubeError> {
    let api = Api::<Namespace>::all(manager.clone());
    let namespace = call("get namespace kube-system", TIMEOUT, api.get("kube-system")).await?;
    Ok(namespace.metadata.uid.unwrap_or_default())
}

/// Whether a Node of this name exists: then its agent must run, whatever Azure says, or it goes `NotReady` and its pods
/// are evicted.
pub(super) async fn node_exists(manager: &Client, name: &str) -> Result<bool, KubeError> {
    let api = Api::<Node>::all(manager.clone());
    Ok(
        optional("look for the Node", TIMEOUT, api.get_metadata(name))
            .await?
            .is_some(),
    )
}

/// The pods of these nodes that have not ended, with what they ask for: what the scheduler counts.
pub(super) async fn live_pods(
    manager: &Client,
    nodes: impl IntoIterator<Item = &str>,
) -> Result<Requests, KubeError> {
    let mut pods = Requests::new();
    for node in nodes {
        let fields = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
        // From the API server's state, which is not limited: a page would be read from etcd.
        let params = ListParams::default().fields(&fields).match_any();
        // What a pod asks for is told by its containers.
        let take = |sent: SmallPod, _| {
            if let Some(uid) = sent.pod.metadata.uid.clone() {
                pods.insert(uid, request(&sent.pod));
            }
        };
        let read = each::<Pod, _>(manager, None, &params, take);
        call("list the pods of a node", TIMEOUT, read).await?;
    }
    Ok(pods)
}
