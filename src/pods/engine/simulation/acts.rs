//! What may happen to the world.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::trouble::{CREATES, DELETES};
use super::{Input, Pod, World, key, tenants};
use crate::pods::engine::ProbeNews;
use crate::provider::FailureKind;
use crate::translate::{ProbeKind, Probed};

/// What may happen to the world.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Create(u8),
    CreateWithDeadline(u8, u8),
    /// With this grace period, in seconds.
    Delete(u8, u8),
    ForceDelete(u8),
    Pass(u16),
    Fail {
        calls: u8,
        after_effect: bool,
    },
    KillOperator,
    DeleteGroupBehindOurBack(u8),
    /// Operations take up to so long from now on; watch events and other operations come in between.
    Latency(u16),
    Suspend(bool),
    /// The pods' namespace is allowed or not.
    Allow(bool),
    /// Creates and deletes wait for a turn for so long.
    Queue(u8),
    /// The watch says that a pod is gone which is not, and takes it back later.
    WatchLies(u8),
    /// The readiness probe of a pod succeeds or fails from now on.
    Ready(u8, bool),
    /// A container fails its liveness probe.
    Unhealthy(u8),
    /// So many creates are refused, for this.
    RefuseCreates(u8, FailureKind),
    RefuseDeletes(u8, FailureKind),
    /// So many groups are made and not provisioned; they may start so many seconds after Azure gave up.
    Unprovision(u8, Option<u8>),
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u8..12).prop_map(Act::Create),
        2 => (0u8..12, 1u8..60).prop_map(|(n, seconds)| Act::CreateWithDeadline(n, seconds)),
        3 => (0u8..12, 0u8..40).prop_map(|(n, grace)| Act::Delete(n, grace)),
        1 => (0u8..12).prop_map(Act::ForceDelete),
        6 => (1u16..5000).prop_map(Act::Pass),
        2 => (1u8..4, any::<bool>()).prop_map(|(calls, after_effect)| Act::Fail { calls, after_effect }),
        1 => Just(Act::KillOperator),
        1 => (0u8..12).prop_map(Act::DeleteGroupBehindOurBack),
        2 => (0u16..4000).prop_map(Act::Latency),
        1 => any::<bool>().prop_map(Act::Suspend),
        1 => any::<bool>().prop_map(Act::Allow),
        1 => (1u8..25).prop_map(Act::Queue),
        1 => (0u8..12).prop_map(Act::WatchLies),
        3 => (0u8..12, any::<bool>()).prop_map(|(n, ready)| Act::Ready(n, ready)),
        2 => (0u8..12).prop_map(Act::Unhealthy),
        2 => (1u8..5, prop::sample::select(&CREATES[..])).prop_map(|(many, kind)| Act::RefuseCreates(many, kind)),
        1 => (1u8..5, prop::sample::select(&DELETES[..])).prop_map(|(many, kind)| Act::RefuseDeletes(many, kind)),
        2 => (1u8..5, prop::option::of(1u8..40)).prop_map(|(many, late)| Act::Unprovision(many, late)),
    ]
}

impl World {
    fn newest(&self, n: u8) -> String {
        self.newest.get(&n).cloned().unwrap_or_default()
    }

    fn create(&mut self, n: u8, deadline: Option<u8>) {
        if self.pods.contains_key(&self.newest(n)) {
            return;
        }
        self.created += 1;
        let uid = format!("u{n}-{}", self.created);
        self.newest.insert(n, uid.clone());
        let job = (n % 4 == 1 && deadline.is_none()).then_some(u8::from(n == 9));
        if let Some(code) = job {
            self.jobs.insert(uid.clone(), code);
        }
        let pod = Pod {
            deleting: false,
            grace: (Duration::ZERO, 0),
            hook: n.is_multiple_of(2),
            probed: n % 4 < 2 && job.is_none(),
            once: n.is_multiple_of(3) || job.is_some(),
            job,
            deadline,
            status: json!({"phase": "Pending"}),
        };
        self.pods.insert(uid.clone(), pod);
        self.tell_pod(&uid);
    }

    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Create(n) => self.create(*n, None),
            Act::CreateWithDeadline(n, seconds) => self.create(*n, Some(*seconds)),
            Act::Delete(n, grace) => {
                let uid = self.newest(*n);
                let ends = self.now + Duration::from_secs(u64::from(*grace));
                if let Some(pod) = self.pods.get_mut(&uid) {
                    // A grace period can only be made shorter.
                    if !pod.deleting || ends < pod.grace.0 {
                        pod.grace = (ends, *grace);
                    }
                    pod.deleting = true;
                    self.condemned.insert(uid.clone());
                    self.lies.remove(&uid);
                    self.tell_pod(&uid);
                }
            }
            Act::ForceDelete(n) => {
                let uid = self.newest(*n);
                if let Some(pod) = self.pods.remove(&uid) {
                    if pod.is_overdue(self.wall()) {
                        self.condemned.insert(uid.clone());
                    }
                    self.step(Input::PodGone(key(&uid)));
                }
            }
            Act::Pass(ms) => self.pass(Duration::from_millis(u64::from(*ms))),
            Act::Fail {
                calls,
                after_effect,
            } => {
                self.failing = *calls;
                self.fails_after_effect = *after_effect;
            }
            Act::KillOperator => self.start_operator(),
            Act::DeleteGroupBehindOurBack(n) => {
                let uid = self.newest(*n);
                if self.groups.remove(&uid).is_some() {
                    self.deleted_behind_our_back.insert(uid);
                }
            }
            Act::Latency(ms) => self.latency = Duration::from_millis(u64::from(*ms)),
            Act::Suspend(suspended) => {
                self.suspended = *suspended;
                self.step(Input::Suspended(*suspended));
            }
            Act::Allow(allowed) => {
                self.allowed = *allowed;
                self.step(tenants(*allowed));
            }
            Act::Queue(seconds) => {
                self.queue_until = self.now + Duration::from_secs(u64::from(*seconds));
            }
            Act::Ready(n, ready) => self.probed(&self.newest(*n), *ready),
            Act::Unhealthy(n) => {
                let uid = self.newest(*n);
                if let Some(target) = self.probing.get(&uid) {
                    let container = &target.containers[0];
                    let news = ProbeNews::Failed {
                        name: container.name.clone(),
                        id: container.id.clone(),
                        kind: ProbeKind::Liveness,
                        grace: Some(Duration::from_secs(5)),
                    };
                    self.step(Input::Probed(key(&uid), news));
                }
            }
            Act::RefuseCreates(many, kind) => self.trouble.creates = Some((*many, *kind)),
            Act::RefuseDeletes(many, kind) => self.trouble.deletes = Some((*many, *kind)),
            Act::Unprovision(many, late) => {
                let late = late.map(|seconds| Duration::from_secs(seconds.into()));
                self.trouble.unprovisioned = Some((*many, late));
            }
            Act::WatchLies(n) => {
                let uid = self.newest(*n);
                if self.pods.get(&uid).is_some_and(|pod| !pod.deleting)
                    && self.lies.insert(uid.clone())
                {
                    self.step(Input::PodGone(key(&uid)));
                }
            }
        }
    }

    /// What is probed of the pod is ready, or not.
    pub(super) fn probed(&mut self, uid: &str, ready: bool) {
        if let Some(target) = self.probing.get(uid) {
            let container = &target.containers[0];
            let news = ProbeNews::Container {
                name: container.name.clone(),
                probed: Probed {
                    id: container.id.clone(),
                    started: true,
                    ready,
                },
            };
            self.step(Input::Probed(key(uid), news));
        }
    }

    /// The watch tells the truth again.
    pub(super) fn take_back_lies(&mut self) {
        for uid in std::mem::take(&mut self.lies) {
            self.tell_pod(&uid);
        }
    }
}
