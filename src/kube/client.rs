//! Clients of the API server over one connection pool, each with its identity.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use super::call::KubeError;
use crate::fence::{Fence, Target};

/// How a node's identity is sent to the API server (conventions of KEP-5284, "constrained impersonation").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impersonation {
    /// API server 1.36 and later: the user alone; the server adds the group `system:nodes`.
    Constrained,
    /// Before: user and group are both sent.
    Legacy,
}

/// Sees every request to the API server. Implemented by the metrics.
pub trait Observer: Send + Sync {
    /// One request ended (for watches: it was answered). `code` is 0 when no answer came: a broken connection, or a
    /// caller that gave up. `resource` has the shape `pods` or `pods/status`.
    fn call(&self, verb: &'static str, resource: &str, code: u16, elapsed: Duration);
}

impl Observer for () {
    fn call(&self, _: &'static str, _: &str, _: u16, _: Duration) {}
}

/// Why the clients could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The configuration does not make a client (certificate, key, proxy).
    #[error("the kubeconfig cannot be used: {0}")]
    Config(KubeError),
    /// The kubeconfig impersonates already, so that the nodes' identities could not be sent.
    #[error(
        "the kubeconfig impersonates {user} (field `as`); virtual nodes need that header for themselves: use the credentials of the operator's own service account"
    )]
    AlreadyImpersonating {
        /// The user in the kubeconfig.
        user: String,
    },
}

/// How requests name who makes them. What stands before the slash is what `metadata.managedFields` of every object that
/// we write calls its manager.
const USER_AGENT: &str = concat!("virtual-kubelet-connector/", env!("CARGO_PKG_VERSION"));

/// The factory. Cheap to clone; all clients that do not retry share one pool of connections and one TLS set-up.
#[derive(Clone)]
pub struct Clients {
    manager: Client,
    plain: Client,
    pool: Client,
    observer: Arc<dyn Observer>,
    fence: Option<Arc<dyn Fence>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    /// Makes the clients. Needs a Tokio runtime and an installed rustls provider.
    ///
    /// # Errors
    /// When the configuration is unusable, or impersonates somebody by itself.
    pub fn new(mut config: Config, observer: Arc<dyn Observer>) -> Result<Self, ClientsError> {
        if let Some(user) = config.auth_info.impersonate.clone() {
            return Err(ClientsError::AlreadyImpersonating { user });
        }
        config.connect_timeout = Some(Duration::from_secs(5));
        // A watch may be silent for minutes; unary calls have their own time-out in `call`.
        config.read_timeout = None;
        config.write_timeout = Some(Duration::from_secs(30));
        let client = |config: Config| {
            Client::try_from(config)
                .map_err(|e| ClientsError::Config(KubeError::new("make a client", &e)))
        };
        // Retries are ours, so that each of them passes the fence: see `over`.
        config.default_retry = false;
        Ok(Self::over_pool(client(config)?, observer, None))
    }

    /// Clients of a server that a test makes up.
    #[cfg(test)]
    pub(crate) fn of(server: Client) -> Self {
        Self::over_pool(server, Arc::new(()), None)
    }

    fn over_pool(pool: Client, observer: Arc<dyn Observer>, fence: Option<Arc<dyn Fence>>) -> Self {
        let make = |retries| {
            over(
                pool.clone(),
                Vec::new(),
                observer.clone(),
                fence.clone(),
                retries,
            )
        };
        Self {
            manager: make(true),
            plain: make(false),
            pool,
            observer,
            fence,
        }
    }

    /// The same clients for the work on one connector: they ask `fence` before each request that is no read.
    #[must_use]
    pub fn fenced(&self, fence: Arc<dyn Fence>) -> Self {
        Self::over_pool(self.pool.clone(), self.observer.clone(), Some(fence))
    }

    /// The operator's own identity; 429, 503 and 504 are retried inside the caller's time-out.
    pub fn operator(&self) -> Client {
        self.manager.clone()
    }

    /// The operator's own identity without any hidden retry: for leases, where a silent wait is a lost lease, and for
    /// evictions, where 429 is an answer.
    pub fn operator_no_retry(&self) -> Client {
        self.plain.clone()
    }

    /// A client that acts as `system:node:<node>`, without hidden retries.
    ///
    /// # Errors
    /// When `node` cannot stand in an HTTP header; a valid Node name always can.
    pub fn as_node(&self, node: &str, mode: Impersonation) -> Result<Client, KubeError> {
        let user = HeaderValue::from_str(&format!("system:node:{node}")).map_err(|e| {
            KubeError::Transport {
                op: "act as the node",
                message: e.to_string(),
            }
        })?;
        let mut headers = vec![(HeaderName::from_static("impersonate-user"), user)];
        if mode == Impersonation::Legacy {
            let group = HeaderValue::from_static("system:nodes");
            headers.push((HeaderName::from_static("impersonate-group"), group));
        }
        Ok(over(
            self.pool.clone(),
            headers,
            self.observer.clone(),
            self.fence.clone(),
            false,
        ))
    }
}

type Sending = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

/// A client that adds `headers` to each request, reports it, and sends it through `pool`; with `retries`, what the API
/// server is too busy for is sent again. The fence is asked last, before each time that a request is sent.
fn over(
    pool: Client,
    headers: Vec<(HeaderName, HeaderValue)>,
    observer: Arc<dyn Observer>,
    fence: Option<Arc<dyn Fence>>,
    retries: bool,
) -> Client {
    let namespace = pool.default_namespace().to_owned();
    let sending = service_fn(move |mut request: Request<Body>| {
        request.headers_mut().extend(headers.iter().cloned());
        let name = HeaderValue::from_static(USER_AGENT);
        request.headers_mut().insert(header::USER_AGENT, name);
        let pool = pool.clone();
        let refused = fence
            .as_ref()
            .filter(|_| is_write(request.method(), request.uri()))
            .and_then(|fence| fence.allow(Target::ApiServer).err());
        async move {
            match refused {
                Some(refused) => Err(BoxError::from(refused)),
                None => pool.send(request).await.map_err(BoxError::from),
            }
        }
    });
    let sending: Sending = if retries {
        let retry = RetryLayer::new(RetryPolicy::server_retry());
        BoxCloneService::new(retry.layer(sending))
    } else {
        BoxCloneService::new(sending)
    };
    let service = service_fn(move |request: Request<Body>| {
        let mut report = Report::new(&request, observer.clone());
        let sending = sending.clone();
        async move {
            let answer = sending.oneshot(request).await;
            if let Ok(answer) = &answer {
                report.code = answer.status().as_u16();
            }
            drop(report);
            answer
        }
    });
    Client::new(service, namespace)
}

/// Whether a request changes anything. Reviews are questions, although they are sent by POST. PURE.
fn is_write(method: &Method, uri: &Uri) -> bool {
    let review = || {
        let last = uri.path().rsplit('/').next().unwrap_or_default();
        last.ends_with("reviews")
    };
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => false,
        Method::POST => !review(),
        _ => true,
    }
}

/// Reports one request when it goes out of scope, so that a caller's time-out is seen as well.
struct Report {
    verb: &'static str,
    resource: String,
    code: u16,
    started: Instant,
    observer: Arc<dyn Observer>,
}

impl Report {
    fn new(request: &Request<Body>, observer: Arc<dyn Observer>) -> Self {
        let (verb, resource) = operation(request.method(), request.uri());
        Self {
            verb,
            resource,
            code: 0,
            started: Instant::now(),
            observer,
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.observer
            .call(self.verb, &self.resource, self.code, self.started.elapsed());
    }
}

/// Verb and resource of a request, as RBAC names them. PURE.
///
/// Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>.
fn operation(method: &Method, uri: &Uri) -> (&'static str, String) {
    let parts: Vec<&str> = uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = parts.as_slice() else {
        return (verb(method, uri, true), "nonresource".to_owned());
    };
    let (resource, named) = match rest {
        ["namespaces", _, "status" | "finalize"] => ("namespaces".to_owned(), true),
        ["namespaces", _, resource, _, subresource, ..] | [resource, _, subresource, ..]
            if *resource != "namespaces" =>
        {
            (format!("{resource}/{subresource}"), true)
        }
        ["namespaces", _, resource] | [resource] => ((*resource).to_owned(), false),
        ["namespaces", _, resource, _] | [resource, _] => ((*resource).to_owned(), true),
        _ => ("nonresource".to_owned(), true),
    };
    (verb(method, uri, named), resource)
}

fn verb(method: &Method, uri: &Uri, named: bool) -> &'static str {
    match *method {
        Method::GET
            if uri
                .query()
                .is_some_and(|q| q.split('&').any(|p| p == "watch=true")) =>
        {
            "watch"
        }
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use k8s_openapi::api::core::v1::Node;
    use kube::Api;
    use kube::api::{Patch, PatchParams, PostParams};
    use parking_lot::Mutex;

    use super::*;
    use crate::fence::{Closed, NotHeld};
    use crate::kube::call::call;

    #[derive(Debug, Default)]
    struct Switch(AtomicBool);

    impl Fence for Switch {
        fn allow(&self, target: Target) -> Result<(), NotHeld> {
            if self.0.load(Ordering::SeqCst) {
                Closed("c".to_owned()).allow(target)
            } else {
                Ok(())
            }
        }
    }

    /// An API server that is too busy for writes, and what it was asked.
    fn busy() -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let service = service_fn(move |request: Request<Body>| {
            log.lock().push(request.method().to_string());
            let code = if request.method() == Method::GET {
                404
            } else {
                503
            };
            let answer = Response::builder().status(code).body(Body::empty());
            async move { answer }
        });
        (Client::new(service, "default"), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_fence_lets_reads_pass_and_writes_neither_go_nor_go_again() {
        let (pool, asked) = busy();
        let fence = Arc::new(Switch::default());
        let clients = Clients::over_pool(pool, Arc::new(()), None).fenced(fence.clone());
        let nodes = Api::<Node>::all(clients.operator());
        let (post, node) = (PostParams::default(), Node::default());
        let retried = call(
            "create the Node",
            Duration::from_secs(60),
            nodes.create(&post, &node),
        );
        let closing = async {
            // Between two of its repetitions.
            while asked.lock().len() < 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            fence.0.store(true, Ordering::SeqCst);
        };
        let (result, ()) = tokio::join!(retried, closing);
        let error = result.unwrap_err();
        assert!(error.is_not_held(), "{error}");
        assert_eq!(error.reason(), "ConnectorNotHeld");
        assert_eq!(*asked.lock(), ["POST", "POST", "POST"]);
        asked.lock().clear();

        let as_node = Api::<Node>::all(clients.as_node("n", Impersonation::Constrained).unwrap());
        let (params, patch) = (PatchParams::default(), serde_json::json!({}));
        let patch = Patch::Merge(&patch);
        for api in [&nodes, &as_node] {
            let error = call(
                "write the Node's status",
                Duration::from_secs(1),
                api.patch_status("n", &params, &patch),
            );
            assert!(error.await.unwrap_err().is_not_held());
            let read = call("get the Node", Duration::from_secs(1), api.get("n"));
            assert!(read.await.unwrap_err().is_not_found());
        }
        assert_eq!(*asked.lock(), ["GET", "GET"]);
    }

    #[test]
    fn reviews_are_questions() {
        let write = |method: Method, path: &str| is_write(&method, &path.parse().unwrap());
        assert!(!write(
            Method::POST,
            "/apis/authorization.k8s.io/v1/subjectaccessreviews?"
        ));
        assert!(!write(Method::GET, "/api/v1/pods?watch=true"));
        assert!(write(
            Method::POST,
            "/api/v1/namespaces/a/serviceaccounts/b/token"
        ));
        assert!(write(Method::POST, "/api/v1/namespaces/a/pods/b/eviction"));
        assert!(write(Method::DELETE, "/api/v1/nodes/n"));
    }

    #[tokio::test]
    async fn requests_say_who_makes_them() {
        let (mock, mut handle) = tower_test::mock::pair::<Request<Body>, http::Response<Body>>();
        let pool = Client::new(mock, "default");
        let client = over(pool, Vec::new(), Arc::new(()), None, false);
        let request = Request::get("/version").body(Vec::new()).unwrap();
        let answer = tokio::spawn(async move { client.request_text(request).await });
        let (request, reply) = handle.next_request().await.unwrap();
        let name = request.headers()[header::USER_AGENT].to_str().unwrap();
        // The API server takes what stands before the slash for `managedFields`.
        assert_eq!(name.split('/').next(), Some("virtual-kubelet-connector"));
        assert!(name.ends_with(env!("CARGO_PKG_VERSION")), "{name}");
        reply.send_response(http::Response::new(Body::empty()));
        answer.await.unwrap().unwrap();
    }

    #[test]
    fn operations_are_named_as_rbac_names_them() {
        let cases = [
            (
                "GET",
                "/api/v1/pods?fieldSelector=x&watch=true",
                "watch",
                "pods",
            ),
            ("GET", "/api/v1/pods?", "list", "pods"),
            ("GET", "/api/v1/namespaces/a/secrets/b", "get", "secrets"),
            (
                "GET",
                "/api/v1/namespaces/a/secrets?limit=2",
                "list",
                "secrets",
            ),
            ("GET", "/api/v1/namespaces/kube-system", "get", "namespaces"),
            (
                "PATCH",
                "/api/v1/namespaces/a/pods/b/status?",
                "patch",
                "pods/status",
            ),
            ("PATCH", "/api/v1/nodes/n/status?", "patch", "nodes/status"),
            ("POST", "/api/v1/nodes", "create", "nodes"),
            ("DELETE", "/api/v1/nodes/n", "delete", "nodes"),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n",
                "update",
                "leases",
            ),
            ("GET", "/version", "get", "nonresource"),
        ];
        for (method, uri, verb, resource) in cases {
            let got = operation(&method.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(got, (verb, resource.to_owned()), "{method} {uri}");
        }
    }
}
