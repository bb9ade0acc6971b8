//! Replicas on paused time against one API server, which can be away; a replica can be killed, or stopped and continued as
//! by SIGSTOP and SIGCONT. At every moment at most one claim on a connector is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use kube::core::Status;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::ownership::Role;
use crate::ownership::lease;

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Store>>);

#[derive(Default)]
struct Store {
    version: u64,
    leases: BTreeMap<String, Lease>,
    watches: Vec<mpsc::UnboundedSender<Event<Lease>>>,
    away: bool,
    /// Successful writes as `verb name holder`.
    writes: Vec<String>,
    conflicts: usize,
}

fn error(code: u16) -> KubeError {
    KubeError::new(
        "keep a Lease",
        &kube::Error::Api(Box::new(Status::failure("no", "no").with_code(code))),
    )
}

impl Store {
    fn put(&mut self, verb: &str, mut lease: Lease) -> Lease {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        let name = lease.metadata.name.clone().unwrap();
        let holder = lease::holder(&lease).unwrap_or("-");
        self.writes.push(format!("{verb} {name} {holder}"));
        self.leases.insert(name, lease.clone());
        self.tell(&Event::Apply(lease.clone()));
        lease
    }

    fn remove(&mut self, name: &str) {
        if let Some(lease) = self.leases.remove(name) {
            self.tell(&Event::Delete(lease));
        }
    }

    fn tell(&mut self, event: &Event<Lease>) {
        self.watches
            .retain(|watch| watch.send(event.clone()).is_ok());
    }
}

impl Server {
    /// One call: some milliseconds there and back, or no answer.
    async fn call<T>(
        &self,
        what: impl FnOnce(&mut Store) -> Result<T, KubeError>,
    ) -> Result<T, KubeError> {
        tokio::time::sleep(Duration::from_millis(3)).await;
        if self.0.lock().away {
            tokio::time::sleep(Duration::from_secs(3)).await;
            return Err(KubeError::Timeout { op: "keep a Lease" });
        }
        let answer = what(&mut self.0.lock());
        tokio::time::sleep(Duration::from_millis(3)).await;
        answer
    }

    fn holder(&self, connector: &str) -> Option<String> {
        let store = self.0.lock();
        let lease = store.leases.get(&lease::connector_lease(connector))?;
        lease::holder(lease).map(ToOwned::to_owned)
    }

    fn set_away(&self, away: bool) {
        self.0.lock().away = away;
    }

    /// How many writes of this verb have given the connector to somebody.
    fn transitions(&self, connector: &str) -> i32 {
        let store = self.0.lock();
        let lease = &store.leases[&lease::connector_lease(connector)];
        lease.spec.as_ref().unwrap().lease_transitions.unwrap()
    }
}

#[async_trait]
impl Leases for Server {
    fn watch(&self) -> BoxStream<'static, Result<Event<Lease>, String>> {
        let (sender, events) = mpsc::unbounded_channel();
        let mut store = self.0.lock();
        let list = store.leases.values().cloned().map(Event::InitApply);
        let first: Vec<_> = [Event::Init]
            .into_iter()
            .chain(list)
            .chain([Event::InitDone])
            .map(Ok)
            .collect();
        store.watches.push(sender);
        let later = stream::unfold(events, |mut events| async move {
            Some((Ok(events.recv().await?), events))
        });
        stream::iter(first).chain(later).boxed()
    }

    async fn get(&self, name: &str) -> Result<Option<Lease>, KubeError> {
        self.call(|store| Ok(store.leases.get(name).cloned())).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, KubeError> {
        let lease = lease.clone();
        self.call(|store| {
            if store
                .leases
                .contains_key(lease.metadata.name.as_deref().unwrap())
            {
                store.conflicts += 1;
                return Err(error(409));
            }
            Ok(store.put("create", lease))
        })
        .await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, KubeError> {
        let lease = lease.clone();
        self.call(|store| {
            let live = store.leases.get(lease.metadata.name.as_deref().unwrap());
            match live.map(|live| live.metadata.resource_version.clone()) {
                None => Err(error(404)),
                Some(version) if version != lease.metadata.resource_version => {
                    store.conflicts += 1;
                    Err(error(409))
                }
                Some(_) => Ok(store.put("replace", lease)),
            }
        })
        .await
    }

    async fn delete(&self, lease: &Lease) -> Result<(), KubeError> {
        let lease = lease.clone();
        self.call(|store| {
            let name = lease.metadata.name.as_deref().unwrap();
            let live = store.leases.get(name);
            match live.map(|live| live.metadata.resource_version.clone()) {
                None => Ok(()),
                Some(version) if version != lease.metadata.resource_version => Err(error(409)),
                Some(_) => {
                    store.remove(name);
                    Ok(())
                }
            }
        })
        .await
    }
}

/// SIGSTOP and SIGCONT for a future: while it is stopped nobody polls it.
#[derive(Clone, Default)]
struct Pause(Arc<(AtomicBool, Mutex<Option<Waker>>)>);

impl Pause {
    fn stop(&self) {
        self.0.0.store(true, Ordering::SeqCst);
    }

    fn go_on(&self) {
        self.0.0.store(false, Ordering::SeqCst);
        if let Some(waker) = self.0.1.lock().take() {
            waker.wake();
        }
    }
}

struct Pausable<F>(Pin<Box<F>>, Pause);

impl<F: Future> Future for Pausable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        *self.1.0.1.lock() = Some(context.waker().clone());
        if self.1.0.0.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.0.as_mut().poll(context)
    }
}

/// One replica: its keeper, and a connectors' side that stops agents within a second.
struct Replica {
    ownership: Ownership,
    pause: Pause,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(server: &Server, name: &str, pod_uid: &str, connectors: &BTreeSet<String>) -> Self {
        let me = Me {
            identity: name.to_owned(),
            pod_uid: pod_uid.to_owned(),
        };
        let shared = Arc::new(Shared::default());
        let (ended_sender, ended) = watch::channel(false);
        let keeper = Keeper {
            leases: Arc::new(server.clone()),
            table: Table::new(me, Timing::default(), Instant::now()),
            timing: Timing::default(),
            shared: shared.clone(),
            observer: Arc::new(()),
        };
        let ownership = Ownership { shared, ended };
        ownership.set_connectors(connectors.clone());
        let side = ownership.clone();
        let work = async move {
            let mut news = Box::pin(side.news());
            let agents = async {
                while let Some(connector) = news.next().await {
                    if let Role::Leaving(_) = side.role(&connector) {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        side.stopped(&connector);
                    }
                }
            };
            let keep = async {
                keeper.run().await;
                ended_sender.send_replace(true);
            };
            tokio::select! {
                () = keep => {}
                () = agents => {}
            }
        };
        let pause = Pause::default();
        let task = tokio::spawn(Pausable(Box::pin(work), pause.clone()));
        Self {
            ownership,
            pause,
            task,
        }
    }

    fn may_write(&self, connector: &str) -> bool {
        let claim = self.ownership.claim(connector);
        claim.is_some_and(|claim| claim.check().is_ok())
    }

    fn holds(&self) -> usize {
        self.ownership.held().len()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn connectors(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("c{number:02}")).collect()
}

/// Lets time pass; at every step at most one replica may write for a connector.
async fn pass(time: Duration, connectors: &BTreeSet<String>, replicas: &[&Replica]) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for connector in connectors {
            let writers = replicas
                .iter()
                .filter(|replica| replica.may_write(connector))
                .count();
            assert!(writers <= 1, "{writers} may write for {connector}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until `check` holds, and says how long that took.
async fn until(
    limit: Duration,
    connectors: &BTreeSet<String>,
    replicas: &[&Replica],
    check: impl Fn() -> bool,
) -> Duration {
    let started = Instant::now();
    while !check() {
        assert!(started.elapsed() < limit, "not within {limit:?}");
        pass(Duration::from_millis(100), connectors, replicas).await;
    }
    started.elapsed()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn one_replica_takes_everything_at_once_and_a_second_gets_its_share() {
    let (server, all) = (Server::default(), connectors(7));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 7).await;
    assert!(all.iter().all(|connector| a.may_write(connector)));
    let b = Replica::start(&server, "b", "", &all);
    until(SECOND * 30, &all, &[&a, &b], || b.holds() == 3).await;
    pass(SECOND * 60, &all, &[&a, &b]).await;
    assert_eq!((a.holds(), b.holds()), (4, 3), "nothing moves in balance");
    let moved: i32 = all.iter().map(|c| server.transitions(c) - 1).sum();
    assert_eq!(moved, 3, "each move was needed");
    let c = Replica::start(&server, "c", "", &all);
    until(SECOND * 30, &all, &[&a, &b, &c], || c.holds() == 2).await;
    pass(SECOND * 60, &all, &[&a, &b, &c]).await;
    let mut held = [a.holds(), b.holds(), c.holds()];
    held.sort_unstable();
    assert_eq!(held, [2, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_hands_over_and_nobody_waits_for_a_lease_to_expire() {
    let (server, all) = (Server::default(), connectors(4));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 4).await;
    let b = Replica::start(&server, "b", "", &all);
    pass(SECOND * 30, &all, &[&a, &b]).await;
    a.ownership.leave();
    let took = until(SECOND * 5, &all, &[&a, &b], || b.holds() == 4).await;
    // In the connectors' side of these tests agents end one after the other, a second each.
    assert!(took <= Duration::from_millis(2500), "{took:?}");
    tokio::time::timeout(SECOND, a.ownership.left())
        .await
        .expect("it has left");
    assert!(
        server
            .0
            .lock()
            .writes
            .iter()
            .all(|write| !write.ends_with(" -")),
        "nothing was released: it was handed over"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_one_releases_and_the_next_one_takes_at_once() {
    let (server, all) = (Server::default(), connectors(2));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 2).await;
    a.ownership.leave();
    tokio::time::timeout(SECOND * 5, a.ownership.left())
        .await
        .expect("it has left");
    let b = Replica::start(&server, "b", "", &all);
    let took = until(SECOND, &all, &[&a, &b], || b.holds() == 2).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_is_replaced_within_twenty_seconds_and_not_before_its_claim_has_lapsed() {
    let (server, all) = (Server::default(), connectors(6));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 6).await;
    let b = Replica::start(&server, "b", "", &all);
    let c = Replica::start(&server, "c", "", &all);
    pass(SECOND * 40, &all, &[&a, &b, &c]).await;
    assert_eq!((b.holds(), c.holds()), (2, 2));
    a.task.abort();
    // The dead one's claims are looked at, too: they must lapse before.
    let replicas = [&a, &b, &c];
    let took = until(SECOND * 18, &all, &replicas, || b.holds() + c.holds() == 6).await;
    assert!(took > SECOND * 10, "{took:?}");
    assert_eq!((b.holds(), c.holds()), (3, 3), "the load is shared");
    pass(SECOND * 90, &all, &replicas).await;
    let left: Vec<String> = server.0.lock().leases.keys().cloned().collect();
    assert!(!left.contains(&"vkc-replica-a".to_owned()), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn forty_connectors_find_new_holders_within_twenty_seconds_and_move_no_more_than_they_must() {
    let (server, all) = (Server::default(), connectors(40));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 40).await;
    let b = Replica::start(&server, "b", "", &all);
    let c = Replica::start(&server, "c", "", &all);
    let loads = || [a.holds(), b.holds(), c.holds()];
    let is_even = || {
        let loads = loads();
        loads.iter().sum::<usize>() == 40 && loads.iter().all(|load| (13..=14).contains(load))
    };
    until(SECOND * 120, &all, &[&a, &b, &c], is_even).await;
    let moved: i32 = all.iter().map(|c| server.transitions(c) - 1).sum();
    assert_eq!(moved, 26, "each move was needed: {:?}", loads());
    c.task.abort();
    let took = until(SECOND * 20, &all, &[&a, &b, &c], || {
        a.holds() + b.holds() == 40
    })
    .await;
    eprintln!("40 connectors over two of three after {took:?}");
    assert_eq!((a.holds(), b.holds()), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn who_was_stopped_for_a_minute_looks_before_it_writes() {
    let (server, all) = (Server::default(), connectors(1));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 1).await;
    let b = Replica::start(&server, "b", "", &all);
    pass(SECOND * 10, &all, &[&a, &b]).await;
    let old = a.ownership.claim("c00").unwrap();
    a.pause.stop();
    let took = until(SECOND * 18, &all, &[&a, &b], || b.holds() == 1).await;
    assert!(took > SECOND * 10, "{took:?}");
    pass(SECOND * 45, &all, &[&a, &b]).await;
    assert!(b.may_write("c00"));
    let before = server.0.lock().writes.len();
    a.pause.go_on();
    // Before its keeper has had a turn: what waited in a limiter asks now.
    assert!(old.check().is_err());
    pass(SECOND * 2, &all, &[&a, &b]).await;
    assert!(old.check().is_err());
    assert_eq!(a.holds(), 0, "it has noticed");
    let store = server.0.lock();
    let since = store.writes.iter().skip(before);
    let wrong: Vec<_> = since
        .filter(|write| write.contains("connector") && write.ends_with(" a"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_nobody_writes_and_afterwards_the_holder_goes_on() {
    let (server, all) = (Server::default(), connectors(4));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 4).await;
    let b = Replica::start(&server, "b", "", &all);
    pass(SECOND * 30, &all, &[&a, &b]).await;
    let claims: Vec<_> = all.iter().map(|c| server.transitions(c)).collect();
    server.set_away(true);
    pass(SECOND * 11, &all, &[&a, &b]).await;
    for connector in &all {
        assert!(!a.may_write(connector) && !b.may_write(connector));
    }
    pass(SECOND * 600, &all, &[&a, &b]).await;
    assert_eq!((a.holds(), b.holds()), (2, 2), "agents may still read");
    server.set_away(false);
    until(SECOND * 5, &all, &[&a, &b], || {
        all.iter().all(|c| a.may_write(c) || b.may_write(c))
    })
    .await;
    pass(SECOND * 60, &all, &[&a, &b]).await;
    let after: Vec<_> = all.iter().map(|c| server.transitions(c)).collect();
    assert_eq!(claims, after, "nothing has changed hands");
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_by_an_hour_neither_free_a_connector_nor_keep_it() {
    for ahead in [-3600, 3600] {
        let (server, all) = (Server::default(), connectors(1));
        let a = Replica::start(&server, "a", "", &all);
        let other = Me {
            identity: "z".to_owned(),
            pod_uid: String::new(),
        };
        let begun = Timestamp::now().as_second() + ahead;
        let renew = |after: i64| {
            let about = lease::About::Connector("c00".to_owned());
            let now = Timestamp::from_second(begun + after).unwrap();
            let found = server.0.lock().leases.get("vkc-connector-c00").cloned();
            let lease = lease::taken(found.as_ref(), &about, &other, SECOND * 15, now);
            server.0.lock().put("replace", lease);
        };
        for turn in 0..20 {
            renew(turn * 3);
            pass(SECOND * 3, &all, &[&a]).await;
            assert_eq!(a.holds(), 0, "its holder is there");
        }
        let took = until(SECOND * 20, &all, &[&a], || a.holds() == 1).await;
        assert!(took > SECOND * 11, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_comes_back_to_its_holder() {
    let (server, all) = (Server::default(), connectors(1));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 1).await;
    let b = Replica::start(&server, "b", "", &all);
    pass(SECOND * 10, &all, &[&a, &b]).await;
    let claim = a.ownership.claim("c00").unwrap();
    server.0.lock().remove("vkc-connector-c00");
    pass(SECOND * 20, &all, &[&a, &b]).await;
    assert_eq!(server.holder("c00").as_deref(), Some("a"));
    assert_eq!(claim.check(), Ok(()), "its agents went on");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_starts_again_in_its_pod_goes_on_at_once() {
    let (server, all) = (Server::default(), connectors(3));
    let first = Replica::start(&server, "a-1", "uid", &all);
    until(SECOND, &all, &[&first], || first.holds() == 3).await;
    drop(first);
    let other = Replica::start(&server, "b-1", "other", &all);
    let second = Replica::start(&server, "a-2", "uid", &all);
    let took = until(SECOND * 3, &all, &[&second, &other], || second.holds() == 3).await;
    assert!(took < SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_removed_connector_goes_with_it() {
    let (server, all) = (Server::default(), connectors(2));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 2).await;
    let claim = a.ownership.claim("c00").unwrap();
    a.ownership.remove_connector("c00");
    pass(SECOND, &all, &[&a]).await;
    assert!(claim.check().is_err());
    assert_eq!(server.holder("c00"), None);
    assert!(!server.0.lock().leases.contains_key("vkc-connector-c00"));
    a.ownership.add_connector("c00");
    until(SECOND, &all, &[&a], || a.holds() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_person_may_take_a_connector_from_its_holder() {
    let (server, all) = (Server::default(), connectors(1));
    let a = Replica::start(&server, "a", "", &all);
    until(SECOND, &all, &[&a], || a.holds() == 1).await;
    let claim = a.ownership.claim("c00").unwrap();
    let lost = a.ownership.clone();
    let lost = tokio::spawn(async move { lost.lost().await });
    {
        let mut store = server.0.lock();
        let mut lease = store.leases["vkc-connector-c00"].clone();
        lease.spec.as_mut().unwrap().holder_identity = Some("somebody".to_owned());
        store.put("replace", lease);
    }
    pass(SECOND, &all, &[&a]).await;
    assert!(claim.check().is_err());
    assert!(lost.is_finished(), "its agents are cancelled");
    // Nobody keeps it for somebody, so it comes back.
    until(SECOND * 20, &all, &[&a], || a.holds() == 1).await;
    assert_ne!(a.ownership.claim("c00").unwrap().number(), claim.number());
}

/// What may happen to three replicas.
#[derive(Debug, Clone)]
enum Event3 {
    Pass(u64),
    Stop(usize),
    GoOn(usize),
    Restart(usize),
    Leave(usize),
    Away(bool),
}

fn event() -> impl Strategy<Value = Event3> {
    prop_oneof![
        4 => (100_u64..20_000).prop_map(Event3::Pass),
        2 => (0_usize..3).prop_map(Event3::Stop),
        2 => (0_usize..3).prop_map(Event3::GoOn),
        1 => (0_usize..3).prop_map(Event3::Restart),
        1 => (0_usize..3).prop_map(Event3::Leave),
        1 => any::<bool>().prop_map(Event3::Away),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever happens, nobody writes beside another; and when all is well again, every connector is held and the load is
    /// shared.
    #[test]
    fn never_two_writers(events in proptest::collection::vec(event(), 1..25), count in 1_usize..6) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (server, all) = (Server::default(), connectors(count));
            let names = ["a", "b", "c"];
            let mut replicas: Vec<Replica> = names
                .iter()
                .map(|name| Replica::start(&server, name, "", &all))
                .collect();
            let mut dead: Vec<Replica> = Vec::new();
            let mut number = 0;
            for event in events {
                match event {
                    Event3::Pass(millis) => {
                        let everybody: Vec<&Replica> = replicas.iter().chain(&dead).collect();
                        pass(Duration::from_millis(millis), &all, &everybody).await;
                    }
                    Event3::Stop(which) => replicas[which].pause.stop(),
                    Event3::GoOn(which) => replicas[which].pause.go_on(),
                    Event3::Leave(which) => replicas[which].ownership.leave(),
                    Event3::Restart(which) => {
                        number += 1;
                        let name = format!("{}-{number}", names[which]);
                        let new = Replica::start(&server, &name, "", &all);
                        let old = std::mem::replace(&mut replicas[which], new);
                        old.task.abort();
                        dead.push(old);
                    }
                    Event3::Away(away) => server.set_away(away),
                }
            }
            server.set_away(false);
            for (which, name) in names.iter().enumerate() {
                replicas[which].pause.go_on();
                // Who was told to leave has left for good.
                let new = Replica::start(&server, &format!("{name}-new"), "", &all);
                let old = std::mem::replace(&mut replicas[which], new);
                old.ownership.leave();
                dead.push(old);
            }
            let everybody: Vec<&Replica> = replicas.iter().chain(&dead).collect();
            pass(SECOND * 90, &all, &everybody).await;
            for connector in &all {
                prop_assert!(
                    replicas.iter().any(|replica| replica.may_write(connector)),
                    "nobody has {connector}: {:?}", server.holder(connector)
                );
            }
            let (most, least) = (
                replicas.iter().map(Replica::holds).max().unwrap(),
                replicas.iter().map(Replica::holds).min().unwrap(),
            );
            prop_assert!(most - least <= 1, "{most} and {least}");
            Ok(())
        })?;
    }
}
