//! Events (`events.k8s.io/v1`): a bounded recorder that never blocks its callers.
//!
//! Repeats become one series with at most one write a minute, and each object has a token bucket, so that a pod that
//! fails for ever cannot flood etcd. Same numbers as client-go's spam filter: burst 25, one more every 300 s.

mod aggregate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as ApiEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::aggregate::{Aggregator, Write};
use super::backoff::jitter;
use super::call::{KubeError, TIMEOUT, call};

/// Who we are in `reportingController`.
pub const REPORTING_CONTROLLER: &str = "virtual-kubelet.io/operator";
/// Events that wait to be written; more are dropped and counted.
const QUEUE: usize = 1000;
/// The API server's limit for `note`.
const MAX_NOTE: usize = 1024;
/// How often unwritten repeats are looked at.
const FLUSH: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;

/// Whether a person should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    /// A person should look.
    Warning,
}

impl EventType {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The object. Events of cluster-scoped objects go to the namespace `default`.
    pub regarding: ObjectReference,
    /// A second object, for example the Secret that is wrong.
    pub related: Option<ObjectReference>,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// What was done or tried, a CamelCase verb such as `CreateContainerGroup`.
    pub action: &'static str,
    /// One sentence for people; cut to 1 KiB.
    pub note: String,
    pub kind: EventType,
    /// For what others have counted; `None` for what has just happened once.
    pub origin: Option<Origin>,
}

/// Something that others tell again and again, with how often and when it happened. It becomes one Event object, also
/// when it is told by several processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Tells it from everything else that happened to the object: lower-case letters and digits.
    pub id: String,
    /// When it happened first.
    pub first: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often it happened.
    pub count: i32,
}

/// The recorder. Cheap to clone; the last clone to go ends the task.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    dropped: Dropped,
}

/// Events lost by all recorders of the process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Events lost by all recorders of the process since its start, for metrics. See [`Events::dropped`].
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Counts the events that one recorder has lost.
#[derive(Debug, Clone, Default)]
struct Dropped(Arc<AtomicU64>);

impl Dropped {
    fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
        DROPPED.fetch_add(number, Ordering::Relaxed);
    }
}

impl Events {
    /// Starts the recorder's task, which ends when all clones of the recorder are gone and its queue is written.
    /// The caller owns the handle.
    pub fn spawn(client: Client, reporting_instance: impl Into<String>) -> (Self, JoinHandle<()>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let dropped = Dropped::default();
        let writer = Writer {
            client,
            instance: reporting_instance.into(),
        };
        let task = tokio::spawn(run(writer, receiver, dropped.clone()));
        (Self { queue, dropped }, task)
    }

    /// Takes an event. Never blocks: a full queue drops it, see [`Events::dropped`].
    pub fn emit(&self, mut event: Event) {
        truncate(&mut event.note, MAX_NOTE);
        if self.queue.try_send(event).is_err() {
            self.dropped.add(1);
        }
    }

    /// Events lost since the start: full queue, spam filter, or an API server that did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.0.load(Ordering::Relaxed)
    }
}

/// Cuts at a character boundary.
fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - 3));
        text.push_str("...");
    }
}

async fn run(writer: Writer, mut queue: mpsc::Receiver<Event>, dropped: Dropped) {
    let mut aggregator = Aggregator::default();
    let mut flush = tokio::time::interval(FLUSH);
    flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let pending = tokio::select! {
            event = queue.recv() => match event {
                Some(event) => aggregator.take(event, Instant::now().into_std()).into_iter().collect(),
                None => break,
            },
            _ = flush.tick() => aggregator.due(Instant::now().into_std()),
        };
        for write in pending {
            if !writer.write(&write, &mut aggregator).await {
                lost(&write, &mut aggregator, &dropped);
            }
        }
        dropped.add(aggregator.take_refused());
    }
    for write in aggregator.rest() {
        if !writer.write(&write, &mut aggregator).await {
            dropped.add(1);
        }
    }
}

/// What was not written is counted, and not remembered as if it had been.
fn lost(write: &Write, aggregator: &mut Aggregator, dropped: &Dropped) {
    dropped.add(1);
    if let Write::Create { key, .. } = write {
        aggregator.lost(key);
    }
}

struct Writer {
    client: Client,
    instance: String,
}

impl Writer {
    /// Writes with a few attempts; false when the event is lost.
    async fn write(&self, write: &Write, aggregator: &mut Aggregator) -> bool {
        for attempt in 1..=ATTEMPTS {
            match self.attempt(write, aggregator).await {
                Ok(()) => return true,
                Err(error) if retryable(&error) && attempt < ATTEMPTS => {
                    tokio::time::sleep(jitter(Duration::from_secs(1 << attempt), 0.2)).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "an event was not written");
                    return false;
                }
            }
        }
        false
    }

    async fn attempt(&self, write: &Write, aggregator: &mut Aggregator) -> Result<(), KubeError> {
        match write {
            Write::Create { key, event } => {
                let body = self.body(event);
                let name = body.metadata.name.clone().unwrap_or_default();
                let api = self.api(&event.regarding);
                let params = PostParams::default();
                let made = call("create an Event", TIMEOUT, api.create(&params, &body)).await;
                match (made, &body.series) {
                    // Somebody has told it already, and it has been counted on since.
                    (Err(error), Some(series)) if is_known(&error, event) => {
                        self.count(&api, &name, series, aggregator).await?;
                    }
                    (Err(error), None) if is_known(&error, event) => {}
                    (made, _) => {
                        made?;
                    }
                }
                aggregator.created(key, name);
            }
            Write::Series {
                name,
                regarding,
                count,
                last,
            } => {
                let series = EventSeries {
                    count: *count,
                    last_observed_time: MicroTime(last.unwrap_or_else(Timestamp::now)),
                };
                let api = self.api(regarding);
                self.count(&api, name, &series, aggregator).await?;
            }
        }
        Ok(())
    }

    async fn count(
        &self,
        api: &Api<ApiEvent>,
        name: &str,
        series: &EventSeries,
        aggregator: &mut Aggregator,
    ) -> Result<(), KubeError> {
        let patch = Patch::Merge(json!({ "series": series }));
        let params = PatchParams::default();
        let counted = call("count an Event", TIMEOUT, api.patch(name, &params, &patch)).await;
        match counted {
            // The API server forgets events after an hour; the next repeat starts a new one.
            Err(error) if error.is_not_found() => aggregator.forget(name),
            other => {
                other?;
            }
        }
        Ok(())
    }

    fn api(&self, regarding: &ObjectReference) -> Api<ApiEvent> {
        Api::namespaced(self.client.clone(), namespace(regarding))
    }

    fn body(&self, event: &Event) -> ApiEvent {
        let now = Timestamp::now();
        let object = event.regarding.name.as_deref().unwrap_or("unknown");
        let origin = event.origin.as_ref();
        let name = match origin {
            Some(origin) => format!("{object}.{}", origin.id),
            None => format!("{object}.{:x}", now.as_nanosecond()),
        };
        // One is no series (API server validation).
        let series = origin.filter(|origin| origin.count > 1);
        ApiEvent {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace(&event.regarding).to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(origin.map_or(now, |origin| origin.first))),
            series: series.map(|origin| EventSeries {
                count: origin.count,
                last_observed_time: MicroTime(origin.last),
            }),
            reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(event.action.to_owned()),
            reason: Some(event.reason.clone()),
            regarding: Some(event.regarding.clone()),
            related: event.related.clone(),
            note: Some(event.note.clone()),
            type_: Some(event.kind.name().to_owned()),
            ..ApiEvent::default()
        }
    }
}

/// Whether `error` says that this very event is there already.
fn is_known(error: &KubeError, event: &Event) -> bool {
    error.is_conflict() && event.origin.is_some()
}

/// Events of cluster-scoped objects live in `default` (API server validation of `events.k8s.io/v1`).
fn namespace(regarding: &ObjectReference) -> &str {
    regarding.namespace.as_deref().unwrap_or("default")
}

fn retryable(error: &KubeError) -> bool {
    match error.code() {
        None => true,
        Some(code) => code == 429 || code >= 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;

    fn event(note: &str) -> Event {
        Event {
            regarding: ObjectReference {
                kind: Some("Pod".to_owned()),
                namespace: Some("ns".to_owned()),
                name: Some("p".to_owned()),
                uid: Some("u".to_owned()),
                ..ObjectReference::default()
            },
            related: None,
            reason: "Failed".to_owned(),
            action: "CreateContainerGroup",
            note: note.to_owned(),
            kind: EventType::Warning,
            origin: None,
        }
    }

    #[test]
    fn notes_are_cut_between_characters() {
        let mut note = "ü".repeat(600);
        truncate(&mut note, MAX_NOTE);
        assert!(note.len() <= MAX_NOTE && note.ends_with("ü..."));
    }

    #[tokio::test]
    async fn events_are_written_in_the_background_and_the_task_ends() {
        let (mock, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let (events, task) = Events::spawn(Client::new(mock, "default"), "pod-1");
        for _ in 0..5 {
            events.emit(event("no"));
        }
        drop(events);
        let (request, reply) = handle.next_request().await.expect("one create");
        assert_eq!(
            request.uri().path(),
            "/apis/events.k8s.io/v1/namespaces/ns/events"
        );
        let body = request.into_body().collect_bytes().await.expect("body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("json");
        assert_eq!(body["reportingInstance"], "pod-1");
        assert_eq!(body["note"], "no");
        reply.send_response(
            Response::builder()
                .status(201)
                .body(Body::from(body.to_string().into_bytes()))
                .unwrap(),
        );
        // The four repeats are written as one count at the end.
        let (request, reply) = handle.next_request().await.expect("one patch");
        assert_eq!(request.method(), "PATCH");
        let patch = request.into_body().collect_bytes().await.expect("body");
        let patch: serde_json::Value = serde_json::from_slice(&patch).expect("json");
        assert_eq!(patch["series"]["count"], 5);
        reply.send_response(Response::new(Body::from(body.to_string().into_bytes())));
        task.await.expect("the task ends");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_was_not_written_is_written_when_it_happens_again() {
        let (mock, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let (events, task) = Events::spawn(Client::new(mock, "default"), "pod-1");
        events.emit(event("no"));
        let refused = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
                             "message": "namespace is being terminated"});
        let (_, reply) = handle.next_request().await.expect("one create");
        let refused = Body::from(refused.to_string().into_bytes());
        reply.send_response(Response::builder().status(403).body(refused).unwrap());
        while events.dropped() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(dropped() >= 1);
        events.emit(event("no"));
        drop(events);
        let (request, reply) = handle.next_request().await.expect("another create");
        assert_eq!(request.method(), "POST");
        let body = request.into_body().collect_bytes().await.expect("body");
        reply.send_response(
            Response::builder()
                .status(201)
                .body(Body::from(body))
                .unwrap(),
        );
        task.await.expect("the task ends");
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (mock, _handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let (events, task) = Events::spawn(Client::new(mock, "default"), "pod-1");
        for i in 0..(QUEUE + 7) {
            events.emit(event(&format!("{i}")));
        }
        assert_eq!(events.dropped(), 7);
        task.abort();
    }

    #[tokio::test]
    async fn what_another_process_has_told_is_counted_on() {
        let (mock, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let (events, task) = Events::spawn(Client::new(mock, "default"), "pod-1");
        let mut told = event("no");
        told.origin = Some(Origin {
            id: "0123".to_owned(),
            first: "2026-01-01T00:00:00Z".parse().unwrap(),
            last: "2026-01-01T00:00:09Z".parse().unwrap(),
            count: 3,
        });
        events.emit(told.clone());
        events.emit(told);
        drop(events);
        let (request, reply) = handle.next_request().await.expect("one create");
        let body = request.into_body().collect_bytes().await.expect("body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("json");
        assert_eq!(body["metadata"]["name"], "p.0123");
        assert_eq!(body["eventTime"], "2026-01-01T00:00:00.000000Z");
        let series = json!({"count": 3, "lastObservedTime": "2026-01-01T00:00:09.000000Z"});
        assert_eq!(body["series"], series);
        let exists = json!({"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409,
                            "message": "events \"p.0123\" already exists"});
        let exists = Body::from(exists.to_string().into_bytes());
        reply.send_response(Response::builder().status(409).body(exists).unwrap());
        let (request, reply) = handle.next_request().await.expect("one patch");
        assert_eq!(
            (request.method().as_str(), request.uri().path()),
            (
                "PATCH",
                "/apis/events.k8s.io/v1/namespaces/ns/events/p.0123"
            )
        );
        let patch = request.into_body().collect_bytes().await.expect("body");
        let patch: serde_json::Value = serde_json::from_slice(&patch).expect("json");
        assert_eq!(patch["series"], series);
        reply.send_response(Response::new(Body::from(body.to_string().into_bytes())));
        task.await
            .expect("the task ends, and the repeat was no news");
    }
}
