//! How much of a program's output is on its way to who has it shown.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::session::WINDOW;

/// Lines of output that were not taken yet.
#[derive(Default)]
pub(super) struct Window {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    lines: usize,
    /// Whether any was told or taken since somebody asked.
    has_moved: bool,
    /// Nobody takes any more.
    closed: bool,
}

impl Window {
    /// Waits until one more may be told; false when nobody takes any.
    pub(super) fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |state: &mut State| state.lines >= WINDOW && !state.closed;
        let waited = self.moved.wait_while(state, is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.lines += 1;
        state.has_moved = true;
        !state.closed
    }

    pub(super) fn taken(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines = state.lines.saturating_sub(1);
        state.has_moved = true;
        self.moved.notify_all();
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        self.moved.notify_all();
    }

    /// Whether anything has moved since the last call, or still waits to be taken.
    pub(super) fn has_moved(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.has_moved) || (state.lines > 0 && !state.closed)
    }
}
