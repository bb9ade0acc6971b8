//! What the pods' loop asks of Azure and of the API server: one trait, so that a fake can stand behind the loop.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use tokio::sync::Semaphore;

use super::engine::Presence;
use super::prober::Ask;
use crate::azure::model::ContainerGroup;
use crate::azure::throttle::{CallPriority, PollDemand, PollInterval};
use crate::kube::call::{self, KubeError};
use crate::kube::sent::{SentPod, Unread, delete_pod};
use crate::provider::{
    Aci, Deleted, EndLogs, Ensured, Failure, Listing, ProbeAnswer, ProbeCall, Slot, Unreached,
};
use crate::translate::{ContainerEnd, PodFacts, PodKey, Refusals, status_patch};

const CALL: Duration = call::TIMEOUT;

/// Memory that a pod may take. Twenty thousand variables do; a container group of as many would be refused for its length.
const MOST: usize = 8 << 20;
/// Large pods of this process that are in memory at once for their groups to be made.
static LARGE: Semaphore = Semaphore::const_new(2);

/// A create of a container group.
#[derive(Debug, Clone)]
pub struct Create {
    /// Name of the group.
    pub group: Arc<str>,
    pub key: PodKey,
    /// The pod, when it is at hand; it is read otherwise.
    pub pod: Option<Arc<Pod>>,
    /// It takes much memory.
    pub large: bool,
    /// GET before PUT, and adopt what is there.
    pub look_first: bool,
    /// Restarts that the pod's containers have behind them.
    pub restarts: i32,
    /// Its place among the node's operations.
    pub slot: Arc<dyn Slot>,
}

/// Azure and the API server, as the pods' loop of one node needs them. Every call ends in bounded time.
#[async_trait]
pub trait Backend: Ask {
    /// Creates a container group once, or adopts it. Fails with [`crate::provider::FailureKind::Queued`] and without a call
    /// when it has to wait for its turn.
    async fn create(&self, create: Create) -> Result<Ensured, Failure>;
    /// The group with its instance view; `None` only when ARM says that it does not exist.
    async fn get(
        &self,
        group: &str,
        priority: CallPriority,
    ) -> Result<Option<Box<ContainerGroup>>, Failure>;
    async fn delete(&self, group: &str) -> Result<Deleted, Failure>;
    /// Stops what runs in the group; the group stays.
    async fn stop(&self, group: &str) -> Result<(), Failure>;
    /// Starts the containers of the group anew.
    async fn restart(&self, group: &str) -> Result<(), Failure>;
    /// Gives the group the image that its pod has now, unless it has it; `None` when there is no such group.
    async fn exchange_image(
        &self,
        key: &PodKey,
        group: &str,
        slot: Arc<dyn Slot>,
    ) -> Result<Option<Ensured>, Failure>;
    /// The end of the logs of `ends`, as far as they could be read, and then the group.
    async fn read_logs(&self, group: &str, ends: &[ContainerEnd]) -> Result<EndLogs, Failure>;
    /// Runs the `postStart` hooks of `containers`. Those that failed.
    async fn run_post_start(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached>;
    /// Runs the `preStop` hooks of those of `containers` that have one, until the pod's grace period ends at the latest. Those
    /// that failed.
    async fn run_pre_stop(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached>;
    /// Sends SIGTERM to the programs of `containers`. Those that it did not reach.
    async fn send_signal(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached>;
    /// Kills the programs of `containers`. Those that it could not.
    async fn kill(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached>;
    /// All groups of the node, at most `max_age` ago: complete, or an error.
    async fn list(&self, max_age: Duration) -> Result<Listing, Failure>;
    /// Whether the pod still exists, by a live GET.
    async fn pod_presence(&self, key: &PodKey) -> Presence;
    /// Removes the pod from the API server; false when that has to be tried again.
    async fn delete_pod(&self, key: &PodKey) -> bool;
    /// Writes the status of a pod. A pod that is gone needs none: that is success.
    async fn write_status(&self, facts: &PodFacts, status: &PodStatus) -> Result<(), KubeError>;
    /// How often to poll the running pods of this node, whose polls would cost `demand`.
    fn plan(&self, demand: PollDemand) -> PollInterval;
    /// The name of the group of a pod that has none yet.
    fn group_name(&self, key: &PodKey) -> String;
}

#[derive(Clone)]
pub struct Live {
    pub aci: Arc<Aci>,
    /// Acts as the node.
    pub node: Client,
    /// Acts as the operator: live GETs of pods that may be gone.
    pub manager: Client,
}

impl Live {
    async fn read(&self, key: &PodKey) -> Result<Pod, Failure> {
        read_pod(&self.node, key).await
    }
}

/// The pod as it is now; `node` acts as its node.
///
/// # Errors
/// It cannot be read, is another one now, or is too large.
pub async fn read_pod(node: &Client, key: &PodKey) -> Result<Pod, Failure> {
    let api = Api::<SentPod<MOST>>::namespaced(node.clone(), &key.namespace);
    let sent = call::call("get pods", CALL, api.get(&key.name))
        .await
        .map_err(|error| {
            Failure::transient(
                "PodUnreadable",
                format!("the pod could not be read: {error}"),
            )
        })?;
    if sent.pod.metadata.uid.as_deref() != Some(key.uid.as_str()) {
        return Err(Failure::transient(
            "PodReplaced",
            "the pod was replaced by another of its name".to_string(),
        ));
    }
    match sent.excess {
        None => Ok(sent.pod),
        Some(excess) => Err(Refusals::too_large(excess.field, excess.to_string()).into()),
    }
}

#[async_trait]
impl Ask for Live {
    async fn probe(&self, call: ProbeCall) -> ProbeAnswer {
        self.aci.probe(call).await
    }
}

#[async_trait]
impl Backend for Live {
    async fn create(&self, create: Create) -> Result<Ensured, Failure> {
        if let Some(failure) = self.aci.queue_position(&create.group) {
            return Err(failure);
        }
        // Whoever waits here leaves his place to others, and holds no pod.
        let _turn = if create.large {
            create.slot.leave();
            let turn = LARGE.acquire().await;
            create.slot.again().await;
            turn.ok()
        } else {
            None
        };
        let pod = match create.pod {
            Some(pod) => pod,
            None => Arc::new(self.read(&create.key).await?),
        };
        self.aci
            .ensure(
                &create.group,
                &pod,
                create.look_first,
                create.restarts,
                create.slot.as_ref(),
            )
            .await
    }

    async fn get(
        &self,
        group: &str,
        priority: CallPriority,
    ) -> Result<Option<Box<ContainerGroup>>, Failure> {
        self.aci.observe(group, priority).await
    }

    async fn delete(&self, group: &str) -> Result<Deleted, Failure> {
        self.aci.delete(group).await
    }

    async fn stop(&self, group: &str) -> Result<(), Failure> {
        self.aci.stop(group).await
    }

    async fn restart(&self, group: &str) -> Result<(), Failure> {
        self.aci.restart(group).await
    }

    async fn exchange_image(
        &self,
        key: &PodKey,
        group: &str,
        slot: Arc<dyn Slot>,
    ) -> Result<Option<Ensured>, Failure> {
        if let Some(failure) = self.aci.queue_position(group) {
            return Err(failure);
        }
        let pod = Arc::new(self.read(key).await?);
        self.aci.exchange_image(group, &pod, slot.as_ref()).await
    }

    async fn read_logs(&self, group: &str, ends: &[ContainerEnd]) -> Result<EndLogs, Failure> {
        self.aci.read_logs(group, ends).await
    }

    async fn run_post_start(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached> {
        match self.read(key).await {
            Ok(pod) => self.aci.run_post_start(key, &pod, containers).await,
            Err(failure) => Unreached::all(containers, &failure.message),
        }
    }

    async fn run_pre_stop(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached> {
        match self.read(key).await {
            Ok(pod) => self.aci.run_pre_stop(key, &pod, containers).await,
            Err(failure) => Unreached::all(containers, &failure.message),
        }
    }

    async fn send_signal(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached> {
        self.aci.send_sigterm(key, containers).await
    }

    async fn kill(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached> {
        self.aci.kill(key, containers).await
    }

    async fn list(&self, max_age: Duration) -> Result<Listing, Failure> {
        self.aci.list(max_age).await
    }

    async fn pod_presence(&self, key: &PodKey) -> Presence {
        let api = Api::<Pod>::namespaced(self.manager.clone(), &key.namespace);
        match call::call("get pods", CALL, api.get_metadata(&key.name)).await {
            Ok(pod) if pod.metadata.uid.as_deref() == Some(key.uid.as_str()) => Presence::Alive,
            Ok(_) => Presence::Gone,
            Err(error) if error.is_not_found() => Presence::Gone,
            Err(error) => {
                tracing::warn!(ns = key.namespace, pod = key.name, %error, "cannot tell whether a pod is gone");
                Presence::Unknown
            }
        }
    }

    async fn delete_pod(&self, key: &PodKey) -> bool {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(key.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match call::call(
            "delete pods",
            CALL,
            delete_pod(&self.node, &key.namespace, &key.name, &params),
        )
        .await
        {
            Ok(()) => true,
            Err(error) if error.is_not_found() || error.is_conflict() => true,
            Err(error) => {
                tracing::warn!(ns = key.namespace, pod = key.name, %error, "the pod was not removed");
                false
            }
        }
    }

    /// A pod that was replaced answers 422: the UID of the patch is not the live one.
    async fn write_status(&self, facts: &PodFacts, status: &PodStatus) -> Result<(), KubeError> {
        let key = &facts.key;
        let api = Api::<Unread<Pod>>::namespaced(self.node.clone(), &key.namespace);
        let (params, patch) = (
            PatchParams::default(),
            Patch::Strategic(status_patch(facts, status)),
        );
        let request = api.patch_status(&key.name, &params, &patch);
        match call::call("patch pods/status", CALL, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) if error.is_invalid() && error.to_string().contains("metadata.uid") => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn plan(&self, demand: PollDemand) -> PollInterval {
        self.aci.plan(demand)
    }

    fn group_name(&self, key: &PodKey) -> String {
        self.aci.group_name(key)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::provider::FailureKind;

    /// Sixty thousand variables, each shorter than what it takes here.
    #[tokio::test]
    async fn a_pod_that_is_too_large_is_refused_with_field_and_number() {
        let server = tower::service_fn(|request: http::Request<Body>| async move {
            let many = if request.uri().path().ends_with("large") {
                60_000
            } else {
                3
            };
            let env: Vec<_> = (0..many)
                .map(|n| json!({"name": format!("A{n}")}))
                .collect();
            let pod = json!({
                "metadata": {"namespace": "ns", "name": "p", "uid": "u"},
                "spec": {"containers": [{"name": "c", "env": env}]},
            });
            let body = Body::from(pod.to_string().into_bytes());
            Ok::<_, Infallible>(http::Response::new(body))
        });
        let node = Client::new(server, "default");
        let key = |name: &str| PodKey {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: "u".to_owned(),
        };
        let pod = read_pod(&node, &key("small")).await.unwrap();
        let env = pod.spec.unwrap().containers[0].env.clone();
        assert_eq!(env.map(|env| env.len()), Some(3));
        let refused = read_pod(&node, &key("large")).await.unwrap_err();
        assert_eq!(
            (refused.kind, refused.reason),
            (FailureKind::Refused, "ExceedsAciLimits")
        );
        let text = "spec.containers[].env: 60000 entries; ";
        assert!(refused.message.starts_with(text), "{refused}");
    }
}
