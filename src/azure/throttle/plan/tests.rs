use proptest::prelude::*;

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn close(is: f64, should: f64) -> bool {
    (is - should).abs() < 0.01
}

#[test]
fn what_one_does_not_want_the_others_have() {
    for (rate, [statuses, logs, metrics], [s, l, f, most], why) in [
        (
            25.0,
            [66.7, 0.0, 0.0],
            [17.5, 0.0, 0.0, 5.0],
            "a thousand pods",
        ),
        (
            25.0,
            [66.7, 0.0, 18.2],
            [15.0, 0.0, 5.0, 5.0],
            "kubectl top",
        ),
        (
            25.0,
            [66.7, 20.0, 18.2],
            [9.0, 8.0, 3.0, 3.0],
            "all at once",
        ),
        (
            25.0,
            [66.7, 1.0, 0.0],
            [17.5, 1.0, 0.0, 4.75],
            "one follower",
        ),
        (
            25.0,
            [6.7, 0.0, 1.8],
            [17.5, 0.0, 1.8, 13.3],
            "a hundred pods",
        ),
        (
            10.0,
            [66.7, 20.0, 18.2],
            [3.6, 3.2, 1.2, 1.2],
            "the first minute",
        ),
        (10.0, [0.0, 0.0, 0.0], [7.0, 0.0, 0.0, 8.0], "nobody"),
    ] {
        let demand = Demand {
            statuses,
            logs,
            metrics,
        };
        let is = Shares::of(rate, demand);
        assert!(
            close(is.statuses, s)
                && close(is.logs, l)
                && close(is.metrics, f)
                && close(is.metrics_at_most, most),
            "{why}: {is:?}"
        );
    }
}

proptest! {
    #[test]
    fn the_plans_never_add_up_to_more_than_there_is_and_leave_a_reserve(
        rate in 0.0..200.0f64,
        statuses in -1.0..5000.0f64,
        logs in -1.0..5000.0f64,
        metrics in -1.0..5000.0f64,
    ) {
        let shares = Shares::of(rate, Demand { statuses, logs, metrics });
        let Shares { statuses: s, logs: l, metrics: f, metrics_at_most: most } = shares;
        prop_assert!(s >= 0.0 && l >= 0.0 && f >= 0.0 && f <= most, "{shares:?}");
        prop_assert!(s + l + f <= rate * (1.0 - RESERVE) + 1e-9, "{shares:?}");
        // Also while a scrape takes all that it may: who wants less than his share uses less.
        prop_assert!(s.min(statuses.max(0.0)) + l + most <= rate + 1e-9, "{shares:?}");
        // Nobody is starved by the others.
        prop_assert!(s >= statuses.min(rate * 0.36) - 1e-9, "{shares:?}");
        prop_assert!(l >= logs.min(rate * LOGS) - 1e-9, "{shares:?}");
        prop_assert!(most >= rate * 0.12 - 1e-9, "{shares:?}");
    }

    #[test]
    fn turns_come_no_faster_than_their_rate(
        steps in proptest::collection::vec((0u64..3_000, 0.0..20.0f64), 1..200),
    ) {
        let (mut turns, mut now, mut given) = (Turns::default(), Duration::from_secs(100), 0.0);
        let mut allowed = SAVED.min(SAVED_TIME * 20.0) + 1.0;
        for (pause, rate) in steps {
            let pause = Duration::from_millis(pause);
            now += pause;
            // As long as it waits it is not served.
            allowed += pause.as_secs_f64() * 20.0;
            if turns.book(now, rate).is_zero() {
                given += 1.0;
            }
            prop_assert!(given <= allowed, "{given} of {allowed}");
        }
    }
}

#[test]
fn turns_that_nobody_wanted_are_saved_for_a_scrape() {
    let mut turns = Turns::default();
    let at_once = |turns: &mut Turns, now, rate| {
        let mut count = 0;
        while turns.book(now, rate).is_zero() {
            count += 1;
        }
        turns.give_back(rate);
        count
    };
    assert_eq!(at_once(&mut turns, at(0), 2.0), 31, "of fifteen seconds");
    assert_eq!(turns.book(at(0), 2.0), Duration::from_millis(500));
    assert_eq!(turns.book(at(0), 2.0), at(1));
    turns.give_back(2.0);
    assert_eq!(turns.book(at(0), 2.0), at(1));
    assert_eq!(
        at_once(&mut turns, at(1000), 20.0),
        51,
        "but no more than fifty"
    );
}

#[test]
fn nodes_share_what_there_is_and_one_that_is_gone_counts_no_more() {
    let mut planner = Planner::default();
    let demand = PollDemand {
        active: 0.0,
        stable: 1750.0,
    };
    let mut plan = |reader, now| planner.statuses(reader, demand, (100.0, 0.0), now).stable;
    assert_eq!(plan((1, "a"), at(0)), at(25));
    assert_eq!(plan((2, "a"), at(100)), at(50));
    assert_eq!(plan((2, "a"), at(151)), at(25));
}

#[test]
fn figures_that_nobody_wants_any_more_are_not_planned_with() {
    let mut planner = Planner::default();
    let demand = PollDemand {
        active: 0.0,
        stable: 1750.0,
    };
    planner.metrics((1, "a"), 5.0, at(0));
    planner.metrics((1, "b"), 5.0, at(0));
    let interval = planner.statuses((1, "a"), demand, (100.0, 32.0), at(1));
    assert_eq!(interval.stable, Duration::from_secs_f64(1750.0 / 38.0));
    let interval = planner.statuses((1, "a"), demand, (100.0, 0.0), at(151));
    assert_eq!(interval.stable, at(25));
}
