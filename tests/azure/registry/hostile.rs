//! Servers that break the rules, by mistake or not.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use vkc::net::Networks;
use vkc::registry::{Platform, Registry, RegistryError};

use super::{PASSWORD, login, loopback};
use crate::server::{Answer, Seen, Server};

fn digest(text: &str) -> String {
    format!("sha256:{:x}", Sha256::digest(text))
}

fn config() -> String {
    json!({"os": "linux", "architecture": "amd64", "config": {"Entrypoint": ["/app"]}}).to_string()
}

fn manifest() -> String {
    json!({"config": {"digest": digest(&config()), "size": config().len()}}).to_string()
}

/// An image that is all right.
fn good(seen: &Seen) -> Answer {
    if seen.path().contains("/blobs/") {
        Answer::text(200, "application/octet-stream", &config())
    } else {
        Answer::text(200, "application/json", &manifest())
    }
}

fn redirect(to: &str) -> Answer {
    Answer::empty(307).with("location", to)
}

fn challenge(header: &str) -> Answer {
    Answer::empty(401).with("www-authenticate", header)
}

fn reader(servers: &[&Server]) -> Registry {
    reader_in(servers, loopback())
}

fn reader_in(servers: &[&Server], networks: Networks) -> Registry {
    let pem: Vec<u8> = servers
        .iter()
        .flat_map(|server| STANDARD.decode(&server.ca_base64).unwrap())
        .collect();
    Registry::new(Some(&pem), networks, Arc::new(())).unwrap()
}

fn host(server: &Server) -> &str {
    server.address.strip_prefix("https://").unwrap()
}

/// A look at `image` of `server`, with a password; the other servers are trusted, too.
async fn look(
    server: &Server,
    others: &[&Server],
    image: &str,
) -> Result<Vec<String>, RegistryError> {
    let mut servers = vec![server];
    servers.extend(others);
    let name = format!("{}/{image}", host(server));
    let login = login(PASSWORD);
    let read = reader(&servers)
        .configuration("ns", &name, Platform::Linux, Some(&login))
        .await;
    if let Err(error) = &read {
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
    read.map(|image| image.entry_point.clone())
}

/// A look that comes to nothing: its outcome.
async fn outcome(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> &'static str {
    let server = Server::start_raw(answer).await;
    look(&server, &[], "a:1").await.unwrap_err().outcome()
}

#[tokio::test]
async fn what_has_another_digest_is_not_read() {
    let server = Server::start_raw(good).await;
    assert_eq!(look(&server, &[], "a:1").await.unwrap(), ["/app"]);
    let right = format!("a@{}", digest(&manifest()));
    assert_eq!(look(&server, &[], &right).await.unwrap(), ["/app"]);
    let wrong = format!("a@{}", digest("something else"));
    let error = look(&server, &[], &wrong).await.unwrap_err();
    assert_eq!(error.outcome(), "malformed", "{error}");
    let swapped = |seen: &Seen| match good(seen) {
        _ if seen.path().contains("/blobs/") => {
            let other = config().replace("/app", "/evil");
            Answer::text(200, "application/octet-stream", &other)
        }
        answer => answer,
    };
    assert_eq!(outcome(swapped).await, "malformed");
}

#[tokio::test]
async fn too_much_is_not_read_to_the_end() {
    let long = |seen: &Seen| match seen.path() {
        "/v2/a/manifests/1" => Answer::text(200, "application/json", &" ".repeat((4 << 20) + 1)),
        _ => good(seen),
    };
    assert_eq!(outcome(long).await, "too_large");
    let announced = |seen: &Seen| match seen.path() {
        "/v2/a/manifests/1" => {
            let config = json!({"config": {"digest": digest("x"), "size": (8 << 20) + 1}});
            Answer::json(200, &config)
        }
        // It is not asked for.
        _ => Answer::Drop,
    };
    assert_eq!(outcome(announced).await, "too_large");
    let lied = |seen: &Seen| {
        if seen.path().contains("/blobs/") {
            Answer::text(200, "application/octet-stream", &" ".repeat((8 << 20) + 1))
        } else {
            good(seen)
        }
    };
    assert_eq!(outcome(lied).await, "too_large");
    let index = |seen: &Seen| {
        let document = json!({"manifests": [{"digest": digest("x"), "size": 1}]}).to_string();
        let own = json!({"manifests": [{"digest": digest(&document), "size": 1}]});
        match seen.path() {
            "/v2/a/manifests/1" => Answer::json(200, &own),
            _ => Answer::text(200, "application/json", &document),
        }
    };
    assert_eq!(outcome(index).await, "malformed");
}

#[tokio::test]
async fn a_redirect_does_not_take_the_password_along() {
    let store = Server::start_raw(good).await;
    let there = store.address.clone();
    let home = Server::start_raw(move |seen| {
        if !seen.headers.contains_key("authorization") {
            return challenge("Basic realm=\"r\"");
        }
        redirect(&format!("{there}/elsewhere{}?sig=s", seen.path()))
    })
    .await;
    assert_eq!(look(&home, &[&store], "a:1").await.unwrap(), ["/app"]);
    let calls = store.calls();
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert!(!call.headers.contains_key("authorization"), "{call:?}");
    }
    assert!(home.calls().len() == 3 && home.calls()[1].headers.contains_key("authorization"));
}

#[tokio::test]
async fn who_is_redirected_to_cannot_ask_for_the_password() {
    let store = Server::start_raw(|_| challenge("Basic realm=\"r\"")).await;
    let there = store.address.clone();
    let home = Server::start_raw(move |_| redirect(&format!("{there}/x"))).await;
    let error = look(&home, &[&store], "a:1").await.unwrap_err();
    assert_eq!(error.outcome(), "unauthorized", "{error}");
    assert_eq!(store.calls().len(), 1);
    // Nor does it come back with the one who came from elsewhere.
    let away = Server::start_raw(|seen| redirect(seen.target.split_once("back=").unwrap().1)).await;
    let there = away.address.clone();
    let home = Server::start_raw(move |seen| {
        if seen.path() == "/home" {
            return challenge("Basic realm=\"r\"");
        }
        let home = seen.headers.get("host").unwrap();
        redirect(&format!("{there}/x?back=https://{home}/home"))
    })
    .await;
    let error = look(&home, &[&away], "a:1").await.unwrap_err();
    assert_eq!(error.outcome(), "unauthorized", "{error}");
    for call in home.calls() {
        assert!(!call.headers.contains_key("authorization"), "{call:?}");
    }
}

#[tokio::test]
async fn redirects_end_and_lead_nowhere_unsafe() {
    let endless = |seen: &Seen| redirect(&format!("{}x", seen.path()));
    assert_eq!(outcome(endless).await, "malformed");
    for to in [
        "http://127.0.0.1/x",
        "https://user:pass@127.0.0.1/x",
        "file:///etc/passwd",
        "https://",
        "",
    ] {
        assert_eq!(outcome(move |_| redirect(to)).await, "malformed", "{to}");
    }
    assert_eq!(outcome(|_| Answer::empty(302)).await, "malformed");
    assert_eq!(outcome(|_| Answer::empty(300)).await, "malformed");
}

/// A registry that asks for a token of a service which answers `token`.
async fn token(answer: Answer) -> Result<Vec<String>, RegistryError> {
    let service = Server::start_raw(move |_| answer.clone()).await;
    let realm = service.address.clone();
    let home = Server::start_raw(move |seen| match seen.headers.get("authorization") {
        Some(token) if token == "Bearer t0ken" => good(seen),
        _ => challenge(&format!(
            "Bearer realm=\"{realm}/token?a=b\",service=\"a b\""
        )),
    })
    .await;
    let read = look(&home, &[&service], "team/a:1").await;
    let asked = &service.calls()[0];
    assert_eq!(
        asked.target,
        "/token?a=b&service=a+b&scope=repository%3Ateam%2Fa%3Apull"
    );
    let basic = format!("Basic {}", STANDARD.encode(format!("robot:{PASSWORD}")));
    assert_eq!(asked.headers["authorization"], basic);
    read
}

#[tokio::test]
async fn token_services() {
    for good in [
        json!({"token": "t0ken"}),
        json!({"access_token": "t0ken"}),
        json!({"token": "t0ken", "access_token": "other"}),
        json!({"token": null, "access_token": "t0ken", "expires_in": 1}),
    ] {
        assert_eq!(token(Answer::json(200, &good)).await.unwrap(), ["/app"]);
    }
    let long: Value = json!({"token": "t".repeat(300 << 10)});
    for (answer, expected) in [
        (
            Answer::json(200, &json!({"token": "stale"})),
            "unauthorized",
        ),
        (Answer::json(401, &json!({})), "unauthorized"),
        (Answer::json(403, &json!({})), "unauthorized"),
        (Answer::json(400, &json!({})), "unauthorized"),
        (Answer::json(429, &json!({})), "unavailable"),
        (Answer::json(502, &json!({})), "unavailable"),
        (
            Answer::json(200, &json!({"token": "a\r\nb: c"})),
            "malformed",
        ),
        (Answer::json(200, &json!({"token": ""})), "malformed"),
        (Answer::json(200, &json!([1])), "malformed"),
        (Answer::text(200, "text/html", "<html>"), "malformed"),
        (redirect("https://127.0.0.1/"), "malformed"),
        (Answer::json(200, &long), "too_large"),
        (Answer::Drop, "unreachable"),
        (Answer::Cut, "unreachable"),
    ] {
        let error = token(answer).await.unwrap_err();
        assert_eq!(error.outcome(), expected, "{error}");
    }
}

#[tokio::test]
async fn challenges_that_cannot_be_met() {
    for header in [
        "Bearer realm=\"http://127.0.0.1/token\"",
        "Bearer realm=\"https://user@127.0.0.1/token\"",
        "Bearer",
        "Negotiate",
        "",
    ] {
        let server = Server::start_raw(move |_| challenge(header)).await;
        let error = look(&server, &[], "a:1").await.unwrap_err();
        assert_eq!(error.outcome(), "unauthorized", "{error}");
        assert_eq!(server.calls().len(), 1);
    }
    // A password that is refused is not sent again.
    let server = Server::start_raw(|_| challenge("Basic realm=\"r\"")).await;
    let error = look(&server, &[], "a:1").await.unwrap_err();
    assert_eq!(error.outcome(), "unauthorized", "{error}");
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn answers_that_mean_nothing() {
    for (status, expected) in [
        (204, "malformed"),
        (400, "malformed"),
        (403, "unauthorized"),
        (404, "not_found"),
        (410, "not_found"),
        (418, "malformed"),
        (408, "unavailable"),
        (599, "unavailable"),
    ] {
        let outcome = outcome(move |_| Answer::empty(status)).await;
        assert_eq!(outcome, expected, "{status}");
    }
    let outcome = outcome(|_| Answer::Cut).await;
    assert_eq!(outcome, "unreachable");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let server = Server::start_raw(|seen| match seen.path() {
        "/v2/hang/manifests/1" => Answer::Hang,
        _ => good(seen),
    })
    .await;
    let reader = reader(&[&server]);
    let name = |image: &str| format!("{}/{image}:1", host(&server));
    let read = reader
        .configuration("ns", &name("a"), Platform::Linux, None)
        .await;
    assert_eq!(read.unwrap().entry_point, ["/app"]);
    // From here on a connection is open, and only the time-outs are left to wait for.
    tokio::time::pause();
    let started = Instant::now();
    let read = reader
        .configuration("ns", &name("hang"), Platform::Linux, None)
        .await;
    let error = read.unwrap_err();
    let limit = Duration::from_secs(10);
    let expected = RegistryError::Timeout {
        host: host(&server).to_owned(),
        limit,
    };
    assert_eq!((error, started.elapsed().as_secs()), (expected, 10));
}

/// What a pod's author reads is the same whether nothing listens there, nobody may ask, or something else answers: no scan.
#[tokio::test]
async fn nothing_on_the_machine_itself_is_asked_and_no_answer_of_the_network_is_told() {
    let server = Server::start_raw(good).await;
    let port = host(&server).rsplit_once(':').unwrap().1.to_owned();
    let named = format!("localhost:{port}");
    let nobody = reader_in(&[&server], Networks::default());
    let mut told = Vec::new();
    for place in [
        host(&server),
        &named,
        "127.0.0.1:1",
        &format!("[::1]:{port}"),
    ] {
        let image = format!("{place}/a:1");
        let error = nobody
            .configuration("ns", &image, Platform::Linux, None)
            .await;
        let error = error.unwrap_err();
        assert_eq!(error.outcome(), "unreachable", "{place}");
        told.push(error.to_string().replace(place, "HOST"));
    }
    assert_eq!(server.calls().len(), 0, "nothing was sent");
    // Allowed, and refused by the machine, by TLS, and by silence.
    let stranger = Registry::new(None, loopback(), Arc::new(())).unwrap();
    for (reader, place) in [(&stranger, host(&server)), (&stranger, "127.0.0.1:1")] {
        let image = format!("{place}/a:1");
        let error = reader
            .configuration("ns", &image, Platform::Linux, None)
            .await;
        told.push(error.unwrap_err().to_string().replace(place, "HOST"));
    }
    let silent = RegistryError::Timeout {
        host: "HOST".to_owned(),
        limit: Duration::from_secs(10),
    };
    told.push(silent.to_string());
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn a_registry_leads_to_no_address_that_is_not_asked() {
    let inner = Server::start_raw(good).await;
    let port = host(&inner).rsplit_once(':').unwrap().1.to_owned();
    // The registry itself is allowed, what it names is not.
    let here = Networks::new(["127.0.0.1".parse().unwrap()]);
    for to in [
        format!("https://127.0.0.2:{port}/v2/a"),
        format!("https://[::1]:{port}/v2/a"),
        "https://169.254.169.254/metadata".to_owned(),
    ] {
        let realm = format!("Bearer realm=\"{to}\",service=\"s\"");
        for redirects in [true, false] {
            let (to, realm) = (to.clone(), realm.clone());
            let answer = move |_: &Seen| {
                if redirects {
                    redirect(&to)
                } else {
                    challenge(&realm)
                }
            };
            let server = Server::start_raw(answer).await;
            let image = format!("{}/a:1", host(&server));
            let reader = reader_in(&[&server, &inner], here.clone());
            let error = reader
                .configuration("ns", &image, Platform::Linux, None)
                .await;
            assert_eq!(error.unwrap_err().outcome(), "unreachable");
        }
    }
    assert_eq!(inner.calls().len(), 0);
}
