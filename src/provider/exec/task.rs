//! A task that the shim in a container does: no shell and nothing else of the image is needed for it.
//!
//! ACI starts the shim under the task's name, and it answers in lines of its own ([`SAYS`]). The far side is a tenant's container:
//! what else is on its terminal is passed over, and bounded.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use vkc_shim::spec::{DONE, END, FAILED, MORE, READY, SAYS};
use zeroize::Zeroizing;

use super::dialog::{Console, Settings};
use super::{ExecError, one_line};

/// The shim has this long for each of its answers. ACI takes seconds to start it.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of orders in one line, and lines that are on their way.
const PIECE: usize = 2250;
const ON_THEIR_WAY: usize = 8;
/// Longest line that is read, and what is read in all.
const LONGEST: usize = 4096;
const MOST: usize = 1024 * 1024;

/// What the shim says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Ready,
    More,
    Done,
    Failed(String),
}

/// Has the shim behind `console` do its task, with these `orders` when it wants some.
///
/// # Errors
/// [`ExecError::NoShim`] when no shim has answered, [`ExecError::Task`] when it could not do it.
pub(super) async fn run(
    console: Console,
    settings: Settings,
    orders: Option<&[u8]>,
) -> Result<(), ExecError> {
    let Console { input, output } = console;
    let mut answers = Answers::new(output);
    let Some(orders) = orders else {
        return answers.until_done().await;
    };
    match answers.next().await? {
        Answer::Ready => {}
        Answer::Failed(why) => return Err(ExecError::Task(why)),
        Answer::More | Answer::Done => return Err(ExecError::NoShim(String::new())),
    }
    let mut on_their_way = 0;
    for piece in orders.chunks(PIECE) {
        let mut line = Zeroizing::new(STANDARD.encode(piece));
        line.push('\n');
        send(&input, settings, line.as_bytes()).await?;
        on_their_way += 1;
        while on_their_way >= ON_THEIR_WAY {
            match answers.next().await? {
                Answer::More => on_their_way -= 1,
                Answer::Failed(why) => return Err(ExecError::Task(why)),
                Answer::Ready | Answer::Done => return Err(ExecError::Lost),
            }
        }
    }
    send(&input, settings, format!("{END}\n").as_bytes()).await?;
    answers.until_done().await
}

async fn send(
    input: &mpsc::Sender<Bytes>,
    settings: Settings,
    text: &[u8],
) -> Result<(), ExecError> {
    for message in text.chunks(settings.message) {
        let sent = input.send(Bytes::copy_from_slice(message));
        match tokio::time::timeout(ANSWER, sent).await {
            Ok(Ok(())) => {}
            // Why it has gone its last words say.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(ExecError::Silent(ANSWER.as_secs())),
        }
    }
    Ok(())
}

/// The lines of the shim among what is on the terminal.
struct Answers {
    output: mpsc::Receiver<Bytes>,
    line: Vec<u8>,
    rest: Bytes,
    /// Bytes that were read.
    read: usize,
    /// Whether the shim has said anything.
    heard: bool,
}

impl Answers {
    fn new(output: mpsc::Receiver<Bytes>) -> Self {
        Self {
            output,
            line: Vec::new(),
            rest: Bytes::new(),
            read: 0,
            heard: false,
        }
    }

    async fn until_done(&mut self) -> Result<(), ExecError> {
        loop {
            match self.next().await? {
                Answer::Ready | Answer::More => {}
                Answer::Done => return Ok(()),
                Answer::Failed(why) => return Err(ExecError::Task(why)),
            }
        }
    }

    async fn next(&mut self) -> Result<Answer, ExecError> {
        let deadline = Instant::now() + ANSWER;
        loop {
            if let Some(answer) = self.take() {
                self.heard = true;
                return Ok(answer);
            }
            let shown = tokio::time::timeout_at(deadline, self.output.recv()).await;
            let Ok(shown) = shown else {
                return Err(ExecError::Silent(ANSWER.as_secs()));
            };
            let Some(bytes) = shown.filter(|bytes| self.read + bytes.len() <= MOST) else {
                return Err(if self.heard {
                    ExecError::Lost
                } else {
                    ExecError::NoShim(one_line(&self.line))
                });
            };
            self.read += bytes.len();
            self.rest = bytes;
        }
    }

    /// The next answer in what was read.
    fn take(&mut self) -> Option<Answer> {
        while !self.rest.is_empty() {
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            let part = self.rest.split_to(end.unwrap_or(self.rest.len()));
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            end?;
            let _ = self.rest.split_to(1);
            let line = std::mem::take(&mut self.line);
            if let Some(answer) = answer(&line) {
                return Some(answer);
            }
        }
        None
    }
}

/// What the line says, when it is the shim's.
fn answer(line: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(line.trim_ascii()).ok()?;
    let said = text.strip_prefix(SAYS)?.strip_prefix(' ')?;
    match said.split_once(' ') {
        None if said == READY => Some(Answer::Ready),
        None if said == MORE => Some(Answer::More),
        None if said == DONE => Some(Answer::Done),
        Some((FAILED, why)) => Some(Answer::Failed(one_line(why.as_bytes()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
