use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Request, Response as HttpResponse};
use http_body_util::BodyExt as _;
use kube::client::Body as KubeBody;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::follower::GIVE_UP;
use super::*;
use crate::azure::monitor::Series;
use crate::azure::throttle::LogPollScheduler;
use crate::azure::{AzureError, ErrorClass};
use crate::kubelet::stream_slots::StreamSlots;
use crate::provider::exec::{Attached, Command, ExecError, Exit, Streams};

const T: &str = "2026-01-02T03:04:05Z";

/// Answers looks one after the other; the last answer stands for all that follow.
struct Script {
    answers: Mutex<VecDeque<Result<String, AzureError>>>,
    looks: AtomicUsize,
    turns: Arc<LogPollScheduler>,
}

#[async_trait]
impl Containers for Script {
    async fn logs(&self, _: &PodKey, container: &str, part: LogPart) -> Result<String, AzureError> {
        assert_eq!(container, "c");
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock();
        let next = answers.pop_front().unwrap();
        if answers.is_empty() {
            answers.push_back(next.clone());
        }
        if part.timestamps {
            return next;
        }
        next.map(|content| content.replace(&format!("{T} "), ""))
    }

    async fn address(&self, _: &PodKey) -> Result<Option<std::net::IpAddr>, AzureError> {
        Ok(None)
    }

    fn log_polls(&self) -> Arc<LogPollScheduler> {
        self.turns.clone()
    }

    fn plan_metrics(&self, _: f64) {}

    async fn usage(&self, _: &PodKey, _: i64, _: i64, _: bool) -> Result<Vec<Series>, AzureError> {
        Ok(Vec::new())
    }

    async fn exec(&self, _: &PodKey, _: &str, _: &Command, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }

    async fn attach(&self, _: &PodKey, _: &Attached<'_>, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }
}

fn error(class: ErrorClass, code: &str) -> AzureError {
    AzureError {
        class,
        status: None,
        code: code.to_owned(),
        message: "no".to_owned(),
        retry_after: None,
        request_id: None,
    }
}

/// A client of an API server that has the pod `p` of the node `n`, whose container is in a state that can be set.
fn api_server(state: Arc<Mutex<Value>>, restarts: Arc<AtomicUsize>) -> kube::Client {
    let service = tower::service_fn(move |_: Request<KubeBody>| {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "c", "image": "x", "imageID": "", "ready": true, "restartCount": restarts.load(Ordering::Relaxed), "state": *state.lock()}]},
        });
        let body = KubeBody::from(serde_json::to_vec(&pod).unwrap());
        async move { Ok::<_, Infallible>(HttpResponse::new(body)) }
    });
    kube::Client::new(service, "default")
}

struct Rig {
    logs: Logs,
    script: Arc<Script>,
    state: Arc<Mutex<Value>>,
    restarts: Arc<AtomicUsize>,
    slots: StreamSlots,
    cancel: CancellationToken,
}

impl Rig {
    fn new(answers: Vec<Result<String, AzureError>>) -> Self {
        Self::with(answers, 1, Arc::default())
    }

    /// With room for so many streams, and the turns of somebody else, too.
    fn with(
        answers: Vec<Result<String, AzureError>>,
        slots: usize,
        turns: Arc<LogPollScheduler>,
    ) -> Self {
        let state = Arc::new(Mutex::new(json!({"running": {}})));
        let script = Arc::new(Script {
            answers: Mutex::new(answers.into()),
            looks: AtomicUsize::new(0),
            turns,
        });
        let restarts = Arc::<AtomicUsize>::default();
        let pods = Pods::new(api_server(state.clone(), restarts.clone()), "n".to_owned());
        let cancel = CancellationToken::new();
        Self {
            logs: Logs::new(pods, script.clone(), Texts::default(), cancel.clone()),
            script,
            state,
            restarts,
            slots: StreamSlots::new(slots, slots),
            cancel,
        }
    }

    async fn ask(&self, query: &str) -> Result<Response, ApiError> {
        let target = Target {
            namespace: "ns".to_owned(),
            pod: "p".to_owned(),
            container: "c".to_owned(),
        };
        let options = options::parse(query, Timestamp::now()).unwrap();
        let slot = self.slots.take("ns", "p", None).unwrap();
        self.logs.answer(target, options, slot).await
    }

    async fn all(&self, query: &str) -> String {
        let body = self.ask(query).await.unwrap().into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn is_idle(&self) -> bool {
        self.slots.taken() == 0 && self.logs.followers() == 0
    }
}

// As the script's answers are.
#[allow(clippy::unnecessary_wraps)]
fn lines(texts: &[&str]) -> Result<String, AzureError> {
    let lines: Vec<String> = texts.iter().map(|text| format!("{T} {text}\n")).collect();
    Ok(lines.concat())
}

#[tokio::test(start_paused = true)]
async fn a_follower_writes_what_is_new_and_ends_with_the_run() {
    let rig = Rig::new(vec![
        lines(&["a"]),
        lines(&["a", "b"]),
        Err(error(ErrorClass::Throttled, "TooManyRequests")),
        Err(error(ErrorClass::Transitioning, "ContainerLogNotAvailable")),
        lines(&["a", "b"]),
        lines(&["a", "b", "c"]),
    ]);
    *rig.state.lock() = json!({"running": {}});
    let state = rig.state.clone();
    let ending = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        *state.lock() = json!({"terminated": {"exitCode": 0}});
    };
    let (all, ()) = tokio::join!(rig.all("follow=true"), ending);
    assert_eq!(all, "a\nb\nc\n");
    assert!(rig.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let rig = Rig::new(vec![lines(&["a"])]);
    for _ in 0..1000 {
        let mut body = rig
            .ask("follow=true")
            .await
            .unwrap()
            .into_body()
            .into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "a\n");
        assert!(!rig.is_idle());
        // It waits for its next look, or for nothing yet.
        let waiting = tokio::time::timeout(Duration::from_millis(1), body.next());
        assert!(waiting.await.is_err());
        drop(body);
        assert!(rig.is_idle());
    }
    let looks = rig.script.looks.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.script.looks.load(Ordering::Relaxed), looks);
}

#[tokio::test(start_paused = true)]
async fn a_follower_ends_with_the_node() {
    let rig = Rig::new(vec![lines(&["a"])]);
    let cancel = rig.cancel.clone();
    let ending = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        cancel.cancel();
    };
    let (all, ()) = tokio::join!(rig.all("follow=true"), ending);
    assert_eq!(all, "a\n");
    let looks = rig.script.looks.load(Ordering::Relaxed);
    assert!(
        (10..20).contains(&looks),
        "{looks} looks in 90 idle seconds"
    );
}

#[tokio::test(start_paused = true)]
async fn followers_of_two_nodes_share_one_budget() {
    let turns = Arc::<LogPollScheduler>::default();
    let one = Rig::with(vec![lines(&["a"])], 50, turns.clone());
    let two = Rig::with(vec![lines(&["a"])], 50, turns);
    let looks = || [&one, &two].map(|rig| rig.script.looks.load(Ordering::Relaxed));
    let mut followers = FuturesUnordered::new();
    for rig in [&one, &two] {
        for _ in 0..50 {
            followers.push(rig.all("follow=true"));
        }
    }
    let minute = tokio::time::sleep(Duration::from_secs(60));
    tokio::select! {
        Some(ended) = followers.next() => panic!("a follower has ended with {ended:?}"),
        () = minute => {}
    }
    // The first looks are not followers' yet.
    let [first, second] = looks().map(|looks| looks - 50);
    assert!(
        (450..=481).contains(&(first + second)),
        "{first} and {second} looks"
    );
    assert!(first.abs_diff(second) <= 50, "{first} and {second} looks");
}

#[tokio::test(start_paused = true)]
async fn an_azure_that_stays_away_is_told() {
    let rig = Rig::new(vec![
        lines(&["a"]),
        Err(error(ErrorClass::Unavailable, "ServerTimeout")),
    ]);
    let begun = Instant::now();
    let all = rig.all("follow=true").await;
    assert_eq!(
        all,
        "a\n[virtual-kubelet] the log cannot be followed any longer: ServerTimeout: no\n"
    );
    assert!(begun.elapsed() >= GIVE_UP && begun.elapsed() < GIVE_UP * 2);
    assert!(rig.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_gone_ends_the_stream() {
    let rig = Rig::new(vec![
        lines(&["a"]),
        Err(error(ErrorClass::NotFound, "ResourceNotFound")),
    ]);
    assert_eq!(rig.all("follow=true").await, "a\n");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_is_not_followed() {
    let rig = Rig::new(vec![lines(&["a", "b"])]);
    *rig.state.lock() = json!({"terminated": {"exitCode": 0}});
    let begun = Instant::now();
    assert_eq!(rig.all("follow=true&tailLines=1").await, "b\n");
    assert_eq!((begun.elapsed(), rig.is_idle()), (Duration::ZERO, true));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_frees_its_place() {
    let rig = Rig::new(vec![Err(error(ErrorClass::Unavailable, "ServerTimeout"))]);
    let refusal = rig.ask("").await.unwrap_err();
    assert_eq!(refusal.status.as_u16(), 502);
    assert!(rig.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_follower_ends_where_another_run_begins() {
    // The status is late in the first case: the log goes on, and so does the follower.
    for (then, expected) in [(&["a", "b"][..], "a\nb\n"), (&["x"], "a\n")] {
        let rig = Rig::new(vec![lines(&["a"]), lines(&["a"]), lines(then)]);
        let (restarts, state) = (rig.restarts.clone(), rig.state.clone());
        let ending = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            restarts.store(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(60)).await;
            *state.lock() = json!({"terminated": {"exitCode": 0}});
        };
        let (all, ()) = tokio::join!(rig.all("follow=true"), ending);
        assert_eq!(all, expected);
    }
}

/// Two megabytes of lines after the first one.
fn long() -> Result<String, AzureError> {
    let line = format!("{T} {}\n", "x".repeat(1023));
    lines(&["a"]).map(|first| first + &line.repeat(2 << 10))
}

#[tokio::test(start_paused = true)]
async fn what_a_follower_has_not_read_counts_until_it_reads_it() {
    let rig = Rig::new(vec![lines(&["a"]), long()]);
    let body = rig.ask("follow=true").await.unwrap().into_body();
    let mut body = body.into_data_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "a\n");
    let all = rig.logs.texts.free();
    let mut read = 0;
    while read < 2 << 20 {
        let chunk = body.next().await.unwrap().unwrap();
        assert!(chunk.len() <= 64 << 10, "{}", chunk.len());
        read += chunk.len();
        let kept = all - rig.logs.texts.free();
        let left = (2 << 20) - read;
        assert!(kept >= left / 2, "{left} bytes wait, {kept} count");
    }
    drop(body);
    assert_eq!(rig.logs.texts.free(), 96 << 20);
    assert!(rig.is_idle());
}

#[tokio::test(start_paused = true)]
async fn what_has_been_read_makes_room_for_others() {
    for query in ["", "timestamps=true", "follow=true"] {
        let rig = Rig::new(vec![long()]);
        let all = rig.logs.texts.free();
        let mut body = rig.ask(query).await.unwrap().into_body().into_data_stream();
        let kept = all - rig.logs.texts.free();
        assert!(kept >= 3 << 19, "{query}: {kept}");
        let mut read = 0;
        while read < 3 << 19 {
            read += body.next().await.unwrap().unwrap().len();
        }
        let kept = all - rig.logs.texts.free();
        assert!(kept <= 3 << 19, "{query}: {kept} after {read}");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_who_stand_still_keep_no_other_namespace_out() {
    let rig = Rig::with(vec![long()], 100, Arc::default());
    let mut still = Vec::new();
    let refusal = loop {
        match rig.ask("").await {
            Ok(answer) => still.push(answer),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal.status.as_u16(), 429);
    assert!(refusal.text.contains("namespace"), "{}", refusal.text);
    assert!(rig.logs.texts.free() >= 48 << 20, "for the others");
    still.clear();
    rig.ask("").await.unwrap();
}
