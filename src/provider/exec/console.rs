//! The terminal in a container that a session has: its two ends, and what waits to be typed.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{ExecError, Output};

/// What interrupts a command on a terminal (Ctrl-C).
pub(super) const INTERRUPT: u8 = 0x03;

/// The two ends of a terminal in a container. `output` ends when the process has ended, or the connection.
#[derive(Debug)]
pub struct Console {
    /// What is typed, in messages of at most [`Settings::message`] bytes.
    pub input: mpsc::Sender<Bytes>,
    pub output: mpsc::Receiver<Bytes>,
}

/// What depends on Azure rather than on the command.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Longest message of input. Messages of more than about 50 bytes have been seen to arrive cut off.
    pub message: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { message: 48 }
    }
}

/// Messages of input that wait.
pub(super) struct Queue {
    message: usize,
    waiting: VecDeque<Bytes>,
}

impl Queue {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            message: settings.message.max(1),
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let messages = bytes.chunks(self.message).map(Bytes::copy_from_slice);
        self.waiting.extend(messages);
    }

    pub(super) fn send(
        &mut self,
        permit: Result<mpsc::Permit<'_, Bytes>, mpsc::error::SendError<()>>,
    ) {
        match permit {
            Ok(permit) => {
                if let Some(message) = self.waiting.pop_front() {
                    permit.send(message);
                }
            }
            // Nobody takes input any more; what the other end shows tells why.
            Err(_) => self.waiting.clear(),
        }
    }
}

/// The next of them, `None` at their end; never when there are none.
pub(super) async fn next<T>(from: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn show(
    output: &mpsc::Sender<(Output, Bytes)>,
    to: Output,
    bytes: Bytes,
) -> Result<(), ExecError> {
    output.send((to, bytes)).await.map_err(|_| ExecError::Lost)
}
