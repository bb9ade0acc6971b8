use super::*;

fn budget() -> Budget {
    Budget::new(Settings::default())
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Takes as many calls as there are turns at `now`, leaving them under way.
fn drain(budget: &mut Budget, class: Class, now: Duration) -> usize {
    (0..2000)
        .take_while(|_| take(budget, class, now).is_ok())
        .count()
}

fn take(budget: &mut Budget, class: Class, now: Duration) -> Result<[Reservation; 2], Duration> {
    budget
        .take(class, here(class), now)
        .map_err(|(wait, _)| wait)
}

fn wait(budget: &mut Budget, class: Class, now: Duration) -> Duration {
    budget.wait(class, here(class), now).0
}

fn here(class: Class) -> QueuePosition {
    QueuePosition {
        delete: class == Class::Delete,
        ..QueuePosition::default()
    }
}

/// A call that is answered at once.
fn answered(budget: &mut Budget, class: Class, observed: &Observed, now: Duration) {
    let taken = take(budget, class, now).unwrap();
    let refused = observed.throttled.then(Duration::default);
    budget.finish(class, refused, now);
    budget.observe(class, taken, observed, now);
}

fn refused(seconds: u64) -> Observed {
    Observed {
        throttled: true,
        retry_after: Some(at(seconds)),
        ..Observed::default()
    }
}

#[test]
fn without_headers_the_defaults_hold() {
    for (class, at_once) in [
        (Class::Read, 100),
        (Class::Create, 90),
        (Class::Write, 200),
        (Class::Delete, 100),
    ] {
        assert_eq!(
            drain(&mut budget(), class, at(0)),
            at_once,
            "{}",
            class.name()
        );
    }
    let mut reads = budget();
    drain(&mut reads, Class::Read, at(0));
    assert_eq!(drain(&mut reads, Class::Read, at(1)), 10, "ten a second");
    assert_eq!(
        drain(&mut reads, Class::Read, at(1000)),
        100,
        "never more than the burst"
    );
}

#[test]
fn a_create_waits_for_the_longest_of_what_holds_it_up() {
    let mut budget = budget();
    for _ in 0..90 {
        answered(&mut budget, Class::Create, &Observed::default(), at(0));
    }
    let counter = Limit::Counter(100, at(300));
    let mut why = |place: QueuePosition, now| budget.wait(Class::Create, place, now);
    assert_eq!(why(QueuePosition::default(), at(0)), (at(30), counter));
    let tenth = QueuePosition {
        ahead: 10,
        ..QueuePosition::default()
    };
    assert_eq!(why(tenth, at(0)), (at(301), counter));
    // With three hundred made the hour counts.
    for now in [301, 602] {
        for _ in 0..90 {
            answered(&mut budget, Class::Create, &Observed::default(), at(now));
        }
    }
    let (wait, limit) = budget.wait(Class::Create, QueuePosition::default(), at(910));
    assert_eq!((wait, limit), (at(360), Limit::Counter(300, at(3600))));
}

#[test]
fn a_larger_budget_of_the_server_is_used_at_once() {
    let mut budget = budget();
    assert_eq!(drain(&mut budget, Class::Create, at(0)), 90);
    let seen = Observed {
        remaining: Some(198),
        remaining_5m: Some(899),
        remaining_1h: Some(1799),
        ..Observed::default()
    };
    answered(&mut budget, Class::Delete, &seen, at(0));
    assert_eq!(wait(&mut budget, Class::Create, at(0)), Duration::ZERO);
    assert!(
        drain(&mut budget, Class::Create, at(0)) >= 10,
        "a hundred pods at once"
    );
}

#[test]
fn a_smaller_budget_of_the_server_is_believed_and_still_probed() {
    let mut budget = budget();
    let seen = Observed {
        remaining_5m: Some(0),
        remaining_1h: Some(40),
        ..Observed::default()
    };
    answered(&mut budget, Class::Create, &seen, at(0));
    assert!(take(&mut budget, Class::Delete, at(29)).is_err());
    assert!(take(&mut budget, Class::Delete, at(30)).is_ok());
    assert!(
        take(&mut budget, Class::Delete, at(30)).is_err(),
        "one at a time"
    );
}

#[test]
fn missing_headers_are_no_knowledge() {
    let mut budget = budget();
    answered(&mut budget, Class::Create, &Observed::default(), at(0));
    assert_eq!(drain(&mut budget, Class::Create, at(0)), 89);
}

#[test]
fn reads_grow_to_arms_bucket_while_it_is_full_and_shrink_with_it() {
    let mut budget = budget();
    let seen = |remaining| Observed {
        remaining: Some(remaining),
        ..Observed::default()
    };
    assert!(take(&mut budget, Class::Read, at(0)).is_ok());
    budget.observe(Class::Read, [Reservation::default(); 2], &seen(249), at(0));
    budget.finish(Class::Read, None, at(0));
    assert_eq!(
        drain(&mut budget, Class::Read, at(0)),
        199,
        "four fifths of what is left"
    );
    assert_eq!(drain(&mut budget, Class::Read, at(2)), 50, "25 a second");
    budget.observe(Class::Read, [Reservation::default(); 2], &seen(20), at(2));
    drain(&mut budget, Class::Read, at(2));
    assert_eq!(
        drain(&mut budget, Class::Read, at(4)),
        20,
        "back to ten a second"
    );
}

#[test]
fn one_refusal_is_the_callers_alone() {
    let mut budget = budget();
    budget.observe(
        Class::Read,
        [Reservation::default(); 2],
        &refused(20),
        at(0),
    );
    for class in Class::ALL {
        assert_eq!(
            wait(&mut budget, class, at(0)),
            Duration::ZERO,
            "{}",
            class.name()
        );
    }
    budget.observe(
        Class::Read,
        [Reservation::default(); 2],
        &refused(20),
        at(6),
    );
    assert_eq!(
        wait(&mut budget, Class::Read, at(6)),
        Duration::ZERO,
        "six seconds apart are two single ones"
    );
}

#[test]
fn two_refusals_together_pause_their_class_and_no_other() {
    let mut budget = budget();
    budget.observe(
        Class::Create,
        [Reservation::default(); 2],
        &refused(20),
        at(0),
    );
    budget.observe(
        Class::Create,
        [Reservation::default(); 2],
        &refused(20),
        at(3),
    );
    assert_eq!(wait(&mut budget, Class::Create, at(3)), at(20));
    for class in [Class::Read, Class::Write, Class::Delete] {
        assert_eq!(
            wait(&mut budget, class, at(3)),
            Duration::ZERO,
            "{}",
            class.name()
        );
    }
    assert!(
        take(&mut budget, Class::Create, at(23)).is_ok(),
        "over when the server said so"
    );
}

#[test]
fn nothing_left_pauses_at_once() {
    let mut refusing = budget();
    let observed = Observed {
        remaining: Some(0),
        ..refused(17)
    };
    refusing.observe(Class::Read, [Reservation::default(); 2], &observed, at(0));
    assert_eq!(wait(&mut refusing, Class::Read, at(0)), at(17));

    let mut last = budget();
    last.observe(
        Class::Read,
        [Reservation::default(); 2],
        &Observed {
            remaining: Some(0),
            ..Observed::default()
        },
        at(0),
    );
    assert_eq!(
        wait(&mut last, Class::Read, at(0)),
        at(1),
        "an answered call is no refusal: a short pause"
    );
}

#[test]
fn a_wait_is_never_too_short_to_sleep() {
    let mut budget = budget();
    drain(&mut budget, Class::Read, at(0));
    let mut now = at(0);
    for _ in 0..50 {
        match take(&mut budget, Class::Read, now) {
            Ok(_) => {}
            Err(wait) => {
                assert!(wait >= Duration::from_millis(1), "{wait:?}");
                now += wait;
            }
        }
    }
    assert!(now >= at(2), "50 turns at ten a second: {now:?}");
}
