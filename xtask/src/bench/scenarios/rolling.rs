//! A Deployment behind a Service is rolled out and deleted while clients ask it, with containers that really run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use kube_runtime::reflector::{self, Store};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::Bench;
use crate::bench::rig::{Rig, Setup};
use crate::bench::stats::{Row, number};
use crate::dev::stand_ins;
use xtask::stack::apply;

pub(super) const METHOD: &str = "A Deployment of 20 pods behind a Service; the emulator runs the containers (--run): busybox's httpd, \
    whose shell ends at SIGTERM. Readiness by HTTP each second; preStop sleeps 5 s, as is advised for every Service, because those \
    who send requests learn of an end later than the pod. 8 clients ask one ready endpoint after the other, each request on a \
    connection of its own with 2 s to be answered, and learn of a change of the EndpointSlices a second late, as with kube-proxy. \
    All 20 pods are replaced (25 % at a time), once with the hook and once without; then the Deployment is deleted, with the hook. \
    Needs root and runc.";

const REPLICAS: i32 = 20;
const CLIENTS: usize = 8;
const PORT: u16 = 8080;
/// kube-proxy gathers changes for so long (its `minSyncPeriod`).
const LAG: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(2);
const ROLLOUT: Duration = Duration::from_mins(5);
const NAME: &str = "web";
const IMAGE: &str = "example.com/web:1";
/// Ends with what it serves when it is told to: a shell as process 1 does not die of a signal that it does not handle.
const SERVE: &str =
    "trap 'kill $!; exit 0' TERM; httpd -f -p 8080 -h /srv & while :; do wait; done";

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let images = tempfile::tempdir()?;
    stand_ins::make(&stand_ins::check()?, None, images.path())?;
    let setup = Setup {
        images: Some(images.path().to_owned()),
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, "rolling-update", &setup).await?;
    apply(&rig.plane, &service()).await?;
    let mut rows = Vec::new();
    let with = rolled(&mut rig, true).await?;
    rows.extend(with.rows("rollout with preStop", true));
    rows.push(Row::one("rollout with preStop", "s", with.took));
    let load = Load::start(rig.client.clone()).await?;
    rig.plane
        .kubectl_run(&[
            "delete",
            "deployment",
            NAME,
            "--cascade=foreground",
            "--timeout=2m",
        ])
        .await?
        .ok()?;
    rows.extend(load.stop(0.0).await.rows("delete with preStop", true));
    let without = rolled(&mut rig, false).await?;
    rows.extend(without.rows("rollout without preStop", false));
    rig.stop().await?;
    Ok(rows)
}

/// Makes the Deployment, and replaces all of its pods under load.
async fn rolled(rig: &mut Rig, hook: bool) -> Result<Asked> {
    apply(&rig.plane, &deployment(hook, 1)).await?;
    rolled_out(rig).await?;
    let load = Load::start(rig.client.clone()).await?;
    tokio::time::sleep(LAG * 3).await;
    let begin = Instant::now();
    apply(&rig.plane, &deployment(hook, 2)).await?;
    rolled_out(rig).await?;
    let took = begin.elapsed().as_secs_f64();
    // The last old pods still end.
    tokio::time::sleep(LAG * 10).await;
    Ok(load.stop(took).await)
}

async fn rolled_out(rig: &mut Rig) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(rig.client.clone(), "default");
    let deadline = Instant::now() + ROLLOUT;
    loop {
        let found = deployments.get(NAME).await?;
        let generation = found.metadata.generation;
        let status = found.status.unwrap_or_default();
        if status.observed_generation == generation
            && [
                status.updated_replicas,
                status.available_replicas,
                status.replicas,
            ] == [Some(REPLICAS); 3]
        {
            return Ok(());
        }
        rig.check()?;
        if Instant::now() > deadline {
            bail!("not rolled out in {} s: {status:?}", ROLLOUT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What became of the clients' requests.
struct Asked {
    requests: usize,
    failed: usize,
    took: f64,
}

impl Asked {
    fn rows(&self, what: &str, aims: bool) -> Vec<Row> {
        let failed = Row::one(format!("{what}: failed"), "", number(self.failed));
        vec![
            Row::one(format!("{what}: requests"), "", number(self.requests)),
            if aims { failed.aim(0.0) } else { failed },
        ]
    }
}

/// Clients that ask until they are told to stop.
struct Load {
    requests: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Load {
    async fn start(client: Client) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let (store, writer) = reflector::store();
        let slices = Api::<EndpointSlice>::namespaced(client, "default");
        let config =
            watcher::Config::default().labels(&format!("kubernetes.io/service-name={NAME}"));
        let (late, seen) = tokio::sync::watch::channel(Vec::new());
        let watch = watcher(slices, config).default_backoff().reflect(writer);
        tasks.spawn(watch.for_each(|_| async {}));
        tokio::time::timeout(ANSWER * 5, store.wait_until_ready()).await??;
        late.send_replace(ready(&store));
        ensure!(!late.borrow().is_empty(), "no endpoint is ready");
        tasks.spawn(follow_late(store, late));
        let (requests, failed) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let told = Arc::new(AtomicBool::new(false));
        for index in 0..CLIENTS {
            let (requests, failed) = (Arc::clone(&requests), Arc::clone(&failed));
            let (seen, told) = (seen.clone(), told.clone());
            let mut turn = index;
            tasks.spawn(async move {
                loop {
                    let endpoints = seen.borrow().clone();
                    turn += 1;
                    if let Some(endpoint) = turn
                        .checked_rem(endpoints.len())
                        .and_then(|at| endpoints.get(at))
                    {
                        requests.fetch_add(1, Ordering::Relaxed);
                        if let Err(error) = ask(endpoint).await {
                            failed.fetch_add(1, Ordering::Relaxed);
                            if !told.swap(true, Ordering::Relaxed) {
                                eprintln!("the first request that failed: {endpoint}: {error:#}");
                            }
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        Ok(Self {
            requests,
            failed,
            tasks,
        })
    }

    async fn stop(mut self, took: f64) -> Asked {
        self.tasks.shutdown().await;
        Asked {
            requests: self.requests.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            took,
        }
    }
}

/// Passes on what the slices say, each change a second after it was seen.
async fn follow_late(store: Store<EndpointSlice>, late: tokio::sync::watch::Sender<Vec<String>>) {
    let mut line = std::collections::VecDeque::new();
    loop {
        let now = Instant::now();
        line.push_back((now, ready(&store)));
        while let Some((at, _)) = line.front()
            && now.duration_since(*at) >= LAG
        {
            if let Some((_, endpoints)) = line.pop_front() {
                late.send_replace(endpoints);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Addresses that requests may go to: those that are ready.
fn ready(store: &Store<EndpointSlice>) -> Vec<String> {
    let mut ready = Vec::new();
    for slice in store.state() {
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|it| it.ready).unwrap_or(true) {
                ready.extend(endpoint.addresses.iter().map(|it| format!("{it}:{PORT}")));
            }
        }
    }
    ready
}

/// One request on a connection of its own.
async fn ask(endpoint: &str) -> Result<()> {
    let answer = async {
        let mut stream = TcpStream::connect(endpoint).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        ensure!(
            answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"),
            "answered {:?}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    };
    tokio::time::timeout(ANSWER, answer)
        .await
        .context("no answer in time")?
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": PORT}]},
    })
}

fn deployment(hook: bool, version: u32) -> Value {
    let mut container = json!({
        "name": NAME, "image": IMAGE, "command": ["/bin/sh", "-c", SERVE],
        "env": [{"name": "VERSION", "value": version.to_string()}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"port": PORT, "path": "/"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "100m", "memory": "100M"}},
    });
    if hook && let Some(container) = container.as_object_mut() {
        let hook = json!({"preStop": {"sleep": {"seconds": 5}}});
        container.insert("lifecycle".to_owned(), hook);
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {
                    "containers": [container],
                    "nodeSelector": {"type": "virtual-kubelet", "kubernetes.io/os": "linux"},
                    "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
                },
            },
        },
    })
}
