//! The loop over a fake backend, on paused time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::Probes;
use crate::azure::model::ContainerGroup;
use crate::azure::throttle::{CallPriority, PollDemand, PollInterval};
use crate::pods::backend::Create;
use crate::pods::engine::Presence;
use crate::pods::prober::Ask;
use crate::pods::watch::Weighed;
use crate::provider::{
    Deleted, EndLogs, Ensured, GroupSummary, ProbeAnswer, ProbeCall, Slot, Unreached,
};
use crate::translate::{ContainerEnd, PodFacts, facts};

/// Azure and the API server in memory. Each call takes `latency`, and what it did is on record.
#[derive(Default)]
struct Fake {
    latency: Mutex<Duration>,
    groups: Mutex<BTreeSet<String>>,
    statuses: Mutex<BTreeMap<String, PodStatus>>,
    calls: Mutex<Vec<String>>,
    /// Calls by name that fail or die before they are answered, and how often.
    trouble: Mutex<BTreeMap<&'static str, (Trouble, usize)>>,
    writing: AtomicUsize,
    most_writing: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    Fails,
    Dies,
}

impl Fake {
    /// Records the call and waits; true when it is to fail.
    async fn call(&self, name: &'static str, of: &str) -> bool {
        self.calls.lock().push(format!("{name} {of}"));
        let latency = *self.latency.lock();
        tokio::time::sleep(latency).await;
        let trouble = {
            let mut all = self.trouble.lock();
            match all.get_mut(name) {
                Some((trouble, left)) if *left > 0 => {
                    *left -= 1;
                    Some(*trouble)
                }
                _ => None,
            }
        };
        assert_ne!(trouble, Some(Trouble::Dies), "dies as it should");
        trouble.is_some()
    }

    fn cause(&self, name: &'static str, trouble: Trouble, times: usize) {
        self.trouble.lock().insert(name, (trouble, times));
    }

    fn count(&self, call: &str) -> usize {
        let calls = self.calls.lock();
        calls.iter().filter(|it| it.starts_with(call)).count()
    }

    fn phase(&self, uid: &str) -> Option<String> {
        self.statuses.lock().get(uid)?.phase.clone()
    }
}

fn failure() -> Failure {
    Failure::transient("Test", "a test".to_owned())
}

/// The group `name`; its container has failed when the name says that it ends.
fn group_called(name: &str) -> Box<ContainerGroup> {
    let mut group = group();
    if name.starts_with("g-ends") {
        let view = json!({"restartCount": 0, "currentState": {"state": "Terminated", "exitCode": 3,
            "startTime": "2027-01-15T08:00:00Z", "finishTime": "2027-01-15T08:00:01Z"}});
        let container = &mut group.properties.containers[0].properties;
        container.instance_view = serde_json::from_value(view).unwrap();
    }
    group
}

fn group() -> Box<ContainerGroup> {
    let group = json!({"name": "g", "properties": {
        "osType": "Linux", "restartPolicy": "Always", "provisioningState": "Succeeded",
        "containers": [{"name": "c", "properties": {"image": "i", "instanceView":
            {"restartCount": 0, "currentState": {"state": "Running", "startTime": "2027-01-15T08:00:00Z"}}}}],
        "instanceView": {"state": "Running"}}});
    Box::new(serde_json::from_value(group).unwrap())
}

#[async_trait]
impl Ask for Fake {
    async fn probe(&self, call: ProbeCall) -> ProbeAnswer {
        self.call("probe", &call.key.uid).await;
        ProbeAnswer::Success
    }
}

#[async_trait]
impl Backend for Fake {
    async fn create(&self, create: Create) -> Result<Ensured, Failure> {
        // A registry that says nothing.
        if create.key.uid.starts_with("silent") {
            create.slot.leave();
            tokio::time::sleep(Duration::from_secs(30)).await;
            create.slot.again().await;
            return Err(failure());
        }
        if create.large {
            assert_eq!(create.pod, None, "it is not in memory while others are");
            self.calls.lock().push(format!("large {}", create.group));
        }
        if self.call("create", &create.group).await {
            return Err(failure());
        }
        self.groups.lock().insert(create.group.to_string());
        Ok(Ensured {
            group: group(),
            adopted: false,
            notes: Vec::new(),
        })
    }

    async fn get(
        &self,
        name: &str,
        _: CallPriority,
    ) -> Result<Option<Box<ContainerGroup>>, Failure> {
        if self.call("get", name).await {
            return Err(failure());
        }
        let there = self.groups.lock().contains(name);
        Ok(there.then(|| group_called(name)))
    }

    async fn delete(&self, name: &str) -> Result<Deleted, Failure> {
        if self.call("delete", name).await {
            return Err(failure());
        }
        let existed = self.groups.lock().remove(name);
        Ok(if existed {
            Deleted::Accepted(None)
        } else {
            Deleted::Absent
        })
    }

    async fn stop(&self, name: &str) -> Result<(), Failure> {
        self.call("stop", name).await;
        Ok(())
    }

    async fn restart(&self, name: &str) -> Result<(), Failure> {
        self.call("restart", name).await;
        Ok(())
    }

    async fn exchange_image(
        &self,
        _: &PodKey,
        name: &str,
        _: Arc<dyn Slot>,
    ) -> Result<Option<Ensured>, Failure> {
        self.call("image", name).await;
        Ok(None)
    }

    async fn read_logs(&self, name: &str, ends: &[ContainerEnd]) -> Result<EndLogs, Failure> {
        if self.call("read logs", name).await {
            return Err(failure());
        }
        Ok(EndLogs {
            logs: ends
                .iter()
                .map(|end| (end.clone(), "its last words\n".to_owned()))
                .collect(),
            group: Some(group_called(name)),
        })
    }

    async fn run_post_start(&self, key: &PodKey, _: &[String]) -> Vec<Unreached> {
        self.call("post start", &key.uid).await;
        Vec::new()
    }

    async fn run_pre_stop(&self, key: &PodKey, containers: &[String]) -> Vec<Unreached> {
        self.call("pre stop", &key.uid).await;
        assert!(!containers.is_empty());
        Vec::new()
    }

    async fn send_signal(&self, key: &PodKey, _: &[String]) -> Vec<Unreached> {
        self.call("signal", &key.uid).await;
        Vec::new()
    }

    async fn kill(&self, key: &PodKey, _: &[String]) -> Vec<Unreached> {
        self.call("kill", &key.uid).await;
        Vec::new()
    }

    async fn list(&self, _: Duration) -> Result<Listing, Failure> {
        if self.call("list", "").await {
            return Err(failure());
        }
        let groups: Vec<_> = self
            .groups
            .lock()
            .iter()
            .map(|name| summary(name))
            .collect();
        Ok(Listing {
            all: groups.len(),
            groups,
            age: Duration::ZERO,
        })
    }

    async fn pod_presence(&self, key: &PodKey) -> Presence {
        self.call("get pod", &key.uid).await;
        Presence::Gone
    }

    async fn delete_pod(&self, key: &PodKey) -> bool {
        !self.call("delete pod", &key.uid).await
    }

    async fn write_status(&self, facts: &PodFacts, status: &PodStatus) -> Result<(), KubeError> {
        let running = self.writing.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_writing.fetch_max(running, Ordering::SeqCst);
        let fails = self.call("write", &facts.key.uid).await;
        self.writing.fetch_sub(1, Ordering::SeqCst);
        if fails {
            return Err(KubeError::Timeout {
                op: "patch pods/status",
            });
        }
        self.statuses
            .lock()
            .insert(facts.key.uid.clone(), status.clone());
        Ok(())
    }

    fn plan(&self, _: PollDemand) -> PollInterval {
        PollInterval::default()
    }

    fn group_name(&self, key: &PodKey) -> String {
        format!("g-{}", key.uid)
    }
}

fn key(uid: &str) -> PodKey {
    PodKey {
        namespace: "ns".into(),
        name: format!("pod-{uid}"),
        uid: uid.into(),
    }
}

fn summary(name: &str) -> GroupSummary {
    GroupSummary {
        name: name.to_owned(),
        key: key(name.trim_start_matches("g-")),
        provisioning_state: "Succeeded".into(),
        maker: crate::tenure::Maker::Us,
    }
}

fn applied_with(uid: &str, change: impl FnOnce(&mut serde_json::Value)) -> Change {
    let mut pod = json!({
        "metadata": {"namespace": "ns", "name": format!("pod-{uid}"), "uid": uid, "generation": 1},
        "spec": {"nodeName": "node", "restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Pending"},
    });
    change(&mut pod);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let facts = Box::new(facts(&pod).unwrap());
    Change::Applied(
        facts,
        Some(Weighed {
            pod: Arc::new(pod),
            bytes: 1_000,
        }),
    )
}

fn applied(uid: &str) -> Change {
    applied_with(uid, |_| {})
}

fn deleting(uid: &str) -> Change {
    applied_with(uid, |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
    })
}

/// A loop that runs, and the ends of what it is connected to.
struct Rig {
    fake: Arc<Fake>,
    changes: mpsc::UnboundedSender<Change>,
    settings: channel::Sender<Settings>,
    namespaces: channel::Sender<Namespaces>,
    report: channel::Receiver<Report>,
    running: snapshot::Receiver,
    events: Arc<Mutex<Vec<String>>>,
    refreshes: Arc<RefreshRequests>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(fake: Fake) -> Self {
        let fake = Arc::new(fake);
        let (changes, receiver) = mpsc::unbounded_channel();
        let changes_stream = futures::stream::unfold(receiver, |mut receiver| async move {
            let change = receiver.recv().await?;
            Some((change, receiver))
        });
        let (settings, settings_rx) = channel::channel(Settings {
            suspended: false,
            delete_orphans: true,
            approved_orphans: None,
            allowed_namespaces: None,
            probes: Probes::default(),
            edits: 0,
        });
        let (namespaces, namespaces_rx) = channel::channel(Namespaces::default());
        let (report_tx, report) = channel::channel(Report::default());
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&events);
        let emit: Emit = Box::new(move |event| sink.lock().push(event.reason));
        let refreshes = Arc::new(RefreshRequests::default());
        let cancel = CancellationToken::new();
        let (snapshot, running) = snapshot::channel();
        let sinks = Sinks {
            emit,
            observer: Arc::new(()),
            report: report_tx,
            snapshot: Arc::new(snapshot),
            probes: ProbeCounts::default(),
        };
        let driver = Driver::new("node", None, Arc::clone(&fake), sinks);
        let sources = Sources {
            changes: changes_stream.boxed(),
            settings: settings_rx,
            refreshes: Arc::clone(&refreshes),
            namespaces: namespaces_rx,
        };
        let task = tokio::spawn(driver.run(sources, cancel.clone()));
        Self {
            fake,
            changes,
            settings,
            namespaces,
            report,
            running,
            events,
            refreshes,
            cancel,
            task,
        }
    }

    /// A loop whose lists have arrived and are empty.
    async fn synced(fake: Fake) -> Self {
        let mut rig = Self::start(fake);
        rig.send(Change::Synced);
        rig.report.wait_for(|report| report.synced).await.unwrap();
        rig
    }

    fn send(&self, change: Change) {
        assert!(self.changes.send(change).is_ok(), "the loop has ended");
    }

    /// Lets simulated time pass.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Lets the loop take what has been sent.
    async fn moment(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn stop(self) -> Arc<Fake> {
        self.cancel.cancel();
        self.task.await.unwrap();
        self.fake
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_created_runs_and_goes() {
    let rig = Rig::synced(Fake::default()).await;
    rig.send(applied("a"));
    rig.pass(2).await;
    assert_eq!(rig.fake.phase("a").as_deref(), Some("Running"));
    assert_eq!(
        (rig.report.borrow().pods, rig.report.borrow().groups),
        (1, 1)
    );
    assert_eq!(rig.running.borrow().running.len(), 1, "it is published");
    rig.send(deleting("a"));
    rig.pass(5).await;
    assert_eq!(rig.fake.count("delete pod a"), 1);
    rig.send(Change::Gone(key("a")));
    rig.pass(1).await;
    assert_eq!(
        (rig.report.borrow().pods, rig.report.borrow().groups),
        (0, 0)
    );
    assert_eq!(
        (rig.fake.count("create"), rig.fake.count("delete g")),
        (1, 1)
    );
    assert_eq!(
        rig.fake.count("get pod"),
        0,
        "nobody refreshes that it is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_list_is_said_and_repeated_and_nothing_is_made_before() {
    let fake = Fake::default();
    fake.cause("list", Trouble::Fails, 3);
    let rig = Rig::start(fake);
    rig.send(applied("a"));
    rig.send(Change::Synced);
    rig.pass(1).await;
    assert_eq!(rig.report.borrow().problem.as_deref(), Some("a test"));
    assert_eq!(rig.fake.count("create"), 0);
    rig.pass(20).await;
    assert_eq!(rig.report.borrow().problem, None);
    assert_eq!((rig.fake.count("list"), rig.fake.count("create")), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_failed_is_said_until_it_works_again() {
    let mut rig = Rig::start(Fake::default());
    rig.send(Change::Failed("no route".into()));
    let problem = |report: &Report| report.problem.clone();
    let said = rig.report.wait_for(|report| report.problem.is_some()).await;
    assert_eq!(problem(&said.unwrap()).as_deref(), Some("no route"));
    rig.send(Change::Synced);
    let synced = rig.report.wait_for(|report| report.synced).await;
    assert_eq!(problem(&synced.unwrap()), None);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_dies_is_tried_again() {
    for (name, call) in [
        ("create", "create"),
        ("get", "get g"),
        ("delete", "delete g"),
        ("delete pod", "delete pod"),
    ] {
        let fake = Fake::default();
        fake.cause(name, Trouble::Dies, 1);
        let rig = Rig::synced(fake).await;
        rig.send(applied("a"));
        rig.pass(10).await;
        rig.send(deleting("a"));
        rig.pass(40).await;
        assert!(rig.fake.count(call) >= 2, "{call}: {:?}", rig.fake.calls);
        assert!(rig.fake.groups.lock().is_empty(), "{call}");
        assert!(rig.fake.count("delete pod a") >= 1, "{call}");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn logs_are_read_once_more_and_an_end_waits_for_them() {
    for trouble in [Trouble::Dies, Trouble::Fails] {
        let fake = Fake::default();
        fake.cause("read logs", trouble, 1);
        let rig = Rig::synced(fake).await;
        rig.send(applied_with("ends", |pod| {
            pod["spec"]["restartPolicy"] = json!("Never");
            pod["spec"]["containers"][0]["terminationMessagePolicy"] =
                json!("FallbackToLogsOnError");
        }));
        rig.pass(10).await;
        assert_eq!(rig.fake.count("read logs g-ends"), 2);
        assert_eq!(rig.fake.phase("ends").as_deref(), Some("Failed"));
        let status = serde_json::to_value(&rig.fake.statuses.lock()["ends"]).unwrap();
        let end = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(end["message"], "its last words\n");
        rig.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_dies_is_tried_again() {
    let fake = Fake::default();
    fake.cause("list", Trouble::Dies, 1);
    let rig = Rig::synced(fake).await;
    assert_eq!(rig.fake.count("list"), 2);
}

/// What is not known to be in the API server is written again: a pod that is gone would stay `Terminating` for ever.
#[tokio::test(start_paused = true)]
async fn a_status_write_that_dies_or_fails_is_repeated() {
    for trouble in [Trouble::Dies, Trouble::Fails] {
        let rig = Rig::synced(Fake::default()).await;
        rig.send(applied("a"));
        rig.pass(5).await;
        rig.fake.cause("write", trouble, 3);
        rig.send(deleting("a"));
        rig.pass(20).await;
        assert_eq!(
            rig.fake.phase("a").as_deref(),
            Some("Failed"),
            "{trouble:?}"
        );
        assert_eq!(rig.fake.count("delete pod a"), 1, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_never_taken_is_told_once() {
    let rig = Rig::synced(Fake::default()).await;
    rig.fake.cause("write", Trouble::Fails, usize::MAX);
    rig.send(applied("a"));
    rig.pass(600).await;
    let told = rig
        .events
        .lock()
        .iter()
        .filter(|it| *it == "StatusNotWritten")
        .count();
    assert!((1..=2).contains(&told), "{told} times");
    assert!(
        rig.fake.count("write a") < 60,
        "{}",
        rig.fake.count("write a")
    );
}

#[tokio::test(start_paused = true)]
async fn the_connector_s_selector_and_the_labels_decide_together() {
    let rig = Rig::synced(Fake::default()).await;
    let label = |value: &str| {
        let labels = BTreeMap::from([("aci".to_owned(), value.to_owned())]);
        let all = [("ns".to_owned(), labels)];
        rig.namespaces.send_replace(all.into_iter().collect());
    };
    let select = |selector: serde_json::Value| {
        let selector: Option<AllowedNamespaces> = serde_json::from_value(selector).unwrap();
        let selector = selector.map(Arc::new);
        rig.settings
            .send_modify(|now| now.allowed_namespaces = selector.clone());
    };
    label("no");
    select(json!({"matchLabels": {"aci": "yes"}}));
    rig.moment().await;
    rig.send(applied("a"));
    rig.pass(60).await;
    assert_eq!(rig.fake.count("create"), 0);
    assert_eq!(*rig.events.lock(), ["NamespaceNotAllowed"]);
    label("yes");
    rig.moment().await;
    assert_eq!(rig.fake.count("create g-a"), 1);
    label("no");
    rig.moment().await;
    rig.send(applied("b"));
    rig.pass(60).await;
    assert_eq!(rig.fake.count("create g-b"), 0);
    select(serde_json::Value::Null);
    rig.moment().await;
    assert_eq!(rig.fake.count("create g-b"), 1);
    assert_eq!(rig.fake.count("delete"), 0);
}

/// Pods whose registries do not answer cost the others nothing.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_registry_holds_nobodys_place() {
    let rig = Rig::synced(Fake::default()).await;
    rig.send(applied("old"));
    rig.pass(1).await;
    for n in 0..3 * OPERATIONS {
        rig.send(applied(&format!("silent-{n}")));
    }
    rig.pass(1).await;
    rig.send(applied("new"));
    rig.send(deleting("old"));
    rig.moment().await;
    assert_eq!(rig.fake.count("create g-new"), 1);
    assert_eq!(rig.fake.count("delete g-old"), 1);
    // They go on for hours, and so do the others.
    rig.pass(3600).await;
    rig.send(applied("newer"));
    rig.moment().await;
    assert_eq!(rig.fake.count("create g-newer"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_node_makes_nothing_until_it_may() {
    let rig = Rig::synced(Fake::default()).await;
    let set = |suspended| rig.settings.send_modify(|now| now.suspended = suspended);
    set(true);
    rig.moment().await;
    rig.send(applied("a"));
    rig.pass(60).await;
    assert_eq!(rig.fake.count("create"), 0);
    set(false);
    rig.pass(1).await;
    assert_eq!(rig.fake.count("create"), 1);
    // What fails meanwhile is not tried again.
    rig.fake.cause("create", Trouble::Fails, 1);
    rig.send(applied("b"));
    rig.moment().await;
    set(true);
    rig.pass(60).await;
    assert_eq!(rig.fake.count("create g-b"), 1);
}

/// Nothing is made for now, of which there may be as many as there is room in the API server.
#[tokio::test(start_paused = true)]
async fn a_large_pod_that_waits_is_not_in_memory() {
    let rig = Rig::synced(Fake::default()).await;
    let set = |suspended| rig.settings.send_modify(|now| now.suspended = suspended);
    set(true);
    rig.moment().await;
    let small = applied("small");
    let Change::Applied(_, Some(kept)) = &small else {
        panic!("{small:?}");
    };
    let kept = Arc::downgrade(&kept.pod);
    rig.send(small);
    let Change::Applied(facts, _) = applied("large") else {
        panic!("another change");
    };
    rig.send(Change::Applied(facts, None));
    rig.pass(1).await;
    assert!(kept.strong_count() > 0);
    set(false);
    rig.pass(1).await;
    let counts = ["create", "large g-large"].map(|call| rig.fake.count(call));
    assert_eq!(counts, [2, 1]);
    assert_eq!(kept.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pod_in_doubt_is_polled_at_once() {
    let rig = Rig::synced(Fake::default()).await;
    rig.send(applied("a"));
    rig.pass(600).await;
    let before = rig.fake.count("get g-a");
    rig.refreshes.add(&key("a"));
    rig.moment().await;
    assert_eq!(rig.fake.count("get g-a"), before + 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_at_once_than_the_bounds_allow() {
    let fake = Fake::default();
    *fake.latency.lock() = Duration::from_secs(1);
    let rig = Rig::synced(fake).await;
    for n in 0..300 {
        rig.send(applied(&n.to_string()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.fake.count("create"), OPERATIONS);
    rig.pass(120).await;
    assert_eq!(rig.fake.count("create"), 300);
    assert_eq!(rig.fake.most_writing.load(Ordering::SeqCst), WRITES);
}

/// The drain waits for its writers, it does not spin: simulated time could not pass otherwise.
#[tokio::test(start_paused = true)]
async fn the_end_flushes_more_statuses_than_there_are_writers() {
    let fake = Fake::default();
    let rig = Rig::synced(fake).await;
    *rig.fake.latency.lock() = Duration::from_secs(1);
    for n in 0..30 {
        rig.send(applied(&n.to_string()));
    }
    rig.pass(1).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    let fake = tokio::time::timeout(Duration::from_secs(10), rig.stop())
        .await
        .unwrap();
    assert!(begun.elapsed() <= DRAIN + Duration::from_secs(1));
    assert_eq!(fake.statuses.lock().len(), 30, "all were written");
    assert_eq!(fake.count("create"), 30, "and nothing new was begun");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_does_not_hold_up_the_end() {
    let fake = Fake::default();
    let rig = Rig::synced(fake).await;
    *rig.fake.latency.lock() = Duration::from_secs(3600);
    rig.send(applied("a"));
    rig.pass(1).await;
    let begun = Instant::now();
    rig.stop().await;
    assert_eq!(begun.elapsed(), DRAIN);
}

#[tokio::test(start_paused = true)]
async fn an_idle_pod_costs_polls_and_nothing_else() {
    let rig = Rig::synced(Fake::default()).await;
    rig.send(applied("a"));
    rig.pass(300).await;
    let (writes, polls) = (rig.fake.count("write"), rig.fake.count("get g-a"));
    rig.pass(600).await;
    assert_eq!(rig.fake.count("write"), writes);
    let polls = rig.fake.count("get g-a") - polls;
    assert!((36..=45).contains(&polls), "{polls} polls in ten minutes");
}
