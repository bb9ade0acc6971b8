//! Coalescing of pod statuses. PURE: time is an argument; the driver does the patches.
//!
//! Newest wins: a status that waits while an older one is being written replaces what waited before it. A failed write
//! is tried again with the newest status, later and later, until it is done or the pod is gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use tokio::time::Instant;

use crate::translate::PodKey;

const RETRY_BASE: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// A status on its way to the API server.
#[derive(Debug, Clone)]
pub struct Pending {
    pub status: Box<PodStatus>,
    pub digest: u64,
    /// When it was first asked for: the observation that the lag is measured from.
    pub since: Instant,
    attempts: u32,
    due: Instant,
    sequence: u64,
}

impl Pending {
    /// Writes of it that failed.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// The statuses that wait to be written.
#[derive(Debug, Default)]
pub struct Writer {
    waiting: HashMap<PodKey, Pending>,
    order: BTreeSet<(Instant, u64, PodKey)>,
    running: HashSet<PodKey>,
    sequence: u64,
}

impl Writer {
    /// Asks for `status` to be written for `key`.
    pub fn put(&mut self, now: Instant, key: PodKey, status: Box<PodStatus>, digest: u64) {
        self.insert(
            now,
            key,
            Pending {
                status,
                digest,
                since: now,
                attempts: 0,
                due: now,
                sequence: 0,
            },
        );
    }

    fn insert(&mut self, due: Instant, key: PodKey, mut pending: Pending) {
        self.drop_waiting(&key);
        self.sequence += 1;
        pending.due = due;
        pending.sequence = self.sequence;
        if !self.running.contains(&key) {
            self.order.insert((due, self.sequence, key.clone()));
        }
        self.waiting.insert(key, pending);
    }

    fn drop_waiting(&mut self, key: &PodKey) {
        if let Some(old) = self.waiting.remove(key) {
            self.order.remove(&(old.due, old.sequence, key.clone()));
        }
    }

    /// The next status that is due; its pod counts as being written until [`Writer::done`] or [`Writer::failed`].
    pub fn pop(&mut self, now: Instant) -> Option<(PodKey, Pending)> {
        let (due, _, _) = self.order.first()?;
        if *due > now {
            return None;
        }
        let (_, _, key) = self.order.pop_first()?;
        let pending = self.waiting.remove(&key)?;
        self.running.insert(key.clone());
        Some((key, pending))
    }

    /// The write of `key` is over: it is in the API server, or its pod is gone.
    pub fn done(&mut self, key: &PodKey) {
        self.release(key);
    }

    /// The write of `key` failed and must be repeated, unless a newer status waits already.
    pub fn failed(&mut self, now: Instant, key: PodKey, mut pending: Pending) {
        self.release(&key);
        if self.waiting.contains_key(&key) {
            return;
        }
        pending.attempts = pending.attempts.saturating_add(1);
        let wait = RETRY_BASE
            .saturating_mul(2u32.saturating_pow(pending.attempts.min(16)))
            .min(RETRY_CAP);
        self.insert(now + wait, key, pending);
    }

    fn release(&mut self, key: &PodKey) {
        if self.running.remove(key)
            && let Some(pending) = self.waiting.get(key)
        {
            self.order
                .insert((pending.due, pending.sequence, key.clone()));
        }
    }

    /// When the next status becomes due.
    pub fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(due, _, _)| *due)
    }

    /// Statuses being written now.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// True when nothing waits and nothing is being written.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> PodKey {
        PodKey {
            namespace: "default".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        }
    }

    fn put(writer: &mut Writer, now: Instant, name: &str, digest: u64) {
        writer.put(now, key(name), Box::default(), digest);
    }

    #[test]
    fn the_newest_status_wins() {
        let now = Instant::now();
        let mut writer = Writer::default();
        put(&mut writer, now, "a", 1);
        put(&mut writer, now, "a", 2);
        assert_eq!(writer.pop(now).map(|(_, p)| p.digest), Some(2));
        assert!(writer.pop(now).is_none());
    }

    #[test]
    fn a_pod_is_written_by_one_patch_at_a_time() {
        let now = Instant::now();
        let mut writer = Writer::default();
        put(&mut writer, now, "a", 1);
        let (a, _) = writer.pop(now).unwrap();
        put(&mut writer, now, "a", 2);
        assert!(writer.pop(now).is_none());
        writer.done(&a);
        assert_eq!(writer.pop(now).map(|(_, p)| p.digest), Some(2));
    }

    #[test]
    fn a_failed_write_is_repeated_later_and_later() {
        let now = Instant::now();
        let mut writer = Writer::default();
        put(&mut writer, now, "a", 1);
        let (a, pending) = writer.pop(now).unwrap();
        writer.failed(now, a, pending);
        assert!(writer.pop(now).is_none());
        let first = writer.next_due().unwrap();
        let (a, pending) = writer.pop(first).unwrap();
        writer.failed(first, a, pending);
        assert!(writer.next_due().unwrap() - first > first - now);
    }

    #[test]
    fn a_failed_write_gives_way_to_a_newer_status() {
        let now = Instant::now();
        let mut writer = Writer::default();
        put(&mut writer, now, "a", 1);
        let (a, pending) = writer.pop(now).unwrap();
        put(&mut writer, now, "a", 2);
        writer.failed(now, a.clone(), pending);
        assert_eq!(writer.pop(now).map(|(_, p)| p.digest), Some(2));
        writer.done(&a);
        assert!(writer.is_idle());
    }
}
