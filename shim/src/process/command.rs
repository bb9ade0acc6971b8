//! A session that runs a program, or is a connection. ACI's terminal is for its words only: the program gets pipes, or a terminal of its
//! own.
//!
//! Five threads, each of which waits for one thing: what is told, what the program takes, what it writes to each of its outputs, and
//! its end.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use super::child::exit_code;
use super::outputs::Outputs;
use super::session::{say, told};
use super::started::{Input, Started, connected, leading, on_pipes, on_terminal, resize};
use super::window::Window;
use super::{NOT_STARTED, Orders, ShimError, attach};
use crate::session::{Said, Told, WINDOW, What};
use crate::users::Identity;

/// A program whose session has gone has this long to heed an interrupt, and then the loss of its terminal.
const GRACE: Duration = Duration::from_millis(700);

/// Does `what` as `identity` in the container whose root is `root`, and tells what comes of it.
pub(super) fn run(
    what: What,
    orders: &Orders,
    identity: Option<&Identity>,
    root: &str,
) -> Result<(), ShimError> {
    match what {
        What::Program {
            argv,
            input,
            terminal,
        } => {
            let mut command = leading(argv.iter().map(OsString::from));
            orders.surround(&mut command, identity);
            let program = argv.into_iter().next().unwrap_or_default();
            let not_started = |why| orders.not_started(program.into(), why);
            let started = match terminal {
                Some(size) => on_terminal(command, size),
                None => on_pipes(command, input),
            };
            attend(started.map_err(not_started)?);
        }
        What::Port(port) => {
            let failed = |why| ShimError::Port { port, why };
            attend(connected(port).map_err(failed)?);
        }
        What::Attach => attach::relay(root)?,
    }
    Ok(())
}

/// Leads a session to the end of what was started.
fn attend(started: Started) {
    let Started {
        input,
        outputs,
        child,
        terminal,
    } = started;
    // The end of its terminal is the end of what is told, and this process's own only after the program's.
    let hung_up = Arc::new(AtomicBool::new(false));
    let _ = signal_hook::flag::register(Signal::HUP.as_raw(), hung_up);
    say(&Said::Begun);
    let window = Arc::new(Window::default());
    // One more than may be on their way: the end.
    let (give, take) = sync_channel(WINDOW + 1);
    thread::spawn(move || feed(input, &take));
    let shown = window.clone();
    let outputs = Outputs::read(outputs, move |source, bytes| {
        shown.wait();
        say(&Said::Bytes(source, bytes.to_vec()));
    });
    let leader = child.as_ref().map(Pid::from_child);
    let taken = window.clone();
    thread::spawn(move || {
        listen(&give, &taken, terminal.as_ref());
        give_up(leader);
    });
    let code = match child.map(|mut child| child.wait()) {
        Some(Ok(status)) => exit_code(status),
        Some(Err(_)) => NOT_STARTED,
        None => {
            outputs.end();
            0
        }
    };
    outputs.end_or_silence(|| window.has_moved());
    say(&Said::Ended(code));
}

/// Hears what is told until nobody tells anything any more.
fn listen(give: &SyncSender<Option<Zeroizing<Vec<u8>>>>, window: &Window, terminal: Option<&File>) {
    let mut typed = io::stdin().lock();
    while let Ok(Some(it)) = told(&mut typed) {
        let given = match it {
            Told::Input(bytes) => give.try_send(Some(bytes)).is_ok(),
            Told::EndOfInput => give.try_send(None).is_ok(),
            Told::More => {
                window.taken();
                true
            }
            Told::Size(size) => {
                if let Some(terminal) = terminal {
                    resize(terminal, size);
                }
                true
            }
            Told::Interrupt => false,
        };
        // What cannot be given is more than may be on its way.
        if !given {
            return;
        }
    }
}

/// Nobody wants the program any more: it gets the interrupt that a terminal's user would send, and a moment; then it loses its
/// terminal with this process.
fn give_up(leader: Option<Pid>) {
    for signal in [Signal::INT, Signal::HUP] {
        if let Some(leader) = leader {
            // It may have ended.
            let _ = kill_process_group(leader, signal);
            thread::sleep(GRACE);
        }
    }
    std::process::exit(NOT_STARTED);
}

/// Writes input, and asks for more of it.
fn feed(mut input: Option<Input>, take: &Receiver<Option<Zeroizing<Vec<u8>>>>) {
    while let Ok(bytes) = take.recv() {
        match (bytes, &mut input) {
            (None, _) => {
                if let Some(input) = input.take() {
                    input.end();
                }
            }
            (Some(bytes), Some(to)) => {
                if to.write(&bytes).is_err() {
                    // It reads no more; what still comes is passed over.
                    input = None;
                }
                say(&Said::More);
            }
            (Some(_), None) => say(&Said::More),
        }
    }
}
