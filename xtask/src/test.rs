//! `cargo xtask test`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use xtask::control_plane::{Assets, stderr_progress};
use xtask::workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Given to `cargo test`, such as `--test cluster pods:: -- --nocapture`; without `-p` all packages are tested
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Before the tests: a build of some minutes is easier to follow here than inside of the first of them.
    let assets = Assets::resolve(stderr_progress)?;
    eprintln!("control plane: {}", assets.dir().display());
    let helm = assets.helm(stderr_progress)?;
    eprintln!("helm: {}", helm.display());
    let mut cargo = workspace::cargo()?;
    cargo.arg("test");
    // Cargo lets --workspace win over -p without a word.
    if !args
        .args
        .iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
    {
        cargo.arg("--workspace");
    }
    let status = cargo
        .args(&args.args)
        .env("KUBEBUILDER_ASSETS", assets.dir())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
    })
}
