//! Row 21: pods that do not change cost the API server nothing, also while the node is scraped.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, eventually, is_running, text};
use crate::support::site::{plane, run, shared};
use crate::support::tools::{address, certificate, client, get};
use crate::support::watching::{Audit, Watch};

const PODS: usize = 100;
/// What metrics-server, Prometheus and their like read.
const PATHS: [&str; 4] = [
    "metrics",
    "metrics/resource",
    "stats/summary",
    "runningpods/",
];

/// Entries of the audit log from byte `from` on: what the node of `fixture` asked for about pods.
async fn asked_by_the_node(fixture: &Fixture, from: usize) -> Vec<String> {
    let log = std::fs::read_to_string(plane().await.audit_log()).unwrap();
    let node = format!("system:node:{}", fixture.node_name("linux"));
    let entries = log.get(from..).unwrap().lines().filter_map(|line| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let object = &entry["objectRef"];
        let by_node = entry["impersonatedUser"]["username"] == node;
        // Who watches asks again now and then: that is no list.
        (by_node && object["resource"] == "pods" && entry["verb"] != "watch").then(|| {
            let (part, name) = (text(&object["subresource"]), text(&object["name"]));
            format!("{} pods/{part} {name}", text(&entry["verb"]))
        })
    });
    entries.collect()
}

#[test]
fn a_hundred_pods_that_do_not_change_cost_no_write_and_a_scrape_no_read() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "still", "Linux").await;
        for number in 0..PODS {
            fixture
                .create_pod(&format!("p{number}"), "example.com/web", json!({}))
                .await;
        }
        let pods = eventually("all run", 120, || async {
            let pods = fixture.pods().await;
            let running = pods.iter().filter(|pod| is_running(pod)).count();
            if running == PODS {
                Ok(pods)
            } else {
                Err(format!("{running} run"))
            }
        })
        .await;
        for pod in &pods {
            // The last thing that Azure says of it.
            eventually("its start was told", 60, || async {
                match fixture.events(pod, "Started").await.len() {
                    0 => Err("no Event Started".to_owned()),
                    _ => Ok(()),
                }
            })
            .await;
        }
        let at = address(&fixture).await;
        let identity = certificate("still-master", Some("system:masters")).await;
        let client = client(Some(&identity));
        // The first question of each kind is reviewed: may he?
        for path in PATHS {
            let (status, text) = get(&client, &format!("{at}/{path}")).await;
            assert_eq!(status, 200, "{text}");
        }

        let fields = format!("metadata.name={}", fixture.node_name("linux"));
        let mut changes =
            Watch::<Pod>::start(&fixture.api(), "", &fixture.pods_version().await).await;
        let version = fixture.node_version("linux").await;
        let mut nodes = Watch::<Node>::start(&fixture.nodes(), &fields, &version).await;
        let audit = Audit::start().await;
        let from = std::fs::read(plane().await.audit_log()).unwrap().len();
        let scrapes = async {
            for path in PATHS.repeat(3) {
                let (status, text) = get(&client, &format!("{at}/{path}")).await;
                assert_eq!(status, 200, "{text}");
                if path == "metrics" {
                    assert!(text.contains("kubelet_running_pods 100\n"), "{text}");
                }
            }
        };
        let time = Duration::from_secs(10);
        let (changes, nodes, ()) = tokio::join!(changes.all_of(time), nodes.all_of(time), scrapes);
        assert!(changes.is_empty(), "written: {changes:#?}");
        assert!(nodes.is_empty(), "written: {nodes:#?}");
        assert_eq!(audit.writes(&fixture, "linux").await, [""; 0]);
        assert_eq!(asked_by_the_node(&fixture, from).await, [""; 0]);
        fixture.finish().await;
    });
}
