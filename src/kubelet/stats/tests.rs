use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::azure::monitor::{Metric, Point, Series};
use crate::azure::throttle::LogPollScheduler;
use crate::pods::snapshot::{self, NodePods, RunningContainer};
use crate::provider::LogPart;
use crate::provider::exec::{Attached, Command, ExecError, Exit, Streams};

/// Azure Monitor, which takes a second for each answer.
#[derive(Default)]
struct Monitor {
    asked: AtomicUsize,
    no_turn: bool,
    planned: Mutex<Vec<f64>>,
}

#[async_trait]
impl Containers for Monitor {
    async fn logs(&self, _: &PodKey, _: &str, _: LogPart) -> Result<String, AzureError> {
        Ok(String::new())
    }

    async fn address(&self, _: &PodKey) -> Result<Option<std::net::IpAddr>, AzureError> {
        Ok(None)
    }

    fn log_polls(&self) -> Arc<LogPollScheduler> {
        Arc::default()
    }

    fn plan_metrics(&self, reads_per_second: f64) {
        self.planned.lock().push(reads_per_second);
    }

    async fn usage(&self, _: &PodKey, _: i64, _: i64, _: bool) -> Result<Vec<Series>, AzureError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if self.no_turn {
            return Err(AzureError {
                class: ErrorClass::Throttled,
                status: None,
                code: "BudgetUsedUp".into(),
                message: "later".into(),
                retry_after: None,
                request_id: None,
            });
        }
        Ok(vec![Series {
            metric: Metric::MemoryUsage,
            container: Some("c".into()),
            points: vec![Point {
                at: Timestamp::now().as_second() - 60,
                average: 7.0,
            }],
        }])
    }

    async fn exec(&self, _: &PodKey, _: &str, _: &Command, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }

    async fn attach(&self, _: &PodKey, _: &Attached<'_>, _: Streams) -> Result<Exit, ExecError> {
        Err(ExecError::Lost)
    }
}

fn pods(number: usize) -> Arc<NodePods> {
    let pod = |n: usize| {
        Arc::new(RunningPod {
            key: PodKey {
                namespace: "ns".into(),
                name: format!("p{n}"),
                uid: format!("u{n}"),
            },
            created: None,
            started: None,
            containers: [RunningContainer {
                name: "c".into(),
                image: "i".into(),
                init: false,
                since: Timestamp::UNIX_EPOCH,
            }]
            .into(),
            volumes: None,
        })
    };
    Arc::new(NodePods {
        running: (0..number).map(pod).collect(),
    })
}

/// Figures of a node with so many pods.
fn stats(number: usize, monitor: Monitor) -> (Arc<Stats>, Arc<Monitor>, snapshot::Sender) {
    let (sender, receiver) = snapshot::channel();
    sender.send_replace(pods(number));
    let monitor = Arc::new(monitor);
    let stats = Stats::new("n".into(), receiver, monitor.clone());
    (Arc::new(stats), monitor, sender)
}

/// How many pods of `snapshot` have figures.
fn known(snapshot: &Snapshot) -> usize {
    let pods = snapshot.pods.iter();
    pods.filter(|(_, usage)| !usage.containers.is_empty())
        .count()
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_another_waits_has_the_same_answer_at_the_same_time() {
    let (stats, monitor, _sender) = stats(100, Monitor::default());
    let begun = Instant::now();
    let first = async {
        let answer = stats.snapshot(false).await;
        (answer, begun.elapsed())
    };
    let second = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let answer = stats.snapshot(true).await;
        (answer, begun.elapsed())
    };
    let ((one, after), (other, later)) = tokio::join!(first, second);
    assert_eq!((after, later), (DEADLINE, DEADLINE));
    assert!(Arc::ptr_eq(&one, &other));
    assert!(known(&one) >= 48, "{}", known(&one));
    assert!(monitor.asked.load(Ordering::Relaxed) <= 64);
    // The next is another, and goes on with those that have waited longest.
    let next = stats.snapshot(false).await;
    assert!(!Arc::ptr_eq(&one, &next));
    assert!(known(&next) >= 96, "{}", known(&next));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gives_up_takes_nothing_from_the_other() {
    let (stats, _monitor, _sender) = stats(100, Monitor::default());
    let impatient = tokio::time::timeout(Duration::from_secs(1), stats.snapshot(false));
    let (gone, answer) = tokio::join!(impatient, stats.snapshot(false));
    assert!(gone.is_err());
    assert!(known(&answer) >= 48, "{}", known(&answer));
    // When all have gone, the next begins anew with what is known.
    let gone = tokio::time::timeout(Duration::from_secs(1), stats.snapshot(false)).await;
    assert!(gone.is_err());
    let begun = Instant::now();
    let answer = stats.snapshot(false).await;
    assert_eq!((known(&answer), begun.elapsed() <= DEADLINE), (100, true));
}

#[tokio::test(start_paused = true)]
async fn what_would_keep_the_figures_fresh_is_said_before_they_are_read() {
    let (stats, monitor, sender) = stats(110, Monitor::default());
    stats.snapshot(false).await;
    stats.snapshot(true).await;
    sender.send_replace(pods(0));
    assert!(stats.snapshot(false).await.pods.is_empty());
    assert_eq!(*monitor.planned.lock(), [2.0, 4.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_had_no_turn_was_not_asked() {
    let no_turn = Monitor {
        no_turn: true,
        ..Monitor::default()
    };
    let (stats, monitor, _sender) = stats(3, no_turn);
    stats.snapshot(false).await;
    stats.snapshot(false).await;
    assert_eq!(monitor.asked.load(Ordering::Relaxed), 6);
}
