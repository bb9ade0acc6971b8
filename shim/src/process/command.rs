//! A program in a session, which has the terminal of ACI's for its words only: the program gets pipes, or a terminal of its own.
//!
//! Five threads, each of which waits for one thing: what is told, what the program takes, what it writes to each of its outputs, and
//! its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, isatty, tcsetwinsize};
use zeroize::Zeroizing;

use super::session::{say, told};
use super::{NOT_STARTED, Orders, ShimError};
use crate::session::{PIECE_OF_OUTPUT, Said, Size, Source, Told, WINDOW, What};
use crate::users::Identity;

/// A program whose session has gone has this long to heed an interrupt, and then the loss of its terminal.
const GRACE: Duration = Duration::from_millis(700);
/// What holds an ended program's outputs open may be silent for so long.
const SILENCE: Duration = Duration::from_secs(1);
/// What ends input on a terminal (Ctrl-D).
const END_OF_INPUT: u8 = 0x04;
/// This program, whatever its name is and whoever it has become.
const SELF: &str = "/proc/self/exe";
/// The word by which it becomes a program with a session of its own.
pub const LEAD: &str = "lead";

/// Does `what` as `identity`, and tells what comes of it.
pub(super) fn run(
    what: What,
    orders: &Orders,
    identity: Option<&Identity>,
) -> Result<(), ShimError> {
    match what {
        What::Program {
            argv,
            input,
            terminal,
        } => {
            let mut command = Command::new(SELF);
            command
                .arg0(crate::spec::NAME)
                .args([LEAD, "--"])
                .args(&argv);
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
    }
    Ok(())
}

/// What a session is led with.
struct Started {
    input: Option<Input>,
    outputs: Vec<(Source, Box<dyn Read + Send>)>,
    /// Its end; none for a connection, which ends with its output.
    child: Option<Child>,
    terminal: Option<File>,
}

/// Where input goes.
enum Input {
    Pipe(Box<dyn Write + Send>),
    Terminal(File),
    Connection(TcpStream),
}

fn on_pipes(mut command: Command, input: bool) -> io::Result<Started> {
    let stdin = if input { Stdio::piped() } else { Stdio::null() };
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut outputs: Vec<(Source, Box<dyn Read + Send>)> = Vec::new();
    if let Some(output) = child.stdout.take() {
        outputs.push((Source::Output, Box::new(output)));
    }
    if let Some(error) = child.stderr.take() {
        outputs.push((Source::Error, Box::new(error)));
    }
    let input = child.stdin.take();
    Ok(Started {
        input: input.map(|pipe| Input::Pipe(Box::new(pipe))),
        outputs,
        child: Some(child),
        terminal: None,
    })
}

fn on_terminal(mut command: Command, size: Size) -> io::Result<Started> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = std::ffi::OsString::from_vec(ptsname(&ours, Vec::new())?.into_bytes());
    let ours = File::from(ours);
    resize(&ours, size);
    let theirs = || -> io::Result<OwnedFd> {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(open(PathBuf::from(&name), flags, Mode::empty())?)
    };
    command.stdin(theirs()?).stdout(theirs()?).stderr(theirs()?);
    if std::env::var_os("TERM").is_none() {
        command.env("TERM", "xterm");
    }
    let child = command.spawn()?;
    Ok(Started {
        input: Some(Input::Terminal(ours.try_clone()?)),
        outputs: vec![(Source::Output, Box::new(ours.try_clone()?))],
        child: Some(child),
        terminal: Some(ours),
    })
}

fn connected(port: u16) -> io::Result<Started> {
    let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    Ok(Started {
        input: Some(Input::Connection(connection.try_clone()?)),
        outputs: vec![(Source::Output, Box::new(connection))],
        child: None,
        terminal: None,
    })
}

fn resize(terminal: &File, size: Size) {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // Who runs there sees the old one.
    let _ = tcsetwinsize(terminal, size);
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
    let (open, ended) = channel::<()>();
    for (source, from) in outputs {
        let (window, open) = (window.clone(), open.clone());
        thread::spawn(move || {
            show(source, from, &window);
            drop(open);
        });
    }
    drop(open);
    let program = child
        .as_ref()
        .and_then(|child| i32::try_from(child.id()).ok());
    let leader = program.and_then(Pid::from_raw);
    let taken = window.clone();
    thread::spawn(move || {
        listen(&give, &taken, terminal.as_ref());
        give_up(leader);
    });
    let code = match child.map(|mut child| child.wait()) {
        Some(Ok(status)) => code(status),
        Some(Err(_)) => NOT_STARTED,
        None => {
            // Nothing is ever sent: the end of all that could.
            let _ = ended.recv();
            0
        }
    };
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(SILENCE) {
        if !window.has_moved() {
            break;
        }
    }
    say(&Said::Ended(code));
}

/// As a shell and a runtime tell it.
fn code(status: ExitStatus) -> i32 {
    let by_signal = || Some(128 + status.signal()?);
    status.code().or_else(by_signal).unwrap_or(NOT_STARTED)
}

/// Hears what is told until nobody tells anything any more.
fn listen(give: &SyncSender<Option<Zeroizing<Vec<u8>>>>, window: &Window, terminal: Option<&File>) {
    let mut typed = io::stdin().lock();
    loop {
        match told(&mut typed) {
            Ok(Some(Told::Input(bytes))) => {
                if give.try_send(Some(bytes)).is_err() {
                    // More than may be on its way.
                    return;
                }
            }
            Ok(Some(Told::EndOfInput)) => {
                if give.try_send(None).is_err() {
                    return;
                }
            }
            Ok(Some(Told::More)) => window.taken(),
            Ok(Some(Told::Size(size))) => {
                if let Some(terminal) = terminal {
                    resize(terminal, size);
                }
            }
            Ok(Some(Told::Interrupt) | None) | Err(_) => return,
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
fn feed(input: Option<Input>, take: &Receiver<Option<Zeroizing<Vec<u8>>>>) {
    let mut input = input;
    let mut at_line_start = true;
    while let Ok(bytes) = take.recv() {
        let Some(bytes) = bytes else {
            match input.take() {
                Some(Input::Terminal(mut terminal)) => {
                    // In the middle of a line the first one only hands over the line.
                    let end: &[u8] = if at_line_start {
                        &[END_OF_INPUT]
                    } else {
                        &[END_OF_INPUT, END_OF_INPUT]
                    };
                    let _ = terminal.write_all(end);
                }
                Some(Input::Connection(connection)) => {
                    let _ = connection.shutdown(Shutdown::Write);
                }
                Some(Input::Pipe(_)) | None => {}
            }
            continue;
        };
        if let Some(last) = bytes.last() {
            at_line_start = matches!(last, b'\n' | b'\r' | &END_OF_INPUT);
        }
        let written = match &mut input {
            Some(Input::Pipe(pipe)) => pipe.write_all(&bytes),
            Some(Input::Terminal(terminal)) => terminal.write_all(&bytes),
            Some(Input::Connection(connection)) => connection.write_all(&bytes),
            None => Ok(()),
        };
        if written.is_err() {
            // It reads no more; what still comes is passed over.
            input = None;
        }
        say(&Said::More);
    }
}

/// Tells what comes `from` there, up to its end.
fn show(source: Source, mut from: Box<dyn Read + Send>, window: &Window) {
    let mut buffer = Zeroizing::new(vec![0; PIECE_OF_OUTPUT]);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal that nobody has any more.
            Err(_) => return,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        window.wait();
        say(&Said::Bytes(source, bytes.to_vec()));
    }
}

/// Lines of output that were not taken yet.
#[derive(Default)]
struct Window {
    state: Mutex<Open>,
    moved: Condvar,
}

#[derive(Default)]
struct Open {
    lines: usize,
    /// Whether any was told or taken since somebody asked.
    has_moved: bool,
}

impl Window {
    /// Waits until one more may be told.
    fn wait(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_while(state, |open| open.lines >= WINDOW);
        let mut open = waited.unwrap_or_else(PoisonError::into_inner);
        open.lines += 1;
        open.has_moved = true;
    }

    fn taken(&self) {
        let mut open = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        open.lines = open.lines.saturating_sub(1);
        open.has_moved = true;
        self.moved.notify_all();
    }

    /// Whether anything has moved since the last call, or still waits to be taken.
    fn has_moved(&self) -> bool {
        let mut open = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut open.has_moved) || open.lines > 0
    }
}

/// Becomes `argv`, as the first process of a session, with the terminal on its standard input if that is one.
///
/// # Errors
/// It could not.
pub fn lead(argv: Vec<std::ffi::OsString>) -> Result<std::convert::Infallible, ShimError> {
    let mut words = argv.into_iter();
    let program = words.next().ok_or(ShimError::NoProgram)?;
    // It is nobody's leader: it was started just now.
    setsid().map_err(|why| ShimError::Lead(why.into()))?;
    let stdin = io::stdin();
    if isatty(&stdin) {
        rustix::process::ioctl_tiocsctty(&stdin).map_err(|why| ShimError::Lead(why.into()))?;
    }
    let why = Command::new(&program).args(words).exec();
    Err(ShimError::Start { program, why })
}
