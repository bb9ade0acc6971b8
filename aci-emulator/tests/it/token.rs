//! Entra: tokens and the check of them.

use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Test, group_path, quick};

const SCOPE: &str = "scope=https%3A%2F%2Fmanagement.azure.com%2F.default";

// A table.
#[allow(clippy::too_many_lines)]
#[tokio::test]
async fn every_refusal_of_the_token_endpoint() {
    let test = Test::start().await;
    let (tenant, client, secret) = (
        &test.config.tenant_id,
        &test.config.client_id,
        &test.config.client_secret,
    );
    let grant = "grant_type=client_credentials";
    for (tenant, form, status, error, code) in [
        (
            tenant.as_str(),
            format!("{grant}&client_id={client}&client_secret=wrong&{SCOPE}"),
            401,
            "invalid_client",
            7_000_215,
        ),
        (
            tenant,
            format!("{grant}&client_id=nobody&client_secret={secret}&{SCOPE}"),
            400,
            "unauthorized_client",
            700_016,
        ),
        (
            "elsewhere",
            format!("{grant}&client_id={client}&client_secret={secret}&{SCOPE}"),
            400,
            "invalid_request",
            90002,
        ),
        (
            tenant,
            format!("{grant}&client_id={client}&client_secret={secret}&scope=openid"),
            400,
            "invalid_scope",
            70011,
        ),
        (
            tenant,
            format!(
                "{grant}&client_id={client}&client_secret={secret}&scope=https%3A%2F%2Fexample.test%2F.default"
            ),
            400,
            "invalid_resource",
            500_011,
        ),
        (
            tenant,
            format!("{grant}&client_id={client}&client_secret={secret}"),
            400,
            "invalid_request",
            900_144,
        ),
        (
            tenant,
            format!("client_id={client}&client_secret={secret}&{SCOPE}"),
            400,
            "invalid_request",
            900_144,
        ),
        (
            tenant,
            format!("grant_type=password&client_id={client}&{SCOPE}"),
            400,
            "unsupported_grant_type",
            70003,
        ),
        (
            tenant,
            format!("{grant}&client_id={client}&{SCOPE}"),
            401,
            "invalid_client",
            7_000_216,
        ),
    ] {
        let reply = test.ask_token(tenant, &form).await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.body["error"].as_str(),
                reply.body["error_codes"][0].as_u64()
            ),
            (status, Some(error), Some(code)),
            "{form}"
        );
        let description = reply.body["error_description"].as_str().unwrap();
        assert!(
            description.starts_with(&format!("AADSTS{code}: "))
                && !description.contains(secret.as_str()),
            "{description}"
        );
    }
    let form = format!("{grant}&client_id={client}&client_secret={secret}&{SCOPE}");
    let reply = test.ask_token(tenant, &form).await;
    assert_eq!(
        (
            reply.body["token_type"].as_str(),
            reply.body["expires_in"].as_u64()
        ),
        (Some("Bearer"), Some(3600))
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_client_assertion_is_checked_for_audience_time_issuer_and_subject() {
    let mut config = quick();
    config.federated = vec![(
        "https://issuer.test".to_owned(),
        "system:serviceaccount:a:b".to_owned(),
    )];
    let test = Test::with(config).await;
    let jwt = |claims: serde_json::Value| {
        let part = |value: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value);
        format!(
            "{}.{}.sig%0A",
            part("{}".to_owned()),
            part(claims.to_string())
        )
    };
    let good = json!({"aud": ["api://AzureADTokenExchange"], "iss": "https://issuer.test", "sub": "system:serviceaccount:a:b", "exp": 9_999_999_999_u64});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (claims, code) in [
        (good.clone(), None),
        (with("aud", json!("api://AzureADTokenExchange")), None),
        (with("aud", json!("other")), Some(700_212)),
        (with("exp", json!(1)), Some(700_024)),
        (
            with("sub", json!("system:serviceaccount:a:c")),
            Some(700_213),
        ),
        (with("iss", json!("https://other.test")), Some(700_213)),
    ] {
        let kind = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let form = format!(
            "grant_type=client_credentials&client_id={}&{kind}&client_assertion={}&{SCOPE}",
            test.config.client_id,
            jwt(claims.clone())
        );
        let reply = test.ask_token(&test.config.tenant_id, &form).await;
        assert_eq!(reply.body["error_codes"][0].as_u64(), code, "{claims}");
        assert_eq!(
            reply.status.as_u16(),
            if code.is_some() { 401 } else { 200 }
        );
    }
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_call_without_a_good_token_is_401() {
    let mut test = Test::start().await;
    let url = format!(
        "{}/subscriptions/{}{}",
        test.emulator.url(),
        test.config.subscription_id,
        group_path("", "")
    );
    let bare = crate::harness::Reply::of(test.http.get(&url).send().await.unwrap()).await;
    assert_eq!(bare.code(), (401, "AuthenticationFailed"));
    assert!(
        bare.header("www-authenticate")
            .starts_with("Bearer authorization_uri=")
    );
    let good = test.new_token().await;

    test.set_token("junk");
    assert_eq!(
        test.send(Method::GET, &url, None).await.code(),
        (401, "InvalidAuthenticationToken")
    );

    test.control.set_token_lifetime(Duration::ZERO);
    let expired = test.new_token().await;
    test.set_token(&expired);
    assert_eq!(
        test.send(Method::GET, &url, None).await.code(),
        (401, "ExpiredAuthenticationToken")
    );
    test.control.set_token_lifetime(Duration::from_mins(1));

    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fvault.azure.net%2F.default",
        test.config.client_id, test.config.client_secret
    );
    let vault = test.ask_token(&test.config.tenant_id, &form).await.body["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    test.set_token(&vault);
    assert_eq!(
        test.send(Method::GET, &url, None).await.code(),
        (401, "InvalidAuthenticationTokenAudience")
    );

    test.set_token(&good);
    test.control.set_client_secret("changed");
    assert_eq!(
        test.send(Method::GET, &url, None).await.status,
        200,
        "a token outlives its secret"
    );
    test.control.revoke_tokens();
    assert_eq!(
        test.send(Method::GET, &url, None).await.code(),
        (401, "InvalidAuthenticationToken")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn the_emulator_is_its_own_audience_and_answers_as_imds() {
    let mut test = Test::start().await;
    let scope = format!("{}/.default", test.emulator.url())
        .replace(':', "%3A")
        .replace('/', "%2F");
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope={scope}",
        test.config.client_id, test.config.client_secret
    );
    let own = test.ask_token(&test.config.tenant_id, &form).await.body["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    test.set_token(&own);
    assert_eq!(test.get("nothing").await.status, 404);

    let url = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F",
        test.emulator.url()
    );
    assert_eq!(
        test.http.get(&url).send().await.unwrap().status(),
        400,
        "without the Metadata header"
    );
    let reply = crate::harness::Reply::of(
        test.http
            .get(&url)
            .header("Metadata", "true")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(reply.body["expires_in"], "3600");
    test.set_token(reply.body["access_token"].as_str().unwrap());
    assert_eq!(test.get("nothing").await.status, 404);
    test.emulator.stop().await;
}
