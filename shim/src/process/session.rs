//! What the operator asks for by ACI's exec: the shim under another name for each [`Task`], so that neither a shell nor anything
//! else of the image is needed.

use std::io::{self, BufRead, Read as _, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, getpid, kill_process, umask};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Orders, ShimError, command};
use crate::session::{END, LONGEST_LINE, Request, Said, Task, Told};
use crate::spec::{LONGEST, ORDERS, PROGRAM, Spec};

/// Longest line of the operator's, with its end.
const MOST: u64 = LONGEST_LINE as u64 + 2;

/// Does what is asked for in the container whose root is `root`, and says how that went; the exit code.
pub fn serve(task: Task, root: &str) -> i32 {
    match attempt(task, root) {
        Ok(()) => {
            say(&Said::Done);
            0
        }
        Err(error) => {
            say(&Said::Failed(error.to_string()));
            1
        }
    }
}

fn attempt(task: Task, root: &str) -> Result<(), ShimError> {
    // Sessions have the rights of the container's program.
    let own = Orders::read(ORDERS, root, true)?;
    let identity = own.follow()?;
    match task {
        Task::Terminate => {
            // What follows may end the session, too.
            say(&Said::Ready);
            signal_first(Signal::TERM)
        }
        Task::Kill => {
            say(&Said::Ready);
            kill_all()
        }
        Task::Update => {
            let text = ask_for_orders()?;
            // Who is not in a directory's group may say at its making what it is for, and not later.
            umask(Mode::empty());
            Orders::new(Spec::parse_update(&text)?, "", root)?.place()
        }
        Task::Run => {
            let text = ask_for_orders()?;
            command::run(Request::parse(&text)?.what, &own, identity.as_ref(), root)
        }
    }
}

pub(super) fn say(what: &Said) {
    // Who has gone needs no answer.
    let _ = put(&mut io::stdout().lock(), what.write().as_bytes());
}

/// Writes `bytes` at once.
pub(super) fn put(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn signal_first(signal: Signal) -> Result<(), ShimError> {
    let first = Pid::from_raw(1).ok_or(ShimError::NoProgram)?;
    kill_process(first, signal).map_err(|why| ShimError::Signals(why.into()))
}

/// Kills all processes of the container but the first, which is the shim: it ends as its program does.
fn kill_all() -> Result<(), ShimError> {
    let started = std::fs::read("/proc/1/cmdline").unwrap_or_default();
    if started.split(|byte| *byte == 0).next() != Some(PROGRAM.as_bytes()) {
        let why = "process 1 is the program, and nothing else can kill it";
        return Err(ShimError::Signals(io::Error::other(why)));
    }
    let failed = |why| ShimError::Signals(why);
    let mut killed = false;
    for entry in std::fs::read_dir("/proc").map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(process) = number.and_then(Pid::from_raw) else {
            continue;
        };
        if process.is_init() || process == getpid() {
            continue;
        }
        // Some are another's, or have ended.
        killed |= kill_process(process, Signal::KILL).is_ok();
    }
    let none = || ShimError::Signals(io::Error::other("there is no process that can be killed"));
    killed.then_some(()).ok_or_else(none)
}

/// Reads orders in base64, line by line, each of which is answered, up to a line that ends them.
fn ask_for_orders() -> Result<Zeroizing<Vec<u8>>, ShimError> {
    let failed = |why| ShimError::Orders {
        path: "the session".to_owned(),
        why,
    };
    be_plain().map_err(failed)?;
    say(&Said::Ready);
    let mut input = io::stdin().lock();
    let mut orders = Zeroizing::new(Vec::new());
    loop {
        let line = line(&mut input, MOST).map_err(failed)?;
        let text = line.trim_ascii();
        if text == END.as_bytes() {
            return Ok(orders);
        }
        let broken = |_| failed(io::ErrorKind::InvalidData.into());
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(broken)?);
        orders.extend_from_slice(&bytes);
        if u64::try_from(orders.len()).unwrap_or(u64::MAX) > LONGEST {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        say(&Said::More);
    }
}

/// The next that a program's session is told; `None` where that is nothing known.
pub(super) fn told(input: &mut impl BufRead) -> io::Result<Option<Told>> {
    Ok(Told::read(&line(input, MOST)?))
}

/// The next line, whole, of at most so many bytes with its end.
pub(super) fn line(input: &mut impl BufRead, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::new());
    input.take(most).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}

/// Has the terminal pass on what is typed, and not show it.
fn be_plain() -> io::Result<()> {
    let stdin = io::stdin();
    if !isatty(&stdin) {
        return Ok(());
    }
    let mut terminal = tcgetattr(&stdin)?;
    terminal.make_raw();
    Ok(tcsetattr(&stdin, OptionalActions::Now, &terminal)?)
}
