use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::translate::{ContainerProbes, Means, Ports};
use ProbeKind::{Liveness, Readiness, Startup};

/// A container with these of its probes, by TCP.
fn container(kinds: &[ProbeKind]) -> ProbedContainer {
    let mut given = json!({"name": "c"});
    for kind in kinds {
        let name = format!("{}Probe", kind.as_str().to_lowercase());
        given[name] = json!({"tcpSocket": {"port": 80}, "failureThreshold": 2, "periodSeconds": 4,
            "successThreshold": if *kind == Readiness { 2 } else { 1 }, "initialDelaySeconds": 7});
    }
    let container: Container = serde_json::from_value(given).unwrap();
    let probes = ContainerProbes::of(&container).unwrap();
    let run = probes.run_by_operator(&Means {
        exec: false,
        network: Ports::All,
    });
    ProbedContainer {
        name: "c".into(),
        id: "aci://1".into(),
        since: Timestamp::UNIX_EPOCH,
        probes,
        run,
    }
}

fn on_record(id: &str, started: bool, ready: bool) -> Probed {
    let id = id.into();
    Probed { id, started, ready }
}

fn state(watched: &Watched) -> (bool, bool) {
    let probed = watched.probed();
    (probed.started, probed.ready)
}

#[test]
fn results_count_when_they_came_often_enough_in_a_row() {
    let mut watched = Watched::new(container(&[Readiness]), None);
    assert_eq!(state(&watched), (true, false));
    for (success, verdict, ready) in [
        (true, Verdict::Nothing, false),
        (false, Verdict::Nothing, false),
        (true, Verdict::Nothing, false),
        (true, Verdict::Changed, true),
        (true, Verdict::Nothing, true),
        (false, Verdict::Nothing, true),
        (true, Verdict::Nothing, true),
        (false, Verdict::Nothing, true),
        (false, Verdict::Changed, false),
    ] {
        assert_eq!(watched.take(Readiness, success), verdict);
        assert_eq!(state(&watched), (true, ready));
    }
}

#[test]
fn nothing_else_is_asked_before_the_container_has_started() {
    let mut watched = Watched::new(container(&ProbeKind::ALL), None);
    let turns = |watched: &Watched| ProbeKind::ALL.map(|kind| watched.runs(kind));
    assert_eq!(turns(&watched), [true, false, false]);
    assert_eq!(watched.take(Startup, false), Verdict::Nothing);
    assert_eq!(watched.take(Startup, true), Verdict::Changed);
    assert_eq!(state(&watched), (true, false));
    assert_eq!(turns(&watched), [false, true, true]);
    // Without a readiness probe it is ready then.
    let mut watched = Watched::new(container(&[Startup]), None);
    assert_eq!(state(&watched), (false, false));
    assert_eq!(watched.take(Startup, true), Verdict::Changed);
    assert_eq!(state(&watched), (true, true));
    assert_eq!(turns(&watched), [false, false, false]);
}

#[test]
fn a_container_that_fails_is_to_end_and_is_told_again_while_it_stands() {
    for kind in [Startup, Liveness] {
        let mut watched = Watched::new(container(&[kind]), None);
        let before = state(&watched);
        for _ in 0..2 {
            assert_eq!(watched.take(kind, false), Verdict::Nothing, "{kind:?}");
            assert_eq!(watched.take(kind, false), Verdict::Failed, "{kind:?}");
        }
        assert_eq!(state(&watched), before);
        assert!(watched.runs(kind));
    }
}

#[test]
fn what_is_on_record_of_this_run_holds_until_a_probe_shows_something_else() {
    let all = || container(&ProbeKind::ALL);
    let known = on_record("aci://1", true, true);
    let mut watched = Watched::new(all(), Some(&known));
    assert_eq!(state(&watched), (true, true));
    assert!(!watched.runs(Startup));
    assert_eq!(watched.take(Readiness, false), Verdict::Nothing);
    assert_eq!(watched.take(Readiness, false), Verdict::Changed);
    assert_eq!(state(&watched), (true, false));
    let other = Watched::new(all(), Some(&on_record("aci://0", true, true)));
    assert_eq!(state(&other), (false, false));
}

#[test]
fn times_are_the_probes_own_and_commands_are_not_run_more_often_than_every_ten_seconds() {
    let seconds = Duration::from_secs;
    let watched = Watched::new(container(&ProbeKind::ALL), None);
    assert_eq!(watched.first(Startup, seconds(0)), (seconds(7), true));
    assert_eq!(watched.first(Startup, seconds(5)), (seconds(2), true));
    assert_eq!(watched.first(Readiness, seconds(500)), (seconds(0), true));
    // What is known to be well can wait for its turn.
    assert_eq!(watched.first(Liveness, seconds(500)), (seconds(0), false));
    let known = Watched::new(
        container(&[Readiness]),
        Some(&on_record("aci://1", true, true)),
    );
    assert_eq!(known.first(Readiness, seconds(500)), (seconds(0), false));
    assert_eq!(watched.period(Liveness), seconds(4));
    let exec =
        json!({"name": "c", "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}});
    let exec: Container = serde_json::from_value(exec).unwrap();
    let container = ProbedContainer {
        probes: ContainerProbes::of(&exec).unwrap(),
        ..container(&[Readiness])
    };
    assert_eq!(Watched::new(container, None).period(Readiness), seconds(10));
}
