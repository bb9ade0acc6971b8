//! Termination messages: what the shim has put behind the log, else the end of the log (`terminationMessagePolicy:
//! FallbackToLogsOnError`).
//!
//! ACI shows the log of a container's current run only. So an end is named by its container ID, which is another one for each
//! run, and a log belongs to it only when a group that was read after the log still shows that end.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ContainerStateTerminated;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::container::{Life, Seen, counted, ended, is};
use super::facts::{ContainerFacts, PodFacts};
use super::{Kind, find, seen};
use crate::azure::model::{ContainerGroup, InstanceView};
use crate::translate::identity::restarts_before;
use crate::translate::shim::has_shim;
use vkc_shim::message::{LONGEST, split};

/// What a kubelet takes of a log (Kubernetes, "Determine the Reason for Pod Failure").
const MOST_BYTES: usize = 2048;
pub const MESSAGE_LINES: u32 = 80;
/// What a kubelet writes for all containers of a pod together.
const MOST_BYTES_OF_POD: usize = 12 * 1024;
/// A status shows the last end of a container, and the one before.
const ENDS_SHOWN: usize = 2;

/// How a container ended, in one of its runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerEnd {
    /// Name of the container.
    pub container: String,
    /// Container ID of that run.
    pub id: String,
    /// Whether the end of the log is the message when there is no other.
    pub by_log: bool,
}

/// The termination message of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminationMessage {
    /// Container ID of the run.
    pub id: Box<str>,
    /// Empty when there is none to be had.
    pub text: Box<str>,
}

impl TerminationMessage {
    /// The message that the status in the API server has.
    pub(super) fn of(end: &ContainerStateTerminated) -> Option<Self> {
        Some(Self {
            id: end.container_id.as_deref()?.into(),
            text: end.message.as_deref()?.into(),
        })
    }
}

/// The ends in `group` whose termination message is the end of the container's log, which has not been read yet and is there
/// to be read.
pub fn ends_without_message(facts: &PodFacts, group: &ContainerGroup) -> Vec<ContainerEnd> {
    let (inits, containers) = (
        &group.properties.init_containers,
        &group.properties.containers,
    );
    let commands = inits.iter().map(|it| (&it.name, &it.properties.command));
    let commands = commands.chain(
        containers
            .iter()
            .map(|it| (&it.name, &it.properties.command)),
    );
    let shims: BTreeSet<&str> = commands
        .filter(|(_, command)| has_shim(command))
        .map(|(name, _)| name.as_str())
        .collect();
    if shims.is_empty() && !facts.all().any(|container| container.message_from_log) {
        return Vec::new();
    }
    let before = restarts_before(&group.tags);
    let all = seen(facts, Some(group));
    let inits = all.init.iter().map(|init| (init, Kind::Init));
    let containers = all.containers.iter().map(|it| (it, Kind::Main));
    let end = |(container, kind): (&Seen<'_>, Kind)| {
        let kind = if container.is_sidecar() {
            Kind::Main
        } else {
            kind
        };
        let (_, view) = find(&group.properties, container.name(), kind)?;
        let by_shim = shims.contains(container.name());
        let (id, by_log) = container.end_without_message(view?, before, by_shim)?;
        Some(ContainerEnd {
            container: container.name().to_owned(),
            id: id.to_owned(),
            by_log,
        })
    };
    inits.chain(containers).filter_map(end).collect()
}

impl PodFacts {
    /// Takes the end of `log` for the termination message of `end`; nothing comes of an empty one.
    pub fn learn_message(&mut self, end: &ContainerEnd, log: &str) {
        let containers = self.all().count();
        let (rest, message) = split(log);
        let text = match &message {
            Some(message) => end_in(message, LONGEST, containers),
            None if end.by_log => end_of(&rest, containers),
            None => "",
        };
        if let Some(container) = self.container_mut(&end.container) {
            container.learn(TerminationMessage {
                id: end.id.as_str().into(),
                text: text.into(),
            });
        }
    }

    /// Whether the log of `end` was not read, and not given up either.
    pub fn lacks_message(&self, end: &ContainerEnd) -> bool {
        let container = self.container(&end.container);
        container.is_some_and(|container| container.message(Some(&end.id)).is_none())
    }
}

impl ContainerFacts {
    pub(super) fn learn(&mut self, message: TerminationMessage) {
        self.messages.retain(|known| known.id != message.id);
        self.messages.push(message);
        let old = self.messages.len().saturating_sub(ENDS_SHOWN);
        self.messages.drain(..old);
    }

    /// The termination message of the run `id`, as far as it was read.
    pub(super) fn message(&self, id: Option<&str>) -> Option<&str> {
        let mut messages = self.messages.iter();
        let message = messages.find(|message| Some(&*message.id) == id)?;
        Some(&message.text)
    }
}

impl Seen<'_> {
    /// Gives the ends that say nothing the messages that were read from the container's log.
    pub(super) fn add_messages(&mut self) {
        let end = match &mut self.life {
            Life::Ended(end) => Some(end),
            Life::Waiting { .. } | Life::Running { .. } => None,
        };
        for end in end.into_iter().chain(&mut self.last) {
            let message = self.facts.message(end.container_id.as_deref());
            let message = message.filter(|message| end.message.is_none() && !message.is_empty());
            end.message = message.map(str::to_owned).or(end.message.take());
        }
    }

    /// The container ID of an end whose message is to come from the log that ACI shows of it, and whether that is the end of the
    /// log; `view` is of the group, `before` as in [`Seen::of_view`]. `by_shim`: the shim may have written one.
    pub(super) fn end_without_message(
        &self,
        view: &InstanceView,
        before: i32,
        by_shim: bool,
    ) -> Option<(&str, bool)> {
        let Life::Ended(end) = &self.life else {
            return None;
        };
        let id = end.container_id.as_deref()?;
        let by_log = self.facts.message_from_log && end.exit_code != 0;
        let wanted =
            (by_log || by_shim) && end.message.is_none() && self.facts.message(Some(id)).is_none();
        let current = view.current_state.as_ref();
        let current = ended(current.filter(|state| is(state, "Terminated"))?);
        let second = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_second());
        let is_last_run = second(&current.started_at) == second(&end.started_at)
            && second(&current.finished_at) == second(&end.finished_at)
            && self
                .facts
                .restarts_now(counted(view).saturating_add(before), &self.life)
                == self.restarts;
        (wanted && is_last_run).then_some((id, by_log))
    }
}

/// The end of `log` that a kubelet would take in a pod of so many containers: whole characters, of the last lines.
fn end_of(log: &str, containers: usize) -> &str {
    let tail = end_in(log, MOST_BYTES, containers);
    let body = tail.strip_suffix('\n').unwrap_or(tail);
    let first = body.rmatch_indices('\n').nth(MESSAGE_LINES as usize - 1);
    tail.get(first.map_or(0, |(at, _)| at + 1)..)
        .unwrap_or_default()
}

/// The end of `text`, in whole characters, of `most` bytes and of what is there for a container of so many.
fn end_in(text: &str, most: usize, containers: usize) -> &str {
    let most = most.min(MOST_BYTES_OF_POD / containers.max(1));
    let from = text.ceil_char_boundary(text.len().saturating_sub(most));
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn a_message_is_the_last_2048_bytes_or_80_lines_whichever_is_less() {
        assert_eq!(end_of("DONE", 1), "DONE");
        assert_eq!(end_of("", 1), "");
        assert_eq!(end_of("one\ntwo\n", 1), "one\ntwo\n");
        let lines: Vec<String> = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(end_of(&lines.concat(), 1), lines[20..].concat());
        let without_end = lines.concat();
        let without_end = without_end.trim_end();
        assert_eq!(end_of(without_end, 1), lines[20..].concat().trim_end());
        let long = "x".repeat(5000);
        assert_eq!(end_of(&long, 1).len(), 2048);
        // Of two bytes each, and the cut is in the middle of one.
        let wide = format!("{}y", "ä".repeat(3000));
        let end = end_of(&wide, 1);
        assert_eq!((end.len(), end.chars().last()), (2047, Some('y')));
    }

    #[test]
    fn many_containers_share_what_a_status_may_hold() {
        let long = "x".repeat(5000);
        assert_eq!(end_of(&long, 6).len(), 2048);
        assert_eq!(end_of(&long, 12).len(), 1024);
        assert_eq!(end_of(&long, 0).len(), 2048);
    }
}
