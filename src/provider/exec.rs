//! A command in a container: exec and attach as Kubernetes means them, over what ACI has.
//!
//! ACI starts one program without arguments on a terminal. It gives no exit code, no separate standard error and no
//! end of standard input. For Linux the missing parts are made by the operator's shim where a container has it ([`shim`]), and
//! else by a shell in the container: [`script`] writes what it is told, [`scan`] reads what it answers, [`input`] packs standard
//! input, and [`dialog`] leads the conversation. Both have a [`console`].

use std::fmt;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::azure::AzureError;

mod aci;
pub mod console;
pub mod dialog;
pub mod input;
pub mod scan;
pub mod script;
pub mod shim;

/// Where bytes of a process go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output, and everything when there is a terminal.
    Stdout,
    Stderr,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self {
            rows: 24,
            columns: 80,
        }
    }
}

/// The client's side of a session.
pub struct Streams {
    /// Standard input, closed at its end; `None` when the client sends none.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// What the process writes. Its other end takes everything, whether the client wants it or not.
    pub output: mpsc::Sender<(Output, Bytes)>,
    /// Sizes of the client's terminal, the first one at the start.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
    /// Cancelled when nobody wants the session any more: what runs should be interrupted, and the call end within a
    /// second. After that it is dropped.
    pub gone: CancellationToken,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("stdin", &self.stdin.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}

/// A remark of ours in a session, for standard error.
pub fn remark(text: &str) -> (Output, Bytes) {
    let line = format!("[virtual-kubelet] {text}\n");
    (Output::Stderr, Bytes::from(line))
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code; 128 and the number of a signal that ended it.
    Code(i32),
    /// Nobody can know: there is no shell between us and the process.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Whether the process gets the client's terminal.
    pub tty: bool,
}

/// A container that somebody attaches to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached<'a> {
    pub name: &'a str,
    /// Whether the client has its terminal.
    pub tty: bool,
    /// Whether the pod gives its program an input, or a terminal.
    pub has_own: bool,
}

/// Why a command could not be run, or not to its end. Texts are for the user of kubectl and hold nothing that was
/// typed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Azure refused or could not be reached.
    #[error("{}", .0.told())]
    Azure(#[from] AzureError),
    /// Azure did not attach; nothing was shown.
    #[error("{}", .0.told())]
    Attach(AzureError),
    /// The log that was shown in the place of an attach ended before its time.
    #[error("{0}")]
    Log(String),
    /// The session ended before the shell answered.
    #[error(
        "the container has no usable /bin/sh, which exec on Azure Container Instances needs for arguments and exit codes{}",
        said(.0)
    )]
    NoShell(String),
    /// The shell is there, but says nothing we understand.
    #[error("the shell in the container did not answer within {0} s")]
    Silent(u64),
    /// The shell lacks what this command needs.
    #[error(
        "the shell in the container is too limited for this command: it has no pipes or no `cat`"
    )]
    Limited,
    /// The session ended before the shim answered.
    #[error("the operator's shim in the container did not answer{}", said(.0))]
    NoShim(String),
    /// The shim could not do what it was asked for.
    #[error("{0}")]
    Task(String),
    /// Standard input cannot be told from output.
    #[error(
        "standard input needs `stty` in the container: without it the terminal mixes input into the output (use -t, or no -i)"
    )]
    Echo,
    /// The session ended while the command ran.
    #[error("the connection to the container was lost before the command ended")]
    Lost,
    #[error("you must specify at least one command for the container")]
    NoCommand,
}

/// What a terminal shows, as one line.
fn one_line(shown: &[u8]) -> String {
    let text = String::from_utf8_lossy(shown);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn said(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" (it said: {text})")
    }
}
