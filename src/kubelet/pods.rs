//! The pods of the node, as the API server has them. Nothing is kept. What is asked again and again, who runs, comes from
//! the pods' loop instead ([`crate::pods::snapshot`]).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{AsyncReadExt as _, stream};
use http::{StatusCode, header};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{GetParams, ListParams};
use kube::{Api, Client};
use serde_json::json;

use super::api_error::ApiError;
use crate::kube::call::{KubeError, TIMEOUT, call};
use crate::kube::sent::{SmallPod, list_text};
use crate::pods::snapshot::{NodePods, RunningPod};

/// Bytes of a list that are handed on at a time.
const PART: usize = 64 << 10;

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

    /// The list of all pods that are bound to the node, from the API server's memory: cheap, and perhaps a moment old. It is handed
    /// on as it comes: it may be as long as all pods are together.
    ///
    /// # Errors
    /// The API server could not be asked.
    pub async fn list(&self) -> Result<Response, KubeError> {
        let selector = format!("spec.nodeName={}", self.node);
        let params = ListParams::default().fields(&selector).match_any();
        let ask = list_text::<Pod>(&self.client, None, &params);
        let text = call("list the pods of the node", TIMEOUT, ask).await?;
        let parts = stream::try_unfold(Box::pin(text), |mut text| async move {
            let mut part = vec![0; PART];
            let read = text.read(&mut part).await?;
            part.truncate(read);
            Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(part), text)))
        });
        Ok(json(Body::from_stream(parts)))
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
        let api = Api::<SmallPod>::namespaced(self.client.clone(), namespace);
        match call("get the pod", TIMEOUT, api.get_with(name, params)).await {
            Ok(sent) if is_on(&sent.pod, &self.node) => Ok(sent.pod),
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

fn json(text: impl Into<Body>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, headers, text.into()).into_response()
}

/// The pods that run as a kubelet answers them: who they are and what runs of them.
pub fn running_answer(pods: &NodePods) -> Response {
    let pods: Vec<Pod> = pods.running.iter().map(|pod| running_pod(pod)).collect();
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods});
    json(list.to_string())
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
