//! What the API server says about pods. Facts only: what follows is for `rules` and `next`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::changes::Changes;
use super::record::{PodRecord, Record};
use super::stage::{Afterwards, Exists, Made, Orphan, Stage, Why};
use super::{Effect, Engine, Now, Presence, cadence};
use crate::translate::{EventCursor, PodFacts, PodKey, Probing};

/// Longest wait between two tries to remove a pod, or to ask whether it exists.
const ASK_CAP: Duration = Duration::from_secs(30);

impl Engine {
    pub(super) fn pod_applied(&mut self, now: Now, facts: PodFacts, effects: &mut Vec<Effect>) {
        let key = facts.key.clone();
        self.touched.push(key.clone());
        let known = self.records.get_mut(&key);
        match known {
            Some(record) if record.pod.is_some() => record.pod_changed(now, facts, effects),
            _ => self.claim(now, &key, facts),
        }
    }

    /// A pod that is new to us: it may find its group here already.
    fn claim(&mut self, now: Now, key: &PodKey, mut facts: PodFacts) {
        facts.probing = Probing::new(self.node.probes);
        let synced = self.node.is_synced();
        let name = &self.group_name;
        let record = self.records.entry(key.clone()).or_insert_with(|| {
            let group: Arc<str> = (name.0)(key).into();
            Record::new(key.clone(), group, now, Stage::Unsynced)
        });
        let returned = record.exists != Exists::No || record.in_flight.is_some();
        let mut pod = PodRecord::new(facts, self.host_ip.clone(), !synced || returned);
        // One whose status says that it runs is not new, although we know nothing of it: a watch may have lost it for a while,
        // and a list its group meanwhile.
        pod.inherited |= pod.has_run();
        if pod.inherited {
            // A predecessor has told what happened before us, or at least before it wrote the status last. ACI's times are
            // whole seconds.
            let told = |time: Option<Timestamp>| time.map(EventCursor::before).unwrap_or_default();
            pod.events = told(now.wall.checked_sub(Duration::from_secs(1)).ok());
            pod.events_before = Some(told(pod.facts.last_transition()));
            record.look_first = true;
            if record.exists == Exists::No {
                record.exists = Exists::Maybe;
            }
        }
        record.pod = Some(pod);
        if record.made != Made::Here {
            // Whoever made the group, its pod is ours.
            record.made = Made::Before;
        }
        // A delete that goes on ends first; then the pod has lost its group.
        if !matches!(record.stage, Stage::Removing(_)) {
            record.enter(now, Stage::Unsynced);
        }
    }

    pub(super) fn pod_gone(&mut self, now: Now, key: &PodKey) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        self.touched.push(key.clone());
        let was_deleting = record.is_deleting();
        record.pod = None;
        match &mut record.stage {
            // The group was to make room for another one. Its delete is not on its way yet, or has failed or waits: by now it may
            // have started after all, and whether the pod is gone has to be asked.
            Stage::Removing(removal)
                if removal.makes_room() && !removal.accepted && record.exists != Exists::No =>
            {
                record.enter(now, Stage::Orphaned(Orphan::Vanished { at: now.mono }));
            }
            // Its group was condemned while the pod was there.
            Stage::Removing(removal) => removal.why = Why::PodGone,
            Stage::Gone | Stage::Orphaned(_) => {}
            _ if record.exists == Exists::No && record.in_flight.is_none() => {
                record.enter(now, Stage::Gone);
            }
            _ if was_deleting => record.remove_group(now, Why::PodGone),
            _ => record.enter(now, Stage::Orphaned(Orphan::Vanished { at: now.mono })),
        }
    }

    pub(super) fn pods_synced(&mut self) {
        if !std::mem::replace(&mut self.node.lists.pods, true) {
            self.touch_all();
        }
    }

    pub(super) fn set_suspended(&mut self, suspended: bool) {
        if std::mem::replace(&mut self.node.suspended, suspended) != suspended {
            self.touch_all();
        }
    }

    /// What pods were refused for may not be so any more.
    pub(super) fn review_refused(&mut self, now: Now) {
        for record in self.records.values_mut() {
            if matches!(record.stage, Stage::Refused) {
                record.enter(now, Stage::Creating);
                self.touched.push(record.key.clone());
            }
        }
    }

    /// A poll of a running pod is due now.
    pub(super) fn refresh(&mut self, key: &PodKey) {
        if let Some(record) = self.records.get_mut(key)
            && matches!(record.stage, Stage::Running { .. })
        {
            record.poll_soon();
            self.touched.push(key.clone());
        }
    }

    pub(super) fn status_written(&mut self, key: &PodKey, digest: u64) {
        if let Some(record) = self.records.get_mut(key)
            && let Some(pod) = &mut record.pod
        {
            pod.written(digest);
            self.touched.push(key.clone());
        }
    }

    /// A live GET says whether a pod exists.
    pub(super) fn pod_read(&mut self, now: Now, key: &PodKey, presence: Presence) {
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        let Stage::Orphaned(orphan) = record.stage else {
            return;
        };
        if late {
            return;
        }
        match presence {
            Presence::Gone => {
                let at = match orphan {
                    Orphan::Vanished { at } | Orphan::Confirmed { at } => at,
                    Orphan::Listed { since, .. } => since,
                };
                record.enter(now, Stage::Orphaned(Orphan::Confirmed { at }));
            }
            // The pod lives, but not on our node or not yet in our watch: leave its group alone.
            Presence::Alive => {
                let orphan = Orphan::Listed {
                    since: now.mono,
                    twice: false,
                };
                record.enter(now, Stage::Orphaned(orphan));
            }
            Presence::Unknown => record.back_off(now, cadence::retry(record.attempts + 1, ASK_CAP)),
        }
    }

    /// The removal of a pod from the API server ended.
    pub(super) fn pod_deleted(&mut self, now: Now, key: &PodKey, done: bool) {
        let Some(record) = self.records.get_mut(key) else {
            return;
        };
        self.touched.push(key.clone());
        if !record.land(now) && !done {
            record.back_off(now, cadence::retry(record.attempts + 1, ASK_CAP));
        }
        // Done: the watch will say that it is gone. Until then it is not asked for again.
        if done {
            record.not_before = now.mono + ASK_CAP;
        }
    }
}

impl Record {
    /// The pod is another than it was.
    fn pod_changed(&mut self, now: Now, facts: PodFacts, effects: &mut Vec<Effect>) {
        let Some(pod) = &mut self.pod else { return };
        let changed = pod.facts.generation != facts.generation;
        let news = Changes::between(&pod.facts, &facts);
        let foreign = pod.refresh(facts);
        match self.stage {
            // What it failed for may just have been mended.
            Stage::Refused if changed => self.enter(now, Stage::Creating),
            Stage::Creating if changed => {
                self.look_first |= self.attempts > 0 || self.in_flight.is_some();
                self.not_before = Duration::ZERO;
            }
            Stage::Starting { .. } | Stage::Running { .. } if !self.is_deleting() => {
                self.follow(now, &news, foreign, effects);
            }
            _ => {}
        }
    }

    /// What can be followed of a change of a pod that has a group.
    fn follow(&mut self, now: Now, news: &Changes, foreign: bool, effects: &mut Vec<Effect>) {
        let Some(pod) = &mut self.pod else { return };
        effects.extend(
            news.ephemeral_container()
                .then(|| pod.no_ephemeral_container()),
        );
        if news.has_images() && !pod.has_begun() {
            // Nothing is lost: most often the image was wrong.
            pod.failed_starts = 0;
            self.remove_group(now, Why::Replace);
            return;
        }
        let may_follow = pod.facts.may_change_image();
        if !may_follow {
            effects.extend(news.images_ignored(pod));
        }
        // The next status says of an ephemeral container that it has ended.
        let looks = news.has_images() && may_follow;
        if foreign || looks || news.deadline() || news.ephemeral_container() {
            self.poll_soon();
        }
    }

    /// A poll is due now.
    pub(super) fn poll_soon(&mut self) {
        self.poll_now = true;
        self.not_before = Duration::ZERO;
    }

    /// The next try of this stage is due after `wait`, spread.
    pub(super) fn back_off(&mut self, now: Now, wait: Duration) {
        self.attempts = self.attempts.saturating_add(1);
        self.wait(now, wait);
    }

    /// Nothing is done in this stage for `wait`, spread.
    pub(super) fn wait(&mut self, now: Now, wait: Duration) {
        self.not_before = now.mono + cadence::jitter(wait, self.seed());
    }

    /// The pod has ended with its group in this state.
    pub(super) fn finish(&mut self, now: Now, afterwards: Afterwards) {
        self.enter(now, Stage::Finished(afterwards));
    }
}
