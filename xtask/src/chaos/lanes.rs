//! Carries out a plan: one task for each lane.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::Utc;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::{Act, Lane, Plan, Planned};
use super::rig::Rig;
use super::{azure, processes, users};

/// An act that hangs is given up: it would hold up its lane.
const LONGEST: Duration = Duration::from_mins(2);

/// What was done, for the report and in the file `acts.jsonl`.
pub(super) struct Acts {
    file: Mutex<File>,
    counts: Mutex<BTreeMap<&'static str, Count>>,
}

/// Of one kind of act.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) done: u32,
    /// There was nothing to do it to, or the API server was away for too long.
    pub(super) missed: u32,
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Acts {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        let path = dir.join("acts.jsonl");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            file: Mutex::new(file),
            counts: Mutex::default(),
        })
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, Count> {
        locked(&self.counts).clone()
    }

    fn note(&self, planned: &Planned, begun: chrono::DateTime<Utc>, outcome: &Result<String>) {
        let mut counts = locked(&self.counts);
        let count = counts.entry(planned.act.kind()).or_default();
        let (done, text) = match outcome {
            Ok(text) => {
                count.done += 1;
                (true, text.clone())
            }
            Err(error) => {
                count.missed += 1;
                (false, format!("{error:#}"))
            }
        };
        drop(counts);
        let line = json!({"begun": begun, "ended": Utc::now(), "act": planned, "done": done, "outcome": text});
        // A full disk shows soon enough elsewhere.
        let _ = writeln!(locked(&self.file), "{line}");
    }
}

/// Carries out all of `plan`; returns when the last act is over.
pub(super) async fn run(rig: &Arc<Rig>, plan: &Plan, acts: &Arc<Acts>) {
    let started = Instant::now();
    let mut lanes = JoinSet::new();
    for lane in [Lane::Pods, Lane::Operators, Lane::Plane, Lane::Azure] {
        let (rig, acts, planned) = (Arc::clone(rig), Arc::clone(acts), plan.of(lane));
        lanes.spawn(async move {
            // Users do not wait for each other.
            let mut users = JoinSet::new();
            for planned in planned {
                tokio::time::sleep_until(started + planned.time()).await;
                let (rig, acts) = (Arc::clone(&rig), Arc::clone(&acts));
                let act = async move {
                    let begun = Utc::now();
                    let done = tokio::time::timeout(LONGEST, carry_out(&rig, &planned.act));
                    let outcome = done
                        .await
                        .unwrap_or_else(|_| Err(anyhow::anyhow!("given up")));
                    let ends = match planned.act {
                        Act::AllOperatorsDown { .. } => true,
                        Act::CompactEtcd => false,
                        _ => lane == Lane::Plane,
                    };
                    if ends {
                        rig.history.was_away(begun, Utc::now());
                    }
                    acts.note(&planned, begun, &outcome);
                };
                if lane == Lane::Pods {
                    users.spawn(act);
                } else {
                    act.await;
                }
            }
            users.join_all().await;
        });
    }
    lanes.join_all().await;
}

/// Does it, and says what came of it.
async fn carry_out(rig: &Rig, act: &Act) -> Result<String> {
    match act {
        Act::Scale { .. }
        | Act::DeleteDeployment { .. }
        | Act::Job { .. }
        | Act::RecreateStatefulSet { .. }
        | Act::BarePod { .. }
        | Act::DeletePod { .. }
        | Act::ForceDeletePod { .. }
        | Act::DeleteWhileCreating { .. }
        | Act::Namespace { .. } => users::act(rig, act).await,
        Act::KillOperator { .. }
        | Act::StopOperator { .. }
        | Act::PauseOperator { .. }
        | Act::DoubleOperator { .. }
        | Act::AllOperatorsDown { .. } => processes::operators(rig, act).await,
        Act::RestartApiServer { .. }
        | Act::PauseApiServer { .. }
        | Act::RestartEtcd { .. }
        | Act::CompactEtcd => processes::plane(rig, act).await,
        Act::Arm { .. }
        | Act::RevokeTokens
        | Act::TokenEndpoint { .. }
        | Act::ShortTokens { .. }
        | Act::Vanish { .. }
        | Act::ProvisioningFails { .. }
        | Act::PlatformRestart { .. }
        | Act::ContainerExit { .. }
        | Act::MoveGroup { .. }
        | Act::SlowDelete { .. }
        | Act::SlowStart { .. }
        | Act::RotateSecret { .. } => azure::act(rig, act).await,
    }
}
