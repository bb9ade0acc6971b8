//! What a shell in the container answers: its marks are told from the output of the command. PURE.
//!
//! A container may know the mark of its own session and say it as often as it likes: what has been read is split off, not
//! moved, and no step looks beyond the next mark, so that time grows with the bytes alone.

use bytes::{Buf as _, Bytes, BytesMut};

use super::Output;
use super::one_line;
use super::script::Mark;

/// Bytes of what was said before the command began that are kept for an error's text.
const PREFACE: usize = 240;
/// Longest number behind a mark.
const DIGITS: usize = 6;

/// Something that a shell has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Pipes,
    /// `base64` decodes.
    Base64,
    /// The probe is through; whether the echo is off.
    Ready(bool),
    /// A line was taken.
    Ack,
    /// From here on it is the command that speaks.
    Start,
    /// Bytes of the command.
    Output(Output, Bytes),
    /// The command has ended.
    Exit(i32),
}

/// Reads a session from its first byte.
// Facts about the terminal that do not depend on each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug)]
pub struct Scanner {
    mark: Vec<u8>,
    /// Whether the terminal is the client's: then its bytes are passed on as they are.
    tty: bool,
    /// Whether newlines arrive as CR LF: seen at the probe's end, undone from there on.
    crlf: bool,
    /// A CR that may belong to the next byte.
    held_cr: bool,
    started: bool,
    /// Whether what was typed has come back.
    echoed: bool,
    mode: Mode,
    pending: BytesMut,
    preface: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Stdout,
    /// To the end of the line.
    Stderr,
}

/// What stands behind a mark.
enum Tag {
    /// These events, and this many bytes.
    Known(Option<Event>, usize),
    /// It is not there yet.
    Unfinished,
    /// It is no tag of ours.
    Foreign,
}

impl Scanner {
    /// A scanner for `mark`.
    pub fn new(mark: &Mark, tty: bool) -> Self {
        Self {
            mark: mark.text().as_bytes().to_vec(),
            tty,
            crlf: false,
            held_cr: false,
            started: false,
            echoed: false,
            mode: Mode::Stdout,
            pending: BytesMut::new(),
            preface: Vec::new(),
        }
    }

    /// What was said before the command began, on one line: the prompt and echo of a shell, or an error of Azure's.
    pub fn preface(&self) -> String {
        one_line(&self.preface)
    }

    /// Whether the terminal has echoed what was typed. Pipes do not.
    pub fn echoed(&self) -> bool {
        self.echoed
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.take(bytes);
        let mut events = Vec::new();
        while self.step(&mut events) {}
        events
    }

    /// Undoes CR LF, of which a terminal makes one from each newline and nothing else.
    fn take(&mut self, bytes: &[u8]) {
        if !self.crlf {
            self.pending.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            if std::mem::take(&mut self.held_cr) && *byte != b'\n' {
                self.pending.extend_from_slice(b"\r");
            }
            if *byte == b'\r' {
                self.held_cr = true;
            } else {
                self.pending.extend_from_slice(&[*byte]);
            }
        }
    }

    /// One step through what is pending; false when there is nothing more to do.
    fn step(&mut self, events: &mut Vec<Event>) -> bool {
        let mark = self.find();
        let until = mark.map_or(self.pending.len(), |(at, _)| at);
        if self.mode == Mode::Stderr
            && let Some(end) = self
                .pending
                .iter()
                .take(until)
                .position(|byte| *byte == b'\n')
        {
            self.text(end + 1, events);
            self.mode = Mode::Stdout;
            return true;
        }
        let Some((at, whole)) = mark else {
            self.text(until, events);
            return false;
        };
        self.text(at, events);
        if !whole {
            return false;
        }
        match self.tag() {
            Tag::Unfinished => false,
            Tag::Foreign => {
                self.echoed |= !self.started;
                self.text(self.mark.len(), events);
                true
            }
            Tag::Known(event, length) => {
                self.pending.advance(self.mark.len() + length);
                if event == Some(Event::Start) {
                    self.started = true;
                }
                events.extend(event);
                true
            }
        }
    }

    /// Where the mark begins, and whether all of it is there.
    fn find(&self) -> Option<(usize, bool)> {
        let first = self.mark.first()?;
        let mut from = 0;
        loop {
            let rest = self.pending.get(from..)?;
            let at = from + rest.iter().position(|byte| byte == first)?;
            let here = self.pending.get(at..)?;
            if here.starts_with(&self.mark) {
                return Some((at, true));
            }
            if self.mark.starts_with(here) {
                return Some((at, false));
            }
            from = at + 1;
        }
    }

    /// Takes `length` bytes as what the current speaker says.
    fn text(&mut self, length: usize, events: &mut Vec<Event>) {
        if length == 0 {
            return;
        }
        let bytes = self.pending.split_to(length).freeze();
        if self.started {
            let output = if self.mode == Mode::Stderr {
                Output::Stderr
            } else {
                Output::Stdout
            };
            events.push(Event::Output(output, bytes));
        } else {
            let room = PREFACE.saturating_sub(self.preface.len());
            self.preface.extend(bytes.into_iter().take(room));
        }
    }

    /// What stands behind the mark at the front.
    fn tag(&mut self) -> Tag {
        let behind = self.pending.get(self.mark.len()..).unwrap_or_default();
        let Some((tag, rest)) = behind.split_first() else {
            return Tag::Unfinished;
        };
        let word = |event: Event| match line_end(rest) {
            Some(0) => Tag::Unfinished,
            Some(length) => Tag::Known(Some(event), 1 + length),
            None => Tag::Foreign,
        };
        match (tag, self.started) {
            (b'p', false) => word(Event::Pipes),
            (b'b', false) => word(Event::Base64),
            (b's', false) => word(Event::Start),
            (b'a', _) => word(Event::Ack),
            (b'r', false) => match rest.split_first() {
                Some((b':', number)) => match numbered(number) {
                    Number::Is(status, length) => {
                        self.crlf = !self.tty && number.get(length - 2) == Some(&b'\r');
                        Tag::Known(Some(Event::Ready(status == 0)), 2 + length)
                    }
                    Number::Unfinished => Tag::Unfinished,
                    Number::Not => Tag::Foreign,
                },
                Some(_) => Tag::Foreign,
                None => Tag::Unfinished,
            },
            // A point ends the number, not the line: a terminal puts its echo of what is typed between a text and its
            // newline, Ctrl-C's `^C` for one.
            (b'x', true) => {
                let digits = digits(rest);
                match (number(rest, digits), rest.get(digits)) {
                    (Some(code), Some(b'.')) => Tag::Known(Some(Event::Exit(code)), 1 + digits + 1),
                    (Some(_), None) => Tag::Unfinished,
                    (None, None) if digits == 0 => Tag::Unfinished,
                    _ => Tag::Foreign,
                }
            }
            (b'e', true) if !self.tty => {
                self.mode = Mode::Stderr;
                Tag::Known(None, 1)
            }
            _ => Tag::Foreign,
        }
    }
}

/// Length of the line end at the front: `Some(0)` when it may still come, `None` when something else stands there.
fn line_end(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [] | [b'\r'] => Some(0),
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

enum Number {
    Is(i32, usize),
    Unfinished,
    Not,
}

/// Digits at the front.
fn digits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// The number of so many digits at the front; `None` without one, or when it is too long.
fn number(bytes: &[u8], digits: usize) -> Option<i32> {
    let text = bytes.get(..digits).filter(|_| digits <= DIGITS)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A number and the line end behind it.
fn numbered(bytes: &[u8]) -> Number {
    let digits = digits(bytes);
    if digits > DIGITS {
        return Number::Not;
    }
    match line_end(bytes.get(digits..).unwrap_or_default()) {
        Some(0) => Number::Unfinished,
        Some(end) => {
            number(bytes, digits).map_or(Number::Not, |number| Number::Is(number, digits + end))
        }
        None => Number::Not,
    }
}

#[cfg(test)]
mod tests;
