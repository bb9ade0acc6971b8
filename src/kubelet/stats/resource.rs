//! `/metrics/resource`, and what else of a kubelet's metrics can be told here, as Prometheus' text. PURE.
//!
//! Names, help and types are those of the Kubernetes metrics reference. Some readers look for labels by their place: of
//! a container first `container`, then `pod`, then `namespace`; of a pod first `namespace`, then `pod`.

use std::fmt::Write as _;

use super::{Snapshot, running_containers};
use crate::pods::snapshot::{NodePods, RunningPod};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The lines of one metric.
struct Metric {
    name: &'static str,
    text: String,
    empty: bool,
}

impl Metric {
    fn new(name: &'static str, kind: &str, help: &str) -> Self {
        Self {
            name,
            text: format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
            empty: true,
        }
    }

    /// A value; `at` in seconds of the epoch.
    fn push(&mut self, labels: &str, value: f64, at: Option<i64>) {
        self.empty = false;
        let (name, text) = (self.name, &mut self.text);
        let time = at
            .map(|at| format!(" {}", at.saturating_mul(1000)))
            .unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name}{labels} {value}{time}");
    }

    fn append(self, text: &mut String) {
        if !self.empty {
            text.push_str(&self.text);
        }
    }
}

fn names(pod: &RunningPod) -> (&str, &str) {
    (&pod.key.namespace, &pod.key.name)
}

/// The text of `/metrics/resource`.
pub fn text(snapshot: &Snapshot) -> String {
    let now = snapshot.now;
    let mut cpu = Metric::new(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut memory = Metric::new(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
    );
    let mut start = Metric::new(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
    );
    let mut node_cpu = Metric::new(
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
    );
    let mut node_memory = Metric::new(
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
    );
    let mut pod_cpu = Metric::new(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
    );
    let mut pod_memory = Metric::new(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
    );
    let mut error = Metric::new(
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );

    let mut all_memory = None;
    for (pod, usage) in &snapshot.pods {
        let (namespace, name) = names(pod);
        let (mut pod_seconds, mut pod_bytes) = (None, None);
        for (container, started) in running_containers(pod) {
            let labels =
                format!("{{container=\"{container}\",pod=\"{name}\",namespace=\"{namespace}\"}}");
            let Some(usage) = usage.container(&container, now) else {
                continue;
            };
            if let Some(counter) = usage.cpu {
                cpu.push(&labels, counter.total, Some(counter.at));
                add(&mut pod_seconds, counter.total, counter.at);
            }
            if let Some(level) = usage.memory {
                memory.push(&labels, level.value, Some(level.at));
                add(&mut pod_bytes, level.value, level.at);
                add(&mut all_memory, level.value, level.at);
            }
            if started > 0 && (usage.cpu.is_some() || usage.memory.is_some()) {
                start.push(&labels, seconds(started), None);
            }
        }
        let labels = format!("{{namespace=\"{namespace}\",pod=\"{name}\"}}");
        if let Some((value, at)) = pod_seconds {
            pod_cpu.push(&labels, value, Some(at));
        }
        if let Some((value, at)) = pod_bytes {
            pod_memory.push(&labels, value, Some(at));
        }
    }
    if let Some(counter) = snapshot.node_cpu {
        node_cpu.push("", counter.total, Some(counter.at));
    }
    if let Some((value, at)) = all_memory {
        node_memory.push("", value, Some(at));
    }
    error.push("", 0.0, None);
    let mut text = String::new();
    for metric in [
        cpu,
        memory,
        start,
        node_cpu,
        node_memory,
        pod_cpu,
        pod_memory,
        error,
    ] {
        metric.append(&mut text);
    }
    text
}

/// The text of `/metrics`: what a kubelet tells of itself, as far as there is something of the kind here.
pub fn own(node: &str, pods: &NodePods) -> String {
    let mut name = Metric::new(
        "kubelet_node_name",
        "gauge",
        "[ALPHA] The node's name. The count is always 1.",
    );
    name.push(&format!("{{node=\"{node}\"}}"), 1.0, None);
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let mut pods_metric = Metric::new(
        "kubelet_running_pods",
        "gauge",
        "[ALPHA] Number of pods that have a running pod sandbox",
    );
    pods_metric.push("", count(pods.running.len()), None);
    let containers = pods.running.iter();
    let containers = containers.map(|pod| running_containers(pod).len()).sum();
    let mut containers_metric = Metric::new(
        "kubelet_running_containers",
        "gauge",
        "[ALPHA] Number of currently running containers",
    );
    containers_metric.push("{container_state=\"running\"}", count(containers), None);
    let mut text = String::new();
    for metric in [name, containers_metric, pods_metric] {
        metric.append(&mut text);
    }
    text
}

/// Adds to a sum, whose time is that of its oldest part: it is as new as that.
fn add(sum: &mut Option<(f64, i64)>, value: f64, at: i64) {
    let (total, oldest) = sum.unwrap_or((0.0, at));
    *sum = Some((total + value, oldest.min(at)));
}

// Seconds of the epoch are exact in a double.
#[allow(clippy::cast_precision_loss)]
fn seconds(at: i64) -> f64 {
    at as f64
}

#[cfg(test)]
#[path = "resource/tests.rs"]
pub(crate) mod tests;
