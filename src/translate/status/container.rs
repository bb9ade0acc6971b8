//! One container: from ACI's instance view to a `ContainerStatus`.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::azure::model::{ContainerState as ArmState, Event, InstanceView};
use crate::translate::policy::RestartPolicy;
use crate::translate::probes::Means;
use crate::translate::status::events::{line, pull_trouble};
use crate::translate::status::facts::{ContainerFacts, hash};
use crate::translate::status::resources::ContainerResources;
use crate::translate::{identity, time};

/// What a kubelet reports for an end that nobody saw.
const UNKNOWN: &str = "ContainerStatusUnknown";
const UNKNOWN_EXIT_CODE: i32 = 137;

/// An end that nobody saw, in a kubelet's words.
fn unseen_end() -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: UNKNOWN_EXIT_CODE,
        reason: Some(UNKNOWN.to_owned()),
        ..ContainerStateTerminated::default()
    }
}

/// How a container is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Life {
    Waiting {
        reason: String,
        message: Option<String>,
    },
    Running {
        since: Option<Time>,
    },
    Ended(ContainerStateTerminated),
}

/// What is wrong with a group as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trouble {
    /// A kubelet's reason for containers that wait for it.
    pub(super) reason: Option<&'static str>,
    pub(super) message: String,
}

/// A container as ACI shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen<'a> {
    pub(super) facts: &'a ContainerFacts,
    pub(super) life: Life,
    /// How it was before its last restart.
    pub(super) last: Option<ContainerStateTerminated>,
    pub(super) ready: bool,
    /// Whether its startup probe, if that is run, has succeeded.
    started: bool,
    pub(super) restarts: i32,
    id: Option<String>,
    /// The image that it has in Azure, where that is known: a pod's may be changed, a group's not.
    pub(super) image: Option<String>,
    /// That image with its digest, where Azure names it.
    pub(super) pulled: Option<String>,
}

impl<'a> Seen<'a> {
    pub(super) fn waiting(
        facts: &'a ContainerFacts,
        reason: Option<&str>,
        message: Option<&str>,
    ) -> Self {
        let reason = reason
            .filter(|reason| !reason.is_empty())
            .unwrap_or("ContainerCreating")
            .to_owned();
        let message = message
            .filter(|message| !message.is_empty())
            .map(str::to_owned);
        Self {
            facts,
            life: Life::Waiting { reason, message },
            last: None,
            ready: false,
            started: true,
            restarts: facts.restarts,
            id: None,
            image: None,
            pulled: None,
        }
    }

    /// From the instance view; `trouble` is what the group says about a start that fails, `before` the restarts that the
    /// container had behind it when the group was made.
    pub(super) fn of_view(
        facts: &'a ContainerFacts,
        view: Option<&InstanceView>,
        (policy, before): (RestartPolicy, i32),
        trouble: Option<&Trouble>,
    ) -> Self {
        // The first end that is on record counts, whatever ACI does with the container afterwards.
        if let Some(end) = recorded(facts, policy) {
            return end;
        }
        let Some(view) = view else {
            let (reason, message) = waiting_for(None, &[], trouble, false);
            return Self::waiting(facts, Some(&reason), message.as_deref());
        };
        let counted = counted(view);
        let restarts = counted.saturating_add(before);
        let previous = view
            .previous_state
            .as_ref()
            .filter(|state| is(state, "Terminated"))
            .map(ended);
        // ACI may restart what Kubernetes would not (its documentation says so of `Never`). The first end counts: the API
        // server lets no such container leave it.
        if let Some(end) = previous.as_ref().filter(|end| stays_ended(policy, end)) {
            let (life, restarts) = (Life::Ended(end.clone()), restarts.saturating_sub(1));
            return Self {
                facts,
                life,
                last: None,
                ready: false,
                started: true,
                restarts,
                id: None,
                image: None,
                pulled: None,
            };
        }
        let life = match &view.current_state {
            Some(state) if is(state, "Running") => Life::Running {
                since: time::from_arm(state.start_time.as_deref()),
            },
            Some(state) if is(state, "Terminated") => Life::Ended(ended(state)),
            other => {
                let detail = other
                    .as_ref()
                    .and_then(|state| state.detail_status.as_deref());
                let (reason, message) =
                    waiting_for(detail, &view.events, trouble, previous.is_some());
                Life::Waiting { reason, message }
            }
        };
        let ready = matches!(life, Life::Running { .. });
        let restarts = facts.restarts_now(restarts, &life);
        // The end of the life before was in a group that is gone, or Azure has not kept it.
        let previous = previous.or_else(|| (restarts > 0 && counted == 0).then(unseen_end));
        Self {
            facts,
            life,
            last: previous,
            ready,
            started: true,
            restarts,
            id: None,
            image: None,
            pulled: None,
        }
    }

    /// From an earlier status of ours, else from what is on record.
    pub(super) fn remembered(facts: &'a ContainerFacts, status: Option<&ContainerStatus>) -> Self {
        let Some(status) = status else {
            return recorded(facts, RestartPolicy::Never)
                .unwrap_or_else(|| Self::waiting(facts, None, None));
        };
        let life = match &status.state {
            Some(ContainerState {
                terminated: Some(end),
                ..
            }) => Life::Ended(end.clone()),
            Some(ContainerState {
                running: Some(running),
                ..
            }) => Life::Running {
                since: running.started_at.clone(),
            },
            _ => return Self::waiting(facts, None, None),
        };
        let last = status
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.clone());
        Self {
            facts,
            life,
            last,
            ready: false,
            started: true,
            restarts: status.restart_count,
            id: status.container_id.clone(),
            image: None,
            pulled: None,
        }
    }

    /// Takes note of the image that its group has. One that has got another was put again, which has restarted the container:
    /// that counts also within the second in which the run before began, as soon as Azure says that it is done.
    pub(super) fn has_image(&mut self, image: &str, done: bool) {
        self.image = Some(image.to_owned());
        let Life::Running { since: Some(since) } = &self.life else {
            return;
        };
        if let Some(run) = self.facts.last_run.filter(|_| done)
            && run.began.0.as_second() == since.0.as_second()
            && run.image != hash(image)
        {
            self.restarts = self.restarts.max(run.began.1.saturating_add(1));
            self.last.get_or_insert_with(unseen_end);
        }
    }

    /// Whether it runs or has run.
    pub(super) fn has_started(&self) -> bool {
        !matches!(self.life, Life::Waiting { .. }) || self.last.is_some()
    }

    /// Takes an end at `since` or later for the last word: ACI has started the container again although its pod is to end.
    pub(super) fn end_since(&mut self, since: Timestamp) {
        let last = self.last.take_if(|last| {
            let finished = last.finished_at.as_ref();
            finished.is_some_and(|at| at.0.as_second() >= since.as_second())
        });
        if let Some(last) = last
            && !matches!(self.life, Life::Ended(_))
        {
            self.ready = false;
            self.restarts = self.restarts.saturating_sub(1);
            self.life = Life::Ended(last);
        }
    }

    /// Ends the container, unless it has ended, in a way that nobody saw.
    pub(super) fn lost(&mut self, message: &str, now: Timestamp) {
        let (started_at, finished_at) = match &self.life {
            Life::Ended(_) => return,
            Life::Running { since } => (since.clone(), Some(time::whole(now))),
            Life::Waiting { .. } => (None, None),
        };
        self.ready = false;
        self.life = Life::Ended(ContainerStateTerminated {
            message: Some(message.to_owned()),
            started_at,
            finished_at,
            container_id: self.id.clone(),
            ..unseen_end()
        });
    }

    /// Gives every life of the container in pod `uid` its ID: ACI shows none, so it is a hash that is new for each start.
    pub(super) fn name_id(&mut self, uid: &str) {
        let name = &self.facts.name;
        let id = |restarts: i32, start: Option<&Time>| {
            let start = start.map_or(0, |time| time.0.as_second());
            let parts = [uid, name, &restarts.to_string(), &start.to_string()];
            format!("aci://{}", identity::hash_hex(&parts, 64))
        };
        let before = self.restarts.saturating_sub(1);
        if let Some(last) = &mut self.last {
            last.container_id = Some(id(before, last.started_at.as_ref()));
        }
        match &mut self.life {
            Life::Running { since } => self.id = Some(id(self.restarts, since.as_ref())),
            Life::Ended(end) => {
                let end_id = &mut end.container_id;
                let end_id =
                    end_id.get_or_insert_with(|| id(self.restarts, end.started_at.as_ref()));
                self.id = Some(end_id.clone());
            }
            Life::Waiting { .. } => {
                self.id = self
                    .last
                    .as_ref()
                    .and_then(|last| last.container_id.clone());
            }
        }
    }

    /// Lets its hook, and the probes that the operator runs by these `means`, say whether it has started and is ready.
    pub(super) fn follow_probes(&mut self, means: &Means) {
        if self.id.is_some() && self.facts.hook_of.as_deref() == self.id.as_deref() {
            (self.started, self.ready) = (false, false);
            return;
        }
        let Some(probes) = &self.facts.probes else {
            return;
        };
        let run = probes.run_by_operator(means);
        let known = self.facts.probed.as_ref();
        let known = known.filter(|known| self.id.as_deref() == Some(&*known.id));
        self.started = !run.startup || known.is_some_and(|known| known.started);
        let is_ready = !run.readiness || known.is_some_and(|known| known.ready);
        self.ready &= self.started && is_ready;
    }

    pub(super) fn status(self) -> ContainerStatus {
        let running = matches!(self.life, Life::Running { .. });
        let resources = Some(&self.facts.resources).filter(|_| self.has_started());
        let state = match self.life {
            Life::Waiting { reason, message } => ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some(reason),
                    message,
                }),
                ..ContainerState::default()
            },
            Life::Running { since } => ContainerState {
                running: Some(ContainerStateRunning { started_at: since }),
                ..ContainerState::default()
            },
            Life::Ended(end) => ContainerState {
                terminated: Some(end),
                ..ContainerState::default()
            },
        };
        let image = self.image.unwrap_or_else(|| self.facts.image.to_string());
        // That of the run before, unless its image was another one.
        let same = self
            .facts
            .last_run
            .is_none_or(|run| run.image == hash(&image));
        let known = self.facts.image_id.as_deref().filter(|_| same);
        let by_digest = Some(image.as_str()).filter(|image| image.contains("@sha256:"));
        let image_id = by_digest.or(self.pulled.as_deref()).or(known);
        let image_id = image_id
            .filter(|_| self.id.is_some())
            .unwrap_or_default()
            .to_owned();
        ContainerStatus {
            name: self.facts.name.to_string(),
            image_id,
            image,
            container_id: self.id,
            ready: self.ready,
            started: Some(running && self.started),
            restart_count: self.restarts,
            resources: resources.and_then(ContainerResources::resources),
            allocated_resources: resources.and_then(ContainerResources::allocated),
            state: Some(state),
            last_state: self.last.map(|end| ContainerState {
                terminated: Some(end),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }
    }

    /// Gives the wait for nothing in particular the name that it has in a pod with init containers.
    pub(super) fn initialising(&mut self) {
        if let Life::Waiting { reason, .. } = &mut self.life
            && reason == "ContainerCreating"
        {
            "PodInitializing".clone_into(reason);
        }
    }

    /// Whether it is an init container that runs along with the others.
    pub(super) fn is_sidecar(&self) -> bool {
        self.facts.sidecar
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.life, Life::Ended(_))
    }

    /// Whether it ended with an error.
    pub(super) fn failed(&self) -> bool {
        matches!(&self.life, Life::Ended(end) if end.exit_code != 0)
    }

    /// Whether it ended with 0.
    pub(super) fn succeeded(&self) -> bool {
        matches!(&self.life, Life::Ended(end) if end.exit_code == 0)
    }

    pub(super) fn name(&self) -> &str {
        &self.facts.name
    }
}

impl ContainerFacts {
    /// Its restarts when Azure counts `counted`. Azure begins again at 0 when it restarts or moves the whole group: a run that
    /// it does not count is one all the same.
    pub(super) fn restarts_now(&self, counted: i32, life: &Life) -> i32 {
        let counted = match (life, self.last_run) {
            (Life::Running { since: Some(since) }, Some(run))
                if since.0.as_second() > run.began.0.as_second() =>
            {
                counted.max(run.began.1.saturating_add(1))
            }
            _ => counted,
        };
        counted.max(self.restarts)
    }
}

/// The end of a container that is on record and that Kubernetes would let stand under `policy`.
fn recorded(facts: &ContainerFacts, policy: RestartPolicy) -> Option<Seen<'_>> {
    let end = facts.ended.as_deref()?;
    stays_ended(policy, &end.state).then(|| Seen {
        facts,
        life: Life::Ended(end.state.clone()),
        last: None,
        ready: false,
        started: true,
        restarts: end.restarts,
        id: end.state.container_id.clone(),
        image: None,
        pulled: None,
    })
}

/// Whether Kubernetes would let this end stand under `policy`.
fn stays_ended(policy: RestartPolicy, end: &ContainerStateTerminated) -> bool {
    match policy {
        RestartPolicy::Always => false,
        RestartPolicy::OnFailure => end.exit_code == 0,
        RestartPolicy::Never => true,
    }
}

pub(super) fn is(state: &ArmState, word: &str) -> bool {
    state
        .state
        .as_deref()
        .is_some_and(|state| state.eq_ignore_ascii_case(word))
}

/// Whether a container has ended with an error in this state.
pub(super) fn is_failed_end(state: &ArmState) -> bool {
    is(state, "Terminated") && ended(state).exit_code != 0
}

/// Restarts as Azure counts them.
pub(super) fn counted(view: &InstanceView) -> i32 {
    view.restart_count.unwrap_or(0).max(0)
}

/// An ended state of ACI in Kubernetes' words.
pub(super) fn ended(state: &ArmState) -> ContainerStateTerminated {
    let detail = state.detail_status.as_deref().unwrap_or_default().trim();
    let completed = detail.eq_ignore_ascii_case("Completed");
    let (exit_code, known) = match state.exit_code {
        Some(code) => (code, true),
        // ACI's word for exit code 0.
        None if completed => (0, true),
        None => (UNKNOWN_EXIT_CODE, false),
    };
    let reason = match exit_code {
        _ if !known => UNKNOWN,
        0 => "Completed",
        _ if detail.to_ascii_uppercase().contains("OOM") => "OOMKilled",
        _ => "Error",
    };
    let message = match exit_code {
        7147 | 7148 => {
            Some("the container was stopped for maintenance of Azure's platform".to_owned())
        }
        _ if detail.is_empty() || completed || [reason, "Error"].contains(&detail) => None,
        _ => Some(line(detail)),
    };
    ContainerStateTerminated {
        exit_code,
        reason: Some(reason.to_owned()),
        message,
        started_at: time::from_arm(state.start_time.as_deref()),
        finished_at: time::from_arm(state.finish_time.as_deref()),
        container_id: None,
        signal: None,
    }
}

/// Why a container waits: ACI's detail, else its newest event, else what is wrong with the group.
fn waiting_for(
    detail: Option<&str>,
    events: &[Event],
    trouble: Option<&Trouble>,
    restarted: bool,
) -> (String, Option<String>) {
    let owned = |text: &str| Some(line(text)).filter(|text| !text.is_empty());
    let detail = detail.unwrap_or_default().trim();
    let (word, rest) = detail.split_once(':').unwrap_or((detail, ""));
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric()) {
        return (word.to_owned(), owned(rest.trim()));
    }
    if let Some(event) = newest(events) {
        let message = event.message.as_deref().unwrap_or_default();
        let name = event.name.as_deref().unwrap_or_default();
        let reason = pull_trouble(name, message).or(match name {
            "BackOff" => Some("CrashLoopBackOff"),
            "Failed" => Some("RunContainerError"),
            _ => None,
        });
        if let Some(reason) = reason {
            return (reason.to_owned(), owned(message));
        }
    }
    let reason = match trouble.and_then(|trouble| trouble.reason) {
        _ if restarted => "CrashLoopBackOff",
        Some(reason) => reason,
        None => "ContainerCreating",
    };
    (
        reason.to_owned(),
        owned(detail).or_else(|| trouble.map(|trouble| trouble.message.clone())),
    )
}

/// The event with the latest time; of several the last in the list, which ACI keeps in order.
pub(super) fn newest<'e>(events: impl IntoIterator<Item = &'e Event>) -> Option<&'e Event> {
    let at = |event: &Event| {
        let text = event
            .last_timestamp
            .as_deref()
            .or(event.first_timestamp.as_deref());
        time::from_arm(text).map(|time| time.0)
    };
    events.into_iter().max_by_key(|event| at(event))
}
