//! What metrics-server and Prometheus read.

use std::collections::BTreeMap;

use aci_emulator::Fault;
use k8s_openapi::jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running};
use crate::support::site::{run, shared};
use crate::support::tools::{address, certificate, client, get};

/// What metrics-server keeps of a container.
#[derive(Debug, Default, PartialEq, Clone)]
struct Point {
    nanoseconds: u64,
    bytes: u64,
    started: f64,
    milliseconds: i64,
}

/// Containers by namespace and name of their pod.
type Pods = BTreeMap<(String, String), BTreeMap<String, Point>>;

/// The text as metrics-server reads it: the name of a series up to its brace, each label by its first appearance behind
/// the name, a time in milliseconds; a pod of which a container has no CPU or no memory is left out.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn as_metrics_server(text: &str) -> (Option<Point>, Pods) {
    let mut node = Point::default();
    let mut pods = Pods::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, rest) = line.split_at(end);
        let (labels, numbers) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once("} ").unwrap(),
            None => ("", rest.trim()),
        };
        let mut numbers = numbers.split(' ');
        let value: f64 = numbers.next().unwrap().parse().unwrap();
        let time: i64 = numbers.next().map_or(0, |time| time.parse().unwrap());
        let label = |name: &str| {
            let from = labels.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
            labels[from..].split('"').next().unwrap().to_owned()
        };
        if let Some(metric) = name.strip_prefix("container_") {
            let pod = pods.entry((label("namespace"), label("pod"))).or_default();
            let point = pod.entry(label("container")).or_default();
            match metric {
                "cpu_usage_seconds_total" => {
                    point.nanoseconds = (value * 1e9) as u64;
                    point.milliseconds = time;
                }
                "memory_working_set_bytes" => point.bytes = value as u64,
                "start_time_seconds" => point.started = value,
                other => panic!("container_{other}"),
            }
        }
        match name {
            "node_cpu_usage_seconds_total" => node.nanoseconds = (value * 1e9) as u64,
            "node_memory_working_set_bytes" => {
                (node.bytes, node.milliseconds) = (value as u64, time);
            }
            _ => {}
        }
    }
    pods.retain(|_, containers| {
        containers
            .values()
            .all(|point| point.nanoseconds > 0 && point.bytes > 0)
    });
    let complete = node.nanoseconds > 0 && node.bytes > 0 && node.milliseconds > 0;
    (complete.then_some(node), pods)
}

fn monitor_calls(fixture: &Fixture) -> usize {
    let requests = fixture.control.requests().into_iter();
    requests
        .filter(|request| request.path.ends_with("/Microsoft.Insights/metrics"))
        .count()
}

/// `/stats/summary` of the same pods.
async fn the_summary(fixture: &Fixture, client: &Client, at: &str) {
    // The network costs a call more.
    let (status, text) = get(client, &format!("{at}/stats/summary")).await;
    assert_eq!(status, 200, "{text}");
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["node"]["nodeName"], fixture.node_name("linux"));
    let pod = |name: &str| {
        let pods = summary["pods"].as_array().unwrap();
        pods.iter()
            .find(|pod| pod["podRef"]["name"] == name)
            .unwrap()
            .clone()
    };
    let busy = pod("busy");
    let uid = &fixture.pod("busy").await["metadata"]["uid"];
    assert_eq!(
        busy["podRef"],
        json!({"name": "busy", "namespace": "top", "uid": uid})
    );
    assert_eq!(
        busy["containers"][0]["cpu"]["usageNanoCores"],
        1_500_000_000u64
    );
    assert_eq!(
        busy["containers"][0]["memory"]["workingSetBytes"],
        100_000_000
    );
    assert!(busy["network"]["rxBytes"].as_u64().unwrap() > 0, "{busy}");
    for absent in [
        &pod("silent")["containers"][0]["cpu"],
        &pod("broken")["memory"],
        &pod("broken")["network"],
    ] {
        assert_eq!(absent, &Value::Null);
    }
}

#[test]
fn figures_of_pods_that_have_some() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "top", "Linux").await;
        let two = json!({"containers": [
            {"name": "main", "image": "example.com/main"},
            {"name": "side", "image": "example.com/side"},
        ]});
        fixture.create_pod("busy", "", two).await;
        for name in ["silent", "broken"] {
            fixture.create_pod(name, "example.com/web", json!({})).await;
        }
        let mut groups = BTreeMap::new();
        for name in ["busy", "silent", "broken"] {
            let pod = fixture
                .pod_until(name, "it runs", PATIENCE, is_running)
                .await;
            groups.insert(name, fixture.group_of(&pod));
        }
        let usage = |pod: &str, container: &str, usage| {
            fixture
                .control
                .set_usage(&groups[pod], container, usage)
                .unwrap();
        };
        usage("busy", "main", Some((1500.0, 100_000_000.0)));
        usage("busy", "side", Some((0.0, 1_000_000.0)));
        usage("silent", "main", None);
        fixture.control.inject(Fault {
            times: 1000,
            path_contains: Some(format!("{}/providers/Microsoft.Insights", groups["broken"])),
            ..Fault::default()
        });
        assert_eq!(monitor_calls(&fixture), 0, "nobody has asked");

        // The containers must have run for a second at least.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let at = address(&fixture).await;
        let client = client(Some(
            &certificate("top-master", Some("system:masters")).await,
        ));
        let (status, text) = get(&client, &format!("{at}/metrics/resource")).await;
        assert_eq!(status, 200, "{text}");
        let (node, pods) = as_metrics_server(&text);
        let of = |pod: &str| pods.get(&("top".to_owned(), pod.to_owned()));
        assert_eq!((of("silent"), of("broken")), (None, None), "{text}");
        let busy = of("busy").unwrap();
        assert_eq!(
            (busy["main"].bytes, busy["side"].bytes),
            (100_000_000, 1_000_000)
        );
        assert!(busy["main"].nanoseconds >= 1_500_000_000, "{text}");
        assert!(
            busy["side"].nanoseconds < 1_000_000,
            "idle, but not missing: {text}"
        );
        let started = busy["main"].started;
        assert!(started > 1.7e9, "{started}");
        let node = node.expect("figures of the node");
        assert_eq!(node.bytes, 101_000_000);
        assert!(node.nanoseconds >= busy["main"].nanoseconds);
        assert!(text.ends_with("resource_scrape_error 0\n"));
        assert!(text.contains("{container=\"main\",pod=\"busy\",namespace=\"top\"}"));

        // Once a minute and pod, whoever asks.
        let calls = monitor_calls(&fixture);
        assert_eq!(calls, 3);
        let resource = format!("{at}/metrics/resource");
        let summary = format!("{at}/stats/summary?only_cpu_and_memory=true");
        let (again, _) = tokio::join!(get(&client, &resource), get(&client, &summary));
        assert_eq!(as_metrics_server(&again.1).1, pods);
        assert_eq!(monitor_calls(&fixture), calls);

        // A group's network is counted from the beginning of the minute on: one that has just begun has nothing yet.
        eventually("a minute has begun", 5, || async {
            let second = Timestamp::now().as_second() % 60;
            (1..58).contains(&second)
        })
        .await;
        the_summary(&fixture, &client, &at).await;
        let (status, text) = get(&client, &format!("{at}/metrics")).await;
        assert_eq!(status, 200);
        assert!(text.contains("kubelet_running_pods 3\n"), "{text}");
        assert_eq!(
            get(&client, &format!("{at}/metrics/probes")).await,
            (200, String::new())
        );
        assert_eq!(get(&client, &format!("{at}/metrics/nothing")).await.0, 404);
        fixture.control.clear_faults();
        fixture.finish().await;
    });
}
