//! What the operator asks for by ACI's exec, which starts one program without arguments on a terminal: the shim under another name
//! for each task. It answers in lines that begin with [`SAYS`], whatever else is on the terminal, so that neither a shell nor
//! anything else of the image is needed.

use std::io::{self, BufRead as _, Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, getpid, kill_process, umask};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Orders, ShimError};
use crate::spec::{DONE, END, FAILED, LONGEST, MORE, ORDERS, PROGRAM, READY, SAYS, Spec, Task};

/// Longest line of what a session reads, without its end.
const LONGEST_LINE: u64 = 64 * 1024;

/// Does what is asked for in the container whose root is `root`, and says how that went; the exit code.
pub fn serve(task: Task, root: &str) -> i32 {
    match attempt(task, root) {
        Ok(()) => {
            say(DONE);
            0
        }
        Err(error) => {
            let why = error.to_string().replace(char::is_control, "?");
            say(&format!("{FAILED} {why}"));
            1
        }
    }
}

fn attempt(task: Task, root: &str) -> Result<(), ShimError> {
    // Sessions have the rights of the container's program.
    Orders::read(ORDERS, root, true)?.follow()?;
    match task {
        Task::Terminate => {
            // What follows may end the session, too.
            say(READY);
            signal_first(Signal::TERM)
        }
        Task::Kill => {
            say(READY);
            kill_all()
        }
        Task::Update => {
            let text = ask_for_orders()?;
            // Who is not in a directory's group may say at its making what it is for, and not later.
            umask(Mode::empty());
            Orders::new(Spec::parse_update(&text)?, "", root)?.place()
        }
    }
}

fn say(what: &str) {
    // Who has gone needs no answer.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{SAYS} {what}").and_then(|()| out.flush());
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
    say(READY);
    let mut input = io::stdin().lock();
    let mut orders = Zeroizing::new(Vec::new());
    loop {
        let mut line = Zeroizing::new(Vec::new());
        let mut some = input.by_ref().take(LONGEST_LINE + 2);
        some.read_until(b'\n', &mut line).map_err(failed)?;
        if !line.ends_with(b"\n") {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
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
        say(MORE);
    }
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
