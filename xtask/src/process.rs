//! Child processes that never outlive their owner.
//!
//! A [`Process`] is killed and reaped when it is dropped. Against the ends that run no `Drop` (SIGKILL, a static, a
//! crash) each child has a watchdog: a tiny `sh` that waits on a pipe whose other end only we hold. When we are gone
//! the pipe closes and the watchdog kills the child. The same trick removes a [`StateDir`].
//! Children and watchdogs are in process groups of their own, so a Ctrl-C at the terminal reaches us alone and the
//! order of stopping is ours.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a waiting loop looks again. Short: start-up time of the whole stack is a sum of such waits.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// A `sh` that runs a script once its standard input closes without a word, which is what our death looks like.
#[derive(Debug)]
struct Watchdog(Option<Child>);

impl Watchdog {
    fn start(script: &str, argument: &str) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", script, "watchdog", argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh for a watchdog")?;
        Ok(Self(Some(child)))
    }

    /// Ends the watchdog without running its script.
    fn disarm(&mut self) {
        if let Some(mut child) = self.0.take() {
            if let Some(mut stdin) = child.stdin.take() {
                // A failed write means that the watchdog is already gone.
                let _ = stdin.write_all(b"done\n");
            }
            let _ = child.wait();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// A running child with its log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    watchdog: Watchdog,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error appended to `<dir>/<name>.log`.
    ///
    /// # Errors
    /// The program cannot be started, or the log file cannot be opened.
    pub fn spawn(name: &str, command: Command, dir: &Path) -> Result<Self> {
        Self::spawn_into(name, command, dir, None)
    }

    /// Like [`Process::spawn`], with standard output in a file of its own.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn spawn_with_stdout(
        name: &str,
        command: Command,
        dir: &Path,
        stdout: &Path,
    ) -> Result<Self> {
        let file =
            File::create(stdout).with_context(|| format!("cannot create {}", stdout.display()))?;
        Self::spawn_into(name, command, dir, Some(file))
    }

    fn spawn_into(
        name: &str,
        mut command: Command,
        dir: &Path,
        stdout: Option<File>,
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let stdout = match stdout {
            Some(own) => own,
            None => file.try_clone().context("cannot share the log file")?,
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!("cannot start {name} ({})", command.get_program().display())
            })?;
        let watchdog =
            match Watchdog::start(r#"read -r word || kill -9 "$1""#, &child.id().to_string()) {
                Ok(watchdog) => watchdog,
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(error);
                }
            };
        Ok(Self {
            name: name.to_owned(),
            child,
            watchdog,
            log,
        })
    }

    /// Process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit status if the child has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() {
            self.watchdog.disarm();
        }
        status
    }

    /// An error that quotes the end of the log if the child has ended by itself.
    ///
    /// # Errors
    /// The child is not running any more.
    pub fn check(&mut self) -> Result<()> {
        match self.exited() {
            Some(status) => bail!(
                "{} ended with {status}; its log {} ends:\n{}",
                self.name,
                self.log.display(),
                self.log_tail(15)
            ),
            None => Ok(()),
        }
    }

    /// The last lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT` ...).
    ///
    /// # Errors
    /// The signal could not be sent, for one because the child has ended.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.send(signal, &self.id().to_string())
    }

    /// Sends a signal to the child and to what it has started.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn signal_all(&self, signal: &str) -> Result<()> {
        // The child leads a process group.
        self.send(signal, &format!("-{}", self.id()))
    }

    fn send(&self, signal: &str, to: &str) -> Result<()> {
        // The shell's own `kill`: there is no safe call for it in the standard library.
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$1" -- "$2""#, "kill", signal, to])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("cannot run sh")?;
        if !status.success() {
            bail!("cannot send SIG{signal} to {}", self.name);
        }
        Ok(())
    }

    /// Asks the child to end with SIGTERM, and kills it after `grace`. Gives its status, `None` if it had to be killed.
    ///
    /// # Errors
    /// The child could not be signalled.
    pub async fn terminate(&mut self, grace: Duration) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.exited() {
            return Ok(Some(status));
        }
        self.signal("TERM")?;
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                return Ok(Some(status));
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill();
        Ok(None)
    }

    /// Kills and reaps the child. Harmless when it has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        // Before the reaping: until then the process ID cannot belong to somebody else.
        self.watchdog.disarm();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last `lines` lines of a file, or what went wrong when reading it.
fn tail(path: &Path, lines: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all.iter()
                .skip(all.len().saturating_sub(lines))
                .copied()
                .collect::<Vec<_>>()
                .join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

/// A directory for state and logs, removed with its owner unless it is to be kept.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    janitor: Option<Watchdog>,
}

impl StateDir {
    /// A new directory under the system's temporary directory. `VKC_KEEP_STATE=1` keeps it.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn temporary(prefix: &str) -> Result<Self> {
        let path = tempfile::Builder::new()
            .prefix(&format!("{prefix}-"))
            .tempdir()
            .context("cannot make a temporary directory")?
            .keep();
        let janitor = if std::env::var_os("VKC_KEEP_STATE").is_some_and(|value| value == "1") {
            None
        } else {
            // Several goes: the children that write here are dying at the same moment.
            let script = r#"read -r word && exit; for i in 1 2 3 4 5; do sleep 1; rm -rf -- "$1" && exit; done"#;
            Some(Watchdog::start(script, &path.to_string_lossy())?)
        };
        Ok(Self { path, janitor })
    }

    /// A directory of the caller's, made when missing, never removed.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn kept(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", path.display()))?;
        Ok(Self {
            path,
            janitor: None,
        })
    }

    /// Keeps the directory after all. Gives whether it was to be removed until now.
    pub fn keep(&mut self) -> bool {
        self.janitor.take().is_some()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if let Some(mut janitor) = self.janitor.take() {
            janitor.disarm();
            // Nothing can be done about a failure here, and the directory is in the system's temporary space.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Ends at the first SIGINT or SIGTERM. Both are watched from the call on, not from the first poll.
///
/// # Errors
/// The signals cannot be watched.
pub fn interrupted() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
