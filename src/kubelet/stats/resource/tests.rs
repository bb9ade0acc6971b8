use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::azure::monitor::{Metric as Measured, Point, Series};
use crate::kubelet::stats::usage::{Counter, PodUsage};
use crate::pods::snapshot::RunningContainer;
use crate::translate::PodKey;

fn pod(name: &str, uid: &str, containers: &[&str]) -> Arc<RunningPod> {
    let at = Timestamp::from_second(600).unwrap();
    let containers = containers.iter().map(|name| RunningContainer {
        name: (*name).into(),
        image: "x".into(),
        init: false,
        since: at,
    });
    Arc::new(RunningPod {
        key: PodKey {
            namespace: "ns".into(),
            name: name.into(),
            uid: uid.into(),
        },
        created: None,
        started: Some(at),
        containers: containers.collect(),
        volumes: None,
    })
}

/// A node with a pod that has figures and one that has none.
pub(crate) fn snapshot() -> Snapshot {
    let one = |metric, container: Option<&str>, average| Series {
        metric,
        container: container.map(str::to_owned),
        points: vec![Point { at: 600, average }],
    };
    let mut usage = PodUsage::default();
    let running: BTreeMap<String, i64> = [("a".to_owned(), 600), ("b".to_owned(), 600)].into();
    usage.take(
        &[
            one(Measured::CpuUsage, Some("a"), 500.0),
            one(Measured::CpuUsage, Some("b"), 250.0),
            one(Measured::MemoryUsage, Some("a"), 1000.0),
            one(Measured::MemoryUsage, Some("b"), 2000.0),
            one(Measured::NetworkReceived, None, 100.0),
        ],
        &running,
        660,
    );
    Snapshot {
        node: "n1".to_owned(),
        started: Timestamp::from_second(1).unwrap(),
        now: 700,
        pods: vec![
            (pod("web", "u1", &["a", "b"]), usage),
            (pod("new", "u2", &["c"]), PodUsage::default()),
        ],
        node_cpu: Some(Counter {
            total: 50.000_001,
            rate: 0.0,
            at: 660,
        }),
    }
}

#[test]
fn the_text_of_metrics_resource() {
    let expected = "\
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container=\"a\",pod=\"web\",namespace=\"ns\"} 30.000001 660000
container_cpu_usage_seconds_total{container=\"b\",pod=\"web\",namespace=\"ns\"} 15.000001 660000
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container=\"a\",pod=\"web\",namespace=\"ns\"} 1000 660000
container_memory_working_set_bytes{container=\"b\",pod=\"web\",namespace=\"ns\"} 2000 660000
# HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container=\"a\",pod=\"web\",namespace=\"ns\"} 600
container_start_time_seconds{container=\"b\",pod=\"web\",namespace=\"ns\"} 600
# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 50.000001 660000
# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 3000 660000
# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"web\"} 45.000002 660000
# HELP pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes
# TYPE pod_memory_working_set_bytes gauge
pod_memory_working_set_bytes{namespace=\"ns\",pod=\"web\"} 3000 660000
# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
# TYPE resource_scrape_error gauge
resource_scrape_error 0
";
    assert_eq!(text(&snapshot()), expected);
}

#[test]
fn a_node_without_figures_says_only_that_nothing_went_wrong() {
    let mut snapshot = snapshot();
    snapshot.pods.remove(0);
    snapshot.node_cpu = None;
    let text = text(&snapshot);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.ends_with("resource_scrape_error 0\n"));
}

#[test]
fn what_the_node_tells_of_itself() {
    let running = vec![pod("web", "u1", &["a", "b"])];
    let text = own("n1", &NodePods { running });
    for line in [
        "kubelet_node_name{node=\"n1\"} 1",
        "kubelet_running_pods 1",
        "kubelet_running_containers{container_state=\"running\"} 2",
    ] {
        assert!(
            text.contains(&format!("\n{line}\n")),
            "{line} is missing in\n{text}"
        );
    }
}
