//! The services that a pod's containers are told of.
//!
//! Read, not watched: a pod needs them once. Pods that come together share one list, which begins no earlier than a moment
//! before the pod asks, so that a service that was made before a pod is in its environment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service as ApiService, ServiceSpec};
use kube::Client;
use kube::api::{Api, ListParams};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::CALL;
use crate::kube::call;
use crate::kube::sent::each;
use crate::provider::Failure;
use crate::translate::{KUBERNETES, KUBERNETES_NAMESPACE, Service};

/// How old the beginning of a list may be when a pod asks: less than it takes to bind a pod.
const FRESH: Duration = Duration::from_millis(100);
/// The address of the API server does not change.
const KUBERNETES_FRESH: Duration = Duration::from_secs(30);
const NAMESPACES: usize = 256;
/// Bytes of the services of a namespace, as the API server writes them: some five thousand.
const MOST: usize = 8 << 20;

/// What is read of a service.
#[derive(Deserialize)]
struct ServicePart {
    metadata: Named,
    spec: Option<ServiceSpec>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

impl From<ServicePart> for ApiService {
    fn from(part: ServicePart) -> Self {
        let mut service = Self {
            spec: part.spec,
            ..Self::default()
        };
        service.metadata.name = part.metadata.name;
        service
    }
}

type List = Arc<[Service]>;

/// An answer, and when it was asked for. Failures count as well: who waited for one does not wait for another.
struct Cell<T>(tokio::sync::Mutex<Option<(Instant, Result<T, Failure>)>>);

impl<T: Clone> Cell<T> {
    fn new() -> Self {
        Self(tokio::sync::Mutex::new(None))
    }

    /// Whether its answer is of no use any more; while one asks it is.
    fn is_stale(&self, fresh: Duration) -> bool {
        let now = Instant::now();
        self.0.try_lock().is_ok_and(|answer| {
            let asked = answer.as_ref().map(|(asked, _)| *asked);
            asked.is_some_and(|asked| asked + fresh < now)
        })
    }

    /// The answer, if it was asked for no longer than `fresh` ago, else what `ask` brings. One asks at a time.
    async fn get<F>(&self, fresh: Duration, ask: impl FnOnce() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let came = Instant::now();
        let mut answer = self.0.lock().await;
        if let Some((asked, answer)) = &*answer
            && *asked + fresh >= came
        {
            return answer.clone();
        }
        let asked = Instant::now();
        let new = ask().await;
        *answer = Some((asked, new.clone()));
        new
    }
}

/// Reads services as the node.
pub(super) struct Services {
    client: Client,
    /// What containers are told of the API server instead of its service.
    api_server: Option<Arc<Service>>,
    lists: Mutex<HashMap<String, Arc<Cell<List>>>>,
    kubernetes: Cell<Option<Arc<Service>>>,
}

impl Services {
    pub(super) fn new(client: Client, api_server: Option<Arc<Service>>) -> Self {
        Self {
            client,
            api_server,
            lists: Mutex::new(HashMap::new()),
            kubernetes: Cell::new(),
        }
    }

    /// Those of `namespace`, by name.
    pub(super) async fn of(&self, namespace: &str) -> Result<List, Failure> {
        let cell = {
            let mut lists = self.lists.lock();
            // Nobody needs the lists of before, which may be long.
            lists.retain(|of, cell| of == namespace || !cell.is_stale(FRESH));
            if lists.len() >= NAMESPACES && !lists.contains_key(namespace) {
                lists.clear();
            }
            let cell = lists.entry(namespace.to_owned());
            cell.or_insert_with(|| Arc::new(Cell::new())).clone()
        };
        cell.get(FRESH, || self.list(namespace)).await
    }

    async fn list(&self, namespace: &str) -> Result<List, Failure> {
        // From the API server's cache, as a kubelet's watch begins.
        let params = ListParams::default().match_any();
        let (mut services, mut bytes) = (Vec::<Service>::new(), 0_usize);
        let take = |part: ServicePart, length| {
            bytes = bytes.saturating_add(length);
            if bytes <= MOST {
                services.extend(Service::of(&part.into()));
            }
        };
        let read = each::<ApiService, _>(&self.client, Some(namespace), &params, take);
        let read = call::call("list services", CALL, read).await;
        read.map_err(|error| unreadable(namespace, &error))?;
        if bytes > MOST {
            return Err(Failure::reference(
                "ServicesTooLarge",
                format!(
                    "the services of namespace {namespace} have {bytes} bytes, of which {MOST} are read for the environment of \
                     pods; set enableServiceLinks: false"
                ),
            ));
        }
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(services.into())
    }

    /// That of the API server; `None` when the cluster has none.
    pub(super) async fn kubernetes(&self) -> Result<Option<Arc<Service>>, Failure> {
        if self.api_server.is_some() {
            return Ok(self.api_server.clone());
        }
        let ask = || async {
            let api = Api::<ApiService>::namespaced(self.client.clone(), KUBERNETES_NAMESPACE);
            let found = call::optional("get services", CALL, api.get(KUBERNETES)).await;
            let found = found.map_err(|error| unreadable(KUBERNETES_NAMESPACE, &error))?;
            Ok(found.as_ref().and_then(Service::of).map(Arc::new))
        };
        self.kubernetes.get(KUBERNETES_FRESH, ask).await
    }
}

fn unreadable(namespace: &str, error: &call::KubeError) -> Failure {
    Failure::transient(
        "ServicesUnreadable",
        format!("the services of namespace {namespace} could not be read: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_shares_answers_and_an_old_one_is_not_used() {
        let cell = Cell::new();
        let asked = AtomicU32::new(0);
        let get = || {
            cell.get(FRESH, || async {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(30)).await;
                Ok(number)
            })
        };
        let burst = futures::future::join_all((0..100).map(|_| get())).await;
        assert!(burst.iter().all(|answer| *answer == Ok(0)), "{burst:?}");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(get().await, Ok(0), "it began 90 ms ago");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(get().await, Ok(1));
    }

    /// Two services, each as long as the namespace says, in kilobytes.
    #[tokio::test(start_paused = true)]
    async fn lists_are_bounded_and_not_kept() {
        let server = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
            let namespace = request.uri().path().split('/').nth(4).unwrap().to_owned();
            let long = "x".repeat(namespace.parse::<usize>().unwrap() << 10);
            let service = serde_json::json!({
                "metadata": {"name": "s", "annotations": {"long": long}},
                "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]},
            });
            let list = serde_json::json!({"kind": "ServiceList", "metadata": {}, "items": [service, service]});
            let body = kube::client::Body::from(list.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        });
        let services = Services::new(Client::new(server, "default"), None);
        let found = services.of("100").await.unwrap();
        assert_eq!((found.len(), &*found[0].name), (2, "s"));
        assert!(services.of("3500").await.is_ok());
        let failure = services.of("4200").await.unwrap_err();
        assert_eq!(failure.reason, "ServicesTooLarge");
        tokio::time::sleep(Duration::from_secs(1)).await;
        services.of("1").await.unwrap();
        assert_eq!(services.lists.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_failure_does_not_wait_for_another() {
        let cell = Cell::<u32>::new();
        let begun = Instant::now();
        let get = || {
            cell.get(FRESH, || async {
                tokio::time::sleep(CALL).await;
                Err(Failure::transient("Test", "a test".to_owned()))
            })
        };
        let burst = futures::future::join_all((0..50).map(|_| get())).await;
        assert!(burst.iter().all(Result::is_err));
        assert_eq!(begun.elapsed(), CALL);
    }

    #[tokio::test]
    async fn an_api_server_that_is_told_is_not_asked_for() {
        let (mock, mut handle) = tower_test::mock::pair::<
            http::Request<kube::client::Body>,
            http::Response<kube::client::Body>,
        >();
        let told = Arc::new(Service::kubernetes("api.example.com", 6443));
        let services = Services::new(Client::new(mock, "default"), Some(told.clone()));
        assert_eq!(services.kubernetes().await, Ok(Some(told)));
        drop(services);
        assert!(handle.next_request().await.is_none());
    }
}
