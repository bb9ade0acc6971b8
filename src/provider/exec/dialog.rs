//! The conversation with a shell in the container, from its probe to the command's exit code.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::console::{Console, INTERRUPT, Queue, Settings, next, show};
use super::scan::{Event, Scanner};
use super::script::{self, Mark};
use super::{Command, ExecError, Exit, Output, Streams, input};

/// The shell has this long for each of its answers before the command starts. ACI takes seconds to start it.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes typed that the shell has not taken yet. A terminal holds 4,096 of them, and what carries them some more.
const WINDOW: usize = 32 * 1024;
/// A command that was interrupted has this long to end, before its terminal is taken away.
const GRACE: Duration = Duration::from_millis(700);
/// What ends input on a terminal (Ctrl-D).
const END_OF_INPUT: u8 = 0x04;

/// Runs `command` by the shell behind `console`, a `/bin/sh` that was just started. Standard input is not touched
/// before the command runs.
///
/// # Errors
/// An [`ExecError`] when the command could not be started, or its end was not seen.
pub async fn run(
    console: Console,
    settings: Settings,
    mark: &Mark,
    command: &Command,
    streams: &mut Streams,
) -> Result<Exit, ExecError> {
    let scanner = Scanner::new(mark, command.tty);
    let mut dialog = Dialog::new(console, settings, scanner, streams.gone.clone());
    let shell = dialog.probe(mark, command.tty).await?;
    let packed = !command.tty && shell.pipes;
    dialog.start(mark, command, shell, streams).await?;
    let stdin = streams.stdin.take();
    let mut feed = Feed {
        stdin,
        rest: Bytes::new(),
        packing: packed.then_some(shell.base64),
        at_line_start: true,
    };
    let ended = dialog.converse(&mut feed, &streams.output).await;
    if ended.is_err() {
        dialog.interrupt().await;
    }
    ended
}

/// Sends SIGTERM to the program of the container by the shell behind `console`; how the shell's `kill` ended.
///
/// # Errors
/// An [`ExecError`] when nothing could be sent.
pub async fn signal(console: Console, settings: Settings, mark: &Mark) -> Result<Exit, ExecError> {
    let scanner = Scanner::new(mark, false);
    let mut dialog = Dialog::new(console, settings, scanner, CancellationToken::new());
    dialog.probe(mark, false).await?;
    dialog.queue.push(script::SIGTERM.as_bytes());
    let deadline = Instant::now() + ANSWER;
    let mut begun = false;
    loop {
        match dialog.event(deadline).await {
            Ok(Event::Start) => begun = true,
            Ok(Event::Exit(code)) => return Ok(Exit::Code(code)),
            Ok(_) => {}
            // A container that ends takes its sessions along.
            Err(ExecError::NoShell(_)) if begun => return Ok(Exit::Code(0)),
            Err(error) => return Err(error),
        }
    }
}

/// Runs whatever `console` is the terminal of, without a shell between: bytes as they are, exit code unknown.
pub async fn raw(
    console: Console,
    settings: Settings,
    mut streams: Streams,
) -> Result<Exit, ExecError> {
    let mut stdin = streams.stdin.take();
    let Console { input, mut output } = console;
    let mut queue = Queue::new(settings);
    loop {
        tokio::select! {
            shown = output.recv() => match shown {
                Some(bytes) => show(&streams.output, Output::Stdout, bytes).await?,
                None => return Ok(Exit::Unknown),
            },
            permit = input.reserve(), if !queue.is_empty() => queue.send(permit),
            typed = next(&mut stdin), if queue.is_empty() => match typed {
                Some(bytes) => queue.push(&bytes),
                None => stdin = None,
            },
            () = streams.gone.cancelled() => {
                let interrupt = input.send(Bytes::from_static(&[INTERRUPT]));
                // Who does not take it has gone already.
                let _ = tokio::time::timeout(GRACE, interrupt).await;
                return Err(ExecError::Lost);
            }
        }
    }
}

/// What the probe has found.
#[derive(Debug, Clone, Copy, Default)]
struct Shell {
    pipes: bool,
    base64: bool,
    /// The terminal shows what is typed, and nobody could turn that off.
    echoes: bool,
}

struct Dialog {
    input: mpsc::Sender<Bytes>,
    output: mpsc::Receiver<Bytes>,
    queue: Queue,
    scanner: Scanner,
    events: VecDeque<Event>,
    /// Lengths of what the shell has not acknowledged, and whether more may be typed before it does.
    unanswered: VecDeque<(usize, bool)>,
    /// Nobody wants the session any more.
    gone: CancellationToken,
}

impl Dialog {
    fn new(
        console: Console,
        settings: Settings,
        scanner: Scanner,
        gone: CancellationToken,
    ) -> Self {
        Self {
            input: console.input,
            output: console.output,
            queue: Queue::new(settings),
            scanner,
            events: VecDeque::new(),
            unanswered: VecDeque::new(),
            gone,
        }
    }

    /// Types the first line, and reads what it tells.
    async fn probe(&mut self, mark: &Mark, tty: bool) -> Result<Shell, ExecError> {
        self.queue.push(script::probe(mark, tty).as_bytes());
        let deadline = Instant::now() + ANSWER;
        let mut shell = Shell::default();
        loop {
            match self.event(deadline).await? {
                Event::Pipes => shell.pipes = true,
                Event::Base64 => shell.base64 = true,
                Event::Ready(silent) => {
                    shell.echoes = !silent && self.scanner.echoed();
                    return Ok(shell);
                }
                _ => {}
            }
        }
    }

    /// Hands the command over and waits until it speaks.
    async fn start(
        &mut self,
        mark: &Mark,
        command: &Command,
        shell: Shell,
        streams: &Streams,
    ) -> Result<(), ExecError> {
        let stdin = streams.stdin.is_some();
        if stdin && shell.echoes && !command.tty {
            // The echo would be taken for output.
            return Err(ExecError::Echo);
        }
        let lines = if !shell.pipes {
            vec![script::basic(&command.argv, command.tty, stdin).ok_or(ExecError::Limited)?]
        } else if command.tty {
            script::load(&script::terminal(mark, &command.argv), true)
        } else {
            script::load(&script::piped(mark, &command.argv, stdin), false)
        };
        let mut lines = lines.into_iter().peekable();
        while let Some(line) = lines.next() {
            self.queue.push(line.as_bytes());
            if lines.peek().is_none() {
                break;
            }
            self.unanswered.push_back((line.len(), false));
            while self.is_full() {
                let deadline = Instant::now() + ANSWER;
                if self.event(deadline).await? == Event::Ack {
                    self.unanswered.pop_front();
                }
            }
        }
        let deadline = Instant::now() + ANSWER;
        while self.event(deadline).await? != Event::Start {}
        self.unanswered.clear();
        Ok(())
    }

    fn is_full(&self) -> bool {
        let alone = self.unanswered.back().is_some_and(|(_, alone)| *alone);
        alone
            || self
                .unanswered
                .iter()
                .map(|(length, _)| length)
                .sum::<usize>()
                >= WINDOW
    }

    /// The next thing the shell says before the command starts.
    async fn event(&mut self, deadline: Instant) -> Result<Event, ExecError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            tokio::select! {
                shown = self.output.recv() => match shown {
                    Some(bytes) => self.events.extend(self.scanner.feed(&bytes)),
                    None => return Err(ExecError::NoShell(self.scanner.preface())),
                },
                permit = self.input.reserve(), if !self.queue.is_empty() => self.queue.send(permit),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(ExecError::Silent(ANSWER.as_secs()));
                }
                () = self.gone.cancelled() => return Err(ExecError::Lost),
            }
        }
    }

    /// The command's own time: its output out, its input in, until its exit code is told.
    async fn converse(
        &mut self,
        feed: &mut Feed,
        output: &mpsc::Sender<(Output, Bytes)>,
    ) -> Result<Exit, ExecError> {
        loop {
            while let Some(event) = self.events.pop_front() {
                match event {
                    Event::Output(to, bytes) => show(output, to, bytes).await?,
                    Event::Ack => {
                        self.unanswered.pop_front();
                    }
                    Event::Exit(code) => {
                        self.release(feed).await;
                        return Ok(Exit::Code(code));
                    }
                    _ => {}
                }
            }
            let room = self.queue.is_empty() && !self.is_full();
            tokio::select! {
                shown = self.output.recv() => match shown {
                    Some(bytes) => self.events.extend(self.scanner.feed(&bytes)),
                    None => return Err(ExecError::Lost),
                },
                permit = self.input.reserve(), if !self.queue.is_empty() => self.queue.send(permit),
                typed = feed.next(), if room => {
                    for packet in feed.pack(typed) {
                        if feed.packing.is_some() {
                            self.unanswered.push_back((packet.text.len(), packet.alone));
                        }
                        self.queue.push(&packet.text);
                    }
                }
                () = self.gone.cancelled() => return Err(ExecError::Lost),
            }
        }
    }

    /// The client has gone: the command gets the interrupt that a terminal's user would send, and a moment to end.
    async fn interrupt(&mut self) {
        let ending = async {
            let interrupt = Bytes::from_static(&[INTERRUPT]);
            if self.input.send(interrupt).await.is_err() {
                return;
            }
            while let Some(bytes) = self.output.recv().await {
                let events = self.scanner.feed(&bytes);
                if events.iter().any(|event| matches!(event, Event::Exit(_))) {
                    return;
                }
            }
        };
        // What goes on all the same loses its terminal.
        let _ = tokio::time::timeout(GRACE, ending).await;
    }

    /// The loop that reads standard input ends before its shell does; without an end it would wait for more.
    async fn release(&mut self, feed: &Feed) {
        // What is under way would only be read as something else; a line that was begun has to end first.
        self.queue.clear();
        if feed.stdin.is_some() && feed.packing.is_some() {
            self.queue.push(b"\n");
            self.queue.push(input::END.as_bytes());
        }
        let sent = async {
            while !self.queue.is_empty() {
                match self.input.reserve().await {
                    permit @ Ok(_) => self.queue.send(permit),
                    Err(_) => return,
                }
            }
        };
        // Who does not take it has gone already.
        let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
    }
}

/// Standard input on its way to the terminal.
struct Feed {
    stdin: Option<mpsc::Receiver<Bytes>>,
    /// Received and not packed yet.
    rest: Bytes,
    /// Where a loop unpacks it: whether base64 can be unpacked.
    packing: Option<bool>,
    at_line_start: bool,
}

struct Typed {
    text: Bytes,
    alone: bool,
}

impl Feed {
    /// The next bytes, `None` at the end; never when there are none.
    async fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.rest = next(&mut self.stdin).await?;
        }
        let length = self.rest.len().min(input::PACKET);
        Some(self.rest.split_to(length))
    }

    /// What to type for `bytes`, or for the end.
    fn pack(&mut self, bytes: Option<Bytes>) -> Vec<Typed> {
        if bytes.is_none() {
            self.stdin = None;
        }
        let one = |text: Bytes| vec![Typed { text, alone: false }];
        let typed: Vec<Typed> = match (&self.packing, bytes) {
            (Some(base64), Some(bytes)) => input::packets(&bytes, *base64)
                .into_iter()
                .map(|packet| Typed {
                    text: Bytes::from(packet.text),
                    alone: packet.alone,
                })
                .collect(),
            (Some(_), None) => one(Bytes::from_static(input::END.as_bytes())),
            (None, Some(bytes)) => one(bytes),
            // In the middle of a line the first one only hands over the line.
            (None, None) if self.at_line_start => one(Bytes::from_static(&[END_OF_INPUT])),
            (None, None) => one(Bytes::from_static(&[END_OF_INPUT, END_OF_INPUT])),
        };
        if let Some(last) = typed.last().and_then(|typed| typed.text.last()) {
            self.at_line_start = matches!(last, b'\n' | b'\r' | &END_OF_INPUT);
        }
        typed
    }
}

#[cfg(test)]
mod tests;
