//! What users do.

use super::{Act, Policy};
use crate::chaos::random::Random;

/// Deployments and `StatefulSets` that there may be.
const DEPLOYMENTS: u64 = 4;
const SETS: u64 = 2;

/// Counts what has been made, so that each bare pod, Job and namespace has a name of its own.
#[derive(Debug, Default)]
pub(super) struct Users {
    pods: u64,
    jobs: u64,
    namespaces: u64,
}

#[derive(Clone, Copy)]
enum Kind {
    Scale,
    DeleteDeployment,
    Job,
    Set,
    Bare,
    Delete,
    Force,
    Young,
    Namespace,
}

const KINDS: [(u64, Kind); 9] = [
    (24, Kind::Scale),
    (4, Kind::DeleteDeployment),
    (14, Kind::Job),
    (6, Kind::Set),
    (16, Kind::Bare),
    (10, Kind::Delete),
    (10, Kind::Force),
    (12, Kind::Young),
    (4, Kind::Namespace),
];

impl Users {
    pub(super) fn next(&mut self, random: &mut Random) -> Option<Act> {
        Some(match random.choose(&KINDS)? {
            Kind::Scale => Act::Scale {
                deployment: random.between(0, DEPLOYMENTS - 1),
                replicas: random.between(0, 5),
            },
            Kind::DeleteDeployment => Act::DeleteDeployment {
                deployment: random.between(0, DEPLOYMENTS - 1),
            },
            Kind::Job => Act::Job {
                number: count(&mut self.jobs),
                completions: random.between(1, 3),
                on_failure: random.chance(50),
            },
            Kind::Set => Act::RecreateStatefulSet {
                set: random.between(0, SETS - 1),
                replicas: random.between(1, 3),
            },
            Kind::Bare => Act::BarePod {
                number: count(&mut self.pods),
                windows: random.chance(30),
                policy: random.choose(&[
                    (2, Policy::Always),
                    (1, Policy::OnFailure),
                    (2, Policy::Never),
                ])?,
                code: random.chance(40).then(|| random.between(0, 2)),
            },
            Kind::Delete => Act::DeletePod {
                pick: random.between(0, 9_999),
            },
            Kind::Force => Act::ForceDeletePod {
                pick: random.between(0, 9_999),
            },
            Kind::Young => Act::DeleteWhileCreating {
                number: count(&mut self.pods),
                after: random.between(0, 1_500),
                force: random.chance(40),
            },
            Kind::Namespace => Act::Namespace {
                number: count(&mut self.namespaces),
                pods: random.between(1, 4),
                after: random.between(500, 8_000),
            },
        })
    }
}

fn count(of: &mut u64) -> u64 {
    *of += 1;
    *of
}
