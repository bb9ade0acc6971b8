//! Row 22: etcd has forgotten what the operator has not yet seen.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text};
use crate::support::site::{alone, plane, run};

/// How often the node of `fixture` listed its pods, by the audit log from byte `from` on.
async fn lists(fixture: &Fixture, from: usize) -> usize {
    let log = std::fs::read_to_string(plane().await.audit_log()).unwrap();
    let node = format!("system:node:{}", fixture.node_name("linux"));
    let listed = |line: &&str| {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        entry["impersonatedUser"]["username"] == node
            && entry["objectRef"]["resource"] == "pods"
            && text(&entry["verb"]) == "list"
            && entry["responseStatus"]["code"] == 200
    };
    log.get(from..).unwrap().lines().filter(listed).count()
}

#[test]
fn a_watch_that_etcd_has_forgotten_is_begun_anew_and_misses_nothing() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "compact", "Linux").await;
        for name in ["stays", "goes"] {
            fixture.run_pod(name).await;
        }
        let (stays, goes) = (fixture.pod("stays").await, fixture.pod("goes").await);
        let (kept, left) = (fixture.group_of(&stays), fixture.group_of(&goes));
        operator.process().signal("STOP").unwrap();
        let force = DeleteParams::default().grace_period(0);
        fixture.api::<Pod>().delete("goes", &force).await.unwrap();
        fixture
            .create_pod("comes", "example.com/web", json!({}))
            .await;
        for number in 0..20 {
            let object = json!({"metadata": {"name": format!("c{number}")}});
            fixture.create::<ConfigMap>(&object).await;
        }
        plane().await.compact_etcd().await.unwrap();
        // Its own memory of what has been goes with it: watches from before get 410.
        plane().await.restart_api_server().await.unwrap();
        let from = std::fs::read(plane().await.audit_log()).unwrap().len();
        operator.process().signal("CONT").unwrap();

        fixture.pod_until("comes", "it runs", 60, is_running).await;
        eventually("the group of the pod that went is gone", 60, || async {
            match fixture.control.group(&left) {
                None => Ok(()),
                Some(_) => Err("still there".to_owned()),
            }
        })
        .await;
        let now = fixture.pod("stays").await;
        assert!(is_running(&now), "{}", now["status"]);
        assert_eq!(now["metadata"]["uid"], stays["metadata"]["uid"]);
        assert_eq!(fixture.count("PUT", &kept), 1);
        assert_eq!(fixture.count("DELETE", &kept), 0);
        let lists = lists(&fixture, from).await;
        assert!((1..=4).contains(&lists), "{lists} lists: no storm of them");
        eventually("the node is Ready", PATIENCE, || async {
            let node = fixture.nodes().get(&fixture.node_name("linux")).await;
            let node = serde_json::to_value(node.unwrap()).unwrap();
            let ready = crate::support::fixture::condition(&node, "Ready");
            if ready["status"] == "True" {
                Ok(())
            } else {
                Err(ready.to_string())
            }
        })
        .await;
        fixture.finish().await;
    });
}
