//! CPU, memory and network of the node's pods: from Azure Monitor, when somebody asks.
//!
//! A pod is looked up at most once a minute and only while its node is being scraped. A pod whose figures cannot be had
//! is without figures; it spoils nobody else's.

pub mod resource;
pub mod summary;
pub mod usage;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::usage::{Counter, PodUsage};
use super::pods::{self, Pods};
use crate::azure::AzureError;
use crate::kube::call::KubeError;
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
    node: String,
    started: Timestamp,
    pods: Pods,
    containers: Arc<dyn Containers>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    pods: HashMap<PodKey, Entry>,
    /// Core-seconds of all pods, those that are gone included.
    node_cpu: Option<Counter>,
    network_asked: Option<Instant>,
    complained: Option<Instant>,
}

#[derive(Clone, Default)]
struct Entry {
    usage: PodUsage,
    asked: Option<Instant>,
    network: bool,
}

/// What a scrape shows.
pub struct Snapshot {
    /// The node.
    pub node: String,
    /// When this process began to serve it.
    pub started: Timestamp,
    /// When it was taken, in seconds of the epoch.
    pub now: i64,
    /// The pods that run, with what is known of them.
    pub pods: Vec<(Pod, PodUsage)>,
    /// Core-seconds of the node.
    pub node_cpu: Option<Counter>,
}

impl Stats {
    /// Figures of `pods` by way of `containers`.
    pub fn new(node: String, pods: Pods, containers: Arc<dyn Containers>) -> Self {
        Self {
            node,
            started: Timestamp::now(),
            pods,
            containers,
            known: Mutex::default(),
        }
    }

    /// What is known now; `network`: of the network as well, which costs another call for each pod.
    ///
    /// # Errors
    /// The pods of the node are not known. A failure of Azure is none.
    pub async fn snapshot(&self, network: bool) -> Result<Snapshot, KubeError> {
        let mut running = self.pods.list().await?;
        running.retain(pods::is_running);
        // One at a time: who comes second finds what the first has learned.
        let mut known = self.known.lock().await;
        let keyed: Vec<(PodKey, Pod)> = running
            .into_iter()
            .filter_map(|pod| Some((PodKey::of(&pod)?, pod)))
            .collect();
        let present: std::collections::HashSet<&PodKey> =
            keyed.iter().map(|(key, _)| key).collect();
        known.pods.retain(|key, _| present.contains(key));
        if network {
            known.network_asked = Some(Instant::now());
        }
        let network = known
            .network_asked
            .is_some_and(|asked| asked.elapsed() < NETWORK_WANTED);
        self.learn(&mut known, &keyed, network).await;
        let pods = keyed.into_iter().map(|(key, pod)| {
            let usage = known.pods.get(&key).map(|entry| entry.usage.clone());
            (pod, usage.unwrap_or_default())
        });
        Ok(Snapshot {
            node: self.node.clone(),
            started: self.started,
            now: Timestamp::now().as_second(),
            pods: pods.collect(),
            node_cpu: known.node_cpu,
        })
    }

    /// Looks up what is not known or too old, those first that have waited longest, until there is no time left.
    async fn learn(&self, known: &mut Known, pods: &[(PodKey, Pod)], network: bool) {
        let mut due = Vec::new();
        for (key, pod) in pods {
            let entry = known.pods.get(key).cloned().unwrap_or_default();
            let fresh = entry.asked.is_some_and(|asked| asked.elapsed() < FRESH);
            if !fresh || (network && !entry.network) {
                due.push((entry.asked, key, running_containers(pod), entry));
            }
        }
        due.sort_by_key(|(asked, ..)| *asked);
        let lookups = due.into_iter().map(|(_, key, running, entry)| {
            let key: PodKey = key.clone();
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
                Err(error) => complain(&self.node, &mut known.complained, &key, &error),
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

fn complain(node: &str, last: &mut Option<Instant>, pod: &PodKey, error: &AzureError) {
    if last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
        *last = Some(Instant::now());
        tracing::warn!(node, %pod, %error, "Azure Monitor has no figures of a pod (and perhaps of others); see docs/kubelet-api.md");
    } else {
        tracing::debug!(node, %pod, %error, "no figures of a pod");
    }
}

/// The containers that run, and since when (seconds of the epoch). PURE.
pub fn running_containers(pod: &Pod) -> BTreeMap<String, i64> {
    let statuses = pod
        .status
        .iter()
        .filter_map(|status| status.container_statuses.as_ref());
    statuses
        .flatten()
        .filter_map(|status| {
            let running = status.state.as_ref()?.running.as_ref()?;
            let started = running
                .started_at
                .as_ref()
                .map_or(0, |time| time.0.as_second());
            Some((status.name.clone(), started))
        })
        .collect()
}
