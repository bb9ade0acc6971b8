//! A base with Rust where no image registry can be reached.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::workspace;

use super::{buildah, call};

const SUITE: &str = "bookworm";

/// The name of the image, made if it is not there for this Rust and this Cargo.lock.
pub(super) fn image() -> Result<String> {
    let version = call(Command::new("rustc").arg("--version"))?;
    let lock = fs::read(workspace::root()?.join("Cargo.lock"))?;
    // FNV-1a: tells apart the few versions of these.
    let key = version
        .bytes()
        .chain(lock)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let name = format!("localhost/vkc-rust:{key:016x}");
    let images = call(buildah().args([
        "images",
        "--quiet",
        "--filter",
        &format!("reference={name}"),
    ]))?;
    if images.is_empty() {
        println!("making {name}: Debian {SUITE}, {version}, the crates of Cargo.lock");
        let dir = tempfile::tempdir().context("no place for a root directory")?;
        make(dir.path(), &name)?;
    }
    Ok(name)
}

fn make(root: &Path, name: &str) -> Result<()> {
    call(
        Command::new("debootstrap")
            .args([
                "--variant=minbase",
                "--include=ca-certificates,gcc,libc6-dev",
                SUITE,
            ])
            .arg(root),
    )?;
    let sysroot = call(Command::new("rustc").args(["--print", "sysroot"]))?;
    let rust = root.join("usr/local/rust");
    fs::create_dir_all(&rust)?;
    for part in ["bin", "lib", "libexec"] {
        let from = Path::new(&sysroot).join(part);
        if from.exists() {
            call(Command::new("cp").arg("-a").arg(from).arg(&rust))?;
        }
    }
    // A home of its own, so that what comes into the image is what Cargo.lock names and nothing else.
    let home = root.join("usr/local/cargo");
    call(
        workspace::cargo()?
            .args(["fetch", "--locked"])
            .env("CARGO_HOME", &home),
    )?;
    let container = call(buildah().args(["from", "scratch"]))?;
    let made = (|| {
        call(
            buildah()
                .args(["copy", "--quiet", &container])
                .arg(root)
                .arg("/"),
        )?;
        call(buildah().args([
            "config",
            "--env=PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "--env=CARGO_HOME=/usr/local/cargo",
            "--env=CARGO_NET_OFFLINE=true",
            &container,
        ]))?;
        call(buildah().args(["commit", "--quiet", &container, name]))
    })();
    call(buildah().args(["rm", &container]))?;
    made.map(|_| ())
}
