//! What makes a container group live: the clock, of which [`super::lifecycle`] is a function, or processes that really run
//! (`--run`), which report here what becomes of them.

use crate::clock::Time;

/// Events kept of one container, the latest of each kind.
const NOTES: usize = 20;

/// What makes a group live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Driver {
    Clock,
    Processes(Progress),
}

/// How far the last PUT, start or restart of a group of processes is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    Starting,
    /// Every container was started once, or an init container has failed for good.
    Started,
    /// The group cannot be started.
    Failed(Note),
}

impl Driver {
    pub(crate) fn is_real(&self) -> bool {
        matches!(self, Self::Processes(_))
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(self, Self::Processes(Progress::Starting))
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// Why the group cannot be started.
    pub(crate) fn failure(&self) -> Option<&Note> {
        match self {
            Self::Processes(Progress::Failed(note)) => Some(note),
            _ => None,
        }
    }

    /// Another operation begins.
    pub(crate) fn again(&mut self) {
        if let Self::Processes(progress) = self {
            *progress = Progress::Starting;
        }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) name: &'static str,
    pub(crate) message: String,
    pub(crate) first: Time,
    pub(crate) last: Time,
    pub(crate) count: u32,
}

impl Note {
    pub(crate) fn new(name: &'static str, message: String, at: Time) -> Self {
        Self {
            name,
            message,
            first: at,
            last: at,
            count: 1,
        }
    }

    /// `Normal` or `Warning`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.name {
            "BackOff" | "Failed" | "FailedMount" | "Unhealthy" => "Warning",
            _ => "Normal",
        }
    }
}

/// The part of a container's life that only processes have.
#[derive(Debug, Clone, Default)]
pub(crate) struct RealContainer {
    /// By which name the runtime knows the run that is under way.
    pub(crate) id: Option<String>,
    pub(crate) notes: Vec<Note>,
}

impl RealContainer {
    /// Counts an event that was there before, as Kubernetes does.
    pub(crate) fn note(&mut self, name: &'static str, message: impl Into<String>, at: Time) {
        let message = message.into();
        let same = |note: &&mut Note| note.name == name && note.message == message;
        if let Some(note) = self.notes.iter_mut().find(same) {
            note.count = note.count.saturating_add(1);
            note.last = at;
            return;
        }
        if self.notes.len() >= NOTES {
            self.notes.remove(0);
        }
        self.notes.push(Note::new(name, message, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_and_bounded() {
        let at: Time = "2026-01-02T03:04:05Z".parse().unwrap();
        let mut real = RealContainer::default();
        for _ in 0..3 {
            real.note("Started", "Started container", at);
        }
        assert_eq!(real.notes.first().map(|note| note.count), Some(3));
        for n in 0..100 {
            real.note("Unhealthy", format!("{n}"), at);
        }
        assert_eq!(real.notes.len(), NOTES);
    }
}
