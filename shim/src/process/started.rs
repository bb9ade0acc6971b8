//! A program that was started, on pipes or on a terminal of its own, or a connection; and what goes into it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, isatty, tcsetwinsize};

use super::ShimError;
use crate::session::{Size, Source};
use crate::spec::NAME;

/// What ends input on a terminal (Ctrl-D).
const END_OF_INPUT: u8 = 0x04;
/// This program, whatever its name is and whoever it has become.
const SELF: &str = "/proc/self/exe";
/// The word by which it becomes a program with a session of its own.
pub const LEAD: &str = "lead";

pub(super) type Output = Box<dyn Read + Send>;

/// What was started.
pub(super) struct Started {
    pub(super) input: Option<Input>,
    pub(super) outputs: Vec<(Source, Output)>,
    /// The program; none for a connection, which ends with its output.
    pub(super) child: Option<Child>,
    pub(super) terminal: Option<File>,
}

/// Where input goes.
pub(super) struct Input {
    to: To,
    at_line_start: bool,
}

enum To {
    Pipe(Box<dyn Write + Send>),
    Terminal(File),
    Connection(TcpStream),
}

impl Input {
    fn new(to: To) -> Self {
        Self {
            to,
            at_line_start: true,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.at_line_start = matches!(last, b'\n' | b'\r' | &END_OF_INPUT);
        }
        match &mut self.to {
            To::Pipe(pipe) => pipe.write_all(bytes),
            To::Terminal(terminal) => terminal.write_all(bytes),
            To::Connection(connection) => connection.write_all(bytes),
        }
    }

    /// Tells that nothing will come any more.
    pub(super) fn end(self) {
        // Who reads no more need not be told.
        let _ = match self.to {
            To::Pipe(_) => Ok(()),
            // In the middle of a line the first one only hands over the line.
            To::Terminal(mut terminal) if self.at_line_start => terminal.write_all(&[END_OF_INPUT]),
            To::Terminal(mut terminal) => terminal.write_all(&[END_OF_INPUT, END_OF_INPUT]),
            To::Connection(connection) => connection.shutdown(Shutdown::Write),
        };
    }
}

/// The command that becomes `argv` in a session of its own.
pub(super) fn leading(argv: impl IntoIterator<Item = OsString>) -> Command {
    let mut command = Command::new(SELF);
    command.arg0(NAME).args([LEAD, "--"]).args(argv);
    command
}

pub(super) fn on_pipes(mut command: Command, input: bool) -> io::Result<Started> {
    let stdin = if input { Stdio::piped() } else { Stdio::null() };
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut outputs: Vec<(Source, Output)> = Vec::new();
    if let Some(output) = child.stdout.take() {
        outputs.push((Source::Output, Box::new(output)));
    }
    if let Some(error) = child.stderr.take() {
        outputs.push((Source::Error, Box::new(error)));
    }
    let pipe = child.stdin.take();
    Ok(Started {
        input: pipe.map(|pipe| Input::new(To::Pipe(Box::new(pipe)))),
        outputs,
        child: Some(child),
        terminal: None,
    })
}

pub(super) fn on_terminal(mut command: Command, size: Size) -> io::Result<Started> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = OsString::from_vec(ptsname(&ours, Vec::new())?.into_bytes());
    let ours = File::from(ours);
    resize(&ours, size);
    let theirs = || -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(open(PathBuf::from(&name), flags, Mode::empty())?)
    };
    command.stdin(theirs()?).stdout(theirs()?).stderr(theirs()?);
    if std::env::var_os("TERM").is_none() {
        command.env("TERM", "xterm");
    }
    let child = command.spawn()?;
    Ok(Started {
        input: Some(Input::new(To::Terminal(ours.try_clone()?))),
        outputs: vec![(Source::Output, Box::new(ours.try_clone()?))],
        child: Some(child),
        terminal: Some(ours),
    })
}

pub(super) fn connected(port: u16) -> io::Result<Started> {
    let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    Ok(Started {
        input: Some(Input::new(To::Connection(connection.try_clone()?))),
        outputs: vec![(Source::Output, Box::new(connection))],
        child: None,
        terminal: None,
    })
}

pub(super) fn resize(terminal: &File, size: Size) {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // Who runs there sees the old one.
    let _ = tcsetwinsize(terminal, size);
}

/// Becomes `argv`, as the first process of a session, with the terminal on its standard input if that is one.
///
/// # Errors
/// It could not.
pub fn lead(argv: Vec<OsString>) -> Result<std::convert::Infallible, ShimError> {
    let mut words = argv.into_iter();
    let program = words.next().ok_or(ShimError::NoProgram)?;
    // It is nobody's leader: it was started just now.
    setsid().map_err(|why| ShimError::Lead(why.into()))?;
    let stdin = io::stdin();
    if isatty(&stdin) {
        ioctl_tiocsctty(&stdin).map_err(|why| ShimError::Lead(why.into()))?;
    }
    let why = Command::new(&program).args(words).exec();
    Err(ShimError::Start { program, why })
}
