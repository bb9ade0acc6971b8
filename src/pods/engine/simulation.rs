//! A small world in which the index must keep its promises whatever happens: pods come and go, calls fail before or
//! after they took effect, the operator is killed and starts again. Time is simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::pods::queue::Queue;
use crate::provider::{FailureKind, GroupSummary};
use crate::translate::facts;

/// What may happen to the world.
#[derive(Debug, Clone)]
enum Act {
    Create(u8),
    CreateWithDeadline(u8, u8),
    /// With this grace period, in seconds.
    Delete(u8, u8),
    ForceDelete(u8),
    Pass(u16),
    Fail {
        calls: u8,
        after_effect: bool,
    },
    KillOperator,
    DeleteGroupBehindOurBack(u8),
    /// Operations take up to so long from now on; watch events and other operations come in between.
    Latency(u16),
    Suspend(bool),
    /// The pods' namespace is allowed or not.
    Allow(bool),
    /// Creates and deletes wait for a turn for so long.
    Queue(u8),
    /// The watch says that a pod is gone which is not, and takes it back later.
    WatchLies(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u8..12).prop_map(Act::Create),
        2 => (0u8..12, 1u8..60).prop_map(|(n, seconds)| Act::CreateWithDeadline(n, seconds)),
        3 => (0u8..12, 0u8..40).prop_map(|(n, grace)| Act::Delete(n, grace)),
        1 => (0u8..12).prop_map(Act::ForceDelete),
        6 => (1u16..5000).prop_map(Act::Pass),
        2 => (1u8..4, any::<bool>()).prop_map(|(calls, after_effect)| Act::Fail { calls, after_effect }),
        1 => Just(Act::KillOperator),
        1 => (0u8..12).prop_map(Act::DeleteGroupBehindOurBack),
        2 => (0u16..4000).prop_map(Act::Latency),
        1 => any::<bool>().prop_map(Act::Suspend),
        1 => any::<bool>().prop_map(Act::Allow),
        1 => (1u8..25).prop_map(Act::Queue),
        1 => (0u8..12).prop_map(Act::WatchLies),
    ]
}

#[derive(Debug, Clone)]
struct Pod {
    deleting: bool,
    /// When its grace period ends, and how many seconds it has.
    grace: (Duration, u8),
    /// Whether it has a `preStop` hook.
    hook: bool,
    /// Under `restartPolicy: Never`.
    once: bool,
    deadline: Option<u8>,
    status: serde_json::Value,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is the case in the world"
)]
struct World {
    start: Instant,
    now: Duration,
    agent_start: Duration,
    /// UID of the newest pod of each name: a UID is never used twice.
    newest: BTreeMap<u8, String>,
    created: u32,
    pods: BTreeMap<String, Pod>,
    groups: BTreeMap<String, Duration>,
    engine: Engine,
    queue: Queue<PodKey>,
    list_due: Option<Duration>,
    failing: u8,
    /// The first GET of a group answers 404.
    lying: bool,
    /// Groups that no GET has been answered about.
    unseen: std::collections::BTreeSet<String>,
    fails_after_effect: bool,
    /// PUTs of a group that existed: each would restart somebody's containers.
    repeated_puts: Vec<String>,
    /// Groups deleted although their pod lived on.
    wrong_deletes: Vec<String>,
    deleted_behind_our_back: BTreeSet<String>,
    stopped: BTreeSet<String>,
    /// What is on its way: when it answers, and the answer where it is decided already.
    flying: Vec<Flight>,
    /// When it answers, when it began, and the answer.
    listing: Option<(Duration, Duration, Input)>,
    latency: Duration,
    started: u64,
    suspended: bool,
    allowed: bool,
    queue_until: Duration,
    /// Pods of which a live GET has said that they are gone, and pods that were once seen being deleted.
    confirmed: BTreeSet<String>,
    deleting: BTreeSet<String>,
    lies: BTreeSet<String>,
    /// Pods under `restartPolicy: Never` whose status said that they run.
    ran: BTreeSet<String>,
    /// When the containers of a pod end that were sent SIGTERM.
    ended: BTreeMap<String, Duration>,
    /// Pods whose hooks were run, and those whose containers got SIGTERM.
    hooks: Vec<String>,
    signals: Vec<String>,
    /// Groups of pods with time left that were deleted before their containers had ended.
    cut_short: Vec<String>,
    /// Those of them for which another group was made.
    run_again: Vec<String>,
    /// Groups deleted although nobody had asked the API server for their pod.
    unconfirmed_deletes: Vec<String>,
    /// Creates that began while the node was suspended, or the namespace not allowed.
    suspended_creates: Vec<String>,
}

/// An operation on its way. Half of them are carried out when they begin and answer late, the others at their end.
#[derive(Debug)]
struct Flight {
    due: Duration,
    key: PodKey,
    operation: Operation,
    answer: Option<Input>,
}

impl Pod {
    /// Whether it has been active for longer than it may.
    fn is_overdue(&self, now: Timestamp) -> bool {
        let start = self.status["startTime"].as_str();
        let start = start.map(|text| text.parse::<Timestamp>().unwrap());
        let allowed = self
            .deadline
            .map(|seconds| Duration::from_secs(seconds.into()));
        matches!((start, allowed), (Some(start), Some(allowed)) if now >= start + allowed)
    }
}

const STARTS_AFTER: Duration = Duration::from_secs(3);
/// Containers end so long after SIGTERM.
const ENDS_AFTER: Duration = Duration::from_secs(2);

fn key(uid: &str) -> PodKey {
    PodKey {
        namespace: "ns".into(),
        name: format!("pod-{uid}"),
        uid: uid.into(),
    }
}

fn tenants(allowed: bool) -> Input {
    let labels = BTreeMap::from([("aci".to_owned(), allowed.to_string())]);
    let selector = json!({"matchLabels": {"aci": "true"}});
    Input::Tenants(Tenants::Selected {
        selector: Arc::new(serde_json::from_value(selector).unwrap()),
        namespaces: [("ns".to_owned(), labels)].into_iter().collect(),
    })
}

fn new_engine() -> Engine {
    Engine::new(
        None,
        NameGroup(Box::new(|key| format!("g-{}", key.uid))),
        true,
    )
}

fn failure() -> Failure {
    Failure {
        kind: FailureKind::Uncertain,
        reason: "Simulated",
        message: "simulated".into(),
        retry_after: None,
    }
}

fn complete(groups: Vec<GroupSummary>) -> Listing {
    Listing {
        all: groups.len(),
        groups,
        age: Duration::ZERO,
    }
}

fn wall(time: Duration) -> Timestamp {
    let millis = i64::try_from(time.as_millis()).unwrap();
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            start: Instant::now(),
            now: Duration::ZERO,
            agent_start: Duration::ZERO,
            newest: BTreeMap::new(),
            created: 0,
            pods: BTreeMap::new(),
            groups: BTreeMap::new(),
            engine: new_engine(),
            queue: Queue::default(),
            list_due: None,
            failing: 0,
            lying: false,
            unseen: std::collections::BTreeSet::new(),
            fails_after_effect: false,
            repeated_puts: Vec::new(),
            wrong_deletes: Vec::new(),
            deleted_behind_our_back: BTreeSet::new(),
            stopped: BTreeSet::new(),
            flying: Vec::new(),
            listing: None,
            latency: Duration::ZERO,
            started: 0,
            suspended: false,
            allowed: true,
            queue_until: Duration::ZERO,
            confirmed: BTreeSet::new(),
            deleting: BTreeSet::new(),
            lies: BTreeSet::new(),
            ran: BTreeSet::new(),
            ended: BTreeMap::new(),
            hooks: Vec::new(),
            signals: Vec::new(),
            cut_short: Vec::new(),
            run_again: Vec::new(),
            unconfirmed_deletes: Vec::new(),
            suspended_creates: Vec::new(),
        };
        world.start_operator();
        world
    }

    fn start_operator(&mut self) {
        self.engine = new_engine();
        self.queue = Queue::default();
        self.agent_start = self.now;
        self.list_due = Some(self.now);
        self.flying.clear();
        self.listing = None;
        self.lies.clear();
        self.step(Input::Suspended(self.suspended));
        self.step(tenants(self.allowed));
        for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.tell_pod(&uid);
        }
        self.step(Input::PodsSynced);
    }

    fn tell_pod(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid) else {
            return;
        };
        let policy = if pod.once { "Never" } else { "Always" };
        let mut object = json!({
            "metadata": {"namespace": "ns", "name": format!("pod-{uid}"), "uid": uid, "generation": 1},
            "spec": {"nodeName": "node", "restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]},
            "status": pod.status,
        });
        if let Some(seconds) = pod.deadline {
            object["spec"]["activeDeadlineSeconds"] = json!(seconds);
        }
        if pod.deleting {
            let (ends, seconds) = pod.grace;
            object["metadata"]["deletionTimestamp"] = json!(wall(ends).to_string());
            object["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
        }
        if pod.hook {
            object["spec"]["containers"][0]["lifecycle"] =
                json!({"preStop": {"sleep": {"seconds": 1}}});
        }
        let facts = facts(&serde_json::from_value(object).unwrap()).unwrap();
        self.step(Input::PodApplied(Box::new(facts)));
    }

    fn wall(&self) -> Timestamp {
        wall(self.now)
    }

    fn at(&self) -> Now {
        Now {
            wall: self.wall(),
            mono: self.now.saturating_sub(self.agent_start),
        }
    }

    fn step(&mut self, input: Input) {
        let effects = self.engine.step(self.at(), input);
        self.check_records();
        for effect in effects {
            match effect {
                Effect::Schedule {
                    key,
                    priority,
                    after,
                    ..
                } => self.queue.set(key, priority, self.start + self.now + after),
                Effect::Forget(key) => self.queue.remove(&key),
                Effect::List { after } => {
                    let due = self.now + after;
                    self.list_due = Some(self.list_due.map_or(due, |earlier| earlier.min(due)));
                }
                Effect::WriteStatus {
                    key,
                    status,
                    digest,
                } => {
                    if let Some(pod) = self.pods.get_mut(&key.uid) {
                        pod.status = serde_json::to_value(&status).unwrap();
                        if pod.once && pod.status["phase"] == "Running" {
                            self.ran.insert(key.uid.clone());
                        }
                        self.tell_pod(&key.uid);
                    }
                    self.step(Input::StatusWritten(key, digest));
                }
                Effect::Abandon(key) => self.flying.retain(|flight| {
                    let is_hook = matches!(
                        flight.operation,
                        Operation::RunPreStop(_) | Operation::SendSignal(_)
                    );
                    !is_hook || flight.key != key
                }),
                Effect::Emit(_) | Effect::Unprovisioned(_) => {}
            }
        }
    }

    /// Whatever has happened, every record is brought forward by something, and nothing is condemned without a reason.
    fn check_records(&mut self) {
        for record in self.engine.records.values() {
            let moves = record.planned.is_some() || record.in_flight.is_some();
            assert!(
                moves || next::is_at_rest(record, &self.engine.node),
                "nothing brings it forward: {record:?}"
            );
            if let Some(planned) = &record.planned {
                let creates = matches!(planned.operation, Operation::CreateGroup { .. });
                assert!(!creates || !self.suspended && self.allowed, "{record:?}");
                assert!(!creates || self.engine.is_synced(), "{record:?}");
                let deletes = planned.operation == Operation::DeleteGroup;
                assert!(
                    !deletes || matches!(record.stage, Stage::Removing(_)),
                    "{record:?}"
                );
            }
        }
    }

    /// Runs everything that becomes due within `span`.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.begin_all();
            let flight = self.flying.iter().map(|flight| flight.due).min();
            let list = self.listing.as_ref().map(|(due, _, _)| *due);
            let queue = self.queue.next_due().map(|due| due - self.start);
            let next = [flight, list, queue, self.list_due]
                .into_iter()
                .flatten()
                .min();
            match next {
                Some(next) if next <= end => self.now = next.max(self.now),
                _ => break,
            }
            self.finish_due();
        }
        self.now = end;
    }

    /// How long the next operation takes: anything between nothing and the latency.
    fn takes(&mut self) -> Duration {
        self.started += 1;
        let share = (self.started.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 101;
        self.latency * u32::try_from(share).unwrap() / 100
    }

    fn begin_all(&mut self) {
        while let Some(key) = self.queue.pop(self.start + self.now) {
            let Some(Begun { operation, .. }) = self.engine.begin(self.at(), &key) else {
                continue;
            };
            if operation == Operation::Timer {
                self.step(Input::Timer(key));
                continue;
            }
            if matches!(operation, Operation::CreateGroup { .. })
                && (self.suspended || !self.allowed)
            {
                self.suspended_creates.push(key.uid.clone());
            }
            let due = self.now + self.takes();
            let early = self.started.is_multiple_of(2);
            let answer = early.then(|| self.carry_out(&key, &operation));
            self.flying.push(Flight {
                due,
                key,
                operation,
                answer,
            });
        }
        if self.list_due.is_some_and(|due| due <= self.now) && self.listing.is_none() {
            self.list_due = None;
            let due = self.now + self.takes();
            self.listing = Some((due, self.now, self.list()));
        }
    }

    fn finish_due(&mut self) {
        let now = self.now;
        while let Some(at) = self.flying.iter().position(|flight| flight.due <= now) {
            let Flight {
                key,
                operation,
                answer,
                ..
            } = self.flying.remove(at);
            let answer = answer.unwrap_or_else(|| self.carry_out(&key, &operation));
            self.step(answer);
        }
        if let Some((_, begun, mut answer)) = self.listing.take_if(|(due, _, _)| *due <= now) {
            if let Input::GroupsListed(Ok(listing)) = &mut answer {
                listing.age = now.saturating_sub(begun);
            }
            self.step(answer);
        }
    }

    /// Whether this call fails, and if so whether it takes effect all the same.
    fn luck(&mut self) -> Option<bool> {
        let failing = self.failing > 0;
        self.failing = self.failing.saturating_sub(1);
        failing.then_some(self.fails_after_effect)
    }

    /// Whether a GET of the group is answered 404 although it is there, which happens once.
    fn is_denied(&mut self, uid: &str) -> bool {
        self.unseen.remove(uid) && self.lying
    }

    fn list(&mut self) -> Input {
        if self.luck().is_some() {
            return Input::GroupsListed(Err(failure()));
        }
        let groups = self.groups.iter().map(|(uid, made)| GroupSummary {
            name: format!("g-{uid}"),
            key: key(uid),
            maker: crate::tenure::Maker::Us,
            provisioning_state: if self.now < *made + STARTS_AFTER {
                "Creating"
            } else {
                "Succeeded"
            }
            .into(),
        });
        let groups = groups.collect();
        Input::GroupsListed(Ok(complete(groups)))
    }

    /// The failure of a create or delete that has to wait for its turn.
    fn queued(&self) -> Option<Failure> {
        let wait = self.queue_until.saturating_sub(self.now);
        (!wait.is_zero()).then(|| Failure {
            kind: FailureKind::Queued,
            retry_after: Some(wait),
            ..failure()
        })
    }

    #[expect(clippy::too_many_lines, reason = "a line or two for each operation")]
    fn carry_out(&mut self, key: &PodKey, operation: &Operation) -> Input {
        match (operation, self.queued()) {
            (Operation::CreateGroup { .. }, Some(failure)) => {
                return Input::Created(key.clone(), Err(failure));
            }
            (Operation::DeleteGroup, Some(failure)) => {
                return Input::Deleted(key.clone(), Err(failure));
            }
            _ => {}
        }
        let luck = self.luck();
        let happens = luck.is_none_or(|after_effect| after_effect);
        let uid = key.uid.clone();
        match operation {
            Operation::CreateGroup { look_first, .. } => {
                let there = self.groups.contains_key(&uid);
                let exists = there && !(*look_first && self.is_denied(&uid));
                if there && !exists && happens {
                    self.repeated_puts.push(uid.clone());
                }
                // A pod that is gone from the API server cannot be read, so nothing is made for it.
                let alive = self.pods.contains_key(&uid);
                if happens && alive {
                    if exists && !look_first {
                        self.repeated_puts.push(uid.clone());
                    }
                    if !exists && self.ran.contains(&uid) {
                        self.run_again.push(uid.clone());
                    }
                    if !there {
                        self.unseen.insert(uid.clone());
                    }
                    self.groups.entry(uid.clone()).or_insert(self.now);
                }
                let result = match (luck, self.group(&uid)) {
                    (None, Some(group)) => Ok(Ensured {
                        group,
                        adopted: false,
                        notes: Vec::new(),
                    }),
                    _ => Err(failure()),
                };
                Input::Created(key.clone(), result)
            }
            Operation::GetGroup if luck.is_some() => Input::Observed(key.clone(), Err(failure())),
            Operation::GetGroup if self.is_denied(&uid) => Input::Observed(key.clone(), Ok(None)),
            Operation::GetGroup => Input::Observed(key.clone(), Ok(self.group(&uid))),
            Operation::DeleteGroup => {
                let now = self.wall();
                let lives_on = |pod: &Pod| !pod.deleting && !pod.is_overdue(now);
                match self.pods.get(&uid) {
                    Some(pod) if lives_on(pod) => self.wrong_deletes.push(uid.clone()),
                    Some(_) => {}
                    None if self.deleting.contains(&uid) || self.confirmed.contains(&uid) => {}
                    None => self.unconfirmed_deletes.push(uid.clone()),
                }
                if let Some(pod) = self.pods.get(&uid)
                    && pod.deleting
                    && self.now < pod.grace.0
                    && self.signals.contains(&uid)
                    && self.ended.get(&uid).is_some_and(|ended| *ended > self.now)
                {
                    self.cut_short.push(uid.clone());
                }
                let existed = if happens {
                    self.groups.remove(&uid).is_some()
                } else {
                    false
                };
                let result = match luck {
                    Some(_) => Err(failure()),
                    None if existed => Ok(Deleted::Accepted(None)),
                    None => Ok(Deleted::Absent),
                };
                Input::Deleted(key.clone(), result)
            }
            Operation::StopGroup if luck.is_some() => Input::Stopped(key.clone(), Err(failure())),
            Operation::StopGroup => {
                self.stopped.insert(uid.clone());
                Input::Stopped(key.clone(), Ok(()))
            }
            Operation::RunPreStop(_) => {
                self.hooks.push(uid);
                Input::PreStopEnded(key.clone(), Vec::new())
            }
            Operation::SendSignal(_) => {
                self.signals.push(uid.clone());
                self.ended.insert(uid, self.now + ENDS_AFTER);
                Input::Signalled(key.clone(), Vec::new())
            }
            Operation::Timer => unreachable!("carried out at once"),
            Operation::GetPod if luck.is_some() => Input::PodRead(key.clone(), Presence::Unknown),
            Operation::GetPod => {
                let alive = self.pods.contains_key(&uid);
                if !alive {
                    self.confirmed.insert(uid);
                }
                Input::PodRead(
                    key.clone(),
                    if alive {
                        Presence::Alive
                    } else {
                        Presence::Gone
                    },
                )
            }
            Operation::DeletePod => {
                let removed = luck.is_none() && self.pods.remove(&uid).is_some();
                if removed {
                    self.step(Input::PodGone(key.clone()));
                }
                Input::PodDeleted(key.clone(), luck.is_none())
            }
        }
    }

    fn group(&self, uid: &str) -> Option<Box<ContainerGroup>> {
        let made = self.groups.get(uid)?;
        let running = self.now >= *made + STARTS_AFTER;
        let mut container = json!({"name": "c", "properties": {"image": "i"}});
        let ended = self.ended.get(uid).filter(|ended| **ended <= self.now);
        if let Some(ended) = ended {
            // It is started again at once.
            container["properties"]["instanceView"] = json!({
                "restartCount": 1,
                "previousState": {"state": "Terminated", "exitCode": 0, "startTime": "2027-01-15T08:00:00Z",
                                  "finishTime": wall(*ended).to_string(), "detailStatus": "Completed"},
                "currentState": {"state": "Running", "startTime": wall(*ended).to_string()},
            });
        } else if running {
            container["properties"]["instanceView"] = json!({
                "restartCount": 0, "currentState": {"state": "Running", "startTime": "2027-01-15T08:00:00Z"},
            });
        }
        let group = json!({"name": format!("g-{uid}"), "properties": {
            "osType": "Linux", "restartPolicy": "Always", "containers": [container],
            "provisioningState": if running { "Succeeded" } else { "Creating" },
            "instanceView": {"state": if running { "Running" } else { "Pending" }},
        }});
        Some(Box::new(serde_json::from_value(group).unwrap()))
    }

    fn newest(&self, n: u8) -> String {
        self.newest.get(&n).cloned().unwrap_or_default()
    }

    fn create(&mut self, n: u8, deadline: Option<u8>) {
        if self.pods.contains_key(&self.newest(n)) {
            return;
        }
        self.created += 1;
        let uid = format!("u{n}-{}", self.created);
        self.newest.insert(n, uid.clone());
        let pod = Pod {
            deleting: false,
            grace: (Duration::ZERO, 0),
            hook: n.is_multiple_of(2),
            once: n.is_multiple_of(3),
            deadline,
            status: json!({"phase": "Pending"}),
        };
        self.pods.insert(uid.clone(), pod);
        self.tell_pod(&uid);
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Create(n) => self.create(*n, None),
            Act::CreateWithDeadline(n, seconds) => self.create(*n, Some(*seconds)),
            Act::Delete(n, grace) => {
                let uid = self.newest(*n);
                let ends = self.now + Duration::from_secs(u64::from(*grace));
                if let Some(pod) = self.pods.get_mut(&uid) {
                    // A grace period can only be made shorter.
                    if !pod.deleting || ends < pod.grace.0 {
                        pod.grace = (ends, *grace);
                    }
                    pod.deleting = true;
                    self.deleting.insert(uid.clone());
                    self.lies.remove(&uid);
                    self.tell_pod(&uid);
                }
            }
            Act::ForceDelete(n) => {
                let uid = self.newest(*n);
                if self.pods.remove(&uid).is_some() {
                    self.step(Input::PodGone(key(&uid)));
                }
            }
            Act::Pass(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Act::Fail {
                calls,
                after_effect,
            } => {
                self.failing = *calls;
                self.fails_after_effect = *after_effect;
            }
            Act::KillOperator => self.start_operator(),
            Act::DeleteGroupBehindOurBack(n) => {
                let uid = self.newest(*n);
                if self.groups.remove(&uid).is_some() {
                    self.deleted_behind_our_back.insert(uid);
                }
            }
            Act::Latency(ms) => self.latency = Duration::from_millis(u64::from(*ms)),
            Act::Suspend(suspended) => {
                self.suspended = *suspended;
                self.step(Input::Suspended(*suspended));
            }
            Act::Allow(allowed) => {
                self.allowed = *allowed;
                self.step(tenants(*allowed));
            }
            Act::Queue(seconds) => {
                self.queue_until = self.now + Duration::from_secs(u64::from(*seconds));
            }
            Act::WatchLies(n) => {
                let uid = self.newest(*n);
                if self.pods.get(&uid).is_some_and(|pod| !pod.deleting)
                    && self.lies.insert(uid.clone())
                {
                    self.step(Input::PodGone(key(&uid)));
                }
            }
        }
    }

    /// The watch tells the truth again.
    fn take_back_lies(&mut self) {
        for uid in std::mem::take(&mut self.lies) {
            self.tell_pod(&uid);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_groups_and_pods_agree_in_the_end(
        acts in prop::collection::vec(act(), 1..60),
        lying in any::<bool>(),
    ) {
        let mut world = World::new();
        world.lying = lying;
        for act in &acts {
            world.act(act);
        }
        world.failing = 0;
        world.act(&Act::Suspend(false));
        world.act(&Act::Allow(true));
        world.take_back_lies();
        // Long enough for groups that were too many at once.
        world.pass(HOLD + Duration::from_secs(1200));

        prop_assert!(world.repeated_puts.is_empty(), "PUT of an existing group: {:?}", world.repeated_puts);
        prop_assert!(world.wrong_deletes.is_empty(), "group of a living pod deleted: {:?}", world.wrong_deletes);
        prop_assert!(
            world.unconfirmed_deletes.is_empty(),
            "group deleted without a live GET of its pod: {:?}", world.unconfirmed_deletes
        );
        prop_assert!(
            world.suspended_creates.is_empty(),
            "created while suspended: {:?}", world.suspended_creates
        );
        prop_assert!(world.cut_short.is_empty(), "not waited for: {:?}", world.cut_short);
        for (what, done) in [("hooks", &world.hooks), ("signals", &world.signals)] {
            let once: BTreeSet<_> = done.iter().collect();
            prop_assert_eq!(once.len(), done.len(), "{} twice: {:?}", what, done);
        }
        prop_assert!(world.run_again.is_empty(), "run a second time: {:?}", world.run_again);
        for (uid, pod) in &world.pods {
            prop_assert!(!pod.deleting, "{uid} was never removed");
            let phase = pod.status["phase"].as_str().unwrap_or_default().to_string();
            if pod.deadline.is_some() {
                let reason = pod.status["reason"].as_str().unwrap_or_default();
                prop_assert_eq!(phase, "Failed", "{} lives on", uid);
                prop_assert!(
                    reason == "DeadlineExceeded" || world.deleted_behind_our_back.contains(uid),
                    "{} failed for {}", uid, reason
                );
                prop_assert!(!world.groups.contains_key(uid), "the group of {} bills", uid);
            } else if phase == "Failed" {
                prop_assert!(pod.once, "{uid} is to run always");
                prop_assert!(world.deleted_behind_our_back.contains(uid), "{uid} failed for no reason");
            } else {
                prop_assert_eq!(phase, "Running");
                prop_assert!(world.groups.contains_key(uid), "{} has no group", uid);
            }
        }
        for uid in world.groups.keys() {
            prop_assert!(world.pods.contains_key(uid), "the group of {uid} was left behind");
        }
        prop_assert_eq!(world.engine.counts().pods, world.pods.len());
        prop_assert!(world.stopped.is_empty(), "stopped: {:?}", world.stopped);
    }

    #[test]
    fn a_restart_of_a_quiet_world_changes_nothing(pods in prop::collection::btree_set(0u8..12, 0..12)) {
        let mut world = World::new();
        for n in &pods {
            world.act(&Act::Create(*n));
        }
        world.pass(Duration::from_secs(60));
        let before: Vec<_> = world.pods.values().map(|pod| pod.status.clone()).collect();
        let groups = world.groups.clone();
        world.act(&Act::KillOperator);
        world.pass(Duration::from_secs(600));
        let after: Vec<_> = world.pods.values().map(|pod| pod.status.clone()).collect();
        prop_assert_eq!(before, after);
        prop_assert_eq!(groups, world.groups);
    }
}
