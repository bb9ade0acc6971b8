//! The operator ends, in every way, and comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::fixture::{Fixture, condition, eventually, is_running, text};
use crate::operator::{alone, run};
use crate::watching::Watch;

const BURST: usize = 40;

#[test]
fn killed_in_a_burst_every_pod_runs_once() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "burst", "Linux").await;
        fixture.control.set_latency(Duration::from_millis(50));
        let creating = async {
            for number in 0..BURST {
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
        tokio::join!(creating, killing);
        let before = fixture.control.group_count();
        assert!(
            (15..BURST).contains(&before),
            "killed after {before} groups"
        );
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
            assert_eq!(calls, [("PUT".to_owned(), 201)], "{}", group["name"]);
        }
        for pod in &pods {
            assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
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
        let writes: Vec<_> = requests()
            .into_iter()
            .filter(|request| matches!(request.method.as_str(), "PUT" | "DELETE" | "PATCH"))
            .collect();
        assert!(writes.is_empty(), "{writes:?}");
        fixture.finish().await;
    });
}

/// Puts a copy of the group `like` with other tags, as another user of the resource group would.
async fn put_foreign(fixture: &Fixture, like: &str, name: &str, tags: Value) {
    let config = &fixture.config;
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(fixture.ca_pem.as_bytes()).unwrap()])
        .no_proxy()
        .build()
        .unwrap();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope={}/.default",
        config.client_id, config.client_secret, fixture.url
    );
    let answer = client
        .post(format!(
            "{}/{}/oauth2/v2.0/token",
            fixture.url, config.tenant_id
        ))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let mut body = fixture.control.last_put(like).unwrap();
    body["tags"] = tags;
    let answer = client
        .put(format!(
            "{}/subscriptions/{}/resourceGroups/{}-rg/providers/Microsoft.ContainerInstance/containerGroups/{name}\
             ?api-version=2023-05-01",
            fixture.url, config.subscription_id, fixture.name
        ))
        .header("Content-Type", "application/json")
        .bearer_auth(text(&answer["access_token"]))
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 201, "{:?}", answer.text().await);
}

#[test]
fn a_pod_removed_while_nobody_looked_takes_its_group_along() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "unseen", "Linux").await;
        let victim = fixture.run_pod("victim").await;
        fixture.run_pod("bystander").await;
        let group = fixture.group_of(&victim);
        let tags = fixture.control.group(&group).unwrap()["tags"].clone();
        let with = |name: &str, value: &str| {
            let mut tags = tags.clone();
            tags[name] = json!(value);
            // A pod that does not exist here: only whose the group is can save it.
            tags["vkc-uid"] = json!("5f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11");
            tags
        };
        for (name, tags) in [
            ("foreign-untagged", json!({})),
            ("foreign-cluster", with("vkc-cluster", "another-cluster")),
            (
                "foreign-connector",
                with("vkc-connector", "another-connector"),
            ),
            (
                "foreign-node",
                with("vkc-node", "virtual-kubelet-another-linux-eastus"),
            ),
        ] {
            put_foreign(&fixture, &group, name, tags).await;
        }
        operator.kill();
        let force = DeleteParams::default().grace_period(0);
        fixture.api::<Pod>().delete("victim", &force).await.unwrap();
        assert!(fixture.pod("victim").await.is_null());
        operator.start().await;
        let _operator = operator.share();
        eventually("the group is gone", 60, || async {
            match fixture.control.group(&group) {
                None => Ok(()),
                Some(_) => Err("still there".to_owned()),
            }
        })
        .await;
        let mut requests = fixture.control.requests();
        requests.retain(|request| request.method == "DELETE");
        assert!(
            requests
                .iter()
                .all(|request| request.path.ends_with(&group)),
            "{requests:?}"
        );
        assert_eq!(fixture.control.group_count(), 5);
        assert!(is_running(&fixture.pod("bystander").await));
        fixture.finish().await;
    });
}
