//! See the root of these tests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::operator::{Replica, Written, holder, run};
use crate::support::fixture::{Fixture, condition, eventually, is_running, text};
use crate::support::watching::Watch;

/// Waits until the connector has a holder other than `not`, whose agent serves the node: its kubelet API is another one.
async fn taken_over(fixture: &Fixture, not: &str, port: i64, limit: u64) -> Duration {
    let begun = Instant::now();
    eventually("another replica runs the node", limit, || async {
        let holder = holder(&fixture.name).await;
        let now = kubelet_port(fixture).await;
        if holder.as_deref().is_some_and(|holder| holder != not) && now != port {
            Ok(())
        } else {
            Err(format!("{holder:?} at {now}"))
        }
    })
    .await;
    begun.elapsed()
}

async fn kubelet_port(fixture: &Fixture) -> i64 {
    let node = fixture.nodes().get(&fixture.node_name("linux")).await;
    let node = serde_json::to_value(node.unwrap()).unwrap();
    node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        .as_i64()
        .unwrap_or_default()
}

async fn all_run(fixture: &Fixture, count: usize) {
    eventually("all pods run", 60, || async {
        let pods = fixture.pods().await;
        let running = pods.iter().filter(|pod| is_running(pod)).count();
        if running == count {
            Ok(())
        } else {
            Err(format!("{running} of {}", pods.len()))
        }
    })
    .await;
}

async fn create_pods(fixture: &Fixture, prefix: &str, count: usize) {
    for number in 0..count {
        let name = format!("{prefix}{number}");
        fixture
            .create_pod(&name, "example.com/web", json!({}))
            .await;
    }
}

/// Every Azure call that made, changed or removed a group: one PUT for each, and nothing else.
fn one_put_each(fixture: &Fixture, pods: usize) {
    let groups = fixture.control.groups();
    assert_eq!(groups.len(), pods);
    for group in &groups {
        let mut calls = fixture.calls(text(&group["name"]));
        calls.retain(|(method, _)| method != "GET");
        assert_eq!(calls, [("PUT".to_owned(), 201)], "{}", group["name"]);
    }
    assert_eq!(fixture.count("PUT", ""), pods);
    assert_eq!(fixture.count("DELETE", ""), 0);
}

/// Events of the Node from now on.
async fn watch_node(fixture: &Fixture) -> Watch<Node> {
    let fields = format!("metadata.name={}", fixture.node_name("linux"));
    let version = fixture.node_version("linux").await;
    Watch::start(&fixture.nodes(), &fields, &version).await
}

/// The Node has been Ready all the time, and was never deleted.
async fn always_ready(watch: &mut Watch<Node>) {
    for seen in watch.all_of(Duration::from_millis(500)).await {
        assert_eq!(seen.what, "modified");
        let ready = condition(&seen.object, "Ready");
        assert_eq!(ready["status"], "True", "{ready}");
    }
}

async fn restarts(fixture: &Fixture) {
    for pod in fixture.pods().await {
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["restartCount"], 0, "{status}");
    }
}

/// The one that holds the connector, and the other one.
async fn sorted(fixture: &Fixture, a: Replica, b: Replica) -> (Replica, Replica) {
    let holder = holder(&fixture.name).await.unwrap();
    if holder == a.name { (a, b) } else { (b, a) }
}

/// Removes the connectors while somebody is there to do it.
async fn finish(fixtures: Vec<Fixture>) {
    for fixture in fixtures {
        let (connectors, name) = (fixture.connectors(), fixture.name.clone());
        fixture.finish().await;
        eventually("the connector is removed", 60, || async {
            match connectors.get_opt(&name).await.unwrap() {
                None => Ok(()),
                Some(connector) => Err(serde_json::to_string(&connector.status).unwrap()),
            }
        })
        .await;
    }
}

#[test]
fn two_replicas_make_each_group_once_and_sigterm_hands_over_without_a_node_that_is_not_ready() {
    run(async |_| {
        let (a, b) = tokio::join!(Replica::start(), Replica::start());
        let written = Written::start().await;
        let fixture = Fixture::start(&a, "twins", "Linux").await;
        create_pods(&fixture, "p", 20).await;
        all_run(&fixture, 20).await;
        one_put_each(&fixture, 20);
        let (holds, waits) = sorted(&fixture, a, b).await;
        let node = fixture.node_name("linux");
        let writers = written.writers_of(&node, &[&holds, &waits]).await;
        assert_eq!(
            writers.into_iter().collect::<Vec<_>>(),
            [holds.name.as_str()]
        );
        assert_eq!(written.by(&waits).await, Vec::<String>::new());
        assert!(waits.metric("vkc_ownership_connectors").await < 0.5);
        assert!(holds.metric("vkc_ownership_connectors").await > 0.5);

        let mut nodes = watch_node(&fixture).await;
        let port = kubelet_port(&fixture).await;
        let name = holds.name.clone();
        let (took, ()) = tokio::join!(taken_over(&fixture, &name, port, 10), holds.stop());
        eprintln!("SIGTERM to the other's node: {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        // What it does next is its own work.
        create_pods(&fixture, "q", 5).await;
        all_run(&fixture, 25).await;
        one_put_each(&fixture, 25);
        always_ready(&mut nodes).await;
        restarts(&fixture).await;
        assert!(waits.metric("vkc_ownership_connectors").await > 0.5);
        finish(vec![fixture]).await;
        waits.stop().await;
    });
}

#[test]
fn a_killed_replica_is_replaced_within_twenty_seconds() {
    run(async |_| {
        let (a, b) = tokio::join!(Replica::start(), Replica::start());
        let fixture = Fixture::start(&a, "killed", "Linux").await;
        create_pods(&fixture, "p", 5).await;
        all_run(&fixture, 5).await;
        let (holds, waits) = sorted(&fixture, a, b).await;
        let mut nodes = watch_node(&fixture).await;
        let port = kubelet_port(&fixture).await;
        let name = holds.name.clone();
        holds.kill();
        let took = taken_over(&fixture, &name, port, 25).await;
        eprintln!("SIGKILL to the other's node: {took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        create_pods(&fixture, "q", 3).await;
        all_run(&fixture, 8).await;
        one_put_each(&fixture, 8);
        always_ready(&mut nodes).await;
        restarts(&fixture).await;
        finish(vec![fixture]).await;
        waits.stop().await;
    });
}

#[test]
fn a_replica_that_stood_still_for_a_minute_writes_nothing_when_it_goes_on() {
    run(async |_| {
        let (a, b) = tokio::join!(Replica::start(), Replica::start());
        let fixture = Fixture::start(&a, "paused", "Linux").await;
        create_pods(&fixture, "p", 5).await;
        all_run(&fixture, 5).await;
        let (mut holds, waits) = sorted(&fixture, a, b).await;
        let mut nodes = watch_node(&fixture).await;
        let port = kubelet_port(&fixture).await;
        // Stopped with creates under way: it must not finish them a minute later.
        fixture.control.set_latency(Duration::from_millis(300));
        create_pods(&fixture, "q", 15).await;
        eventually("some of the groups are asked for", 20, || async {
            match fixture.count("PUT", "q") {
                0..3 => Err("fewer than three".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        holds.signal("STOP");
        let stopped = Instant::now();
        fixture.control.set_latency(Duration::ZERO);
        let took = taken_over(&fixture, &holds.name, port, 25).await;
        eprintln!("SIGSTOP to the other's node: {took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        all_run(&fixture, 20).await;
        tokio::time::sleep_until((stopped + Duration::from_secs(60)).into()).await;
        let puts = fixture.count("PUT", "");
        let port = kubelet_port(&fixture).await;
        let written = Written::start().await;
        holds.signal("CONT");
        eventually("it has seen that it lost the connector", 20, || async {
            let held = holds.metric("vkc_ownership_connectors").await;
            if held < 0.5 {
                Ok(())
            } else {
                Err(format!("{held}"))
            }
        })
        .await;
        // Longer than any of its own waits: retries, cadences, heartbeats.
        let rest = nodes.all_of(Duration::from_secs(15)).await;
        for seen in &rest {
            assert_eq!(condition(&seen.object, "Ready")["status"], "True");
        }
        assert_eq!(written.by(&holds).await, Vec::<String>::new());
        let node = fixture.node_name("linux");
        let writers = written.writers_of(&node, &[&holds, &waits]).await;
        assert!(!writers.contains(&holds.name), "{writers:?}");
        assert_eq!(fixture.count("PUT", ""), puts, "no PUT after the pause");
        assert_eq!(kubelet_port(&fixture).await, port);
        assert_eq!(fixture.control.group_count(), 20);
        assert_eq!(puts_that_made_one(&fixture).values().sum::<usize>(), 20);
        assert!(puts_that_made_one(&fixture).values().all(|made| *made == 1));
        restarts(&fixture).await;
        finish(vec![fixture]).await;
        holds.stop().await;
        waits.stop().await;
    });
}

/// By group: PUTs that ARM has answered with 201. The process that stood still has not read all of its answers, so its
/// successor may have asked again; a second one would be an update, which restarts containers.
fn puts_that_made_one(fixture: &Fixture) -> BTreeMap<String, usize> {
    let mut made = BTreeMap::new();
    for group in fixture.control.groups() {
        let name = text(&group["name"]).to_owned();
        let calls = fixture.calls(&name);
        let puts = calls
            .iter()
            .filter(|(method, status)| method == "PUT" && (200..300).contains(status));
        made.insert(name, puts.count());
    }
    made
}

#[test]
fn a_third_replica_takes_its_share_and_no_node_is_not_ready() {
    run(async |_| {
        let (a, b) = tokio::join!(Replica::start(), Replica::start());
        let mut fixtures = Vec::new();
        for number in 0..6 {
            fixtures.push(Fixture::start(&a, &format!("share-{number}"), "Linux").await);
        }
        for fixture in &fixtures {
            fixture.run_pod("p").await;
        }
        let loads = async || {
            let mut loads: BTreeMap<String, usize> = BTreeMap::new();
            for fixture in &fixtures {
                let holder = holder(&fixture.name).await.unwrap_or_default();
                *loads.entry(holder).or_default() += 1;
            }
            loads
        };
        let balanced = async |replicas: usize| {
            let share = 6 / replicas;
            eventually("the connectors are shared", 60, || async {
                let loads = loads().await;
                if loads.len() == replicas && loads.values().all(|load| *load == share) {
                    Ok(())
                } else {
                    Err(format!("{loads:?}"))
                }
            })
            .await;
        };
        balanced(2).await;
        let mut watches = Vec::new();
        for fixture in &fixtures {
            watches.push(watch_node(fixture).await);
        }
        let begun = Instant::now();
        let c = Replica::start().await;
        balanced(3).await;
        eprintln!(
            "six connectors over three replicas after {:?}",
            begun.elapsed()
        );
        // And one goes: its two are somebody else's at once.
        c.stop().await;
        balanced(2).await;
        for (fixture, watch) in fixtures.iter().zip(&mut watches) {
            always_ready(watch).await;
            one_put_each(fixture, 1);
            restarts(fixture).await;
        }
        finish(fixtures).await;
        a.stop().await;
        b.stop().await;
    });
}

#[test]
fn a_lease_says_who_holds_a_connector_and_goes_with_it() {
    run(async |_| {
        let only = Replica::start().await;
        let fixture = Fixture::start(&only, "told", "Linux").await;
        let lease = super::operator::lease("told").await;
        let expected: Value = json!({
            "virtual-kubelet.io/lease": "connector",
            "app.kubernetes.io/managed-by": "vkc",
            "app.kubernetes.io/part-of": "virtual-kubelet-connector",
        });
        assert_eq!(lease["metadata"]["labels"], expected);
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
        assert_eq!(holder("told").await.as_deref(), Some(only.name.as_str()));
        finish(vec![fixture]).await;
        eventually("the Lease is gone", 10, || async {
            let lease = super::operator::lease("told").await;
            if lease.is_null() {
                Ok(())
            } else {
                Err(lease.to_string())
            }
        })
        .await;
        only.stop().await;
    });
}
