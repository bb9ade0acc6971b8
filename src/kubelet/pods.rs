//! The pods of the node, as the API server has them. Nothing is kept. What is asked again and again, who runs, comes from
//! the pods' loop instead ([`crate::pods::snapshot`]).

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{GetParams, ListParams};
use kube::{Api, Client};
use serde_json::json;

use super::api_error::ApiError;
use crate::kube::call::{KubeError, TIMEOUT, call};
use crate::pods::snapshot::{NodePods, RunningPod};

/// Pods of one page of a list.
const PAGE: u32 = 250;
/// More pages than this are no list but a fault.
const PAGES: usize = 100;

/// Reads pods as the node.
#[derive(Clone)]
pub struct Pods {
    client: Client,
    node: String,
}

impl Pods {
    /// The pods of `node`; `client` acts as that node.
    pub fn new(client: Client, node: String) -> Self {
        Self { client, node }
    }

    /// All pods that are bound to the node, from the API server's memory: cheap, and perhaps a moment old.
    ///
    /// # Errors
    /// The API server could not be asked.
    pub async fn list(&self) -> Result<Vec<Pod>, KubeError> {
        let api = Api::<Pod>::all(self.client.clone());
        let selector = format!("spec.nodeName={}", self.node);
        let mut pods = Vec::new();
        // Without a limit, which kube would rather send than `resourceVersion=0`, and which an API server that answers
        // from its memory does not heed.
        let mut params = ListParams::default().fields(&selector).match_any();
        for _ in 0..PAGES {
            let page = call("list the pods of the node", TIMEOUT, api.list(&params)).await?;
            pods.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                // One that has no memory of them answers in pages all the same.
                Some(token) => params = params.continue_token(&token).limit(PAGE),
                None => break,
            }
        }
        Ok(pods)
    }

    /// The pod, when it is bound to the node.
    ///
    /// # Errors
    /// 404 as a kubelet answers it, or why the API server could not be asked.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Pod, ApiError> {
        self.find(namespace, name, &GetParams::default()).await
    }

    /// As [`Pods::get`], from the API server's memory: cheap, and perhaps a moment old.
    ///
    /// # Errors
    /// As [`Pods::get`].
    pub async fn get_cheaply(&self, namespace: &str, name: &str) -> Result<Pod, ApiError> {
        self.find(namespace, name, &GetParams::any()).await
    }

    async fn find(&self, namespace: &str, name: &str, params: &GetParams) -> Result<Pod, ApiError> {
        let missing = || ApiError::not_found(format!("pod {name:?} does not exist"));
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        match call("get the pod", TIMEOUT, api.get_with(name, params)).await {
            Ok(pod) if is_on(&pod, &self.node) => Ok(pod),
            Ok(_) => Err(missing()),
            // The Node authorizer answers 403 for a pod of another node, and for none.
            Err(error) if error.is_not_found() || error.is_forbidden() => Err(missing()),
            Err(error) => Err(ApiError::kube(&error)),
        }
    }
}

fn is_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

/// The container `name` of `pod`, init containers included. PURE.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let inits = spec.init_containers.iter().flatten();
    spec.containers
        .iter()
        .chain(inits)
        .find(|container| container.name == name)
}

/// A `PodList` as a kubelet answers it.
pub fn answer(pods: &[Pod]) -> Response {
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods});
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, json, list.to_string()).into_response()
}

/// The pods that run as a kubelet answers them: who they are and what runs of them.
pub fn running_answer(pods: &NodePods) -> Response {
    let pods: Vec<Pod> = pods.running.iter().map(|pod| running_pod(pod)).collect();
    answer(&pods)
}

fn running_pod(pod: &RunningPod) -> Pod {
    let containers = pod.containers.iter().map(|it| Container {
        name: it.name.to_string(),
        image: Some(it.image.to_string()),
        ..Container::default()
    });
    let started = pod.containers.iter().any(|it| !it.init);
    Pod {
        metadata: ObjectMeta {
            name: Some(pod.key.name.clone()),
            namespace: Some(pod.key.namespace.clone()),
            uid: Some(pod.key.uid.clone()),
            creation_timestamp: pod.created.map(Time),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: containers.collect(),
            ..PodSpec::default()
        }),
        status: Some(PodStatus {
            phase: Some(if started { "Running" } else { "Pending" }.to_owned()),
            start_time: pod.started.map(Time),
            ..PodStatus::default()
        }),
    }
}
