//! The controller's streams: what triggers a reconcile, how failures are retried, and the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, future, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Api, Client, Resource, ResourceExt};
use kube_runtime::controller::{Action, Config};
use kube_runtime::predicates::{annotations, finalizers, generation};
use kube_runtime::reflector::{self, ObjectRef, Store};
use kube_runtime::watcher::{self, watcher};
use kube_runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::held::Held;
use super::reconcile::Reconciler;
use super::state::BACKOFF_CAP;
use super::supervisor::Supervisor;
use super::validate::secret_reference;
use super::{Context, Error, shim_login, workspace};
use crate::api::VirtualKubeletConnector;
use crate::kube::backoff::{Backoff, jitter};
use crate::kube::call::{KubeError, TIMEOUT, call};
use crate::kube::events::Events;
use crate::kube::watches::steady;
use crate::ownership::Ownership;

/// Reconciles at a time. None of them waits for Azure.
const CONCURRENCY: u16 = 8;
/// Triggers that wait; a sender waits for room.
const TRIGGERS: usize = 256;
/// How often agents of vanished connectors are looked for, besides at each deletion that the watch reports.
const SWEEP: Duration = Duration::from_mins(1);
/// Reconciles under way may go on so long after the end was ordered.
const GRACE: Duration = Duration::from_millis(1500);
/// Longest pause between two reconciles while the API server does not answer.
const AWAY: Duration = Duration::from_secs(4);
/// A watch that says nothing is renewed after so many seconds, so that a dead connection is noticed.
const WATCH_SECONDS: u32 = 120;

type Guarded = DeserializeGuard<VirtualKubeletConnector>;

/// A failed reconcile, for the log.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failure(#[from] KubeError);

struct Shared {
    reconciler: Reconciler,
    failures: Mutex<HashMap<String, Backoff>>,
}

/// Runs the controller until `cancel`; then stops all agents within 8 s and leaves Nodes and container groups alone.
/// Waits for the CRD first.
///
/// # Errors
/// [`Error::Ended`] when the controller ended without being asked.
pub async fn run(context: Context, cancel: CancellationToken) -> Result<(), Error> {
    let manager = context.clients.operator();
    tokio::select! {
        () = cancel.cancelled() => {
            context.ownership.leave();
            let _ = timeout(GRACE, context.ownership.left()).await;
            return Ok(());
        }
        () = wait_for_crd(&manager) => {}
    }
    let (trigger, triggers) = mpsc::channel(TRIGGERS);
    let (events, events_task) = Events::spawn(
        context.clients.operator_no_retry(),
        context.instance.clone(),
    );
    let namespace = context.namespace.clone();
    let ready = context.ready.clone();
    let ownership = context.ownership.clone();
    let shared = Arc::new(Shared {
        reconciler: Reconciler {
            supervisor: Arc::new(Supervisor::new(context.agents.clone(), trigger.clone())),
            context,
            events,
            trigger,
            states: Mutex::default(),
            cluster_uid: OnceCell::new(),
            held: Held::default(),
        },
        failures: Mutex::default(),
    });

    let gone = Arc::new(Notify::new());
    let (reader, writer) = reflector::store();
    let connectors = connectors(manager.clone(), writer, gone.clone(), ownership.clone());
    let controller = Controller::for_stream(connectors, reader.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .reconcile_on(names(triggers))
        .reconcile_on(ownership.news().map(|name| ObjectRef::new(&name)))
        .reconcile_on(secrets(manager, &namespace, reader.clone()))
        .graceful_shutdown_on(cancel.clone().cancelled_owned());
    let mut work = controller
        .run(reconcile, error_policy, shared.clone())
        .boxed();
    // A task of its own: it may wait for agents to stop, and all reconciles are polled here.
    let sweeping = sweeping(shared.clone(), reader.clone(), gone);
    let _sweeping = AbortOnDropHandle::new(tokio::spawn(sweeping));
    let synced = reader.clone();
    let mut first_list = std::pin::pin!(async move { synced.wait_until_ready().await.is_ok() });
    let mut listed = false;
    let ended = loop {
        tokio::select! {
            is_ready = &mut first_list, if !listed => {
                listed = true;
                if is_ready {
                    ready();
                }
            }
            () = cancel.cancelled() => break false,
            done = work.next() => match done {
                Some(Ok(_)) => {}
                Some(Err(error)) => tracing::debug!(%error, "a reconcile failed"),
                None => break !cancel.is_cancelled(),
            },
            () = ownership.lost() => shared.reconciler.abandon_lost(),
        }
    };
    ownership.leave();
    // What is under way may end; what does not is cancelled when `work` goes.
    let _ = timeout(GRACE, work.by_ref().for_each(|_| future::ready(()))).await;
    drop(work);
    shared.reconciler.hand_over_all().await;
    events_task.abort();
    if ended { Err(Error::Ended) } else { Ok(()) }
}

/// Returns when connectors can be listed.
async fn wait_for_crd(manager: &Client) {
    let api = Api::<Guarded>::all(manager.clone());
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        match call(
            "list the connectors",
            TIMEOUT,
            api.list_metadata(&ListParams::default().limit(1)),
        )
        .await
        {
            Ok(_) => return,
            Err(error) if error.is_not_found() => {
                tracing::info!("waiting for the CRD virtualkubeletconnectors.virtual-kubelet.io");
            }
            Err(error) => tracing::warn!(%error, "waiting for the API server"),
        }
        sleep(backoff.next_delay()).await;
    }
}

/// Sweeps at each deletion that the watch reports, and now and then.
async fn sweeping(shared: Arc<Shared>, reader: Store<Guarded>, gone: Arc<Notify>) {
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = gone.notified() => {}
            _ = sweeps.tick() => {}
        }
        sweep(&shared, &reader).await;
    }
}

async fn sweep(shared: &Shared, reader: &Store<Guarded>) {
    // Before the first list the store knows nobody.
    if timeout(Duration::ZERO, reader.wait_until_ready())
        .await
        .is_err()
    {
        return;
    }
    let connectors = reader.state();
    let live: BTreeSet<String> = connectors
        .iter()
        .filter_map(|connector| connector.meta().uid.clone())
        .collect();
    let names: BTreeSet<String> = connectors
        .iter()
        .map(|connector| connector.name_any())
        .collect();
    shared
        .failures
        .lock()
        .retain(|name, _| names.contains(name));
    shared.reconciler.keep_held(&live, &names);
    shared.reconciler.sweep(&live).await;
}

/// Connectors whose spec, annotations or finalizers changed; our own status writes are no reason to reconcile.
///
/// Errors of the watch stay in here: the controller would let all its triggers wait for one that fails.
fn connectors(
    manager: Client,
    writer: reflector::store::Writer<Guarded>,
    gone: Arc<Notify>,
    ownership: Ownership,
) -> impl Stream<Item = Result<Guarded, watcher::Error>> + Send + 'static {
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut listing = BTreeSet::new();
    steady(watcher(Api::<Guarded>::all(manager), config))
        .modify(|connector| connector.meta_mut().managed_fields = None)
        .inspect(move |event| match event {
            Ok(watcher::Event::Init) => listing.clear(),
            Ok(watcher::Event::InitApply(connector)) => {
                listing.insert(connector.name_any());
            }
            Ok(watcher::Event::InitDone) => {
                ownership.set_connectors(std::mem::take(&mut listing));
            }
            Ok(watcher::Event::Apply(connector)) => {
                ownership.add_connector(&connector.name_any());
            }
            Ok(watcher::Event::Delete(connector)) => {
                ownership.remove_connector(&connector.name_any());
            }
            Err(_) => {}
        })
        .inspect(move |event| {
            if let Ok(watcher::Event::Delete(_) | watcher::Event::InitDone) = event {
                gone.notify_one();
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            generation.combine(annotations).combine(finalizers),
            PredicateConfig::default(),
        )
        .filter_map(|item| {
            future::ready(without_errors(
                item,
                "the watch of the connectors was interrupted",
            ))
        })
}

fn without_errors<T>(
    item: Result<T, watcher::Error>,
    what: &'static str,
) -> Option<Result<T, watcher::Error>> {
    match item {
        Ok(item) => Some(Ok(item)),
        Err(error) => {
            tracing::debug!(%error, what);
            None
        }
    }
}

/// Triggers by name: answers of Azure, and agents with news.
fn names(
    triggers: mpsc::Receiver<String>,
) -> impl Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    stream::unfold(triggers, |mut triggers| async move {
        let name = triggers.recv().await?;
        Some((ObjectRef::new(&name), triggers))
    })
}

/// Connectors whose Secret in the operator's namespace changed or went. Only metadata is watched. Secrets elsewhere are
/// read again at the connector's own pace.
fn secrets(
    manager: Client,
    namespace: &str,
    reader: Store<Guarded>,
) -> impl Stream<Item = ObjectRef<Guarded>> + Send + 'static {
    let namespace = namespace.to_owned();
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    steady(watcher(
        Api::<PartialObjectMeta<Secret>>::namespaced(manager, &namespace),
        config,
    ))
    .touched_objects()
    .filter_map(|item| {
        future::ready(
            without_errors(item, "the watch of the Secrets was interrupted").and_then(Result::ok),
        )
    })
    .flat_map(move |secret| {
        let changed = (namespace.clone(), secret.name_any());
        let concerned: Vec<_> = reader
            .state()
            .into_iter()
            .filter_map(|connector| {
                let connector = connector.0.as_ref().ok()?;
                let concerned = [
                    secret_reference(&connector.spec, &namespace),
                    workspace::secret_reference(&connector.spec, &namespace),
                    shim_login::secret_reference(&connector.spec, &namespace),
                ]
                .contains(&Some(changed.clone()));
                concerned.then(|| ObjectRef::new(&connector.name_any()))
            })
            .collect();
        stream::iter(concerned)
    })
}

async fn reconcile(connector: Arc<Guarded>, shared: Arc<Shared>) -> Result<Action, Failure> {
    let connector = match &connector.0 {
        Ok(connector) => connector,
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::error!(connector = name, error = %invalid.error, "the connector cannot be read; is its CRD of this version?");
            return Ok(Action::await_change());
        }
    };
    if !shared.reconciler.admit(connector).await {
        return Ok(Action::await_change());
    }
    let action = shared.reconciler.reconcile(connector).await?;
    shared.failures.lock().remove(&connector.name_any());
    Ok(action)
}

/// Failures are the API server's (Azure's are states): retried per connector, doubling from half a second to 5 minutes;
/// to 4 seconds while the API server does not answer, so that its return is noticed.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller asks for"
)]
fn error_policy(connector: Arc<Guarded>, failure: &Failure, shared: Arc<Shared>) -> Action {
    let name = connector.name_any();
    let mut failures = shared.failures.lock();
    let backoff = failures
        .entry(name.clone())
        .or_insert_with(|| Backoff::new(Duration::from_millis(500), BACKOFF_CAP));
    let mut delay = backoff.next_delay();
    if failure.0.code().is_none_or(|code| code >= 500) {
        delay = delay.min(jitter(AWAY, 0.2));
    }
    // A conflict is the watch being a moment behind.
    if failure.0.is_conflict() || failure.0.is_not_held() {
        tracing::debug!(connector = %name, error = %failure, "the connector changed, or changed hands, meanwhile");
    } else {
        tracing::warn!(connector = %name, error = %failure, ?delay, "the reconcile failed");
    }
    Action::requeue(delay)
}
