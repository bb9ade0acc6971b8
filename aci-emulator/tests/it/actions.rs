//! start, stop, restart, logs, container ends and what the platform does by itself.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Test, group_path, small};

fn view(group: &Value) -> &Value {
    &group["properties"]["containers"][0]["properties"]["instanceView"]
}

fn always() -> Value {
    let mut body = small();
    body["properties"]["restartPolicy"] = json!("Always");
    body
}

#[tokio::test]
async fn stop_start_and_restart() {
    let test = Test::start().await;
    test.running("web", &always()).await;
    assert_eq!(test.post("web", "/stop", None).await.status, 204);
    let stopped = test.get("web").await.body;
    assert_eq!(
        (
            &stopped["properties"]["provisioningState"],
            &stopped["properties"]["instanceView"]["state"]
        ),
        (&json!("Succeeded"), &json!("Stopped"))
    );

    let start = test.post("web", "/start", None).await;
    assert_eq!(start.status, 202);
    let location = start.header("location").to_owned();
    assert!(location.contains("/operationresults/"), "{location}");
    test.until("web", |group| {
        group["properties"]["instanceView"]["state"] == "Running"
    })
    .await;
    assert_eq!(test.send(Method::GET, &location, None).await.status, 204);
    assert_eq!(
        test.post("web", "/start", None).await.status,
        204,
        "it runs already"
    );

    let restart = test.post("web", "/restart", None).await;
    assert_eq!(restart.status, 204);
    assert!(!restart.header("location").is_empty());
    test.until("web", |group| {
        group["properties"]["instanceView"]["state"] == "Running"
    })
    .await;
    assert_eq!(
        test.post("nothing", "/stop", None).await.code(),
        (404, "ResourceNotFound")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_change_what_has_ended() {
    let test = Test::start().await;
    let mut body = small();
    body["properties"]["restartPolicy"] = json!("Never");
    test.running("web", &body).await;
    test.control.finish_container("web", "web", 3).unwrap();
    let ended = test.get("web").await.body;
    assert_eq!(ended["properties"]["instanceView"]["state"], "Failed");
    assert_eq!(test.post("web", "/stop", None).await.status, 204);
    assert_eq!(test.get("web").await.body, ended);
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_crash_loop_waits_with_its_previous_state() {
    let test = Test::start().await;
    test.control
        .change_settings(|settings| settings.crash_backoff = Duration::from_mins(1));
    test.running("web", &always()).await;
    test.control.crash_container("web", "web", 3).unwrap();
    let group = test.get("web").await.body;
    let view = view(&group);
    assert_eq!(
        view["currentState"],
        json!({"state": "Waiting", "detailStatus": "CrashLoopBackOff: Back-off restarting failed", "startTime": null, "exitCode": null, "finishTime": null})
    );
    assert_eq!(
        (
            &view["previousState"]["state"],
            &view["previousState"]["exitCode"]
        ),
        (&json!("Terminated"), &json!(3))
    );
    assert_eq!(
        view["events"].as_array().unwrap().last().unwrap()["name"],
        "BackOff"
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn images_that_end_by_themselves() {
    let test = Test::start().await;
    test.control
        .change_settings(|settings| settings.exit_after = Duration::from_millis(10));
    for (code, state, detail) in [(0, "Succeeded", "Completed"), (7, "Failed", "Error")] {
        let mut body = small();
        body["properties"]["containers"][0]["properties"]["image"] =
            json!(format!("example.test/exit:{code}"));
        let name = format!("exit-{code}");
        test.put(&name, &body).await;
        let group = test
            .until(&name, |group| {
                group["properties"]["instanceView"]["state"] == state
            })
            .await;
        let current = &view(&group)["currentState"];
        assert_eq!(
            (
                &current["state"],
                &current["exitCode"],
                &current["detailStatus"]
            ),
            (&json!("Terminated"), &json!(code), &json!(detail))
        );
        assert!(view(&group).get("events").is_none(), "as recorded");
    }
    test.emulator.stop().await;
}

#[tokio::test]
async fn the_platform_restarts_under_never_and_repairs_with_a_new_address() {
    let test = Test::start().await;
    let mut body = small();
    body["properties"]["containers"][0]["properties"]["ports"] = json!([{"port": 80}]);
    body["properties"]["ipAddress"] = json!({"type": "Public", "ports": [{"port": 80}]});
    let before = test.running("web", &body).await;
    test.control.platform_restart("web").unwrap();
    let group = test.control.group("web").unwrap();
    assert_eq!(
        (
            &view(&group)["restartCount"],
            &view(&group)["previousState"]["exitCode"]
        ),
        (&json!(1), &json!(7147))
    );

    test.control.repair("web").unwrap();
    let mut seen = Vec::new();
    let after = test.until("web", |group| {
        let state = group["properties"]["provisioningState"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            matches!(state.as_str(), "Unhealthy" | "Repairing" | "Succeeded"),
            "{state}"
        );
        group["properties"]["provisioningState"] == "Succeeded"
            && group["properties"]["ipAddress"]["ip"] != before["properties"]["ipAddress"]["ip"]
    });
    seen.push(after.await["properties"]["ipAddress"]["ip"].clone());
    assert_eq!(view(&test.control.group("web").unwrap())["restartCount"], 2);
    test.emulator.stop().await;
}

#[tokio::test]
async fn logs_with_tail_and_timestamps_and_before_the_start() {
    let test = Test::start().await;
    test.control.set_start_delay(Duration::from_mins(1));
    test.put("young", &small()).await;
    let logs = async |name: &str, query: &str| {
        test.send(
            Method::GET,
            &group_path(name, &format!("/containers/web/logs?{query}")),
            None,
        )
        .await
    };
    assert_eq!(
        logs("young", "").await.code(),
        (404, "ContainerLogNotAvailable")
    );
    let exec = test
        .post(
            "young",
            "/containers/web/exec",
            Some(&json!({"command": "/bin/sh"})),
        )
        .await;
    assert_eq!(exec.code(), (409, "ContainerGroupDeploymentNotReady"));

    test.control.set_start_delay(Duration::ZERO);
    test.put("web", &small()).await;
    test.control.append_log("web", "web", "one\ntwo").unwrap();
    let all = logs("web", "").await.body["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(all.ends_with("\none\ntwo\n"), "{all}");
    assert_eq!(logs("web", "tail=1").await.body["content"], "two\n");
    let stamped = logs("web", "tail=1&timestamps=true").await.body["content"]
        .as_str()
        .unwrap()
        .to_owned();
    let (time, line) = stamped.split_once(' ').unwrap();
    assert_eq!(line, "two\n");
    assert!(
        time.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(time).is_ok(),
        "{time}"
    );
    assert_eq!(
        logs("web", "tail=x").await.code(),
        (400, "InvalidQueryParameter")
    );
    let none = test
        .send(
            Method::GET,
            &group_path("web", "/containers/none/logs"),
            None,
        )
        .await;
    assert_eq!(none.status, 404);
    test.emulator.stop().await;
}

#[tokio::test]
async fn init_containers_have_their_own_view() {
    let test = Test::start().await;
    let mut body = small();
    body["properties"]["initContainers"] =
        json!([{"name": "first", "properties": {"image": "busybox:1"}}]);
    let group = test.running("web", &body).await;
    let init = &group["properties"]["initContainers"][0]["properties"]["instanceView"];
    assert_eq!(
        (
            &init["currentState"]["state"],
            &init["currentState"]["exitCode"]
        ),
        (&json!("Terminated"), &json!(0))
    );
    test.emulator.stop().await;
}
