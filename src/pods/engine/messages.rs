//! Termination messages from the logs of containers that have ended (`terminationMessagePolicy: FallbackToLogsOnError`). PURE.
//!
//! A kubelet writes an end and its message at once, and whoever sees a pod that has ended reads the message then. So a pod's
//! last status waits for the logs, but not for long; any other status is written first, and again with the message.

use std::time::Duration;

use super::next::{Next, at};
use super::record::Record;
use super::stage::Stage;
use super::{Effect, Engine, Now, Operation, cadence};
use crate::azure::model::ContainerGroup;
use crate::pods::queue::Priority;
use crate::provider::{EndLogs, Failure};
use crate::translate::{ContainerEnd, PodKey, ends_without_message};

/// The logs of an end are asked for so often, and not again after that time.
const TRIES: u32 = 3;
const WITHIN: Duration = Duration::from_secs(6);
/// The wait before they are asked for again, doubled each time.
const AGAIN: Duration = Duration::from_millis(500);

/// Logs that are to be read.
#[derive(Debug)]
pub(super) struct UnreadLogs {
    ends: Vec<ContainerEnd>,
    tries: u32,
    due: Duration,
    until: Duration,
    /// The group of a pod that has ended, whose status is not written yet.
    pub(super) last: Option<Box<ContainerGroup>>,
}

impl UnreadLogs {
    pub(super) fn new(now: Now) -> Self {
        Self {
            ends: Vec::new(),
            tries: 0,
            due: now.mono,
            until: now.mono + WITHIN,
            last: None,
        }
    }

    /// Whether the pod has ended.
    pub(super) fn is_last(&self) -> bool {
        self.last.is_some()
    }

    pub(super) fn next(&self, record: &Record) -> Next {
        Next {
            due: self.due,
            priority: Priority::Transition,
            ..at(record, Operation::ReadLogs(self.ends.clone()))
        }
    }
}

impl Engine {
    /// The logs of containers that have ended were read, or not.
    pub(super) fn logs_read(
        &mut self,
        now: Now,
        key: &PodKey,
        result: Result<EndLogs, Failure>,
        effects: &mut Vec<Effect>,
    ) {
        let bulk = self.node.bulk_listing;
        let Some((record, late)) = self.land(now, key) else {
            return;
        };
        let shown = result.ok().map(|read| {
            record.learn_messages(&read);
            read.group
        });
        if late || !matches!(record.stage, Stage::Starting { .. } | Stage::Running { .. }) {
            return;
        }
        let gone = matches!(shown, Some(None));
        let last = record.tried_logs(now, gone);
        match shown {
            Some(Some(group)) => record.saw_active(now, &group, bulk, effects),
            _ => {
                if let Some(group) = last {
                    record.saw_active(now, &group, bulk, effects);
                }
            }
        }
    }
}

impl Record {
    /// Asks for the logs of what has ended in `group` and says nothing. True when the pod's last status, which is `ended`,
    /// waits for them.
    pub(super) fn waits_for_logs(&mut self, now: Now, group: &ContainerGroup, ended: bool) -> bool {
        let ends = self.facts().map(|facts| ends_without_message(facts, group));
        let ends = ends.unwrap_or_default();
        if ends.is_empty() {
            self.unread = None;
            return false;
        }
        let unread = self.unread.get_or_insert_with(|| UnreadLogs::new(now));
        unread.ends = ends;
        unread.last = ended.then(|| Box::new(group.clone()));
        ended
    }

    /// Takes over the logs of those ends that the group has still shown afterwards: of others it was perhaps another run's.
    fn learn_messages(&mut self, read: &EndLogs) {
        let (Some(pod), Some(group)) = (&mut self.pod, &read.group) else {
            return;
        };
        let shown = ends_without_message(&pod.facts, group);
        for (end, log) in &read.logs {
            if shown.contains(end) {
                pod.facts.learn_message(end, log);
            }
        }
    }

    /// One more try has ended. After the last one what has no message yet stands without one; the group whose status has
    /// waited for it.
    fn tried_logs(&mut self, now: Now, gone: bool) -> Option<Box<ContainerGroup>> {
        let unread = self.unread.as_mut()?;
        unread.due = now.mono + cadence::jitter(AGAIN * 2u32.saturating_pow(unread.tries), 0);
        unread.tries = unread.tries.saturating_add(1);
        if unread.tries < TRIES && unread.due < unread.until && !gone {
            return None;
        }
        let UnreadLogs { ends, last, .. } = self.unread.take()?;
        if let Some(pod) = &mut self.pod {
            for end in &ends {
                if pod.facts.lacks_message(end) {
                    pod.facts.learn_message(end, "");
                }
            }
        }
        last
    }
}
