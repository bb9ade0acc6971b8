//! The calls about Leases, behind a trait: the product's are the API server's, tests bring their own.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, watcher};

use super::lease::LABEL;
use crate::kube::call::{KubeError, call, optional};

/// A watch that says nothing is renewed after so many seconds, so that a dead connection is noticed. The Leases of live
/// replicas change all the time.
const WATCH_SECONDS: u32 = 60;

/// Our Leases, wherever they are.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Lists and watches all of them, for ever.
    fn watch(&self) -> BoxStream<'static, Result<watcher::Event<Lease>, String>>;
    async fn get(&self, name: &str) -> Result<Option<Lease>, KubeError>;
    /// Creates it; a conflict when there is one.
    async fn create(&self, lease: &Lease) -> Result<Lease, KubeError>;
    /// Replaces the version that `lease` names; a conflict when there is a newer one, "not found" when there is none.
    async fn replace(&self, lease: &Lease) -> Result<Lease, KubeError>;
    /// Deletes the version that `lease` names; a conflict when there is a newer one.
    async fn delete(&self, lease: &Lease) -> Result<(), KubeError>;
}

/// Leases of one namespace at the API server.
#[derive(Clone)]
pub struct ApiLeases {
    api: Api<Lease>,
    timeout: Duration,
}

impl std::fmt::Debug for ApiLeases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiLeases").finish_non_exhaustive()
    }
}

impl ApiLeases {
    /// `client` should not retry by itself: a silent wait is a lost Lease.
    pub fn new(client: Client, namespace: &str, timeout: Duration) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            timeout,
        }
    }
}

#[async_trait]
impl Leases for ApiLeases {
    fn watch(&self) -> BoxStream<'static, Result<watcher::Event<Lease>, String>> {
        let config = watcher::Config::default()
            .labels(LABEL)
            .timeout(WATCH_SECONDS);
        watcher(self.api.clone(), config)
            .default_backoff()
            .map(|event| event.map_err(|error| error.to_string()))
            .boxed()
    }

    async fn get(&self, name: &str) -> Result<Option<Lease>, KubeError> {
        optional("get a Lease", self.timeout, self.api.get(name)).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, KubeError> {
        let params = PostParams::default();
        let request = self.api.create(&params, lease);
        call("create a Lease", self.timeout, request).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, KubeError> {
        let (name, params) = (lease.name_any(), PostParams::default());
        let request = self.api.replace(&name, &params, lease);
        call("write a Lease", self.timeout, request).await
    }

    async fn delete(&self, lease: &Lease) -> Result<(), KubeError> {
        let (name, params) = (
            lease.name_any(),
            DeleteParams {
                preconditions: Some(Preconditions {
                    uid: lease.uid(),
                    resource_version: lease.resource_version(),
                }),
                ..DeleteParams::default()
            },
        );
        let request = self.api.delete(&name, &params);
        optional("delete a Lease", self.timeout, request)
            .await
            .map(drop)
    }
}
