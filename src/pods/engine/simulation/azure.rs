//! What Azure and the API server do in this world, and when they fail.

use std::time::Duration;

use serde_json::json;

use super::{Pod, World, key, wall};
use crate::azure::model::ContainerGroup;
use crate::pods::engine::{Input, Operation, Presence};
use crate::provider::{
    Deleted, EndLogs, Ensured, Failure, FailureKind, GroupSummary, Listing, Unreached,
};
use crate::translate::{PodKey, containers_have_run};

pub(super) const STARTS_AFTER: Duration = Duration::from_secs(3);
/// The container of a job ends so long after its start.
const JOB_TAKES: Duration = Duration::from_secs(4);
/// Containers end so long after SIGTERM.
const ENDS_AFTER: Duration = Duration::from_secs(2);

pub(super) fn failure() -> Failure {
    Failure {
        kind: FailureKind::Uncertain,
        reason: "Simulated",
        message: "simulated".into(),
        retry_after: None,
        faults: None,
    }
}

fn complete(groups: Vec<GroupSummary>) -> Listing {
    Listing {
        all: groups.len(),
        groups,
        age: Duration::ZERO,
    }
}

impl World {
    /// Whether this call fails, and if so whether it takes effect all the same.
    fn luck(&mut self) -> Option<bool> {
        let failing = self.failing > 0;
        self.failing = self.failing.saturating_sub(1);
        failing.then_some(self.fails_after_effect)
    }

    /// Whether a GET of the group is answered 404 although it is there, which happens once.
    fn is_denied(&mut self, uid: &str) -> bool {
        self.unseen.remove(uid) && self.lying
    }

    pub(super) fn list(&mut self) -> Input {
        if self.luck().is_some() {
            return Input::GroupsListed(Err(failure()));
        }
        let groups = self.groups.iter().map(|(uid, made)| GroupSummary {
            name: format!("g-{uid}"),
            key: key(uid),
            maker: crate::tenure::Maker::Us,
            provisioning_state: if self.now < *made + STARTS_AFTER {
                "Creating"
            } else if self.is_unprovisioned(uid) {
                "Failed"
            } else {
                "Succeeded"
            }
            .into(),
        });
        let groups = groups.collect();
        Input::GroupsListed(Ok(complete(groups)))
    }

    /// The failure of a create or delete that has to wait for its turn.
    fn queued(&self) -> Option<Failure> {
        let wait = self.queue_until.saturating_sub(self.now);
        (!wait.is_zero()).then(|| Failure {
            kind: FailureKind::Queued,
            retry_after: Some(wait),
            ..failure()
        })
    }

    #[expect(clippy::too_many_lines, reason = "a line or two for each operation")]
    pub(super) fn carry_out(&mut self, key: &PodKey, operation: &Operation) -> Input {
        match (operation, self.queued()) {
            (Operation::CreateGroup { .. }, Some(failure)) => {
                return Input::Created(key.clone(), Err(failure));
            }
            (Operation::DeleteGroup, Some(failure)) => {
                self.trouble.forget(&key.uid);
                return Input::Deleted(key.clone(), Err(failure));
            }
            _ => {}
        }
        let luck = self.luck();
        let happens = luck.is_none_or(|after_effect| after_effect);
        let uid = key.uid.clone();
        match operation {
            Operation::CreateGroup { look_first, .. } => {
                let there = self.groups.contains_key(&uid);
                let exists = there && !(*look_first && self.is_denied(&uid));
                if there && !exists && happens {
                    self.repeated_puts.push(uid.clone());
                }
                // A pod that is gone from the API server cannot be read, so nothing is made for it.
                let alive = self.pods.contains_key(&uid);
                if alive
                    && !exists
                    && let Some(refusal) = self.trouble.refuses_create(&uid)
                {
                    return Input::Created(key.clone(), Err(refusal));
                }
                if happens && alive {
                    if exists && !look_first {
                        self.repeated_puts.push(uid.clone());
                    }
                    if !exists && self.ran.contains(&uid) {
                        self.run_again.push(uid.clone());
                    }
                    if !there {
                        self.unseen.insert(uid.clone());
                        // What befell the group before it has nothing to do with this one.
                        self.restarted.remove(&uid);
                        self.trouble.made(&uid);
                    }
                    self.groups.entry(uid.clone()).or_insert(self.now);
                }
                let result = match (luck, self.shows(&uid)) {
                    (None, Some(group)) => Ok(Ensured {
                        group,
                        adopted: false,
                        notes: Vec::new(),
                    }),
                    _ => Err(failure()),
                };
                Input::Created(key.clone(), result)
            }
            Operation::GetGroup if luck.is_some() => Input::Observed(key.clone(), Err(failure())),
            Operation::GetGroup if self.is_denied(&uid) => Input::Observed(key.clone(), Ok(None)),
            Operation::GetGroup => Input::Observed(key.clone(), Ok(self.shows(&uid))),
            Operation::DeleteGroup => {
                let now = self.wall();
                let lives_on = |pod: &Pod| !pod.deleting && !pod.is_overdue(now);
                let justified = self.trouble.justifies_delete(&uid);
                match self.pods.get(&uid) {
                    Some(pod) if lives_on(pod) && !justified => {
                        self.wrong_deletes.push(uid.clone());
                    }
                    Some(_) => {}
                    None if justified
                        || self.condemned.contains(&uid)
                        || self.confirmed.contains(&uid) => {}
                    None => self.unconfirmed_deletes.push(uid.clone()),
                }
                if let Some(pod) = self.pods.get(&uid)
                    && pod.deleting
                    && !matches!(pod.status["phase"].as_str(), Some("Succeeded" | "Failed"))
                    && self.now < pod.grace.0
                    && self.signals.contains(&uid)
                    && self.ended.get(&uid).is_some_and(|ended| *ended > self.now)
                {
                    self.cut_short.push(uid.clone());
                }
                if let Some(refusal) = self.trouble.refuses_delete() {
                    self.trouble.forget(&uid);
                    return Input::Deleted(key.clone(), Err(refusal));
                }
                if luck.is_some() {
                    self.trouble.forget(&uid);
                }
                let last = self.group(&uid);
                if happens {
                    self.groups.remove(&uid);
                }
                let result = match (luck, last) {
                    (Some(_), _) => Err(failure()),
                    (None, Some(last)) => {
                        // The answer says whether it had started after all.
                        let once = self.pods.get(&uid).is_some_and(|pod| pod.once);
                        if once && containers_have_run(&last) {
                            self.ran.insert(uid.clone());
                            self.started_late.insert(uid.clone());
                        }
                        Ok(Deleted::Accepted(Some(last)))
                    }
                    (None, None) => Ok(Deleted::Absent),
                };
                Input::Deleted(key.clone(), result)
            }
            Operation::StopGroup if luck.is_some() => Input::Stopped(key.clone(), Err(failure())),
            Operation::StopGroup => {
                self.stopped.insert(uid.clone());
                Input::Stopped(key.clone(), Ok(()))
            }
            Operation::ReadLogs(_) if luck.is_some() => {
                Input::LogsRead(key.clone(), Err(failure()))
            }
            Operation::ReadLogs(ends) => {
                let logs = ends
                    .iter()
                    .map(|end| (end.clone(), "last words".to_owned()));
                let read = EndLogs {
                    logs: logs.collect(),
                    group: self.shows(&uid),
                };
                Input::LogsRead(key.clone(), Ok(read))
            }
            Operation::RunPostStart(_) => {
                self.post_starts.push(self.run_of(&uid));
                Input::PostStartEnded(key.clone(), Vec::new())
            }
            Operation::RunPreStop(_) => {
                self.hooks.push(uid);
                Input::PreStopEnded(key.clone(), Vec::new())
            }
            Operation::SendSignal(names) if self.lives(&uid) && !self.jobs.contains_key(&uid) => {
                // Some ignore it, and some have no shell.
                let unreached = luck.map_or_else(Vec::new, |_| Unreached::all(names, "no shell"));
                if happens && self.started.is_multiple_of(3) {
                    let restarts = self.restarted.get(&uid).map_or(0, |(_, count)| *count);
                    self.restarted.insert(uid, (self.now, restarts + 1));
                }
                Input::Signalled(key.clone(), unreached)
            }
            Operation::Kill(names) => {
                // Where the shim is its program's end is the container's.
                let has_shim = self.started.is_multiple_of(2);
                if happens && has_shim && self.groups.contains_key(&uid) {
                    let restarts = self.restarted.get(&uid).map_or(0, |(_, count)| *count);
                    self.restarted.insert(uid, (self.now, restarts + 1));
                }
                let fails = luck.is_some() || !has_shim;
                let unreached = if fails {
                    Unreached::all(names, "no shim")
                } else {
                    Vec::new()
                };
                Input::Killed(key.clone(), unreached)
            }
            Operation::ExchangeImage => Input::ImageExchanged(key.clone(), Ok(None)),
            Operation::RestartGroup => {
                if happens && self.groups.contains_key(&uid) {
                    self.restarted.insert(uid, (self.now, 0));
                }
                let result = luck.map_or(Ok(()), |_| Err(failure()));
                Input::Restarted(key.clone(), result)
            }
            Operation::SendSignal(_) => {
                self.signals.push(uid.clone());
                self.ended.insert(uid, self.now + ENDS_AFTER);
                Input::Signalled(key.clone(), Vec::new())
            }
            Operation::Timer => unreachable!("carried out at once"),
            Operation::GetPod if luck.is_some() => Input::PodRead(key.clone(), Presence::Unknown),
            Operation::GetPod => {
                let alive = self.pods.contains_key(&uid);
                if !alive {
                    self.confirmed.insert(uid);
                }
                Input::PodRead(
                    key.clone(),
                    if alive {
                        Presence::Alive
                    } else {
                        Presence::Gone
                    },
                )
            }
            Operation::DeletePod => {
                let removed = luck.is_none() && self.pods.remove(&uid).is_some();
                if removed {
                    self.step(Input::PodGone(key.clone()));
                }
                Input::PodDeleted(key.clone(), luck.is_none())
            }
        }
    }

    /// Which run of which pod.
    fn run_of(&self, uid: &str) -> (String, Option<Duration>) {
        let restarted = self.restarted.get(uid).map(|(at, _)| *at);
        (uid.to_owned(), restarted.or(self.groups.get(uid).copied()))
    }

    /// Whether the pod is there and not being deleted.
    fn lives(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|pod| !pod.deleting)
    }

    pub(super) fn group(&self, uid: &str) -> Option<Box<ContainerGroup>> {
        let made = self.groups.get(uid)?;
        if self.is_unprovisioned(uid) {
            return Some(self.unprovisioned_group(uid));
        }
        let made = &self.begun(uid).unwrap_or(*made);
        let running = self.now >= *made + STARTS_AFTER;
        let mut container = json!({"name": "c", "properties": {"image": "i"}});
        let ended = self.ended.get(uid).filter(|ended| **ended <= self.now);
        if let Some(ended) = ended {
            // It is started again at once.
            container["properties"]["instanceView"] = json!({
                "restartCount": 1,
                "previousState": {"state": "Terminated", "exitCode": 0, "startTime": "2027-01-15T08:00:00Z",
                                  "finishTime": wall(*ended).to_string(), "detailStatus": "Completed"},
                "currentState": {"state": "Running", "startTime": wall(*ended).to_string()},
            });
        } else if let Some((at, count)) = self.restarted.get(uid).filter(|_| running) {
            container["properties"]["instanceView"] = json!({
                "restartCount": count, "currentState": {"state": "Running", "startTime": wall(*at).to_string()},
            });
        } else if running {
            container["properties"]["instanceView"] = json!({
                "restartCount": 0,
                "currentState": {"state": "Running", "startTime": wall(*made + STARTS_AFTER).to_string()},
            });
        }
        if let Some(code) = self.jobs.get(uid) {
            return Some(self.group_of_job(uid, *made, *code));
        }
        let group = json!({"name": format!("g-{uid}"), "properties": {
            "osType": "Linux", "restartPolicy": "Always", "containers": [container],
            "ipAddress": {"type": "Private", "ip": "10.0.0.9", "ports": []},
            "provisioningState": if running { "Succeeded" } else { "Creating" },
            "instanceView": {"state": if running { "Running" } else { "Pending" }},
        }});
        Some(Box::new(serde_json::from_value(group).unwrap()))
    }

    /// Until when the container of a job runs, and its sidecar.
    pub(super) fn ends_of_job(&self, uid: &str, made: Duration) -> [Option<Duration>; 2] {
        let signalled = self.ended.get(uid).copied();
        let by_itself = made + STARTS_AFTER + JOB_TAKES;
        // Some do not care for signals.
        let sidecar = signalled.filter(|_| !uid.starts_with("u5"));
        [
            Some(signalled.map_or(by_itself, |at| at.min(by_itself))),
            sidecar,
        ]
    }

    fn group_of_job(&self, uid: &str, made: Duration, code: u8) -> Box<ContainerGroup> {
        let begun = self.now >= made + STARTS_AFTER;
        let ends = self.ends_of_job(uid, made);
        let [main, sidecar] = ends.map(|end| end.filter(|end| *end <= self.now));
        let view = |end: Option<Duration>, code: u8| match end {
            _ if !begun => json!(null),
            Some(end) => {
                json!({"restartCount": 0, "currentState": {"state": "Terminated", "exitCode": code,
                    "startTime": wall(made).to_string(), "finishTime": wall(end).to_string()}})
            }
            None => {
                json!({"restartCount": 0, "currentState": {"state": "Running", "startTime": wall(made).to_string()}})
            }
        };
        let state = match (main, sidecar) {
            _ if self.stopped.contains(uid) => "Stopped",
            _ if !begun => "Pending",
            (Some(_), Some(_)) if code == 0 => "Succeeded",
            (Some(_), Some(_)) => "Failed",
            _ => "Running",
        };
        let group = json!({"name": format!("g-{uid}"), "properties": {
            "osType": "Linux", "restartPolicy": "Never", "containers": [
                {"name": "c", "properties": {"image": "i", "instanceView": view(main, code)}},
                {"name": "proxy", "properties": {"image": "p", "instanceView": view(sidecar, 0)}},
            ],
            "provisioningState": if begun { "Succeeded" } else { "Creating" },
            "instanceView": {"state": state},
        }});
        Box::new(serde_json::from_value(group).unwrap())
    }
}
