//! The operator is away while a pod goes.
//!
//! This test needs a sweep for orphans, which comes half a minute after a start. Tests begin in the order of their names:
//! this one is early and shares the operator while it waits; the others that end the operator come late.

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, eventually, is_running, text};
use crate::support::site::{alone, run};

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
