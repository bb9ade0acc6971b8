//! What a user sees of the pods, by a watch, with the time at which it was seen.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// UTC that never jumps: one reading of the wall clock, then counted. The emulator's clock is made the same way.
pub(super) fn now() -> DateTime<Utc> {
    static BASE: OnceLock<(Instant, DateTime<Utc>)> = OnceLock::new();
    let (instant, wall) = BASE.get_or_init(|| (Instant::now(), Utc::now()));
    *wall + TimeDelta::from_std(instant.elapsed()).unwrap_or_default()
}

/// Seconds from `from` to `to`, negative when they are the other way round.
pub(super) fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).as_seconds_f64()
}

/// One pod as seen. Each time is the first at which that was so.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// It had a node.
    pub(super) bound: Option<DateTime<Utc>>,
    /// Its phase was Running.
    pub(super) running: Option<DateTime<Utc>>,
    /// After that: a container did not run, or had been restarted.
    pub(super) changed: Option<DateTime<Utc>>,
    /// It was Ready.
    pub(super) ready: Option<DateTime<Utc>>,
    /// After that: it was not.
    pub(super) unready: Option<DateTime<Utc>>,
    /// It was no longer in the API server.
    pub(super) gone: Option<DateTime<Utc>>,
    /// The last phase seen.
    pub(super) phase: String,
    /// Restarts of all containers at the last look.
    pub(super) restarts: i32,
}

/// All pods of the namespace `default` by name. Names are not used twice in a scenario.
pub(super) type All = HashMap<String, Seen>;

/// The watch, until dropped.
pub(super) struct Pods {
    seen: watch::Receiver<All>,
    _task: JoinSet<()>,
}

impl Pods {
    /// Starts watching and waits for the first list.
    pub(super) async fn start(client: Client) -> Result<Self> {
        let (send, seen) = watch::channel(All::new());
        let (ready, listed) = tokio::sync::oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(follow(client, Arc::new(send), ready));
        tokio::time::timeout(Duration::from_secs(30), listed)
            .await
            .map_err(|_| anyhow!("the first list of pods took more than 30 s"))??;
        Ok(Self { seen, _task: task })
    }

    /// Waits until `check` finds in all that was seen what it looks for.
    ///
    /// # Errors
    /// It did not within `limit`.
    pub(super) async fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        check: impl Fn(&All) -> Option<T>,
    ) -> Result<T> {
        let wait = async {
            loop {
                if let Some(found) = check(&self.seen.borrow_and_update()) {
                    return Ok(found);
                }
                self.seen.changed().await?;
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(found) => found,
            Err(_) => bail!(
                "after {} s not so: {what}; pods by phase: {:?}",
                limit.as_secs(),
                phases(&self.seen.borrow())
            ),
        }
    }

    /// Waits until all of `names` have been Running, and gives them.
    pub(super) async fn all_running(
        &mut self,
        names: &[String],
        limit: Duration,
    ) -> Result<HashMap<String, Seen>> {
        let what = format!("{} pods Running", names.len());
        self.wait(&what, limit, |all| {
            let of = |name: &String| {
                let seen = all.get(name).filter(|seen| seen.running.is_some())?;
                Some((name.clone(), seen.clone()))
            };
            names.iter().map(of).collect()
        })
        .await
    }

    /// Waits for a time of one pod.
    pub(super) async fn time(
        &mut self,
        name: &str,
        what: &str,
        limit: Duration,
        of: impl Fn(&Seen) -> Option<DateTime<Utc>>,
    ) -> Result<DateTime<Utc>> {
        let text = format!("pod {name} {what}");
        self.wait(&text, limit, |all| all.get(name).and_then(&of))
            .await
    }

    /// As of now.
    pub(super) fn get(&self) -> All {
        self.seen.borrow().clone()
    }
}

/// How many pods are in each phase; those that are gone are not counted.
pub(super) fn phases(all: &All) -> HashMap<String, usize> {
    let mut phases = HashMap::new();
    for seen in all.values().filter(|seen| seen.gone.is_none()) {
        *phases.entry(seen.phase.clone()).or_default() += 1;
    }
    phases
}

async fn follow(
    client: Client,
    send: Arc<watch::Sender<All>>,
    ready: tokio::sync::oneshot::Sender<()>,
) {
    let pods = Api::<Pod>::namespaced(client, "default");
    let mut ready = Some(ready);
    let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        let at = now();
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                send.send_modify(|all| {
                    look(all.entry(pod.name_any()).or_default(), &pod, at);
                });
            }
            Ok(Event::Delete(pod)) => {
                send.send_modify(|all| {
                    all.entry(pod.name_any())
                        .or_default()
                        .gone
                        .get_or_insert(at);
                });
            }
            Ok(Event::InitDone) => {
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
            }
            // The watch starts again by itself; what it missed makes the waiting step fail.
            Ok(Event::Init) | Err(_) => {}
        }
    }
}

fn look(seen: &mut Seen, pod: &Pod, at: DateTime<Utc>) {
    if pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.node_name.is_some())
    {
        seen.bound.get_or_insert(at);
    }
    let Some(status) = &pod.status else { return };
    seen.phase = status.phase.clone().unwrap_or_default();
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    seen.restarts = containers.iter().map(|c| c.restart_count).sum();
    let runs = |c: &k8s_openapi::api::core::v1::ContainerStatus| {
        c.state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    };
    if seen.running.is_some() && (seen.restarts > 0 || !containers.iter().all(runs)) {
        seen.changed.get_or_insert(at);
    }
    if seen.phase == "Running" {
        seen.running.get_or_insert(at);
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if let Some(ready) = conditions.iter().find(|it| it.type_ == "Ready") {
        if ready.status == "True" {
            seen.ready.get_or_insert(at);
        } else if seen.ready.is_some() {
            seen.unready.get_or_insert(at);
        }
    }
}
