//! Running kubectl against a plane, with a deadline.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;

/// A kubectl call that hangs is a failure of the test that made it.
const DEADLINE: Duration = Duration::from_mins(2);

/// What a finished command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output if the command succeeded.
    ///
    /// # Errors
    /// The command failed; the error quotes both of its outputs.
    pub fn ok(self) -> Result<String> {
        if !self.status.success() {
            bail!(
                "kubectl ended with {}: {}{}",
                self.status,
                self.stderr,
                self.stdout
            );
        }
        Ok(self.stdout)
    }
}

/// Runs `kubectl <args>` under `kubeconfig`, with `input` as its standard input. `home` holds its discovery cache.
///
/// # Errors
/// It cannot be started, or did not end in two minutes. That it failed is in the [`Output`].
pub async fn run(
    kubectl: &Path,
    kubeconfig: &Path,
    home: &Path,
    args: &[&str],
    input: &str,
) -> Result<Output> {
    let mut child = tokio::process::Command::new(kubectl)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", home)
        .env_remove("KUBECTL_KUBERC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", kubectl.display()))?;
    let mut stdin = child
        .stdin
        .take()
        .context("kubectl has no standard input")?;
    let input = input.as_bytes().to_vec();
    let feed = async move {
        // A command that does not read its input closes it early, which is no error.
        let _ = stdin.write_all(&input).await;
        drop(stdin);
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(DEADLINE, both)
        .await
        .with_context(|| {
            format!(
                "kubectl {} took more than {} s",
                args.join(" "),
                DEADLINE.as_secs()
            )
        })?
        .context("cannot wait for kubectl")?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
