//! CPU, memory and network of the node's pods: from Azure Monitor, when somebody asks.
//!
//! A pod is looked up at most once a minute and only while its node is being scraped. A pod whose figures cannot be had
//! is without figures; it spoils nobody else's.

pub mod resource;
pub mod summary;
pub mod usage;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Shared, WeakShared};
use futures::{FutureExt as _, StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::usage::{Counter, PodUsage};
use crate::azure::{AzureError, ErrorClass};
use crate::pods::snapshot::{Receiver, RunningPod};
use crate::provider::Containers;
use crate::translate::PodKey;

/// Azure has a new figure once a minute.
const FRESH: Duration = Duration::from_secs(55);
/// Pods that are looked up at once.
const AT_ONCE: usize = 8;
/// A scrape has to end before its reader gives up (metrics-server: 10 s): what is not known by then comes next time.
const DEADLINE: Duration = Duration::from_secs(7);
/// Readers of the network's figures who have not come back for so long have gone.
const NETWORK_WANTED: Duration = Duration::from_mins(5);
/// A failure is told in the log at most so often.
const COMPLAIN_EVERY: Duration = Duration::from_mins(10);

/// The figures of a node.
pub struct Stats {
    figures: Arc<Figures>,
    /// The scrape that is under way.
    scrape: Mutex<Option<WeakShared<BoxFuture<'static, Arc<Snapshot>>>>>,
}

struct Figures {
    node: String,
    started: Timestamp,
    pods: Receiver,
    containers: Arc<dyn Containers>,
    network_asked: Mutex<Option<Instant>>,
    /// Held by the scrape that is under way.
    known: tokio::sync::Mutex<Known>,
}

#[derive(Default)]
struct Known {
    pods: HashMap<PodKey, Entry>,
    /// Core-seconds of all pods, those that are gone included.
    node_cpu: Option<Counter>,
    last_error_logged: Option<Instant>,
}

#[derive(Clone, Default)]
struct Entry {
    usage: PodUsage,
    asked: Option<Instant>,
    network: bool,
}

/// What a scrape shows.
pub struct Snapshot {
    pub node: String,
    /// When this process began to serve it.
    pub started: Timestamp,
    /// When it was taken, in seconds of the epoch.
    pub now: i64,
    /// The pods that run, with what is known of them.
    pub pods: Vec<(Arc<RunningPod>, PodUsage)>,
    /// Core-seconds of the node.
    pub node_cpu: Option<Counter>,
}

impl Stats {
    /// Figures of `pods` by way of `containers`.
    pub fn new(node: String, pods: Receiver, containers: Arc<dyn Containers>) -> Self {
        Self {
            figures: Arc::new(Figures {
                node,
                started: Timestamp::now(),
                pods,
                containers,
                network_asked: Mutex::default(),
                known: tokio::sync::Mutex::default(),
            }),
            scrape: Mutex::default(),
        }
    }

    /// What is known now; `network`: of the network as well, which costs another call for each pod. Who comes while
    /// another waits gets the same answer at the same time. A failure of Azure is none.
    pub async fn snapshot(&self, network: bool) -> Arc<Snapshot> {
        if network {
            *self.figures.network_asked.lock() = Some(Instant::now());
        }
        self.join().await
    }

    /// The scrape that is under way, or a new one. It goes on as long as somebody waits for it.
    fn join(&self) -> Shared<BoxFuture<'static, Arc<Snapshot>>> {
        let mut under_way = self.scrape.lock();
        let joined = under_way.as_ref().and_then(WeakShared::upgrade);
        if let Some(scrape) = joined.filter(|scrape| scrape.peek().is_none()) {
            return scrape;
        }
        let figures = self.figures.clone();
        let scrape = async move { Arc::new(figures.scrape().await) };
        let scrape = scrape.boxed().shared();
        *under_way = scrape.downgrade();
        scrape
    }
}

impl Figures {
    async fn scrape(&self) -> Snapshot {
        let running = self.pods.borrow().clone();
        let mut known = self.known.lock().await;
        let present: HashSet<&PodKey> = running.running.iter().map(|pod| &pod.key).collect();
        known.pods.retain(|key, _| present.contains(key));
        let asked = *self.network_asked.lock();
        let network = asked.is_some_and(|asked| asked.elapsed() < NETWORK_WANTED);
        self.learn(&mut known, &running.running, network).await;
        let pods = running.running.iter().map(|pod| {
            let usage = known.pods.get(&pod.key).map(|entry| entry.usage.clone());
            (pod.clone(), usage.unwrap_or_default())
        });
        Snapshot {
            node: self.node.clone(),
            started: self.started,
            now: Timestamp::now().as_second(),
            pods: pods.collect(),
            node_cpu: known.node_cpu,
        }
    }

    /// Looks up what is not known or too old, those first that have waited longest, until there is no time left.
    async fn learn(&self, known: &mut Known, pods: &[Arc<RunningPod>], network: bool) {
        let calls = u32::try_from(pods.len()).unwrap_or(u32::MAX);
        let calls = f64::from(calls) * if network { 2.0 } else { 1.0 };
        self.containers.plan_metrics(calls / FRESH.as_secs_f64());
        let mut due = Vec::new();
        for pod in pods {
            let entry = known.pods.get(&pod.key).cloned().unwrap_or_default();
            let fresh = entry.asked.is_some_and(|asked| asked.elapsed() < FRESH);
            if !fresh || (network && !entry.network) {
                due.push((entry.asked, pod, entry));
            }
        }
        due.sort_by_key(|(asked, ..)| *asked);
        let lookups = due.into_iter().map(|(_, pod, entry)| {
            let key = pod.key.clone();
            let running = running_containers(pod);
            let containers = self.containers.clone();
            async move {
                let now = Timestamp::now().as_second();
                let since = entry.usage.since(now);
                let answer = containers.usage(&key, since, now, network).await;
                (key, running, entry, now, answer)
            }
        });
        let lookups: Vec<_> = lookups.collect();
        let mut lookups = stream::iter(lookups).buffer_unordered(AT_ONCE);
        let deadline = Instant::now() + DEADLINE;
        while let Ok(Some((key, running, mut entry, now, answer))) =
            tokio::time::timeout_at(deadline, lookups.next()).await
        {
            match answer {
                Ok(series) => {
                    let added = entry.usage.take(&series, &running, now);
                    add_to_node(&mut known.node_cpu, &entry.usage, added);
                }
                // It was not asked: there was no turn for it.
                Err(error) if error.class == ErrorClass::Throttled => continue,
                Err(error) => report_error(&self.node, &mut known.last_error_logged, &key, &error),
            }
            entry.asked = Some(Instant::now());
            entry.network = network;
            known.pods.insert(key, entry);
        }
    }
}

/// The node's counter is the sum of what was added to those of its pods.
fn add_to_node(node: &mut Option<Counter>, usage: &PodUsage, added: f64) {
    let newest = usage
        .containers
        .values()
        .filter_map(|usage| usage.cpu)
        .map(|cpu| cpu.at)
        .max();
    let Some(at) = newest else {
        return;
    };
    let before = node.map_or((0.0, 0), |counter| (counter.total, counter.at));
    *node = Some(Counter {
        total: before.0 + added,
        rate: 0.0,
        at: before.1.max(at),
    });
}

fn report_error(node: &str, last: &mut Option<Instant>, pod: &PodKey, error: &AzureError) {
    if last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
        *last = Some(Instant::now());
        tracing::warn!(node, %pod, %error, "Azure Monitor has no figures of a pod (and perhaps of others); see docs/kubelet-api.md");
    } else {
        tracing::debug!(node, %pod, %error, "no figures of a pod");
    }
}

/// The containers that run, init containers aside, and since when (seconds of the epoch). PURE.
pub fn running_containers(pod: &RunningPod) -> BTreeMap<String, i64> {
    let containers = pod.containers.iter().filter(|it| !it.init);
    containers
        .map(|it| (it.name.to_string(), it.since.as_second()))
        .collect()
}

#[cfg(test)]
mod tests;
