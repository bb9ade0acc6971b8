//! What the numbers were measured on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use chrono::Utc;
use serde::Serialize;
use xtask::control_plane::KUBERNETES_VERSION;

/// Machine, versions and date of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    pub(super) date: String,
    pub(super) cores: usize,
    pub(super) cpu: String,
    pub(super) memory_gib: f64,
    /// `/proc/loadavg` at the start: what else the machine was doing.
    pub(super) load: String,
    pub(super) vkc: String,
    pub(super) kubernetes: String,
}

impl Machine {
    /// This machine, now.
    pub(super) fn here(vkc: &Path) -> Result<Self> {
        let output = Command::new(vkc)
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {}", vkc.display()))?;
        Ok(Self {
            date: Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            memory_gib: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok())
                .map_or(0.0, |kib| (kib / 1_048_576.0 * 10.0).round() / 10.0),
            load: load(),
            vkc: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            kubernetes: KUBERNETES_VERSION.to_owned(),
        })
    }
}

/// The three load averages.
pub(super) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    averages.join(" ")
}

/// CPU time that a process has used, in seconds, from `/proc` (proc(5): fields 14 and 15 of `stat`, in ticks, of which
/// Linux has 100 a second for user space on every architecture).
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, may hold blanks and brackets.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once(':')?;
    Some(value.trim().to_owned())
}
