//! What a program writes, read to its end.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::started::Output;
use crate::session::{PIECE_OF_OUTPUT, Source};

/// What holds an ended program's outputs open may be silent for so long.
const SILENCE: Duration = Duration::from_secs(1);

/// The outputs of a program, each of which a thread reads.
pub(super) struct Outputs {
    /// Nothing is ever sent: it ends with the last of them.
    open: Receiver<()>,
}

impl Outputs {
    /// Hands on to `take` what comes.
    pub(super) fn read(
        outputs: Vec<(Source, Output)>,
        take: impl Fn(Source, &[u8]) + Send + Sync + 'static,
    ) -> Self {
        let take = Arc::new(take);
        let (open, ended) = channel::<()>();
        for (source, from) in outputs {
            let (take, open) = (take.clone(), open.clone());
            thread::spawn(move || {
                read(from, |bytes| take(source, bytes));
                drop(open);
            });
        }
        Self { open: ended }
    }

    /// Waits for their end.
    pub(super) fn end(&self) {
        // The end of all that could be sent.
        let _ = self.open.recv();
    }

    /// Waits for their end after that of the program, or until they are silent and `goes_on` says no.
    pub(super) fn end_or_silence(&self, goes_on: impl Fn() -> bool) {
        while let Err(RecvTimeoutError::Timeout) = self.open.recv_timeout(SILENCE) {
            if !goes_on() {
                break;
            }
        }
    }
}

/// Reads what comes `from` there, up to its end.
fn read(mut from: Output, take: impl Fn(&[u8])) {
    let mut buffer = Zeroizing::new(vec![0; PIECE_OF_OUTPUT]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => take(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal that nobody has any more.
            Err(_) => return,
        }
    }
}
