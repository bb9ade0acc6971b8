use serde_json::json;

use super::*;
use crate::pods::snapshot::RunningContainer;
use crate::translate::VolumesUpdated;

const START: i64 = 1_800_000_000;

fn now(seconds: u64) -> Now {
    let wall = START + i64::try_from(seconds).unwrap();
    Now {
        mono: Duration::from_secs(seconds),
        wall: Timestamp::from_second(wall).unwrap(),
    }
}

/// A pod with these sources whose container began at the start.
fn running(name: &str, sources: VolumeSources) -> RunningPod {
    RunningPod {
        key: PodKey {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
        },
        created: None,
        started: Some(now(0).wall),
        containers: [RunningContainer {
            name: "c".into(),
            image: "i".into(),
            init: false,
            since: now(0).wall,
        }]
        .into(),
        volumes: Some(Arc::new(sources)),
    }
}

fn of_secret(name: &str) -> VolumeSources {
    VolumeSources {
        secrets: BTreeSet::from([name.into()]),
        ..VolumeSources::default()
    }
}

fn secret(name: &str) -> ObjectName {
    ObjectName {
        kind: Kind::Secret,
        namespace: "ns".to_owned(),
        name: name.to_owned(),
    }
}

fn set(plan: &mut Plan, at: u64, pods: &[RunningPod]) {
    let running = pods.iter().cloned().map(Arc::new).collect();
    let made = |_: &PodKey| MadeWith::With("v1".into());
    plan.set_pods(now(at), &NodePods { running }, made, || 0.5);
}

/// The names of the pods that are taken at that time, with what they are asked for.
fn taken(plan: &mut Plan, at: u64) -> Vec<(String, UpdateWanted)> {
    std::iter::from_fn(|| plan.take(now(at)))
        .map(|(key, wanted)| (key.name, wanted))
        .collect()
}

fn end(plan: &mut Plan, at: u64, pod: &RunningPod, brought: VolumesBrought) {
    plan.ended(now(at), &pod.key, &Ok(brought));
}

fn written(version: &str) -> VolumesBrought {
    VolumesBrought::Written(version.into())
}

fn unchanged(version: &str) -> VolumesBrought {
    VolumesBrought::Unchanged(version.into())
}

#[test]
fn a_pod_is_looked_at_once_and_then_when_its_objects_change() {
    let mut plan = Plan::default();
    let (pod, other) = (
        running("a", of_secret("s")),
        running("b", of_secret("other")),
    );
    set(&mut plan, 0, &[pod.clone(), other.clone()]);
    assert_eq!(
        plan.objects(),
        BTreeSet::from([secret("s"), secret("other")])
    );
    assert!(taken(&mut plan, 39).is_empty());
    let first = taken(&mut plan, 40);
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].1.known.as_deref(), Some("v1"));
    assert_eq!(first[0].1.running, ["c"]);
    end(&mut plan, 41, &pod, unchanged("v1"));
    end(&mut plan, 41, &other, unchanged("v1"));
    assert_eq!(plan.next(), None);

    plan.changed(now(50), &secret("s"));
    assert!(taken(&mut plan, 50).is_empty(), "what changes together");
    let again = taken(&mut plan, 51);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].0, "a");
    end(&mut plan, 52, &pod, written("v2"));
    plan.changed(now(53), &secret("s"));
    assert!(taken(&mut plan, 56).is_empty(), "some time between writes");
    let third = taken(&mut plan, 57);
    assert_eq!(third[0].1.known.as_deref(), Some("v2"));
}

#[test]
fn what_changes_while_it_is_looked_at_is_looked_at_again() {
    let mut plan = Plan::default();
    let pod = running("a", of_secret("s"));
    set(&mut plan, 0, std::slice::from_ref(&pod));
    assert_eq!(taken(&mut plan, 40).len(), 1);
    plan.changed(now(41), &secret("s"));
    assert!(taken(&mut plan, 45).is_empty(), "one look at a time");
    end(&mut plan, 45, &pod, unchanged("v1"));
    assert_eq!(taken(&mut plan, 46).len(), 1);
}

#[test]
fn failures_are_tried_again_ever_less_often() {
    let mut plan = Plan::default();
    let pod = running("a", of_secret("s"));
    set(&mut plan, 0, std::slice::from_ref(&pod));
    let mut at = 40;
    let mut waits = Vec::new();
    for _ in 0..9 {
        assert_eq!(taken(&mut plan, at).len(), 1);
        let failure = Failure::transient("Test", "no".to_owned());
        plan.ended(now(at), &pod.key, &Err(failure));
        let next = plan.next().unwrap().as_secs();
        waits.push(next - at);
        at = next;
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
}

#[test]
fn labels_and_annotations_are_awaited() {
    let mut plan = Plan::default();
    let with = |digest| {
        let metadata = Some(digest);
        running(
            "a",
            VolumeSources {
                metadata,
                ..VolumeSources::default()
            },
        )
    };
    set(&mut plan, 0, &[with(1)]);
    assert_eq!(taken(&mut plan, 1).len(), 1);
    end(&mut plan, 1, &with(1), unchanged("v1"));
    set(&mut plan, 9, &[with(2)]);
    assert_eq!(taken(&mut plan, 9).len(), 1);
}

#[test]
fn tokens_are_made_anew_before_they_end() {
    let mut plan = Plan::default();
    let sources = VolumeSources {
        token_seconds: Some(1000),
        ..VolumeSources::default()
    };
    let pod = running("a", sources);
    // The process starts when the token is 300 s old.
    set(&mut plan, 300, std::slice::from_ref(&pod));
    assert!(!taken(&mut plan, 340)[0].1.tokens);
    end(&mut plan, 340, &pod, unchanged("v1"));
    assert_eq!(plan.next(), Some(Duration::from_secs(800)));
    let wanted = taken(&mut plan, 800);
    assert!(wanted[0].1.tokens);
    end(&mut plan, 801, &pod, written("v1"));
    assert_eq!(plan.next(), Some(Duration::from_secs(1601)));
}

#[test]
fn what_a_process_before_has_written_is_known_until_a_container_begins_again() {
    let sources = VolumeSources {
        updated: Some(VolumesUpdated {
            version: "v7".into(),
            at: now(100).wall,
        }),
        ..of_secret("s")
    };
    let mut pod = running("a", sources);
    let mut plan = Plan::default();
    set(&mut plan, 200, std::slice::from_ref(&pod));
    assert_eq!(taken(&mut plan, 300)[0].1.known.as_deref(), Some("v7"));
    end(&mut plan, 300, &pod, unchanged("v7"));

    pod.containers[0].since = now(400).wall;
    set(&mut plan, 401, std::slice::from_ref(&pod));
    let again = taken(&mut plan, 402);
    assert_eq!(
        again[0].1.known, None,
        "the first init container may have run"
    );
    end(&mut plan, 402, &pod, written("v7"));
    // The same for who comes then, before that is on record.
    let mut plan = Plan::default();
    set(&mut plan, 500, std::slice::from_ref(&pod));
    assert_eq!(taken(&mut plan, 501)[0].1.known, None);
}

#[test]
fn a_restart_of_a_pod_that_was_never_written_is_nothing() {
    let mut pod = running("a", of_secret("s"));
    let mut plan = Plan::default();
    set(&mut plan, 0, std::slice::from_ref(&pod));
    taken(&mut plan, 40);
    end(&mut plan, 40, &pod, unchanged("v1"));
    pod.containers[0].since = now(60).wall;
    set(&mut plan, 61, std::slice::from_ref(&pod));
    assert_eq!(plan.next(), None);
}

#[test]
fn groups_without_such_volumes_are_left_alone_and_those_not_seen_are_asked_for_again() {
    let mut plan = Plan::default();
    let pods = NodePods {
        running: vec![Arc::new(running("a", of_secret("s")))],
    };
    plan.set_pods(now(0), &pods, |_| MadeWith::Without, || 0.0);
    assert_eq!((plan.next(), plan.objects().len()), (None, 0));
    plan.set_pods(now(0), &pods, |_| MadeWith::Unseen, || 0.0);
    assert_eq!(plan.next(), Some(UNSEEN));
    assert!(plan.look_again(now(5)) && !plan.look_again(now(4)));
    // A pod that is gone, or ends, is nobody's.
    set(&mut plan, 5, &[running("a", of_secret("s"))]);
    assert!(plan.next().is_some());
    set(&mut plan, 6, &[]);
    assert_eq!((plan.next(), plan.objects().len()), (None, 0));
}

#[test]
fn a_few_pods_at_a_time() {
    let mut plan = Plan::default();
    let pods: Vec<RunningPod> = (0..9)
        .map(|n| running(&format!("p{n}"), of_secret("s")))
        .collect();
    set(&mut plan, 0, &pods);
    assert_eq!(taken(&mut plan, 100).len(), AT_ONCE);
    assert_eq!(plan.next(), None, "it waits for one of them");
    end(&mut plan, 100, &pods[0], unchanged("v1"));
    assert_eq!(taken(&mut plan, 100).len(), 1);
}

#[test]
fn the_condition_is_read_as_it_is_written() {
    let pod = json!({
        "metadata": {"name": "a", "namespace": "ns", "uid": "u"},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}],
            "volumes": [{"name": "s", "secret": {"secretName": "s"}}]},
        "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:07Z"}}}],
            "conditions": [{"type": VolumesUpdated::CONDITION, "status": "True", "reason": "Updated", "message": "v3",
                "lastTransitionTime": "2026-01-01T01:00:00Z"}]},
    });
    let facts = crate::translate::facts(&serde_json::from_value(pod).unwrap()).unwrap();
    let running = RunningPod::of(&facts).unwrap();
    let sources = running.volumes.unwrap();
    assert_eq!(sources.updated.as_ref().map(|it| &*it.version), Some("v3"));
    assert!(sources.secrets.contains("s"));
}
