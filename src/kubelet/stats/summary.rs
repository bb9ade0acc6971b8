//! `/stats/summary`: the node and its pods as `stats/v1alpha1` words them (Kubernetes API `k8s.io/kubelet`). What Azure
//! does not tell is not there. PURE.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::usage::{ContainerUsage, Counter, Level, PodUsage};
use super::{Snapshot, running_containers};
use crate::pods::snapshot::RunningPod;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub node: NodeStats,
    /// Its pods that run.
    pub pods: Vec<PodStats>,
}

/// The node: the sum of its pods.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    pub node_name: String,
    /// When this process began to serve the node.
    pub start_time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    pub pod_ref: PodReference,
    pub start_time: Time,
    /// Its containers that run.
    pub containers: Vec<ContainerStats>,
    /// CPU of all containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    /// Memory of all containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    /// Network of the container group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
}

/// One pod for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodReference {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    pub name: String,
    /// When its run began.
    pub start_time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuStats {
    /// When it was so.
    pub time: Time,
    /// Billionths of a core, on average over the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_nano_cores: Option<u64>,
    /// Billionths of a core-second in all.
    pub usage_core_nano_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    /// When it was so.
    pub time: Time,
    /// Bytes: Azure has one figure, and this is it under both names.
    pub usage_bytes: u64,
    /// Bytes.
    pub working_set_bytes: u64,
}

/// Network of a pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStats {
    /// When it was so.
    pub time: Time,
    #[serde(flatten)]
    pub default: InterfaceStats,
    /// All interfaces: the one that there is.
    pub interfaces: Vec<InterfaceStats>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceStats {
    pub name: String,
    /// Bytes received in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_bytes: Option<u64>,
    /// Bytes sent in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_bytes: Option<u64>,
}

/// What `snapshot` says.
pub fn summary(snapshot: &Snapshot) -> Summary {
    let pods: Vec<PodStats> = snapshot
        .pods
        .iter()
        .map(|(pod, usage)| pod_stats(pod, usage, snapshot.now))
        .collect();
    Summary {
        node: NodeStats {
            node_name: snapshot.node.clone(),
            start_time: Time(snapshot.started),
            cpu: snapshot.node_cpu.map(|counter| CpuStats {
                usage_nano_cores: sum(pods
                    .iter()
                    .filter_map(|pod| pod.cpu.as_ref()?.usage_nano_cores)),
                ..cpu(&counter)
            }),
            memory: all_memory(pods.iter().filter_map(|pod| pod.memory.as_ref())),
        },
        pods,
    }
}

fn pod_stats(pod: &RunningPod, usage: &PodUsage, now: i64) -> PodStats {
    let running = running_containers(pod).into_iter();
    let containers: Vec<ContainerStats> = running
        .map(|(name, started)| container_stats(usage.container(&name, now), name, started))
        .collect();
    let all_cpu: Vec<&CpuStats> = containers
        .iter()
        .filter_map(|container| container.cpu.as_ref())
        .collect();
    PodStats {
        pod_ref: PodReference {
            name: pod.key.name.clone(),
            namespace: pod.key.namespace.clone(),
            uid: pod.key.uid.clone(),
        },
        start_time: pod.started.or(pod.created).map_or(time(0), Time),
        cpu: all_cpu
            .iter()
            .map(|cpu| cpu.time.0)
            .min()
            .map(|oldest| CpuStats {
                time: Time(oldest),
                usage_nano_cores: sum(all_cpu.iter().filter_map(|cpu| cpu.usage_nano_cores)),
                usage_core_nano_seconds: all_cpu
                    .iter()
                    .map(|cpu| cpu.usage_core_nano_seconds)
                    .sum(),
            }),
        memory: all_memory(
            containers
                .iter()
                .filter_map(|container| container.memory.as_ref()),
        ),
        network: network(usage),
        containers,
    }
}

fn container_stats(usage: Option<ContainerUsage>, name: String, started: i64) -> ContainerStats {
    ContainerStats {
        name,
        start_time: time(started),
        cpu: usage.as_ref().and_then(|usage| usage.cpu).as_ref().map(cpu),
        memory: usage.and_then(|usage| usage.memory).map(memory),
    }
}

fn cpu(counter: &Counter) -> CpuStats {
    CpuStats {
        time: time(counter.at),
        usage_nano_cores: Some(whole(counter.rate * 1e9)),
        usage_core_nano_seconds: whole(counter.total * 1e9),
    }
}

fn memory(level: Level) -> MemoryStats {
    MemoryStats {
        time: time(level.at),
        usage_bytes: whole(level.value),
        working_set_bytes: whole(level.value),
    }
}

fn network(usage: &PodUsage) -> Option<NetworkStats> {
    let newest = [usage.received, usage.transmitted]
        .into_iter()
        .flatten()
        .map(|counter| counter.at)
        .max()?;
    let default = InterfaceStats {
        name: "eth0".to_owned(),
        rx_bytes: usage.received.map(|counter| whole(counter.total)),
        tx_bytes: usage.transmitted.map(|counter| whole(counter.total)),
    };
    Some(NetworkStats {
        time: time(newest),
        interfaces: vec![default.clone()],
        default,
    })
}

fn all_memory<'a>(parts: impl Iterator<Item = &'a MemoryStats>) -> Option<MemoryStats> {
    parts.fold(None, |sum: Option<MemoryStats>, part| {
        let Some(sum) = sum else {
            return Some(part.clone());
        };
        Some(MemoryStats {
            time: Time(sum.time.0.min(part.time.0)),
            usage_bytes: sum.usage_bytes.saturating_add(part.usage_bytes),
            working_set_bytes: sum.working_set_bytes.saturating_add(part.working_set_bytes),
        })
    })
}

fn sum(parts: impl Iterator<Item = u64>) -> Option<u64> {
    parts.fold(None, |sum: Option<u64>, part| {
        Some(sum.unwrap_or_default().saturating_add(part))
    })
}

fn time(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
}

// Not negative, and far below what a double counts exactly.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::super::resource::tests::snapshot;
    use super::*;
    use serde_json::json;

    #[test]
    fn the_words_of_a_kubelet() {
        let got = serde_json::to_value(summary(&snapshot())).unwrap();
        assert_eq!(
            got["node"],
            json!({
                "nodeName": "n1",
                "startTime": "1970-01-01T00:00:01Z",
                "cpu": {"time": "1970-01-01T00:11:00Z", "usageNanoCores": 750_000_000u64, "usageCoreNanoSeconds": 50_000_001_000u64},
                "memory": {"time": "1970-01-01T00:11:00Z", "usageBytes": 3000, "workingSetBytes": 3000},
            })
        );
        let pods = got["pods"].as_array().unwrap();
        assert_eq!(
            pods[0],
            json!({
                "podRef": {"name": "web", "namespace": "ns", "uid": "u1"},
                "startTime": "1970-01-01T00:10:00Z",
                "containers": [
                    {"name": "a", "startTime": "1970-01-01T00:10:00Z",
                        "cpu": {"time": "1970-01-01T00:11:00Z", "usageNanoCores": 500_000_000u64, "usageCoreNanoSeconds": 30_000_001_000u64},
                        "memory": {"time": "1970-01-01T00:11:00Z", "usageBytes": 1000, "workingSetBytes": 1000}},
                    {"name": "b", "startTime": "1970-01-01T00:10:00Z",
                        "cpu": {"time": "1970-01-01T00:11:00Z", "usageNanoCores": 250_000_000u64, "usageCoreNanoSeconds": 15_000_001_000u64},
                        "memory": {"time": "1970-01-01T00:11:00Z", "usageBytes": 2000, "workingSetBytes": 2000}},
                ],
                "cpu": {"time": "1970-01-01T00:11:00Z", "usageNanoCores": 750_000_000u64, "usageCoreNanoSeconds": 45_000_002_000u64},
                "memory": {"time": "1970-01-01T00:11:00Z", "usageBytes": 3000, "workingSetBytes": 3000},
                "network": {"time": "1970-01-01T00:11:00Z", "name": "eth0", "rxBytes": 6000,
                    "interfaces": [{"name": "eth0", "rxBytes": 6000}]},
            })
        );
        assert_eq!(
            pods[1],
            json!({
                "podRef": {"name": "new", "namespace": "ns", "uid": "u2"},
                "startTime": "1970-01-01T00:10:00Z",
                "containers": [{"name": "c", "startTime": "1970-01-01T00:10:00Z"}],
            }),
            "no figure is invented"
        );
    }
}
