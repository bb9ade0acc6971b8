//! Free ports of loopback.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// A free port of loopback, outside of the ranges for outgoing connections (32768 and up on Linux) and node ports
/// (30000 and up), so that nothing takes it between this look and its use. No port is given twice in one process.
///
/// # Errors
/// All of them are taken.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    // A place to begin that differs from process to process: the standard library's hash seeds are random.
    let seed = std::hash::BuildHasher::hash_one(
        &std::collections::hash_map::RandomState::new(),
        std::process::id(),
    );
    let begin = u16::try_from(seed % u64::from(COUNT))?;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    (0..COUNT)
        .map(|step| FIRST + (begin + step) % COUNT)
        .find(|port| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .inspect(|port| {
            given.insert(*port);
        })
        .context("no free port on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_given_once() {
        let ports: BTreeSet<u16> = (0..20).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 20);
        assert!(ports.iter().all(|port| (20_000..30_000).contains(port)));
    }
}
