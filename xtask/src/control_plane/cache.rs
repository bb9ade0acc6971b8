//! What is built once and kept: a folder for each key, complete when it is there.
//!
//! A build goes into a folder of its own and is moved into place when complete, under a lock file, so neither a Ctrl-C nor a
//! second process leaves half a cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::go::{self, BUILD_DEADLINE, REPORT_EVERY};

/// The version, and a hash of all that decides what is built.
pub(super) fn key(version: &str, text: &str) -> String {
    // FNV-1a: the key has to tell apart the few versions of these files, not withstand an attacker.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{version}-{hash:016x}")
}

/// The folder of `key` below `base`, made by `make` when it is not there. `names` are what is built.
pub(super) fn built<P: FnMut(&str)>(
    base: &Path,
    key: &str,
    names: &[&str],
    progress: &mut P,
    make: impl FnOnce(&Path, &mut P) -> Result<()>,
) -> Result<PathBuf> {
    let home = base.join(key);
    // The directory appears by one rename, after the last program: if it exists it is complete.
    if home.is_dir() {
        return Ok(home);
    }
    fs::create_dir_all(base).with_context(|| format!("cannot make {}", base.display()))?;
    let _lock = lock(&base.join(format!("{key}.lock")), progress)?;
    if home.is_dir() {
        return Ok(home);
    }

    let work = base.join(format!("{key}.building"));
    if work.exists() {
        // Left by a build that was cut off; the lock says that nobody is at it now.
        fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
    }
    progress(&format!(
        "building {} into {} (once, some minutes)",
        names.join(", "),
        home.display()
    ));
    go::available()?;
    let started = Instant::now();
    make(&work, progress)?;
    fs::rename(&work, &home)
        .with_context(|| format!("cannot move the build to {}", home.display()))?;
    progress(&format!("built in {} s", started.elapsed().as_secs()));
    Ok(home)
}

/// An exclusive lock that lasts as long as the file is open.
fn lock(path: &Path, progress: &mut impl FnMut(&str)) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot open {}", path.display()))?;
    let started = Instant::now();
    let mut next = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                if started.elapsed() >= next {
                    progress(&format!(
                        "another process is building; waiting, {} s",
                        started.elapsed().as_secs()
                    ));
                    next += REPORT_EVERY;
                }
                ensure!(
                    started.elapsed() < BUILD_DEADLINE,
                    "another process holds {} too long",
                    path.display()
                );
                std::thread::sleep(Duration::from_millis(200));
            }
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}
