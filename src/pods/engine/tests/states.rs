//! What holds for every record in every state, reachable or not.

use proptest::prelude::*;

use super::*;
use crate::pods::engine::ending::Ending;
use crate::pods::engine::messages::UnreadLogs;
use crate::pods::engine::next::{is_at_rest, next};
use crate::pods::engine::record::{PodRecord, Record};
use crate::pods::engine::stage::{
    Afterwards, Exists, Made, Orphan, Removal, Sidecars, Stopping, Why,
};

fn stage() -> impl Strategy<Value = Stage> {
    let since = (0u64..4000).prop_map(Duration::from_secs);
    let until = || (0u64..4000).prop_map(Duration::from_secs);
    let sidecars = || {
        until().prop_map(|until| Sidecars {
            running: vec!["proxy".to_owned()],
            until,
        })
    };
    let afterwards = prop_oneof![
        Just(Afterwards::Rest),
        sidecars().prop_map(Afterwards::PreStop),
        sidecars().prop_map(Afterwards::Signal),
        until().prop_map(Afterwards::Drain),
        Just(Afterwards::Stop),
        Just(Afterwards::Poll)
    ];
    let why = prop_oneof![
        Just(Why::Replace),
        Just(Why::Unprovisioned),
        Just(Why::Deadline),
        Just(Why::PodDeleted),
        Just(Why::PodGone)
    ];
    let stop = prop_oneof![
        Just(Stopping::No),
        Just(Stopping::Wanted),
        Just(Stopping::Done)
    ];
    let ending = prop_oneof![
        Just(Ending::Poll),
        Just(Ending::PreStop),
        Just(Ending::Signal),
        (0i64..8000).prop_map(|at| Ending::Drain(Timestamp::from_second(START + at).unwrap())),
        Just(Ending::Over),
    ];
    let removal = (why, any::<(bool, bool)>(), stop, ending).prop_map(
        |(why, (accepted, unseen), stop, ending)| Removal {
            accepted,
            unseen,
            ending,
            stop,
            ..Removal::new(why, true)
        },
    );
    let orphan = prop_oneof![
        (since.clone(), any::<bool>()).prop_map(|(since, twice)| Orphan::Listed { since, twice }),
        since.clone().prop_map(|at| Orphan::Vanished { at }),
        since.clone().prop_map(|at| Orphan::Confirmed { at }),
    ];
    prop_oneof![
        Just(Stage::Unsynced),
        Just(Stage::Refused),
        Just(Stage::Creating),
        (since.clone(), 0u32..40, any::<bool>()).prop_map(|(since, polls, seen)| Stage::Starting {
            since,
            polls,
            seen
        }),
        since.prop_map(|stable_since| Stage::Running { stable_since }),
        afterwards.prop_map(Stage::Finished),
        removal.prop_map(Stage::Removing),
        Just(Stage::Gone),
        orphan.prop_map(Stage::Orphaned),
    ]
}

prop_compose! {
    fn record()(
        stage in stage(),
        pod in prop::option::weighted(0.8, (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of(0i64..8000))),
        exists in prop_oneof![Just(Exists::No), Just(Exists::Maybe), Just(Exists::Yes)],
        flying in prop::option::weighted(0.2, 0u32..3),
        numbers in (0u32..30, 0u64..8000, 0u64..4000, any::<bool>(), any::<bool>()),
        (missing, unread) in any::<(bool, bool)>(),
        grace in prop_oneof![Just(0i64), 0i64..8000],
        made in prop_oneof![Just(Made::Here), Just(Made::Before), Just(Made::Predecessor), Just(Made::Elsewhere)],
    ) -> Record {
        let (attempts, not_before, base, poll_now, look_first) = numbers;
        let now = Now { wall: Timestamp::from_second(START).unwrap(), mono: Duration::from_secs(base) };
        let mut record = Record::new(key("a"), "g-a".into(), now, stage);
        // A pod that is being deleted stays so, an orphan has no pod, and only what is removed has none besides.
        let condemned = matches!(&record.stage, Stage::Removing(removal) if removal.why == Why::PodDeleted);
        let claimed = match record.stage {
            Stage::Orphaned(_) => None,
            Stage::Removing(_) | Stage::Gone => pod,
            _ => pod.or(Some((false, false, false, None))),
        };
        record.pod = claimed.map(|(deleting, once, unwritten, deadline)| {
            let deleting = deleting || condemned;
            let facts = pod_with("a", |pod| {
                pod["spec"]["restartPolicy"] = json!(if once { "Never" } else { "Always" });
                if let Some(seconds) = deadline {
                    pod["spec"]["activeDeadlineSeconds"] = json!(seconds.max(1));
                    pod["status"]["startTime"] = json!("2027-01-15T08:00:00Z");
                }
                if deleting {
                    let ends = Timestamp::from_second(START + grace).unwrap();
                    pod["metadata"]["deletionTimestamp"] = json!(ends.to_string());
                    pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
                }
            });
            let mut pod = PodRecord::new(*facts, None, false);
            pod.unwritten = unwritten;
            pod
        });
        record.exists = exists;
        record.made = made;
        record.epoch = 1;
        record.in_flight = flying.map(|epoch| Flight { operation: Operation::GetGroup, epoch, began: now.wall });
        record.attempts = attempts;
        record.not_before = Duration::from_secs(not_before);
        record.poll_now = poll_now;
        record.look_first = look_first;
        record.missing_since = missing.then_some(now.mono);
        let active = matches!(record.stage, Stage::Starting { .. } | Stage::Running { .. });
        record.unread = (unread && active).then(|| UnreadLogs::new(now));
        record
    }
}

fn engine_of(record: Record, suspended: bool, synced: bool, bulk: bool) -> Engine {
    let name = NameGroup(Box::new(|key| format!("g-{}", key.uid)));
    let mut engine = Engine::new(None, name, true);
    engine.node.suspended = suspended;
    (engine.node.lists.pods, engine.node.lists.groups) = (synced, synced);
    engine.node.bulk_listing = bulk;
    engine.touched.push(record.key.clone());
    engine.records.insert(record.key.clone(), record);
    engine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_next_keeps_the_rules(
        record in record(),
        (suspended, synced, bulk, another) in any::<(bool, bool, bool, bool)>(),
        seconds in 0u64..8000,
    ) {
        let now = Now {
            wall: Timestamp::from_second(START + i64::try_from(seconds).unwrap()).unwrap(),
            mono: Duration::from_secs(seconds),
        };
        let mut engine = engine_of(record, suspended, synced, bulk);
        if another {
            let orphan = Stage::Orphaned(Orphan::Confirmed { at: Duration::ZERO });
            let mut strange = Record::new(key("strange"), "g-strange".into(), now, orphan);
            (strange.exists, strange.made) = (Exists::Yes, Made::Elsewhere);
            engine.touched.push(strange.key.clone());
            engine.records.insert(strange.key.clone(), strange);
        }
        let mut effects = Vec::new();
        engine.settle(now, &mut effects);
        prop_assert!(engine.touched.is_empty());
        let Some(record) = engine.records.get(&key("a")) else {
            prop_assert_eq!(engine.counts().pods, 0, "a pod is never forgotten");
            return Ok(());
        };
        // It has settled: the rules have no more to say.
        let before = format!("{record:?}");
        let mut again = Vec::new();
        engine.touched.push(key("a"));
        engine.settle(now, &mut again);
        let record = engine.records.get(&key("a")).unwrap();
        prop_assert_eq!(before, format!("{record:?}"));
        prop_assert!(again.is_empty(), "{:?}", again);

        let planned = next(record, &engine.node, now);
        if record.in_flight.is_some() {
            prop_assert_eq!(planned, None, "one at a time");
            return Ok(());
        }
        let Some(planned) = planned else {
            prop_assert!(is_at_rest(record, &engine.node), "nothing brings it forward: {:?}", record);
            return Ok(());
        };
        let deleting = record.is_deleting();
        match planned.operation {
            Operation::CreateGroup { .. } => {
                prop_assert!(!suspended && !deleting && record.pod.is_some(), "{:?}", record);
                prop_assert!(matches!(record.stage, Stage::Creating));
                if let Some(left) = record.time_left(now) {
                    prop_assert!(planned.due < now.mono + left, "nothing is made at its deadline");
                }
            }
            Operation::DeleteGroup => {
                let Stage::Removing(removal) = &record.stage else {
                    return Err(TestCaseError::fail(format!("not condemned: {record:?}")));
                };
                let another = engine.node.another_control_plane.is_some();
                prop_assert!(!another || record.made == Made::Here || removal.accepted, "not ours: {:?}", record);
                prop_assert!(removal.why != Why::PodDeleted || deleting || record.pod.is_none());
                prop_assert!(record.exists != Exists::No, "it is gone: {:?}", record);
            }
            Operation::StopGroup => {
                let condemned = matches!(record.stage, Stage::Removing(_));
                prop_assert!(condemned || !record.is_unwritten(), "its end is not on record: {:?}", record);
            }
            Operation::ReadLogs(_) => {
                let active = matches!(record.stage, Stage::Starting { .. } | Stage::Running { .. });
                prop_assert!(active && !deleting, "{:?}", record);
            }
            Operation::DeletePod => {
                prop_assert!(matches!(record.stage, Stage::Gone) && !record.is_unwritten());
            }
            Operation::SendSignal(_) | Operation::Kill(_) | Operation::RestartGroup if matches!(record.stage, Stage::Running { .. }) => {
                prop_assert!(!record.condemned.is_empty() && !deleting, "{:?}", record);
            }
            Operation::ExchangeImage => {
                let runs = matches!(record.stage, Stage::Running { .. });
                prop_assert!(runs && record.new_image.is_some() && !deleting, "{:?}", record);
            }
            Operation::RunPostStart(_) => {
                let runs = matches!(record.stage, Stage::Running { .. });
                prop_assert!(runs && !record.is_unwritten(), "{:?}", record);
            }
            Operation::Kill(_) | Operation::RestartGroup => return Err(TestCaseError::fail(format!("it does not run: {record:?}"))),
            Operation::RunPreStop(_) | Operation::SendSignal(_) if matches!(record.stage, Stage::Finished(_)) => {
                prop_assert!(!record.is_unwritten(), "its end is not on record: {:?}", record);
            }
            Operation::RunPreStop(_) | Operation::SendSignal(_) => {
                prop_assert!(deleting && !record.is_unwritten(), "not on record: {:?}", record);
                prop_assert!(matches!(&record.stage, Stage::Removing(removal) if !removal.accepted
                    && removal.why == Why::PodDeleted), "{:?}", record);
            }
            Operation::GetPod => prop_assert!(record.is_orphan() || matches!(record.stage, Stage::Orphaned(_))),
            Operation::GetGroup | Operation::Timer => {}
        }
    }
}
