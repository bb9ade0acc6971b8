//! What becomes of the operators, and of the control plane.

use super::{Act, End};
use crate::chaos::random::Random;

#[derive(Clone, Copy)]
enum Kind {
    Kill,
    Stop,
    Pause,
    Double,
    AllDown,
}

/// Pauses and doubles need replicas that know of each other: with one, nobody takes over from a process that sleeps.
pub(super) fn next(random: &mut Random, left: u64, replicas: u64) -> Option<Act> {
    let several = u64::from(replicas > 1);
    let kinds = [
        (3, Kind::Kill),
        (3, Kind::Stop),
        (4 * several, Kind::Pause),
        (2 * several, Kind::Double),
        (2, Kind::AllDown),
    ];
    let replica = random.between(0, replicas.max(1) - 1);
    Some(match random.choose(&kinds)? {
        Kind::Kill => Act::KillOperator {
            replica,
            away: random.between(0, 15_000).min(left),
        },
        Kind::Stop => Act::StopOperator {
            replica,
            away: random.between(0, 15_000).min(left),
        },
        Kind::Pause => Act::PauseOperator {
            replica,
            away: random.between(5_000, 60_000).min(left),
        },
        Kind::Double => Act::DoubleOperator {
            away: random.between(5_000, 25_000).min(left),
            end: end(random),
        },
        Kind::AllDown => Act::AllOperatorsDown {
            away: random.between(5_000, 30_000).min(left),
            end: end(random),
        },
    })
}

/// Never longer than a node may be silent: with the nodes `NotReady` for five minutes pods would be evicted, which is
/// another story.
pub(super) fn plane(random: &mut Random, left: u64) -> Option<Act> {
    #[derive(Clone, Copy)]
    enum Kind {
        ApiServer,
        Pause,
        Etcd,
        Compact,
    }
    let kinds = [
        (3, Kind::ApiServer),
        (2, Kind::Pause),
        (2, Kind::Etcd),
        (1, Kind::Compact),
    ];
    let away = random.between(0, 10_000).min(left);
    Some(match random.choose(&kinds)? {
        Kind::ApiServer => Act::RestartApiServer {
            end: end(random),
            away,
        },
        Kind::Pause => Act::PauseApiServer { away },
        Kind::Etcd => Act::RestartEtcd {
            end: end(random),
            away,
        },
        Kind::Compact => Act::CompactEtcd,
    })
}

fn end(random: &mut Random) -> End {
    if random.chance(50) {
        End::Kill
    } else {
        End::Term
    }
}
