use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::super::Observer;
use super::*;
use crate::agent::spec::tests::spec;
use crate::azure::health::Record;
use crate::azure::{AzureError, ErrorClass, Health};
use crate::node::keeper::NodeWanted;
use crate::node::spec::AZURE_UNREACHABLE_TAINT;
use crate::pods::Settings;
use crate::translate::GroupDefaults;

/// Parts that do nothing by themselves: the test holds the ends of their channels.
#[derive(Default)]
struct Fake {
    ends: Mutex<Ends>,
    /// The keeper ends at once so often.
    keeper_ends: AtomicUsize,
    keeper_starts: Mutex<Vec<Instant>>,
    restarts: Arc<AtomicUsize>,
    refused: Mutex<Option<watch::Sender<Option<String>>>>,
    azure: Record,
    defaults: AtomicUsize,
}

#[derive(Default)]
struct Ends {
    settings: Option<watch::Receiver<Settings>>,
    report: Option<watch::Sender<Report>>,
    port: Option<watch::Sender<Option<u16>>>,
    wanted: Option<watch::Receiver<NodeWanted>>,
    registration: Option<watch::Sender<Registration>>,
}

struct Count(Arc<AtomicUsize>);

impl Observer for Count {
    fn part_restarted(&self, _: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn until(cancel: CancellationToken) -> BoxFuture<'static, ()> {
    async move { cancel.cancelled().await }.boxed()
}

impl Parts for Fake {
    fn pods(
        &self,
        settings: watch::Receiver<Settings>,
        report: watch::Sender<Report>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let mut ends = self.ends.lock();
        (ends.settings, ends.report) = (Some(settings), Some(report));
        until(cancel)
    }

    fn kubelet(
        &self,
        port: watch::Sender<Option<u16>>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        self.ends.lock().port = Some(port);
        until(cancel)
    }

    fn updates(&self, cancel: CancellationToken) -> BoxFuture<'static, ()> {
        until(cancel)
    }

    fn node(
        &self,
        wanted: watch::Receiver<NodeWanted>,
        registration: watch::Sender<Registration>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        let mut ends = self.ends.lock();
        (ends.wanted, ends.registration) = (Some(wanted), Some(registration));
        self.keeper_starts.lock().push(Instant::now());
        let left = self.keeper_ends.load(Ordering::Relaxed);
        if left > 0 {
            self.keeper_ends.store(left - 1, Ordering::Relaxed);
            return async {}.boxed();
        }
        until(cancel)
    }

    fn set_defaults(&self, _: GroupDefaults) {
        self.defaults.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self) -> watch::Receiver<Option<String>> {
        let (sender, receiver) = watch::channel(None);
        *self.refused.lock() = Some(sender);
        receiver
    }

    fn azure(&self) -> watch::Receiver<Health> {
        self.azure.subscribe()
    }

    fn node_ip(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(Count(self.restarts.clone()))
    }
}

struct Stage {
    fake: Arc<Fake>,
    specs: watch::Sender<AgentSpec>,
    status: watch::Receiver<AgentStatus>,
    cancel: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Stage {
    fn new(fake: Fake) -> Self {
        let fake = Arc::new(fake);
        let (specs, spec) = watch::channel(spec());
        let (sender, status) = watch::channel(AgentStatus::default());
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run(spec, sender, fake.clone(), cancel.clone()));
        Self {
            fake,
            specs,
            status,
            cancel,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// One whose first lists have not arrived within the grace, so that the Node is told `NotReady`.
    async fn late(fake: Fake) -> Self {
        let stage = Self::new(fake);
        sleep(SYNC_GRACE + Duration::from_millis(100)).await;
        stage
    }

    fn ends<T>(&self, of: impl FnOnce(&mut Ends) -> &mut Option<T>) -> T {
        of(&mut self.fake.ends.lock()).take().unwrap()
    }

    fn wanted(&self) -> NodeWanted {
        let ends = self.fake.ends.lock();
        ends.wanted.as_ref().unwrap().borrow().clone()
    }
}

fn synced() -> Report {
    Report {
        synced: true,
        ..Report::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_arrives_together_with_other_news_makes_the_node_ready() {
    // `select!` takes its branches at random: fifty agents, so that each order of the news is met.
    for round in 0..50 {
        let stage = Stage::late(Fake::default()).await;
        assert!(!stage.wanted().ready);
        let report = stage.ends(|ends| &mut ends.report);
        let registration = stage.ends(|ends| &mut ends.registration);
        registration.send_replace(Registration {
            registered: true,
            ..Registration::default()
        });
        report.send_replace(synced());
        sleep(Duration::from_secs(1)).await;
        assert!(
            stage.wanted().ready,
            "round {round}: the node stays NotReady, and nothing will ever change again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_changes_at_once_is_taken_over() {
    for round in 0..50 {
        let stage = Stage::late(Fake::default()).await;
        let settings = stage.ends(|ends| &mut ends.settings);
        let (report, port) = (
            stage.ends(|ends| &mut ends.report),
            stage.ends(|ends| &mut ends.port),
        );
        let registration = stage.ends(|ends| &mut ends.registration);
        let before = stage.fake.defaults.load(Ordering::Relaxed);
        stage.specs.send_modify(|spec| {
            spec.suspended = true;
            spec.node.unschedulable = true;
            spec.groups.public_ip = !spec.groups.public_ip;
        });
        report.send_replace(Report {
            pods: 3,
            ..synced()
        });
        port.send_replace(Some(10250));
        registration.send_replace(Registration {
            registered: true,
            ready: true,
            ..Registration::default()
        });
        sleep(Duration::from_secs(1)).await;
        let wanted = stage.wanted();
        assert!(wanted.ready && wanted.spec.unschedulable, "round {round}");
        assert_eq!(wanted.endpoint.kubelet_port, Some(10250), "round {round}");
        assert!(settings.borrow().suspended, "round {round}");
        assert_eq!(settings.borrow().edits, 1, "round {round}");
        let status = stage.status.borrow().clone();
        assert!(status.ready && status.pods == 3, "round {round}");
        assert_eq!(stage.fake.defaults.load(Ordering::Relaxed), before + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_dies_again_and_again_is_started_less_and_less_often_and_holds_up_nobody() {
    let stage = Stage::late(Fake {
        keeper_ends: AtomicUsize::new(100),
        ..Fake::default()
    })
    .await;
    stage.ends(|ends| &mut ends.report).send_replace(synced());
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(1)).await;
    assert!(
        stage.status.borrow().synced,
        "told while the keeper is down"
    );

    sleep(Duration::from_mins(5)).await;
    let starts = stage.fake.keeper_starts.lock().clone();
    assert!((15..=30).contains(&starts.len()), "{} starts", starts.len());
    let longest = starts.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(longest <= Duration::from_secs(18), "{longest:?}");
    let restarts = stage.fake.restarts.load(Ordering::Relaxed);
    assert!(restarts == starts.len() || restarts == starts.len() - 1);

    stage.fake.keeper_ends.store(0, Ordering::Relaxed);
    sleep(Duration::from_secs(18)).await;
    let (steady, now) = (stage.fake.keeper_starts.lock().len(), Instant::now());
    sleep(Duration::from_hours(1)).await;
    assert_eq!(stage.fake.keeper_starts.lock().len(), steady, "{now:?}");
    stage.cancel.cancel();
    stage.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_syncs_in_time_is_never_wanted_not_ready() {
    let stage = Stage::new(Fake::default());
    sleep(Duration::from_secs(3)).await;
    assert!(
        stage.fake.ends.lock().wanted.is_none(),
        "the predecessor's word stands"
    );
    stage.ends(|ends| &mut ends.report).send_replace(synced());
    sleep(Duration::from_millis(1)).await;
    assert!(stage.wanted().ready);
    let start = Instant::now();
    stage.cancel.cancel();
    stage.task.await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_stopped_before_its_first_lists_starts_no_keeper() {
    let stage = Stage::new(Fake::default());
    sleep(Duration::from_secs(1)).await;
    stage.cancel.cancel();
    stage.task.await.unwrap();
    assert!(stage.fake.keeper_starts.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_identity_is_refused_is_not_ready_and_says_why() {
    let stage = Stage::late(Fake::default()).await;
    stage.ends(|ends| &mut ends.report).send_replace(synced());
    stage
        .ends(|ends| &mut ends.registration)
        .send_replace(Registration {
            registered: true,
            ready: true,
            ..Registration::default()
        });
    let refused = stage.fake.refused.lock().take().unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(stage.status.borrow().ready);
    refused.send_replace(Some("the operator may not act as node n".to_owned()));
    sleep(Duration::from_millis(1)).await;
    let status = stage.status.borrow().clone();
    assert!(!status.ready && status.refused.is_some());
    refused.send_replace(None);
    sleep(Duration::from_millis(1)).await;
    assert!(stage.status.borrow().ready);
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_azure_are_a_taint_after_one_and_gone_with_the_first_answer() {
    let stage = Stage::new(Fake::default());
    stage.fake.azure.note(&Ok(()));
    sleep(Duration::from_millis(1)).await;
    stage.ends(|ends| &mut ends.report).send_replace(synced());
    sleep(Duration::from_secs(1)).await;
    let look = || {
        let wanted = stage.wanted();
        let taints = wanted.spec.taints.iter();
        let tainted = taints
            .filter(|it| it.key == AZURE_UNREACHABLE_TAINT)
            .count();
        assert!(wanted.ready, "nothing is evicted");
        (tainted, wanted.azure.unwrap().reachable)
    };
    assert_eq!(look(), (0, true));
    let failure: Result<(), _> = Err(AzureError::local(
        ErrorClass::Timeout,
        "Timeout",
        "no answer",
    ));
    let away = Instant::now();
    while away.elapsed() < Duration::from_mins(10) {
        stage.fake.azure.note(&failure);
        sleep(Duration::from_secs(1)).await;
        let late = away.elapsed();
        if late < Duration::from_secs(59) {
            assert_eq!(look(), (0, true), "{late:?}");
        } else if late > Duration::from_secs(62) {
            assert_eq!(look(), (1, false), "{late:?}");
        }
    }
    let status = stage.status.borrow().azure.clone();
    assert!(matches!(status, Reach::Away { .. }), "{status:?}");
    stage.fake.azure.note(&Ok(()));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(look(), (0, true));
    assert_eq!(stage.status.borrow().azure, Reach::Reachable);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_while_azure_is_away_leaves_its_node_ready_and_tainted() {
    let stage = Stage::new(Fake::default());
    let failure: Result<(), _> = Err(AzureError::local(
        ErrorClass::Timeout,
        "Timeout",
        "no answer",
    ));
    stage.fake.azure.note(&failure);
    sleep(SYNC_GRACE + Duration::from_millis(1)).await;
    let wanted = stage.wanted();
    assert!(
        wanted.ready && wanted.reason == "AzureUnreachable",
        "{wanted:?}"
    );
    assert!(!wanted.azure.unwrap().reachable);
}

#[tokio::test(start_paused = true)]
async fn a_first_list_that_takes_long_leaves_the_ready_of_a_predecessor_for_as_long_as_controllers_wait()
 {
    let stage = Stage::late(Fake::default()).await;
    let wanted = stage.wanted();
    assert!(wanted.starting && !wanted.ready, "{wanted:?}");
    sleep(START_GRACE).await;
    let wanted = stage.wanted();
    assert!(!wanted.starting && !wanted.ready, "{wanted:?}");
    stage.ends(|ends| &mut ends.report).send_replace(synced());
    sleep(Duration::from_millis(1)).await;
    let wanted = stage.wanted();
    assert!(!wanted.starting && wanted.ready, "{wanted:?}");
}
