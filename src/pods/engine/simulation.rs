//! A small world in which the index must keep its promises whatever happens: pods come and go, calls fail before or
//! after they took effect, the operator is killed and starts again. Time is simulated.

mod acts;
mod azure;
mod properties;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::pods::queue::Queue;
use crate::translate::facts;

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "what is the case of a pod")]
struct Pod {
    deleting: bool,
    /// When its grace period ends, and how many seconds it has.
    grace: (Duration, u8),
    /// Whether it has a `preStop` hook.
    hook: bool,
    /// Under `restartPolicy: Never`.
    once: bool,
    /// Whether it has a readiness and a liveness probe.
    probed: bool,
    /// Its container ends by itself, with this exit code, and it has a sidecar.
    job: Option<u8>,
    deadline: Option<u8>,
    status: serde_json::Value,
}

/// Nothing goes on for so many operations without time that passes.
const AT_ONE_TIME: u32 = 2_000;

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
    trouble: trouble::Trouble,
    /// The first GET of a group answers 404.
    lying: bool,
    /// Groups that no GET has been answered about.
    unseen: BTreeSet<String>,
    fails_after_effect: bool,
    /// PUTs of a group that existed: each would restart somebody's containers.
    repeated_puts: Vec<String>,
    /// Groups deleted although their pod lived on.
    wrong_deletes: Vec<String>,
    deleted_behind_our_back: BTreeSet<String>,
    stopped: BTreeSet<String>,
    /// Pods that end by themselves, and their exit codes.
    jobs: BTreeMap<String, u8>,
    /// What is on its way: when it answers, and the answer where it is decided already.
    flying: Vec<Flight>,
    /// When it answers, when it began, and the answer.
    listing: Option<(Duration, Duration, Input)>,
    latency: Duration,
    started: u64,
    /// Operations begun at this very time.
    begun_now: u32,
    suspended: bool,
    allowed: bool,
    queue_until: Duration,
    /// Pods of which a live GET has said that they are gone.
    confirmed: BTreeSet<String>,
    /// Pods that were being deleted or past their deadline while they were there: their groups are to go whatever follows.
    condemned: BTreeSet<String>,
    lies: BTreeSet<String>,
    /// Pods under `restartPolicy: Never` whose status said that they run.
    ran: BTreeSet<String>,
    /// Pods to be run once whose group ran when it was deleted.
    started_late: BTreeSet<String>,
    /// When the containers of a pod end that were sent SIGTERM.
    ended: BTreeMap<String, Duration>,
    /// What of each pod is probed.
    probing: BTreeMap<String, Arc<ProbeTarget>>,
    /// When containers were started anew last, and how often that is counted, because they failed a probe.
    restarted: BTreeMap<String, (Duration, u32)>,
    /// Groups restarted, or containers signalled, of pods that nothing is probed of.
    wrong_restarts: Vec<String>,
    /// Runs whose `postStart` hook was run.
    post_starts: Vec<(String, Option<Duration>)>,
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
            trouble: trouble::Trouble::default(),
            lying: false,
            unseen: BTreeSet::new(),
            fails_after_effect: false,
            repeated_puts: Vec::new(),
            wrong_deletes: Vec::new(),
            deleted_behind_our_back: BTreeSet::new(),
            stopped: BTreeSet::new(),
            jobs: BTreeMap::new(),
            flying: Vec::new(),
            listing: None,
            latency: Duration::ZERO,
            started: 0,
            begun_now: 0,
            suspended: false,
            allowed: true,
            queue_until: Duration::ZERO,
            confirmed: BTreeSet::new(),
            condemned: BTreeSet::new(),
            lies: BTreeSet::new(),
            ran: BTreeSet::new(),
            started_late: BTreeSet::new(),
            ended: BTreeMap::new(),
            probing: BTreeMap::new(),
            restarted: BTreeMap::new(),
            wrong_restarts: Vec::new(),
            post_starts: Vec::new(),
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
        self.trouble.forget_all();
        self.probing.clear();
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
        if pod.job.is_some() {
            object["spec"]["initContainers"] =
                json!([{"name": "proxy", "image": "p", "restartPolicy": "Always"}]);
            object["spec"]["containers"][0]["terminationMessagePolicy"] =
                json!("FallbackToLogsOnError");
        }
        if let Some(seconds) = pod.deadline {
            object["spec"]["activeDeadlineSeconds"] = json!(seconds);
        }
        if pod.deleting {
            let (ends, seconds) = pod.grace;
            object["metadata"]["deletionTimestamp"] = json!(wall(ends).to_string());
            object["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
        }
        if pod.hook {
            object["spec"]["containers"][0]["lifecycle"] = json!({
                "preStop": {"sleep": {"seconds": 1}},
                "postStart": {"sleep": {"seconds": 1}},
            });
        }
        if pod.probed {
            object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 80}});
            object["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"port": 80}});
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
                Effect::Abandon(key) => self
                    .flying
                    .retain(|flight| !flight.operation.is_hook() || flight.key != key),
                Effect::Probe { key, target } => {
                    match target {
                        Some(target) => self.probing.insert(key.uid, target),
                        None => self.probing.remove(&key.uid),
                    };
                }
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
                Some(next) if next <= end => {
                    if next > self.now {
                        self.begun_now = 0;
                    }
                    self.now = next.max(self.now);
                }
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
            let deletes = self.pods.get(&key.uid).is_some_and(|pod| pod.deleting);
            let ends_one = match operation {
                Operation::RestartGroup | Operation::Kill(_) => true,
                // The sidecars of a job get one when it has ended.
                Operation::SendSignal(_) => !deletes && !self.jobs.contains_key(&key.uid),
                _ => false,
            };
            if ends_one && !self.probing.contains_key(&key.uid) {
                self.wrong_restarts.push(key.uid.clone());
            }
            if matches!(operation, Operation::CreateGroup { .. })
                && (self.suspended || !self.allowed)
            {
                self.suspended_creates.push(key.uid.clone());
            }
            self.begun_now += 1;
            assert!(
                self.begun_now < AT_ONE_TIME,
                "it goes on without an end: {operation:?} of {:?}",
                self.engine.records.get(&key)
            );
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
}
