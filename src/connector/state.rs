//! In-memory state of one connector between reconciles; rebuilt after a restart.

mod preflight_task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::preflight_task::Preflight;
pub use self::preflight_task::PreflightIntervals;
pub(super) use self::preflight_task::{PreflightKey, PreflightRequest, PreflightResult};
use super::Context;
use super::arrival::LastChange;
use super::expiry::ExpiryMetricGuard;
#[cfg(test)]
use super::preflight::ConditionUpdate;
use super::supervisor::StartError;
use super::validate::{Problem, Resolved};
use crate::api::conditions::{CREDENTIALS_READY, READY, reason};
use crate::api::{Os, VirtualKubeletConnector, VirtualKubeletConnectorStatus};
use crate::azure::model::SecretText;
use crate::azure::{ArmClient, AzureError, Credential, Endpoints, ErrorClass, Reach};
use crate::fence::Fence;
use crate::kube::backoff::{Backoff, jitter};

const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// Pause before the right to act as a node is looked for again.
const RIGHTS_RETRY: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to start an agent.
const START_CAP: Duration = Duration::from_mins(1);
/// Longest pause between two attempts at anything.
pub(super) const BACKOFF_CAP: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct ConnectorState {
    /// What every write to Azure asks.
    pub(super) fence: Option<Arc<dyn Fence>>,
    /// The ARM client in use.
    pub(super) arm: Option<Arm>,
    /// The last key of the Log Analytics workspace that its Secret gave.
    pub(super) workspace_key: Option<SecretText>,
    /// Likewise the login that the shim's image is pulled with.
    pub(super) shim_login: Option<(String, SecretText)>,
    preflight: Preflight,
    /// What was made of spec and Secret, and of which.
    pub(super) resolved: Option<(Source, Result<Resolved, Problem>)>,
    /// The end of the credential, where it is known.
    pub(super) expiry: Option<ExpiryMetricGuard>,
    /// Why agents did not start, and when to try again.
    pub(super) start_errors: BTreeMap<Os, (StartError, Instant)>,
    pub(super) start_backoff: Backoff,
    /// Since when nodes are on their way out.
    pub(super) retiring_since: BTreeMap<Os, (Instant, Duration)>,
    /// Since when the removal of nodes waits for something that a person has to do.
    pub(super) blocked_since: BTreeMap<Os, Instant>,
    /// When the spec was last seen to change.
    pub(super) changed: LastChange,
    /// The status that was last written, and the `resourceVersion` it got.
    pub(super) written: Option<(u64, VirtualKubeletConnectorStatus)>,
}

impl Default for ConnectorState {
    fn default() -> Self {
        Self {
            fence: None,
            arm: None,
            workspace_key: None,
            shim_login: None,
            preflight: Preflight::default(),
            resolved: None,
            expiry: None,
            start_errors: BTreeMap::new(),
            start_backoff: Backoff::new(BACKOFF_BASE, START_CAP),
            retiring_since: BTreeMap::new(),
            blocked_since: BTreeMap::new(),
            changed: LastChange::default(),
            written: None,
        }
    }
}

/// A version of the spec, and of the Secret with its UID.
pub(super) type Source = (Option<i64>, Option<String>, Option<String>);

/// An ARM client and what it was made of.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) client: Arc<ArmClient>,
    /// Counts the clients of this connector.
    pub(super) number: u64,
    endpoints: Endpoints,
    subscription: String,
    credential: Credential,
}

impl ConnectorState {
    /// Whether Azure answers, as the client in use sees it.
    pub(super) fn reach(&self) -> Reach {
        self.arm.as_ref().map_or(Reach::Unknown, |arm| {
            arm.client.health().borrow().reach(Instant::now())
        })
    }

    /// Until when what the connector lacks may still come; `None` when that is over.
    pub(super) fn arrives_until(
        &mut self,
        connector: &VirtualKubeletConnector,
        arrival: Duration,
    ) -> Option<Instant> {
        let generation = connector.metadata.generation.unwrap_or_default();
        let status = connector.status.as_ref();
        let now = Instant::now();
        self.changed.arrives_until(generation, status, arrival, now)
    }

    /// Takes over what came of starts of agents.
    pub(super) fn note_starts(
        &mut self,
        connector: &str,
        started: &mut BTreeMap<Os, Result<(), StartError>>,
    ) {
        for (os, result) in std::mem::take(started) {
            match result {
                Ok(()) => {
                    self.start_errors.remove(&os);
                    self.start_backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(connector, os = os.label(), %error, "the agent did not start");
                    let pause = match error {
                        // Nothing tells us of a new RBAC rule.
                        StartError::ImpersonationForbidden(_) => jitter(RIGHTS_RETRY, 0.2),
                        _ => self.start_backoff.next_delay(),
                    };
                    let retry = Instant::now() + pause;
                    self.start_errors.insert(os, (error, retry));
                }
            }
        }
    }

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
                    Ok(client) => Arc::new(match &self.fence {
                        Some(fence) => client.fenced(fence.clone()),
                        None => client,
                    }),
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

    /// The last findings about this connector, asked again in the background when it is time or `key` is another.
    /// `trigger` gets the connector's name when the answer is there.
    pub(super) fn check(
        &mut self,
        key: &PreflightKey,
        question: PreflightRequest,
        pace: PreflightIntervals,
        trigger: &mpsc::Sender<String>,
    ) -> PreflightResult {
        match &self.arm {
            Some(arm) => self
                .preflight
                .check(&arm.client, key, question, pace, trigger),
            None => self.unchecked(),
        }
    }

    /// As if Azure had just given this answer about `key`.
    #[cfg(test)]
    pub(super) fn assume(&mut self, key: PreflightKey, findings: Vec<ConditionUpdate>) {
        self.preflight.assume(key, findings);
    }

    /// What is known while Azure cannot be asked.
    pub(super) fn unchecked(&self) -> PreflightResult {
        self.preflight.unchecked()
    }
}
