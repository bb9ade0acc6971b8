//! Tokens: refused, expired, not to be had.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

/// What must never be shown.
fn assert_silent(error: &AzureError) {
    let shown = format!("{error} {error:?}");
    assert!(
        !shown.contains(SECRET) && !shown.contains("token-"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_wrong_secret_says_what_to_do_and_a_new_one_works_at_once() {
    let server = Server::start_raw(|seen| {
        match (seen.target.contains("oauth2"), seen.body.contains(SECRET)) {
            (true, true) => Answer::refusal(401, 7_000_215),
            (true, false) => Answer::token("token-2"),
            _ => Answer::json(200, &group("g")),
        }
    })
    .await;
    let client = client(&server);
    for _ in 0..5 {
        let error = client.get_group("rg", "g").await.unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (ErrorClass::BadCredentials, "AADSTS7000215")
        );
        assert!(error.message.contains("AZURE_CLIENT_SECRET"), "{error}");
        assert_silent(&error);
        assert_eq!(
            client.check_token().await.unwrap_err().class,
            ErrorClass::BadCredentials
        );
    }
    assert_eq!(
        server.token_requests(),
        1,
        "a refused credential is not offered again at once"
    );
    assert!(server.calls().is_empty());

    client.replace_credential(credential("better")).unwrap();
    assert!(client.get_group("rg", "g").await.unwrap().is_some());
    assert_eq!(server.calls()[0].bearer(), "token-2");
    assert!(!format!("{client:?}").contains("better"));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let server = Server::start(|seen| match seen.bearer() {
        "token-1" => Answer::error(401, "ExpiredAuthenticationToken"),
        _ => Answer::json(201, &group("g")),
    })
    .await;
    let client = client(&server);
    let wanted = ContainerGroup::default();
    let puts = (0..5).map(|_| client.put_group("rg", "g", &wanted));
    assert!(
        futures::future::join_all(puts)
            .await
            .into_iter()
            .all(|put| put.is_ok())
    );
    assert_eq!(server.token_requests(), 2, "five callers, one new token");
}

#[tokio::test]
async fn a_token_that_stays_refused_is_an_error_and_no_storm() {
    let server = answering(vec![Answer::error(401, "InvalidAuthenticationToken")]).await;
    let client = client(&server);
    for _ in 0..3 {
        let error = client.get_group("rg", "g").await.unwrap_err();
        assert_eq!(
            (error.class, error.status),
            (ErrorClass::Unauthenticated, Some(401))
        );
        assert_silent(&error);
    }
    assert_eq!(
        server.calls().len(),
        4,
        "the first call is sent twice, the others once"
    );
    assert!(server.token_requests() <= 4, "{}", server.token_requests());
}

#[tokio::test]
async fn a_token_service_that_fails_is_not_a_bad_credential() {
    for answer in [
        Answer::text(502, "text/html", "<html>bad gateway</html>"),
        Answer::text(200, "text/html", "<html>log in here</html>"),
        Answer::Drop,
    ] {
        let server = Server::start_raw(move |_| answer.clone()).await;
        let error = client(&server)
            .put_group("rg", "g", &ContainerGroup::default())
            .await
            .unwrap_err();
        assert_eq!(
            (error.class, error.may_have_taken_effect()),
            (ErrorClass::Identity, false),
            "{error}"
        );
        assert!(error.is_retryable());
        assert_silent(&error);
    }
}

#[tokio::test]
async fn a_token_service_that_hangs_is_given_up() {
    let server = Server::start_raw(|seen| {
        match (seen.target.contains("oauth2"), seen.body.contains(SECRET)) {
            (true, true) => Answer::token("token-1"),
            (true, false) => Answer::Hang,
            _ => Answer::json(200, &group("g")),
        }
    })
    .await;
    let client = client(&server);
    client.get_group("rg", "g").await.unwrap();
    client.replace_credential(credential("other")).unwrap();
    tokio::time::pause();
    let started = Instant::now();
    let error = client
        .put_group("rg", "g", &ContainerGroup::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::Identity, "TokenTimeout"),
        "{error}"
    );
    assert_eq!(started.elapsed().as_secs(), 20);
    assert!(!error.may_have_taken_effect());
}

fn workload(server: &Server, token_file: &std::path::Path) -> ArmClient {
    let credential = Credential::WorkloadIdentity {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        token_file: token_file.to_owned(),
    };
    client_as(credential, server)
}

#[tokio::test]
async fn a_federated_token_is_read_anew_and_trimmed_at_each_exchange() {
    let exchanges = AtomicUsize::new(0);
    let server = Server::start_raw(move |seen| {
        if !seen.target.ends_with("/tenant/oauth2/v2.0/token") {
            return match seen.bearer() {
                "token-2" => Answer::json(200, &group("g")),
                _ => Answer::error(401, "ExpiredAuthenticationToken"),
            };
        }
        let turn = exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        let sent = format!("client_assertion=jwt-{turn}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_id=client&grant_type=client_credentials&");
        if seen.body.starts_with(&sent) {
            Answer::token(&format!("token-{turn}"))
        } else {
            Answer::refusal(401, 50_027)
        }
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "jwt-1\n").unwrap();
    let client = workload(&server, file.path());
    client.check_token().await.unwrap();
    assert_eq!(server.token_requests(), 1);
    // The kubelet renews the file; ARM wants a new token.
    std::fs::write(&file, "\njwt-2\r\n").unwrap();
    assert!(client.get_group("rg", "g").await.unwrap().is_some());
    assert_eq!(server.token_requests(), 2);
}

#[tokio::test]
async fn a_federated_token_that_is_not_there_is_waited_for() {
    let server = Server::start(|_| Answer::json(200, &group("g"))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let client = workload(&server, &file);
    let check = async |wanted: &str| {
        let error = client.check_token().await.unwrap_err();
        assert_eq!(
            (error.class, error.code.as_str()),
            (ErrorClass::Identity, "TokenFileUnreadable"),
            "{error}"
        );
        assert!(error.message.contains(wanted), "{error}");
        assert!(error.is_retryable());
    };
    check("cannot be read").await;
    std::fs::write(&file, " \n").unwrap();
    check("is empty").await;
    std::fs::write(&file, "x".repeat(70_000)).unwrap();
    check("has more than").await;
    assert_eq!(server.token_requests(), 0);
    std::fs::write(&file, SECRET).unwrap();
    client.check_token().await.unwrap();
}

#[tokio::test]
async fn a_federated_token_that_is_refused_says_what_to_do_and_is_not_shown() {
    let server = Server::start_raw(|_| {
        let text = format!("AADSTS700213: No matching record for subject 'system:serviceaccount:a:b' {SECRET}. Trace ID: 1");
        let body = json!({"error": "invalid_client", "error_description": text, "error_codes": [700_213]});
        Answer::json(401, &body)
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let error = workload(&server, file.path())
        .check_token()
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::BadCredentials, "AADSTS700213")
    );
    for text in [
        "system:serviceaccount:a:b",
        "federated credential",
        "[redacted]",
    ] {
        assert!(error.message.contains(text), "{text:?} not in {error}");
    }
    assert_silent(&error);
}

#[tokio::test]
async fn a_certificate_signs_a_new_assertion_for_each_exchange() {
    const PEM: &str = include_str!("../../../src/azure/credential/certificate/good.pem");
    let assertions = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&assertions);
    let server = Server::start_raw(move |seen| {
        let sent = seen.body.strip_prefix("client_assertion=");
        let Some(sent) = sent.and_then(|body| body.split('&').next()) else {
            return Answer::error(401, "ExpiredAuthenticationToken");
        };
        log.lock().push(sent.to_owned());
        if sent.matches('.').count() == 2 && seen.body.contains("&client_id=client&") {
            Answer::token("token-1")
        } else {
            Answer::refusal(401, 50_027)
        }
    })
    .await;
    let credential = |pem: &str| Credential::ServicePrincipalCertificate {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        pem: SecretText::new(pem.to_owned()),
    };
    let client = client_as(credential(PEM), &server);
    client.check_token().await.unwrap();
    let error = client.get_group("rg", "g").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unauthenticated);
    let shown = format!("{client:?} {error:?}");
    assert!(!shown.contains("BEGIN"), "{shown}");
    {
        let assertions = assertions.lock();
        assert_eq!(assertions.len(), 2);
        assert_ne!(assertions[0], assertions[1]);
        let claims = URL_SAFE_NO_PAD.decode(assertions[0].split('.').nth(1).unwrap());
        let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        let endpoint = format!("{}/tenant/oauth2/v2.0/token", server.address);
        assert_eq!(claims["aud"], endpoint);
    }
    // One that is none leaves the old one in use.
    let error = client.replace_credential(credential("MIIK")).unwrap_err();
    assert_eq!(error.class, ErrorClass::BadCredentials);
    assert!(error.message.contains("neither PEM nor PKCS#12"), "{error}");
    client.check_token().await.unwrap();
}
