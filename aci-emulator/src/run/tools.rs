//! Every program of this machine that `--run` calls, with a time-out. Nothing else here starts one.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

/// For what is done in milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is read of a program's output.
const OUTPUT: u64 = 64 * 1024;

/// Why a program of this machine did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It cannot be started.
    #[error("{what}: {source}")]
    Start {
        /// The program and what it was to do.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not end in time.
    #[error("{what}: not done after {} s", .after.as_secs())]
    Late {
        /// The program and what it was to do.
        what: String,
        /// How long it had.
        after: Duration,
    },
    /// It failed.
    #[error("{what}: {said}")]
    Failed {
        /// The program and what it was to do.
        what: String,
        /// What it said.
        said: String,
    },
}

/// The programs, by path.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    runc: PathBuf,
    ip: PathBuf,
    /// Where runc keeps what it knows.
    state: PathBuf,
}

/// How a program ended, and what it said.
pub(super) struct Said {
    pub(super) status: ExitStatus,
    pub(super) text: String,
}

/// A program by name, as a shell finds it.
pub(super) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Of a user's shell the system's folders may be missing.
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

impl Tools {
    /// The programs, or the names of the Debian packages that lack.
    pub(super) fn find(state: PathBuf) -> Result<Self, Vec<&'static str>> {
        let wanted = [("runc", "runc"), ("ip", "iproute2"), ("script", "bsdutils")];
        let missing: Vec<&'static str> = wanted
            .iter()
            .filter(|(program, _)| on_path(program).is_none())
            .map(|(_, package)| *package)
            .collect();
        match (on_path("runc"), on_path("ip")) {
            (Some(runc), Some(ip)) if missing.is_empty() => Ok(Self { runc, ip, state }),
            _ => Err(missing),
        }
    }

    /// `ip` with arguments.
    pub(super) async fn ip(&self, args: &[&str]) -> Result<String, ToolError> {
        succeed(Command::new(&self.ip).args(args), args, "").await
    }

    /// Several commands of `ip`, in a network namespace or out of one.
    pub(super) async fn ip_batch(
        &self,
        namespace: Option<&str>,
        lines: &[String],
    ) -> Result<(), ToolError> {
        let mut command = Command::new(&self.ip);
        if let Some(namespace) = namespace {
            command.args(["-n", namespace]);
        }
        command.args(["-batch", "-"]);
        let what = lines.join("; ");
        succeed(&mut command, &[&what], &(lines.join("\n") + "\n"))
            .await
            .map(drop)
    }

    fn runc(&self) -> Command {
        let mut command = Command::new(&self.runc);
        command.arg("--root").arg(&self.state);
        command
    }

    /// Starts a container and stays beside it: its output is the child's, and so is its exit code.
    pub(super) fn start(&self, id: &str, bundle: &Path) -> Result<Child, ToolError> {
        self.runc()
            .arg("--log")
            .arg(bundle.join("runc.log"))
            .args(["--log-format", "json", "run", "--keep", "--pid-file"])
            .arg(bundle.join("pid"))
            .arg("--bundle")
            .arg(bundle)
            .arg(id)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Not reached by what a terminal sends to the emulator.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ToolError::Start {
                what: format!("runc run {id}"),
                source,
            })
    }

    /// A signal for a container's process 1; that there is none is no error of ours.
    pub(super) async fn signal(&self, id: &str, signal: &str) -> Result<(), ToolError> {
        let args = ["kill", id, signal];
        succeed(self.runc().args(args), &args, "").await.map(drop)
    }

    /// Ends what is left of a container and forgets it.
    pub(super) async fn forget(&self, id: &str) -> Result<(), ToolError> {
        let args = ["delete", "--force", id];
        succeed(self.runc().args(args), &args, "").await.map(drop)
    }

    /// Containers that runc knows.
    pub(super) async fn containers(&self) -> Result<Vec<String>, ToolError> {
        let args = ["list", "--quiet"];
        let text = succeed(self.runc().args(args), &args, "").await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// A command in a running container, without a terminal.
    pub(super) async fn exec(
        &self,
        id: &str,
        command: &[String],
        patience: Duration,
    ) -> Result<Said, ToolError> {
        let mut runc = self.runc();
        runc.args(["exec", id]).args(command);
        output(&mut runc, &format!("exec in {id}"), "", patience).await
    }

    /// The command line, for a shell, of a program in a running container on the terminal that it is started on.
    pub(super) fn exec_line(&self, id: &str, program: &str) -> String {
        let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
        let words: [&OsStr; 11] = [
            self.runc.as_os_str(),
            OsStr::new("--root"),
            self.state.as_os_str(),
            // Its complaints are plain text then.
            OsStr::new("--log"),
            OsStr::new("/dev/null"),
            OsStr::new("exec"),
            OsStr::new("--tty"),
            OsStr::new("--env"),
            OsStr::new("TERM=xterm"),
            OsStr::new(id),
            OsStr::new(program),
        ];
        words.map(quoted).join(" ")
    }
}

async fn succeed(command: &mut Command, args: &[&str], input: &str) -> Result<String, ToolError> {
    let program = command.as_std().get_program();
    let program = Path::new(program).file_name().unwrap_or(program);
    let what = format!("{} {}", program.to_string_lossy(), args.join(" "));
    let said = output(command, &what, input, PATIENCE).await?;
    if said.status.success() {
        return Ok(said.text);
    }
    Err(ToolError::Failed {
        what,
        said: if said.text.trim().is_empty() {
            said.status.to_string()
        } else {
            said.text.trim().to_owned()
        },
    })
}

/// Runs a program to its end; its output and its errors are one text.
async fn output(
    command: &mut Command,
    what: &str,
    input: &str,
    patience: Duration,
) -> Result<Said, ToolError> {
    let failed = |source| ToolError::Start {
        what: what.to_owned(),
        source,
    };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            // Who reads nothing says why himself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let (mut text, mut errors) = (Vec::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (out, err) = tokio::join!(read(out, &mut text), read(err, &mut errors));
        out.and(err)?;
        text.extend(errors);
        let status = child.wait().await?;
        Ok(Said {
            status,
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    };
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(ToolError::Late {
            what: what.to_owned(),
            after: patience,
        }),
    }
}

/// Reads to the end and keeps the first part.
async fn read(
    from: Option<impl tokio::io::AsyncRead + Unpin>,
    to: &mut Vec<u8>,
) -> std::io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    (&mut from).take(OUTPUT).read_to_end(to).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
impl Tools {
    /// For what needs none.
    pub(super) fn none() -> Self {
        Self {
            runc: PathBuf::new(),
            ip: PathBuf::new(),
            state: PathBuf::new(),
        }
    }
}
