//! Faults, throttling, the record of requests and the admin endpoint.

use std::time::{Duration, Instant};

use aci_emulator::{ChangeKind, Fault};
use reqwest::Method;
use serde_json::json;

use crate::harness::{Test, group_path, quick, small};

#[tokio::test]
async fn an_error_before_and_after_the_effect() {
    let test = Test::start().await;
    let fault = Fault {
        method: Some("PUT".to_owned()),
        path_contains: Some("/containerGroups/web".to_owned()),
        status: 503,
        code: "ServerTimeout".to_owned(),
        retry_after: Some(7),
        ..Fault::default()
    };
    test.control.inject(fault.clone());
    let reply = test.put("web", &small()).await;
    assert_eq!(
        (reply.code(), reply.header("retry-after")),
        ((503, "ServerTimeout"), "7")
    );
    assert_eq!(test.get("web").await.status, 404, "before the effect");

    test.control.inject(Fault {
        after_effect: true,
        ..fault
    });
    assert_eq!(
        test.put("web", &small()).await.code(),
        (503, "ServerTimeout")
    );
    assert_eq!(test.get("web").await.status, 200, "after the effect");
    assert!(test.control.faults().is_empty());
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_page_of_somebody_else_and_a_recorded_error() {
    let test = Test::start().await;
    test.control.inject(Fault {
        status: 404,
        body: Some("<html>Not Found</html>".to_owned()),
        headers: [("retry-after".to_owned(), "soon".to_owned())].into(),
        ..Fault::default()
    });
    let page = test.http.get(test.emulator.url()).send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html");
    assert_eq!(page.headers()["retry-after"], "soon");
    assert_eq!(page.status().as_u16(), 404);
    assert_eq!(page.text().await.unwrap(), "<html>Not Found</html>");

    let locked = Fault::recorded("ScopeLocked").unwrap();
    test.control.inject(locked.clone());
    let reply = test.put("web", &small()).await;
    assert_eq!(reply.code(), (409, "ScopeLocked"));
    assert_eq!(reply.body["error"]["message"], locked.message);
    assert_eq!(Fault::recorded("NoSuchThing"), None);
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_dropped_connection_and_a_hang() {
    let test = Test::start().await;
    test.control.inject(Fault {
        method: Some("DELETE".to_owned()),
        drop_connection: true,
        after_effect: true,
        ..Fault::default()
    });
    test.put("web", &small()).await;
    assert!(
        test.try_send(Method::DELETE, &group_path("web", ""), None)
            .await
            .is_err()
    );
    assert_eq!(test.get("web").await.status, 404, "the delete took effect");

    test.control.inject(Fault {
        status: 0,
        hang: Some(Duration::from_millis(120)),
        ..Fault::default()
    });
    let begin = Instant::now();
    assert_eq!(
        test.put("web", &small()).await.status,
        201,
        "the real answer, late"
    );
    assert!(begin.elapsed() >= Duration::from_millis(120));
    let dropped = test
        .control
        .requests()
        .into_iter()
        .find(|request| request.method == "DELETE")
        .unwrap();
    assert_eq!((dropped.status, dropped.class), (0, "delete"));
    test.emulator.stop().await;
}

#[tokio::test]
async fn latency_is_added_to_arm_and_not_to_tokens() {
    let test = Test::start().await;
    test.control.set_latency(Duration::from_millis(100));
    let begin = Instant::now();
    test.get("web").await;
    assert!(begin.elapsed() >= Duration::from_millis(100));
    test.emulator.stop().await;
}

#[tokio::test]
async fn the_bucket_of_reads_empties_with_429_and_retry_after() {
    let test = Test::start().await;
    let mut throttled = None;
    for _ in 0..5000 {
        let reply = test.get("web").await;
        if reply.status == 429 {
            throttled = Some(reply);
            break;
        }
        assert!(
            reply
                .header("x-ms-ratelimit-remaining-subscription-reads")
                .parse::<u32>()
                .unwrap()
                < 250
        );
    }
    let reply = throttled.unwrap();
    assert_eq!(reply.code(), (429, "SubscriptionRequestsThrottled"));
    assert_eq!(reply.header("retry-after"), "1");
    assert!(
        reply.body["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("Number of 'read' requests for subscription '")
    );
    assert_eq!(
        test.put("web", &small()).await.status,
        201,
        "writes have a bucket of their own"
    );
    test.control.set_throttle(false);
    let free = test.get("web").await;
    assert_eq!(
        (
            free.status.as_u16(),
            free.header("x-ms-ratelimit-remaining-subscription-reads")
        ),
        (200, "")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn the_provider_counts_puts_and_deletes_together() {
    let mut config = quick();
    config.provider_requests_5m = 3;
    let test = Test::with(config).await;
    assert_eq!(test.put("a", &small()).await.status, 201);
    assert_eq!(test.delete("a").await.status, 200);
    assert_eq!(
        test.delete("a")
            .await
            .header("x-ms-ratelimit-remaining-subscription-resource-requests-pt5m"),
        "0"
    );
    let reply = test.put("a", &small()).await;
    assert_eq!(reply.code(), (429, "TooManyRequests"));
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((290..=300).contains(&wait), "{wait}");
    assert_eq!(test.get("a").await.status, 404, "reads are not counted");
    test.emulator.stop().await;
}

#[tokio::test]
async fn requests_are_recorded_and_counted() {
    let test = Test::start().await;
    test.control.reset_requests();
    let url = format!(
        "{}/subscriptions/{}{}",
        test.emulator.url(),
        test.config.subscription_id,
        group_path("web", "")
    );
    let token = test.new_token().await;
    let reply = test
        .http
        .get(&url)
        .bearer_auth(token)
        .header("x-ms-correlation-request-id", "mine")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.headers()["x-ms-correlation-request-id"], "mine");
    let requests = test.control.requests();
    assert_eq!(
        requests
            .iter()
            .map(|request| (request.class, request.status))
            .collect::<Vec<_>>(),
        [("token", 200), ("read", 404)]
    );
    assert_eq!(requests[1].correlation_id, "mine");
    assert!(requests[1].query.contains("api-version="));
    let counts = test.control.counts();
    assert_eq!(
        (
            counts.total,
            counts.by_operation["GET containerGroups/{name}"],
            counts.by_status[&404]
        ),
        (2, 1, 1)
    );
    test.emulator.stop().await;
}

// One walk over all of it.
#[allow(clippy::too_many_lines)]
#[tokio::test]
async fn the_admin_endpoint_turns_the_same_knobs() {
    let test = Test::start().await;
    test.running("web", &small()).await;
    let admin = |path: &str| format!("{}/_emulator/{path}", test.emulator.url());
    let post = async |path: &str, body| test.send(Method::POST, &admin(path), Some(&body)).await;
    let before = test.control.counts().total;

    let settings = post("settings", json!({"latency": 0.25, "throttle": false})).await;
    assert_eq!(
        (settings.status.as_u16(), &settings.body["latency"]),
        (200, &json!(0.25))
    );
    assert_eq!(test.control.settings().latency, Duration::from_millis(250));
    assert_eq!(post("settings", json!({"latencey": 1})).await.status, 400);
    assert_eq!(post("settings", json!({"latency": -1})).await.status, 400);
    post("settings", json!({"latency": 0})).await;

    assert_eq!(
        post("faults", json!({"status": 500, "times": 2}))
            .await
            .status,
        204
    );
    assert_eq!(test.control.faults().len(), 1);
    assert_eq!(
        test.send(Method::DELETE, &admin("faults"), None)
            .await
            .status,
        204
    );
    assert!(test.control.faults().is_empty());

    assert_eq!(
        post("groups/web/containers/web/exit", json!({"exitCode": 3}))
            .await
            .status,
        204
    );
    assert_eq!(
        post("groups/web/containers/web/exit", json!({"exitCode": 3}))
            .await
            .status,
        409,
        "it does not run any more"
    );
    assert_eq!(
        post("groups/web/containers/none/exit", json!({}))
            .await
            .status,
        404
    );
    assert_eq!(post("groups/none/repair", json!({})).await.status, 404);
    assert_eq!(
        test.control.group("web").unwrap()["properties"]["instanceView"]["state"],
        "Failed"
    );
    assert_eq!(
        post(
            "groups/web/force",
            json!({"provisioningState": "Unhealthy", "state": "Odd"})
        )
        .await
        .status,
        204
    );
    let state = test.send(Method::GET, &admin("state"), None).await.body;
    assert_eq!(
        state["groups"][0]["properties"]["provisioningState"],
        "Unhealthy"
    );
    assert_eq!(
        state["groups"][0]["properties"]["instanceView"]["state"],
        "Odd"
    );
    assert_eq!(
        post("provider", json!({"state": "NotRegistered"}))
            .await
            .status,
        204
    );
    assert_eq!(
        post("resourceGroups/more", json!({"location": "westus"}))
            .await
            .status,
        204
    );
    assert_eq!(
        test.send(Method::DELETE, &admin("resourceGroups/more"), None)
            .await
            .status,
        204
    );
    assert_eq!(
        test.send(Method::DELETE, &admin("groups/web"), None)
            .await
            .status,
        204
    );
    assert_eq!(test.control.group_count(), 0);
    assert_eq!(
        test.control.counts().total,
        before,
        "the admin endpoint is not recorded"
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn the_changes_tell_what_took_effect_whatever_was_answered() {
    let test = Test::start().await;
    test.control.inject(Fault {
        method: Some("PUT".to_owned()),
        status: 503,
        after_effect: true,
        ..Fault::default()
    });
    let mut body = small();
    body["tags"] = json!({"vkc-uid": "u"});
    assert_eq!(test.put("web", &body).await.status, 503);
    test.until("web", |group| {
        group["properties"]["provisioningState"] == "Succeeded"
    })
    .await;
    assert_eq!(test.put("web", &body).await.status, 200);
    assert_eq!(test.delete("web").await.status, 200);
    test.running("web", &body).await;
    test.control.delete_group("web").unwrap();
    test.running("web", &body).await;
    test.post("web", "/stop", None).await;

    let changes = test.control.changes();
    let told: Vec<_> = changes
        .iter()
        .map(|change| (change.kind, change.ran, change.running))
        .collect();
    assert_eq!(
        told,
        [
            (ChangeKind::Created, false, false),
            (ChangeKind::Replaced, true, true),
            // The second PUT started anew, and nothing of it ran yet.
            (ChangeKind::Deleted, false, false),
            (ChangeKind::Created, false, false),
            (ChangeKind::Vanished, true, true),
            (ChangeKind::Created, false, false),
            (ChangeKind::Stopped, true, true),
        ]
    );
    assert!(changes.iter().all(|change| change.tags["vkc-uid"] == "u"));
    let by_admin = changes.iter().filter(|change| change.token.is_none());
    assert_eq!(by_admin.count(), 1);
    test.emulator.stop().await;
}
