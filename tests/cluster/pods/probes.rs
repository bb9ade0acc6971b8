//! Probes that the operator runs: Ready follows them, and a container that fails is ended.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, is_running, text};
use crate::support::site::{alone, run, shared};
use crate::support::tools::{address, certificate, client, get};

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

/// Status and sentence of a condition of the pod.
fn condition<'p>(pod: &'p Value, kind: &str) -> (&'p str, &'p str) {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut found = conditions.filter(|condition| condition["type"] == kind);
    let found = found.next().unwrap_or(&Value::Null);
    (text(&found["status"]), text(&found["message"]))
}

fn is_ready(pod: &Value) -> bool {
    container(pod)["ready"] == true && condition(pod, "Ready").0 == "True"
}

fn runs_unready(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && condition(pod, "Ready").0 == "False"
}

/// The groups of all emulators have the same addresses: each test has a port of its own.
///
/// A pod whose only container listens on `port`, called web, and has these probes, each every second and with one failure
/// that counts.
fn spec(port: u16, probes: &[(&str, Value)]) -> Value {
    let ports = json!([{"name": "web", "containerPort": port}]);
    let mut container = json!({"name": "main", "image": "example.com/web", "ports": ports});
    for (name, handler) in probes {
        let mut probe = handler.clone();
        probe["periodSeconds"] = json!(1);
        probe["failureThreshold"] = json!(1);
        probe["timeoutSeconds"] = json!(5);
        container[*name] = probe;
    }
    json!({"containers": [container]})
}

#[test]
fn a_pod_is_ready_while_its_readiness_probe_succeeds_and_that_costs_no_call() {
    const PORT: u16 = 4101;
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start_answering(&operator, "readiness", &json!({})).await;
        let reader = certificate("probes-reader", Some("system:masters")).await;
        let client = client(Some(&reader));
        for (name, handler) in [
            ("http", json!({"httpGet": {"port": "web", "path": "/up"}})),
            ("grpc", json!({"grpc": {"port": PORT}})),
        ] {
            let probes = spec(PORT, &[("readinessProbe", handler)]);
            let pod = fixture.create_pod(name, "", probes).await;
            fixture
                .pod_until(name, "it is ready", PATIENCE, is_ready)
                .await;
            let group = fixture.group_of(&pod);
            fixture.control.set_page_status(&group, 503).unwrap();
            let pod = fixture
                .pod_until(name, "it is not ready", PATIENCE, runs_unready)
                .await;
            let sentence = "containers with unready status: [main]";
            assert_eq!(condition(&pod, "Ready").1, sentence);
            assert_eq!(container(&pod)["restartCount"], 0);
            assert_eq!(container(&pod)["started"], true);
            let event = fixture.event(&pod, "Unhealthy").await;
            let said = match name {
                "http" => "Readiness probe failed: HTTP probe failed with statuscode: 503",
                _ => "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")",
            };
            assert_eq!(text(&event["note"]), said);
            fixture.control.set_page_status(&group, 200).unwrap();
            fixture
                .pod_until(name, "it is ready again", PATIENCE, is_ready)
                .await;
            let at = format!("{}/metrics/probes", address(&fixture).await);
            let (_, text) = get(&client, &at).await;
            let labels = format!("container=\"main\",namespace=\"readiness\",pod=\"{name}\"");
            let counted =
                |line: &&str| line.contains(&labels) && line.contains("result=\"failed\"");
            assert!(text.lines().any(|line| counted(&line)), "{text}");
            let writes = fixture.requests(&group);
            let writes = writes.iter().filter(|call| call.method != "GET").count();
            assert_eq!(writes, 1, "its PUT");
        }
        fixture.finish().await;
    });
}

#[test]
fn while_a_pod_ends_its_readiness_is_probed_and_its_liveness_is_not() {
    const PORT: u16 = 4106;
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start_answering(&operator, "goodbye", &json!({})).await;
        let web = || json!({"httpGet": {"port": "web"}});
        let mut probes = spec(
            PORT,
            &[
                ("startupProbe", web()),
                ("livenessProbe", web()),
                ("readinessProbe", web()),
            ],
        );
        probes["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 25}}});
        let pod = fixture.create_pod("web", "", probes).await;
        fixture
            .pod_until("web", "it is ready", PATIENCE, is_ready)
            .await;
        let group = fixture.group_of(&pod);
        fixture.delete_pod("web").await;
        fixture.control.set_page_status(&group, 503).unwrap();
        let pod = fixture
            .pod_until("web", "it is not ready", PATIENCE, runs_unready)
            .await;
        assert!(pod["metadata"]["deletionTimestamp"].is_string());
        fixture.control.set_page_status(&group, 200).unwrap();
        fixture
            .pod_until("web", "it is ready again", PATIENCE, is_ready)
            .await;
        assert!(fixture.events(&pod, "Killing").await.is_empty());
        let at_once = DeleteParams::default().grace_period(0);
        fixture.api::<Pod>().delete("web", &at_once).await.unwrap();
        fixture.finish().await;
    });
}

#[test]
fn a_container_that_fails_its_liveness_probe_is_ended_and_started_again() {
    const PORT: u16 = 4102;
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start_answering(&operator, "liveness", &json!({})).await;
        // What ACI knows of it begins when the startup probe would have given up; the operator begins at once.
        let probes = spec(
            PORT,
            &[
                ("startupProbe", json!({"tcpSocket": {"port": "web"}})),
                ("livenessProbe", json!({"httpGet": {"port": "web"}})),
            ],
        );
        let pod = fixture.create_pod("web", "", probes).await;
        fixture
            .pod_until("web", "it is ready", PATIENCE, is_ready)
            .await;
        let group = fixture.group_of(&pod);
        let end = Some((Duration::from_millis(200), 143));
        fixture.control.on_sigterm(&group, "main", end).unwrap();
        fixture.control.set_page_status(&group, 500).unwrap();
        let pod = fixture
            .pod_until("web", "it was restarted", PATIENCE, |pod| {
                container(pod)["restartCount"] == 1
            })
            .await;
        let last = &container(&pod)["lastState"]["terminated"];
        assert_eq!(last["exitCode"], 143);
        let event = fixture.event(&pod, "Killing").await;
        let killing = "Container main failed liveness probe, will be restarted";
        assert_eq!(text(&event["note"]), killing);
        fixture.finish().await;
    });
}

#[test]
fn one_that_ignores_sigterm_is_restarted_with_its_group_and_counted() {
    const PORT: u16 = 4103;
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start_answering(&operator, "stubborn", &json!({})).await;
        let mut stubborn = spec(
            PORT,
            &[
                ("startupProbe", json!({"tcpSocket": {"port": "web"}})),
                ("livenessProbe", json!({"httpGet": {"port": "web"}})),
            ],
        );
        stubborn["containers"][0]["livenessProbe"]["terminationGracePeriodSeconds"] = json!(1);
        let pod = fixture.create_pod("web", "", stubborn).await;
        fixture
            .pod_until("web", "it is ready", PATIENCE, is_ready)
            .await;
        let group = fixture.group_of(&pod);
        fixture.control.on_sigterm(&group, "main", None).unwrap();
        fixture.control.set_page_status(&group, 500).unwrap();
        let restarted = |pod: &Value| container(pod)["restartCount"] == 1;
        let pod = fixture
            .pod_until("web", "it was restarted", PATIENCE, restarted)
            .await;
        assert_eq!(
            container(&pod)["lastState"]["terminated"]["exitCode"],
            137,
            "nobody saw how it ended"
        );
        let calls = fixture.requests(&group);
        let restarts = calls.iter().filter(|call| call.path.ends_with("/restart"));
        assert_eq!(restarts.count(), 1);
        assert_eq!(fixture.control.sigterms(&group, "main"), Ok(1));
        fixture.finish().await;
    });
}

#[test]
fn ready_stands_while_the_operator_is_away_and_when_it_comes_back() {
    const PORT: u16 = 4104;
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start_answering(&operator, "probes-restart", &json!({})).await;
        let probes = spec(
            PORT,
            &[
                ("startupProbe", json!({"httpGet": {"port": "web"}})),
                ("readinessProbe", json!({"httpGet": {"port": "web"}})),
            ],
        );
        let pod = fixture.create_pod("web", "", probes).await;
        let before = fixture
            .pod_until("web", "it is ready", PATIENCE, is_ready)
            .await;
        let since = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().unwrap().iter();
            let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
            ready.next().unwrap()["lastTransitionTime"].clone()
        };
        operator.kill();
        operator.start().await;
        // It is probed again: what fails from now on is seen.
        let group = fixture.group_of(&pod);
        let stands = fixture.pod("web").await;
        assert_eq!(since(&stands), since(&before));
        fixture.control.set_page_status(&group, 503).unwrap();
        fixture
            .pod_until("web", "it is not ready", PATIENCE, runs_unready)
            .await;
        fixture.control.set_page_status(&group, 200).unwrap();
        fixture
            .pod_until("web", "it is ready again", PATIENCE, is_running)
            .await;
        fixture.finish().await;
    });
}
