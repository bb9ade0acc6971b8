//! Entra: tokens and the check of them.

use std::time::Duration;

use aci_emulator::{Fault, Proof};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
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
        let part = |value: String| URL_SAFE_NO_PAD.encode(value);
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
        test.emulator.metadata_url()
    );
    assert!(url.starts_with("http://127.0.0.1:"));
    let http = test.http.clone();
    let ask = async |url: String, header: &'static str| {
        let request = http.get(url).header(header, "true");
        crate::harness::Reply::of(request.send().await.unwrap()).await
    };
    let said = |reply: &crate::harness::Reply| {
        let said = reply.body["error_description"].as_str();
        (reply.status.as_u16(), said.unwrap_or_default().to_owned())
    };
    let reply = ask(url.clone(), "x-other").await;
    assert_eq!(
        said(&reply),
        (400, "Required metadata header not specified".to_owned())
    );
    let reply = ask(url.replace("2018-02-01", "2010-01-01"), "Metadata").await;
    assert_eq!(reply.status.as_u16(), 400);
    let reply = ask(format!("{url}&client_id=nobody"), "Metadata").await;
    assert_eq!(said(&reply), (400, "Identity not found".to_owned()));
    test.control.assign_identities(None, &["a", "b"]);
    let reply = ask(url.clone(), "Metadata").await;
    assert!(
        said(&reply)
            .1
            .starts_with("Multiple user assigned identities"),
        "{}",
        reply.body
    );
    test.control.inject(Fault {
        status: 410,
        code: "gone".to_owned(),
        ..Fault::default()
    });
    assert_eq!(ask(url.clone(), "Metadata").await.status.as_u16(), 410);
    test.control.assign_identities(Some("S"), &["a"]);
    for (more, client_id) in [("", "s"), ("&client_id=A", "a")] {
        let reply = ask(format!("{url}{more}"), "Metadata").await;
        assert_eq!(
            (&reply.body["expires_in"], &reply.body["client_id"]),
            (&json!("3600"), &json!(client_id))
        );
        let last = test.control.exchanges().pop().unwrap();
        assert_eq!(
            (last.client_id.as_str(), last.proof),
            (client_id, Proof::Machine)
        );
        test.set_token(reply.body["access_token"].as_str().unwrap());
        assert_eq!(test.get("nothing").await.status, 404);
        let call = test.control.requests().pop().unwrap();
        assert_eq!(call.token, Some(last.token));
    }
    // Only there, and nothing else there.
    let there = url.replace(test.emulator.metadata_url(), test.emulator.url());
    assert_eq!(ask(there, "Metadata").await.status.as_u16(), 401);
    let other = format!("{}/_emulator/state", test.emulator.metadata_url());
    assert_eq!(ask(other, "Metadata").await.status.as_u16(), 404);
    test.emulator.stop().await;
}

/// A certificate and what signs with its key.
struct Signer {
    pem: String,
    key: ring::signature::RsaKeyPair,
}

fn signer() -> Signer {
    // RSA keys cannot be made by the crates that are here: this one is the operator's own test key.
    let pem = include_str!("../../../src/azure/credential/certificate/good.pem");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    Signer {
        pem: pem.to_owned(),
        key: ring::signature::RsaKeyPair::from_pkcs8(key.secret_der()).unwrap(),
    }
}

impl Signer {
    fn sign(&self, header: &serde_json::Value, claims: &serde_json::Value) -> String {
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let encoding: &dyn ring::signature::RsaEncoding = if header["alg"] == "PS256" {
            &ring::signature::RSA_PSS_SHA256
        } else {
            &ring::signature::RSA_PKCS1_SHA256
        };
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = ring::rand::SystemRandom::new();
        self.key
            .sign(encoding, &random, text.as_bytes(), &mut signature)
            .unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn a_certificate_is_believed_when_it_is_registered_and_the_assertion_is_for_this_endpoint() {
    let test = Test::start().await;
    let signer = signer();
    let client = test.config.client_id.clone();
    let endpoint = format!(
        "{}/{}/oauth2/v2.0/token",
        test.emulator.url(),
        test.config.tenant_id
    );
    let ask = async |assertion: &str| {
        let kind = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let form = format!(
            "grant_type=client_credentials&client_id={client}&{kind}&client_assertion={assertion}&{SCOPE}"
        );
        let reply = test.ask_token(&test.config.tenant_id, &form).await;
        (reply.status.as_u16(), reply.body["error_codes"][0].as_u64())
    };
    // As `openssl dgst -sha256` has it.
    let header = json!({"alg": "PS256", "x5t#S256": "ciEKbYqvYmQTgG4_yhEsMGHYVvxcuN1A_87Z4j9j4Iw"});
    let now = chrono::Utc::now().timestamp();
    let claims = json!({"aud": endpoint, "iss": client, "sub": client, "jti": "1", "nbf": now, "exp": now + 600});
    let with = |base: &serde_json::Value, name: &str, value: serde_json::Value| {
        let mut changed = base.clone();
        changed[name] = value;
        changed
    };
    assert_eq!(
        ask(&signer.sign(&header, &claims)).await,
        (401, Some(700_027)),
        "not registered"
    );
    assert!(!test.control.set_certificates(&client, "none"));
    assert!(test.control.set_certificates(&client, &signer.pem));
    let good = signer.sign(&header, &claims);
    assert_eq!(ask(&good).await, (200, None));
    assert_eq!(
        test.control.exchanges().pop().unwrap().proof,
        Proof::Certificate
    );
    assert_eq!(ask(&good).await, (401, Some(50_013)), "used before");
    let rs256 = with(&header, "alg", json!("RS256"));
    assert_eq!(
        ask(&signer.sign(&rs256, &with(&claims, "jti", json!("2")))).await,
        (200, None)
    );
    let forged = format!("{}{}", &good[..good.len() - 8], "AAAAAAAA");
    assert_eq!(ask(&forged).await, (401, Some(700_027)));
    let unknown = with(&header, "x5t#S256", json!("AAAA"));
    assert_eq!(
        ask(&signer.sign(&unknown, &claims)).await,
        (401, Some(700_027))
    );
    for (name, value, code) in [
        ("aud", json!("api://AzureADTokenExchange"), 700_023),
        ("iss", json!("other"), 700_021),
        ("sub", json!("other"), 700_021),
        ("jti", json!(null), 50_027),
        ("exp", json!(now - 400), 700_024),
        ("nbf", json!(now + 400), 700_024),
    ] {
        let assertion = signer.sign(&header, &with(&claims, name, value));
        assert_eq!(ask(&assertion).await, (401, Some(code)), "{name}");
    }
    assert_eq!(ask("a.b").await, (401, Some(50_027)));
    test.emulator.stop().await;
}
