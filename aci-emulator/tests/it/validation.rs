//! Every refusal of a PUT body, as a table.

mod rules;
mod shapes;
mod strict;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{RP, Test, fixture, group_path, large, quick, small};

/// The body with one member set; `null` removes it.
pub(crate) fn with(body: &Value, path: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = body
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {parent}"));
    match (parent, value) {
        (Value::Object(map), Value::Null) => {
            map.remove(name);
        }
        (Value::Object(map), value) => {
            map.insert(name.to_owned(), value);
        }
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
        _ => panic!("{path}"),
    }
    body
}

pub(crate) const C: &str = "/properties/containers/0";
pub(crate) const CP: &str = "/properties/containers/0/properties";

#[tokio::test]
async fn every_refusal_names_its_code_and_what_it_is_about() {
    let mut config = quick();
    config.throttle = false;
    let test = Test::with(config).await;
    for (body, code, part) in shapes::all().into_iter().chain(rules::all()) {
        let reply = test.put("cg", &body).await;
        assert_eq!(reply.code(), (400, code), "{}\n{body:#}", reply.body);
        let message = reply.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message} has no {part}");
        assert!(!message.contains("s3cret-value"), "{message}");
    }
    assert_eq!(test.control.group_count(), 0);
    test.emulator.stop().await;
}

#[tokio::test]
async fn bodies_names_and_versions() {
    let test = Test::start().await;
    for name in ["Web", "a--b", "-a", "a_b", &"a".repeat(64)] {
        assert_eq!(
            test.put(name, &small()).await.code(),
            (400, "InvalidResourceName"),
            "{name}"
        );
    }
    let path = |version: &str| format!("/resourceGroups/aci-rg{RP}/containerGroups/cg{version}");
    assert_eq!(
        test.send(Method::PUT, &path(""), Some(&small()))
            .await
            .code(),
        (400, "MissingApiVersionParameter")
    );
    assert_eq!(
        test.send(
            Method::PUT,
            &path("?api-version=2001-01-01"),
            Some(&small())
        )
        .await
        .code(),
        (400, "NoRegisteredProviderFound")
    );
    let url = format!(
        "{}/subscriptions/{}{}",
        test.emulator.url(),
        test.config.subscription_id,
        group_path("cg", "")
    );
    let token = test.new_token().await;
    let broken = test
        .http
        .put(url)
        .bearer_auth(token)
        .body("{\"location\": \"s3cret")
        .send()
        .await
        .unwrap();
    let broken = crate::harness::Reply::of(broken).await;
    assert_eq!(broken.code(), (400, "InvalidRequestContent"));
    assert!(!broken.body.to_string().contains("s3cret"));

    // What later versions added is known to them only.
    let newer = with(
        &small(),
        &format!("{CP}/configMap"),
        json!({"keyValuePairs": {"a": "b"}}),
    );
    assert_eq!(
        test.send(Method::PUT, &path("?api-version=2025-09-01"), Some(&newer))
            .await
            .status,
        201
    );
    // A small group where the region allows it.
    test.control
        .change_settings(|settings| settings.min_group_cpu = 0.1);
    assert_eq!(
        test.put(
            "half",
            &with(
                &small(),
                &format!("{CP}/resources/requests/cpu"),
                json!(0.5)
            )
        )
        .await
        .status,
        201
    );
    assert_eq!(test.put("pod", &large()).await.status, 201);
    let mut recorded = fixture("live/01-put-201.json")["request"]["body"].clone();
    recorded["properties"]["osType"] = json!("Windows");
    assert_eq!(test.put("windows", &recorded).await.status, 201);
    test.emulator.stop().await;
}
