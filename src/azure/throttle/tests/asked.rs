//! What users ask for again and again, and what pods wait meanwhile.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;

const BOTH: [Class; 2] = [Class::Read, Class::Write];

fn asked(class: Class, namespace: &str) -> PermitRequest<'static> {
    PermitRequest {
        asked_by: Some(asked_by(namespace)),
        ..request(class)
    }
}

/// So many of a namespace who ask without a pause, each ten seconds at most for a turn.
fn loops(
    limiter: &Arc<Limiter>,
    class: Class,
    namespace: &'static str,
    many: usize,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..many {
        let limiter = Arc::clone(limiter);
        tasks.spawn(async move {
            loop {
                if limiter
                    .acquire(asked(class, namespace), within(10))
                    .await
                    .is_err()
                {
                    sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    tasks
}

/// The longest wait of these calls, one every second.
async fn longest(
    limiter: &Arc<Limiter>,
    calls: impl Fn(u32) -> PermitRequest<'static>,
) -> Duration {
    let mut longest = Duration::ZERO;
    for n in 0..30 {
        let begin = Instant::now();
        drop(limiter.acquire(calls(n), within(10)).await.unwrap());
        longest = longest.max(begin.elapsed());
        sleep(Duration::from_secs(1)).await;
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_logs_or_sessions_delays_no_pod() {
    let short = Duration::from_millis(150);
    for class in BOTH {
        let limiter = limiter();
        let _loops = loops(&limiter, class, "loud", 200);
        sleep(Duration::from_secs(60)).await;
        // The first looks of a pod that starts, the signal to one that ends.
        let waited = longest(&limiter, |_| request(class)).await;
        assert!(waited <= short, "{class:?} waited {waited:?}");
    }
    let limiter = limiter();
    let _loops = loops(&limiter, Class::Write, "loud", 200);
    sleep(Duration::from_secs(60)).await;
    let names: Vec<&'static str> = (0..30).map(|n| &*format!("g-{n}").leak()).collect();
    let waited = longest(&limiter, |n| create(1, names[n as usize])).await;
    assert!(waited <= short, "a create waited {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn namespaces_take_turns_in_what_is_left_for_those_who_ask() {
    for class in BOTH {
        let limiter = limiter();
        let _loops = loops(&limiter, class, "loud", 200);
        sleep(Duration::from_secs(60)).await;
        let waited = longest(&limiter, |_| asked(class, "quiet")).await;
        assert!(
            waited <= Duration::from_secs(1),
            "{class:?} waited {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_now_and_then_does_not_wait() {
    for (class, many) in [(Class::Read, 100), (Class::Write, 60)] {
        let limiter = limiter();
        let begin = Instant::now();
        for _ in 0..many {
            drop(limiter.acquire(asked(class, "a"), within(1)).await.unwrap());
        }
        assert_eq!(begin.elapsed(), Duration::ZERO, "{class:?}");
        let refused = limiter.acquire(asked(class, "a"), Instant::now()).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.class, ErrorClass::Throttled);
        assert!(
            refused.message.contains("the share of kubectl "),
            "{}",
            refused.message
        );
    }
}
