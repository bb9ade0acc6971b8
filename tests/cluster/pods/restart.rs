//! The operator ends, in every way, and comes back.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, condition, eventually, is_running, text};
use crate::support::site::{alone, run};
use crate::support::watching::{Audit, Watch};

const BURST: usize = 40;

#[test]
fn killed_in_a_burst_every_pod_runs_once() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "burst", "Linux").await;
        fixture.control.set_latency(Duration::from_millis(50));
        let create = async |numbers: Range<usize>| {
            for number in numbers {
                let name = format!("p{number}");
                fixture
                    .create_pod(&name, "example.com/web", json!({}))
                    .await;
            }
        };
        let killing = async {
            eventually("15 groups were made", 30, || async {
                let puts = fixture.count("PUT", "");
                if puts >= 15 {
                    Ok(())
                } else {
                    Err(format!("{puts}"))
                }
            })
            .await;
            operator.kill();
        };
        tokio::join!(create(0..30), killing);
        let before = fixture.control.group_count();
        assert!(
            (15..BURST).contains(&before),
            "killed after {before} groups"
        );
        create(30..BURST).await;
        operator.start().await;
        let pods = eventually("all pods run", 40, || async {
            let pods = fixture.pods().await;
            let running = pods.iter().filter(|pod| is_running(pod)).count();
            if running == BURST {
                Ok(pods)
            } else {
                Err(format!("{running} run"))
            }
        })
        .await;
        let uids = |objects: &[Value], at: &str| -> BTreeSet<String> {
            let uids = objects.iter().filter_map(|object| object.pointer(at));
            uids.map(|uid| text(uid).to_owned()).collect()
        };
        let groups = fixture.control.groups();
        assert_eq!(groups.len(), BURST);
        assert_eq!(uids(&groups, "/tags/vkc-uid"), uids(&pods, "/metadata/uid"));
        for group in &groups {
            let mut calls = fixture.calls(text(&group["name"]));
            calls.retain(|(method, _)| method != "GET");
            // A request that the kill cut short: its body never arrived, so it was none. Only the first can be one.
            if calls.len() > 1 && calls[0] == ("PUT".to_owned(), 413) {
                calls.remove(0);
            }
            assert_eq!(calls, [("PUT".to_owned(), 201)], "{}", group["name"]);
        }
        for pod in &pods {
            assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
        }
        fixture.finish().await;
    });
}

/// Groups were made once, whatever became of them. A request that a kill cut short was none: its body never arrived.
fn made_once(fixture: &Fixture, group: &str) {
    let mut calls = fixture.calls(group);
    calls.retain(|(method, status)| method == "PUT" && *status != 413);
    assert_eq!(calls, [("PUT".to_owned(), 201)], "{group}");
}

#[test]
fn killed_while_pods_are_in_every_step_each_starts_once_and_ends_for_good() {
    /// One pod after the other: all steps of some hundred milliseconds have a pod in them.
    const PACE: Duration = Duration::from_millis(40);
    const DONE: usize = 6;
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "steps", "Linux").await;
        fixture.control.set_latency(Duration::from_millis(30));
        let mut pace = tokio::time::interval(PACE);
        let mut names = Vec::new();
        loop {
            pace.tick().await;
            let name = format!("p{}", names.len());
            fixture
                .create_pod(&name, "example.com/web", json!({}))
                .await;
            names.push(name);
            let pods = fixture.pods().await;
            if pods.iter().filter(|pod| is_running(pod)).count() >= DONE {
                break;
            }
            assert!(names.len() < 200, "none of them runs");
        }
        operator.kill();
        operator.start().await;
        let count = names.len();
        let pods = eventually("all pods run", 40, || async {
            let pods = fixture.pods().await;
            match pods.iter().filter(|pod| is_running(pod)).count() {
                running if running == count => Ok(pods),
                running => Err(format!("{running} of {count} run")),
            }
        })
        .await;
        let groups: Vec<String> = pods.iter().map(|pod| fixture.group_of(pod)).collect();
        for group in &groups {
            made_once(&fixture, group);
        }

        let params = DeleteParams::default();
        let mut ended = 0;
        for name in &names {
            pace.tick().await;
            fixture.api::<Pod>().delete(name, &params).await.unwrap();
            ended += 1;
            if fixture.control.group_count() + DONE <= count {
                break;
            }
        }
        operator.kill();
        for name in &names[ended..] {
            fixture.api::<Pod>().delete(name, &params).await.unwrap();
        }
        operator.start().await;
        eventually("nothing is left", 40, || async {
            match (fixture.control.group_count(), fixture.pods().await.len()) {
                (0, 0) => Ok(()),
                left => Err(format!("{left:?}")),
            }
        })
        .await;
        for group in &groups {
            made_once(&fixture, group);
        }
        fixture.finish().await;
    });
}

#[test]
fn a_stop_and_a_start_disturb_nothing() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "calm", "Linux").await;
        for name in ["a", "b", "c"] {
            fixture.run_pod(name).await;
        }
        // Azure's events have whole seconds: those of the second of a start are told again rather than lost.
        let last = fixture.pod("c").await;
        let started = &last["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
        let started: Timestamp = text(started).parse().unwrap();
        eventually("the last pod is three seconds old", 10, || async {
            let age = Timestamp::now().duration_since(started).as_secs();
            if age >= 3 {
                Ok(())
            } else {
                Err(format!("{age} s"))
            }
        })
        .await;
        let node = fixture.node_name("linux");
        let fields = format!("metadata.name={node}");
        let mut pods = Watch::<Pod>::start(&fixture.api(), "", &fixture.pods_version().await).await;
        let mut nodes = Watch::<Node>::start(
            &fixture.nodes(),
            &fields,
            &fixture.node_version("linux").await,
        )
        .await;
        let groups = fixture.control.groups().len();
        let audit = Audit::start().await;

        let took = operator.terminate().await;
        assert!(took < Duration::from_secs(10), "ended after {took:?}");
        assert_eq!(fixture.control.groups().len(), groups);
        let asked = fixture.control.requests().len();

        operator.start().await;
        let requests = || fixture.control.requests().split_off(asked);
        eventually("each pod is looked at twice", 30, || async {
            let requests = requests();
            let looks = ["a-", "b-", "c-"].map(|name| {
                let part = format!("/containerGroups/{name}");
                requests
                    .iter()
                    .filter(|request| request.method == "GET" && request.path.contains(&part))
                    .count()
            });
            if looks.iter().all(|looks| *looks >= 2) {
                Ok(())
            } else {
                Err(format!("{looks:?}"))
            }
        })
        .await;
        // Longer than a Node may be without a word at the start of its agent.
        let time = Duration::from_secs(7);
        let (pods, nodes) = tokio::join!(pods.all_of(time), nodes.all_of(time));
        assert!(pods.is_empty(), "written: {pods:#?}");
        for seen in &nodes {
            assert_eq!(seen.what, "modified");
            assert_eq!(
                condition(&seen.object, "Ready")["status"],
                "True",
                "{}",
                seen.object
            );
        }
        let written = audit.writes(&fixture, "linux").await;
        // As a kubelet does: who am I, and one report on the Node.
        let report = [
            "create selfsubjectreviews/ ".to_owned(),
            format!("patch nodes/status {node}"),
        ];
        assert_eq!(written, report);
        let writes: Vec<_> = requests()
            .into_iter()
            .filter(|request| matches!(request.method.as_str(), "PUT" | "DELETE" | "PATCH"))
            .collect();
        assert!(writes.is_empty(), "{writes:?}");
        fixture.finish().await;
    });
}
