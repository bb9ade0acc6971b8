//! `cargo xtask crds`: the generated files follow the types in `src/api`.

use std::fs;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use xtask::workspace;

/// `config/crd` refers to its folder, so there is one copy.
const FILES: [&str; 1] = ["crds/virtual-kubelet.io_virtualkubeletconnectors.yaml"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when a file is not what would be written
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let output = workspace::cargo()?
        .args([
            "run",
            "--quiet",
            "--package=virtual-kubelet-connector",
            "--bin=vkc",
            "--",
            "crd",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "vkc crd ended with {}",
        output.status
    );
    ensure!(!output.stdout.is_empty(), "vkc crd printed nothing");

    let root = workspace::root()?;
    let mut stale = Vec::new();
    for file in FILES {
        let path = root.join(file);
        if fs::read(&path).is_ok_and(|present| present == output.stdout) {
            continue;
        }
        if args.check {
            stale.push(file);
            continue;
        }
        let dir = path.parent().context("a file has a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::write(&path, &output.stdout)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {file}");
    }
    ensure!(
        stale.is_empty(),
        "not what the types say: {}; run `cargo xtask crds` and commit the result",
        stale.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}
