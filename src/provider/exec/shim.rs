//! Sessions that the shim in a container leads: no shell and nothing else of the image is needed for them.
//!
//! ACI starts the shim under the name of a [task](vkc_shim::session::Task), and both sides speak in lines ([`vkc_shim::session`]). The
//! far side is a tenant's container: what else is on its terminal is passed over, and what comes before a program has begun is bounded.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vkc_shim::session::{END, PIECE, Request, Said, Size, Source, Told, WINDOW, What};
use zeroize::Zeroizing;

use self::lines::Lines;
use super::console::{Console, Queue, Settings, next, show};
use super::{Command, ExecError, Exit, Output, Streams, TerminalSize, one_line};

mod lines;

/// The shim has this long for each of its answers. ACI takes seconds to start it.
const ANSWER: Duration = Duration::from_secs(30);
/// A program that was interrupted has this long to end, before its session is taken away. The shim itself gives it less.
const GRACE: Duration = Duration::from_millis(700);
/// What is read in all before a task is done, or a program has begun.
const MOST: usize = 1024 * 1024;

/// Has the shim behind `console` do a task, with these `orders` when it wants some.
///
/// # Errors
/// [`ExecError::NoShim`] when no shim has answered, [`ExecError::Task`] when it could not do it.
pub(super) async fn run_task(
    console: Console,
    settings: Settings,
    orders: Option<&[u8]>,
) -> Result<(), ExecError> {
    let mut shim = Shim::new(console, settings, CancellationToken::new());
    if let Some(orders) = orders {
        shim.give(orders).await?;
    }
    loop {
        match shim.answer().await? {
            Said::Done => return Ok(()),
            Said::Ready | Said::More => {}
            _ => return Err(ExecError::Lost),
        }
    }
}

/// What the shim is asked for to run `command`.
pub(super) fn program(command: &Command, input: bool, size: TerminalSize) -> What {
    What::Program {
        argv: command.argv.clone(),
        input,
        terminal: command.tty.then(|| size.into()),
    }
}

/// Leads the shim behind `console`, which was started as [`vkc_shim::session::Task::Run`], to the end of `what`. Standard input is not
/// touched before it has begun.
///
/// # Errors
/// As of [`run_task`], and [`ExecError::Lost`] when the end was not seen.
pub async fn run(
    console: Console,
    settings: Settings,
    what: What,
    streams: &mut Streams,
) -> Result<Exit, ExecError> {
    let orders = Request::new(what).write();
    let orders = orders.map_err(|error| ExecError::Task(error.to_string()))?;
    let mut shim = Shim::new(console, settings, streams.gone.clone());
    shim.give(&orders).await?;
    while shim.answer().await? != Said::Begun {}
    shim.lines.unbound();
    let ended = shim.converse(streams).await;
    if ended.is_err() {
        shim.interrupt().await;
    }
    ended
}

impl From<TerminalSize> for Size {
    fn from(size: TerminalSize) -> Self {
        let TerminalSize { rows, columns } = size;
        Self { rows, columns }
    }
}

struct Shim {
    input: mpsc::Sender<Bytes>,
    output: mpsc::Receiver<Bytes>,
    queue: Queue,
    lines: Lines,
    /// Nobody wants the session any more.
    gone: CancellationToken,
}

impl Shim {
    fn new(console: Console, settings: Settings, gone: CancellationToken) -> Self {
        Self {
            input: console.input,
            output: console.output,
            queue: Queue::new(settings),
            lines: Lines::new(MOST),
            gone,
        }
    }

    /// Hands `orders` over.
    async fn give(&mut self, orders: &[u8]) -> Result<(), ExecError> {
        if self.answer().await? != Said::Ready {
            return Err(ExecError::NoShim(String::new()));
        }
        let mut on_their_way = 0;
        for piece in orders.chunks(PIECE) {
            let mut line = Zeroizing::new(STANDARD.encode(piece));
            line.push('\n');
            self.queue.push(line.as_bytes());
            on_their_way += 1;
            while on_their_way >= WINDOW {
                if self.answer().await? != Said::More {
                    return Err(ExecError::Lost);
                }
                on_their_way -= 1;
            }
        }
        self.queue.push(END.as_bytes());
        self.queue.push(b"\n");
        Ok(())
    }

    /// The next thing that the shim says before a program has begun; what it could not do is an error.
    async fn answer(&mut self) -> Result<Said, ExecError> {
        let deadline = Instant::now() + ANSWER;
        loop {
            match self.lines.next() {
                Some(Said::Failed(why)) => return Err(could_not(&why)),
                Some(said) => return Ok(said),
                None => {}
            }
            tokio::select! {
                shown = self.output.recv() => {
                    let fits = shown.is_some_and(|bytes| self.lines.add(bytes));
                    if !fits {
                        return Err(self.lines.ended());
                    }
                }
                permit = self.input.reserve(), if !self.queue.is_empty() => self.queue.send(permit),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(ExecError::Silent(ANSWER.as_secs()));
                }
                () = self.gone.cancelled() => return Err(ExecError::Lost),
            }
        }
    }

    /// The program's own time: its output out, its input in, until its end is told.
    async fn converse(&mut self, streams: &mut Streams) -> Result<Exit, ExecError> {
        let mut stdin = streams.stdin.take();
        let mut sizes = streams.resize.take();
        let mut typed = Bytes::new();
        let mut on_their_way: usize = 0;
        loop {
            while let Some(said) = self.lines.next() {
                match said {
                    Said::Bytes(source, bytes) => {
                        show(&streams.output, source.into(), bytes.into()).await?;
                        tell(&mut self.queue, &Told::More);
                    }
                    Said::More => on_their_way = on_their_way.saturating_sub(1),
                    Said::Ended(code) => return Ok(Exit::Code(code)),
                    Said::Failed(why) => return Err(could_not(&why)),
                    Said::Ready | Said::Begun | Said::Done => {}
                }
            }
            let room = self.queue.is_empty() && on_their_way < WINDOW;
            if room && !typed.is_empty() {
                let piece = typed.split_to(typed.len().min(PIECE));
                tell(
                    &mut self.queue,
                    &Told::Input(Zeroizing::new(piece.to_vec())),
                );
                on_their_way += 1;
                continue;
            }
            tokio::select! {
                shown = self.output.recv() => {
                    if !shown.is_some_and(|bytes| self.lines.add(bytes)) {
                        return Err(ExecError::Lost);
                    }
                }
                permit = self.input.reserve(), if !self.queue.is_empty() => self.queue.send(permit),
                bytes = next(&mut stdin), if room => {
                    if bytes.is_none() {
                        stdin = None;
                        tell(&mut self.queue, &Told::EndOfInput);
                    }
                    typed = bytes.unwrap_or_default();
                }
                size = next(&mut sizes) => match size {
                    Some(size) => tell(&mut self.queue, &Told::Size(size.into())),
                    None => sizes = None,
                },
                () = self.gone.cancelled() => return Err(ExecError::Lost),
            }
        }
    }

    /// The client has gone: the program gets an interrupt, and a moment to end.
    async fn interrupt(&mut self) {
        // A line that was begun has to end first.
        self.queue.clear();
        self.queue.push(b"\n");
        tell(&mut self.queue, &Told::Interrupt);
        let ending = async {
            while !self.queue.is_empty() {
                let permit = self.input.reserve().await;
                self.queue.send(permit);
            }
            while let Some(bytes) = self.output.recv().await {
                if !self.lines.add(bytes) {
                    return;
                }
                while let Some(said) = self.lines.next() {
                    if matches!(said, Said::Ended(_)) {
                        return;
                    }
                }
            }
        };
        // What goes on all the same loses its session.
        let _ = tokio::time::timeout(GRACE, ending).await;
    }
}

fn could_not(why: &str) -> ExecError {
    ExecError::Task(one_line(why.as_bytes()))
}

fn tell(queue: &mut Queue, what: &Told) {
    queue.push(what.write().as_bytes());
}

impl From<Source> for Output {
    fn from(source: Source) -> Self {
        match source {
            Source::Output => Self::Stdout,
            Source::Error => Self::Stderr,
        }
    }
}

#[cfg(test)]
mod tests;
