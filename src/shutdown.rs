//! Signals: the first asks for a graceful end, the second ends the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT, which do not end the process from when this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// The system refuses a handler.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Cancels `token` on the first signal; completes on the second.
    pub async fn cancel(mut self, token: CancellationToken) {
        for round in 0..2 {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if round == 0 {
                tracing::info!(
                    "stopping: agents end, statuses are flushed; a second signal ends at once"
                );
                token.cancel();
            }
        }
    }
}
