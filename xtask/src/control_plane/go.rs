//! Building one program with the Go toolchain of the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::process::{POLL, Process};

/// How often a build says where it is.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(5);
/// One program on a slow machine with an empty module cache.
pub(super) const BUILD_DEADLINE: Duration = Duration::from_hours(1);

/// Fails with what to do when there is no Go.
pub(super) fn available() -> Result<()> {
    let status = Command::new("go")
        .arg("version")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context(
            "cannot run go: install Go to build the control plane, or set KUBEBUILDER_ASSETS",
        )?;
    ensure!(status.success(), "go version ended with {status}");
    Ok(())
}

/// Fetches a Go module that the one in `module` needs.
///
/// # Errors
/// It cannot be fetched, or is not what go.sum says.
pub(super) fn download(module: &Path, of: &str) -> Result<()> {
    ask(module, &["mod", "download", of]).map(drop)
}

/// Where the files of a Go module are that the one in `module` needs.
///
/// # Errors
/// go does not know it.
pub(super) fn module_dir(module: &Path, of: &str) -> Result<PathBuf> {
    let dir = ask(
        module,
        &["list", "-m", "-mod=readonly", "-f", "{{.Dir}}", of],
    )?;
    Ok(PathBuf::from(dir.trim()))
}

/// What go says in `module`.
fn ask(module: &Path, args: &[&str]) -> Result<String> {
    let what = args.join(" ");
    let output = Command::new("go")
        .args(args)
        .current_dir(module)
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run go {what}"))?;
    ensure!(
        output.status.success(),
        "go {what} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).with_context(|| format!("go {what} did not print text"))
}

/// Builds the main package `package` of the module in `module` to `output`.
pub(super) fn build(
    module: &Path,
    output: &Path,
    package: &str,
    link_flags: &str,
    what: &str,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let verb = ["build"];
    compile(&verb, module, output, package, link_flags, what, progress)
}

/// Builds the tests of `package` as a program.
pub(super) fn build_tests(
    module: &Path,
    output: &Path,
    package: &str,
    link_flags: &str,
    what: &str,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    // They have been looked at where they come from.
    let verb = ["test", "-c", "-vet=off"];
    compile(&verb, module, output, package, link_flags, what, progress)
}

fn compile(
    verb: &[&str],
    module: &Path,
    output: &Path,
    package: &str,
    link_flags: &str,
    what: &str,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let command = |program: &str, before: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(before)
            .args(verb)
            .args(["-mod=readonly", "-trimpath", "-ldflags", link_flags, "-o"])
            .arg(output)
            .arg(package)
            .current_dir(module)
            // The pinned modules decide, and the program runs here: the machine's own toolchain, no workspace, no
            // other target. GOFLAGS, GOPROXY and the rest of the environment stay.
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0")
            .env_remove("GOOS")
            .env_remove("GOARCH");
        command
    };
    // Politely, since it takes every core for minutes; `nice` may be absent. As a process that does not outlive us,
    // it cannot write into a later build's directory.
    let mut go = Process::spawn("build", command("nice", &["-n", "10", "go"]), module)
        .or_else(|_| Process::spawn("build", command("go", &[]), module))?;
    let started = Instant::now();
    let mut next = REPORT_EVERY;
    let status = loop {
        if let Some(status) = go.exited() {
            break status;
        }
        let elapsed = started.elapsed();
        ensure!(
            elapsed < BUILD_DEADLINE,
            "building {what} took more than {} min",
            BUILD_DEADLINE.as_secs() / 60
        );
        if elapsed >= next {
            progress(&format!("building {what}, {} s", elapsed.as_secs()));
            next += REPORT_EVERY;
        }
        std::thread::sleep(POLL);
    };
    ensure!(
        status.success(),
        "go build of {package} ended with {status} (it needs a Go as new as the go line of its go.mod):\n{}",
        go.log_tail(20)
    );
    Ok(())
}
