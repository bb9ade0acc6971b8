use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;

use super::*;

fn limiter() -> Arc<Limiter> {
    Limiters::new().get("sub", "sp/t/c")
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn refused(seconds: u64) -> Observed {
    Observed {
        throttled: true,
        retry_after: Some(Duration::from_secs(seconds)),
        ..Observed::default()
    }
}

#[test]
fn one_limiter_per_subscription_and_principal() {
    let limiters = Limiters::new();
    let one = limiters.get("SUB", "sp/t/c");
    assert!(Arc::ptr_eq(&one, &limiters.clone().get("sub", "SP/T/c")));
    assert!(!Arc::ptr_eq(&one, &limiters.get("sub", "sp/t/d")));
    assert!(!Arc::ptr_eq(&one, &limiters.get("sub2", "sp/t/c")));
    for i in 0..1000 {
        drop(limiters.get("sub", &format!("sp/t/{i}")));
    }
    assert!(
        limiters.shared.limiters.lock().len() <= IDLE_LIMITERS,
        "idle ones go"
    );
    assert!(
        Arc::ptr_eq(&one, &limiters.get("sub", "sp/t/c")),
        "used ones stay"
    );
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_class_go_in_the_order_they_came() {
    let limiter = limiter();
    let finished = parking_lot::Mutex::new(Vec::new());
    let started = Instant::now();
    join_all((0..150).map(|i| {
        let (limiter, finished) = (&limiter, &finished);
        async move {
            let permit = limiter.acquire(Class::Read, within(60)).await.unwrap();
            finished.lock().push(i);
            drop(permit);
        }
    }))
    .await;
    assert_eq!(*finished.lock(), (0..150).collect::<Vec<_>>());
    let took = started.elapsed().as_secs_f64();
    assert!(
        (4.9..5.2).contains(&took),
        "100 at once, 50 at ten a second: {took}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_cannot_have_a_turn_in_time_is_told_at_once() {
    let limiter = limiter();
    for _ in 0..90 {
        drop(limiter.acquire(Class::Create, within(1)).await.unwrap());
    }
    let started = Instant::now();
    let error = limiter.acquire(Class::Create, within(1)).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(error.class, ErrorClass::Throttled);
    assert!(!error.may_have_taken_effect());
    assert!(
        error
            .retry_after
            .is_some_and(|wait| wait > Duration::from_secs(1)),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiter_goes_as_soon_as_the_server_shows_a_larger_budget() {
    let limiter = limiter();
    let first = limiter.acquire(Class::Create, within(1)).await.unwrap();
    for _ in 0..89 {
        drop(limiter.acquire(Class::Create, within(1)).await.unwrap());
    }
    let started = Instant::now();
    let waiting = limiter.acquire(Class::Create, within(600));
    let observed = Observed {
        remaining_5m: Some(800),
        remaining_1h: Some(1700),
        ..Observed::default()
    };
    let feedback = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        first.observe(&observed);
    };
    let (turn, ()) = tokio::join!(waiting, feedback);
    assert!(turn.unwrap().waited());
    assert_eq!(started.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn one_429_of_20_seconds_holds_nobody_else_up() {
    let limiter = limiter();
    limiter
        .acquire(Class::Read, within(1))
        .await
        .unwrap()
        .observe(&refused(20));
    let started = Instant::now();
    for class in Class::ALL {
        drop(limiter.acquire(class, within(1)).await.unwrap());
    }
    assert_eq!(started.elapsed(), Duration::ZERO);

    limiter
        .acquire(Class::Read, within(1))
        .await
        .unwrap()
        .observe(&refused(20));
    drop(limiter.acquire(Class::Delete, within(1)).await.unwrap());
    assert!(
        limiter.acquire(Class::Read, within(10)).await.is_err(),
        "the second one pauses reads"
    );
    drop(limiter.acquire(Class::Read, within(30)).await.unwrap());
    assert_eq!(started.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_the_queue() {
    let limiter = limiter();
    for _ in 0..100 {
        drop(limiter.acquire(Class::Read, within(1)).await.unwrap());
    }
    let served = AtomicUsize::new(0);
    let impatient = tokio::time::timeout(
        Duration::from_millis(10),
        limiter.acquire(Class::Read, within(60)),
    );
    let patient = async {
        drop(limiter.acquire(Class::Read, within(60)).await.unwrap());
        served.fetch_add(1, Ordering::Relaxed);
    };
    let (gone, ()) = tokio::join!(impatient, patient);
    assert!(gone.is_err());
    assert_eq!(served.load(Ordering::Relaxed), 1);
}
