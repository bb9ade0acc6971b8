//! Control groups of containers: whether memory ran out, and the folders that a runtime leaves behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

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

/// Removes the emulator's control groups; those that still have a process stay.
pub(super) fn remove(tag: &str) {
    let name = parent(tag);
    let name = name.trim_start_matches('/');
    let root = Path::new(HIERARCHIES);
    let mut folders = vec![root.join(name)];
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        folders.push(entry.path().join(name));
    }
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // Files of a control group are not removed; they go with it.
            if entry.path().is_dir() {
                let _ = fs::remove_dir(entry.path());
            }
        }
        if let Err(error) = fs::remove_dir(folder) {
            tracing::debug!(folder = %folder.display(), %error, "a control group stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
