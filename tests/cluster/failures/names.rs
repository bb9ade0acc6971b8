//! Rows 2 and 3: pods whose names meet, side by side and one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text};
use crate::support::site::{plane, run, shared};

/// Lives of the pod that is made again and again.
const LIVES: usize = 5;

#[test]
fn pods_whose_namespace_and_name_join_to_the_same_words_run_side_by_side() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "join", "Linux").await;
        let pods = [("join-a", "b-c"), ("join-a-b", "c")];
        let api = |namespace: &str| Api::<Pod>::namespaced(fixture.client.clone(), namespace);
        for (namespace, name) in pods {
            let object: Namespace =
                serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
            let namespaces = Api::<Namespace>::all(fixture.client.clone());
            let params = PostParams::default();
            namespaces.create(&params, &object).await.unwrap();
            plane().await.namespace_ready(namespace).await.unwrap();
            let pod =
                json!({"metadata": {"name": name}, "spec": fixture.pod_spec("example.com/web")});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            api(namespace).create(&params, &pod).await.unwrap();
        }
        let running = async |namespace: &'static str, name: &'static str| {
            eventually("it runs", PATIENCE, || async {
                let pod = serde_json::to_value(api(namespace).get(name).await.unwrap()).unwrap();
                if is_running(&pod) {
                    Ok(pod)
                } else {
                    Err(pod["status"].to_string())
                }
            })
            .await
        };
        let [(n1, p1), (n2, p2)] = pods;
        let (one, other) = (running(n1, p1).await, running(n2, p2).await);
        let (first, second) = (fixture.group_of(&one), fixture.group_of(&other));
        assert_ne!(first, second);
        assert_eq!(fixture.control.group_count(), 2);
        // The end of one is not that of the other.
        api(n1).delete(p1, &DeleteParams::default()).await.unwrap();
        eventually("its group is gone", PATIENCE, || async {
            match fixture.control.group(&first) {
                None => Ok(()),
                Some(group) => Err(group.to_string()),
            }
        })
        .await;
        running(n2, p2).await;
        assert_eq!(fixture.count("DELETE", &second), 0);
        let namespaces = Api::<Namespace>::all(fixture.client.clone());
        for (namespace, _) in pods {
            let background = DeleteParams::background();
            namespaces.delete(namespace, &background).await.unwrap();
        }
        fixture.finish().await;
    });
}

#[test]
fn a_pod_made_again_in_a_loop_under_slow_deletes_has_one_group_in_each_life() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "loop", "Linux").await;
        fixture.control.change_settings(|settings| {
            settings.delete_delay = Duration::from_secs(2);
        });
        fixture.create_stateful_set("db").await;
        // UIDs and groups, one for each life.
        let mut lives: BTreeMap<String, String> = BTreeMap::new();
        for life in 0..LIVES {
            let pod = fixture
                .pod_until("db-0", "it runs in another life", PATIENCE, |pod| {
                    !lives.contains_key(text(&pod["metadata"]["uid"])) && is_running(pod)
                })
                .await;
            assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
            let uid = text(&pod["metadata"]["uid"]).to_owned();
            lives.insert(uid, fixture.group_of(&pod));
            if life + 1 < LIVES {
                fixture.delete_pod("db-0").await;
            }
        }
        let last = fixture.pod("db-0").await;
        eventually("only the last group is left", PATIENCE, || async {
            let groups = fixture.control.groups();
            let names: Vec<&str> = groups.iter().map(|group| text(&group["name"])).collect();
            match groups.as_slice() {
                [group] if group["tags"]["vkc-uid"] == last["metadata"]["uid"] => Ok(()),
                _ => Err(format!("{names:?}")),
            }
        })
        .await;
        let names: std::collections::BTreeSet<&String> = lives.values().collect();
        assert_eq!(names.len(), LIVES, "a group of its own for each: {lives:?}");
        for group in names {
            assert_eq!(fixture.count("PUT", group), 1, "{group}");
        }
        assert!(is_running(&last), "{}", Value::clone(&last["status"]));
        fixture.finish().await;
    });
}
