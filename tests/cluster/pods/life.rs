//! A pod from its creation to its end.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, condition, eventually, is_running, text};
use crate::support::site::{plane, run, shared};
use crate::support::watching::Watch;

/// What a JWT claims; nobody checks its signature here.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

fn file(volume: &Value, name: &str) -> String {
    let content = BASE64_STANDARD.decode(text(&volume["secret"][name]));
    String::from_utf8(content.unwrap()).unwrap()
}

#[test]
fn a_linux_pod_as_a_user_writes_it() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "lin", "Linux").await;
        let ports = json!({"containers": [
            {"name": "web", "image": "example.com/web:1", "ports": [{"containerPort": 80}]},
        ]});
        fixture.create_pod("web", "", ports).await;
        let pod = fixture
            .pod_until("web", "it runs", PATIENCE, is_running)
            .await;
        let group = fixture.group_of(&pod);

        // The status, as a kubelet writes it.
        let status = &pod["status"];
        let shown = fixture.control.group(&group).unwrap();
        let ip = &shown["properties"]["ipAddress"]["ip"];
        assert!(ip.is_string(), "{shown}");
        assert_eq!(status["podIP"], *ip);
        assert_eq!(status["podIPs"], json!([{"ip": ip}]));
        assert_eq!(status["hostIP"], "127.0.0.1");
        assert!(status["startTime"].is_string(), "{status}");
        for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
            assert_eq!(condition(&pod, kind)["status"], "True", "{kind}: {status}");
        }
        let container = &status["containerStatuses"][0];
        assert_eq!(container["name"], "web");
        assert_eq!(container["ready"], true);
        assert_eq!(container["started"], true);
        assert_eq!(container["restartCount"], 0);
        assert!(
            text(&container["containerID"]).contains("://"),
            "{container}"
        );
        assert!(container["state"]["running"]["startedAt"].is_string());
        assert_eq!(pod["spec"]["nodeName"], fixture.node_name("linux"));

        // The group.
        let put = fixture.control.last_put(&group).unwrap();
        assert_eq!(put["tags"]["vkc-uid"], pod["metadata"]["uid"]);
        assert_eq!(put["tags"]["vkc-namespace"], "lin");
        assert_eq!(put["tags"]["vkc-pod"], "web");
        let volumes = put["properties"]["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), 1, "{:?}", put["properties"]["volumes"]);
        let token = file(&volumes[0], "token");
        let claims = claims(&token);
        let bound = &claims["kubernetes.io"];
        assert_eq!(bound["pod"]["uid"], pod["metadata"]["uid"], "{claims}");
        assert_eq!(bound["serviceaccount"]["name"], "default");
        assert_eq!(file(&volumes[0], "namespace"), "lin");
        assert_eq!(
            file(&volumes[0], "ca.crt").trim(),
            plane().await.ca_pem().trim()
        );
        assert_eq!(
            put["properties"]["containers"][0]["properties"]["volumeMounts"][0]["mountPath"],
            "/var/run/secrets/kubernetes.io/serviceaccount"
        );
        let signature = text(&volumes[0]["secret"]["token"]);
        assert!(!shown.to_string().contains(signature));
        assert_eq!(
            fixture.calls(&group).first(),
            Some(&("PUT".to_owned(), 201))
        );
        assert_eq!(fixture.count("PUT", ""), 1);
        fixture.finish().await;
    });
}

#[test]
fn a_windows_pod() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "win", "Both").await;
        let patch = json!({
            "containers": [{"name": "iis", "image": "example.com/iis:nanoserver", "ports": [{"containerPort": 80}]}],
            "nodeSelector": {"kubernetes.io/os": "windows"},
        });
        fixture.create_pod("iis", "", patch).await;
        let pod = fixture
            .pod_until("iis", "it runs", PATIENCE, is_running)
            .await;
        assert_eq!(pod["spec"]["nodeName"], fixture.node_name("windows"));
        let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
        let properties = &put["properties"];
        assert_eq!(properties["osType"], "Windows");
        assert_eq!(properties["containers"].as_array().unwrap().len(), 1);
        for absent in [
            &properties["volumes"],
            &properties["containers"][0]["properties"]["volumeMounts"],
        ] {
            assert!(
                absent.is_null() || absent.as_array().is_some_and(Vec::is_empty),
                "{absent}"
            );
        }
        fixture.finish().await;
    });
}

#[test]
fn a_deleted_pod_ends_as_soon_as_its_group_does() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "del", "Linux").await;
        let pod = fixture.run_pod("web").await;
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
        let group = fixture.group_of(&pod);
        let mut watch = Watch::<Pod>::start(
            &fixture.api(),
            "metadata.name=web",
            &fixture.pods_version().await,
        )
        .await;
        let begun = Instant::now();
        fixture.delete_pod("web").await;
        let last = loop {
            let seen = watch
                .next(Duration::from_secs(5))
                .await
                .expect("an event within 5 s");
            if seen.what == "deleted" {
                break seen.object;
            }
        };
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "gone after {took:?}");
        assert!(
            fixture.control.group(&group).is_none(),
            "the group is still there"
        );
        assert_eq!(fixture.count("DELETE", &group), 1);
        let container = &last["status"]["containerStatuses"][0];
        assert!(
            container["state"]["terminated"].is_object(),
            "the last status: {}",
            last["status"]
        );
        assert_eq!(condition(&last, "Ready")["status"], "False");
        assert!(matches!(
            text(&last["status"]["phase"]),
            "Succeeded" | "Failed"
        ));
        fixture.finish().await;
    });
}

#[test]
fn a_pod_recreated_under_its_name_gets_a_group_of_its_own() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "again", "Linux").await;
        fixture.create_stateful_set("db").await;
        let first = fixture
            .pod_until("db-0", "it runs", PATIENCE, is_running)
            .await;
        let old = fixture.group_of(&first);
        fixture.delete_pod("db-0").await;
        let second = fixture
            .pod_until("db-0", "another one runs", PATIENCE, |pod| {
                pod["metadata"]["uid"] != first["metadata"]["uid"] && is_running(pod)
            })
            .await;
        let new = fixture.group_of(&second);
        assert_ne!(old, new);
        eventually("only the new group is left", 5, || async {
            let groups = fixture.control.groups();
            if groups.len() == 1 && groups[0]["name"] == new {
                Ok(())
            } else {
                Err(format!("{} groups", groups.len()))
            }
        })
        .await;
        assert_eq!(fixture.count("PUT", &old), 1);
        assert_eq!(fixture.count("PUT", &new), 1);
        fixture.finish().await;
    });
}
