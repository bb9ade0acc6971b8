//! The shapes of recorded traffic: members, order of states, headers.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Test, fixture, group_path, quick, small};

/// Paths of all members with the type of their value; array items share a path.
fn shape(value: &Value, path: &str, into: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            for item in items {
                shape(item, &format!("{path}[]"), into);
            }
            "array"
        }
        Value::Object(members) => {
            for (name, member) in members {
                shape(member, &format!("{path}.{name}"), into);
            }
            "object"
        }
    };
    into.insert(path.to_owned(), kind);
}

/// Every recorded member is there with the same type; the emulator adds none but those named.
fn same_shape(got: &Value, recorded: &Value, added: &[&str]) {
    let (mut a, mut b) = (BTreeMap::new(), BTreeMap::new());
    shape(got, "", &mut a);
    shape(recorded, "", &mut b);
    a.retain(|path, _| !added.iter().any(|added| path.starts_with(added)));
    assert_eq!(a, b);
}

fn recorded(file: &str) -> Value {
    fixture(&format!("live/{file}"))["response"]["body"].clone()
}

#[tokio::test]
async fn put_operation_get_and_delete_have_the_recorded_shapes() {
    let test = Test::with(quick()).await;
    let mut body = fixture("live/01-put-201.json")["request"]["body"].clone();
    body["location"] = json!("westus");
    let name = "clicontainer000002";
    let put = test.put(name, &body).await;
    assert_eq!(put.status, 201);
    same_shape(&put.body, &recorded("01-put-201.json"), &[]);
    assert_eq!(put.body["properties"]["provisioningState"], "Pending");
    assert_eq!(
        put.body["properties"]["instanceView"],
        json!({"events": [], "state": "Pending"})
    );
    for (header, value) in [
        ("content-type", "application/json; charset=utf-8"),
        (
            "x-ms-ratelimit-remaining-subscription-resource-requests-pt1h",
            "299",
        ),
        (
            "x-ms-ratelimit-remaining-subscription-resource-requests-pt5m",
            "99",
        ),
        ("x-ms-ratelimit-remaining-subscription-writes", "199"),
        (
            "x-ms-ratelimit-remaining-subscription-global-writes",
            "2999",
        ),
        ("location", ""),
        ("retry-after", ""),
    ] {
        assert_eq!(put.header(header), value, "{header}");
    }
    assert_eq!(put.header("x-ms-request-id").len(), 36);
    assert_eq!(put.header("x-ms-correlation-request-id").len(), 36);

    let operation = put.header("azure-asyncoperation").to_owned();
    assert!(
        operation.contains("/providers/Microsoft.ContainerInstance/locations/westus/operations/"),
        "{operation}"
    );
    assert!(
        operation.ends_with("?api-version=2018-06-01"),
        "{operation}"
    );
    let mut seen = Vec::new();
    loop {
        let reply = test.send(Method::GET, &operation, None).await;
        assert_eq!(reply.status, 200);
        same_shape(&reply.body, &recorded("02-asyncop-pending.json"), &[]);
        assert_eq!(reply.body["id"], put.body["id"]);
        let status = reply.body["status"].as_str().unwrap().to_owned();
        if seen.last() != Some(&status) {
            seen.push(status.clone());
        }
        if status == "Succeeded" {
            break;
        }
    }
    let order = ["Pending", "Creating", "Succeeded"];
    assert!(
        seen.iter()
            .is_sorted_by_key(|state| order.iter().position(|known| known == state).unwrap()),
        "{seen:?}"
    );

    test.control.finish_container(name, name, 2).unwrap();
    let ended = test.get(name).await;
    same_shape(&ended.body, &recorded("04-get-terminated-never.json"), &[]);
    let view = &ended.body["properties"]["containers"][0]["properties"]["instanceView"];
    assert_eq!(
        (
            &view["currentState"]["exitCode"],
            &view["currentState"]["detailStatus"]
        ),
        (&json!(2), &json!("Error"))
    );
    assert_eq!(ended.body["properties"]["instanceView"]["state"], "Failed");
    assert_eq!(ended.body["properties"]["provisioningState"], "Succeeded");
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_running_group_shows_events_in_order_and_list_shows_none() {
    let test = Test::start().await;
    let recording = recorded("05-get-running-events.json");
    let mut body = recording.clone();
    for member in ["id", "name", "type"] {
        body.as_object_mut().unwrap().remove(member);
    }
    let properties = body["properties"].as_object_mut().unwrap();
    for member in ["provisioningState", "instanceView"] {
        properties.remove(member);
    }
    body["properties"]["containers"][0]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("instanceView");
    let address = body["properties"]["ipAddress"].as_object_mut().unwrap();
    address.remove("ip");
    address.remove("fqdn");
    body["properties"]["volumes"][0]["secret"] = json!({"key": "dmFsdWU="});
    let group = test.running("clicontainer000002", &body).await;
    let later = [
        ".properties.sku",
        ".properties.initContainers",
        ".properties.provisioningTimeoutInSeconds",
        ".properties.isCustomProvisioningTimeout",
    ];
    same_shape(&group, &recording, &later);
    let events = group["properties"]["containers"][0]["properties"]["instanceView"]["events"]
        .as_array()
        .unwrap();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Pulling", "Pulled", "Created", "Started"]);
    assert_eq!(events[0]["message"], "pulling image \"alpine:latest\"");
    assert!(
        events
            .iter()
            .is_sorted_by_key(|event| event["firstTimestamp"].as_str().unwrap())
    );
    assert_eq!(
        group["properties"]["ipAddress"]["fqdn"],
        "clicontainer000002.westus.azurecontainer.io"
    );

    let list = test.send(Method::GET, &group_path("", ""), None).await;
    let later: Vec<String> = later.iter().map(|path| format!(".value[]{path}")).collect();
    let later: Vec<&str> = later.iter().map(String::as_str).collect();
    same_shape(
        &list.body,
        &recorded("06-list-no-instanceview.json"),
        &later,
    );

    let deleted = test.delete("clicontainer000002").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(
        deleted.body["properties"]["instanceView"]["state"],
        "Running"
    );
    assert_eq!(
        deleted.header("x-ms-ratelimit-remaining-subscription-resource-requests-pt1h"),
        "298",
        "PUT and DELETE share a counter"
    );
    assert_eq!(
        deleted.header("x-ms-ratelimit-remaining-subscription-deletes"),
        "199"
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn logs_and_exec_have_the_recorded_shapes() {
    let test = Test::start().await;
    test.running("web", &small()).await;
    let logs = test
        .send(
            Method::GET,
            &group_path("web", "/containers/web/logs"),
            None,
        )
        .await;
    same_shape(&logs.body, &recorded("08-logs.json"), &[]);
    let request = fixture("live/07-exec.json")["request"]["body"].clone();
    let exec = test
        .post("web", "/containers/web/exec", Some(&request))
        .await;
    same_shape(&exec.body, &recorded("07-exec.json"), &[]);
    let uri = exec.body["webSocketUri"].as_str().unwrap();
    assert!(
        uri.starts_with("wss://127.0.0.1:")
            && uri.contains("/execstream/sessionId/")
            && uri.ends_with("?api-version=1.0&rows=24&cols=80"),
        "{uri}"
    );
    assert!(exec.body["password"].as_str().unwrap().ends_with("[[EOM]]"));
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_failed_operation_has_events_and_no_error() {
    let test = Test::start().await;
    test.control.fail_next_puts(1, None);
    let put = test.put("aci", &small()).await;
    assert_eq!(put.status, 201);
    let operation = put.header("azure-asyncoperation").to_owned();
    let failed = |group: &Value| group["properties"]["provisioningState"] == "Failed";
    let group = test.until("aci", failed).await;
    assert_eq!(group["properties"]["instanceView"]["state"], "Pending");
    assert_eq!(
        group["properties"]["containers"][0]["properties"].get("instanceView"),
        None
    );
    let status = test.send(Method::GET, &operation, None).await.body;
    same_shape(&status, &recorded("10-asyncop-failed-capacity.json"), &[]);
    assert_eq!(status["status"], "Failed");
    assert_eq!(
        status["properties"]["events"][0]["name"],
        "InsufficientCapacity."
    );

    // The service goes on trying: a group may start late.
    test.control
        .fail_next_puts(1, Some(std::time::Duration::from_millis(50)));
    test.put("late", &small()).await;
    let late = test
        .until("late", |group| {
            group["properties"]["provisioningState"] == "Succeeded"
        })
        .await;
    assert_eq!(late["properties"]["instanceView"]["state"], "Running");

    let mut never = small();
    never["properties"]["containers"][0]["properties"]["image"] =
        json!("example.test/no-capacity:1");
    test.put("never", &never).await;
    test.until("never", failed).await;
    test.emulator.stop().await;
}
