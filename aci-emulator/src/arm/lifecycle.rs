//! The life of a container group as a pure function of time.
//!
//! Nothing ticks: [`Life::advance`] brings the recorded state up to a given moment, whenever
//! somebody looks. The states and their order follow the service's documentation of container
//! states and recorded traffic; where neither says anything the README of this crate names it.

use std::{net::Ipv4Addr, time::Duration};

use super::{
    driver::{Driver, RealContainer},
    monitor::Usage,
};
use crate::{
    clock::{Time, between, minus, plus},
    logs::Log,
};

/// Longest pause of a crash loop, as the kubelet has it.
const BACKOFF_CAP: Duration = Duration::from_mins(5);

/// Restart policy of the whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    OnFailure,
    Never,
}

impl Policy {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    pub(crate) fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }

    /// What holds for init containers: Always means `OnFailure` there.
    pub(crate) fn of_init(self) -> Self {
        match self {
            Self::Always => Self::OnFailure,
            other => other,
        }
    }
}

/// How the last PUT, start or restart ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Starts,
    /// Fails for lack of capacity; the service keeps trying and may succeed this much later.
    NoCapacity {
        late_start: Option<Duration>,
    },
}

/// A container's planned end: how long each run lasts and with which code it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) after: Duration,
    pub(crate) code: i32,
}

/// What programs do that are asked to end and say nothing else: they end soon, well.
const ON_SIGTERM: Plan = Plan {
    after: Duration::from_millis(50),
    code: 0,
};

/// A finished run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) start: Time,
    pub(crate) finish: Time,
    pub(crate) code: i32,
    /// Whether it took more memory than it may.
    pub(crate) out_of_memory: bool,
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Unstarted,
    Running { since: Time },
    BackOff { until: Time },
    Ended(Ended),
}

/// One container or init container.
#[derive(Debug, Clone)]
pub(crate) struct ContainerLife {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) plan: Option<Plan>,
    /// What it does when it gets SIGTERM; `None`: it goes on.
    pub(crate) on_sigterm: Option<Plan>,
    /// When and how the present run ends because of a SIGTERM.
    ends: Option<(Time, i32)>,
    /// SIGTERMs that it got since the last PUT.
    pub(crate) sigterms: u32,
    pub(crate) restarts: u32,
    /// Whether it was started since the last PUT, whatever became of it.
    pub(crate) started: bool,
    pub(crate) phase: Phase,
    pub(crate) previous: Option<Ended>,
    pub(crate) log: Log,
    /// What it uses while it runs; `None`: Azure Monitor has no figures of it.
    pub(crate) usage: Option<Usage>,
    /// Where it really runs, and what happened to it there.
    pub(crate) real: RealContainer,
}

impl ContainerLife {
    pub(crate) fn new(name: String, image: String, plan: Option<Plan>) -> Self {
        Self {
            name,
            image,
            plan,
            on_sigterm: Some(ON_SIGTERM),
            ends: None,
            sigterms: 0,
            restarts: 0,
            started: false,
            phase: Phase::Unstarted,
            previous: None,
            log: Log::default(),
            usage: Some(Usage::default()),
            real: RealContainer::default(),
        }
    }

    fn start(&mut self, at: Time) {
        self.phase = Phase::Running { since: at };
        self.ends = None;
        self.started = true;
        self.log = Log::started(&self.name, &self.image, at);
    }

    fn restart(&mut self, at: Time) {
        self.restarts = self.restarts.saturating_add(1);
        self.start(at);
    }

    /// SIGTERM for the program; false when it does not run.
    pub(crate) fn sigterm(&mut self, now: Time) -> bool {
        if !matches!(self.phase, Phase::Running { .. }) {
            return false;
        }
        self.sigterms = self.sigterms.saturating_add(1);
        if let (None, Some(plan)) = (self.ends, self.on_sigterm) {
            self.ends = Some((plus(now, plan.after), plan.code));
        }
        true
    }

    /// Ends the running container; false when it does not run.
    pub(crate) fn end(&mut self, at: Time, code: i32, policy: Policy, backoff: Duration) -> bool {
        let Phase::Running { since } = self.phase else {
            return false;
        };
        let ended = Ended {
            start: since,
            finish: at,
            code,
            out_of_memory: false,
        };
        if policy.restarts(code) {
            let pause = backoff
                .max(Duration::from_millis(1))
                .saturating_mul(2_u32.saturating_pow(self.restarts.min(20)))
                .min(BACKOFF_CAP);
            self.phase = Phase::BackOff {
                until: plus(at, pause),
            };
            self.previous = Some(ended);
        } else {
            self.phase = Phase::Ended(ended);
        }
        true
    }

    /// Plays what happened up to `now`. It ends: each round's pause is longer than the one before.
    fn settle(&mut self, policy: Policy, backoff: Duration, now: Time) {
        while let Some(at) = self.next_change().filter(|at| *at <= now) {
            match (&self.phase, self.ends, self.plan) {
                (Phase::BackOff { .. }, _, _) => self.restart(at),
                (Phase::Running { .. }, Some((ends, code)), _) if ends <= at => {
                    self.end(at, code, policy, backoff);
                }
                (Phase::Running { .. }, _, Some(plan)) => {
                    self.end(at, plan.code, policy, backoff);
                }
                _ => return,
            }
        }
    }

    fn next_change(&self) -> Option<Time> {
        match (&self.phase, self.plan) {
            (Phase::BackOff { until }, _) => Some(*until),
            (Phase::Running { since }, plan) => {
                let planned = plan.map(|plan| plus(*since, plan.after));
                let asked = self.ends.map(|(at, _)| at);
                planned.into_iter().chain(asked).min()
            }
            _ => None,
        }
    }

    fn failed(&self) -> bool {
        matches!(&self.phase, Phase::Ended(ended) if ended.code != 0)
    }
}

/// A move to another node: `Unhealthy`, then `Repairing`, then running with a new address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repair {
    pub(crate) since: Time,
    pub(crate) until: Time,
    pub(crate) ip: Ipv4Addr,
}

/// The life of one container group.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// When the last PUT, start or restart was asked for.
    pub(crate) asked: Time,
    /// When that operation ends.
    pub(crate) ready: Time,
    pub(crate) outcome: Outcome,
    pub(crate) policy: Policy,
    pub(crate) backoff: Duration,
    pub(crate) ip: Ipv4Addr,
    pub(crate) repair: Option<Repair>,
    pub(crate) stopped: bool,
    /// When an asynchronous DELETE is done.
    pub(crate) gone_at: Option<Time>,
    pub(crate) containers: Vec<ContainerLife>,
    pub(crate) inits: Vec<ContainerLife>,
    /// States forced by a knob.
    pub(crate) forced_provisioning: Option<String>,
    pub(crate) forced_state: Option<String>,
    /// What makes it live: the clock, or processes.
    pub(crate) driver: Driver,
}

impl Life {
    /// The moment the containers are to be started, if ever.
    pub(crate) fn begin(&self) -> Option<Time> {
        match self.outcome {
            Outcome::Starts => Some(self.ready),
            Outcome::NoCapacity { late_start } => late_start.map(|late| plus(self.ready, late)),
        }
    }

    /// Length of the operation.
    fn delay(&self) -> Duration {
        between(self.asked, self.ready)
    }

    /// Whether PUT, POST and (by setting) DELETE have to wait.
    pub(crate) fn transitioning(&self, now: Time) -> bool {
        self.gone_at.is_some()
            || self.repair.is_some()
            || now < self.ready
            || self.driver.is_starting()
    }

    /// From when on containers have an instance view: after `Pending`, never before a start.
    pub(crate) fn scheduled_at(&self) -> Option<Time> {
        let begin = self.begin()?;
        Some(minus(begin, self.delay().mul_f64(0.7)))
    }

    /// Starts everything anew: the operation runs from `now` for `delay`.
    pub(crate) fn run_again(&mut self, now: Time, delay: Duration) {
        self.asked = now;
        self.ready = plus(now, delay);
        self.outcome = Outcome::Starts;
        self.stopped = false;
        self.repair = None;
        self.driver.again();
        for life in self.containers.iter_mut().chain(&mut self.inits) {
            life.phase = Phase::Unstarted;
            life.previous = None;
            life.restarts = 0;
            life.real = RealContainer::default();
        }
    }

    /// Stops what runs. A group that has ended stays as it is (documentation of stop and start).
    pub(crate) fn stop(&mut self) {
        if matches!(self.instance_state(), "Succeeded" | "Failed") {
            return;
        }
        self.stopped = true;
        self.repair = None;
        for life in &mut self.containers {
            life.phase = Phase::Unstarted;
            life.previous = None;
        }
    }

    /// Brings the state up to `now`.
    pub(crate) fn advance(&mut self, now: Time) {
        let Some(begin) = self.begin() else { return };
        if self.stopped || self.driver.is_real() {
            return;
        }
        let Some(gate) = self.settle_inits(begin, now) else {
            return;
        };
        let start = begin.max(gate);
        let (policy, backoff) = (self.policy, self.backoff);
        for life in &mut self.containers {
            if life.phase == Phase::Unstarted && start <= now {
                life.start(start);
            }
            life.settle(policy, backoff, now);
        }
        if let Some(repair) = self.repair.filter(|repair| repair.until <= now) {
            self.repair = None;
            self.ip = repair.ip;
            for life in &mut self.containers {
                if matches!(life.phase, Phase::Running { .. }) {
                    life.restart(repair.until);
                }
            }
        }
    }

    /// When the last init container was done, `None` while one is not.
    fn settle_inits(&mut self, begin: Time, now: Time) -> Option<Time> {
        let window = self.delay().mul_f64(0.5);
        let count = u32::try_from(self.inits.len()).unwrap_or(u32::MAX).max(1);
        let slice = window / count;
        let (policy, backoff) = (self.policy.of_init(), self.backoff);
        let mut gate = minus(begin, window);
        for init in &mut self.inits {
            if init.phase == Phase::Unstarted && gate <= now {
                init.plan.get_or_insert(Plan {
                    after: slice,
                    code: 0,
                });
                init.start(gate);
            }
            init.settle(policy, backoff, now);
            match &init.phase {
                Phase::Ended(ended) if ended.code == 0 => gate = ended.finish,
                _ => return None,
            }
        }
        Some(gate)
    }

    /// The next moment after `now` at which something happens by itself.
    pub(crate) fn next_change(&self, now: Time) -> Option<Time> {
        if self.stopped {
            return self.gone_at;
        }
        let lives = self.containers.iter().chain(&self.inits);
        let window = self
            .begin()
            .map(|begin| minus(begin, self.delay().mul_f64(0.5)));
        lives
            .filter_map(ContainerLife::next_change)
            .chain(self.begin())
            .chain(window)
            .chain(self.repair.map(|repair| repair.until))
            .chain(self.gone_at)
            .filter(|at| *at > now)
            .min()
    }

    /// `properties.provisioningState`: the state of the last operation.
    pub(crate) fn provisioning_state(&self, now: Time) -> &str {
        if let Some(forced) = &self.forced_provisioning {
            return forced;
        }
        if self.gone_at.is_some() {
            return "Deleting";
        }
        if let Some(repair) = self.repair {
            let half = between(repair.since, repair.until) / 2;
            return if now < plus(repair.since, half) {
                "Unhealthy"
            } else {
                "Repairing"
            };
        }
        if self.driver.has_failed() {
            return "Failed";
        }
        if now >= self.ready && self.begin().is_some() && self.driver.is_starting() {
            return "Creating";
        }
        if now < self.ready {
            let pending = self.delay().mul_f64(0.3);
            return if now < plus(self.asked, pending) {
                "Pending"
            } else {
                "Creating"
            };
        }
        match self.begin() {
            Some(begin) if begin <= now => "Succeeded",
            _ => "Failed",
        }
    }

    /// `properties.instanceView.state`.
    pub(crate) fn instance_state(&self) -> &str {
        if let Some(forced) = &self.forced_state {
            return forced;
        }
        if self.stopped {
            return "Stopped";
        }
        if self.inits.iter().any(ContainerLife::failed) {
            return "Failed";
        }
        if self
            .containers
            .iter()
            .any(|life| life.phase == Phase::Unstarted)
        {
            return "Pending";
        }
        if self
            .containers
            .iter()
            .any(|life| !matches!(life.phase, Phase::Ended(_)))
        {
            return "Running";
        }
        if self.containers.iter().any(ContainerLife::failed) {
            "Failed"
        } else {
            "Succeeded"
        }
    }

    /// Whether the group has its address: the last operation came to its end well.
    pub(crate) fn has_ip(&self, now: Time) -> bool {
        !self.stopped
            && !self.driver.is_starting()
            && !self.driver.has_failed()
            && self.begin().is_some_and(|begin| begin <= now)
    }

    /// Whether a container, no init container, was started since the last PUT.
    pub(crate) fn has_run(&self) -> bool {
        self.containers.iter().any(|life| life.started)
    }

    /// Whether a container runs now or is about to be restarted.
    pub(crate) fn is_running(&self) -> bool {
        let mut lives = self.containers.iter();
        lives.any(|life| matches!(life.phase, Phase::Running { .. } | Phase::BackOff { .. }))
    }

    /// Whether it counts against the core quota.
    pub(crate) fn uses_cores(&self) -> bool {
        !matches!(self.instance_state(), "Stopped" | "Succeeded" | "Failed")
    }

    /// Ends a running container by hand; false when it does not run.
    pub(crate) fn finish(&mut self, container: &str, code: i32, now: Time) -> Option<bool> {
        let (policy, backoff) = (self.policy, self.backoff);
        let life = self
            .containers
            .iter_mut()
            .find(|life| life.name == container)?;
        Some(life.end(now, code, policy, backoff))
    }

    /// The platform kills (7147) and starts every container again, whatever the restart policy.
    pub(crate) fn platform_restart(&mut self, now: Time) {
        for life in &mut self.containers {
            match life.phase.clone() {
                Phase::Running { since } => {
                    life.previous = Some(Ended {
                        start: since,
                        finish: now,
                        code: 7147,
                        out_of_memory: false,
                    });
                    life.restart(now);
                }
                Phase::Ended(ended) => {
                    life.previous = Some(ended);
                    life.restart(now);
                }
                Phase::Unstarted | Phase::BackOff { .. } => {}
            }
        }
    }
}
