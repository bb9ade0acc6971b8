//! `cargo xtask bench --only charts`: what becomes of the pods of rendered charts. Nothing is started for it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use xtask::workspace;

/// The example that translates.
const CHARTS: &str = "charts";

/// Prints the page of Markdown for the manifests at `path`, a file or a directory.
pub(super) fn run(path: &Path) -> Result<ExitCode> {
    let path = std::path::absolute(path).context("no such path")?;
    let status = workspace::cargo()?
        .args(["run", "--quiet", "--example", CHARTS, "--"])
        .arg(path)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("{CHARTS} ended with {status}");
    }
    Ok(ExitCode::SUCCESS)
}
