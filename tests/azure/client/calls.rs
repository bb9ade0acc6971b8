//! What is sent, and what comes of a good answer or a refusal.

use super::*;

#[tokio::test]
async fn a_put_sends_the_group_and_returns_what_arm_says() {
    let server = answering(vec![
        Answer::json(201, &group("g")).with("azure-asyncoperation", "https://elsewhere/"),
        Answer::json(200, &group("g")),
        Answer::empty(202),
    ])
    .await;
    let client = client(&server);
    let wanted = ContainerGroup {
        location: Some("eastus".to_owned()),
        ..ContainerGroup::default()
    };
    for state in [Some("Pending"), Some("Pending"), None] {
        let answered = client.put_group("rg", "g", &wanted).await.unwrap();
        assert_eq!(answered.name.as_deref(), Some("g"));
        assert_eq!(answered.properties.provisioning_state.as_deref(), state);
    }
    let calls = server.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].method, "PUT");
    assert_eq!(
        calls[0].target,
        format!("{GROUPS}/g?api-version=2023-05-01")
    );
    assert_eq!(calls[0].bearer(), "token-1");
    assert_eq!(calls[0].headers["content-type"], "application/json");
    assert_eq!(
        calls[0].headers["user-agent"],
        concat!("vkc/", env!("CARGO_PKG_VERSION"))
    );
    assert!(calls[0].headers.contains_key("x-ms-client-request-id"));
    let body: serde_json::Value = serde_json::from_str(&calls[0].body).unwrap();
    assert_eq!(body["location"], "eastus");
    assert_eq!(server.token_requests(), 1, "one token for all");
}

#[tokio::test]
async fn a_stop_is_a_post_and_nothing_is_stopped_already() {
    for (answer, expected) in [
        (Answer::empty(204), Ok(())),
        (Answer::error(404, "ResourceNotFound"), Ok(())),
        (
            Answer::error(409, "ContainerGroupTransitioning"),
            Err(ErrorClass::Transitioning),
        ),
        (
            Answer::error(404, "ResourceGroupNotFound"),
            Err(ErrorClass::ResourceGroupNotFound),
        ),
    ] {
        let server = answering(vec![answer]).await;
        let got = client(&server).stop_group("rg", "g").await;
        assert_eq!(got.map_err(|error| error.class), expected);
        let calls = server.calls();
        assert_eq!(calls[0].method, "POST");
        assert_eq!(
            calls[0].target,
            format!("{GROUPS}/g/stop?api-version=2023-05-01")
        );
        // Gateways refuse a POST that does not say that it has no body.
        assert_eq!(calls[0].headers["content-length"], "0");
    }
}

#[tokio::test]
async fn a_get_is_none_only_when_arm_says_so() {
    use ErrorClass as C;
    for (answer, expected) in [
        (Answer::error(404, "ResourceNotFound"), Ok(())),
        (
            Answer::error(404, "ResourceGroupNotFound"),
            Err(C::ResourceGroupNotFound),
        ),
        (
            Answer::error(404, "SubscriptionNotFound"),
            Err(C::SubscriptionNotFound),
        ),
        (
            Answer::text(404, "text/html", "<h1>ResourceNotFound</h1>"),
            Err(C::Protocol),
        ),
        (Answer::empty(404), Err(C::Protocol)),
    ] {
        let server = answering(vec![answer.clone()]).await;
        let got = client(&server).get_group("rg", "g").await;
        assert_eq!(
            got.map(|group| assert_eq!(group, None))
                .map_err(|e| e.class),
            expected,
            "{answer:?}"
        );
    }
    let server = answering(vec![Answer::json(200, &group("g"))]).await;
    assert!(
        client(&server)
            .get_group("rg", "g")
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_delete_says_how_it_was_taken() {
    for (answer, expected) in [
        (
            Answer::json(200, &group("g")),
            Ok("deleted with its last state"),
        ),
        (Answer::empty(200), Ok("deleted")),
        (
            Answer::empty(202).with("location", "https://elsewhere/"),
            Ok("accepted"),
        ),
        (Answer::empty(204), Ok("absent")),
        (Answer::error(404, "ResourceNotFound"), Ok("absent")),
        (
            Answer::error(404, "ResourceGroupNotFound"),
            Err(ErrorClass::ResourceGroupNotFound),
        ),
        (Answer::empty(404), Err(ErrorClass::Protocol)),
        (
            Answer::error(409, "ContainerGroupTransitioning"),
            Err(ErrorClass::Transitioning),
        ),
    ] {
        let server = answering(vec![answer.clone()]).await;
        let got = client(&server).delete_group("rg", "g").await;
        let got = got.map(|deletion| match deletion {
            Deletion::Deleted(last) => last.map_or("deleted", |_| "deleted with its last state"),
            Deletion::Accepted => "accepted",
            Deletion::Absent => "absent",
        });
        assert_eq!(got.map_err(|error| error.class), expected, "{answer:?}");
        assert_eq!(server.calls().len(), 1);
        assert_eq!(server.calls()[0].method, "DELETE");
    }
}

#[tokio::test]
async fn tags_are_patched_alone() {
    let server = answering(vec![Answer::json(200, &group("g"))]).await;
    let tags = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    client(&server).patch_tags("rg", "g", &tags).await.unwrap();
    let call = &server.calls()[0];
    assert_eq!(
        (call.method.as_str(), call.body.as_str()),
        ("PATCH", r#"{"tags":{"a":"1"}}"#)
    );
}

#[tokio::test]
async fn a_list_is_every_page() {
    let server = Server::start(|seen| {
        let host = &seen.headers["host"];
        let next = |token: &str| {
            json!(format!(
                "https://{host}/any/path?$skiptoken={token}&api-version=v"
            ))
        };
        let page = |names: &[&str], next: serde_json::Value| {
            let value: Vec<_> = names.iter().map(|name| group(name)).collect();
            Answer::json(200, &json!({"value": value, "nextLink": next}))
        };
        match seen.target.as_str() {
            "/any/path?$skiptoken=1&api-version=v" => page(&["c"], next("2")),
            "/any/path?$skiptoken=2&api-version=v" => page(&[], json!("")),
            _ => page(&["a", "b"], next("1")),
        }
    })
    .await;
    let groups = client(&server).list_groups("rg", Some).await.unwrap();
    let names: Vec<_> = groups
        .iter()
        .filter_map(|group| group.name.as_deref())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        server.calls()[0].target,
        format!("{GROUPS}?api-version=2023-05-01")
    );
}

#[tokio::test]
async fn a_list_that_is_not_whole_is_an_error() {
    type Links = Box<dyn Fn(&Seen) -> serde_json::Value + Send + Sync>;
    let cases: Vec<(&str, Links)> = vec![
        (
            "foreign host",
            Box::new(|_| json!({"value": [], "nextLink": "https://127.0.0.1:1/x"})),
        ),
        (
            "http",
            Box::new(
                |seen| json!({"value": [], "nextLink": format!("http://{}/x", seen.headers["host"])}),
            ),
        ),
        (
            "relative",
            Box::new(|_| json!({"value": [], "nextLink": "/x"})),
        ),
        (
            "itself",
            Box::new(
                |seen| json!({"value": [], "nextLink": format!("https://{}{}", seen.headers["host"], seen.target)}),
            ),
        ),
        (
            "circle",
            Box::new(|seen| {
                let other = if seen.target == "/x" { "/y" } else { "/x" };
                json!({"value": [], "nextLink": format!("https://{}{other}", seen.headers["host"])})
            }),
        ),
        ("no value", Box::new(|_| json!({}))),
        ("null value", Box::new(|_| json!({"value": null}))),
        ("no object", Box::new(|_| json!([]))),
    ];
    for (name, links) in cases {
        let server = Server::start(move |seen| Answer::json(200, &links(seen))).await;
        let client = client(&server);
        client.check_token().await.unwrap();
        let error = client.list_groups("rg", Some).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Protocol, "{name}: {error}");
    }
    let server = answering(vec![Answer::error(404, "ResourceGroupNotFound")]).await;
    let error = client(&server).list_groups("rg", Some).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::ResourceGroupNotFound);
}

#[tokio::test]
async fn a_list_without_end_is_an_error_before_it_fills_the_memory() {
    let pad = "x".repeat(4 << 20);
    let server = Server::start(move |seen| {
        let page = seen.target.rsplit('=').next().unwrap_or_default();
        let page = page.parse().unwrap_or(0_u32) + 1;
        let next = format!("https://{}/any?page={page}", seen.headers["host"]);
        Answer::json(200, &json!({"value": [], "pad": pad, "nextLink": next}))
    })
    .await;
    let error = client(&server).list_groups("rg", Some).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Protocol);
    assert!(error.message.contains("longer than"), "{error}");
    assert!(server.calls().len() <= 17, "{} pages", server.calls().len());
}

#[tokio::test]
async fn names_are_encoded_and_dot_segments_refused() {
    let server = answering(vec![Answer::json(200, &group("g"))]).await;
    let client = client(&server);
    client.get_group("rg (1)/x?#%", "g").await.unwrap();
    assert!(
        server.calls()[0]
            .target
            .contains("/resourceGroups/rg%20(1)%2Fx%3F%23%25/"),
        "{:?}",
        server.calls()
    );
    for bad in ["", ".", ".."] {
        let error = client.delete_group("rg", bad).await.unwrap_err();
        assert_eq!(
            (error.class, error.status),
            (ErrorClass::Invalid, None),
            "{bad:?}"
        );
    }
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn provider_and_resource_group_are_read() {
    let server = Server::start(|seen| match seen.path() {
        "/subscriptions/sub/providers/Microsoft.ContainerInstance" => Answer::json(
            200,
            &json!({"registrationState": "Registered", "resourceTypes": [
                {"resourceType": "containerGroups", "apiVersions": ["2023-05-01"], "locations": ["East US"]}]}),
        ),
        "/subscriptions/sub/resourcegroups/rg" => Answer::json(200, &json!({"name": "rg", "location": "eastus"})),
        "/subscriptions/sub/resourcegroups/none" => Answer::error(404, "ResourceGroupNotFound"),
        _ => Answer::error(403, "AuthorizationFailed"),
    })
    .await;
    let client = client(&server);
    let provider = client.provider().await.unwrap();
    assert!(provider.is_registered() && provider.serves("eastus") && !provider.serves("westus"));
    assert_eq!(
        client.resource_group("rg").await.unwrap().unwrap().location,
        "eastus"
    );
    assert_eq!(client.resource_group("none").await.unwrap(), None);
    assert_eq!(
        client.resource_group("other").await.unwrap_err().class,
        ErrorClass::Forbidden
    );
    assert!(
        server
            .calls()
            .iter()
            .all(|call| call.target.ends_with("?api-version=2021-04-01"))
    );
}

#[tokio::test]
async fn every_exchange_is_observed() {
    let server = answering(vec![
        Answer::error(503, "ServerTimeout"),
        Answer::Drop,
        Answer::empty(204),
    ])
    .await;
    let log = Arc::new(Log::default());
    let client = client_with(&server.address, &server, Arc::<Log>::clone(&log));
    client.get_group("rg", "g").await.unwrap_err();
    client.delete_group("rg", "g").await.unwrap();
    let expected = [
        ("get_group", Some(503)),
        ("get_group", None),
        ("get_group", Some(204)),
        ("delete_group", Some(204)),
    ];
    assert_eq!(*log.0.lock(), expected);
}

#[tokio::test]
async fn what_cannot_be_a_client_is_refused_at_once() {
    crate::server::install_tls_provider();
    let new = |subscription: &str, tenant: &str| {
        let credential = Credential::ServicePrincipalSecret {
            tenant_id: tenant.to_owned(),
            client_id: "client".to_owned(),
            secret: SecretText::new(SECRET.to_owned()),
        };
        ArmClient::new(
            Endpoints::public(),
            subscription.to_owned(),
            credential,
            &Limiters::new(),
            Arc::new(()),
        )
        .map(|_| ())
        .map_err(|error| error.class)
    };
    assert_eq!(new("sub", "tenant"), Ok(()));
    assert_eq!(new(" ", "tenant"), Err(ErrorClass::Invalid));
    assert_eq!(new("sub", "a/b"), Err(ErrorClass::BadCredentials));
    assert_eq!(new("sub", ""), Err(ErrorClass::BadCredentials));
}
