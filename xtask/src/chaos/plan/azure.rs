//! What Azure does, and the credentials for it.

use super::{Act, Answer};
use crate::chaos::random::Random;

#[derive(Clone, Copy)]
enum Kind {
    Arm(Answer),
    Revoke,
    Endpoint,
    Short,
    Vanish,
    Provisioning,
    PlatformRestart,
    Exit,
    Move,
    SlowDelete,
    SlowStart,
    Rotate,
}

const KINDS: [(u64, Kind); 20] = [
    (6, Kind::Arm(Answer::NotFound)),
    (3, Kind::Arm(Answer::NoResourceGroup)),
    (4, Kind::Arm(Answer::Conflict)),
    (5, Kind::Arm(Answer::TooMany)),
    (5, Kind::Arm(Answer::Broken)),
    (7, Kind::Arm(Answer::UnavailableAfter)),
    (5, Kind::Arm(Answer::Reset)),
    (5, Kind::Arm(Answer::ResetAfter)),
    (5, Kind::Arm(Answer::Delay)),
    (3, Kind::Revoke),
    (3, Kind::Endpoint),
    (2, Kind::Short),
    (6, Kind::Vanish),
    (4, Kind::Provisioning),
    (3, Kind::PlatformRestart),
    (5, Kind::Exit),
    (2, Kind::Move),
    (3, Kind::SlowDelete),
    (3, Kind::SlowStart),
    (4, Kind::Rotate),
];

pub(super) fn next(random: &mut Random, left: u64, secrets: &mut u64) -> Option<Act> {
    let pick = random.between(0, 9_999);
    Some(match random.choose(&KINDS)? {
        Kind::Arm(answer) => arm(random, answer)?,
        Kind::Revoke => Act::RevokeTokens,
        Kind::Endpoint => Act::TokenEndpoint {
            status: random.choose(&[(2, 500), (1, 503), (1, 429), (1, 0)])?,
            times: random.between(1, 4),
        },
        Kind::Short => Act::ShortTokens {
            lifetime: random.between(2, 20),
            away: random.between(5_000, 20_000).min(left),
        },
        Kind::Vanish => Act::Vanish { pick },
        Kind::Provisioning => Act::ProvisioningFails {
            count: random.between(1, 3),
            late_start: random.chance(50).then(|| random.between(1, 8)),
        },
        Kind::PlatformRestart => Act::PlatformRestart { pick },
        Kind::Exit => Act::ContainerExit {
            pick,
            code: random.between(0, 3),
        },
        Kind::Move => Act::MoveGroup { pick },
        Kind::SlowDelete => Act::SlowDelete {
            delay: random.between(0, 6_000),
        },
        Kind::SlowStart => Act::SlowStart {
            delay: random.between(0, 5_000),
        },
        Kind::Rotate => {
            *secrets += 1;
            Act::RotateSecret {
                number: *secrets,
                cluster_first: random.chance(50),
                after: random.between(0, 5_000).min(left),
            }
        }
    })
}

/// Lies about what is there are told only where a second look shows the truth: a DELETE answered 404 would be the end of
/// every watch over its group.
fn arm(random: &mut Random, answer: Answer) -> Option<Act> {
    let method = match answer {
        Answer::NotFound => Some("GET"),
        Answer::NoResourceGroup => Some("PUT"),
        Answer::Conflict => random.choose(&[(1, Some("PUT")), (1, Some("DELETE"))])?,
        Answer::UnavailableAfter | Answer::ResetAfter => {
            random.choose(&[(4, Some("PUT")), (3, Some("DELETE")), (1, Some("GET"))])?
        }
        Answer::TooMany | Answer::Broken | Answer::Reset | Answer::Delay => random.choose(&[
            (3, None),
            (2, Some("PUT")),
            (2, Some("DELETE")),
            (2, Some("GET")),
        ])?,
    };
    Some(Act::Arm {
        answer,
        method,
        times: random.between(1, 4),
        // Of `Retry-After`, or of the delay: at times longer than the operator waits for an answer.
        seconds: if random.chance(10) {
            35
        } else {
            random.between(1, 8)
        },
    })
}
