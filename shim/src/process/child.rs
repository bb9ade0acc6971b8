//! A program that runs as a child of this process: signals, and its end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use signal_hook::iterator::Signals;

use super::NOT_STARTED;

/// The signals that a program may want: all with a name but those that nobody can take, and those that a process causes itself. The
/// latter would be this process's own: what takes signals writes to a pipe, and its end would cause one, which would be written again.
pub(super) fn taken() -> impl Iterator<Item = i32> {
    const OWN: [Signal; 10] = [
        Signal::PIPE,
        Signal::KILL,
        Signal::STOP,
        Signal::SEGV,
        Signal::BUS,
        Signal::FPE,
        Signal::ILL,
        Signal::ABORT,
        Signal::TRAP,
        Signal::SYS,
    ];
    let all = (1..32).filter_map(Signal::from_named_raw);
    all.filter(|it| !OWN.contains(it)).map(Signal::as_raw)
}

/// Waits for the end of `child`, and reaps all others meanwhile.
pub(super) fn attend(child: Pid, mut signals: Signals) -> i32 {
    loop {
        if let Some(code) = reap(child) {
            return code;
        }
        for signal in signals.wait() {
            if let Some(signal) = Signal::from_named_raw(signal)
                && signal != Signal::CHILD
            {
                // It may have ended just now.
                let _ = kill_process(child, signal);
            }
        }
    }
}

/// Takes everything that has ended; how `child` did when it is among that.
fn reap(child: Pid) -> Option<i32> {
    loop {
        let (pid, status) = match wait(WaitOptions::NOHANG) {
            Ok(Some(ended)) => ended,
            Ok(None) => return None,
            Err(Errno::INTR) => continue,
            // There is no such child: nobody can wait for it.
            Err(_) => return Some(NOT_STARTED),
        };
        if pid == child {
            return Some(exit_code(ExitStatus::from_raw(status.as_raw())));
        }
    }
}

/// As a shell and a runtime tell it.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    let by_signal = || Some(128 + status.signal()?);
    status.code().or_else(by_signal).unwrap_or(NOT_STARTED)
}
