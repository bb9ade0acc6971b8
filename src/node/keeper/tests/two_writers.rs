//! Two processes keep the same Node, each as its own, on paused time against an API server of one Node.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::node::spec::tests::spec;

/// An API server that knows one Node and grants every Lease.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    node: Option<Value>,
    watches: Vec<mpsc::UnboundedSender<Bytes>>,
    /// When somebody has written the Node's status.
    status_writes: Vec<Instant>,
}

type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

fn answer(code: u16, body: &Value) -> Answer {
    let body = http_body_util::Full::new(Bytes::from(body.to_string())).boxed();
    Response::builder().status(code).body(body).unwrap()
}

/// As a strategic merge of a Node's status: conditions by type, everything else replaced.
fn merge(live: &mut Value, patch: &Value) {
    let (Some(fields), Some(changes)) = (live.as_object_mut(), patch.as_object()) else {
        let mut patch = patch.clone();
        if let Some(items) = patch.as_array_mut() {
            items.retain(|item| item.get("$patch").is_none());
        }
        *live = patch;
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else if key == "conditions" {
            let known = fields.entry(key).or_insert_with(|| json!([]));
            let known = known.as_array_mut().unwrap();
            for condition in change.as_array().unwrap() {
                known.retain(|before| before["type"] != condition["type"]);
                known.push(condition.clone());
            }
        } else {
            merge(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

impl State {
    fn store(&mut self, mut node: Value) -> Value {
        self.version += 1;
        node["metadata"]["resourceVersion"] = json!(self.version.to_string());
        node["metadata"]["uid"] = json!("uid");
        node["apiVersion"] = json!("v1");
        node["kind"] = json!("Node");
        self.node = Some(node.clone());
        let event = format!("{}\n", json!({"type": "MODIFIED", "object": node}));
        self.watches
            .retain(|watch| watch.send(Bytes::from(event.clone())).is_ok());
        node
    }
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                tokio::time::sleep(Duration::from_millis(5)).await;
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                Ok::<_, std::convert::Infallible>(server.serve(&head.method, &head.uri, body))
            }
        });
        Client::new(service, "default")
    }

    fn serve(&self, method: &Method, uri: &http::Uri, body: Value) -> Answer {
        let mut state = self.0.lock();
        let missing = || {
            answer(
                404,
                &json!({"kind": "Status", "code": 404, "reason": "NotFound"}),
            )
        };
        if uri.path().contains("/leases") {
            return match *method {
                Method::GET => missing(),
                _ => answer(200, &body),
            };
        }
        let named = uri.path() != "/api/v1/nodes";
        match (method.as_str(), named) {
            ("GET", false) if uri.query().unwrap_or_default().contains("watch=true") => {
                let (sender, events) = mpsc::unbounded_channel();
                let query = uri.query().unwrap_or_default();
                let from = query.rsplit("resourceVersion=").next();
                let from: u64 = from.and_then(|from| from.parse().ok()).unwrap_or_default();
                if let Some(node) = state.node.as_ref().filter(|_| from < state.version) {
                    let missed = format!("{}\n", json!({"type": "MODIFIED", "object": node}));
                    sender.send(Bytes::from(missed)).unwrap();
                }
                state.watches.push(sender);
                let events = stream::unfold(events, |mut events| async move {
                    let event: Bytes = events.recv().await?;
                    Some((Ok(Frame::data(event)), events))
                });
                Response::new(BoxBody::new(StreamBody::new(Box::pin(events))))
            }
            ("GET", false) => {
                let version = state.version.to_string();
                let items: Vec<&Value> = state.node.iter().collect();
                answer(
                    200,
                    &json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            ("GET", true) => state
                .node
                .as_ref()
                .map_or_else(missing, |node| answer(200, node)),
            ("POST", _) => {
                let node = state.store(body);
                answer(201, &node)
            }
            _ => {
                let Some(mut node) = state.node.clone() else {
                    return missing();
                };
                if uri.path().ends_with("/status") {
                    state.status_writes.push(Instant::now());
                }
                merge(&mut node, &body);
                let node = state.store(node);
                answer(200, &node)
            }
        }
    }

    fn writes_since(&self, start: Instant) -> usize {
        let writes = &self.0.lock().status_writes;
        writes.iter().filter(|at| **at >= start).count()
    }
}

struct Writer {
    registered: watch::Receiver<Registration>,
    _wanted: watch::Sender<NodeWanted>,
    _task: AbortOnDropHandle<()>,
}

/// A process that serves the node's kubelet API on this port.
fn writer(server: &Server, port: u16) -> Writer {
    let keeper = NodeKeeper {
        manager: server.client(),
        node: server.client(),
        kubelet_version: "v1".to_owned(),
    };
    let (wanted, wanted_rx) = watch::channel(NodeWanted {
        starting: false,
        spec: spec(),
        ready: true,
        reason: "Synced".to_owned(),
        message: "synced".to_owned(),
        azure: None,
        endpoint: Endpoint {
            ip: "10.0.0.1".to_owned(),
            kubelet_port: Some(port),
        },
    });
    let (registration, registered) = watch::channel(Registration::default());
    let task = tokio::spawn(keeper.run(wanted_rx, registration, CancellationToken::new()));
    Writer {
        registered,
        _wanted: wanted,
        _task: AbortOnDropHandle::new(task),
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn two_writers_of_one_status_back_off_and_say_so() {
    let server = Server::default();
    let first = writer(&server, 10_260);
    tokio::time::sleep(MINUTE).await;
    assert!(first.registered.borrow().registered);
    let start = Instant::now();
    let second = writer(&server, 10_261);
    tokio::time::sleep(MINUTE).await;
    let writes = server.writes_since(start);
    assert!(writes <= 20, "{writes} writes of the status in a minute");
    for writer in [&first, &second] {
        let registration = writer.registered.borrow().clone();
        assert!(registration.contested, "{registration:?}");
        let problem = registration.problem.unwrap_or_default();
        assert!(problem.contains("another process writes"), "{problem}");
    }
    let later = Instant::now();
    tokio::time::sleep(MINUTE * 30).await;
    let writes = server.writes_since(later);
    assert!(
        writes <= 40,
        "{writes} writes of the status in half an hour"
    );

    drop(second);
    tokio::time::sleep(MINUTE * 40).await;
    let registration = first.registered.borrow().clone();
    assert_eq!(
        (registration.problem, registration.contested),
        (None, false)
    );
    let state = server.0.lock();
    let port =
        &state.node.as_ref().unwrap()["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    assert_eq!(*port, 10_260, "the one that is left has the last word");
}

#[tokio::test(start_paused = true)]
async fn one_change_from_outside_is_put_right_at_once() {
    let server = Server::default();
    let only = writer(&server, 10_260);
    tokio::time::sleep(MINUTE).await;
    {
        let mut state = server.0.lock();
        let mut node = state.node.clone().unwrap();
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = json!(1);
        state.store(node);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let state = server.0.lock();
    let port =
        &state.node.as_ref().unwrap()["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    assert_eq!(*port, 10_260);
    assert_eq!(only.registered.borrow().problem, None);
}
