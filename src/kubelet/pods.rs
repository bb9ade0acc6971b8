//! The pods of the node, as the API server has them. Nothing is kept: what is answered is as new as the question.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{GetParams, ListParams};
use kube::{Api, Client};
use serde_json::json;

use super::refusal::Refusal;
use crate::kube::call::{KubeError, TIMEOUT, call};

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

    /// All pods that are bound to the node now.
    ///
    /// # Errors
    /// The API server could not be asked.
    pub async fn list(&self) -> Result<Vec<Pod>, KubeError> {
        let api = Api::<Pod>::all(self.client.clone());
        let selector = format!("spec.nodeName={}", self.node);
        let mut pods = Vec::new();
        let mut params = ListParams::default().fields(&selector).limit(PAGE);
        for _ in 0..PAGES {
            let page = call("list the pods of the node", TIMEOUT, api.list(&params)).await?;
            pods.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
        Ok(pods)
    }

    /// The pod, when it is bound to the node.
    ///
    /// # Errors
    /// 404 as a kubelet answers it, or why the API server could not be asked.
    pub async fn get(&self, namespace: &str, name: &str) -> Result<Pod, Refusal> {
        self.find(namespace, name, &GetParams::default()).await
    }

    /// As [`Pods::get`], from the API server's memory: cheap, and perhaps a moment old.
    ///
    /// # Errors
    /// As [`Pods::get`].
    pub async fn get_cheaply(&self, namespace: &str, name: &str) -> Result<Pod, Refusal> {
        self.find(namespace, name, &GetParams::any()).await
    }

    async fn find(&self, namespace: &str, name: &str, params: &GetParams) -> Result<Pod, Refusal> {
        let missing = || Refusal::not_found(format!("pod {name:?} does not exist"));
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        match call("get the pod", TIMEOUT, api.get_with(name, params)).await {
            Ok(pod) if is_on(&pod, &self.node) => Ok(pod),
            Ok(_) => Err(missing()),
            // The Node authorizer answers 403 for a pod of another node, and for none.
            Err(error) if error.is_not_found() || error.is_forbidden() => Err(missing()),
            Err(error) => Err(Refusal::kube(&error)),
        }
    }
}

fn is_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

/// Whether a container of `pod` runs. PURE.
pub fn is_running(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let all = [&status.init_container_statuses, &status.container_statuses];
    all.into_iter().flatten().flatten().any(|container| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    })
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
