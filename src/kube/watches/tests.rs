use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use kube::{Api, Client};
use kube_runtime::watcher::{Config, watcher};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::*;

const OUTAGE: Duration = Duration::from_mins(10);

/// What was asked, and when.
type Asked = Arc<Mutex<Vec<(Instant, &'static str)>>>;

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

fn answer(body: UnsyncBoxBody<Bytes, std::io::Error>) -> Answer {
    Response::builder().status(200).body(body).unwrap()
}

fn list(version: &str, pods: &[&str]) -> Answer {
    let items: Vec<_> = pods
        .iter()
        .map(|name| serde_json::json!({"metadata": {"name": name, "namespace": "ns", "uid": name}}))
        .collect();
    let list = serde_json::json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": version}, "items": items,
    });
    let body = Full::new(Bytes::from(list.to_string()));
    answer(body.map_err(|never| match never {}).boxed_unsync())
}

/// A body that breaks off at this time, after `first`.
fn until(end: Instant, first: &'static str) -> Answer {
    let chunks = stream::once(async move { Ok(Bytes::from_static(first.as_bytes())) }).chain(
        stream::once(async move {
            sleep_until(end).await;
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        }),
    );
    let frames = chunks.map(|chunk| chunk.map(hyper::body::Frame::data));
    answer(StreamBody::new(frames).boxed_unsync())
}

/// An API server that goes away after a minute, for ten. `expired`: it comes back without the old versions.
fn server(began: Instant, expired: bool, asked: Asked) -> Client {
    let away = began + Duration::from_mins(1);
    let back = away + OUTAGE;
    let service = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let watches = query.contains("watch=true");
        let old = query.contains("resourceVersion=10");
        let now = Instant::now();
        asked
            .lock()
            .push((now, if watches { "watch" } else { "list" }));
        let answer = match (watches, now) {
            (_, now) if now >= away && now < back => {
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))
            }
            (false, now) if now < away => Ok(list("10", &["before"])),
            (false, _) => Ok(list("20", &["before", "after"])),
            (true, now) if now < away => Ok(until(away, "")),
            (true, now) if old && expired => Ok(until(
                now + Duration::from_hours(1),
                "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\
                 \"message\":\"too old resource version\",\"reason\":\"Expired\",\"code\":410}}\n",
            )),
            (true, now) => Ok(until(
                now + Duration::from_hours(1),
                "{\"type\":\"ADDED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":\
                 {\"name\":\"after\",\"namespace\":\"ns\",\"uid\":\"after\",\"resourceVersion\":\"20\"}}}\n",
            )),
        };
        async move { answer }
    });
    Client::new(service, "default")
}

/// How long after the return of the API server the new pod was seen, and the requests while it was away.
async fn outage(expired: bool) -> (Duration, usize) {
    let began = Instant::now();
    let asked = Asked::default();
    let client = server(began, expired, asked.clone());
    let config = Config::default().timeout(90);
    let mut events = steady(watcher(Api::<Pod>::all(client), config));
    let seen = async {
        loop {
            let event = events.next().await.unwrap();
            if let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event
                && pod.metadata.name.as_deref() == Some("after")
            {
                return;
            }
        }
    };
    timeout(Duration::from_hours(1), seen).await.unwrap();
    let back = began + Duration::from_mins(1) + OUTAGE;
    let while_away = asked.lock().iter().filter(|(at, _)| *at < back).count();
    (Instant::now() - back, while_away)
}

#[tokio::test(start_paused = true)]
async fn after_ten_minutes_without_the_api_server_a_watch_is_back_within_five_seconds() {
    for expired in [false, true] {
        for _ in 0..20 {
            let (late, requests) = outage(expired).await;
            assert!(
                late <= Duration::from_secs(5),
                "{late:?}, expired: {expired}"
            );
            assert!(
                (100..=230).contains(&requests),
                "{requests} requests in ten minutes"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_expires_again_and_again_is_not_asked_for_without_a_pause() {
    let asked = Asked::default();
    let log = asked.clone();
    let service = tower::service_fn(move |_: Request<Body>| {
        log.lock().push((Instant::now(), "list"));
        let body = "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"reason\":\"Expired\",\"code\":410}";
        let answer = Response::builder()
            .status(410)
            .body(Body::from(body.as_bytes().to_vec()));
        async move { Ok::<_, std::convert::Infallible>(answer.unwrap()) }
    });
    let pods = Api::<Pod>::all(Client::new(service, "default"));
    let mut events = steady(watcher(pods, Config::default()));
    let _ = timeout(Duration::from_mins(1), async {
        while events.next().await.is_some() {}
    })
    .await;
    let requests = asked.lock().len();
    assert!(requests <= 30, "{requests} requests in a minute");
}
