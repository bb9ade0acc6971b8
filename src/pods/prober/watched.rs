//! One run of a container, and what its probes have shown. PURE.
//!
//! A kubelet's rules (Kubernetes, "Configure Liveness, Readiness and Startup Probes"): as long as the startup probe has not
//! succeeded no other is run, and afterwards it is not run again; a result counts when it came as often in a row as its
//! threshold says.

use std::time::Duration;

use crate::translate::{ByProbe, ProbeKind, ProbeSpec, Probed, ProbedContainer};

/// A probe by command is run no more often than this: each is a call of ARM.
const EXEC_PERIOD: Duration = Duration::from_secs(10);

/// Results in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Row {
    last: Option<bool>,
    times: u32,
}

/// What a result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// The container counts as ready or started now, or no longer.
    Changed,
    /// The container is to be ended.
    Failed,
}

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) container: ProbedContainer,
    started: bool,
    ready: bool,
    rows: ByProbe<Row>,
}

impl Watched {
    /// The run, of which `known` is on record; nothing without it.
    pub(super) fn new(container: ProbedContainer, known: Option<&Probed>) -> Self {
        let known = known.filter(|known| known.id == container.id);
        let started = known.is_some_and(|known| known.started);
        Self {
            started: started || !container.run.startup,
            ready: known.is_some_and(|known| known.ready),
            rows: ByProbe::default(),
            container,
        }
    }

    /// Whether this probe is run now.
    pub(super) fn runs(&self, kind: ProbeKind) -> bool {
        let is_turn = (kind == ProbeKind::Startup) != self.started;
        is_turn && self.container.run.has(kind)
    }

    /// What is on record of the run.
    pub(super) fn probed(&self) -> Probed {
        Probed {
            id: self.container.id.clone(),
            started: self.started,
            ready: self.ready,
        }
    }

    /// How long after its beginning the run is first asked by this probe, when it is `age` old; and whether it matters that
    /// this is soon.
    pub(super) fn first(&self, kind: ProbeKind, age: Duration) -> (Duration, bool) {
        let delay = self
            .spec(kind)
            .map_or(Duration::ZERO, |it| it.initial_delay);
        let settled = self.ready || kind == ProbeKind::Liveness && age > self.period(kind);
        (delay.saturating_sub(age), !settled)
    }

    /// From one probe to the next.
    pub(super) fn period(&self, kind: ProbeKind) -> Duration {
        let Some(spec) = self.spec(kind) else {
            return EXEC_PERIOD;
        };
        match spec.handler.port() {
            Some(_) => spec.period,
            None => spec.period.max(EXEC_PERIOD),
        }
    }

    /// Takes a result.
    pub(super) fn take(&mut self, kind: ProbeKind, success: bool) -> Verdict {
        let Some(spec) = self.container.probes.get(kind) else {
            return Verdict::Nothing;
        };
        let threshold = if success {
            spec.success_threshold
        } else {
            spec.failure_threshold
        };
        let row = self.rows.get_mut(kind);
        if row.last == Some(success) {
            row.times = row.times.saturating_add(1);
        } else {
            *row = Row {
                last: Some(success),
                times: 1,
            };
        }
        if row.times < threshold {
            return Verdict::Nothing;
        }
        match (kind, success) {
            (ProbeKind::Readiness, ready) => {
                let changed = std::mem::replace(&mut self.ready, ready) != ready;
                if changed {
                    Verdict::Changed
                } else {
                    Verdict::Nothing
                }
            }
            (ProbeKind::Startup, true) => {
                self.started = true;
                // Without a readiness probe it is ready by that.
                self.ready |= !self.container.run.readiness;
                Verdict::Changed
            }
            (ProbeKind::Liveness, true) => Verdict::Nothing,
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                *row = Row::default();
                Verdict::Failed
            }
        }
    }

    pub(super) fn spec(&self, kind: ProbeKind) -> Option<&ProbeSpec> {
        self.container.probes.get(kind)
    }
}

#[cfg(test)]
mod tests;
