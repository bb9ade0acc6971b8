use std::convert::Infallible;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::azure::AzureError;
use crate::azure::monitor::Series;
use crate::azure::throttle::LogPollScheduler;
use crate::kubelet::client_ca;
use crate::pods::snapshot::{self, RunningContainer, RunningPod};
use crate::provider::LogPart;
use crate::provider::exec::{Attached, Command, ExecError, Exit, Streams};
use crate::translate::PodKey;

/// Containers that nothing is known of.
struct Nothing;

#[async_trait]
impl Containers for Nothing {
    async fn logs(&self, _: &PodKey, _: &str, _: LogPart) -> Result<String, AzureError> {
        Ok(String::new())
    }

    async fn address(&self, _: &PodKey) -> Result<Option<std::net::IpAddr>, AzureError> {
        Ok(None)
    }

    fn log_polls(&self) -> Arc<LogPollScheduler> {
        Arc::default()
    }

    fn plan_metrics(&self, _: f64) {}

    async fn usage(&self, _: &PodKey, _: i64, _: i64, _: bool) -> Result<Vec<Series>, AzureError> {
        Ok(Vec::new())
    }

    async fn exec(&self, _: &PodKey, _: &str, _: &Command, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }

    async fn attach(&self, _: &PodKey, _: &Attached<'_>, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }
}

/// An API server that refuses everything, and what it was asked.
fn refusing() -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        log.lock().push(request.uri().to_string());
        let answer = http::Response::builder().status(500).body(Body::empty());
        async move { Ok::<_, Infallible>(answer.unwrap()) }
    });
    (Client::new(service, "default"), asked)
}

fn kubelet(client: &Client) -> State<Arc<Kubelet>> {
    let (sender, node_pods) = snapshot::channel();
    let at = Timestamp::from_second(600).unwrap();
    sender.send_replace(Arc::new(NodePods {
        running: vec![Arc::new(RunningPod {
            key: PodKey {
                namespace: "ns".into(),
                name: "web".into(),
                uid: "u1".into(),
            },
            created: Some(at),
            started: Some(at),
            containers: [RunningContainer {
                name: "main".into(),
                image: "example.com/web".into(),
                init: false,
                since: at,
            }]
            .into(),
            volumes: None,
        })],
    }));
    let containers: Arc<dyn Containers> = Arc::new(Nothing);
    let pods = Pods::new(client.clone(), "n".into());
    let cancel = CancellationToken::new();
    State(Arc::new(Kubelet {
        node: "n".into(),
        ip: [10, 0, 0, 1].into(),
        authenticator: Authenticator::new(client_ca::channel().1, client.clone()),
        authorizer: Authorizer::new("n".into(), client.clone()),
        logs: Logs::new(
            pods.clone(),
            containers.clone(),
            crate::kubelet::Texts::default(),
            cancel.clone(),
        ),
        stats: Stats::new("n".into(), node_pods.clone(), containers.clone()),
        pods,
        node_pods,
        probes: crate::pods::ProbeCounts::default(),
        containers,
        sessions: SessionTracker::new(cancel),
        streams: StreamSlots::new(1, 1),
        observer: Arc::new(()),
    }))
}

async fn text(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_scrape_asks_the_api_server_nothing() {
    let (client, asked) = refusing();
    let kubelet = kubelet(&client);
    let own = text(metrics(kubelet.clone()).await).await;
    assert!(own.contains("kubelet_running_pods 1\n"), "{own}");
    let resource = text(metrics_resource(kubelet.clone()).await).await;
    assert!(resource.ends_with("resource_scrape_error 0\n"));
    let request = Request::new(axum::body::Body::empty());
    let summary = text(stats_summary(kubelet.clone(), request).await).await;
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["uid"], "u1");
    assert_eq!(summary["pods"][0]["startTime"], "1970-01-01T00:10:00Z");
    let running = text(running(kubelet).await).await;
    let running: serde_json::Value = serde_json::from_str(&running).unwrap();
    let pod = &running["items"][0];
    assert_eq!(
        *pod,
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "ns", "uid": "u1", "creationTimestamp": "1970-01-01T00:10:00Z"},
            "spec": {"containers": [{"name": "main", "image": "example.com/web"}]},
            "status": {"phase": "Running", "startTime": "1970-01-01T00:10:00Z"},
        })
    );
    assert_eq!(*asked.lock(), [""; 0]);
}

#[tokio::test]
async fn all_pods_are_listed_from_the_api_servers_memory() {
    let (client, asked) = refusing();
    assert!(list(kubelet(&client)).await.is_err());
    let asked = asked.lock().join(" ");
    assert!(asked.contains("fieldSelector=spec.nodeName%3Dn"), "{asked}");
    assert!(asked.contains("resourceVersion=0"), "{asked}");
    assert!(!asked.contains("limit="), "{asked}");
}
