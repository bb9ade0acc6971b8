//! Questions to Azure about a connector: asked in the background, answered into the state, asked again at a pace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::capacity::{Quota, Region, Requests, Room, Scope, largest, room};
use super::super::dereference;
use super::super::preflight::{ConditionUpdate, Register, Report, Subject, ask, evaluate};
use super::{BACKOFF_BASE, BACKOFF_CAP};
use crate::api::Os;
use crate::api::conditions::Status;
use crate::azure::{ArmClient, ErrorClass};
use crate::kube::backoff::{Backoff, jitter};
use crate::translate::Largest;

/// While Azure is being asked, its answer is what wakes us.
const ANSWER: Duration = Duration::from_mins(5);
/// A registration that ARM has taken is not asked for again so soon: it may not show yet.
const REGISTRATION: Duration = Duration::from_mins(5);

/// How often Azure is asked about a connector, besides at once on a change of its spec or Secret and on request.
#[derive(Debug, Clone, Copy)]
pub struct PreflightIntervals {
    /// One that wants nothing, spread by a third either way: 5 to 10 minutes.
    pub idle: Duration,
    /// One whose capacity follows the quota, which others use, too.
    pub quota: Duration,
    /// One that wants something: it is put right in Azure, where we do not watch.
    pub wanting: Duration,
}

impl Default for PreflightIntervals {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(450),
            quota: Duration::from_secs(45),
            wanting: Duration::from_secs(30),
        }
    }
}

/// What makes findings stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connector) struct PreflightKey {
    pub(in crate::connector) generation: i64,
    pub(in crate::connector) secret_version: Option<String>,
    pub(in crate::connector) requested_at: [Option<String>; 2],
    pub(in crate::connector) arm: u64,
}

/// What Azure is asked, and whose the answer is.
pub(in crate::connector) struct PreflightRequest {
    pub(in crate::connector) subject: Subject,
    /// Name of the connector.
    pub(in crate::connector) connector: String,
    pub(in crate::connector) connector_uid: String,
    pub(in crate::connector) cluster_uid: String,
    /// Names of its nodes.
    pub(in crate::connector) nodes: BTreeMap<Os, String>,
    pub(in crate::connector) manager: kube::Client,
}

/// Findings, for a reconcile.
#[derive(Debug, Clone)]
pub(in crate::connector) struct PreflightResult {
    pub(in crate::connector) findings: Option<Vec<ConditionUpdate>>,
    pub(in crate::connector) fresh: bool,
    /// What Azure last said of the region.
    pub(in crate::connector) region: Region,
    /// When they are asked for again.
    pub(in crate::connector) next: Instant,
}

/// The questions about one connector and their last answers.
#[derive(Debug)]
pub(super) struct Preflight {
    done: Option<Done>,
    task: Option<PreflightTask>,
    backoff: Backoff,
    region: Region,
    /// What the quota left at the last look.
    room: Option<Room>,
    /// When we registered the resource provider.
    registered: Option<Instant>,
}

impl Default for Preflight {
    fn default() -> Self {
        Self {
            done: None,
            task: None,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
            region: Region::default(),
            room: None,
            registered: None,
        }
    }
}

#[derive(Debug)]
struct Done {
    key: PreflightKey,
    findings: Vec<ConditionUpdate>,
    next: Instant,
}

#[derive(Debug)]
struct PreflightTask {
    key: PreflightKey,
    follows_quota: bool,
    answer: Arc<Mutex<Option<Answer>>>,
    _task: AbortOnDropHandle<()>,
}

/// What one round of questions has brought.
#[derive(Debug)]
struct Answer {
    findings: Vec<ConditionUpdate>,
    /// `None` when it could not be read now.
    quota: Option<Look>,
    largest: Option<BTreeMap<Os, Largest>>,
    registered: bool,
}

/// What was seen of the quota.
#[derive(Debug)]
enum Look {
    /// Azure does not tell it, or has none.
    Untold,
    Left(Room),
}

impl PreflightTask {
    fn start(
        key: PreflightKey,
        arm: Arc<ArmClient>,
        question: PreflightRequest,
        trigger: mpsc::Sender<String>,
    ) -> Self {
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        let follows_quota = question.subject.follows_quota;
        let task = tokio::spawn(async move {
            let found = question.ask(&arm).await;
            *slot.lock() = Some(found);
            // A closed channel means that the controller has ended.
            let _ = trigger.send(question.connector).await;
        });
        Self {
            key,
            follows_quota,
            answer,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

impl PreflightRequest {
    async fn ask(&self, arm: &ArmClient) -> Answer {
        let pods = if self.subject.follows_quota {
            let nodes = self.nodes.values().map(String::as_str);
            dereference::live_pods(&self.manager, nodes).await
        } else {
            Ok(Requests::new())
        };
        let report = ask(arm, &self.subject).await;
        let quota = match pods {
            Ok(pods) => self.look(&report, &pods),
            Err(error) => {
                tracing::warn!(connector = %self.connector, %error, "the pods of the nodes could not be listed; their capacity stays");
                None
            }
        };
        let in_subnet = self.subject.subnet.is_some();
        Answer {
            findings: evaluate(&report, &self.subject, chrono::Utc::now()),
            quota,
            largest: report.capabilities().map(|all| largest(all, in_subnet)),
            registered: report.has_registered(),
        }
    }

    fn look(&self, report: &Report, pods: &Requests) -> Option<Look> {
        let usages = match report.usages()? {
            Ok(usages) => usages,
            Err(error) if error.class == ErrorClass::Forbidden => return Some(Look::Untold),
            Err(_) => return None,
        };
        let scope = Scope {
            cluster: &self.cluster_uid,
            connector: &self.connector_uid,
            nodes: &self.nodes,
            pods,
            region: &self.subject.region,
            spot: self.subject.spot,
        };
        Some(match room(usages, report.groups()?, &scope) {
            Some(room) => Look::Left(room),
            None => Look::Untold,
        })
    }
}

impl Preflight {
    /// See [`ConnectorState::check`](super::ConnectorState::check).
    pub(super) fn check(
        &mut self,
        arm: &Arc<ArmClient>,
        key: &PreflightKey,
        mut question: PreflightRequest,
        pace: PreflightIntervals,
        trigger: &mpsc::Sender<String>,
    ) -> PreflightResult {
        self.collect(pace);
        if question.subject.register == Register::Yes
            && self
                .registered
                .is_some_and(|at| at.elapsed() < REGISTRATION)
        {
            question.subject.register = Register::Asked;
        }
        let due = match &self.done {
            Some(done) => done.key != *key || Instant::now() >= done.next,
            None => true,
        };
        let task = self.task.as_ref().is_some_and(|it| it.key == *key);
        if due && !task {
            let task = PreflightTask::start(key.clone(), arm.clone(), question, trigger.clone());
            self.task = Some(task);
        }
        let Some(done) = &self.done else {
            return self.unchecked();
        };
        let next = match self.task {
            Some(_) => Instant::now() + ANSWER,
            None => done.next,
        };
        PreflightResult {
            fresh: done.key == *key,
            findings: Some(done.findings.clone()),
            region: self.region.clone(),
            next,
        }
    }

    /// As if Azure had just given this answer about `key`, and were not asked again for an hour.
    #[cfg(test)]
    pub(super) fn assume(&mut self, key: PreflightKey, findings: Vec<ConditionUpdate>) {
        self.done = Some(Done {
            key,
            findings,
            next: Instant::now() + Duration::from_hours(1),
        });
    }

    /// See [`ConnectorState::unchecked`](super::ConnectorState::unchecked).
    pub(super) fn unchecked(&self) -> PreflightResult {
        PreflightResult {
            findings: None,
            fresh: false,
            region: self.region.clone(),
            next: Instant::now() + ANSWER,
        }
    }

    /// Takes over an answer that has come.
    fn collect(&mut self, pace: PreflightIntervals) {
        let answer = self
            .task
            .as_ref()
            .and_then(|task| task.answer.lock().take());
        let Some(answer) = answer else { return };
        let Some(task) = self.task.take() else {
            return;
        };
        let findings = answer.findings;
        let blocked = findings.iter().find(|finding| finding.blocks);
        let passes = blocked.is_some_and(|finding| !finding.stalled);
        if !passes {
            self.backoff.reset();
        }
        let wants = findings
            .iter()
            .any(|finding| finding.blocks || finding.status == Status::False);
        let pause = match (wants, task.follows_quota) {
            (true, _) => jitter(pace.wanting, 0.2),
            (false, true) => jitter(pace.quota, 0.2),
            (false, false) => jitter(pace.idle, 0.33),
        };
        let pause = if passes {
            self.backoff.next_delay().min(pause)
        } else {
            pause
        };
        self.see(answer.quota, answer.largest);
        if answer.registered {
            self.registered = Some(Instant::now());
        }
        self.done = Some(Done {
            key: task.key,
            findings,
            next: Instant::now() + pause,
        });
    }

    /// What could not be read now stays as it was.
    fn see(&mut self, quota: Option<Look>, largest: Option<BTreeMap<Os, Largest>>) {
        match quota {
            Some(Look::Left(room)) => {
                let lower = match &self.room {
                    Some(before) => before.lower(&room),
                    None => room.clone(),
                };
                self.region.quota = Quota::Left(lower);
                self.room = Some(room);
            }
            Some(Look::Untold) => {
                self.region.quota = Quota::Untold;
                self.room = None;
            }
            None => {}
        }
        if let Some(largest) = largest {
            self.region.largest = largest;
        }
    }
}
