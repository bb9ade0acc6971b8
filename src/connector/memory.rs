//! What the controller remembers of one connector between reconciles. All of it can be lost: a restart finds it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Context;
use super::checks::{Finding, Subject, ask, judge};
use super::expiry::Shown;
use super::supervisor::StartError;
use super::validate::{Problem, Resolved};
use crate::api::conditions::{CREDENTIALS_READY, READY, reason};
use crate::api::{Os, VirtualKubeletConnectorStatus};
use crate::azure::model::SecretText;
use crate::azure::{ArmClient, AzureError, Credential, Endpoints, ErrorClass};
use crate::kube::backoff::{Backoff, jitter};

/// An idle connector asks Azure so often, spread by a third either way: 5 to 10 minutes.
const RECHECK: Duration = Duration::from_secs(450);
/// One whose identity is refused so often: it is put right in Azure, where we do not watch.
const RECHECK_REFUSED: Duration = Duration::from_secs(45);
/// A stalled one so often, besides at once on a change of its spec or Secret.
const RECHECK_STALLED: Duration = Duration::from_mins(5);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// Longest pause between two attempts to start an agent. Short, because nothing tells us of a new RBAC rule.
const START_CAP: Duration = Duration::from_mins(1);
/// Longest pause between two attempts at anything.
pub(super) const BACKOFF_CAP: Duration = Duration::from_mins(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    /// The ARM client in use.
    pub(super) arm: Option<Arm>,
    /// The last key of the Log Analytics workspace that its Secret gave.
    pub(super) workspace_key: Option<SecretText>,
    checks: Checks,
    /// What was made of spec and Secret, and of which.
    pub(super) resolved: Option<(Source, Result<Resolved, Problem>)>,
    /// The end of the credential, where it is known.
    pub(super) expiry: Option<Shown>,
    /// Why agents did not start, and when to try again.
    pub(super) start_errors: BTreeMap<Os, (StartError, Instant)>,
    pub(super) start_backoff: Backoff,
    /// Since when nodes are on their way out.
    pub(super) retiring_since: BTreeMap<Os, Instant>,
    /// The status that was last written, and the `resourceVersion` it got.
    pub(super) written: Option<(u64, VirtualKubeletConnectorStatus)>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            arm: None,
            workspace_key: None,
            checks: Checks::default(),
            resolved: None,
            expiry: None,
            start_errors: BTreeMap::new(),
            start_backoff: Backoff::new(BACKOFF_BASE, START_CAP),
            retiring_since: BTreeMap::new(),
            written: None,
        }
    }
}

/// A version of the spec, and of the Secret with its UID.
pub(super) type Source = (Option<i64>, Option<String>, Option<String>);

/// An ARM client and what it was made of.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    pub(super) client: Arc<ArmClient>,
    /// Counts the clients of this connector.
    pub(super) number: u64,
    endpoints: Endpoints,
    subscription: String,
    credential: Credential,
}

impl Memory {
    /// The client for what was resolved: the one in use, with a new credential if need be, or a new one.
    pub(super) fn arm(&mut self, context: &Context, resolved: &Resolved) -> Result<&Arm, Problem> {
        let Resolved {
            endpoints,
            subscription,
            credential,
            ..
        } = resolved;
        let refused = |error: AzureError| {
            let (condition, reason) = match error.class {
                ErrorClass::BadCredentials => (CREDENTIALS_READY, reason::CREDENTIALS_REJECTED),
                _ => (READY, reason::INVALID_SPEC),
            };
            Problem {
                condition,
                reason,
                message: format!("{}: {error}", resolved.source),
                stalled: true,
            }
        };
        let number = match &mut self.arm {
            Some(arm) if arm.endpoints == *endpoints && arm.subscription == *subscription => {
                if arm.credential != *credential {
                    arm.client
                        .replace_credential(credential.clone())
                        .map_err(refused)?;
                    arm.credential = credential.clone();
                }
                arm.number
            }
            other => other.as_ref().map_or(0, |arm| arm.number) + 1,
        };
        let client = match self.arm.take() {
            Some(arm) if arm.number == number => arm.client,
            other => {
                let made = ArmClient::new(
                    endpoints.clone(),
                    subscription.clone(),
                    credential.clone(),
                    &context.limiters,
                    context.arm_observer.clone(),
                );
                match made {
                    Ok(client) => Arc::new(client),
                    Err(error) => {
                        self.arm = other;
                        return Err(refused(error));
                    }
                }
            }
        };
        Ok(self.arm.insert(Arm {
            client,
            number,
            endpoints: endpoints.clone(),
            subscription: subscription.clone(),
            credential: credential.clone(),
        }))
    }

    /// The last findings about this connector, asking again in the background when it is time or `key` is another.
    /// `trigger` gets `name` when the answer is there.
    pub(super) fn check(
        &mut self,
        key: &CheckKey,
        subject: Subject,
        name: &str,
        trigger: &mpsc::Sender<String>,
    ) -> Checked {
        let Some(arm) = &self.arm else {
            return Checked::default();
        };
        self.checks.collect();
        let due = match &self.checks.done {
            Some(done) => done.key != *key || Instant::now() >= done.next,
            None => true,
        };
        let asking = self
            .checks
            .asking
            .as_ref()
            .is_some_and(|asking| asking.key == *key);
        if due && !asking {
            self.checks.asking = Some(Asking::start(
                key.clone(),
                arm.client.clone(),
                subject,
                name.to_owned(),
                trigger.clone(),
            ));
        }
        let Some(done) = &self.checks.done else {
            return Checked::default();
        };
        Checked {
            fresh: done.key == *key,
            findings: Some(done.findings.clone()),
            next: done.next,
        }
    }
}

/// What makes findings stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckKey {
    pub(super) generation: i64,
    pub(super) secret_version: Option<String>,
    pub(super) requested_at: Option<String>,
    pub(super) arm: u64,
}

/// Findings, for a reconcile.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) findings: Option<Vec<Finding>>,
    pub(super) fresh: bool,
    /// When they are asked for again.
    pub(super) next: Instant,
}

impl Default for Checked {
    fn default() -> Self {
        Self {
            findings: None,
            fresh: false,
            next: Instant::now() + RECHECK_STALLED,
        }
    }
}

#[derive(Debug)]
struct Checks {
    done: Option<Done>,
    asking: Option<Asking>,
    backoff: Backoff,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            done: None,
            asking: None,
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
        }
    }
}

#[derive(Debug)]
struct Done {
    key: CheckKey,
    findings: Vec<Finding>,
    next: Instant,
}

#[derive(Debug)]
struct Asking {
    key: CheckKey,
    answer: Arc<Mutex<Option<Vec<Finding>>>>,
    _task: AbortOnDropHandle<()>,
}

impl Asking {
    fn start(
        key: CheckKey,
        arm: Arc<ArmClient>,
        subject: Subject,
        name: String,
        trigger: mpsc::Sender<String>,
    ) -> Self {
        let answer = Arc::new(Mutex::new(None));
        let slot = answer.clone();
        let task = tokio::spawn(async move {
            let report = ask(&arm, &subject).await;
            *slot.lock() = Some(judge(&report, &subject, chrono::Utc::now()));
            // A closed channel means that the controller has ended.
            let _ = trigger.send(name).await;
        });
        Self {
            key,
            answer,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

impl Checks {
    /// Takes over an answer that has come.
    fn collect(&mut self) {
        let answer = self
            .asking
            .as_ref()
            .and_then(|asking| asking.answer.lock().take());
        let Some(findings) = answer else { return };
        let Some(asking) = self.asking.take() else {
            return;
        };
        let blocking = findings.iter().find(|finding| finding.blocks);
        let pause = match blocking {
            None => {
                self.backoff.reset();
                jitter(RECHECK, 0.33)
            }
            Some(finding) if finding.stalled => {
                self.backoff.reset();
                let refused = finding.condition == CREDENTIALS_READY;
                let pause = if refused {
                    RECHECK_REFUSED
                } else {
                    RECHECK_STALLED
                };
                jitter(pause, 0.2)
            }
            Some(_) => self.backoff.next_delay(),
        };
        self.done = Some(Done {
            key: asking.key,
            findings,
            next: Instant::now() + pause,
        });
    }
}
