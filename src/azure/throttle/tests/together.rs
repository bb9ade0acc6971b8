//! All that reads at once: what a pod that starts or ends still waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

/// Running pods, all idle, on one node.
const PODS: u32 = 1000;
/// Followers of logs that have something new at every look.
const FOLLOWERS: usize = 20;
/// What an answer of ARM's takes.
const LATENCY: Duration = Duration::from_millis(100);
/// metrics-server's period, and how long one scrape may take.
const SCRAPE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(7));
/// How long it is watched.
const WATCHED: Duration = Duration::from_mins(10);

/// ARM's bucket of reads, as ARM keeps it.
struct Server {
    bucket: Mutex<(f64, Instant)>,
    refused: AtomicUsize,
}

impl Server {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            bucket: Mutex::new((250.0, Instant::now())),
            refused: AtomicUsize::new(0),
        })
    }

    /// One GET through the limiter; how long it waited for its turn, or `None` when it had none within ten seconds.
    async fn read(&self, limiter: &Arc<Limiter>, priority: CallPriority) -> Option<Duration> {
        let request = PermitRequest {
            class: Class::Read,
            tenant: 1,
            priority,
            asked_by: None,
            group: "",
        };
        let asked = Instant::now();
        let turn = limiter
            .acquire(request, asked + Duration::from_secs(10))
            .await;
        let permit = turn.ok()?;
        let waited = asked.elapsed();
        let remaining = {
            let mut bucket = self.bucket.lock();
            let passed = bucket.1.elapsed().as_secs_f64();
            let tokens = (bucket.0 + passed * 25.0).min(250.0) - 1.0;
            *bucket = (tokens.max(0.0), Instant::now());
            tokens
        };
        if remaining < 0.0 {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(LATENCY).await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        permit.observe(&Observed {
            throttled: remaining < 0.0,
            remaining: Some(remaining.max(0.0) as u32),
            ..Observed::default()
        });
        Some(waited)
    }
}

/// How often each kind was read.
#[derive(Default)]
struct Read {
    statuses: AtomicUsize,
    logs: AtomicUsize,
    metrics: AtomicUsize,
}

/// Polls of a thousand stable pods, one after the other, at the interval that the limiter gives.
async fn statuses(server: Arc<Server>, limiter: Arc<Limiter>, read: Arc<Read>) {
    let demand = PollDemand {
        active: 0.0,
        stable: f64::from(PODS),
    };
    let mut looks = JoinSet::new();
    loop {
        let interval = limiter.plan(1, "node", demand);
        let between = interval.stable / PODS;
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            tokio::time::sleep(between).await;
            while looks.try_join_next().is_some() {}
            let (server, limiter, read) = (server.clone(), limiter.clone(), read.clone());
            looks.spawn(async move {
                if server.read(&limiter, CallPriority::Status).await.is_some() {
                    read.statuses.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
}

async fn follower(server: Arc<Server>, limiter: Arc<Limiter>, read: Arc<Read>) {
    loop {
        limiter.log_polls().next_slot(Duration::from_secs(1)).await;
        if server
            .read(&limiter, CallPriority::Interactive)
            .await
            .is_some()
        {
            read.logs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// metrics-server: as many pods as can be had in the time of a scrape, eight at once.
async fn scrapes(server: Arc<Server>, limiter: Arc<Limiter>, read: Arc<Read>) {
    let mut tick = tokio::time::interval(SCRAPE.0);
    loop {
        tick.tick().await;
        // Each pod once in 55 s.
        limiter.plan_metrics(1, "node", f64::from(PODS) / 55.0);
        let pods = stream::iter(0..PODS).map(|_| async {
            if server.read(&limiter, CallPriority::Metrics).await.is_some() {
                read.metrics.fetch_add(1, Ordering::Relaxed);
            }
        });
        let all = pods.buffer_unordered(8).for_each(|()| async {});
        let _ = tokio::time::timeout(SCRAPE.1, all).await;
    }
}

/// The looks of a pod that starts or is being deleted; the longest that one of them waited for its turn.
async fn transition(server: &Server, limiter: &Arc<Limiter>) -> Duration {
    let mut longest = Duration::ZERO;
    for wait in [50, 100, 150, 250, 400, 650, 1000] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let waited = server.read(limiter, CallPriority::Interactive).await;
        longest = longest.max(waited.unwrap_or(Duration::MAX));
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_starts_or_ends_is_read_at_once_beside_a_thousand_pods_logs_and_kubectl_top() {
    let limiter = Limiters::new().get("sub", "sp");
    let (server, read) = (Server::new(), Arc::new(Read::default()));
    let mut tasks = JoinSet::new();
    let all = || (server.clone(), limiter.clone(), read.clone());
    let (s, l, r) = all();
    tasks.spawn(statuses(s, l, r));
    for _ in 0..FOLLOWERS {
        let (s, l, r) = all();
        tasks.spawn(follower(s, l, r));
    }
    let (s, l, r) = all();
    tasks.spawn(scrapes(s, l, r));

    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while begun.elapsed() < WATCHED {
        // A create and a delete each few seconds.
        let (create, delete) =
            tokio::join!(transition(&server, &limiter), transition(&server, &limiter));
        longest = longest.max(create).max(delete);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let per_second = |count: &AtomicUsize| {
        let count = u32::try_from(count.load(Ordering::Relaxed)).unwrap();
        f64::from(count) / begun.elapsed().as_secs_f64()
    };
    let (statuses, logs, metrics) = (
        per_second(&read.statuses),
        per_second(&read.logs),
        per_second(&read.metrics),
    );
    let refused = server.refused.load(Ordering::Relaxed);
    let told = format!(
        "longest wait {longest:?}; reads a second: statuses {statuses:.1}, logs {logs:.1}, metrics {metrics:.1}; {refused} refused"
    );
    println!("{told}");
    assert_eq!(refused, 0, "{told}");
    assert!(longest <= Duration::from_millis(100), "{told}");
    assert!(statuses + logs + metrics <= 25.0 * 0.8 + 0.5, "{told}");
    for (is, share) in [(logs, 8.0), (statuses, 9.0), (metrics, 3.0)] {
        assert!((share * 0.9..share * 1.05).contains(&is), "{told}");
    }
}
