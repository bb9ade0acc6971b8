//! The prober over a fake backend, on paused time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Container;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::translate::{ContainerProbes, Means, Ports, ProbedContainer};

/// Answers of containers, and when each was asked.
struct Fake {
    answer: Mutex<ProbeAnswer>,
    takes: Duration,
    asked: Mutex<Vec<(String, ProbeKind, u64)>>,
    began: Instant,
    now: AtomicUsize,
    most: AtomicUsize,
    dies: AtomicBool,
}

#[async_trait]
impl Ask for Fake {
    async fn probe(&self, call: ProbeCall) -> ProbeAnswer {
        let at = self.began.elapsed().as_secs();
        let uid = call.key.uid.clone();
        self.asked.lock().push((uid, call.kind, at));
        assert!(
            !self.dies.swap(false, Ordering::SeqCst),
            "dies as it should"
        );
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.answer.lock().clone()
    }
}

fn rig(answer: ProbeAnswer, takes: u64) -> (Arc<Fake>, Prober<Fake>) {
    let fake = Arc::new(Fake {
        answer: Mutex::new(answer),
        takes: Duration::from_millis(takes),
        asked: Mutex::default(),
        began: Instant::now(),
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        dies: AtomicBool::new(false),
    });
    (Arc::clone(&fake), Prober::new(fake, ProbeCounts::default()))
}

fn key(uid: &str) -> PodKey {
    PodKey {
        namespace: "ns".into(),
        name: uid.into(),
        uid: uid.into(),
    }
}

/// What is to be probed of a pod with one container and these probes, which has just started.
fn target(probes: &Value) -> ProbeTarget {
    let mut container = json!({"name": "c"});
    container
        .as_object_mut()
        .unwrap()
        .extend(probes.as_object().unwrap().clone());
    let container: Container = serde_json::from_value(container).unwrap();
    let probes = ContainerProbes::of(&container).unwrap();
    let run = probes.run_by_operator(&Means {
        exec: true,
        network: Ports::All,
    });
    let container = ProbedContainer {
        name: "c".into(),
        id: "aci://1".into(),
        since: Timestamp::now(),
        probes,
        run,
    };
    ProbeTarget {
        ip: Some([10, 0, 0, 4].into()),
        containers: vec![container],
    }
}

fn tcp(period: u64) -> Value {
    json!({"tcpSocket": {"port": 80}, "periodSeconds": period, "failureThreshold": 2})
}

/// What is told within `seconds`.
async fn told(prober: &mut Prober<Fake>, seconds: u64) -> Vec<News> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut all = Vec::new();
    while let Ok(news) = tokio::time::timeout_at(until, prober.next()).await {
        all.push(news);
    }
    all
}

fn of(news: &News) -> String {
    match news {
        News::Of(_, ProbeNews::Container { probed, .. }) => {
            format!("started {} ready {}", probed.started, probed.ready)
        }
        News::Of(_, ProbeNews::Failed { kind, .. }) => format!("{kind:?} failed"),
        News::Of(_, ProbeNews::Route(route)) => format!("route {route:?}"),
        News::Event(event) => format!("{} {}", event.reason, event.message),
    }
}

fn all(news: &[News]) -> Vec<String> {
    news.iter().map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn each_probe_is_asked_at_its_period_and_only_changes_are_told() {
    let (fake, mut prober) = rig(ProbeAnswer::Success, 100);
    let all_three =
        json!({"startupProbe": tcp(3), "livenessProbe": tcp(20), "readinessProbe": tcp(5)});
    prober.set(&key("a"), Some(&target(&all_three)), None);
    let news = told(&mut prober, 21).await;
    let changes = ["started true ready false", "started true ready true"];
    assert_eq!(all(&news), changes);
    let at = |kind| {
        let asked = fake.asked.lock();
        let of_kind = asked.iter().filter(|(_, it, _)| *it == kind);
        of_kind.map(|(_, _, at)| *at).collect::<Vec<_>>()
    };
    assert_eq!(at(ProbeKind::Startup), [0]);
    assert_eq!(at(ProbeKind::Readiness), [0, 5, 10, 15, 20]);
    assert_eq!(at(ProbeKind::Liveness), [0, 20]);
    prober.set(&key("a"), None, None);
    assert_eq!(told(&mut prober, 100).await, []);
    assert_eq!(at(ProbeKind::Readiness).len(), 5, "no longer asked");
    assert!(prober.wheel.is_empty() && prober.pods.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_said_again_of_the_same_run_disturbs_no_timer_and_another_run_begins_anew() {
    let (fake, mut prober) = rig(ProbeAnswer::Success, 0);
    let first = target(&json!({"readinessProbe": tcp(10)}));
    prober.set(&key("a"), Some(&first), None);
    told(&mut prober, 4).await;
    prober.set(&key("a"), Some(&first), None);
    told(&mut prober, 4).await;
    assert_eq!(fake.asked.lock().len(), 1);
    let mut second = first.clone();
    second.containers[0].id = "aci://2".into();
    prober.set(&key("a"), Some(&second), None);
    let news = told(&mut prober, 4).await;
    assert_eq!(all(&news), ["started true ready true"]);
    assert_eq!(prober.wheel.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_in_a_kubelets_words_and_a_container_that_fails_is_to_end() {
    let failure = ProbeAnswer::Failure("HTTP probe failed with statuscode: 500".to_owned());
    let (_, mut prober) = rig(failure, 0);
    let liveness = json!({"livenessProbe": tcp(10)});
    prober.set(&key("a"), Some(&target(&liveness)), None);
    let unhealthy = "Unhealthy Liveness probe failed: HTTP probe failed with statuscode: 500";
    let news = told(&mut prober, 11).await;
    assert_eq!(all(&news), [unhealthy, unhealthy, "Liveness failed"]);
}

#[tokio::test(start_paused = true)]
async fn silence_from_the_beginning_is_no_failure_and_silence_later_is_one() {
    let silence = ProbeAnswer::Silence("i/o timeout".to_owned());
    let (fake, mut prober) = rig(silence.clone(), 0);
    prober.set(
        &key("a"),
        Some(&target(&json!({"readinessProbe": tcp(10)}))),
        None,
    );
    let news = told(&mut prober, 3).await;
    assert_eq!(all(&news), [r#"route Err("i/o timeout")"#], "soon");
    assert_eq!(told(&mut prober, 100).await, []);
    assert!(fake.asked.lock().len() < 15, "at its period afterwards");
    *fake.answer.lock() = ProbeAnswer::Success;
    let news = told(&mut prober, 20).await;
    assert_eq!(all(&news), ["route Ok(())", "started true ready true"]);
    *fake.answer.lock() = silence;
    let unhealthy = "Unhealthy Readiness probe failed: i/o timeout";
    let news = told(&mut prober, 20).await;
    assert_eq!(
        all(&news),
        [unhealthy, unhealthy, "started true ready false"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_could_not_be_run_changes_nothing() {
    let unknown = ProbeAnswer::Unknown("too many requests".to_owned());
    let (_, mut prober) = rig(unknown, 0);
    prober.set(
        &key("a"),
        Some(&target(&json!({"livenessProbe": tcp(10)}))),
        None,
    );
    let news = told(&mut prober, 25).await;
    assert_eq!(
        all(&news),
        vec!["Unhealthy Liveness probe errored: too many requests"; 3]
    );
}

#[tokio::test(start_paused = true)]
async fn a_bounded_number_is_under_way_and_the_others_wait_for_their_turn() {
    let (fake, mut prober) = rig(ProbeAnswer::Success, 1000);
    let target = target(&json!({"readinessProbe": tcp(1000)}));
    let pods = AT_ONCE * 2 + 1;
    for n in 0..pods {
        prober.set(&key(&n.to_string()), Some(&target), None);
    }
    // Another namespace does not wait for them.
    let other = PodKey {
        namespace: "other".into(),
        ..key("o")
    };
    prober.set(&other, Some(&target), None);
    let ours = |news: &News| matches!(news, News::Of(key, _) if *key == other);
    let first = told(&mut prober, 2).await;
    assert!(first.iter().any(ours));
    let later = told(&mut prober, 20).await;
    assert_eq!(first.len() + later.len(), pods + 1, "all have their turn");
    assert_eq!(fake.most.load(Ordering::SeqCst), OF_NAMESPACE + 1);
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_ready_already_do_not_all_come_at_once_after_a_restart() {
    let (fake, mut prober) = rig(ProbeAnswer::Success, 0);
    let mut target = target(&json!({"readinessProbe": tcp(100)}));
    target.containers[0].since = Timestamp::now() - Duration::from_secs(3600);
    let pod = json!({"metadata": {"name": "a", "namespace": "ns", "uid": "a"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "readinessProbe": tcp(100)}]},
        "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "containerID": "aci://1",
            "ready": true, "started": true, "restartCount": 0, "state": {"running": {}}}]}});
    let facts = crate::translate::facts(&serde_json::from_value(pod).unwrap()).unwrap();
    for n in 0..200 {
        prober.set(&key(&n.to_string()), Some(&target), Some(&facts));
    }
    assert_eq!(told(&mut prober, 100).await, [], "nothing has changed");
    let asked = fake.asked.lock();
    let early = asked.iter().filter(|(_, _, at)| *at < 50).count();
    assert!((40..160).contains(&early), "{early} of {}", asked.len());
    assert!(asked.len() >= 200);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_dies_is_asked_again() {
    let (fake, mut prober) = rig(ProbeAnswer::Success, 0);
    prober.set(
        &key("a"),
        Some(&target(&json!({"readinessProbe": tcp(10)}))),
        None,
    );
    fake.dies.store(true, Ordering::SeqCst);
    let news = all(&told(&mut prober, 11).await);
    assert_eq!(news.len(), 2, "{news:?}");
    assert!(news[0].contains("an internal error"));
    assert_eq!(news[1], "started true ready true");
}
