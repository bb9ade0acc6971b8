//! A terminal's line discipline between a wire and a process.

use std::time::Duration;

use tokio::time::Instant;

const INTERRUPT: u8 = 0x03;
const END_OF_FILE: u8 = 0x04;
const ERASE: [u8; 2] = [0x08, 0x7f];
/// Longest line kept; the rest of it is thrown away.
const LINE: usize = 64 * 1024;

/// Bytes in and out.
pub(crate) trait Wire: Send {
    /// The next bytes, `None` when the other side is gone.
    fn recv(&mut self) -> impl Future<Output = Option<Vec<u8>>> + Send;
    /// Sends bytes; false when the other side is gone.
    fn send(&mut self, bytes: Vec<u8>) -> impl Future<Output = bool> + Send;
}

/// What a read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    Line(String),
    Interrupt,
    End,
    /// The other side is gone.
    Gone,
}

/// A terminal in line mode: echo, erase, interrupt, end of file, CRLF.
pub(crate) struct Tty<'a, W> {
    wire: &'a mut W,
    pub(crate) echo: bool,
    input: std::collections::VecDeque<u8>,
    line: Vec<u8>,
}

impl<'a, W: Wire> Tty<'a, W> {
    pub(crate) fn new(wire: &'a mut W) -> Self {
        Self {
            wire,
            echo: true,
            input: std::collections::VecDeque::new(),
            line: Vec::new(),
        }
    }

    /// Writes text, newlines as CRLF.
    pub(crate) async fn write(&mut self, text: &[u8]) {
        let mut out = Vec::with_capacity(text.len() + 8);
        for byte in text {
            if *byte == b'\n' {
                out.push(b'\r');
            }
            out.push(*byte);
        }
        if !out.is_empty() {
            self.wire.send(out).await;
        }
    }

    /// The next line of input.
    pub(crate) async fn read(&mut self) -> Read {
        loop {
            let mut echo = Vec::new();
            let read = self.scan(&mut echo);
            if self.echo {
                self.write(&echo).await;
            }
            if let Some(read) = read {
                return read;
            }
            match self.wire.recv().await {
                Some(bytes) => self.input.extend(bytes),
                None => return Read::Gone,
            }
        }
    }

    fn scan(&mut self, echo: &mut Vec<u8>) -> Option<Read> {
        while let Some(byte) = self.input.pop_front() {
            match byte {
                b'\r' | b'\n' => {
                    echo.push(b'\n');
                    let line = std::mem::take(&mut self.line);
                    return Some(Read::Line(String::from_utf8_lossy(&line).into_owned()));
                }
                INTERRUPT => {
                    echo.extend_from_slice(b"^C\n");
                    self.line.clear();
                    return Some(Read::Interrupt);
                }
                END_OF_FILE if self.line.is_empty() => return Some(Read::End),
                END_OF_FILE => {}
                byte if ERASE.contains(&byte) && self.line.pop().is_some() => {
                    echo.extend_from_slice(b"\x08 \x08");
                }
                byte if ERASE.contains(&byte) => {}
                byte if self.line.len() < LINE => {
                    echo.push(byte);
                    self.line.push(byte);
                }
                _ => {}
            }
        }
        None
    }

    /// Waits; false when interrupted or the other side is gone. Other input is kept for later, as much as a terminal holds:
    /// after that nothing more is taken from the wire.
    pub(crate) async fn sleep(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            if let Some(at) = self.input.iter().position(|byte| *byte == INTERRUPT) {
                self.input.drain(..=at);
                self.write(b"^C\n").await;
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                received = self.wire.recv(), if self.input.len() < LINE => match received {
                    Some(bytes) => self.input.extend(bytes),
                    None => return false,
                },
            }
        }
    }
}
