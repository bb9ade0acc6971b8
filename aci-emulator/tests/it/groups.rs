//! Resource groups, provider, and the container group's PUT, GET, LIST, PATCH, DELETE.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{RP, Test, group_path, large, quick, small};

#[tokio::test]
async fn resource_groups_are_case_insensitive() {
    let test = Test::start().await;
    for path in ["/resourceGroups/aci-rg", "/resourcegroups/ACI-RG"] {
        let reply = test
            .send(Method::GET, &format!("{path}?api-version=2021-04-01"), None)
            .await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.body["name"].as_str(),
                reply.body["location"].as_str()
            ),
            (200, Some("aci-rg"), Some("eastus"))
        );
        assert_eq!(
            test.send(
                Method::HEAD,
                &format!("{path}?api-version=2021-04-01"),
                None
            )
            .await
            .status,
            204
        );
    }
    let missing = "/resourcegroups/other?api-version=2021-04-01";
    assert_eq!(
        test.send(Method::GET, missing, None).await.code(),
        (404, "ResourceGroupNotFound")
    );
    assert_eq!(test.send(Method::HEAD, missing, None).await.status, 404);
    test.control.add_resource_group("other", "westus");
    assert_eq!(test.send(Method::HEAD, missing, None).await.status, 204);
    assert_eq!(
        test.send(Method::GET, "/resourceGroups/aci-rg", None)
            .await
            .code(),
        (400, "MissingApiVersionParameter")
    );
    assert_eq!(
        test.send(
            Method::GET,
            "/resourceGroups/aci-rg?api-version=1999-01-01",
            None
        )
        .await
        .code(),
        (400, "InvalidApiVersionParameter")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn the_provider_lists_versions_and_display_locations_and_registers() {
    let test = Test::start().await;
    test.control
        .change_settings(|settings| settings.register_delay = Duration::from_millis(30));
    let path = format!("{RP}?api-version=2021-04-01");
    let reply = test.send(Method::GET, &path, None).await;
    let groups = reply.body["resourceTypes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|kind| kind["resourceType"] == "containerGroups")
        .unwrap();
    assert_eq!(reply.body["registrationState"], "Registered");
    assert!(
        groups["apiVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("2023-05-01"))
    );
    assert!(
        groups["locations"]
            .as_array()
            .unwrap()
            .contains(&json!("East US"))
    );

    test.control.set_provider_state("NotRegistered");
    let refused = test.put("web", &small()).await;
    assert_eq!(refused.code(), (409, "MissingSubscriptionRegistration"));
    assert_eq!(
        refused.body["error"]["details"][0]["target"],
        "Microsoft.ContainerInstance"
    );
    let reply = test
        .send(
            Method::POST,
            &format!("{RP}/register?api-version=2021-04-01"),
            None,
        )
        .await;
    assert_eq!(
        (
            reply.status.as_u16(),
            reply.body["registrationState"].as_str()
        ),
        (200, Some("Registering"))
    );
    loop {
        let reply = test.send(Method::GET, &path, None).await;
        if reply.body["registrationState"] == "Registered" {
            break;
        }
    }
    assert_eq!(test.put("web", &small()).await.status, 201);
    test.emulator.stop().await;
}

#[tokio::test]
async fn the_three_flavours_of_404() {
    let test = Test::start().await;
    assert_eq!(test.get("web").await.code(), (404, "ResourceNotFound"));
    let elsewhere = format!("/resourceGroups/nope{RP}/containerGroups/web?api-version=2023-05-01");
    assert_eq!(
        test.send(Method::GET, &elsewhere, None).await.code(),
        (404, "ResourceGroupNotFound")
    );
    assert_eq!(
        test.send(Method::DELETE, &elsewhere, None).await.code(),
        (404, "ResourceGroupNotFound")
    );
    let foreign = format!(
        "{}/subscriptions/other/resourceGroups/aci-rg{RP}/containerGroups/web?api-version=2023-05-01",
        test.emulator.url()
    );
    assert_eq!(
        test.send(Method::GET, &foreign, None).await.code(),
        (404, "SubscriptionNotFound")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn secrets_never_come_back() {
    let test = Test::start().await;
    let body = large();
    let mut answers = vec![test.put("pod", &body).await.body];
    test.until("pod", |group| {
        group["properties"]["provisioningState"] == "Succeeded"
    })
    .await;
    answers.push(test.get("pod").await.body);
    answers.push(test.send(Method::GET, &group_path("", ""), None).await.body);
    answers.push(
        test.send(
            Method::PATCH,
            &group_path("pod", ""),
            Some(&json!({"tags": {"a": "b"}})),
        )
        .await
        .body,
    );
    let state = test
        .send(
            Method::GET,
            &format!("{}/_emulator/state", test.emulator.url()),
            None,
        )
        .await
        .body;
    answers.push(state);
    answers.push(test.delete("pod").await.body);
    for answer in &answers {
        let shown = answer.to_string();
        for secret in [
            "s3cret-value",
            "s3cret-password",
            "czNjcmV0LWZpbGU=",
            "s3cret-key",
            "s3cret-workspace",
        ] {
            assert!(
                body.to_string().contains(secret),
                "the fixture has {secret}"
            );
            assert!(!shown.contains(secret), "{secret} in {answer:#}");
        }
    }
    let echo = &answers[1]["properties"];
    assert_eq!(
        echo["volumes"][1],
        json!({"name": "v-conf-9c8d", "secret": {}})
    );
    assert_eq!(
        echo["containers"][0]["properties"]["environmentVariables"][1],
        json!({"name": "TOKEN"})
    );
    assert_eq!(
        echo["imageRegistryCredentials"],
        json!([{"server": "myreg.azurecr.io", "username": "u"}])
    );
    assert_eq!(echo["ipAddress"]["type"], "Private");
    assert!(
        echo["ipAddress"]["ip"]
            .as_str()
            .unwrap()
            .starts_with("127.")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn list_pages_without_instance_view_and_with_changed_ids() {
    let mut config = quick();
    config.page_size = 2;
    let test = Test::with(config).await;
    test.control.add_resource_group("b-rg", "westus");
    for name in ["e", "c", "a", "d", "b"] {
        assert_eq!(test.put(name, &small()).await.status, 201);
    }
    let other = format!("/resourceGroups/b-rg{RP}/containerGroups/z?api-version=2023-05-01");
    assert_eq!(
        test.send(Method::PUT, &other, Some(&small())).await.status,
        201
    );

    for (first, want) in [
        (group_path("", ""), vec!["a", "b", "c", "d", "e"]),
        (
            format!("{RP}/containerGroups?api-version=2023-05-01"),
            vec!["a", "b", "c", "d", "e", "z"],
        ),
    ] {
        let (mut names, mut path, mut pages) = (Vec::new(), first, 0);
        loop {
            let reply = test.send(Method::GET, &path, None).await;
            assert_eq!(reply.status, 200, "{}", reply.body);
            pages += 1;
            for item in reply.body["value"].as_array().unwrap() {
                assert!(item["properties"].get("instanceView").is_none());
                assert!(
                    item["properties"]["containers"][0]["properties"]
                        .get("instanceView")
                        .is_none()
                );
                assert!(item["properties"]["provisioningState"].is_string());
                assert!(item["id"].as_str().unwrap().contains("/resourcegroups/"));
                names.push(item["name"].as_str().unwrap().to_owned());
            }
            match reply.body["nextLink"].as_str() {
                Some(next) => next.clone_into(&mut path),
                None => break,
            }
        }
        assert_eq!(
            (names, pages),
            (want.iter().map(ToString::to_string).collect(), 3)
        );
    }
    // A token stays good when the group it names is gone.
    let next = test.send(Method::GET, &group_path("", ""), None).await.body["nextLink"]
        .as_str()
        .unwrap()
        .to_owned();
    test.control.delete_group("b").unwrap();
    let page = test.send(Method::GET, &next, None).await.body;
    assert_eq!(page["value"][0]["name"], "c");
    assert_eq!(
        test.send(Method::GET, &group_path("", "?$skiptoken=!!"), None)
            .await
            .code(),
        (400, "InvalidSkipToken")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn patch_replaces_the_whole_tag_map() {
    let test = Test::start().await;
    let mut body = small();
    body["tags"] = json!({"one": "1", "two": "2"});
    test.running("web", &body).await;
    let reply = test
        .send(
            Method::PATCH,
            &group_path("WEB", ""),
            Some(&json!({"tags": {"three": "3"}})),
        )
        .await;
    assert_eq!(
        (reply.status.as_u16(), &reply.body["tags"]),
        (200, &json!({"three": "3"}))
    );
    let group = test.get("web").await.body;
    assert_eq!(group["tags"], json!({"three": "3"}));
    assert_eq!(
        group["properties"]["containers"][0]["properties"]["instanceView"]["restartCount"],
        0
    );
    assert_eq!(
        test.send(
            Method::PATCH,
            &group_path("web", ""),
            Some(&json!({"properties": {}}))
        )
        .await
        .code(),
        (400, "InvalidRequestContent")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn delete_answers_200_204_and_by_setting_202() {
    let test = Test::start().await;
    test.running("web", &small()).await;
    let reply = test.delete("web").await;
    assert_eq!(
        (
            reply.status.as_u16(),
            reply.body["properties"]["instanceView"]["state"].as_str()
        ),
        (200, Some("Running"))
    );
    assert_eq!(test.get("web").await.code(), (404, "ResourceNotFound"));
    assert_eq!(test.delete("web").await.status, 204);

    test.put("young", &small()).await;
    assert_eq!(
        test.delete("young").await.status,
        200,
        "accepted while it starts"
    );

    test.control
        .change_settings(|settings| settings.delete_while_transitioning = false);
    test.control.set_start_delay(Duration::from_mins(1));
    test.put("young", &small()).await;
    assert_eq!(
        test.delete("young").await.code(),
        (409, "ContainerGroupTransitioning")
    );

    test.control.set_start_delay(Duration::ZERO);
    test.control
        .change_settings(|settings| settings.delete_delay = Duration::from_secs(1));
    test.put("slow", &small()).await;
    let reply = test.delete("slow").await;
    assert_eq!(reply.status, 202);
    let location = reply.header("location").to_owned();
    assert_eq!(
        test.get("slow").await.body["properties"]["provisioningState"],
        "Deleting"
    );
    assert_eq!(test.send(Method::GET, &location, None).await.status, 202);
    assert_eq!(
        test.delete("slow").await.code(),
        (409, "ContainerGroupTransitioning")
    );
    // Not so often that ARM's bucket of reads runs dry.
    while test.get("slow").await.status != 404 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(test.send(Method::GET, &location, None).await.status, 204);
    test.emulator.stop().await;
}

#[tokio::test]
async fn put_again_is_an_update_with_limits() {
    let test = Test::start().await;
    test.running("web", &small()).await;
    // Long enough to be met in the middle.
    test.control.set_start_delay(Duration::from_secs(1));
    let mut tagged = small();
    tagged["tags"] = json!({"a": "b"});
    assert_eq!(test.put("web", &tagged).await.status, 200);
    assert_eq!(
        test.put("web", &tagged).await.code(),
        (409, "ContainerGroupTransitioning")
    );
    assert_eq!(
        test.post("web", "/restart", None).await.code(),
        (409, "ContainerGroupTransitioning")
    );
    test.until("web", |group| {
        group["properties"]["provisioningState"] == "Succeeded"
    })
    .await;
    let change = |path: &str, value: Value| {
        let mut body = small();
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    for body in [
        change("/properties/restartPolicy", json!("Always")),
        change(
            "/properties/containers/0/properties/resources/requests/cpu",
            json!(2),
        ),
    ] {
        let reply = test.put("web", &body).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert!(
            reply.body["error"]["message"]
                .as_str()
                .unwrap()
                .contains("you must delete it first")
        );
    }
    assert_eq!(
        test.put("web", &change("/location", json!("westus")))
            .await
            .code(),
        (409, "InvalidResourceLocation")
    );
    test.control.finish_container("web", "web", 0).unwrap();
    assert_eq!(
        test.put("web", &change("/properties/restartPolicy", json!("Always")))
            .await
            .status,
        200,
        "an ended group is deployed as new"
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn locations_are_echoed_as_sent_and_quotas_hold_per_region() {
    let mut config = quick();
    (config.quota_groups, config.quota_cores) = (3, 2.0);
    let test = Test::with(config).await;
    let mut body = small();
    body["location"] = json!("East US");
    assert_eq!(test.put("one", &body).await.body["location"], "East US");
    assert_eq!(test.put("two", &small()).await.status, 201);
    let full = test.put("three", &small()).await;
    assert_eq!(full.code(), (400, "ContainerGroupQuotaReached"));
    assert!(full.body["error"]["message"].as_str().unwrap().contains(
        "quota 'StandardCores' exceeded in region 'eastus'. Limit: '2', Usage: '2' Requested: '1'."
    ));
    let mut elsewhere = small();
    elsewhere["location"] = json!("westus");
    assert_eq!(test.put("west", &elsewhere).await.status, 201);
    test.until("two", |group| {
        group["properties"]["provisioningState"] == "Succeeded"
    })
    .await;
    test.control.finish_container("two", "web", 0).unwrap();
    assert_eq!(
        test.put("three", &small()).await.status,
        201,
        "an ended group uses no cores"
    );
    let full = test.put("four", &small()).await;
    assert!(
        full.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("quota 'ContainerGroups'")
    );
    let usages = test
        .send(
            Method::GET,
            &format!("{RP}/locations/eastus/usages?api-version=2023-05-01"),
            None,
        )
        .await
        .body;
    assert_eq!(
        (
            &usages["value"][0]["currentValue"],
            &usages["value"][0]["limit"]
        ),
        (&json!(3), &json!(3))
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_principal_with_rights_on_the_group_only() {
    let test = Test::start().await;
    test.control
        .change_settings(|settings| settings.group_scoped = true);
    let reply = test.put("web", &small()).await;
    assert_eq!(reply.status, 201);
    let operation = reply.header("azure-asyncoperation").to_owned();
    assert_eq!(
        test.send(Method::GET, &operation, None).await.code(),
        (403, "AuthorizationFailed")
    );
    assert_eq!(
        test.send(Method::GET, &format!("{RP}?api-version=2021-04-01"), None)
            .await
            .code(),
        (403, "AuthorizationFailed")
    );
    assert_eq!(test.get("web").await.status, 200);
    test.emulator.stop().await;
}
