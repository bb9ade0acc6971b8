//! Groups as ACI answered them, spoilt: members lost, emptied, unknown and out of order. Whatever comes after whatever, the
//! pod goes forward.

use proptest::prelude::*;
use proptest::sample::Index;

use super::echo::{collect, step_is_legal, write};
use super::*;
use crate::translate::testing::MOUNT_FAILED;
use crate::translate::{EventCursor, provisioning_failure};

/// What may happen to a member.
#[derive(Debug, Clone)]
enum Harm {
    Lost,
    Empty,
    Other(&'static str),
    Number(i32),
    Unknown,
    Turned,
}

const WORDS: &[&str] = &[
    "Running",
    "Waiting",
    "Terminated",
    "Succeeded",
    "Failed",
    "Stopped",
    "Repairing",
    "Pending",
    "2026-09-01T10:00:00Z",
    "CrashLoopBackOff: x",
    "BackOff",
    "",
];

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        3 => Just(Harm::Lost),
        1 => Just(Harm::Empty),
        3 => proptest::sample::select(WORDS).prop_map(Harm::Other),
        1 => any::<i32>().prop_map(Harm::Number),
        1 => Just(Harm::Unknown),
        1 => Just(Harm::Turned),
    ]
}

/// Does `harm` to one member of `group`, and to no other.
fn spoil(group: &mut Value, at: Index, harm: &Harm) {
    let mut paths = Vec::new();
    collect(group, "", &mut paths);
    let path = at.get(&paths);
    if let Harm::Lost = harm {
        let (parent, member) = path.rsplit_once('/').unwrap();
        match group.pointer_mut(parent).unwrap() {
            Value::Object(members) => {
                members.remove(member);
            }
            Value::Array(items) => {
                items.remove(member.parse().unwrap());
            }
            _ => unreachable!("a member's parent has members"),
        }
        return;
    }
    let value = group.pointer_mut(path).unwrap();
    match (harm, &mut *value) {
        (Harm::Empty, _) => *value = Value::Null,
        (Harm::Other(word), Value::String(text)) => (*word).clone_into(text),
        (Harm::Number(number), Value::Number(_)) => *value = json!(number),
        (Harm::Unknown, Value::Object(members)) => {
            members.insert("vomFach".to_owned(), json!({"neu": [1, null]}));
        }
        (Harm::Turned, Value::Array(items)) => items.reverse(),
        _ => {}
    }
}

fn rank(phase: Option<&str>) -> u8 {
    match phase {
        None | Some("Pending") => 0,
        Some("Running") => 1,
        Some("Succeeded") => 2,
        Some("Failed") => 3,
        Some(other) => panic!("phase {other}"),
    }
}

proptest! {
    #[test]
    fn whatever_comes_of_recorded_groups_the_pod_goes_forward(
        steps in proptest::collection::vec(
            (proptest::sample::select(&[PENDING, RUNNING, TERMINATED, MOUNT_FAILED][..]),
             proptest::collection::vec((any::<Index>(), harm()), 0..5)),
            1..6,
        ),
        policy in "(Always|OnFailure|Never)",
    ) {
        let mut pod = web(&[("/spec/restartPolicy", json!(policy))]);
        let mut told = EventCursor::default();
        for (text, harms) in steps {
            let mut body = changed(text, &[("/properties/containers/0/name", json!("web"))]);
            for (at, harm) in &harms {
                spoil(&mut body, *at, harm);
            }
            // What cannot be read is an error of the call, and tells nothing of the pod.
            let Ok(group) = serde_json::from_value::<ContainerGroup>(body) else {
                continue;
            };
            told.news(&group);
            provisioning_failure(&group);
            group_phase(&group);
            let before = facts(&pod).unwrap();
            let status = observed(&before, &group);
            let (was, is) = (rank(before.phase.as_deref()), rank(status.phase.as_deref()));
            prop_assert!(was <= is && (was < 2 || was == is), "{:?} to {:?}", before.phase, status.phase);
            prop_assert!(step_is_legal(&policy, &pod, &status));
            // The ends that may follow.
            for last in [
                status_terminated(&before, Some(&group), None, at(NOW)),
                status_failed(&before, Some(&group), "R", "m", None, at(NOW)),
                status_group_gone(&before, Some(&status), None, at(NOW)),
            ] {
                prop_assert!(is_final(&last));
                prop_assert!(was < 2 || was == rank(last.phase.as_deref()));
                prop_assert!(step_is_legal(&policy, &pod, &last));
            }
            pod = write(&pod, &status);
        }
    }
}
