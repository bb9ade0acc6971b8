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
        .take_while(|_| budget.take(class, now).is_ok())
        .count()
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
fn deletes_have_a_share_that_creates_cannot_take() {
    let mut budget = budget();
    assert_eq!(drain(&mut budget, Class::Create, at(0)), 90);
    assert_eq!(drain(&mut budget, Class::Delete, at(0)), 10);
    assert!(
        budget.wait(Class::Create, at(0)) > at(30),
        "the reserve has to fill first"
    );
    assert!(
        budget.wait(Class::Delete, at(0)) <= at(4),
        "a delete only waits for one"
    );
}

#[test]
fn the_hour_counts_too() {
    let mut budget = budget();
    let hour: usize = (0..12)
        .map(|i| drain(&mut budget, Class::Create, at(i * 300)))
        .sum();
    assert!(
        (300..=600).contains(&hour),
        "full counter plus what an hour refills: {hour}"
    );
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
    budget.observe(Class::Create, &seen, at(0));
    assert_eq!(budget.wait(Class::Create, at(0)), Duration::ZERO);
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
    budget.observe(Class::Create, &seen, at(0));
    assert!(budget.take(Class::Delete, at(0)).is_err());
    let wait = budget.wait(Class::Delete, at(0));
    assert!(wait > Duration::ZERO && wait <= at(4), "{wait:?}");
    assert!(budget.take(Class::Delete, at(4)).is_ok());
}

#[test]
fn missing_headers_are_no_knowledge() {
    let mut budget = budget();
    budget.observe(Class::Create, &Observed::default(), at(0));
    assert_eq!(drain(&mut budget, Class::Create, at(0)), 90);
}

#[test]
fn reads_grow_to_arms_bucket_while_it_is_full_and_shrink_with_it() {
    let mut budget = budget();
    let seen = |remaining| Observed {
        remaining: Some(remaining),
        ..Observed::default()
    };
    assert!(budget.take(Class::Read, at(0)).is_ok());
    budget.observe(Class::Read, &seen(249), at(0));
    budget.finish(Class::Read);
    assert_eq!(
        drain(&mut budget, Class::Read, at(0)),
        199,
        "four fifths of what is left"
    );
    assert_eq!(drain(&mut budget, Class::Read, at(2)), 50, "25 a second");
    budget.observe(Class::Read, &seen(20), at(2));
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
    budget.observe(Class::Read, &refused(20), at(0));
    for class in Class::ALL {
        assert_eq!(
            budget.wait(class, at(0)),
            Duration::ZERO,
            "{}",
            class.name()
        );
    }
    budget.observe(Class::Read, &refused(20), at(6));
    assert_eq!(
        budget.wait(Class::Read, at(6)),
        Duration::ZERO,
        "six seconds apart are two single ones"
    );
}

#[test]
fn two_refusals_together_pause_their_class_and_no_other() {
    let mut budget = budget();
    budget.observe(Class::Create, &refused(20), at(0));
    budget.observe(Class::Create, &refused(20), at(3));
    assert_eq!(budget.wait(Class::Create, at(3)), at(20));
    for class in [Class::Read, Class::Write, Class::Delete] {
        assert_eq!(
            budget.wait(class, at(3)),
            Duration::ZERO,
            "{}",
            class.name()
        );
    }
    assert!(
        budget.take(Class::Create, at(23)).is_ok(),
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
    refusing.observe(Class::Read, &observed, at(0));
    assert_eq!(refusing.wait(Class::Read, at(0)), at(17));

    let mut last = budget();
    last.observe(
        Class::Read,
        &Observed {
            remaining: Some(0),
            ..Observed::default()
        },
        at(0),
    );
    assert_eq!(
        last.wait(Class::Read, at(0)),
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
        match budget.take(Class::Read, now) {
            Ok(()) => {}
            Err(wait) => {
                assert!(wait >= Duration::from_millis(1), "{wait:?}");
                now += wait;
            }
        }
    }
    assert!(now >= at(2), "50 turns at ten a second: {now:?}");
}
