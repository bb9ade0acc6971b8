//! The program itself, as far as it needs nothing else.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

/// A panic ends a process with this status.
const PANIC: i32 = 101;

#[test]
fn logs_that_nobody_can_take_end_nothing() {
    for flags in [&["--log-format", "plain"], &["--log-format", "json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = Command::new(env!("CARGO_BIN_EXE_vkc"))
            .args(["run", "--kubeconfig", "/dev/null", "--log", "trace"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(full)
            .status()
            .unwrap();
        assert_ne!(status.code(), Some(PANIC));
        assert!(!status.success());
    }
}
