//! Whole reconciles on paused time, against an API server of one connector and agents that do what the test says.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::*;
use crate::agent::{AgentSpec, AgentStatus};
use crate::api::conditions::{self, PROVIDER_REGISTERED, STALLED, Status};
use crate::azure::{ArmClient, Limiters};
use crate::connector::supervisor::{AgentFactory, RunningAgent, StartError};
use crate::connector::validate::tests::spec;
use crate::connector::{ARRIVAL, Observer, PreflightIntervals};
use crate::ownership::Ownership;
use crate::translate::ClusterDns;

const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";
const OTHER: &str = "99999999-8888-7777-6666-555555555555";
const PATH: &str = "/apis/virtual-kubelet.io/v1alpha1/virtualkubeletconnectors/vk";

/// An API server with one connector, one Secret and some Nodes.
#[derive(Clone)]
struct Server(Arc<Mutex<World>>);

struct World {
    connector: Value,
    /// Subscription in the Secret; `None`: there is no Secret.
    secret: Option<&'static str>,
    nodes: BTreeSet<String>,
    pods: Vec<Value>,
    version: u64,
    writes: Vec<String>,
    notes: Vec<String>,
}

impl World {
    fn respond(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        if *method != Method::GET {
            self.writes.push(format!("{method} {path}"));
        }
        let missing = (
            404,
            json!({"kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound"}),
        );
        let named = |object: &mut Value, version: u64| {
            object["metadata"]["resourceVersion"] = json!(version.to_string());
        };
        match (method.as_str(), path) {
            ("GET", "/api/v1/namespaces/kube-system") => (
                200,
                json!({"metadata": {"name": "kube-system", "uid": "cluster"}}),
            ),
            ("GET", "/api/v1/namespaces/vkc-system/secrets/sp") => match self.secret {
                None => missing,
                Some(subscription) => {
                    let data = [
                        ("AZURE_TENANT_ID", "t"),
                        ("AZURE_CLIENT_ID", "c"),
                        ("AZURE_CLIENT_SECRET", "s3cr3t"),
                        ("AZURE_SUBSCRIPTION_ID", subscription),
                    ];
                    let data = data.map(|(key, value)| {
                        let value = k8s_openapi::ByteString(value.as_bytes().to_vec());
                        (key.to_owned(), json!(value))
                    });
                    let data: serde_json::Map<String, Value> = data.into_iter().collect();
                    let meta =
                        json!({"name": "sp", "uid": "secret", "resourceVersion": subscription});
                    (200, json!({"metadata": meta, "data": data}))
                }
            },
            ("PATCH", PATH) => {
                self.version += 1;
                self.connector["metadata"]["finalizers"] = body["metadata"]["finalizers"].clone();
                named(&mut self.connector, self.version);
                let mut meta = self.connector.clone();
                meta["apiVersion"] = json!("meta.k8s.io/v1");
                meta["kind"] = json!("PartialObjectMetadata");
                (200, meta)
            }
            ("PATCH", status) if status.starts_with(PATH) => {
                self.version += 1;
                self.connector["status"] = body["status"].clone();
                named(&mut self.connector, self.version);
                (200, self.connector.clone())
            }
            ("GET", "/api/v1/pods") => (
                200,
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.pods}),
            ),
            ("GET" | "DELETE", node) if node.starts_with("/api/v1/nodes/") => {
                let name = node.trim_start_matches("/api/v1/nodes/").to_owned();
                if !self.nodes.contains(&name) {
                    return missing;
                }
                if *method == Method::DELETE {
                    self.nodes.remove(&name);
                }
                let owner = json!([{
                    "apiVersion": "virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector", "name": "vk",
                    "uid": "uid-1", "controller": true,
                }]);
                let labels =
                    json!({"type": "virtual-kubelet", "virtual-kubelet.io/connector": "vk"});
                let meta = json!({"name": name, "uid": "node", "ownerReferences": owner, "labels": labels});
                (
                    200,
                    json!({"apiVersion": "v1", "kind": "Node", "metadata": meta}),
                )
            }
            (_, events) if events.starts_with("/apis/events.k8s.io") => {
                self.notes
                    .extend(body["note"].as_str().map(ToOwned::to_owned));
                (201, body.clone())
            }
            _ => missing,
        }
    }
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) =
                    server
                        .0
                        .lock()
                        .respond(&parts.method, parts.uri.path(), &body);
                let body = Full::new(Bytes::from(answer.to_string()));
                Ok::<_, std::convert::Infallible>(
                    Response::builder().status(code).body(body).unwrap(),
                )
            }
        });
        Client::new(service, "default")
    }
}

/// Agents that are Ready as soon as they run.
#[derive(Default)]
struct Agents {
    starting: AtomicU64,
    starts: AtomicU32,
    arms: Mutex<Vec<String>>,
    kept: Mutex<Vec<watch::Sender<AgentStatus>>>,
}

struct Agent(watch::Receiver<AgentStatus>);

#[async_trait]
impl AgentFactory for Agents {
    async fn start(
        &self,
        _: AgentSpec,
        arm: Arc<ArmClient>,
    ) -> Result<Box<dyn RunningAgent>, StartError> {
        sleep(Duration::from_secs(self.starting.load(Ordering::Relaxed))).await;
        self.starts.fetch_add(1, Ordering::Relaxed);
        self.arms.lock().push(arm.subscription_id().to_owned());
        let (sender, status) = watch::channel(AgentStatus {
            registered: true,
            ready: true,
            synced: true,
            pods: 1,
            container_groups: 1,
            ..AgentStatus::default()
        });
        self.kept.lock().push(sender);
        Ok(Box::new(Agent(status)))
    }
}

#[async_trait]
impl RunningAgent for Agent {
    fn status(&self) -> watch::Receiver<AgentStatus> {
        self.0.clone()
    }

    fn update(&self, _: AgentSpec) {}

    async fn stop(self: Box<Self>) {}
}

#[derive(Default)]
struct Left(AtomicU32);

impl Observer for Left {
    fn credential_expiry(&self, _: &str, _: Option<i64>) {}

    fn groups_left(&self, _: &str, groups: u32) {
        self.0.fetch_add(groups, Ordering::Relaxed);
    }
}

struct Stage {
    reconciler: Reconciler,
    server: Server,
    agents: Arc<Agents>,
    left: Arc<Left>,
    changed: mpsc::Receiver<String>,
}

impl Stage {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut connector = json!(VirtualKubeletConnector::new(
            "vk",
            spec(&json!({"publicIP": true}))
        ));
        connector["metadata"] =
            json!({"name": "vk", "uid": "uid-1", "generation": 1, "resourceVersion": "1"});
        let server = Server(Arc::new(Mutex::new(World {
            connector,
            secret: Some(SUBSCRIPTION),
            nodes: BTreeSet::new(),
            pods: Vec::new(),
            version: 1,
            writes: Vec::new(),
            notes: Vec::new(),
        })));
        let (trigger, changed) = mpsc::channel(64);
        let (agents, left) = (Arc::new(Agents::default()), Arc::new(Left::default()));
        let (events, _) = Events::spawn(server.client(), "test");
        let context = Context {
            clients: crate::kube::client::Clients::of(server.client()),
            namespace: "vkc-system".to_owned(),
            environment: crate::connector::identity::Environment::default(),
            cluster_dns: ClusterDns::default(),
            agents: agents.clone(),
            ownership: Ownership::alone(),
            limiters: Limiters::new(),
            arm_observer: Arc::new(()),
            observer: left.clone(),
            pace: PreflightIntervals::default(),
            arrival: ARRIVAL,
            instance: "test".to_owned(),
            ready: Arc::new(|| {}),
        };
        let reconciler = Reconciler {
            supervisor: Arc::new(Supervisor::new(agents.clone(), trigger.clone())),
            context,
            events,
            trigger,
            states: Mutex::default(),
            cluster_uid: OnceCell::new(),
            held: Held::default(),
        };
        Self {
            reconciler,
            server,
            agents,
            left,
            changed,
        }
    }

    /// Azure accepts the connector with this subscription.
    async fn accepted(&self, subscription: &str) {
        let key = PreflightKey {
            generation: 1,
            secret_version: Some(subscription.to_owned()),
            requested_at: [None, None],
            arm: 1,
        };
        let finding = ConditionUpdate {
            condition: PROVIDER_REGISTERED,
            status: Status::True,
            reason: reason::REGISTERED,
            message: "registered".to_owned(),
            blocks: false,
            stalled: false,
        };
        let state = self.reconciler.state("uid-1");
        state.lock().await.assume(key, vec![finding]);
    }

    fn connector(&self) -> VirtualKubeletConnector {
        serde_json::from_value(self.server.0.lock().connector.clone()).unwrap()
    }

    async fn reconcile(&self) -> Action {
        self.reconciler.reconcile(&self.connector()).await.unwrap()
    }

    /// Status and reason of `Ready`, and whether the connector is stalled.
    fn ready(&self) -> (String, String, bool) {
        let status = self.connector().status.unwrap_or_default();
        let ready = conditions::find(&status.conditions, conditions::READY).unwrap();
        let stalled = conditions::find(&status.conditions, STALLED).is_some();
        (ready.status.clone(), ready.reason.clone(), stalled)
    }

    /// Reconciles until both agents run and the connector is Ready.
    async fn running(&mut self) {
        self.accepted(SUBSCRIPTION).await;
        self.reconcile().await;
        for _ in 0..2 {
            self.changed.recv().await.unwrap();
            self.reconcile().await;
        }
        assert_eq!(self.ready(), ("True".into(), "NodesReady".into(), false));
    }

    fn writes(&self) -> usize {
        self.server.0.lock().writes.len()
    }

    fn starts(&self) -> u32 {
        self.agents.starts.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_azure_accepts_gets_its_finalizer_its_agents_and_its_pin() {
    let mut stage = Stage::new();
    stage.running().await;
    assert_eq!(stage.starts(), 2);
    let connector = stage.connector();
    assert!(connector.finalizers().contains(&FINALIZER.to_owned()));
    let scope = connector.status.unwrap().azure_scope.unwrap();
    assert_eq!(scope.subscription_id, SUBSCRIPTION);
    assert_eq!(scope.tenant_id.as_deref(), Some("t"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connector_is_not_written() {
    let mut stage = Stage::new();
    stage.running().await;
    sleep(SETTLING + Duration::from_secs(1)).await;
    stage.reconcile().await;
    let before = stage.writes();
    for _ in 0..5 {
        sleep(Duration::from_mins(1)).await;
        stage.reconcile().await;
    }
    assert_eq!(stage.writes(), before, "{:?}", stage.server.0.lock().writes);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_slowly_holds_up_no_reconcile() {
    let mut stage = Stage::new();
    stage.agents.starting.store(40, Ordering::Relaxed);
    stage.accepted(SUBSCRIPTION).await;
    let begun = Instant::now();
    for _ in 0..3 {
        stage.reconcile().await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(stage.ready().1, "NodesNotReady");
    for _ in 0..2 {
        stage.changed.recv().await.unwrap();
        stage.reconcile().await;
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(40));
    assert_eq!(
        (stage.starts(), stage.ready().1.as_str()),
        (2, "NodesReady")
    );
}

#[tokio::test(start_paused = true)]
async fn another_subscription_in_the_secret_restarts_nothing() {
    let mut stage = Stage::new();
    stage.running().await;
    stage.server.0.lock().secret = Some(OTHER);
    stage.accepted(OTHER).await;
    for _ in 0..3 {
        stage.reconcile().await;
        sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(
        stage.ready(),
        ("False".into(), "SubscriptionChanged".into(), true)
    );
    assert_eq!(stage.starts(), 2, "nothing was restarted");
    let status = stage.connector().status.unwrap();
    assert_eq!(status.azure_scope.unwrap().subscription_id, SUBSCRIPTION);
    assert!(status.nodes.iter().all(|node| node.ready == Some(true)));
    stage.server.0.lock().secret = Some(SUBSCRIPTION);
    stage.accepted(SUBSCRIPTION).await;
    stage.reconcile().await;
    assert_eq!(
        (stage.ready().1.as_str(), stage.starts()),
        ("NodesReady", 2)
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_with_another_subscription_the_agents_start_where_the_groups_are() {
    let mut stage = Stage::new();
    stage.running().await;
    let world = {
        let mut world = stage.server.0.lock();
        world.secret = Some(OTHER);
        world.connector.clone()
    };
    let again = Stage::new();
    {
        let mut now = again.server.0.lock();
        now.connector = world;
        now.secret = Some(OTHER);
        for os in [Os::Linux, Os::Windows] {
            now.nodes.insert(node_name("vk", os, "eastus"));
        }
    }
    again.reconcile().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        again.agents.arms.lock().clone(),
        [SUBSCRIPTION, SUBSCRIPTION]
    );
    again.reconcile().await;
    assert_eq!(
        again.ready(),
        ("False".into(), "SubscriptionChanged".into(), true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_operator_does_not_make_ready_flap() {
    let mut stage = Stage::new();
    stage.running().await;
    let mut again = Stage::new();
    again.server = stage.server.clone();
    again.reconciler.context.clients = crate::kube::client::Clients::of(stage.server.client());
    again.agents.starting.store(2, Ordering::Relaxed);
    again.accepted(SUBSCRIPTION).await;
    // Azure takes its time for the first answer.
    sleep(Duration::from_secs(20)).await;
    let before = stage.writes();
    for _ in 0..3 {
        again.reconcile().await;
        assert_eq!(again.ready(), ("True".into(), "NodesReady".into(), false));
        sleep(Duration::from_secs(1)).await;
    }
    again.reconcile().await;
    let writes = stage.server.0.lock().writes.clone();
    assert_eq!(writes.len(), before, "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_without_its_secret_ends_an_hour_after_the_drain_and_names_what_is_left() {
    let mut stage = Stage::new();
    stage.running().await;
    let now = Timestamp::now().to_string();
    {
        let mut world = stage.server.0.lock();
        world.secret = None;
        world.connector["metadata"]["deletionTimestamp"] = json!(now);
        world.connector["metadata"]["generation"] = json!(2);
        world.nodes.insert(node_name("vk", Os::Linux, "eastus"));
        world.pods = vec![json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "pod-1", "deletionTimestamp": now},
            "spec": {"containers": []},
        })];
    }
    let begun = Instant::now();
    let limit = Duration::from_mins(65);
    loop {
        stage.reconcile().await;
        let finalizers = stage.connector().finalizers().to_vec();
        if finalizers.is_empty() {
            break;
        }
        if begun.elapsed() < limit {
            assert_eq!(
                stage.ready().1,
                "DeletionBlocked",
                "after {:?}",
                begun.elapsed()
            );
        }
        assert!(
            begun.elapsed() < limit + Duration::from_mins(2),
            "it never ends"
        );
        sleep(Duration::from_secs(30)).await;
    }
    assert!(begun.elapsed() >= limit, "too soon: {:?}", begun.elapsed());
    sleep(Duration::from_mins(1)).await;
    assert_eq!(
        stage.left.0.load(Ordering::Relaxed),
        2,
        "one by each agent's count"
    );
    let world = stage.server.0.lock();
    assert!(world.nodes.is_empty());
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups/"
    );
    assert!(
        world.notes.iter().any(|note| note.contains(&id)),
        "{:?}",
        world.notes
    );
}

/// A clock that is an hour ahead must not skip a drain, one that is behind must not prolong it, and a restart must not begin
/// it anew.
#[tokio::test(start_paused = true)]
async fn a_drain_takes_its_time_whatever_the_clocks_say_and_goes_on_after_a_restart() {
    for ahead in [-3600, 0, 3600] {
        let mut stage = Stage::new();
        stage.running().await;
        {
            let mut world = stage.server.0.lock();
            let at = Timestamp::now() - k8s_openapi::jiff::SignedDuration::from_secs(ahead);
            world.connector["metadata"]["deletionTimestamp"] = json!(at.to_string());
            world.connector["metadata"]["generation"] = json!(2);
            world.nodes.insert(node_name("vk", Os::Linux, "eastus"));
            world.nodes.insert(node_name("vk", Os::Windows, "eastus"));
            world.pods = vec![json!({
                "metadata": {"name": "p", "namespace": "ns", "uid": "pod-1"},
                "spec": {"containers": []},
            })];
        }
        let begun = Instant::now();
        let deleted = |stage: &Stage| {
            let world = stage.server.0.lock();
            world
                .writes
                .iter()
                .any(|it| it == "DELETE /api/v1/namespaces/ns/pods/p")
        };
        while begun.elapsed() < Duration::from_secs(180) {
            stage.reconcile().await;
            assert!(!deleted(&stage), "{ahead}: after {:?}", begun.elapsed());
            sleep(Duration::from_secs(2)).await;
        }
        let mut again = Stage::new();
        again.server = stage.server.clone();
        again.reconciler.context.clients = crate::kube::client::Clients::of(stage.server.client());
        again.accepted(SUBSCRIPTION).await;
        while !deleted(&again) {
            again.reconcile().await;
            sleep(Duration::from_secs(2)).await;
            assert!(
                begun.elapsed() < Duration::from_secs(400),
                "{ahead}: it never ends"
            );
        }
        // Half a minute is what a restart may cost, and the agent's start some seconds.
        let took = begun.elapsed().as_secs();
        assert!((300..345).contains(&took), "{ahead}: after {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_comes_late_stalls_nothing_and_one_that_does_not_come_does() {
    let stage = Stage::new();
    stage.server.0.lock().secret = None;
    let action = stage.reconcile().await;
    let missing = || ("False".to_owned(), "SecretNotFound".to_owned());
    assert_eq!(stage.ready(), (missing().0, missing().1, false));
    assert!(
        format!("{action:?}") <= format!("{:?}", Action::requeue(ARRIVAL)),
        "it looks again when the time is over: {action:?}"
    );
    sleep(ARRIVAL.checked_sub(Duration::from_secs(1)).unwrap()).await;
    stage.reconcile().await;
    assert!(!stage.ready().2, "it may still come");
    sleep(Duration::from_secs(1)).await;
    stage.reconcile().await;
    assert_eq!(stage.ready(), (missing().0, missing().1, true));
}
