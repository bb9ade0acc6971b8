mod asked;
mod together;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::super::error::ErrorClass;
use super::*;

fn limiter() -> Arc<Limiter> {
    Limiters::new().get("sub", "sp/t/c")
}

fn request(class: Class) -> PermitRequest<'static> {
    PermitRequest {
        class,
        tenant: 1,
        priority: CallPriority::Interactive,
        asked_by: None,
        group: "",
    }
}

fn create(tenant: u64, group: &str) -> PermitRequest<'_> {
    PermitRequest {
        class: Class::Create,
        tenant,
        priority: CallPriority::Interactive,
        asked_by: None,
        group,
    }
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
            let permit = limiter
                .acquire(request(Class::Read), within(60))
                .await
                .unwrap();
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
        drop(
            limiter
                .acquire(request(Class::Create), within(1))
                .await
                .unwrap(),
        );
    }
    let started = Instant::now();
    let error = limiter
        .acquire(request(Class::Create), within(1))
        .await
        .unwrap_err();
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
async fn who_waits_in_line_goes_when_the_server_shows_a_larger_budget() {
    let limiter = limiter();
    let first = limiter
        .acquire(create(1, "first"), within(1))
        .await
        .unwrap();
    for i in 0..89 {
        let name = i.to_string();
        drop(limiter.acquire(create(1, &name), within(1)).await.unwrap());
    }
    let refused = limiter
        .acquire(create(1, "g"), within(9))
        .await
        .unwrap_err();
    assert_eq!(refused.code, QUEUED);
    assert!(limiter.queue_position(create(1, "g")).is_some());
    first.observe(&Observed {
        remaining_5m: Some(800),
        remaining_1h: Some(1700),
        ..Observed::default()
    });
    assert_eq!(limiter.queue_position(create(1, "g")), None);
    drop(limiter.acquire(create(1, "g"), within(1)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_for_the_first_answers_before_it_is_told_its_place() {
    let limiter = limiter();
    let mut burst = Vec::new();
    for i in 0..90 {
        let name = i.to_string();
        burst.push(limiter.acquire(create(1, &name), within(1)).await.unwrap());
    }
    let started = Instant::now();
    let answer = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        burst.swap_remove(0).observe(&Observed {
            remaining_5m: Some(899),
            remaining_1h: Some(1799),
            ..Observed::default()
        });
    };
    let (turn, ()) = tokio::join!(limiter.acquire(create(1, "late"), within(10)), answer);
    assert!(turn.unwrap().waited() >= Duration::from_millis(200));
    assert!(started.elapsed() < Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn who_has_its_turn_keeps_it_while_it_fetches_what_it_needs() {
    let limiter = limiter();
    for i in 0..89 {
        let name = i.to_string();
        drop(limiter.acquire(create(1, &name), within(1)).await.unwrap());
    }
    limiter.line_up(create(1, "g"), within(1)).await.unwrap();
    assert_eq!(limiter.queue_position(create(1, "g")), None);
    let later = limiter.acquire(create(1, "later"), within(1)).await;
    assert_eq!(later.unwrap_err().code, QUEUED, "the last turn is taken");
    tokio::time::advance(Duration::from_secs(2)).await;
    let permit = limiter.acquire(create(1, "g"), within(1)).await.unwrap();
    assert_eq!(permit.waited(), Duration::ZERO, "it has not waited here");
    drop(permit);

    let next = limiter.line_up(create(1, "next"), within(1)).await;
    assert!(next.unwrap_err().message.contains("number 2 in line"));
    limiter.leave(create(1, "later"));
    let next = limiter.line_up(create(1, "next"), within(1)).await;
    assert!(next.unwrap_err().message.contains("number 1 in line"));
}

#[tokio::test]
async fn a_turn_that_is_there_has_not_been_waited_for() {
    let limiter = limiter();
    let request = create(1, "g");
    let permit = limiter.acquire(request, within(1)).await.unwrap();
    assert_eq!(permit.waited(), Duration::ZERO);
    drop(permit);
    limiter.line_up(request, within(1)).await.unwrap();
    let permit = limiter.acquire(request, within(1)).await.unwrap();
    assert_eq!(permit.waited(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_line_says_the_place_and_the_time_and_forgets_who_does_not_ask() {
    let limiter = limiter();
    for i in 0..90 {
        let name = i.to_string();
        drop(limiter.acquire(create(1, &name), within(1)).await.unwrap());
    }
    // Ten of connector 1 come before one of connector 2, which then waits for one turn only.
    for i in 0..10 {
        let name = format!("more-{i}");
        limiter
            .acquire(create(1, &name), within(1))
            .await
            .unwrap_err();
    }
    let other = limiter
        .acquire(create(2, "other"), within(1))
        .await
        .unwrap_err();
    assert!(
        other.message.starts_with(
            "Azure allows 100 creates and deletes in 5 minutes in this subscription; \
             this create is number 2 in line; next try about "
        ),
        "{}",
        other.message
    );
    // A delete goes before all of them, and at once while its share lasts.
    let delete = PermitRequest {
        class: Class::Delete,
        ..create(1, "gone")
    };
    drop(limiter.acquire(delete, within(1)).await.unwrap());
    tokio::time::advance(Duration::from_secs(25)).await;
    let last = limiter.queue_position(create(1, "more-9")).unwrap();
    assert!(
        last.message.contains("number 11 in line"),
        "{}",
        last.message
    );
    tokio::time::advance(Duration::from_secs(15)).await;
    let new = limiter
        .acquire(create(3, "new"), within(1))
        .await
        .unwrap_err();
    assert!(
        new.message.contains("number 2 in line"),
        "only one of the others still asks: {}",
        new.message
    );
    assert_eq!(
        limiter.queue_position(create(1, "more-9")),
        None,
        "after a tenth of the window the deletes' share is for creates too"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_starts_is_read_before_those_that_run_and_these_before_lists() {
    let limiter = limiter();
    for _ in 0..100 {
        drop(
            limiter
                .acquire(request(Class::Read), within(1))
                .await
                .unwrap(),
        );
    }
    let order = parking_lot::Mutex::new(Vec::new());
    let read = |priority, count: usize| {
        let (limiter, order) = (&limiter, &order);
        join_all((0..count).map(move |_| async move {
            let asked = PermitRequest {
                priority,
                ..request(Class::Read)
            };
            drop(limiter.acquire(asked, within(60)).await.unwrap());
            order.lock().push(priority);
        }))
    };
    tokio::join!(
        read(CallPriority::Background, 1),
        read(CallPriority::Status, 2),
        read(CallPriority::Interactive, 9)
    );
    let order = order.into_inner();
    let last_prompt = order
        .iter()
        .rposition(|u| *u == CallPriority::Interactive)
        .unwrap();
    let first_of = |priority| order.iter().position(|u| *u == priority).unwrap();
    assert!(first_of(CallPriority::Status) >= 4, "{order:?}");
    assert!(first_of(CallPriority::Background) >= 4, "{order:?}");
    assert_eq!(last_prompt, 11, "one in five is for the others: {order:?}");
}

#[tokio::test(start_paused = true)]
async fn one_429_of_20_seconds_holds_nobody_else_up() {
    let limiter = limiter();
    limiter
        .acquire(request(Class::Read), within(1))
        .await
        .unwrap()
        .observe(&refused(20));
    let started = Instant::now();
    for class in Class::ALL {
        drop(limiter.acquire(request(class), within(1)).await.unwrap());
    }
    assert_eq!(started.elapsed(), Duration::ZERO);

    limiter
        .acquire(request(Class::Read), within(1))
        .await
        .unwrap()
        .observe(&refused(20));
    drop(
        limiter
            .acquire(request(Class::Delete), within(1))
            .await
            .unwrap(),
    );
    assert!(
        limiter
            .acquire(request(Class::Read), within(10))
            .await
            .is_err(),
        "the second one pauses reads"
    );
    drop(
        limiter
            .acquire(request(Class::Read), within(30))
            .await
            .unwrap(),
    );
    assert_eq!(started.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_the_queue() {
    let limiter = limiter();
    for _ in 0..100 {
        drop(
            limiter
                .acquire(request(Class::Read), within(1))
                .await
                .unwrap(),
        );
    }
    let served = AtomicUsize::new(0);
    let impatient = tokio::time::timeout(
        Duration::from_millis(10),
        limiter.acquire(request(Class::Read), within(60)),
    );
    let patient = async {
        drop(
            limiter
                .acquire(request(Class::Read), within(60))
                .await
                .unwrap(),
        );
        served.fetch_add(1, Ordering::Relaxed);
    };
    let (gone, ()) = tokio::join!(impatient, patient);
    assert!(gone.is_err());
    assert_eq!(served.load(Ordering::Relaxed), 1);
}
