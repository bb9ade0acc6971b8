//! The repository that the tasks work on, and its programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The repository's root.
///
/// # Errors
/// The root is not where it was when this program was built.
pub fn root() -> Result<PathBuf> {
    // Cargo says it at run time, too; the difference shows when a clone has been moved.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest
        .ancestors()
        .find(|dir| dir.join("xtask/control-plane").is_dir())
        .with_context(|| format!("{} is in no clone of the project", manifest.display()))?;
    Ok(root.to_owned())
}

/// The cargo that runs us, or the one on the path, set to work in the repository's root.
///
/// # Errors
/// As [`root`].
pub fn cargo() -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    // Cargo set these for this crate; a build inside of ours must not see them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// The path of a program that the shell would find.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// OCI's name of this machine's platform; for one that no image is made for, the name that Rust has.
#[must_use]
pub fn platform() -> String {
    std::env::consts::ARCH
        .replace("x86_64", "linux/amd64")
        .replace("aarch64", "linux/arm64")
}

/// The programs of the project.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The operator.
    pub vkc: PathBuf,
    /// The stand-in for Azure.
    pub aci_emulator: PathBuf,
}

/// Builds the operator and the emulator under `profile` (`dev`, `release`, ...), with cargo's own progress.
///
/// # Errors
/// The build failed.
pub fn build(profile: &str) -> Result<Programs> {
    let arguments = [
        "build",
        "--package=virtual-kubelet-connector",
        "--bin=vkc",
        "--package=aci-emulator",
        "--bin=aci-emulator",
    ];
    let output = cargo()?
        .args(arguments)
        .args([
            "--profile",
            profile,
            "--message-format=json-render-diagnostics",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo build ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Programs {
        vkc: executable(&text, "vkc")?,
        aci_emulator: executable(&text, "aci-emulator")?,
    })
}

/// Finds the path of a program in cargo's JSON messages.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(name))
        .find_map(|message| {
            message
                .get("executable")
                .and_then(Value::as_str)
                .map(PathBuf::from)
        })
        .with_context(|| format!("cargo did not say where it put {name}"))
}

/// Removes the machine's proxy settings from a command that only talks to loopback.
pub(crate) fn without_proxy(command: &mut Command) {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
        command.env_remove(name.to_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargo_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"vkc","kind":["lib"]},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"vkc","kind":["bin"]},"executable":"/t/debug/vkc"}"#,
        );
        assert_eq!(
            executable(messages, "vkc").unwrap(),
            PathBuf::from("/t/debug/vkc")
        );
        assert!(executable(messages, "aci-emulator").is_err());
    }

    #[test]
    fn the_root_is_found() {
        assert!(root().unwrap().join("Cargo.lock").is_file());
    }
}
