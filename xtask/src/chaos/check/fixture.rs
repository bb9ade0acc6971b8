//! A small world in which all is well.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::json;

use crate::chaos::world::{
    Change, ContainerSeen, GroupSeen, NodeSeen, Owner, PodHistory, PodSeen, ProcessSeen, State,
    Time, Workload, World,
};

pub(in crate::chaos) const NODE: &str = "linux";

pub(in crate::chaos) fn at(seconds: i64) -> Time {
    Time::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

fn running() -> Vec<ContainerSeen> {
    vec![ContainerSeen {
        name: "main".to_owned(),
        state: State::Running,
        restarts: 0,
    }]
}

/// A pod that runs, named like its UID.
pub(in crate::chaos) fn pod(uid: &str) -> PodSeen {
    PodSeen {
        uid: uid.to_owned(),
        name: format!("ns/{uid}"),
        node: Some(NODE.to_owned()),
        deleting: None,
        phase: "Running".to_owned(),
        reason: String::new(),
        policy: "Always".to_owned(),
        containers: running(),
        ip: Some("127.64.0.1".to_owned()),
        job: None,
        untouched: false,
        version: "1".to_owned(),
    }
}

pub(in crate::chaos) fn group(uid: &str) -> GroupSeen {
    GroupSeen {
        name: format!("group-{uid}"),
        uid: Some(uid.to_owned()),
        provisioning: "Succeeded".to_owned(),
        state: "Running".to_owned(),
        containers: running(),
        ip: Some("127.64.0.1".to_owned()),
        changed: Some(at(3)),
    }
}

pub(in crate::chaos) fn change(seconds: i64, kind: &str, uid: &str) -> Change {
    let before = kind != "created";
    Change {
        at: at(seconds),
        kind: kind.to_owned(),
        group: format!("group-{uid}"),
        tags: json!({"vkc-uid": uid}),
        ran: before,
        running: before,
        provisioning_state: "Succeeded".to_owned(),
        no_capacity: false,
        token: (kind != "vanished").then_some(1),
    }
}

pub(in crate::chaos) fn history(uid: &str) -> PodHistory {
    let phase = |seconds, phase: &str| (at(seconds), phase.to_owned(), String::new());
    PodHistory {
        name: format!("ns/{uid}"),
        policy: "Always".to_owned(),
        phases: vec![phase(1, "Pending"), phase(3, "Running")],
        last_alive: Some(at(100)),
        ..PodHistory::default()
    }
}

impl World {
    /// The pod, its group and their past are in this world.
    pub(in crate::chaos) fn with(mut self, uid: &str, policy: &str) -> Self {
        let mut past = history(uid);
        past.policy = policy.to_owned();
        self.pods.push(PodSeen {
            policy: policy.to_owned(),
            ..pod(uid)
        });
        self.groups.push(group(uid));
        self.history.insert(uid.to_owned(), past);
        self.changes.push(change(2, "created", uid));
        self.count();
        self
    }

    /// Lets the connector tell the counts that are.
    pub(in crate::chaos) fn count(&mut self) {
        let ours = self.groups.iter().filter(|group| {
            let mut pods = self.pods.iter();
            pods.any(|pod| Some(&pod.uid) == group.uid.as_ref() && pod.node.is_some())
        });
        self.connector = json!({
            "metadata": {"generation": 2},
            "status": {
                "observedGeneration": 2,
                "conditions": [{"type": "Ready", "status": "True"}],
                "pods": self.pods.len(),
                "nodes": [
                    {"name": NODE, "pods": self.pods.len(), "containerGroups": ours.count()},
                    {"name": "windows", "pods": 0, "containerGroups": 0},
                ],
            },
        });
    }

    pub(in crate::chaos) fn pod(&mut self, uid: &str) -> &mut PodSeen {
        self.pods.iter_mut().find(|pod| pod.uid == uid).unwrap()
    }

    pub(in crate::chaos) fn group(&mut self, uid: &str) -> &mut GroupSeen {
        let mut groups = self.groups.iter_mut();
        groups
            .find(|group| group.uid.as_deref() == Some(uid))
            .unwrap()
    }

    pub(in crate::chaos) fn past(&mut self, uid: &str) -> &mut PodHistory {
        self.history.get_mut(uid).unwrap()
    }
}

/// Two pods, a Job that has run, a foreign group, two nodes.
pub(in crate::chaos) fn world() -> World {
    let node = |name: &str| NodeSeen {
        name: name.to_owned(),
        ready: true,
        taints: vec!["virtual-kubelet.io/provider".to_owned()],
    };
    let foreign = GroupSeen {
        name: "foreign".to_owned(),
        uid: None,
        ..group("")
    };
    let mut world = World {
        now: at(100),
        groups: vec![foreign],
        changes: vec![Change {
            group: "foreign".to_owned(),
            tags: json!({}),
            ..change(0, "created", "")
        }],
        foreign: vec!["foreign".to_owned()],
        nodes: vec![node(NODE), node("windows")],
        owners: ["connector", "replica"]
            .map(|about| Owner {
                name: format!("vkc-{about}"),
                about: about.to_owned(),
                holder: "vkc-0-1234".to_owned(),
                renewed: Some(at(97)),
            })
            .to_vec(),
        leases: BTreeMap::from([NODE, "windows"].map(|name| (name.to_owned(), Some(at(95))))),
        workloads: vec![
            Workload {
                kind: "Deployment".to_owned(),
                name: "ns/web".to_owned(),
                wanted: 2,
                there: 2,
                ..Workload::default()
            },
            Workload {
                kind: "Job".to_owned(),
                name: "ns/once".to_owned(),
                wanted: 1,
                there: 1,
                complete: true,
                untouched: true,
            },
        ],
        processes: vec![ProcessSeen {
            name: "vkc-0".to_owned(),
            ended: None,
            at_start: Some((40_000, 30)),
            now: Some((60_000, 40)),
        }],
        ..World::default()
    }
    .with("a", "Always")
    .with("b", "Never")
    .with("j", "Never");
    for container in &mut world.group("j").containers {
        container.state = State::Terminated(0);
    }
    let pod = world.pod("j");
    (pod.phase, pod.untouched) = ("Succeeded".to_owned(), true);
    let past = world.past("j");
    past.phases
        .push((at(9), "Succeeded".to_owned(), String::new()));
    past.untouched = true;
    past.job = Some("once".to_owned());
    world
}
