//! The calls of the pods' loop: each is one future that always ends, in an input for the index.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::Value;

use super::Dependencies;
use super::index::{Input, Operation, Presence};
use super::writer::Pending;
use crate::azure::throttle::{Pace, Urgency, Wish};
use crate::kube::call::{self, KubeError};
use crate::provider::{Ensured, Failure, FailureKind, Listing, Provider};
use crate::translate::PodKey;

const CALL: Duration = Duration::from_secs(10);

/// How a task ended.
pub(super) enum Done {
    Operation(PodKey, Input),
    Listed(Result<Listing, Failure>),
    Written(PodKey, Pending, Result<(), KubeError>),
}

pub(super) struct Worker {
    node: Client,
    manager: Client,
    provider: Arc<dyn Provider>,
}

impl Worker {
    pub(super) fn new(dependencies: &Dependencies) -> Self {
        Self {
            node: dependencies.node.clone(),
            manager: dependencies.manager.clone(),
            provider: dependencies.provider.clone(),
        }
    }

    pub(super) fn plan(&self, wish: Wish) -> Pace {
        self.provider.plan(wish)
    }

    pub(super) fn list(&self, max_age: Duration) -> impl Future<Output = Done> + Send + use<> {
        let provider = self.provider.clone();
        async move { Done::Listed(provider.list(max_age).await) }
    }

    pub(super) fn operation(
        &self,
        key: PodKey,
        group: Arc<str>,
        (operation, urgency): (Operation, Urgency),
        pod: Option<Arc<Pod>>,
    ) -> impl Future<Output = Done> + Send + use<> {
        let (node, manager, provider) = (
            self.node.clone(),
            self.manager.clone(),
            self.provider.clone(),
        );
        async move {
            let input = match operation {
                Operation::Ensure { look_first } => {
                    let result = ensure(&node, provider.as_ref(), &key, pod, look_first).await;
                    if let Err(failure) = &result
                        && failure.kind != FailureKind::InLine
                    {
                        tracing::info!(
                            ns = key.namespace, pod = key.name, reason = failure.reason, error = %failure,
                            "the container group was not created"
                        );
                    }
                    Input::Ensured(key.clone(), result)
                }
                Operation::Observe => {
                    Input::Observed(key.clone(), provider.observe(&group, urgency).await)
                }
                Operation::Delete => Input::Deleted(key.clone(), provider.delete(&group).await),
                Operation::Stop => Input::Stopped(key.clone(), provider.stop(&group).await),
                Operation::Wake => Input::Woken(key.clone()),
                Operation::Confirm => Input::Confirmed(key.clone(), presence(&manager, &key).await),
                Operation::Remove => Input::Removed(key.clone(), remove(&node, &key).await),
            };
            Done::Operation(key, input)
        }
    }

    pub(super) fn write(
        &self,
        key: PodKey,
        pending: Pending,
        patch: Value,
    ) -> impl Future<Output = Done> + Send + use<> {
        let client = self.node.clone();
        async move {
            let outcome = write(&client, &key, patch).await;
            Done::Written(key, pending, outcome)
        }
    }
}

/// The input that stands for a task that died.
pub(super) fn failed(key: PodKey, operation: &Operation, failure: Failure) -> Input {
    match operation {
        Operation::Ensure { .. } => Input::Ensured(key, Err(failure)),
        Operation::Observe => Input::Observed(key, Err(failure)),
        Operation::Delete => Input::Deleted(key, Err(failure)),
        Operation::Stop => Input::Stopped(key, Err(failure)),
        Operation::Wake => Input::Woken(key),
        Operation::Confirm => Input::Confirmed(key, Presence::Unknown),
        Operation::Remove => Input::Removed(key, false),
    }
}

async fn ensure(
    client: &Client,
    provider: &dyn Provider,
    key: &PodKey,
    pod: Option<Arc<Pod>>,
    look_first: bool,
) -> Result<Ensured, Failure> {
    if let Some(failure) = provider.in_line(key) {
        return Err(failure);
    }
    let pod = match pod {
        Some(pod) => pod,
        None => Arc::new(read(client, key).await?),
    };
    provider.ensure(&pod, look_first).await
}

async fn read(client: &Client, key: &PodKey) -> Result<Pod, Failure> {
    let api = Api::<Pod>::namespaced(client.clone(), &key.namespace);
    let pod = call::call("get pods", CALL, api.get(&key.name))
        .await
        .map_err(|error| {
            Failure::transient(
                "PodUnreadable",
                format!("the pod could not be read: {error}"),
            )
        })?;
    if pod.metadata.uid.as_deref() == Some(key.uid.as_str()) {
        Ok(pod)
    } else {
        Err(Failure::transient(
            "PodReplaced",
            "the pod was replaced by another of its name".to_string(),
        ))
    }
}

async fn presence(manager: &Client, key: &PodKey) -> Presence {
    let api = Api::<Pod>::namespaced(manager.clone(), &key.namespace);
    match call::call("get pods", CALL, api.get(&key.name)).await {
        Ok(pod) if pod.metadata.uid.as_deref() == Some(key.uid.as_str()) => Presence::Alive,
        Ok(_) => Presence::Gone,
        Err(error) if error.is_not_found() => Presence::Gone,
        Err(error) => {
            tracing::warn!(ns = key.namespace, pod = key.name, %error, "cannot tell whether a pod is gone");
            Presence::Unknown
        }
    }
}

/// Removes the pod from the API server, if it is still the same pod.
async fn remove(client: &Client, key: &PodKey) -> bool {
    let api = Api::<Pod>::namespaced(client.clone(), &key.namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(key.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match call::call("delete pods", CALL, api.delete(&key.name, &params)).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() || error.is_conflict() => true,
        Err(error) => {
            tracing::warn!(ns = key.namespace, pod = key.name, %error, "the pod was not removed");
            false
        }
    }
}

/// Patches the status. A pod that is gone or was replaced (422: the UID of the patch is not the live one) needs none.
async fn write(client: &Client, key: &PodKey, patch: Value) -> Result<(), KubeError> {
    let api = Api::<Pod>::namespaced(client.clone(), &key.namespace);
    let patch = Patch::Strategic(patch);
    match call::call(
        "patch pods/status",
        CALL,
        api.patch_status(&key.name, &PatchParams::default(), &patch),
    )
    .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) if error.is_invalid() && error.to_string().contains("metadata.uid") => Ok(()),
        Err(error) => Err(error),
    }
}
