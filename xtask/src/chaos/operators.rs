//! The `vkc` processes of a run, and who starts them again when they end by themselves.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use xtask::stack::{Operator, resident_kib};

use super::rig::NAMESPACE;
use super::world::ProcessSeen;

/// SIGTERM must be enough within the ten seconds that the operator promises.
const GRACE: Duration = Duration::from_secs(12);
/// When a process is measured for the first time.
const WARM: Duration = Duration::from_secs(10);
/// As a kubelet starts a container again.
const BACKOFF: Duration = Duration::from_secs(2);
const SIGTERM: i32 = 15;
/// A busy machine takes so long to begin with a program.
const UNBORN: Duration = Duration::from_secs(1);
/// A process that ends sooner had no API server at its start, which is an end that Kubernetes handles.
const YOUNG: Duration = Duration::from_secs(40);

/// One replica, running or not.
struct Slot {
    name: String,
    operator: Option<Operator>,
    started: Instant,
    /// It is to run; else somebody of the plan has ended it.
    wanted: bool,
    ended_at: Option<Instant>,
    at_start: Option<(u64, u64)>,
    /// Ends that nobody asked for.
    ended: Option<String>,
    restarts: u32,
    /// Counts its pods: a container that is started again is in the same pod, one that was stopped comes in another.
    pod: u32,
}

/// All replicas.
pub(super) struct Operators {
    program: PathBuf,
    kubeconfig: PathBuf,
    dir: PathBuf,
    slots: Vec<Slot>,
    /// Replicas that have ended in ways which must not be, kept when they are removed.
    past: Vec<ProcessSeen>,
}

impl Operators {
    pub(super) fn new(program: &Path, kubeconfig: &Path, dir: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            dir: dir.to_owned(),
            slots: Vec::new(),
            past: Vec::new(),
        }
    }

    /// One replica more; its number.
    pub(super) fn add(&mut self) -> Result<usize> {
        let number = self.slots.len();
        self.slots.push(Slot {
            name: format!("vkc-{number}"),
            operator: None,
            started: Instant::now(),
            wanted: true,
            ended_at: None,
            at_start: None,
            ended: None,
            restarts: 0,
            pod: 0,
        });
        self.start(number)?;
        Ok(number)
    }

    fn slot(&mut self, number: usize) -> Result<&mut Slot> {
        self.slots
            .get_mut(number)
            .with_context(|| format!("no replica {number}"))
    }

    /// Starts a replica that does not run.
    pub(super) fn start(&mut self, number: usize) -> Result<()> {
        let (program, kubeconfig) = (self.program.clone(), self.kubeconfig.clone());
        let dir = self.dir.join(format!("vkc-{number}"));
        std::fs::create_dir_all(&dir)?;
        let slot = self.slot(number)?;
        let args = [
            "--instance",
            &slot.name,
            "--kubelet-port-range",
            "0",
            "--log",
            "info,vkc=debug",
            "--log-format",
            "plain",
        ];
        let uid = format!("00000000-0000-4000-8000-{number:04}{:08}", slot.pod);
        let environment = [("POD_UID", uid)];
        let operator =
            Operator::spawn(&program, &dir, &kubeconfig, NAMESPACE, &args, &environment)?;
        slot.operator = Some(operator);
        slot.started = Instant::now();
        slot.wanted = true;
        slot.ended_at = None;
        slot.at_start = None;
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, number: usize) -> Result<()> {
        let slot = self.slot(number)?;
        slot.wanted = false;
        slot.look();
        slot.operator = None;
        Ok(())
    }

    /// Takes a replica out, with its age, to be ended by [`stop`].
    pub(super) fn take(&mut self, number: usize) -> Result<Option<(Operator, Duration)>> {
        let slot = self.slot(number)?;
        slot.wanted = false;
        slot.look();
        slot.pod += 1;
        let age = slot.started.elapsed();
        Ok(slot.operator.take().map(|operator| (operator, age)))
    }

    /// Notes what became of a replica that [`Operators::take`] gave.
    pub(super) fn note(&mut self, number: usize, problem: String) -> Result<()> {
        self.slot(number)?.ended.get_or_insert(problem);
        Ok(())
    }

    /// Removes the last replica, which was one too many.
    pub(super) fn remove_last(&mut self) {
        if let Some(slot) = self.slots.pop().filter(|slot| slot.ended.is_some()) {
            self.past.push(slot.seen());
        }
    }

    pub(super) fn signal(&mut self, number: usize, signal: &str) -> Result<()> {
        match &mut self.slot(number)?.operator {
            Some(operator) => operator.process().signal(signal),
            None => bail!("replica {number} does not run"),
        }
    }

    /// Numbers of all replicas.
    pub(super) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }

    /// Base addresses of the metrics of those that run.
    pub(super) fn metrics(&self) -> Vec<(String, String)> {
        let running = self.slots.iter().filter_map(|slot| {
            let operator = slot.operator.as_ref()?;
            Some((slot.name.clone(), operator.metrics_url().to_owned()))
        });
        running.collect()
    }

    /// How they are.
    pub(super) fn seen(&mut self) -> Vec<ProcessSeen> {
        for slot in &mut self.slots {
            slot.look();
        }
        let slots = self.slots.iter().map(Slot::seen);
        slots.chain(self.past.iter().cloned()).collect()
    }

    /// Starts what ended by itself, measures what has warmed up.
    fn tend(&mut self) {
        for number in self.numbers() {
            let Some(slot) = self.slots.get_mut(number) else {
                continue;
            };
            slot.look();
            let due = slot.ended_at.is_some_and(|at| at.elapsed() > BACKOFF);
            if slot.wanted && slot.operator.is_none() && due {
                slot.restarts += 1;
                // It is tried again in a moment when it could not be started.
                let _ = self.start(number);
            }
        }
    }

    /// Tends them until the task is aborted.
    pub(super) fn keep(all: &Arc<Mutex<Self>>) -> JoinHandle<()> {
        let all = Arc::clone(all);
        tokio::spawn(async move {
            loop {
                all.lock().await.tend();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        })
    }
}

impl Slot {
    /// Notes an end, and the first measure.
    fn look(&mut self) {
        let age = self.started.elapsed();
        let Some(operator) = &mut self.operator else {
            return;
        };
        if let Some(status) = operator.process().exited() {
            if self.wanted {
                let regular = status.code() == Some(1) && age < YOUNG;
                if !regular {
                    let tail = operator.process().log_tail(3);
                    self.ended.get_or_insert(format!(
                        "{status} after {:.0} s; its log ends:\n{tail}",
                        age.as_secs_f64()
                    ));
                }
                self.ended_at = Some(Instant::now());
            }
            self.operator = None;
            return;
        }
        if self.at_start.is_none() && age > WARM {
            self.at_start = measure(operator.process().id());
        }
    }

    fn seen(&self) -> ProcessSeen {
        // A borrow of the process would need it to be mutable; its ID does not change.
        let now = self
            .operator
            .as_ref()
            .and_then(|operator| measure(operator.id()));
        ProcessSeen {
            name: self.name.clone(),
            ended: self.ended.clone(),
            at_start: self.at_start,
            now,
        }
    }
}

/// What was wrong with an end.
pub(super) struct Problem {
    pub(super) text: String,
    /// It had to be killed.
    pub(super) late: bool,
}

/// SIGTERM; what was wrong with the end, if anything.
pub(super) async fn stop((mut operator, age): (Operator, Duration)) -> Option<Problem> {
    let (text, late) = match operator.process().terminate(GRACE).await {
        Ok(Some(status)) if status.success() => return None,
        // The program had not begun: the system ends it.
        Ok(Some(status)) if status.signal() == Some(SIGTERM) && age < UNBORN => return None,
        Ok(Some(status)) => (format!("{status} after SIGTERM"), false),
        Ok(None) => (
            format!("it did not end within {} s of SIGTERM", GRACE.as_secs()),
            true,
        ),
        Err(error) => (format!("{error:#}"), true),
    };
    Some(Problem { text, late })
}

/// Resident KiB and open files.
fn measure(pid: u32) -> Option<(u64, u64)> {
    let (_, kib) = resident_kib(pid)?;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((kib, u64::try_from(files).ok()?))
}
