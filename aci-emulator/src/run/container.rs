//! One run of one container, from its root file system to its exit code.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    task::JoinSet,
};

use super::{
    cgroups,
    group::Context,
    image::ImageConfig,
    layers, mounts,
    plan::ContainerPlan,
    probes::{self, Shown, Target},
    spec::{self, Bind, Place},
    states::{self, End, NOT_STARTED},
    tools::ToolError,
    user::Accounts,
};

/// From the start of the runtime to the program's.
const START: Duration = Duration::from_secs(60);
/// How often it is looked whether the program runs.
const LOOK: Duration = Duration::from_millis(5);
/// From SIGTERM to SIGKILL, of a container that is restarted and of a group that goes.
const GRACE_OF_PROBE: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(10);
/// From SIGKILL to the end; and from the end of the program to the end of its output.
const LAST: Duration = Duration::from_secs(10);
/// How often it is measured what a container uses.
const MEASURE: Duration = Duration::from_secs(10);
/// Looks that make a minute.
const LOOKS: usize = 6;
/// Longest line of a log; a longer one is cut into several.
const LINE: usize = 16 * 1024;
/// Longest `/etc/passwd` and `/etc/group` that are read.
const ACCOUNTS: u64 = 1024 * 1024;

/// Which container of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Init(usize),
    Main(usize),
}

/// A container that can be run.
pub(super) struct Container {
    pub(super) which: Which,
    pub(super) plan: ContainerPlan,
    pub(super) image: ImageConfig,
    /// The image's files.
    pub(super) files: PathBuf,
    /// Its bundle.
    pub(super) folder: PathBuf,
    pub(super) id: String,
    pub(super) cgroup: String,
    pub(super) binds: Vec<Bind>,
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{0}")]
    User(String),
    #[error("no command specified")]
    NoCommand,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("failed to create containerd task: {0}")]
    Runtime(String),
}

impl Container {
    /// Runs it once and tells how it has ended. Cancelled with the group.
    pub(super) async fn run(self: &Arc<Self>, group: &Context) -> End {
        let end = match self.try_run(group).await {
            Ok(end) => end,
            Err(error) => {
                tracing::warn!(container = self.id, %error, "it cannot be started");
                End {
                    code: NOT_STARTED,
                    out_of_memory: false,
                    failure: Some(format!("Error: {error}")),
                }
            }
        };
        if let Err(error) = group.tools().forget(&self.id).await {
            tracing::debug!(container = self.id, %error, "the runtime knows it no more");
        }
        end
    }

    async fn try_run(self: &Arc<Self>, group: &Context) -> Result<End, StartError> {
        let (this, of) = (Arc::clone(self), group.clone());
        let prepared = tokio::task::spawn_blocking(move || this.prepare(&of));
        prepared.await.map_err(io::Error::other)??;
        group.update(self.which, states::begins);
        let mut child = group.tools().start(&self.id, &self.folder)?;
        let mut logs = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            logs.spawn(pump(group.clone(), self.which, out));
        }
        if let Some(err) = child.stderr.take() {
            logs.spawn(pump(group.clone(), self.which, err));
        }
        if !self.started(&mut child).await? {
            return Err(StartError::Runtime(self.complaint()));
        }
        group.update(self.which, |life, now| states::runs(life, &self.id, now));
        let status = tokio::select! {
            status = child.wait() => status?,
            () = group.cancelled() => self.end(group, &mut child, GRACE).await?,
            () = self.condemned(group) => {
                group.update(self.which, |life, now| {
                    let name = &self.plan.name;
                    let why = format!("Container {name} failed liveness probe, will be restarted");
                    life.real.note("Killing", why, now);
                });
                self.end(group, &mut child, GRACE_OF_PROBE).await?
            }
        };
        // Whoever holds the output open after the program's end is killed with it; but that may take a moment.
        let rest = async { while logs.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, rest).await.is_err() {
            tracing::warn!(container = self.id, "its output has no end");
        }
        let code = status.code().unwrap_or(137);
        Ok(End {
            code,
            out_of_memory: code == 137 && cgroups::out_of_memory(&self.cgroup),
            failure: None,
        })
    }

    /// Root file system and configuration, new for every run.
    fn prepare(&self, group: &Context) -> Result<(), StartError> {
        mounts::unmount_below(&self.folder)?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::create_dir_all(&self.folder)?;
        let root = mounts::overlay(&self.files, &self.folder)?;
        let accounts = Accounts {
            passwd: read_inside(&root, "etc/passwd"),
            group: read_inside(&root, "etc/group"),
        };
        let user = accounts
            .user(&self.image.user, &self.plan.security)
            .map_err(StartError::User)?;
        if spec::arguments(&self.plan, &self.image).is_empty() {
            return Err(StartError::NoCommand);
        }
        let place = Place {
            root: &root,
            network: &group.namespace_file(),
            cgroup: &self.cgroup,
            cgroup2: cgroups::unified(),
            capabilities: own_capabilities(),
            hostname: &group.hostname,
            user: &user,
            binds: &self.binds,
        };
        let spec = spec::runtime_spec(&self.plan, &self.image, &place);
        // Environments hold secrets.
        let path = self.folder.join("config.json");
        write_private(&path, spec.to_string().as_bytes())?;
        Ok(())
    }

    /// Waits until the program runs; false when the runtime has ended before.
    async fn started(&self, child: &mut Child) -> io::Result<bool> {
        let pid = self.folder.join("pid");
        let until = tokio::time::Instant::now() + START;
        loop {
            let there = || fs::metadata(&pid).is_ok_and(|file| file.len() > 0);
            if there() {
                return Ok(true);
            }
            tokio::select! {
                _ = child.wait() => return Ok(there()),
                () = tokio::time::sleep(LOOK) => {}
                () = tokio::time::sleep_until(until) => {
                    child.start_kill()?;
                    child.wait().await?;
                    return Ok(false);
                }
            }
        }
    }

    /// What the runtime said when it could not start the program.
    fn complaint(&self) -> String {
        let log = fs::read_to_string(self.folder.join("runc.log")).unwrap_or_default();
        log.lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find_map(|line| Some(line.get("msg")?.as_str()?.to_owned()))
            .unwrap_or_else(|| "the runtime did not say why".to_owned())
    }

    /// The image's signal, the grace period, SIGKILL.
    async fn end(
        &self,
        group: &Context,
        child: &mut Child,
        grace: Duration,
    ) -> Result<std::process::ExitStatus, StartError> {
        let signal = match self.image.stop_signal.as_str() {
            "" => "SIGTERM",
            signal => signal,
        };
        if !group.emulator_stops() {
            if let Err(error) = group.tools().signal(&self.id, signal).await {
                tracing::debug!(container = self.id, %error, "no signal");
            }
            tokio::select! {
                status = child.wait() => return Ok(status?),
                () = tokio::time::sleep(grace) => {}
                () = group.emulator_stopped() => {}
            }
        }
        if let Err(error) = group.tools().signal(&self.id, "SIGKILL").await {
            tracing::debug!(container = self.id, %error, "no SIGKILL");
        }
        if let Ok(status) = tokio::time::timeout(LAST, child.wait()).await {
            return Ok(status?);
        }
        child.start_kill()?;
        Ok(child.wait().await?)
    }

    /// Waits until the liveness probe has failed for good; readiness and what is used are told beside it.
    async fn condemned(&self, group: &Context) {
        let target = Target {
            tools: group.tools(),
            id: &self.id,
            ip: group.ip,
        };
        let tell = |kind: &'static str| {
            move |shown: &Shown| {
                let (event, message) = match shown {
                    Shown::Good => return,
                    Shown::Warning(what) => {
                        ("ProbeWarning", format!("{kind} probe warning: {what}"))
                    }
                    Shown::Bad(why) => ("Unhealthy", format!("{kind} probe failed: {why}")),
                };
                let message: String = message.chars().take(1024).collect();
                group.update(self.which, |life, now| {
                    life.real.note(event, message, now);
                });
            }
        };
        let readiness = async {
            loop {
                match &self.plan.readiness {
                    Some(probe) => {
                        probes::until_failed(probe, &target, tell("Readiness")).await;
                    }
                    None => std::future::pending().await,
                }
            }
        };
        let liveness = async {
            match &self.plan.liveness {
                Some(probe) => probes::until_failed(probe, &target, tell("Liveness")).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = liveness => {}
            () = readiness => {}
            () = self.measure(group) => {}
        }
    }

    /// Tells now and then what the container uses: its memory, and its processor time as an average of the last minute, which is
    /// what Azure Monitor has. Has no end.
    async fn measure(&self, group: &Context) {
        let mut looks = VecDeque::new();
        loop {
            if let Some((bytes, nanos)) = cgroups::usage(&self.cgroup) {
                let now = (tokio::time::Instant::now().into_std(), nanos);
                while looks.len() >= LOOKS {
                    looks.pop_front();
                }
                let usage = cgroups::between(looks.front().copied(), now, bytes);
                looks.push_back(now);
                group.update(self.which, |life, _| life.usage = Some(usage));
            }
            tokio::time::sleep(MEASURE).await;
        }
    }
}

/// What this process may hand on: all that root has, where nobody has taken some.
fn own_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(u64::MAX)
}

/// A file that only root can read.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// A small file of a root file system; empty when there is none.
fn read_inside(root: &Path, path: &str) -> String {
    use std::io::Read as _;
    let Ok(Some(path)) = layers::resolve(root, Path::new(path)) else {
        return String::new();
    };
    let plain = fs::metadata(&path).is_ok_and(|file| file.is_file());
    let mut bytes = Vec::new();
    if plain && let Ok(file) = fs::File::open(path) {
        let _ = file.take(ACCOUNTS).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Puts lines into a container's log as they come.
async fn pump(group: Context, which: Which, mut from: impl AsyncRead + Unpin) {
    let mut lines = Lines::default();
    let mut chunk = vec![0; 32 * 1024];
    loop {
        let text = match from.read(&mut chunk).await {
            Ok(length @ 1..) => lines.take(chunk.get(..length).unwrap_or_default()),
            _ => lines.rest(),
        };
        if !text.is_empty() {
            group.update(which, |life, now| life.log.write(now, &text));
        }
        if lines.ended {
            return;
        }
    }
}

/// Whole lines out of pieces. Pure.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The lines that are whole now.
    fn take(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let whole = match self.begun.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if self.begun.len() >= LINE => self.begun.len(),
            None => 0,
        };
        let whole: Vec<u8> = self.begun.drain(..whole).collect();
        String::from_utf8_lossy(&whole).into_owned()
    }

    /// What is left at the end.
    fn rest(&mut self) -> String {
        self.ended = true;
        let rest = std::mem::take(&mut self.begun);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"a"), "");
        assert_eq!(lines.take(b"b\nc\nd"), "ab\nc\n");
        assert_eq!(lines.take(&[b'x'; LINE]).len(), LINE + 1);
        assert_eq!(lines.take(b"end"), "");
        assert_eq!(lines.rest(), "end");
    }
}
