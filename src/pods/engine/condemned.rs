//! Containers of a pod that goes on that are to end, because they failed a probe or their `postStart` hook did. PURE.
//!
//! As a kubelet does it: SIGTERM, the grace period, SIGKILL, and the restart policy starts them again. ACI's exec cannot kill process 1
//! of a container: where that is the shim it kills the program, and else one that ignores the signal is restarted with its group, if
//! it has that for itself.

use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use super::next::{MARGIN, Next, at, poll};
use super::record::{PodRecord, Record};
use super::stage::Stage;
use super::{Effect, Engine, Now, Operation, cadence};
use crate::pods::queue::Priority;
use crate::provider::{Failure, Unreached};
use crate::translate::{PodKey, RestartPolicy, container_statuses};

/// A group that was restarted has this long to show it.
const RESTARTS_WITHIN: Duration = Duration::from_secs(300);
/// A container whose program was killed has this long to show it.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// One run of a container that is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condemned {
    name: Box<str>,
    id: Box<str>,
    grace: Duration,
    polls: u32,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// SIGTERM is to be sent.
    Signal,
    /// It has until this time to end by itself.
    Wait(Duration),
    /// Its program is to be killed; `heard` when it got the signal before.
    Kill { heard: bool },
    /// It was killed, and should show it by this time.
    Killed(Duration),
    /// The group is to be restarted.
    Restart,
    /// The group was restarted, and should show it by this time.
    Restarted(Duration),
    /// Nothing more can be done.
    Over,
}

impl Condemned {
    /// Nothing more can be done: tells the pod's owner.
    fn fail(&mut self, why: &str, pod: Option<&PodRecord>, effects: &mut Vec<Effect>) {
        self.step = Step::Over;
        let message = format!("Container {} could not be ended: {why}", self.name);
        effects.extend(pod.map(|pod| pod.event(true, "FailedKillPod", message)));
    }
}

impl Engine {
    /// A restart of a group ended.
    pub(super) fn restarted(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<(), Failure>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        let mut restarted = record.condemned.iter_mut();
        let condemned = restarted.find(|it| it.step == Step::Restart && !late);
        let Some(condemned) = condemned else {
            return;
        };
        match result {
            Ok(()) => {
                condemned.step = Step::Restarted(now.mono + RESTARTS_WITHIN);
                record.poll_soon();
            }
            Err(failure) => record.end_later(now, &failure, effects),
        }
    }
}

impl Engine {
    /// The programs of containers were killed, but those of `unreached`.
    pub(super) fn killed(
        &mut self,
        now: Now,
        key: &PodKey,
        unreached: &[Unreached],
        effects: &mut Vec<Effect>,
    ) {
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        if late {
            return;
        }
        let more = record.restarts_more();
        for condemned in &mut record.condemned {
            let Step::Kill { heard } = condemned.step else {
                continue;
            };
            let is_killed = unreached.iter().all(|it| *it.container != *condemned.name);
            match more {
                _ if is_killed => condemned.step = Step::Killed(now.mono + ENDS_WITHIN),
                None => condemned.step = Step::Restart,
                Some(more) => {
                    let signal = if heard {
                        "it has ignored SIGTERM"
                    } else {
                        "it takes no signal"
                    };
                    condemned.fail(
                        &format!("{signal}, and {more}"),
                        record.pod.as_ref(),
                        effects,
                    );
                }
            }
        }
        record.poll_soon();
    }
}

impl Record {
    /// Whether its containers are to go on.
    pub(super) fn lives(&self) -> bool {
        matches!(self.stage, Stage::Running { .. }) && !self.is_deleting()
    }

    /// The run `id` of a container is to end, and its pod's owner is told `why`. Whoever says so again is not heard.
    pub(super) fn condemn(
        &mut self,
        name: Box<str>,
        id: Box<str>,
        why: &str,
        grace: Option<Duration>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.lives() || self.condemned.iter().any(|it| it.name == name) {
            return;
        }
        let Some(pod) = &self.pod else { return };
        effects.push(pod.event(false, "Killing", why.to_owned()));
        self.condemned.push(Condemned {
            name,
            id,
            grace: grace.unwrap_or(pod.facts.termination_grace),
            polls: 0,
            step: Step::Signal,
        });
    }

    /// SIGTERM has been sent to the containers `sent` but those `unreached`.
    pub(super) fn condemned_signalled(
        &mut self,
        now: Now,
        sent: &[String],
        unreached: &[Unreached],
    ) {
        for condemned in &mut self.condemned {
            let is_sent = sent.iter().any(|name| **name == *condemned.name);
            if condemned.step != Step::Signal || !is_sent {
                continue;
            }
            let reached = unreached.iter().all(|it| *it.container != *condemned.name);
            condemned.step = if reached {
                Step::Wait(now.mono + condemned.grace)
            } else {
                Step::Kill { heard: false }
            };
        }
        self.poll_soon();
    }

    /// A poll shows `status`: which of the containers have ended.
    pub(super) fn saw_condemned(&mut self, status: &PodStatus) {
        self.condemned.retain_mut(|condemned| {
            condemned.polls = condemned.polls.saturating_add(1);
            container_statuses(status).any(|it| {
                let runs = it.state.as_ref().is_some_and(|it| it.running.is_some());
                runs && *it.name == *condemned.name
                    && it.container_id.as_deref() == Some(&*condemned.id)
            })
        });
    }

    /// What follows for them from time alone.
    pub(super) fn judge_condemned(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.condemned.is_empty() {
            return;
        }
        if !self.lives() {
            self.condemned.clear();
            return;
        }
        let is_over = |until| now.mono >= until;
        for condemned in &mut self.condemned {
            let why = match condemned.step {
                Step::Wait(until) if is_over(until) => {
                    condemned.step = Step::Kill { heard: true };
                    continue;
                }
                Step::Killed(until) if is_over(until) => {
                    "its program was killed, and Azure does not show its end"
                }
                Step::Restarted(until) if is_over(until) => {
                    "Azure has been told to restart its group, and has not done it"
                }
                _ => continue,
            };
            condemned.fail(why, self.pod.as_ref(), effects);
        }
    }

    /// Why a restart of the group would do more than to restart one container as the pod allows; `None` when it would not.
    fn restarts_more(&self) -> Option<&'static str> {
        let facts = self.facts()?;
        if facts.restart_policy == RestartPolicy::Never {
            return Some("its group is not restarted under restartPolicy Never");
        }
        let is_alone = facts.all().count() == 1;
        (!is_alone).then_some("Azure restarts no single container of a group")
    }
}

/// What is next for the containers of `record` that are to end; `None` when nothing is.
pub(super) fn end_containers(record: &Record) -> Option<Next> {
    let with = |step| record.condemned.iter().filter(move |it| it.step == step);
    let to_signal: Vec<_> = with(Step::Signal).map(|it| it.name.to_string()).collect();
    if !to_signal.is_empty() {
        return Some(at(record, Operation::SendSignal(to_signal)));
    }
    let to_kill = record
        .condemned
        .iter()
        .filter(|it| matches!(it.step, Step::Kill { .. }));
    let to_kill: Vec<_> = to_kill.map(|it| it.name.to_string()).collect();
    if !to_kill.is_empty() {
        return Some(at(record, Operation::Kill(to_kill)));
    }
    if with(Step::Restart).next().is_some() {
        return Some(at(record, Operation::RestartGroup));
    }
    let polls = record.condemned.iter().filter_map(|it| match it.step {
        Step::Wait(until) | Step::Killed(until) | Step::Restarted(until) => {
            let next = poll(record, Priority::Transition, cadence::ending(it.polls));
            let due = next.due.min(until + MARGIN);
            Some(Next { due, ..next })
        }
        Step::Signal | Step::Kill { .. } | Step::Restart | Step::Over => None,
    });
    polls.min_by_key(|next| next.due)
}
