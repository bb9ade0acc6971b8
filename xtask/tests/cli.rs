//! The binary: what a person at a terminal relies on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `xtask control-plane --start`, and what it printed about its processes.
struct Started {
    xtask: Child,
    pids: Vec<String>,
    kubeconfig: PathBuf,
}

fn start() -> Started {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["control-plane", "--start"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pids, mut kubeconfig) = (Vec::new(), None);
    for line in BufReader::new(xtask.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "pid", pid, ..] => pids.push((*pid).to_owned()),
            ["export", setting] => {
                kubeconfig = setting.strip_prefix("KUBECONFIG=").map(PathBuf::from);
            }
            ["ready", ..] => break,
            _ => {}
        }
    }
    let kubeconfig = kubeconfig.expect("it says which KUBECONFIG to export");
    Started {
        xtask,
        pids,
        kubeconfig,
    }
}

fn signal(pid: &str, signal: &str) -> bool {
    let mut kill = Command::new("sh");
    kill.args([
        "-c",
        r#"kill -s "$1" "$2" 2>/dev/null"#,
        "kill",
        signal,
        pid,
    ]);
    kill.status().unwrap().success()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_control_plane_does_not_outlive_its_killed_owner() {
    let mut started = start();
    assert_eq!(started.pids.len(), 4, "{:?}", started.pids);
    assert!(started.pids.iter().all(|pid| signal(pid, "0")));
    assert!(started.kubeconfig.is_file());

    started.xtask.kill().unwrap();
    started.xtask.wait().unwrap();
    eventually("its processes are gone", || {
        started.pids.iter().all(|pid| !running(pid))
    });
    let dir = started.kubeconfig.parent().unwrap();
    eventually("its directory is gone", || !dir.exists());
}

/// A killed orphan may stay as a zombie where nobody reaps; it runs no more.
fn running(pid: &str) -> bool {
    match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
        Ok(stat) => !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z'),
        Err(_) => !Path::new("/proc/self").exists() && signal(pid, "0"),
    }
}

#[test]
fn sigterm_ends_a_control_plane_in_order() {
    let mut started = start();
    assert!(signal(&started.xtask.id().to_string(), "TERM"));
    let status = started.xtask.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(
        started.pids.iter().all(|pid| !running(pid)),
        "a process is left of {:?}",
        started.pids
    );
    assert!(!started.kubeconfig.exists());
}
