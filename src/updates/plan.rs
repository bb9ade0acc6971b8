//! Which pod's volumes are looked at, and when. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::pods::snapshot::{NodePods, RunningPod};
use crate::provider::{Failure, MadeWith, UpdateWanted, VolumesBrought};
use crate::translate::{PodKey, VolumeSources};

/// A pod is looked at for the first time so long after it was seen: its objects may have changed between the reading of them and
/// the watch. After the start of the process the pods come one after the other.
const FIRST: Duration = Duration::from_secs(20);
const SPREAD: Duration = Duration::from_secs(40);
/// Programs wait for labels and annotations.
const FIRST_OF_METADATA: Duration = Duration::from_secs(1);
/// What changes together is written together.
const TOGETHER: Duration = Duration::from_secs(1);
/// From one write of a pod's volumes to the next.
const GAP: Duration = Duration::from_secs(5);
/// Tries of one pod that fail are so far apart at first, and at most.
const RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// Groups that were not seen yet are asked for again after so long.
const UNSEEN: Duration = Duration::from_secs(5);
/// Pods whose volumes are looked at, or written, at once.
const AT_ONCE: usize = 4;
/// A kubelet asks for another token after four fifths of the life of the last, or after a day.
const TOKEN_SHARE: f64 = 0.8;
const OLDEST_TOKEN: Duration = Duration::from_hours(24);

/// What a file may be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Secret,
    ConfigMap,
}

/// An object of the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectName {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The time: since the start, and of the day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) mono: Duration,
    pub(super) wall: Timestamp,
}

#[derive(Debug)]
struct Entry {
    sources: Arc<VolumeSources>,
    running: Arc<RunningPod>,
    made: Arc<str>,
    /// What is in the volumes; `None` when it is not known.
    known: Option<Box<str>>,
    /// When they were written last, unless the group was made so.
    written: Option<Timestamp>,
    due: Option<Duration>,
    not_before: Duration,
    token_due: Option<Duration>,
    failures: u32,
    in_flight: bool,
    /// Something has changed since the look on its way began.
    again: bool,
}

/// The pods of a node whose volumes are brought up to date.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pods: BTreeMap<PodKey, Entry>,
    /// When groups that were not seen yet are asked for again.
    unseen: Option<Duration>,
}

impl Plan {
    /// Takes note of what runs; whether a pod has come or gone. `spread` is a number from 0 to 1 for each new pod.
    pub(super) fn set_pods(
        &mut self,
        now: Now,
        pods: &NodePods,
        made: impl Fn(&PodKey) -> MadeWith,
        mut spread: impl FnMut() -> f64,
    ) -> bool {
        self.unseen = None;
        let mut changed = false;
        let mut here = BTreeSet::new();
        for pod in &pods.running {
            let Some(sources) = &pod.volumes else {
                continue;
            };
            let made = match made(&pod.key) {
                MadeWith::With(made) => made,
                MadeWith::Without => continue,
                MadeWith::Unseen => {
                    self.unseen = Some(now.mono + UNSEEN);
                    continue;
                }
            };
            here.insert(&pod.key);
            if let Some(entry) = self.pods.get_mut(&pod.key) {
                entry.saw(now, pod, sources, made);
            } else {
                let entry = Entry::new(now, pod, sources, made, spread());
                self.pods.insert(pod.key.clone(), entry);
                changed = true;
            }
        }
        let before = self.pods.len();
        self.pods.retain(|key, _| here.contains(key));
        changed || self.pods.len() < before
    }

    /// When [`Plan::set_pods`] is to be told once more.
    pub(super) fn look_again(&self, now: Now) -> bool {
        self.unseen.is_some_and(|at| at <= now.mono)
    }

    /// What the volumes of the pods are made of.
    pub(super) fn objects(&self) -> BTreeSet<ObjectName> {
        let of = |(key, entry): (&PodKey, &Entry)| {
            let name = |kind, name: &str| ObjectName {
                kind,
                namespace: key.namespace.clone(),
                name: name.to_owned(),
            };
            let sources = Arc::clone(&entry.sources);
            let secrets = sources.secrets.iter().map(|it| name(Kind::Secret, it));
            let maps = sources.config_maps.iter();
            let maps = maps.map(|it| name(Kind::ConfigMap, it));
            secrets.chain(maps).collect::<Vec<_>>()
        };
        self.pods.iter().flat_map(of).collect()
    }

    /// An object has changed, appeared or gone.
    pub(super) fn changed(&mut self, now: Now, object: &ObjectName) {
        for (key, entry) in &mut self.pods {
            let names = match object.kind {
                Kind::Secret => &entry.sources.secrets,
                Kind::ConfigMap => &entry.sources.config_maps,
            };
            if key.namespace == object.namespace && names.contains(object.name.as_str()) {
                entry.is_due(now.mono + TOGETHER);
            }
        }
    }

    /// A pod to look at now.
    pub(super) fn take(&mut self, now: Now) -> Option<(PodKey, UpdateWanted)> {
        if self.is_busy() {
            return None;
        }
        let due = |entry: &Entry| entry.next().filter(|at| *at <= now.mono);
        let first = self.pods.iter().filter_map(|it| Some((due(it.1)?, it.0)));
        let key = first.min()?.1.clone();
        let entry = self.pods.get_mut(&key)?;
        let tokens = entry.token_due.is_some_and(|at| at <= now.mono);
        (entry.due, entry.in_flight, entry.again) = (None, true, false);
        let running = entry.running.containers.iter();
        let running = running.map(|it| it.name.to_string()).collect();
        let known = entry.known.clone();
        let wanted = UpdateWanted {
            running,
            known,
            tokens,
        };
        Some((key, wanted))
    }

    /// When there is something to do by itself.
    pub(super) fn next(&self) -> Option<Duration> {
        let busy = self.is_busy();
        let pods = self.pods.values().filter(|_| !busy);
        pods.filter_map(Entry::next).chain(self.unseen).min()
    }

    /// Whether no further pod may be looked at now.
    fn is_busy(&self) -> bool {
        self.pods.values().filter(|it| it.in_flight).count() >= AT_ONCE
    }

    /// A look has ended. What is now in the volumes, when they have been written.
    pub(super) fn ended(
        &mut self,
        now: Now,
        key: &PodKey,
        result: &Result<VolumesBrought, Failure>,
    ) -> Option<Box<str>> {
        let entry = self.pods.get_mut(key)?;
        entry.in_flight = false;
        let mut written = None;
        match result {
            Ok(VolumesBrought::Unchanged(version)) => {
                entry.known = Some(version.clone());
                entry.failures = 0;
            }
            Ok(VolumesBrought::Written(version)) => {
                entry.known = Some(version.clone());
                entry.failures = 0;
                entry.written = Some(now.wall);
                entry.not_before = now.mono + GAP;
                entry.token_due = entry
                    .sources
                    .token_seconds
                    .map(|life| now.mono + life_of(life));
                written = Some(version.clone());
            }
            Ok(VolumesBrought::Nothing) => {
                entry.token_due = None;
                entry.failures = 0;
            }
            Err(_) => {
                let wait = RETRY.saturating_mul(1 << entry.failures.min(10));
                entry.failures = entry.failures.saturating_add(1);
                entry.not_before = now.mono + wait.min(LONGEST_RETRY);
                entry.again = true;
            }
        }
        if entry.again {
            entry.is_due(now.mono + TOGETHER);
        }
        written
    }
}

impl Entry {
    fn new(
        now: Now,
        pod: &Arc<RunningPod>,
        sources: &Arc<VolumeSources>,
        made: Arc<str>,
        spread: f64,
    ) -> Self {
        let updated = sources.updated.as_ref();
        let written = updated.map(|it| it.at);
        // Containers that began later may have begun with what the group was made with.
        let known = match updated {
            None => Some(Box::from(&*made)),
            Some(it) if !began_after(pod, it.at) => Some(it.version.clone()),
            Some(_) => None,
        };
        let first = match (&known, sources.metadata) {
            (None, _) => TOGETHER,
            (_, Some(_)) => FIRST_OF_METADATA,
            _ => FIRST + SPREAD.mul_f64(spread.clamp(0.0, 1.0)),
        };
        let begun = written.or(pod.started).unwrap_or(now.wall);
        let age = Duration::try_from(now.wall.duration_since(begun)).unwrap_or_default();
        let token_due = sources
            .token_seconds
            .map(|life| now.mono + life_of(life).saturating_sub(age));
        Self {
            sources: Arc::clone(sources),
            running: Arc::clone(pod),
            made,
            known,
            written,
            due: Some(now.mono + first),
            not_before: Duration::ZERO,
            token_due,
            failures: 0,
            in_flight: false,
            again: false,
        }
    }

    /// The pod runs as before, or otherwise.
    fn saw(
        &mut self,
        now: Now,
        pod: &Arc<RunningPod>,
        sources: &Arc<VolumeSources>,
        made: Arc<str>,
    ) {
        if self.sources.metadata != sources.metadata {
            self.is_due(now.mono);
        }
        // The group was made anew, or its first init container has run again.
        let anew = self.made != made;
        let again = self.written.is_some_and(|at| began_after(pod, at));
        if (anew || again) && self.running != *pod {
            self.known = None;
            self.is_due(now.mono + TOGETHER);
        }
        self.made = made;
        self.sources = Arc::clone(sources);
        self.running = Arc::clone(pod);
    }

    fn is_due(&mut self, at: Duration) {
        self.again = true;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn next(&self) -> Option<Duration> {
        if self.in_flight {
            return None;
        }
        let first = self.due.into_iter().chain(self.token_due).min()?;
        Some(first.max(self.not_before))
    }
}

/// Whether a container of `pod` began after `at`.
fn began_after(pod: &RunningPod, at: Timestamp) -> bool {
    // Azure tells whole seconds.
    let at = at.checked_sub(SignedDuration::from_secs(1)).unwrap_or(at);
    pod.containers.iter().any(|it| it.since > at)
}

/// How long a token of `seconds` is used.
fn life_of(seconds: i64) -> Duration {
    let whole = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    whole.mul_f64(TOKEN_SHARE).min(OLDEST_TOKEN)
}

#[cfg(test)]
mod tests;
