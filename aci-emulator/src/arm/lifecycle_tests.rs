//! The life cycle, played against a clock of its own.

use std::{net::Ipv4Addr, time::Duration};

use super::driver::Driver;
use super::lifecycle::{ContainerLife, Life, Outcome, Phase, Plan, Policy, Repair};
use crate::clock::{Time, plus};

fn start() -> Time {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn at(seconds: f64) -> Time {
    plus(start(), Duration::from_secs_f64(seconds))
}

fn container(name: &str, plan: Option<Plan>) -> ContainerLife {
    ContainerLife::new(name.to_owned(), "image".to_owned(), plan)
}

/// Ten seconds to start, one second of first back-off.
fn life(policy: Policy, plan: Option<Plan>) -> Life {
    Life {
        asked: start(),
        ready: at(10.0),
        outcome: Outcome::Starts,
        policy,
        backoff: Duration::from_secs(1),
        ip: Ipv4Addr::new(127, 64, 0, 1),
        repair: None,
        stopped: false,
        gone_at: None,
        containers: vec![container("c", plan)],
        inits: Vec::new(),
        forced_provisioning: None,
        forced_state: None,
        driver: Driver::Clock,
    }
}

// As the field it fills.
#[allow(clippy::unnecessary_wraps)]
fn exit(code: i32) -> Option<Plan> {
    Some(Plan {
        after: Duration::from_secs(2),
        code,
    })
}

fn states(life: &mut Life, seconds: f64) -> (String, String) {
    let now = at(seconds);
    life.advance(now);
    (
        life.provisioning_state(now).to_owned(),
        life.instance_state().to_owned(),
    )
}

fn both(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[test]
fn a_group_goes_from_pending_over_creating_to_running() {
    let mut life = life(Policy::Always, None);
    for (seconds, provisioning, state, ip) in [
        (0.0, "Pending", "Pending", false),
        (2.9, "Pending", "Pending", false),
        (3.0, "Creating", "Pending", false),
        (9.9, "Creating", "Pending", false),
        (10.0, "Succeeded", "Running", true),
        (9999.0, "Succeeded", "Running", true),
    ] {
        assert_eq!(
            states(&mut life, seconds),
            both(provisioning, state),
            "at {seconds}"
        );
        assert_eq!(life.has_ip(at(seconds)), ip, "at {seconds}");
        assert_eq!(
            life.transitioning(at(seconds)),
            seconds < 10.0,
            "at {seconds}"
        );
    }
    assert_eq!(life.scheduled_at(), Some(at(3.0)));
}

#[test]
fn restart_policies() {
    for (policy, code, state, restarts) in [
        (Policy::Never, 0, "Succeeded", 0),
        (Policy::Never, 2, "Failed", 0),
        (Policy::OnFailure, 0, "Succeeded", 0),
        (Policy::OnFailure, 2, "Running", 1),
        (Policy::Always, 0, "Running", 1),
        (Policy::Always, 2, "Running", 1),
    ] {
        let mut life = life(policy, exit(code));
        assert_eq!(states(&mut life, 11.0).1, "Running");
        // Ends at 12, back-off of 1 s where it is started again.
        assert_eq!(
            states(&mut life, 13.5),
            both("Succeeded", state),
            "{policy:?} {code}"
        );
        assert_eq!(life.containers[0].restarts, restarts, "{policy:?} {code}");
    }
}

#[test]
fn a_crash_loop_backs_off_twice_as_long_each_time() {
    let mut life = life(Policy::Always, exit(1));
    let (mut starts, mut now) = (Vec::new(), start());
    while starts.len() < 5 {
        now = life.next_change(now).unwrap();
        life.advance(now);
        if let Phase::Running { since } = life.containers[0].phase {
            starts.push(since);
        }
    }
    let runs: Vec<Time> = [10.0, 13.0, 17.0, 23.0, 33.0].into_iter().map(at).collect();
    assert_eq!(starts, runs, "2 s runs, then 1, 2, 4, 8 s pauses");
    life.advance(at(34.0 + 2.0));
    assert!(matches!(life.containers[0].phase, Phase::BackOff { .. }));
    assert_eq!(life.containers[0].previous.as_ref().unwrap().code, 1);
    assert_eq!(life.instance_state(), "Running");
}

#[test]
fn looking_late_is_the_same_as_looking_often() {
    let (mut often, mut late) = (life(Policy::Always, exit(1)), life(Policy::Always, exit(1)));
    for tenth in 0..5000 {
        often.advance(at(f64::from(tenth) / 10.0));
    }
    late.advance(at(499.9));
    assert_eq!(often.containers[0].restarts, late.containers[0].restarts);
    assert_eq!(often.containers[0].phase, late.containers[0].phase);
}

#[test]
fn lack_of_capacity_fails_late_and_may_start_all_the_same() {
    let mut failed = life(Policy::Always, None);
    failed.outcome = Outcome::NoCapacity { late_start: None };
    assert_eq!(states(&mut failed, 9.0).0, "Creating");
    assert_eq!(states(&mut failed, 10.0), both("Failed", "Pending"));
    assert_eq!(states(&mut failed, 99_999.0), both("Failed", "Pending"));
    assert!(!failed.has_ip(at(99_999.0)));

    let mut late = life(Policy::Always, None);
    late.outcome = Outcome::NoCapacity {
        late_start: Some(Duration::from_secs(30)),
    };
    assert_eq!(states(&mut late, 39.0), both("Failed", "Pending"));
    assert_eq!(states(&mut late, 40.0), both("Succeeded", "Running"));
}

#[test]
fn init_containers_run_in_order_before_the_rest() {
    let mut life = life(Policy::Never, None);
    life.inits = vec![container("one", None), container("two", None)];
    // The second half of the start: 5 to 7.5 and 7.5 to 10.
    life.advance(at(6.0));
    assert!(matches!(life.inits[0].phase, Phase::Running { since } if since == at(5.0)));
    assert_eq!(life.inits[1].phase, Phase::Unstarted);
    life.advance(at(8.0));
    assert!(
        matches!(&life.inits[0].phase, Phase::Ended(run) if run.code == 0 && run.finish == at(7.5))
    );
    assert!(matches!(life.inits[1].phase, Phase::Running { .. }));
    assert_eq!(states(&mut life, 10.0), both("Succeeded", "Running"));
}

#[test]
fn a_failing_init_container_fails_the_group_under_never_and_is_tried_again_else() {
    let mut never = life(Policy::Never, None);
    never.inits = vec![container("one", exit(3))];
    assert_eq!(states(&mut never, 60.0).1, "Failed");
    assert_eq!(never.containers[0].phase, Phase::Unstarted);

    let mut always = life(Policy::Always, None);
    always.inits = vec![container("one", exit(3))];
    assert_eq!(states(&mut always, 60.0).1, "Pending");
    assert!(always.inits[0].restarts > 1);
    assert_eq!(always.containers[0].phase, Phase::Unstarted);
}

#[test]
fn the_platform_restarts_even_under_never() {
    let mut life = life(Policy::Never, None);
    life.advance(at(11.0));
    life.platform_restart(at(11.0));
    assert_eq!(life.containers[0].restarts, 1);
    assert_eq!(life.containers[0].previous.as_ref().unwrap().code, 7147);
    assert_eq!(life.instance_state(), "Running");
}

#[test]
fn repair_gives_a_new_address_and_restarts() {
    let mut life = life(Policy::Always, None);
    life.advance(at(20.0));
    let ip = Ipv4Addr::new(127, 64, 0, 9);
    life.repair = Some(Repair {
        since: at(20.0),
        until: at(24.0),
        ip,
    });
    assert_eq!(states(&mut life, 21.0), both("Unhealthy", "Running"));
    assert_eq!(states(&mut life, 23.0), both("Repairing", "Running"));
    assert_eq!(states(&mut life, 24.0), both("Succeeded", "Running"));
    assert_eq!((life.ip, life.containers[0].restarts), (ip, 1));
}

#[test]
fn stop_and_start_again() {
    let mut life = life(Policy::Always, None);
    life.advance(at(11.0));
    life.stop();
    assert_eq!(states(&mut life, 12.0), both("Succeeded", "Stopped"));
    assert!(!life.has_ip(at(12.0)));
    life.run_again(at(20.0), Duration::from_secs(10));
    assert_eq!(states(&mut life, 20.0), both("Pending", "Pending"));
    assert_eq!(states(&mut life, 30.0), both("Succeeded", "Running"));
}

#[test]
fn no_delay_at_all() {
    let mut life = life(Policy::Always, None);
    life.ready = start();
    life.inits = vec![container("one", None)];
    assert_eq!(states(&mut life, 0.0), both("Succeeded", "Running"));
}
