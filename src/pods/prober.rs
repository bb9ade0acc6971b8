//! Runs the probes of a node's pods: one timer wheel for all, no task and no work for a probe that is not due.

mod counts;
mod watched;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

pub use self::counts::ProbeCounts;

use self::counts::Outcome;
use self::watched::{Verdict, Watched};
use super::engine::{PodEvent, ProbeNews};
use crate::provider::{ProbeAnswer, ProbeCall};
use crate::shares::Shares;
use crate::translate::{ByProbe, PodFacts, PodKey, ProbeKind, ProbeTarget};

/// Probes of a node that are under way at once, and of one namespace: each is a connection, and the far side a tenant's.
const AT_ONCE: usize = 256;
const OF_NAMESPACE: usize = 128;
/// A probe whose namespace has as many under way is run so much later.
const TURN_AWAY: Duration = Duration::from_secs(1);
/// The wheel turns no further.
const FURTHEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Probes in a row without a sign of the pod, after which there is taken to be no way to it.
const SILENCES: u32 = 3;
/// From one of them to the next.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Bytes of what a probe says that an Event shows.
const SHOWN: usize = 512;

/// Who asks the containers.
#[async_trait]
pub trait Ask: Send + Sync + 'static {
    /// Asks a container by one of its probes. It ends in bounded time.
    async fn probe(&self, call: ProbeCall) -> ProbeAnswer;
}

/// What the probes of a pod tell.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// For the engine.
    Of(PodKey, ProbeNews),
    /// For the pod's owner.
    Event(PodEvent),
}

/// A probe, and when it is run next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    key: Arc<PodKey>,
    /// Which run of a container.
    run: u64,
    kind: ProbeKind,
}

#[derive(Debug)]
struct Pod {
    key: Arc<PodKey>,
    ip: Option<IpAddr>,
    route: Route,
    runs: HashMap<u64, Run>,
}

#[derive(Debug)]
struct Run {
    watched: Watched,
    turns: ByProbe<Turn>,
}

/// Where one of the three probes of a run is.
#[derive(Debug, Clone, Copy, Default)]
enum Turn {
    /// It is not run, or not yet, or no longer.
    #[default]
    No,
    Waits(Key),
    UnderWay,
}

/// Whether the operator reaches the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// Nothing has come back so often.
    Silent(u32),
    Known,
}

pub(super) struct Prober<A> {
    asks: Arc<A>,
    pods: HashMap<Arc<PodKey>, Pod>,
    wheel: DelayQueue<Due>,
    under_way: JoinSet<ProbeAnswer>,
    owners: HashMap<Id, (Due, Instant)>,
    news: VecDeque<News>,
    runs: u64,
    places: Shares<String>,
    counts: ProbeCounts,
}

impl<A: Ask> Prober<A> {
    pub(super) fn new(asks: Arc<A>, counts: ProbeCounts) -> Self {
        Self {
            asks,
            pods: HashMap::new(),
            wheel: DelayQueue::new(),
            under_way: JoinSet::new(),
            owners: HashMap::new(),
            news: VecDeque::new(),
            runs: 0,
            places: Shares::new(AT_ONCE, OF_NAMESPACE),
            counts,
        }
    }

    /// Probes from now on what `target` says of the pod `key`, and nothing else of it. `facts` have on record what earlier
    /// probes have shown.
    pub(super) fn set(
        &mut self,
        key: &PodKey,
        target: Option<&ProbeTarget>,
        facts: Option<&PodFacts>,
    ) {
        let Some(target) = target else {
            if let Some(pod) = self.pods.remove(key) {
                self.counts.forget(key);
                self.stop(pod.runs.values());
            }
            return;
        };
        let mut pod = self.pods.remove(key).unwrap_or_else(|| Pod {
            key: Arc::new(key.clone()),
            ip: target.ip,
            route: Route::Silent(0),
            runs: HashMap::new(),
        });
        if pod.ip != target.ip {
            (pod.ip, pod.route) = (target.ip, Route::Silent(0));
        }
        let wanted = |run: &Run| target.containers.contains(&run.watched.container);
        let (kept, gone): (HashMap<_, _>, HashMap<_, _>) =
            pod.runs.drain().partition(|(_, run)| wanted(run));
        self.stop(gone.values());
        pod.runs = kept;
        for container in &target.containers {
            let known = |run: &Run| run.watched.container == *container;
            if !pod.runs.values().any(known) {
                let facts = facts.and_then(|facts| facts.container(&container.name));
                let on_record = facts.and_then(|facts| facts.probed.as_ref());
                let watched = Watched::new(container.clone(), on_record);
                self.runs = self.runs.wrapping_add(1);
                let mut run = Run {
                    watched,
                    turns: ByProbe::default(),
                };
                self.begin_turns(&pod.key, self.runs, &mut run);
                pod.runs.insert(self.runs, run);
            }
        }
        self.pods.insert(Arc::clone(&pod.key), pod);
    }

    /// The next thing that probes tell; for ever when there is nothing to probe. May be dropped at any time.
    pub(super) async fn next(&mut self) -> News {
        loop {
            if let Some(news) = self.news.pop_front() {
                return news;
            }
            tokio::select! {
                Some(due) = self.wheel.next(), if self.under_way.len() < AT_ONCE => self.ask(due.into_inner()),
                Some(ended) = self.under_way.join_next_with_id() => self.ended(ended),
                else => std::future::pending().await,
            }
        }
    }

    fn stop<'r>(&mut self, runs: impl Iterator<Item = &'r Run>) {
        for run in runs {
            for kind in ProbeKind::ALL {
                if let Turn::Waits(timer) = run.turns.get(kind) {
                    self.wheel.try_remove(timer);
                }
            }
        }
    }

    /// Sets the timers of the probes whose turn has come.
    fn begin_turns(&mut self, key: &Arc<PodKey>, number: u64, run: &mut Run) {
        let age = Timestamp::now().duration_since(run.watched.container.since);
        let age = Duration::try_from(age).unwrap_or_default();
        for kind in ProbeKind::ALL {
            let waits_already = !matches!(run.turns.get(kind), Turn::No);
            if waits_already || !run.watched.runs(kind) {
                continue;
            }
            let (mut wait, is_urgent) = run.watched.first(kind, age);
            if !is_urgent {
                // After a restart the probes of all pods do not come at once.
                wait += run.watched.period(kind).mul_f64(fastrand::f64());
            }
            self.set_timer(key, number, run, (kind, wait));
        }
    }

    fn set_timer(
        &mut self,
        key: &Arc<PodKey>,
        number: u64,
        run: &mut Run,
        (kind, wait): (ProbeKind, Duration),
    ) {
        let due = Due {
            key: Arc::clone(key),
            run: number,
            kind,
        };
        let timer = self.wheel.insert(due, wait.min(FURTHEST));
        *run.turns.get_mut(kind) = Turn::Waits(timer);
    }

    /// Begins a probe that is due.
    fn ask(&mut self, due: Due) {
        let Some(pod) = self.pods.get_mut(&due.key) else {
            return;
        };
        let Some(run) = pod.runs.get_mut(&due.run) else {
            return;
        };
        *run.turns.get_mut(due.kind) = Turn::No;
        if !run.watched.runs(due.kind) {
            return;
        }
        let Ok(place) = self.places.take(due.key.namespace.clone()) else {
            let wait = TURN_AWAY.min(run.watched.period(due.kind));
            let kind = due.kind;
            *run.turns.get_mut(kind) = Turn::Waits(self.wheel.insert(due, wait));
            return;
        };
        *run.turns.get_mut(due.kind) = Turn::UnderWay;
        let container = &run.watched.container;
        let call = ProbeCall {
            key: Arc::clone(&pod.key),
            container: container.name.clone(),
            ip: pod.ip,
            probes: Arc::clone(&container.probes),
            kind: due.kind,
        };
        let asks = Arc::clone(&self.asks);
        let task = async move {
            let answer = asks.probe(call).await;
            drop(place);
            answer
        };
        let id = self.under_way.spawn(task).id();
        self.owners.insert(id, (due, Instant::now()));
    }

    fn ended(&mut self, ended: Result<(Id, ProbeAnswer), JoinError>) {
        let (id, answer) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a probe died");
                let why = "an internal error; see the operator's log".to_owned();
                (error.id(), ProbeAnswer::Unknown(why))
            }
        };
        let Some((due, began)) = self.owners.remove(&id) else {
            return;
        };
        // What is no longer probed has no word any more.
        let Some(mut pod) = self.pods.remove(&due.key) else {
            return;
        };
        if let Some(mut run) = pod.runs.remove(&due.run) {
            *run.turns.get_mut(due.kind) = Turn::No;
            let result = self.understand(&mut pod, &run, due.kind, answer);
            let outcome = match result {
                Some(true) => Outcome::Successful,
                Some(false) => Outcome::Failed,
                None => Outcome::Unknown,
            };
            let name = &run.watched.container.name;
            self.counts.count(&due.key, name, due.kind, outcome);
            if let Some(success) = result {
                self.judge(&due, &mut run, success);
            }
            if run.watched.runs(due.kind) {
                let period = match pod.route {
                    Route::Silent(1..SILENCES) => LISTEN_AGAIN,
                    _ => run.watched.period(due.kind),
                };
                let wait = period.saturating_sub(began.elapsed());
                self.set_timer(&pod.key, due.run, &mut run, (due.kind, wait));
            }
            self.begin_turns(&pod.key, due.run, &mut run);
            pod.runs.insert(due.run, run);
        }
        self.pods.insert(Arc::clone(&pod.key), pod);
    }

    /// Whether the probe has succeeded, if that is known.
    fn understand(
        &mut self,
        pod: &mut Pod,
        run: &Run,
        kind: ProbeKind,
        answer: ProbeAnswer,
    ) -> Option<bool> {
        let word = kind.as_str();
        let spec = run.watched.spec(kind);
        let dialled = spec.is_some_and(|spec| spec.handler.port().is_some());
        match (&answer, pod.route) {
            (ProbeAnswer::Silence(why), Route::Silent(times)) => {
                let times = times.saturating_add(1);
                pod.route = Route::Silent(times);
                if times == SILENCES {
                    self.inform(&pod.key, ProbeNews::Route(Err(shown(why))));
                }
                return None;
            }
            (ProbeAnswer::Unknown(_), _) => {}
            (_, Route::Silent(times)) if dialled => {
                pod.route = Route::Known;
                if times >= SILENCES {
                    self.inform(&pod.key, ProbeNews::Route(Ok(())));
                }
            }
            _ => {}
        }
        match answer {
            ProbeAnswer::Success => Some(true),
            ProbeAnswer::Warning(text) => {
                let message = format!("{word} probe warning: {}", shown(&text));
                self.tell(&pod.key, "ProbeWarning", message);
                Some(true)
            }
            ProbeAnswer::Failure(text) | ProbeAnswer::Silence(text) => {
                let message = format!("{word} probe failed: {}", shown(&text));
                self.tell(&pod.key, "Unhealthy", message);
                Some(false)
            }
            ProbeAnswer::Unknown(text) => {
                let message = format!("{word} probe errored: {}", shown(&text));
                self.tell(&pod.key, "Unhealthy", message);
                None
            }
        }
    }

    fn judge(&mut self, due: &Due, run: &mut Run, success: bool) {
        let watched = &mut run.watched;
        let news = match watched.take(due.kind, success) {
            Verdict::Nothing => return,
            Verdict::Changed => ProbeNews::Container {
                name: watched.container.name.clone(),
                probed: watched.probed(),
            },
            Verdict::Failed => ProbeNews::Failed {
                name: watched.container.name.clone(),
                id: watched.container.id.clone(),
                kind: due.kind,
                grace: watched.spec(due.kind).and_then(|spec| spec.grace),
            },
        };
        self.inform(&due.key, news);
    }

    fn inform(&mut self, key: &PodKey, news: ProbeNews) {
        self.news.push_back(News::Of(key.clone(), news));
    }

    fn tell(&mut self, key: &PodKey, reason: &str, message: String) {
        self.news.push_back(News::Event(PodEvent {
            key: key.clone(),
            warning: true,
            reason: reason.to_owned(),
            message,
            origin: None,
        }));
    }
}

/// The beginning of what a probe says.
fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
