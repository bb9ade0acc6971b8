use std::sync::Arc;

use http::{Request, Response};
use kube::client::Body;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use serde_json::json;

use super::super::client_ca;
use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn client(
    ca: &Ca,
    name: &str,
    group: &str,
    usage: ExtendedKeyUsagePurpose,
) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, group);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, ca).unwrap().der().clone()
}

fn trusting(ca: &Ca) -> ClientCas {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let (sender, cas) = client_ca::channel();
    sender.send_replace(Some(builder.build().unwrap()));
    cas
}

/// A server that must not be asked.
fn nobody() -> Client {
    let (service, _) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    Client::new(service, "default")
}

#[tokio::test]
async fn certificates() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (ours, theirs) = (ca("ours"), ca("theirs"));
    let authenticator = Authenticator::new(trusting(&ours), nobody());
    let of = |chain: Vec<CertificateDer<'static>>| {
        let authenticator = &authenticator;
        async move {
            authenticator
                .authenticate(HERE, &chain, None)
                .await
                .unwrap()
        }
    };
    let user = of(vec![client(&ours, "api", "system:masters", ClientAuth)]).await;
    assert_eq!(
        user,
        Some(User {
            name: "api".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..User::default()
        })
    );
    for (why, chain) in [
        ("no certificate", vec![]),
        ("another CA", vec![client(&theirs, "api", "x", ClientAuth)]),
        (
            "not for clients",
            vec![client(&ours, "api", "x", ServerAuth)],
        ),
        ("no name", vec![client(&ours, "", "x", ClientAuth)]),
        ("rubbish", vec![CertificateDer::from(vec![1, 2, 3])]),
    ] {
        assert_eq!(of(chain).await, None, "{why}");
    }
    let (_sender, none) = client_ca::channel();
    let authenticator = Authenticator::new(none, nobody());
    let chain = [client(&ours, "api", "x", ClientAuth)];
    assert_eq!(
        authenticator
            .authenticate(HERE, &chain, None)
            .await
            .unwrap(),
        None
    );
}

#[test]
fn bearer_tokens() {
    for (header, token) in [
        ("Bearer abc", Some("abc")),
        ("bearer  abc ", Some("abc")),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("", None),
    ] {
        assert_eq!(bearer(header), token, "{header:?}");
    }
    let long = format!("Bearer {}", "x".repeat(LONGEST_TOKEN + 1));
    assert_eq!(bearer(&long), None);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_reviewed_and_remembered_for_a_while() {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let body = request.into_body().collect_bytes().await.unwrap();
            let review: TokenReview = serde_json::from_slice(&body).unwrap();
            let token = review.spec.token;
            let status = match token.as_str() {
                "good" => {
                    json!({"authenticated": true, "user": {"username": "u", "uid": "1", "groups": ["g"]}})
                }
                "nameless" => json!({"authenticated": true, "user": {}}),
                _ => json!({"authenticated": false, "error": "no"}),
            };
            asked.push(token);
            let body = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {}, "status": status});
            send.send_response(Response::new(Body::from(
                serde_json::to_vec(&body).unwrap(),
            )));
        }
        asked
    });
    let (_sender, none) = client_ca::channel();
    let authenticator = Authenticator::new(none, Client::new(service, "default"));
    for (token, name) in [
        ("good", Some("u")),
        ("good", Some("u")),
        ("bad", None),
        ("bad", None),
        ("nameless", None),
    ] {
        let header = format!("Bearer {token}");
        let user = authenticator
            .authenticate(HERE, &[], Some(&header))
            .await
            .unwrap();
        assert_eq!(
            user.as_ref().map(|user| user.name.as_str()),
            name,
            "{token}"
        );
        if let Some(user) = user {
            assert_eq!(user.groups, ["g", "system:authenticated"]);
        }
    }
    tokio::time::advance(KNOWN).await;
    authenticator
        .authenticate(HERE, &[], Some("Bearer good"))
        .await
        .unwrap();
    drop(authenticator);
    assert_eq!(asked.await.unwrap(), ["good", "bad", "nameless", "good"]);
}

/// Whoever sends tokens by the thousand waits in a line of his own, and the same token is asked about once.
#[tokio::test(start_paused = true)]
async fn waiting_reviews_are_bounded_by_address_and_equal_ones_are_one() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let log = log.clone();
        async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            let review: TokenReview = serde_json::from_slice(&body).unwrap();
            log.lock().push(review.spec.token);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let status = json!({"authenticated": true, "user": {"username": "u"}});
            let body = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {}, "status": status});
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, std::convert::Infallible>(Response::new(body))
        }
    });
    let (_sender, none) = client_ca::channel();
    let authenticator = &Authenticator::new(none, Client::new(service, "default"));
    let ask = |last: u8, token: String| async move {
        let network = IpAddr::from([10, 0, 0, last]);
        let header = format!("Bearer {token}");
        authenticator
            .authenticate(network, &[], Some(&header))
            .await
    };
    let flood = futures::future::join_all((0..1000).map(|n| ask(1, format!("flood-{n}"))));
    let honest = futures::future::join_all((0..8).map(|_| ask(2, "honest".to_owned())));
    let (flood, honest) = futures::join!(flood, honest);
    let busy = flood
        .iter()
        .filter(|it| **it == Err(AuthnError::Busy))
        .count();
    assert_eq!(busy, 1000 - WAITING_OF_ONE);
    for answer in honest {
        assert_eq!(answer.unwrap().unwrap().name, "u");
    }
    {
        let asked = asked.lock();
        assert_eq!(asked.iter().filter(|it| *it == "honest").count(), 1);
        assert_eq!(asked.len(), WAITING_OF_ONE + 1);
    }
    assert_eq!(authenticator.waiting.taken(), 0);
    // All addresses together have their limit, too.
    let many = (0..200).map(|n| ask(n, format!("many-{n}")));
    let many = futures::future::join_all(many).await;
    let busy = many
        .iter()
        .filter(|it| **it == Err(AuthnError::Busy))
        .count();
    assert_eq!(busy, 200 - WAITING);
}

/// What is refused costs the API server nothing, and comes late.
#[tokio::test(start_paused = true)]
async fn who_brings_tokens_that_nobody_knows_is_reviewed_now_and_then() {
    let asked = Arc::new(Mutex::new(0_u32));
    let count = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let count = count.clone();
        async move {
            let body = request.into_body().collect_bytes().await.unwrap();
            let review: TokenReview = serde_json::from_slice(&body).unwrap();
            *count.lock() += 1;
            let known = review.spec.token == "known";
            let status = json!({"authenticated": known, "user": {"username": "u"}});
            let body = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {}, "status": status});
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, std::convert::Infallible>(Response::new(body))
        }
    });
    let (_sender, none) = client_ca::channel();
    let authenticator = &Authenticator::new(none, Client::new(service, "default"));
    let ask = |last: u8, token: String| async move {
        let header = format!("Bearer {token}");
        let network = IpAddr::from([10, 0, 0, last]);
        authenticator
            .authenticate(network, &[], Some(&header))
            .await
    };
    assert!(ask(1, "known".to_owned()).await.unwrap().is_some());
    let begun = Instant::now();
    for n in 0..100 {
        let answer = ask(1, format!("unknown-{n}")).await;
        assert!(matches!(answer, Ok(None) | Err(AuthnError::Busy)));
    }
    let took = begun.elapsed();
    let reviewed = f64::from(*asked.lock() - 1);
    let most = UNKNOWN_AT_ONCE + took.as_secs_f64() * UNKNOWN_A_SECOND;
    assert!(reviewed <= most && most < 100.0, "{reviewed} of {most}");
    assert!(took >= PENALTY * 10, "{took:?}");
    // Tokens that are known, and others, are not meant.
    assert!(ask(1, "known".to_owned()).await.unwrap().is_some());
    assert!(ask(2, "other".to_owned()).await.unwrap().is_none());
    // The memory of it is bounded.
    for n in 0..2_000_u32 {
        let network = IpAddr::from(n.to_be_bytes());
        authenticator
            .unknown
            .lock()
            .note(network, Duration::from_secs(9));
    }
    assert!(authenticator.unknown.lock().0.len() <= ADDRESSES);
}
