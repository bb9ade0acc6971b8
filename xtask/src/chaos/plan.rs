//! What is to happen, and when: a pure function of the seed, the length and the number of replicas.
//!
//! Each lane is carried out by a task of its own, in order. Times are milliseconds from the start. Acts name their victims
//! by numbers (`pick`), which are taken modulo what there is when the act's turn comes.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::random::Random;

mod azure;
mod operators;
mod pods;

#[cfg(test)]
mod tests;

/// Nothing happens before: the first pods are to be on their way.
const CALM: u64 = 2_000;

/// Who carries out an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Lane {
    /// Users, with pods and what makes pods.
    Pods,
    /// Processes of `vkc`.
    Operators,
    /// The API server and etcd.
    Plane,
    /// Azure, and the credentials for it.
    Azure,
}

/// How a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
}

/// What ARM answers, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Answer {
    /// 404 for a group that is there, once for each.
    NotFound,
    /// 404 for the resource group, to a PUT.
    NoResourceGroup,
    /// 409 to a PUT or DELETE: still in transition.
    Conflict,
    /// 429 with `Retry-After`.
    TooMany,
    /// 500.
    Broken,
    /// 503 after the work was done.
    UnavailableAfter,
    /// The connection is cut, and nothing was done.
    Reset,
    /// The connection is cut after the work was done.
    ResetAfter,
    /// The work is done, and the answer comes late.
    Delay,
}

/// One thing that happens. `away` and `after` are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "act", rename_all = "camelCase")]
pub(super) enum Act {
    /// A Deployment gets this many replicas; it is made when missing.
    Scale {
        deployment: u64,
        replicas: u64,
    },
    DeleteDeployment {
        deployment: u64,
    },
    /// A Job whose pods nobody touches: it must run exactly once.
    Job {
        number: u64,
        completions: u64,
        on_failure: bool,
    },
    /// A `StatefulSet` is deleted and made again under its name at once.
    RecreateStatefulSet {
        set: u64,
        replicas: u64,
    },
    /// A pod without an owner; with `code` its container ends.
    BarePod {
        number: u64,
        windows: bool,
        policy: Policy,
        code: Option<u64>,
    },
    DeletePod {
        pick: u64,
    },
    ForceDeletePod {
        pick: u64,
    },
    DeleteWhileCreating {
        number: u64,
        after: u64,
        force: bool,
    },
    /// A namespace with pods of all kinds, deleted as a whole.
    Namespace {
        number: u64,
        pods: u64,
        after: u64,
    },

    KillOperator {
        replica: u64,
        away: u64,
    },
    StopOperator {
        replica: u64,
        away: u64,
    },
    PauseOperator {
        replica: u64,
        away: u64,
    },
    /// One replica more, for a while.
    DoubleOperator {
        away: u64,
        end: End,
    },
    AllOperatorsDown {
        away: u64,
        end: End,
    },

    RestartApiServer {
        end: End,
        away: u64,
    },
    PauseApiServer {
        away: u64,
    },
    RestartEtcd {
        end: End,
        away: u64,
    },
    CompactEtcd,

    Arm {
        answer: Answer,
        method: Option<&'static str>,
        times: u64,
        seconds: u64,
    },
    RevokeTokens,
    TokenEndpoint {
        status: u64,
        times: u64,
    },
    ShortTokens {
        lifetime: u64,
        away: u64,
    },
    /// A container group is gone, and nobody of ours has deleted it.
    Vanish {
        pick: u64,
    },
    ProvisioningFails {
        count: u64,
        late_start: Option<u64>,
    },
    PlatformRestart {
        pick: u64,
    },
    ContainerExit {
        pick: u64,
        code: u64,
    },
    MoveGroup {
        pick: u64,
    },
    SlowDelete {
        delay: u64,
    },
    SlowStart {
        delay: u64,
    },
    RotateSecret {
        number: u64,
        cluster_first: bool,
        after: u64,
    },
}

/// `restartPolicy` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Policy {
    Always,
    OnFailure,
    Never,
}

impl Policy {
    /// Kubernetes' word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::OnFailure => "OnFailure",
            Self::Never => "Never",
        }
    }
}

impl Act {
    /// The kind, for counts.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Scale { .. } => "scale a Deployment",
            Self::DeleteDeployment { .. } => "delete a Deployment",
            Self::Job { .. } => "Job",
            Self::RecreateStatefulSet { .. } => "recreate a StatefulSet",
            Self::BarePod { .. } => "bare pod",
            Self::DeletePod { .. } => "delete a pod",
            Self::ForceDeletePod { .. } => "force-delete a pod",
            Self::DeleteWhileCreating { .. } => "delete a pod while it is created",
            Self::Namespace { .. } => "delete a namespace",
            Self::KillOperator { .. } => "kill an operator",
            Self::StopOperator { .. } => "stop an operator",
            Self::PauseOperator { .. } => "pause an operator",
            Self::DoubleOperator { .. } => "double an operator",
            Self::AllOperatorsDown { .. } => "all operators down",
            Self::RestartApiServer { .. } => "restart the API server",
            Self::PauseApiServer { .. } => "pause the API server",
            Self::RestartEtcd { .. } => "restart etcd",
            Self::CompactEtcd => "compact etcd",
            Self::Arm { answer, .. } => match answer {
                Answer::NotFound => "ARM: 404 of a group",
                Answer::NoResourceGroup => "ARM: 404 of the resource group",
                Answer::Conflict => "ARM: 409",
                Answer::TooMany => "ARM: 429",
                Answer::Broken => "ARM: 500",
                Answer::UnavailableAfter => "ARM: 503 after success",
                Answer::Reset => "ARM: reset",
                Answer::ResetAfter => "ARM: reset after success",
                Answer::Delay => "ARM: delay",
            },
            Self::RevokeTokens => "tokens revoked",
            Self::TokenEndpoint { .. } => "token endpoint fails",
            Self::ShortTokens { .. } => "tokens expire",
            Self::Vanish { .. } => "a group vanishes",
            Self::ProvisioningFails { .. } => "provisioning fails",
            Self::PlatformRestart { .. } => "ACI restarts a group",
            Self::ContainerExit { .. } => "a container exits",
            Self::MoveGroup { .. } => "ACI moves a group",
            Self::SlowDelete { .. } => "slow deletes",
            Self::SlowStart { .. } => "slow starts",
            Self::RotateSecret { .. } => "rotate the Secret",
        }
    }

    /// How long its lane is busy with it.
    fn lasts(&self) -> u64 {
        match self {
            Self::KillOperator { away, .. }
            | Self::StopOperator { away, .. }
            | Self::PauseOperator { away, .. }
            | Self::DoubleOperator { away, .. }
            | Self::AllOperatorsDown { away, .. }
            | Self::RestartApiServer { away, .. }
            | Self::PauseApiServer { away }
            | Self::RestartEtcd { away, .. }
            | Self::ShortTokens { away, .. } => *away,
            Self::RotateSecret { after, .. } => *after,
            // Of users each waits for nobody.
            _ => 0,
        }
    }
}

/// An act and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Planned {
    pub(super) at: u64,
    pub(super) lane: Lane,
    #[serde(flatten)]
    pub(super) act: Act,
}

impl Planned {
    /// When, from the start.
    pub(super) fn time(&self) -> Duration {
        Duration::from_millis(self.at)
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// All that is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) acts: Vec<Planned>,
}

impl Plan {
    /// `length` is in milliseconds.
    pub(super) fn new(seed: u64, length: u64, replicas: u64) -> Self {
        let mut acts = Vec::new();
        let mut users = pods::Users::default();
        fill(
            &mut acts,
            Lane::Pods,
            seed,
            length,
            (600, 2_200),
            |random, _| users.next(random),
        );
        fill(
            &mut acts,
            Lane::Operators,
            seed,
            length,
            (4_000, 14_000),
            |random, left| operators::next(random, left, replicas),
        );
        fill(
            &mut acts,
            Lane::Plane,
            seed,
            length,
            (12_000, 35_000),
            operators::plane,
        );
        let mut secrets = 0;
        fill(
            &mut acts,
            Lane::Azure,
            seed,
            length,
            (1_500, 5_000),
            |random, left| azure::next(random, left, &mut secrets),
        );
        acts.sort_by_key(|planned| (planned.at, planned.lane));
        Self { acts }
    }

    /// The acts of one lane.
    pub(super) fn of(&self, lane: Lane) -> Vec<Planned> {
        let mut acts = self.acts.clone();
        acts.retain(|planned| planned.lane == lane);
        acts
    }
}

/// Draws acts of a lane until its time is over; `next` is told how much is left.
fn fill(
    acts: &mut Vec<Planned>,
    lane: Lane,
    seed: u64,
    length: u64,
    (least, most): (u64, u64),
    mut next: impl FnMut(&mut Random, u64) -> Option<Act>,
) {
    let mut random = Random::new(seed, &format!("{lane:?}"));
    let mut at = CALM + random.between(0, most);
    while at < length {
        if let Some(act) = next(&mut random, length - at) {
            let lasts = act.lasts();
            acts.push(Planned { at, lane, act });
            at += lasts;
        }
        at += random.between(least, most);
    }
}
