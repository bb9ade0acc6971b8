//! Pods whose create or delete waits for Azure's limit.

use super::*;

const MESSAGE: &str = "number 7 in line";

fn in_line(seconds: u64) -> Failure {
    Failure {
        kind: FailureKind::Queued,
        reason: "WaitingForAzureLimit",
        message: format!("{MESSAGE}, {seconds} s"),
        retry_after: Some(Duration::from_secs(seconds)),
        faults: None,
    }
}

fn not_yet(uid: &str, seconds: u64) -> Input {
    Input::Created(key(uid), Err(in_line(seconds)))
}

/// When the only operation is due.
fn due(effects: &[Effect]) -> Duration {
    let mut due = effects.iter().filter_map(|effect| match effect {
        Effect::Schedule { after, .. } => Some(*after),
        _ => None,
    });
    let only = due.next().unwrap();
    assert_eq!(due.next(), None);
    only
}

fn said(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|effect| match effect {
        Effect::WriteStatus { status, .. } => {
            let container = status.container_statuses.as_ref()?.first()?;
            container.state.as_ref()?.waiting.as_ref()?.message.clone()
        }
        _ => None,
    })
}

#[test]
fn a_pod_in_line_says_so_once_a_minute_and_asks_every_ten_seconds() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(not_yet("a", 290));
    assert_eq!(said(&effects).as_deref(), Some("number 7 in line, 290 s"));
    assert_eq!(events(&effects), ["WaitingForAzureLimit"]);
    assert_eq!(only_operation(&effects), create(false), "nothing was sent");
    assert_eq!(due(&effects), Duration::from_secs(10));
    let mut writes = 0;
    for left in (1..29).rev() {
        let effects = world.after(10).step(not_yet("a", left * 10));
        writes += usize::from(said(&effects).is_some());
        assert!(events(&effects).is_empty(), "told once");
    }
    assert!((3..=4).contains(&writes), "{writes} writes in 280 s");
    // Not spread: it is this pod's turn then.
    assert_eq!(due(&world.step(not_yet("a", 4))), Duration::from_secs(4));
    assert_eq!(phase(&world.step(ensured("a"))), Some("Pending"));
}

#[test]
fn a_short_wait_is_not_worth_a_status() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    let effects = world.step(not_yet("a", 3));
    assert_eq!(
        (said(&effects), due(&effects)),
        (None, Duration::from_secs(3))
    );
}

#[test]
fn a_pod_deleted_in_line_costs_no_call() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(not_yet("a", 290));
    let effects = world.step(Input::PodApplied(deleting("a")));
    assert_eq!(only_operation(&effects), Operation::DeletePod);
    // A create that is asked for just then changes nothing.
    world.step(Input::PodApplied(pod("b")));
    world.step(not_yet("b", 290));
    world.begin("b");
    let effects = world.step(Input::PodApplied(deleting("b")));
    assert!(operations(&effects).is_empty(), "{effects:?}");
    let effects = world.step(not_yet("b", 280));
    assert_eq!(only_operation(&effects), Operation::DeletePod);
}

#[test]
fn a_create_that_was_sent_meanwhile_is_deleted() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(not_yet("a", 290));
    world.begin("a");
    world.step(Input::PodApplied(deleting("a")));
    let effects = world.step(ensured("a"));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
}

#[test]
fn a_group_whose_delete_waits_for_long_is_stopped_meanwhile() {
    let mut world = World::synced();
    world.step(Input::PodApplied(pod("a")));
    world.step(ensured("a"));
    world.step(running("a"));
    world.step(Input::PodApplied(deleting("a")));
    let waits = |seconds| Input::Deleted(key("a"), Err(in_line(seconds)));
    let effects = world.step(waits(5));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(waits(200));
    assert_eq!(only_operation(&effects), Operation::StopGroup);
    assert_eq!(events(&effects), ["WaitingForAzureLimit"]);
    let effects = world.step(Input::Stopped(key("a"), Ok(())));
    assert_eq!(only_operation(&effects), Operation::DeleteGroup);
    let effects = world.step(waits(190));
    assert_eq!(
        only_operation(&effects),
        Operation::DeleteGroup,
        "stopped once"
    );
    assert_eq!(due(&effects), Duration::from_secs(10));
}

#[test]
fn a_thousand_running_pods_wish_for_looks_and_follow_the_pace() {
    let mut world = World::synced();
    for n in 0..10 {
        let uid = format!("p{n}");
        world.step(Input::PodApplied(pod(&uid)));
        world.step(ensured(&uid));
        world.step(running(&uid));
    }
    let now = |seconds: u64| Now {
        wall: Timestamp::from_second(START).unwrap(),
        mono: Duration::from_secs(seconds),
    };
    assert!((world.engine.demand(now(0)).active - 10.0).abs() < 0.01);
    let idle = world.engine.demand(now(600));
    assert!((idle.active, idle.stable) == (0.0, 10.0), "{idle:?}");
    world.engine.set_poll_interval(PollInterval {
        stretch: 1.0,
        stable: Duration::from_secs(60),
    });
    let after = due(&world.after(600).step(running("p1")));
    assert!((54..=66).contains(&after.as_secs()), "{after:?}");
}
