use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::json;

use super::*;

fn forbidden() -> KubeError {
    KubeError::Api {
        op: "create token",
        code: 403,
        reason: "Forbidden".into(),
        message: "no relationship found".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_passes_is_waited_out_and_one_that_stays_is_told() {
    let asked = std::sync::atomic::AtomicU32::new(0);
    let ask = |until: u32| {
        let asked = &asked;
        move || async move {
            let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if before < until {
                Err(forbidden())
            } else {
                Ok(before)
            }
        }
    };
    assert_eq!(patiently(ask(2)).await, Ok(2));
    asked.store(0, std::sync::atomic::Ordering::Relaxed);
    assert!(patiently(ask(100)).await.unwrap_err().is_forbidden());
}

#[test]
fn only_an_object_that_is_surely_missing_is_missing() {
    let missing = KubeError::Api {
        op: "get secrets",
        code: 404,
        reason: "NotFound".into(),
        message: "secrets \"s\" not found".into(),
    };
    assert_eq!(there("Secret", "s", Ok(1)), Ok(Some(1)));
    assert_eq!(there::<()>("Secret", "s", Err(missing)), Ok(None));
    let failure = there::<()>("Secret", "s", Err(forbidden())).unwrap_err();
    assert_eq!(failure.reason, "ReferenceUnreadable");
}

/// An API server whose Secrets take as long to read as their names say, in milliseconds; `no-` ones are refused.
fn slow_server() -> KubeReferences {
    let service = tower::service_fn(|request: Request<Body>| async move {
        let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let wait = name.rsplit('-').next().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let (code, body) = if name.starts_with("no-") {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "InternalError", "code": 500, "message": name});
            (StatusCode::INTERNAL_SERVER_ERROR, status)
        } else {
            let data = json!({"key": "dmFsdWU="});
            let metadata = json!({"name": name, "namespace": "ns"});
            (
                StatusCode::OK,
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}),
            )
        };
        let answer = Response::builder().status(code);
        Ok::<_, Infallible>(
            answer
                .body(Body::from(body.to_string().into_bytes()))
                .unwrap(),
        )
    });
    of(Client::new(service, "default"))
}

/// With room of its own: other tests of this process have theirs.
fn of(client: Client) -> KubeReferences {
    KubeReferences {
        room: Room::default(),
        ..KubeReferences::new(client, None)
    }
}

/// An API server whose Secrets have as many kilobytes as their names say.
fn large_server() -> KubeReferences {
    let service = tower::service_fn(|request: Request<Body>| async move {
        let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
        let length: usize = name.rsplit('-').next().unwrap().parse().unwrap();
        let content = "A".repeat((length << 10) / 3 * 4);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"managedFields": [{}]}, "data": {"k": content}});
        Ok::<_, Infallible>(Response::new(Body::from(secret.to_string().into_bytes())))
    });
    of(Client::new(service, "default"))
}

async fn read(
    server: &KubeReferences,
    namespace: &str,
    names: impl IntoIterator<Item = String>,
) -> Result<Resolved, Failure> {
    let references: Vec<_> = names.into_iter().map(Reference::Secret).collect();
    let mut pod = Pod::default();
    pod.metadata.namespace = Some(namespace.into());
    let mut resolved = Resolved::default();
    let read = server.resolve(&pod, &references, &mut resolved).await;
    read.map(|()| resolved)
}

/// A thousand Secrets of a megabyte, of which a group has room for three.
#[tokio::test]
async fn what_a_pod_refers_to_has_a_bounded_number_of_bytes() {
    let server = large_server();
    let names = |many: usize| (0..many).map(|n| format!("s{n}-1000"));
    let failure = read(&server, "ns", names(1_000)).await.unwrap_err();
    assert_eq!(
        (failure.reason, failure.kind),
        ("ReferencesTooLarge", super::super::FailureKind::Reference)
    );
    assert!(failure.message.contains("16 MB"), "{failure}");
    assert_eq!(server.room.held.free(), HELD);
    assert!(read(&server, "ns", names(16)).await.is_ok());
}

#[tokio::test]
async fn what_many_pods_refer_to_is_shared_out_by_namespace() {
    let server = large_server();
    let pod = || (0..10).map(|n| format!("s{n}-1000"));
    let mut kept = Vec::new();
    let refused = loop {
        match read(&server, "greedy", pod()).await {
            Ok(resolved) => kept.push(resolved),
            Err(failure) => break failure,
        }
    };
    assert_eq!(refused.reason, "ReferencesWait");
    assert!(refused.kind.is_transient());
    assert_eq!(kept.len(), 3);
    // Others find room, and small ones need none.
    kept.push(read(&server, "modest", pod()).await.unwrap());
    let small = (0..100).map(|n| format!("s{n}-10"));
    assert!(read(&server, "greedy", small).await.is_ok());
    kept.clear();
    assert_eq!(server.room.held.free(), HELD);
}

async fn resolve(names: &[&str]) -> (Result<(), Failure>, Resolved, Duration) {
    let references: Vec<_> = names
        .iter()
        .map(|name| Reference::Secret((*name).into()))
        .collect();
    let (server, mut resolved) = (slow_server(), Resolved::default());
    let mut pod = Pod::default();
    pod.metadata.namespace = Some("ns".into());
    let begun = Instant::now();
    let outcome = server.resolve(&pod, &references, &mut resolved).await;
    (outcome, resolved, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_references_of_a_pod_are_fetched_together_and_a_bounded_number_at_once() {
    let names: Vec<String> = (0..20).map(|n| format!("s{n}-100")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (count, least) in [(1, 100), (8, 100), (9, 200), (20, 300)] {
        let (outcome, resolved, took) = resolve(&names[..count]).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(resolved.objects.len(), count);
        let least = Duration::from_millis(least);
        assert!(
            (least..least + Duration::from_millis(20)).contains(&took),
            "{count}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_failures_the_first_in_the_pods_order_is_told() {
    let (outcome, resolved, _) = resolve(&["a-10", "no-b-300", "no-c-1", "d-1"]).await;
    let message = outcome.unwrap_err().message;
    assert!(message.contains("Secret no-b-300"), "{message}");
    assert_eq!(resolved.objects.len(), 1, "as one after the other");
}
