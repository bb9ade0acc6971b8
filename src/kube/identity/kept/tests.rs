use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Response;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::Api;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::*;
use crate::kube::client::Impersonation;

/// An API server that accepts one way of impersonation at a time, and a node that knows them all.
#[derive(Default)]
struct Server {
    /// Number of the identity that is accepted; all others are forbidden everything.
    accepted: AtomicUsize,
    /// Nothing is granted at all.
    closed: AtomicBool,
    /// The API server cannot be reached.
    away: AtomicBool,
    acquired: Mutex<Vec<Instant>>,
}

fn answering(server: Arc<Server>, number: usize) -> Client {
    let service = tower::service_fn(move |_: Request<Body>| {
        let open = !server.closed.load(Ordering::Relaxed)
            && server.accepted.load(Ordering::Relaxed) == number;
        async move {
            let (code, body) = if open {
                (
                    200,
                    r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#,
                )
            } else {
                (
                    403,
                    r#"{"apiVersion":"v1","kind":"Status","code":403,"reason":"Forbidden","message":"no"}"#,
                )
            };
            let body = Body::from(body.as_bytes().to_vec());
            Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
        }
    });
    Client::new(service, "default")
}

struct Anew(Arc<Server>);

#[async_trait]
impl Acquire for Anew {
    async fn acquire(&self) -> Result<NodeIdentity, NodeIdentityError> {
        let server = &self.0;
        server.acquired.lock().push(Instant::now());
        if server.away.load(Ordering::Relaxed) {
            let op = "ask who the node is";
            return Err(crate::kube::call::KubeError::Timeout { op }.into());
        }
        if server.closed.load(Ordering::Relaxed) {
            return Err(NodeIdentityError::Forbidden {
                node: "n".to_owned(),
                hint: "add a rule".to_owned(),
            });
        }
        Ok(NodeIdentity {
            client: answering(server.clone(), server.accepted.load(Ordering::Relaxed)),
            mode: Impersonation::Legacy,
            unscoped: None,
        })
    }
}

async fn stage() -> (Arc<Server>, KeptIdentity, Api<Node>) {
    let server = Arc::new(Server::default());
    let kept = keep(Arc::new(Anew(server.clone())), "n").await.unwrap();
    let nodes = Api::<Node>::all(kept.client());
    (server, kept, nodes)
}

#[tokio::test(start_paused = true)]
async fn a_refused_identity_is_acquired_anew_and_the_client_goes_on() {
    let (server, kept, nodes) = stage().await;
    nodes.get("n").await.unwrap();
    server.accepted.store(1, Ordering::Relaxed);
    assert!(nodes.get("n").await.is_err());
    sleep(Duration::from_millis(1)).await;
    nodes.get("n").await.unwrap();
    assert_eq!(server.acquired.lock().len(), 2);
    assert_eq!(
        *kept.refused().borrow(),
        None,
        "it was never said to be refused"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_lasts_is_told_until_the_rule_is_back_at_a_bounded_cost() {
    let (server, kept, nodes) = stage().await;
    server.closed.store(true, Ordering::Relaxed);
    assert!(nodes.get("n").await.is_err());
    sleep(Duration::from_mins(10)).await;
    let refused = kept.refused();
    let told = refused.borrow().clone().unwrap();
    assert!(
        told.contains("may not act as node n") && told.contains("add a rule"),
        "{told}"
    );
    let attempts = server.acquired.lock().len();
    assert!(
        (50..=100).contains(&attempts),
        "{attempts} attempts in ten minutes"
    );

    server.closed.store(false, Ordering::Relaxed);
    server.accepted.store(7, Ordering::Relaxed);
    sleep(Duration::from_secs(13)).await;
    assert_eq!(*refused.borrow(), None);
    nodes.get("n").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_no_refusal() {
    let (server, kept, nodes) = stage().await;
    server.accepted.store(1, Ordering::Relaxed);
    server.away.store(true, Ordering::Relaxed);
    assert!(nodes.get("n").await.is_err());
    sleep(Duration::from_mins(1)).await;
    assert_eq!(*kept.refused().borrow(), None);
    server.away.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(13)).await;
    nodes.get("n").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_node_may_be_refused_is_no_reason() {
    let (server, kept, _) = stage().await;
    server.accepted.store(1, Ordering::Relaxed);
    let secrets = Api::<Secret>::namespaced(kept.client(), "ns");
    assert!(secrets.get("other").await.is_err());
    sleep(Duration::from_mins(1)).await;
    assert_eq!(server.acquired.lock().len(), 1);
}

#[test]
fn what_is_essential() {
    for (method, path, expected) in [
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n",
            true,
        ),
        (
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            true,
        ),
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/m",
            false,
        ),
        ("PATCH", "/api/v1/nodes/n/status", true),
        ("PATCH", "/api/v1/nodes/m/status", false),
        ("GET", "/api/v1/pods", true),
        ("GET", "/api/v1/namespaces/ns/pods/p", false),
        ("GET", "/api/v1/namespaces/ns/secrets/s", false),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", false),
    ] {
        assert_eq!(
            is_essential(&method.parse().unwrap(), path, "n"),
            expected,
            "{method} {path}"
        );
    }
}
