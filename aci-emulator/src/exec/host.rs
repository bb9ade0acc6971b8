//! exec for real: the command runs on this machine, on a terminal.
//!
//! Off unless asked for: whoever may exec then runs what they like as the emulator's user. It is what a client that
//! relies on a shell has to be tested with. The terminal is one that `script` (util-linux) opens.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
};

use super::tty::Wire;

/// What a process that was told to end may still say.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What an interactive shell reads first: process 1 is the container's program there, and this machine's here. Who signals it
/// means the former; and who was put into a container has no parent there.
const PROFILE: &str = r#"PPID=0
kill() {
    case "$*" in
    "-TERM 1" | "-15 1" | "-s TERM 1" | "1") printf 'TERM\n' >>"$ACI_SIGNALS" ;;
    *) command kill "$@" ;;
    esac
}
"#;
/// How often it is looked for signals.
const SIGNALS: Duration = Duration::from_millis(20);

/// The folder of a session: what its shell reads first, and the signals that it sends to process 1.
struct Signals {
    folder: tempfile::TempDir,
    seen: u64,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("profile"), PROFILE)?;
        std::fs::write(folder.path().join("signals"), "")?;
        Ok(Self { folder, seen: 0 })
    }

    /// Whether there are some that were not seen before.
    fn new_ones(&mut self) -> bool {
        let path = self.folder.path().join("signals");
        let length = std::fs::metadata(path).map_or(0, |file| file.len());
        length > std::mem::replace(&mut self.seen, length)
    }
}

/// Runs `command`, one program without arguments, until it ends or the other side is gone. `sigterm` is called when it
/// sends SIGTERM to process 1.
pub(crate) async fn exec(
    wire: &mut impl Wire,
    command: &str,
    environment: &BTreeMap<String, String>,
    (rows, columns): (i64, i64),
    sigterm: impl Fn() -> bool,
) {
    let spawned = Signals::new().and_then(|signals| {
        let child = spawn(command, environment, (rows, columns), signals.folder.path())?;
        Ok((child, signals))
    });
    let (mut child, mut signals) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            wire.send(format!("exec failed: {error}\r\n").into_bytes())
                .await;
            return;
        }
    };
    talk(wire, &mut child, || {
        if signals.new_ones() {
            sigterm();
        }
    })
    .await;
}

/// Runs a command line of a shell on a terminal, until it ends or the other side is gone.
pub(crate) async fn on_terminal(wire: &mut impl Wire, line: &str, (rows, columns): (i64, i64)) {
    // The terminal that counts is the one that the line opens: this one passes everything on as it is.
    let script = format!("stty rows {rows} cols {columns} raw -echo; exec {line}");
    let mut command = terminal("never", &script);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    command.env_clear().env("PATH", path);
    match command.env("SHELL", "/bin/sh").spawn() {
        Ok(mut child) => talk(wire, &mut child, || ()).await,
        Err(error) => {
            wire.send(format!("exec failed: {error}\r\n").into_bytes())
                .await;
        }
    }
}

/// Between a wire and a terminal, until one of them has ended. `meanwhile` is called again and again.
async fn talk(wire: &mut impl Wire, child: &mut Child, mut meanwhile: impl FnMut()) {
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return;
    };
    let mut buffer = vec![0; 8192];
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        meanwhile();
        tokio::select! {
            read = output.read(&mut buffer) => match read {
                Ok(length @ 1..) => {
                    let shown = buffer.get(..length).unwrap_or_default().to_vec();
                    if !wire.send(shown).await {
                        break;
                    }
                }
                _ => break,
            },
            written = input.write(&waiting), if !waiting.is_empty() => match written {
                Ok(length @ 1..) => drop(waiting.drain(..length)),
                // A terminal that takes nothing more belongs to a process that has ended.
                _ => break,
            },
            typed = wire.recv(), if waiting.is_empty() => match typed {
                Some(typed) => waiting = typed,
                None => break,
            },
            () = tokio::time::sleep(SIGNALS) => {}
        }
    }
    meanwhile();
    // `script` hangs the terminal up when it is told to end.
    drop(input);
    if tokio::time::timeout(LAST_WORDS, child.wait())
        .await
        .is_err()
    {
        tracing::debug!("the process of an exec session was killed");
    }
}

/// A shell's command line on a terminal of its own, which `script` opens.
fn terminal(echo: &str, line: &str) -> Command {
    // Behind nohup, for one, interrupts are ignored; a container starts without that.
    let mut command = Command::new("env");
    command
        .args(["--default-signal=INT,QUIT", "script"])
        .args(["-q", "-E", echo, "-c", line, "/dev/null"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

fn spawn(
    command: &str,
    environment: &BTreeMap<String, String>,
    (rows, columns): (i64, i64),
    folder: &Path,
) -> std::io::Result<Child> {
    // The real thing splits no words either: what is not one program is not found.
    let quoted = command.replace('\'', "'\\''");
    let script = format!("stty rows {rows} cols {columns}; exec '{quoted}'");
    terminal("always", &script)
        .env_clear()
        .envs(environment)
        .env("ENV", folder.join("profile"))
        .env("ACI_SIGNALS", folder.join("signals"))
        .env("SHELL", "/bin/sh")
        .env("HOME", "/")
        .spawn()
}
