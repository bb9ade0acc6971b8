//! What the runs of a container make of its instance view. Pure.

use std::time::Duration;

use crate::{
    arm::lifecycle::{ContainerLife, Phase, Policy},
    clock::Time,
    logs::Log,
};

/// How a run has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) code: i32,
    pub(super) out_of_memory: bool,
    /// Why the program could not be started at all.
    pub(super) failure: Option<String>,
}

/// What a runtime's callers say of a program that could not be started.
pub(super) const NOT_STARTED: i32 = 128;

/// The longest message of an event.
const MESSAGE: usize = 1024;

/// A run is about to begin: the log of the run before is not available any more.
pub(super) fn begins(life: &mut ContainerLife, at: Time) {
    life.log = Log::default();
    life.real.note("Created", "Created container", at);
}

/// The program runs.
pub(super) fn runs(life: &mut ContainerLife, id: &str, at: Time) {
    if matches!(life.phase, Phase::BackOff { .. }) {
        life.restarts = life.restarts.saturating_add(1);
    }
    life.phase = Phase::Running { since: at };
    life.started = true;
    life.real.id = Some(id.to_owned());
    life.real.note("Started", "Started container", at);
}

/// The program has ended, or was never started: when the container is started again, if it is.
pub(super) fn ends(
    life: &mut ContainerLife,
    end: &End,
    policy: Policy,
    backoff: Duration,
    at: Time,
) -> Option<Time> {
    if let Some(failure) = &end.failure {
        let message: String = failure.chars().take(MESSAGE).collect();
        life.real.note("Failed", message, at);
        if !matches!(life.phase, Phase::Running { .. }) {
            if matches!(life.phase, Phase::BackOff { .. }) {
                life.restarts = life.restarts.saturating_add(1);
            }
            life.phase = Phase::Running { since: at };
        }
    }
    life.real.id = None;
    life.end(at, end.code, policy, backoff);
    match &mut life.phase {
        Phase::Ended(run) => run.out_of_memory = end.out_of_memory,
        _ => {
            if let Some(run) = &mut life.previous {
                run.out_of_memory = end.out_of_memory;
            }
        }
    }
    match life.phase {
        Phase::BackOff { until } => {
            life.real
                .note("BackOff", "Back-off restarting failed container", at);
            Some(until)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::plus;

    fn at(seconds: u64) -> Time {
        plus(
            "2026-01-01T00:00:00Z".parse().unwrap(),
            Duration::from_secs(seconds),
        )
    }

    fn end(code: i32) -> End {
        End {
            code,
            out_of_memory: code == 137,
            failure: None,
        }
    }

    fn container() -> ContainerLife {
        ContainerLife::new("c".to_owned(), "i".to_owned(), None)
    }

    #[test]
    fn ends_and_policies() {
        let backoff = Duration::from_secs(10);
        for (policy, code, again) in [
            (Policy::Always, 0, true),
            (Policy::Always, 3, true),
            (Policy::OnFailure, 0, false),
            (Policy::OnFailure, 137, true),
            (Policy::Never, 0, false),
            (Policy::Never, 137, false),
        ] {
            let mut life = container();
            begins(&mut life, at(0));
            runs(&mut life, "id", at(1));
            assert_eq!(life.phase, Phase::Running { since: at(1) });
            let next = ends(&mut life, &end(code), policy, backoff, at(5));
            assert_eq!(next.is_some(), again, "{policy:?} {code}");
            let run = match &life.phase {
                Phase::Ended(run) => run.clone(),
                _ => life.previous.clone().unwrap(),
            };
            assert_eq!(
                (run.start, run.finish, run.code, run.out_of_memory),
                (at(1), at(5), code, code == 137)
            );
            assert_eq!(life.real.id, None);
        }
    }

    #[test]
    fn each_restart_waits_longer() {
        let mut life = container();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            begins(&mut life, now);
            runs(&mut life, "id", now);
            let next = ends(
                &mut life,
                &end(1),
                Policy::Always,
                Duration::from_secs(10),
                now,
            )
            .unwrap();
            pauses.push((next - now).num_seconds());
            now = next;
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(life.restarts, 6);
        let started = life.real.notes.iter().find(|note| note.name == "Started");
        assert_eq!(started.map(|note| note.count), Some(7));
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        let mut life = container();
        begins(&mut life, at(0));
        let failed = End {
            failure: Some("no such file".to_owned()),
            ..end(NOT_STARTED)
        };
        assert_eq!(
            ends(&mut life, &failed, Policy::Never, Duration::ZERO, at(1)),
            None
        );
        assert!(matches!(&life.phase, Phase::Ended(run) if run.code == 128));
        assert!(
            life.real
                .notes
                .iter()
                .any(|note| note.name == "Failed" && note.message == "no such file")
        );
    }
}
