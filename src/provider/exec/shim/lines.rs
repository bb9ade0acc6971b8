//! The lines of the shim among what is on a terminal. PURE.

use bytes::Bytes;
use vkc_shim::session::{LONGEST_LINE, Said};

use super::super::{ExecError, one_line};

/// What of a terminal was read and not looked at.
pub(super) struct Lines {
    line: Vec<u8>,
    rest: Bytes,
    /// Bytes that may still be read; `None` for any number.
    left: Option<usize>,
    /// Whether the shim has said anything.
    heard: bool,
}

impl Lines {
    /// At most so many bytes may be [added](Self::add).
    pub(super) fn new(most: usize) -> Self {
        Self {
            line: Vec::new(),
            rest: Bytes::new(),
            left: Some(most),
            heard: false,
        }
    }

    /// From now on any number of bytes may be added.
    pub(super) fn unbound(&mut self) {
        self.left = None;
    }

    /// Adds what was shown, when all of it before was looked at; whether that was not too much.
    pub(super) fn add(&mut self, bytes: Bytes) -> bool {
        if let Some(left) = &mut self.left {
            let Some(rest) = left.checked_sub(bytes.len()) else {
                return false;
            };
            *left = rest;
        }
        self.rest = bytes;
        true
    }

    /// The next that the shim says in what was read.
    pub(super) fn next(&mut self) -> Option<Said> {
        while !self.rest.is_empty() {
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            let part = self.rest.split_to(end.unwrap_or(self.rest.len()));
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
            end?;
            let _ = self.rest.split_to(1);
            let line = std::mem::take(&mut self.line);
            if let Some(said) = Said::read(&line) {
                self.heard = true;
                return Some(said);
            }
        }
        None
    }

    /// Why a session that has ended here has.
    pub(super) fn ended(&self) -> ExecError {
        if self.heard {
            ExecError::Lost
        } else {
            ExecError::NoShim(one_line(&self.line))
        }
    }
}
