//! `cargo xtask test`.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use xtask::control_plane::{Assets, stderr_progress};
use xtask::workspace;

use crate::dev::stand_ins;

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
    cargo.args(&args.args);
    cargo.env("KUBEBUILDER_ASSETS", assets.dir());
    let passed = run_to_end(cargo)?;
    if passed != ExitCode::SUCCESS || !args.args.is_empty() {
        return Ok(passed);
    }
    if let Err(lacks) = containers() {
        println!("NOT CHECKED: containers that really run: {lacks:#}");
        return Ok(passed);
    }
    let mut cargo = workspace::cargo()?;
    // With all packages, as above, so that nothing is built twice.
    cargo.args([
        "test",
        "--workspace",
        "--test=run",
        "--",
        "--test-threads=2",
    ]);
    run_to_end(cargo)
}

fn run_to_end(mut cargo: Command) -> Result<ExitCode> {
    let status = cargo.status().context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
    })
}

/// Whether this machine can run containers.
///
/// # Errors
/// What it lacks.
fn containers() -> Result<()> {
    let namespaces = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .output();
    ensure!(
        namespaces.is_ok_and(|it| it.status.success()),
        "only who is root on Linux, and may make namespaces, can run them"
    );
    stand_ins::check().map(drop)
}
