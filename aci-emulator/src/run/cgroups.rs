//! Control groups of containers: whether memory ran out, and the folders that a runtime leaves behind.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::arm::monitor::Usage;

const HIERARCHIES: &str = "/sys/fs/cgroup";

/// Whether this machine has only the unified hierarchy.
pub(super) fn unified() -> bool {
    Path::new(HIERARCHIES).join("cgroup.controllers").is_file()
}

/// Name of the control group of all containers of an emulator.
pub(super) fn parent(tag: &str) -> String {
    format!("/aci{tag}")
}

/// Whether a process of this control group was killed because memory ran out.
pub(super) fn out_of_memory(cgroup: &str) -> bool {
    let cgroup = cgroup.trim_start_matches('/');
    let root = Path::new(HIERARCHIES);
    let files = [
        root.join(cgroup).join("memory.events"),
        root.join("memory").join(cgroup).join("memory.oom_control"),
    ];
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .any(|text| kills(&text) > 0)
}

/// The count of `oom_kill` in one of those files.
fn kills(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .find_map(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Bytes of memory and nanoseconds of processor time that a control group uses and has used.
pub(super) fn usage(cgroup: &str) -> Option<(u64, u64)> {
    let cgroup = cgroup.trim_start_matches('/');
    let root = Path::new(HIERARCHIES);
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    if unified() {
        let folder = root.join(cgroup);
        let memory = read(folder.join("memory.current"))?.trim().parse().ok()?;
        let cpu = read(folder.join("cpu.stat"))?;
        let micros: u64 = cpu
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))?
            .trim()
            .parse()
            .ok()?;
        return Some((memory, micros.saturating_mul(1000)));
    }
    let memory = root.join("memory").join(cgroup);
    let cpu = root.join("cpuacct").join(cgroup);
    Some((
        read(memory.join("memory.usage_in_bytes"))?
            .trim()
            .parse()
            .ok()?,
        read(cpu.join("cpuacct.usage"))?.trim().parse().ok()?,
    ))
}

/// What is used now: processor time between two looks, memory at the second one.
#[allow(clippy::cast_precision_loss)]
pub(super) fn between(before: Option<(Instant, u64)>, now: (Instant, u64), bytes: u64) -> Usage {
    let millicores = before.map_or(0.0, |(time, nanos)| {
        let passed = now.0.duration_since(time).as_nanos().max(1) as f64;
        now.1.saturating_sub(nanos) as f64 / passed * 1000.0
    });
    Usage {
        millicores,
        bytes: bytes as f64,
    }
}

/// The folders of the emulator's control group, one in each hierarchy.
fn folders(tag: &str) -> Vec<PathBuf> {
    let name = parent(tag);
    let name = name.trim_start_matches('/');
    let root = Path::new(HIERARCHIES);
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = hierarchies.map(|entry| entry.path().join(name)).collect();
    folders.push(root.join(name));
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Folders in a folder; the files of a control group go with it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Kills every process in the emulator's control groups; how many there were.
pub(super) fn kill(tag: &str) -> usize {
    let mut killed = 0;
    for folder in folders(tag).iter().flat_map(|folder| below(folder)) {
        let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines().filter_map(|line| line.parse().ok()) {
            if let Some(process) = rustix::process::Pid::from_raw(process) {
                let signal = rustix::process::Signal::KILL;
                killed += usize::from(rustix::process::kill_process(process, signal).is_ok());
            }
        }
    }
    killed
}

/// Removes the emulator's control groups; those that still have a process stay.
pub(super) fn remove(tag: &str) {
    for folder in folders(tag) {
        for inner in below(&folder) {
            // Said of the outer one, which then stays, too.
            let _ = fs::remove_dir(inner);
        }
        if let Err(error) = fs::remove_dir(&folder) {
            tracing::debug!(folder = %folder.display(), %error, "a control group stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_core_is_500_millicores() {
        let start = Instant::now();
        let later = start + std::time::Duration::from_secs(10);
        let usage = between(Some((start, 1_000)), (later, 5_000_001_000), 7);
        assert!((usage.millicores - 500.0).abs() < 0.001, "{usage:?}");
        assert!(between(None, (later, 5), 7).millicores.abs() < 0.001);
    }

    #[test]
    fn kills_are_counted_in_both_forms() {
        assert_eq!(
            kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            2,
            "version 1"
        );
        assert_eq!(
            kills("low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n"),
            1,
            "version 2"
        );
        assert_eq!(kills(""), 0);
    }
}
